"""The store of the learner register: find, register, change, merge and undo, in PostgreSQL.

All functions take an asyncpg connection (as engines.database sets it up) that is in no transaction, except where said,
and the caller. Those that may give a number also take `numbers.Numbers.of(settings)`, opened once a process.

Raises everywhere: Problem CR-111 (403) when the caller's role may not do this (access/policies/learners.*.yaml),
CR-211 when no declared purpose is given. Answers for learners are codes of answers.yaml, never problems.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store.values import (
    Caller,
    Candidate,
    Case,
    Decided,
    Deduped,
    FindKind,
    Found,
    Learner,
    Merged,
    Registered,
    Registration,
    Updated,
    Verdict,
    Verification,
    Verified,
)

__all__ = [
    "Caller",
    "Candidate",
    "Case",
    "Decided",
    "Deduped",
    "Found",
    "Learner",
    "Merged",
    "Registered",
    "Registration",
    "Updated",
    "Verification",
    "Verified",
    "challenge",
    "decide_case",
    "dedupe",
    "find",
    "find_by_uln",
    "merge",
    "register",
    "register_many",
    "resolve_ulns",
    "review_case",
    "review_list",
    "set_sharing",
    "unmerge",
    "update",
    "verify",
    "verify_many",
]


async def find(conn: Any, who: Caller, details: Details, kind: FindKind = "full") -> Found:
    """Look for a learner by details. WSRC0001 none, 0002 too many, 0003 possible (masked), 0004 exact, 0015, 0022."""
    raise NotImplementedError


async def find_by_uln(conn: Any, who: Caller, uln: str, given_name: str, family_name: str) -> Found:
    """Look a number up: WSRC0004, 0022 (the master instead), 0001; WSEC0136 no ULN, 0206 not shared, 0208 other name."""
    raise NotImplementedError


async def register(conn: Any, who: Caller, registration: Registration, numbers: Numbers) -> Registered:
    """Give a learner a number, or find the one he has. Looks first, under locks: nobody gets two."""
    raise NotImplementedError


async def register_many(
    conn: Any,
    who: Caller,
    registrations: Sequence[Registration],
    numbers: Numbers,
    *,
    taken: Collection[str] = (),
) -> list[Registered]:
    """The same for a chunk of one provider's file (at most 5,000): one transaction, answers in the same order.

    May be called inside a transaction of the caller's: then the chunk and the note that it is done commit together.
    No two registrations of one file get one number: the second goes to a clerk. For a file in chunks give as `taken`
    the numbers that the chunks before were answered.
    """
    raise NotImplementedError


async def update(
    conn: Any, who: Caller, uln: str, changes: Mapping[str, str | None], version: int
) -> Updated:
    """Change items of a learner by their names in `Learner`. WSRC0006, 0013 (changed since), 0014, 0019, 0020."""
    raise NotImplementedError


async def set_sharing(conn: Any, who: Caller, uln: str, ability: str) -> Updated:
    """Set the ability to share; it counts at once. WSRC0006, 0014, 0019, 0020."""
    raise NotImplementedError


async def challenge(conn: Any, who: Caller, uln: str, item: str, note: str) -> UUID:
    """Say that an item of a learner is wrong; the case that a clerk will decide."""
    raise NotImplementedError


async def verify(conn: Any, who: Caller, verification: Verification) -> Verified:
    """Whether a number is this person's. WSRC0004, 0022, 0001; WSEC0136, 0208."""
    raise NotImplementedError


async def verify_many(conn: Any, who: Caller, verifications: Sequence[Verification]) -> list[Verified]:
    """The same for many, in one round trip; answers in the same order."""
    raise NotImplementedError


async def resolve_ulns(conn: Any, ulns: Sequence[str]) -> dict[str, str]:
    """The number that now stands for each number we gave; itself where nothing was merged. Others are left out."""
    raise NotImplementedError


async def merge(conn: Any, who: Caller, master: str, linked: str) -> Merged:
    """Make two persons one: `linked` from now on stands for `master`. Raises Problem CR-212."""
    raise NotImplementedError


async def unmerge(conn: Any, who: Caller, merge: UUID) -> Merged:
    """Undo a merge: every answer is as it was. Raises Problem CR-212."""
    raise NotImplementedError


async def review_list(conn: Any, who: Caller, limit: int = 50) -> list[Case]:
    """Open cases, the oldest first, without those that this clerk has already decided."""
    raise NotImplementedError


async def review_case(conn: Any, who: Caller, case: UUID) -> Case:
    """One case. Raises Problem CR-213."""
    raise NotImplementedError


async def decide_case(
    conn: Any, who: Caller, case: UUID, verdict: Verdict, numbers: Numbers, person: UUID | None = None
) -> Decided:
    """A clerk's verdict; `person` says who it is when `same` (may be left out where there is one candidate)."""
    raise NotImplementedError


async def dedupe(conn: Any, who: Caller, *, since: Any = None, merge: bool = True) -> Deduped:
    """Look for persons with two numbers: merge what registering would have joined, open cases for what is doubtful."""
    raise NotImplementedError
