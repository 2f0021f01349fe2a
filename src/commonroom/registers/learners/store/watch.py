"""A search of everybody is worth stealing: every look-up leaves a row, and callers that look strangely raise an alarm.

In 2022 a company was reprimanded for 22,000 age checks through the real register.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from commonroom import declarations
from commonroom.registers.learners import answers
from commonroom.registers.learners.store.values import Caller

FILE = Path(__file__).parent / "watch.yaml"

_NOTE = """
INSERT INTO learners.look_up (party, person, role, purpose, action, outcome, learner)
SELECT $1, $2, $3, $4, $5, given.outcome, given.learner
FROM unnest($6::text[], $7::uuid[]) AS given (outcome, learner)
"""
_NOTE_ONE = """
INSERT INTO learners.look_up (party, person, role, purpose, action, outcome, learner)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_COUNT = """
SELECT party, role, count(*) AS look_ups,
    -- Who registers a new cohort finds nobody, and that is right: it says nothing about guessing.
    count(*) FILTER (WHERE action <> 'register') AS searches,
    count(*) FILTER (WHERE action <> 'register' AND outcome = ANY ($3::text[])) AS found
FROM learners.look_up
WHERE at > $1 AND at <= $2 AND action IN ('find', 'check', 'find_by_uln', 'verify', 'retrieve', 'register')
GROUP BY party, role
"""
_RAISE = """
INSERT INTO learners.alarm (party, kind, since, role, look_ups, found, at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (party, kind, since) DO UPDATE SET look_ups = excluded.look_ups, found = excluded.found, at = excluded.at
"""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """How much looking is usual for a role."""

    an_hour: int
    a_day: int
    from_: int
    least_found: int
    most_found: int


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The declared purposes and limits."""

    purposes: dict[str, str]
    limits: dict[str, Limits]


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """A caller that looks more than its role does, or finds suspiciously little or much."""

    party: str
    role: str
    kind: str  # an_hour, a_day, least_found, most_found
    look_ups: int
    found: int


@cache
def rules() -> Rules:
    """The declared purposes and limits."""
    return declarations.load(FILE, Rules)


async def note(conn: Any, who: Caller, action: str, outcome: str, learner: UUID | None) -> None:
    """Leave the row of one look-up or change."""
    await conn.execute(_NOTE_ONE, who.party, who.person, who.role, who.purpose, action, outcome, learner)


async def note_many(
    conn: Any, who: Caller, action: str, outcomes: Sequence[str], learners: Sequence[UUID | None]
) -> None:
    """Leave a row for each of many."""
    await conn.execute(
        _NOTE, who.party, who.person, who.role, who.purpose, action, list(outcomes), list(learners)
    )


async def raise_alarms(conn: Any, now: datetime) -> list[Alarm]:
    """Compare the last hour and day of every caller with its role's limits; alarms are kept, one a caller, kind and day."""
    raised = []
    for hours, kinds in ((1, ("an_hour",)), (24, ("a_day", "least_found", "most_found"))):
        counted = await conn.fetch(_COUNT, now - timedelta(hours=hours), now, [answers.EXACT, answers.MASTER])
        for row in counted:
            limits = rules().limits.get(row["role"])
            raised += [
                Alarm(
                    party=row["party"],
                    role=row["role"],
                    kind=kind,
                    look_ups=row["look_ups"],
                    found=row["found"],
                )
                for kind in kinds
                if limits is None or _exceeds(kind, limits, row["look_ups"], row["searches"], row["found"])
            ]
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for alarm in raised:
        await conn.execute(_RAISE, alarm.party, alarm.kind, day, alarm.role, alarm.look_ups, alarm.found, now)
    return raised


def _exceeds(kind: str, limits: Limits, look_ups: int, searches: int, found: int) -> bool:
    if kind == "an_hour":
        return look_ups > limits.an_hour
    if kind == "a_day":
        return look_ups > limits.a_day
    if searches < max(limits.from_, 1):
        return False
    share = 100 * found / searches
    return share < limits.least_found if kind == "least_found" else share > limits.most_found
