"""The look-up list: what a school reads when its system has not taken the numbers in, or when somebody asks.

Pupils are named as the school itself named them: whoever reads the list learns nothing of anybody but the number.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import msgspec

from commonroom import access
from commonroom.engines import clock
from commonroom.registers.learners.store import Caller, permissions

DATASET = "learners.numbers"
MOST = 20_000
# What a cell begins with when a spreadsheet would reckon with it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_OF_SCHOOL = """
SELECT
    pupil.school, pupil.upn, pupil.details ->> 'given_name' AS given_name,
    pupil.details ->> 'family_name' AS family_name, pupil.uln, pupil.since, pupil.due_on,
    pupil.submitted IS NOT NULL AS submitted
FROM learners.pupil AS pupil
WHERE pupil.details IS NOT NULL AND (pupil.uln IS NOT NULL OR pupil.due_on <= $1) AND {scope}
ORDER BY family_name, given_name, pupil.upn
LIMIT {most}
"""


class PupilNumber(msgspec.Struct, frozen=True, kw_only=True):
    """One pupil of the list. Without a number `state` says what it waits for."""

    school: str
    upn: str
    given_name: str
    family_name: str
    uln: str | None
    since: str | None
    state: str


class _Asker(msgspec.Struct, frozen=True):
    """The caller as the access room knows askers."""

    kind: str
    id: str
    role: str
    party: str | None


async def numbers_of_school(conn: Any, who: Caller, route: str) -> list[PupilNumber]:
    """The list of the caller's own school, by family name; younger pupils are on it once it is time.

    `route` is ours (page, API, command line) and goes into the trail of reads. Raises Problem CR-111 (403) for all who
    are no school, CR-211 without a declared purpose.
    """
    permissions.require(who, "check")
    asker = _Asker("person" if who.person else "end_point", who.person or who.party, who.role, who.party)
    scope = access.rows(asker, DATASET, "postgres", first_parameter=2)
    # The condition is made by access, its values are parameters.
    statement = _OF_SCHOOL.format(scope=scope.sql, most=MOST)
    rows = await conn.fetch(statement, await clock.today(conn), *scope.params)
    await access.audit(conn, asker, DATASET, f"look-up list by {route}: {who.purpose}", len(rows))
    return [_pupil(row) for row in rows]


def as_csv(pupils: Sequence[PupilNumber]) -> str:
    """The list as CSV in UTF-8 with a heading line; no cell can be taken for a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["UPN", "FamilyName", "GivenName", "ULN", "Since", "State"])
    for one in pupils:
        writer.writerow(
            [
                _plain(cell)
                for cell in (
                    one.upn,
                    one.family_name,
                    one.given_name,
                    one.uln or "",
                    one.since or "",
                    one.state,
                )
            ]
        )
    return out.getvalue()


def as_json(pupils: Sequence[PupilNumber]) -> bytes:
    """The list as a JSON array."""
    return msgspec.json.encode(pupils)


def _pupil(row: Any) -> PupilNumber:
    return PupilNumber(
        school=row["school"],
        upn=row["upn"],
        given_name=row["given_name"],
        family_name=row["family_name"],
        uln=row["uln"],
        since=row["since"].isoformat() if row["since"] else None,
        state=_state(row),
    )


def _state(row: Any) -> str:
    if row["uln"]:
        return "given"
    return "a clerk of the register decides" if row["submitted"] else "under way"


def _plain(cell: str) -> str:
    """The text, held back with an apostrophe where it would be a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
