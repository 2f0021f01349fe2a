"""Look-ups: by details, by number, and whether a number and a person belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from rapidfuzz.distance import JaroWinkler

from commonroom.access import Scope
from commonroom.registers.learners import answers, matching, numbers
from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.store import candidates, items, permissions, views, watch
from commonroom.registers.learners.store.candidates import RegisteredPerson
from commonroom.registers.learners.store.persons import REFUSED
from commonroom.registers.learners.store.values import (
    Caller,
    FindKind,
    Found,
    Learner,
    Verification,
    Verified,
)

SIMILAR = 0.85  # Jaro-Winkler: a slip of the pen, not another name
_HOLDER = "SELECT person, status FROM learners.uln WHERE number = $1"
_HOLDERS = """
SELECT u.number, u.person, u.status, p.uln AS master, p.known
FROM learners.uln u
JOIN learners.person p ON p.id = u.person
WHERE u.number = ANY ($1::text[])
"""
_RESOLVE = """
SELECT u.number, p.uln AS master
FROM learners.uln u
JOIN learners.person p ON p.id = u.person
WHERE u.number = ANY ($1::text[])
"""


async def find(conn: Any, who: Caller, details: Details, kind: FindKind = "full") -> Found:
    """Look for a learner by details.

    WSRC0001 none, 0002 too many, 0003 possible (at most ten, masked), 0004 exact, 0022 exact and the master of other
    numbers, 0015 when a name or the year of birth is missing or the birth is no date (`wrong`). A check has the code alone.
    """
    action: permissions.Action = "find" if kind == "full" else "check"
    scope = permissions.require(who, action)
    wrong = items.wrong_in_query(details)
    if wrong or items.faults_of(details):
        await watch.note(conn, who, action, answers.INSUFFICIENT, None)
        return Found(code=answers.INSUFFICIENT, wrong=wrong)
    near = await candidates.of_one(conn, details)
    found, person = await _answer(conn, who, details, near, scope)
    await watch.note(conn, who, action, found.code, person)
    return found if kind == "full" else Found(code=found.code)


async def find_by_uln(conn: Any, who: Caller, uln: str, given_name: str, family_name: str) -> Found:
    """Look a number up, with the names of who is said to hold it.

    WSRC0004, 0022 (the number is linked: the master instead), 0001; WSEC0136 no ULN or the temporary one, 0208 the
    names are of somebody else, 0206 the learner does not share: then only the number.
    """
    scope = permissions.require(who, "find")
    found, person = await _by_number(conn, who, scope, uln, Details(
        given_name=given_name, family_name=family_name, date_of_birth=""
    ))  # fmt: skip
    await watch.note(conn, who, "find_by_uln", found.code, person)
    return found


async def verify(conn: Any, who: Caller, verification: Verification) -> Verified:
    """Whether a number is this person's. WSRC0004, 0022 (with the master), 0001; WSEC0136, 0208."""
    (answer,) = await verify_many(conn, who, [verification])
    return answer


async def verify_many(conn: Any, who: Caller, verifications: Sequence[Verification]) -> list[Verified]:
    """The same for many, in one round trip; answers in the same order."""
    permissions.require(who, "check")
    asked = [one.uln for one in verifications if numbers.is_uln(one.uln)]
    holders = {row["number"]: row for row in await conn.fetch(_HOLDERS, asked)}
    found = [_verified(one, holders.get(one.uln)) for one in verifications]
    persons = [
        holders[one.uln]["person"] if answer.uln else None
        for one, answer in zip(verifications, found, strict=True)
    ]
    await watch.note_many(conn, who, "verify", [one.code for one in found], persons)
    return found


async def resolve_ulns(conn: Any, ulns: Sequence[str]) -> dict[str, str]:
    """The number that now stands for each number we gave; itself where nothing was merged. Others are left out."""
    return {row["number"]: row["master"] for row in await conn.fetch(_RESOLVE, list(ulns))}


async def retrieve(conn: Any, who: Caller, ulns: Sequence[str]) -> dict[str, str]:
    """The same for a caller from outside; each number leaves its row."""
    permissions.require(who, "check")
    masters = await resolve_ulns(conn, ulns)
    codes = [_resolved(uln, masters.get(uln)) for uln in ulns]
    await watch.note_many(conn, who, "retrieve", codes, [None] * len(codes))
    return masters


def names_agree(sent: Details, known: RegisteredPerson) -> bool:
    """Whether these names, whole or with a slip of the pen, are among those of the person, in either order."""
    ours, theirs = matching.normalise_known(known), matching.normalise(sent).names[0]
    pairs = [(name.given, name.family) for name in ours.names]
    pairs += [(ours.preferred, family) for _, family in pairs if ours.preferred]
    return any(
        (_similar(theirs.given, given) and _similar(theirs.family, family))
        or (_similar(theirs.given, family) and _similar(theirs.family, given))
        for given, family in pairs
    )


async def _answer(
    conn: Any, who: Caller, details: Details, near: candidates.One, scope: Scope
) -> tuple[Found, UUID | None]:
    decision = near.decision()
    if decision.outcome == "existing" and isinstance(decision.person, UUID):
        if not await permissions.allowed(conn, scope, [decision.person]):
            return Found(code=answers.NONE), None
        learner = views.learner_of(near.rows[decision.person])
        return _exact(who, details, learner, scope), decision.person
    if decision.outcome == "too_many":
        return Found(code=answers.TOO_MANY), None
    persons = [one.person for one in decision.candidates if isinstance(one.person, UUID)]
    if decision.outcome == "review" and (may := await permissions.allowed(conn, scope, persons)):
        seen = [person for person in persons if person in may]
        masked = [views.candidate(views.learner_of(near.rows[person]), details) for person in seen]
        return Found(code=answers.POSSIBLE, learners=tuple(masked)), None
    return Found(code=answers.NONE), None


def _exact(who: Caller, details: Details, learner: Learner, scope: Scope) -> Found:
    code = answers.MASTER if learner.linked_ulns else answers.EXACT
    learner = msgspec.structs.replace(learner, master_substituted=bool(learner.linked_ulns))
    return Found(code=code, uln=learner.uln, learners=(views.shown(who, learner, details, scope.masked),))


async def _by_number(
    conn: Any, who: Caller, scope: Scope, uln: str, names: Details
) -> tuple[Found, UUID | None]:
    if not numbers.is_uln(uln):
        return Found(code=answers.NO_ULN), None
    holder = await conn.fetchrow(_HOLDER, uln)
    if holder is None or not await permissions.allowed(conn, scope, [holder["person"]]):
        return Found(code=answers.NONE), None
    person: UUID = holder["person"]
    known = (await candidates.known_of(conn, {person}))[person]
    if not names_agree(names, known):
        return Found(code=answers.NOT_VERIFIED), person
    learner = (await views.learners_of(conn, [person]))[person]
    if learner.ability_to_share == REFUSED and who.role != "clerk":
        return Found(code=answers.NOT_SHARED, uln=learner.uln), person
    linked = holder["status"] == "linked"
    learner = msgspec.structs.replace(learner, master_substituted=linked)
    seen = views.shown(who, learner, names, scope.masked)
    return Found(code=answers.MASTER if linked else answers.EXACT, uln=learner.uln, learners=(seen,)), person


def _verified(asked: Verification, holder: Any) -> Verified:
    if not numbers.is_uln(asked.uln):
        return Verified(code=answers.NO_ULN)
    if holder is None:
        return Verified(code=answers.NONE)
    known = msgspec.json.decode(holder["known"], type=RegisteredPerson)
    said = Details(given_name=asked.given_name, family_name=asked.family_name, date_of_birth="")
    same_birth = not asked.date_of_birth or asked.date_of_birth == known.details.date_of_birth
    same_gender = asked.gender in (None, "", "0", "9", known.details.gender) or known.details.gender in "09"
    if not (names_agree(said, known) and same_birth and same_gender):
        return Verified(code=answers.NOT_VERIFIED)
    linked = holder["status"] == "linked"
    return Verified(code=answers.MASTER if linked else answers.EXACT, uln=holder["master"])


def _resolved(uln: str, master: str | None) -> str:
    return answers.NONE if master is None else answers.EXACT if master == uln else answers.MASTER


def _similar(one: str, other: str) -> bool:
    return one == other or (bool(one and other) and JaroWinkler.similarity(one, other) >= SIMILAR)
