"""Numbers for life in the proof: what stands in each school's own tables against what the register of learners gave.

Read with SQL of our own, by UPN from the register's persons: neither the flow's own notes of what it told whom nor any
code of the register is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Literal

import msgspec

from commonroom.simulation.own_tables import LEARNER_ITEMS, OwnRecords

Kind = Literal["missing", "extra", "changed"]

AGE = 14
_ULN, _BORN = LEARNER_ITEMS.index("uln"), LEARNER_ITEMS.index("date_of_birth")
_GIVEN = """
SELECT person.known -> 'details' ->> 'upn' AS upn, person.uln
FROM learners.person AS person
WHERE person.known -> 'details' ->> 'upn' IS NOT NULL
"""


class Register(msgspec.Struct, frozen=True):
    """The register's numbers by UPN, and the day by the domain clock on which they were read."""

    numbers: Mapping[str, str]
    today: date


class OwnNumber(msgspec.Struct, frozen=True):
    """One pupil of one school: the number in the school's own table ('' without one), and whether it is time."""

    school: str
    upn: str
    uln: str
    is_due: bool


async def given(connection: Any) -> dict[str, str]:
    """Every number that the register gave to somebody with a UPN."""
    return {row["upn"]: row["uln"] for row in await connection.fetch(_GIVEN)}


def own_numbers(own: Mapping[str, OwnRecords], today: date) -> list[OwnNumber]:
    """Every pupil in the schools' own tables, as the newest record of each has it."""
    # Who is 14 by the end of this school year.
    end = date(today.year + (1 if today.month >= 9 else 0), 8, 31)
    latest_birth = end.replace(year=end.year - AGE).isoformat()
    found = []
    for school, records in own.items():
        newest: dict[str, tuple[str, tuple[str, ...]]] = {}
        for (upn, valid_from), content in records.tables["learner"].rows.items():
            held = newest.get(upn)
            if held is None or held[0] < valid_from:
                newest[upn] = valid_from, content
        found += [
            OwnNumber(school, upn, content[_ULN], content[_BORN] <= latest_birth)
            for upn, (_, content) in sorted(newest.items())
        ]
    return found


def differences(pupils: list[OwnNumber], register: Register) -> Iterator[tuple[str, str, Kind, str]]:
    """School, UPN, kind and words of each number that is not the same on both sides."""
    for one in pupils:
        given_number = register.numbers.get(one.upn, "")
        if given_number == one.uln:
            continue
        if not one.uln:
            yield one.school, one.upn, "missing", "the register gave a number that the school does not hold"
        elif not given_number:
            yield one.school, one.upn, "extra", "the school holds a number that the register did not give"
        else:
            yield one.school, one.upn, "changed", "the school holds another number than the register"
