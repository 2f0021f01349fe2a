"""What clerks decide: is this somebody whom we know? A decision is a label for the weights, and holds for the same details
whenever they are sent again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commonroom.engines import clock
from commonroom.problems import Problem
from commonroom.registers.learners import matching
from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import (
    candidates,
    locks,
    merging,
    permissions,
    persons,
    views,
    watch,
    writing,
)
from commonroom.registers.learners.store.cases import Suspect
from commonroom.registers.learners.store.values import Caller, Candidate, Case, Decided, Registration, Verdict
from commonroom.registers.learners.store.writing import NewPerson
from commonroom.standard import is_valid

MOST_LISTED = 500
_COLUMNS = """
    r.id, r.kind, r.opened_at, r.sent, r.party, r.guard, r.clerks, r.candidates, r.note, r.registration, r.person,
    r.fingerprint, r.closed_at, r.master,
    ARRAY(
        SELECT v.verdict FROM learners.verdict v WHERE v.review = r.id AND v.entry > r.asked_after ORDER BY v.entry
    ) AS verdicts
"""
_LIST = f"""
SELECT {_COLUMNS}
FROM learners.review r
WHERE r.closed_at IS NULL AND NOT EXISTS (
    SELECT FROM learners.verdict v WHERE v.review = r.id AND v.clerk = $1 AND v.entry > r.asked_after
)
ORDER BY r.opened_at, r.id
LIMIT $2
"""  # noqa: S608 - constants
_ONE = f"SELECT {_COLUMNS} FROM learners.review r WHERE r.id = $1"  # noqa: S608 - constants
_HOLD = "SELECT FROM learners.review WHERE id = $1 FOR UPDATE"
_CURRENT = "SELECT one, learners.current(one) AS now FROM unnest($1::uuid[]) AS one"
_NOW = "SELECT learners.current($1)"
_SAY = "INSERT INTO learners.verdict (review, clerk, verdict, person, at) VALUES ($1, $2, $3, $4, $5)"
_SAID = """
SELECT v.clerk, v.verdict, learners.current(v.person) AS person
FROM learners.verdict v JOIN learners.review r ON r.id = v.review
WHERE v.review = $1 AND v.entry > r.asked_after
"""
_CLOSE = "UPDATE learners.review SET closed_at = $2, outcome = $3, decided_person = $4 WHERE id = $1"
_ASK_AGAIN = """
UPDATE learners.review
SET candidates = $2::json, guard = $3, asked_after = (SELECT max(entry) FROM learners.verdict WHERE review = $1)
WHERE id = $1
"""
_MARK = """
INSERT INTO learners.marker (fingerprint, person, verdict, review, at)
SELECT $1, one, $2, $3, $4 FROM unnest($5::uuid[]) AS one
ON CONFLICT (fingerprint, person) DO UPDATE SET verdict = excluded.verdict, review = excluded.review, at = excluded.at
"""
_APART = """
INSERT INTO learners.apart (one, other, review, at)
SELECT least($1, one), greatest($1, one), $2, $3 FROM unnest($4::uuid[]) AS one WHERE one <> $1
ON CONFLICT (one, other) DO NOTHING
"""
_REGISTRATION = "SELECT party, sent, at FROM learners.registration WHERE id = $1"
_ULN = "SELECT uln FROM learners.person WHERE id = $1"


async def review_list(conn: Any, who: Caller, limit: int = 50) -> list[Case]:
    """Open cases, the oldest first, without those that this clerk has already decided."""
    permissions.require(who, "review")
    rows = await conn.fetch(_LIST, _clerk(who), min(max(limit, 1), MOST_LISTED))
    found = await _cases(conn, rows)
    await watch.note(conn, who, "review_list", f"{len(found)} cases", None)
    return found


async def review_case(conn: Any, who: Caller, case: UUID) -> Case:
    """One case, open or closed. Raises Problem CR-213 (404)."""
    permissions.require(who, "review")
    rows = await conn.fetch(_ONE, case)
    if not rows:
        raise _problem("there is no such case", 404)
    (found,) = await _cases(conn, rows)
    await watch.note(conn, who, "review_case", "shown", None)
    return found


async def decide_case(
    conn: Any, who: Caller, case: UUID, verdict: Verdict, numbers: Numbers, person: UUID | None = None
) -> Decided:
    """A clerk's verdict; `person` says who it is when `same` (may be left out where there is one candidate).

    The case closes when as many clerks agree as it takes. Raises Problem CR-213: no such open case, decided by this
    clerk before, or a person who is no candidate.
    """
    permissions.require(who, "review")
    async with conn.transaction():
        await conn.execute(_HOLD, case)
        row = await conn.fetchrow(_ONE, case)
        if row is None or row["closed_at"] is not None:
            raise _problem("there is no such open case", 404)
        (shown,) = await _cases(conn, [row])
        chosen = _chosen(shown, verdict, person)
        said = await conn.fetch(_SAID, case)
        if any(one["clerk"] == _clerk(who) for one in said):
            raise _problem("this clerk has decided the case before; another one must", 409)
        now = await clock.now(conn)
        await conn.execute(_SAY, case, _clerk(who), verdict, chosen, now)
        agreeing = 1 + sum((one["verdict"], one["person"]) == (verdict, chosen) for one in said)
        done = Decided(closed=False)
        if verdict != "cannot_tell" and agreeing >= shown.clerks:
            done = await _settle(conn, who, row, shown, chosen, numbers, now)
        await watch.note(conn, who, "decide_case", verdict, chosen)
    return done


async def _settle(
    conn: Any, who: Caller, row: Any, case: Case, chosen: UUID | None, numbers: Numbers, now: datetime
) -> Decided:
    """Let a decision that stands have its effect. `chosen` is None when it is none of the candidates."""
    everybody = [one.person for one in case.candidates]
    person: UUID | None = row["person"]
    merge: UUID | None = None
    if case.kind == "registration":
        await conn.execute(
            _MARK, row["fingerprint"], "different", case.id, now, [p for p in everybody if p != chosen]
        )
        if chosen is not None:
            await conn.execute(_MARK, row["fingerprint"], "same", case.id, now, [chosen])
        person = await _place(conn, who, row, case, chosen, numbers, now)
        if person is None:
            return Decided(closed=False)
        if chosen is None:
            await conn.execute(_APART, person, case.id, now, everybody)
    elif case.kind == "pair" and person is not None:
        person, chosen = await _current_pair(conn, person, chosen)
        asked = {person: 0, chosen: 1}.get(await conn.fetchval(_NOW, row["master"]))
        if chosen is None:
            await conn.execute(_APART, person, case.id, now, everybody)
        elif chosen != person:
            pair = (person, chosen)
            # Ids rise with time: unless a clerk said otherwise the number that was given first stays.
            person = min(pair) if asked is None else pair[asked]
            gone = pair[0] if person == pair[1] else pair[1]
            merge = (await merging.merge_persons(conn, person, gone, _clerk(who), now)).merge
    await conn.execute(_CLOSE, case.id, now, "different" if chosen is None else "same", person)
    return Decided(closed=True, uln=await conn.fetchval(_ULN, person), merge=merge)


async def _current_pair(conn: Any, person: UUID, chosen: UUID | None) -> tuple[UUID, UUID | None]:
    """Who the two are by now, held: either may have been merged since the case was opened, even the one into the other."""
    held = await writing.hold(conn, [person] if chosen is None else [person, chosen])
    return held[person], None if chosen is None else held[chosen]


async def _place(
    conn: Any, who: Caller, row: Any, case: Case, chosen: UUID | None, numbers: Numbers, now: datetime
) -> UUID | None:
    """Whom the registration of a case is about from now on; None when others must be looked at first."""
    sent = await conn.fetchrow(_REGISTRATION, row["registration"])
    registration = msgspec.json.decode(sent["sent"], type=Registration)
    person = chosen
    if person is None:
        # Somebody may have been registered since the case was opened.
        await locks.lock(conn, [matching.normalise(registration.details)])
        found = await candidates.of_one(conn, registration.details)
        decision = found.decision()
        if decision.outcome == "existing" and isinstance(decision.person, UUID):
            person = decision.person
        elif decision.outcome == "review":
            again = [
                Suspect(one.person, one.weight, one.parts, one.guard)
                for one in decision.candidates
                if isinstance(one.person, UUID)
            ]
            await conn.execute(_ASK_AGAIN, case.id, msgspec.json.encode(again).decode(), decision.guard)
            return None
        else:
            return await _new(conn, sent, row["registration"], registration, _clerk(who), numbers, now)
    person = (await writing.hold(conn, [person]))[person]
    await writing.link(
        conn, row["registration"], person, _clerk(who), None if chosen is None else "clerk", now
    )
    await writing.rewrite(conn, [person])
    await _add_upn(conn, registration, person, now)
    return person


async def _new(
    conn: Any,
    sent: Any,
    id: UUID,
    registration: Registration,
    clerk: str,
    numbers: Numbers,
    now: datetime,
) -> UUID:
    """A new person from a registration that waited."""
    upn = registration.details.upn
    keys = await writing.keys_of(conn, [upn]) if upn and is_valid("UPN", upn) else {}
    (uln,) = await numbers.draw(conn, 1)
    person = keys.get(upn or "", id)
    said = persons.Said(
        kind="registration", party=sent["party"], at=sent["at"], sent=sent["sent"], holds=True
    )
    made = NewPerson(person=persons.project(person, [said]), id=person, uln=uln)
    await writing.add_persons(conn, sent["party"], [made], sent["at"])
    await writing.link(conn, id, person, clerk, "first", now)
    await _add_upn(conn, registration, person, now)
    return person


async def _add_upn(conn: Any, registration: Registration, person: UUID, now: datetime) -> None:
    upn = registration.details.upn
    if upn and is_valid("UPN", upn):
        await writing.add_upns(conn, [(upn, person)], now)


def _chosen(case: Case, verdict: Verdict, person: UUID | None) -> UUID | None:
    """The candidate that a verdict means."""
    if verdict != "same":
        return None
    persons = [one.person for one in case.candidates]
    if person is None and len(persons) == 1:
        return persons[0]
    if case.kind == "challenge":
        return None
    if person not in persons:
        raise _problem("the verdict must say which of the candidates it is", 400)
    return person


async def _cases(conn: Any, rows: Sequence[Any]) -> list[Case]:
    suspects = {row["id"]: msgspec.json.decode(row["candidates"], type=list[Suspect]) for row in rows}
    named = {one.person for many in suspects.values() for one in many}
    current = {row["one"]: row["now"] for row in await conn.fetch(_CURRENT, list(named))} if named else {}
    known = await candidates.known_of(conn, set(filter(None, current.values())))
    learners = await views.learners_of(conn, list(known))
    found = []
    for row in rows:
        shown: dict[UUID, Candidate] = {}
        for one in suspects[row["id"]]:
            # Candidates that were merged meanwhile are one.
            person = current.get(one.person)
            if person in known and person not in shown:
                shown[person] = Candidate(
                    person=person,
                    uln=learners[person].uln or "",
                    details=known[person].details,
                    weight=one.weight,
                    parts=one.parts,
                    guard=one.guard,
                )
        found.append(_case(row, tuple(shown.values())))
    return found


def _case(row: Any, shown: tuple[Candidate, ...]) -> Case:
    return Case(
        id=row["id"],
        kind=row["kind"],
        opened_at=row["opened_at"],
        sent=msgspec.json.decode(row["sent"], type=Details),
        party=row["party"],
        guard=row["guard"],
        clerks=row["clerks"],
        candidates=shown,
        verdicts=tuple(row["verdicts"]),
        note=row["note"],
    )


def _clerk(who: Caller) -> str:
    return who.person or who.party


def _problem(detail: str, status: int) -> Problem:
    return Problem(
        "CR-213", detail, status=status, where="the case", remedy="List the open cases and take one of them."
    )
