"""Real schools for invented pupils: the open schools of one local authority, out of the loaded provider register."""

from __future__ import annotations

from typing import Any

from commonroom.registers import providers
from commonroom.simulation.schools import RegisterRow, School, schools_of_register

_PAGE = 200


async def schools_of_authority(conn: Any, la_code: str, pupils: int) -> tuple[School, ...]:
    """The open schools of a real authority with invented pupils shared among them by the register's own numbers.

    Raises Problem CR-120 when the register has no open school there.
    """
    return schools_of_register(await _rows(conn, la_code), la_code, pupils)


async def _rows(conn: Any, la_code: str) -> list[RegisterRow]:
    summaries: list[providers.SchoolSummary] = []
    while page := await providers.find(conn, la=la_code, is_open=True, limit=_PAGE, offset=len(summaries)):
        summaries += page
    found = [await providers.school(conn, summary.urn) for summary in summaries]
    return [_row(school) for school in found if school is not None]


def _row(school: providers.School) -> RegisterRow:
    return RegisterRow(
        urn=school.urn,
        la_code=school.la_code,
        la_name=school.la_name,
        # A school without a number of its own still needs four digits for the UPNs it gives.
        estab=school.laestab[-4:] if school.laestab else school.urn[-4:],
        name=school.name,
        phase=school.phase or "",
        type=school.type or "",
        status=school.status,
        low_age=school.low_age,
        high_age=school.high_age,
        pupils=school.pupils,
        town=school.town or "",
        postcode=school.postcode or "",
    )
