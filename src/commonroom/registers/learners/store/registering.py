"""Registering: look first, under locks, then an existing number, a clerk, or a new number.

A provider never has to call `find` before: registering does it, in the transaction that gives the number. What it cannot
decide for certain is left to a clerk (WSRC0003); where too many are alike nothing is kept and the provider is asked to
find the learner with more items first (WSRC0021).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commonroom.engines import clock
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.registers.learners import answers, forms, matching
from commonroom.registers.learners.matching.people import Decision
from commonroom.registers.learners.numbers import Numbers, is_uln
from commonroom.registers.learners.store import (
    candidates,
    cases,
    finding,
    items,
    locks,
    permissions,
    persons,
    views,
    watch,
    writing,
)
from commonroom.registers.learners.store.cases import NewCase, Suspect
from commonroom.registers.learners.store.chunk import decide_chunk
from commonroom.registers.learners.store.values import Caller, Learner, Registered, Registration
from commonroom.registers.learners.store.writing import HoldsBy, Link, NewPerson
from commonroom.standard import is_valid

MOST_AT_ONCE = 5_000
LETTER = "hub"  # the source of what a school told of its own pupils, by a letter that only it can send
_HOLDERS = """
SELECT u.number, u.person, p.known
FROM learners.uln u JOIN learners.person p ON p.id = u.person
WHERE u.number = ANY ($1::text[])
"""
_PERSONS = "SELECT person FROM learners.uln WHERE number = ANY ($1::text[])"


class _Entry(msgspec.Struct, kw_only=True):
    """One registration on its way to an answer."""

    place: int
    registration: Registration
    id: UUID
    decision: Decision | None = None
    person: UUID | None = None  # whom it is about, once that is known
    by: str = "rule"
    uln: str | None = None
    case: UUID | None = None


async def register(conn: Any, who: Caller, registration: Registration, numbers: Numbers) -> Registered:
    """Give a learner a number, or find the one he has.

    WSRC0005 a new number; 0004 he had one, 0022 and it is the master of others; 0003 a clerk will decide (`case`, and
    masked candidates); 0021 too many are alike; 0015 something mandatory is missing (`missing`) or cannot be used
    (`wrong`).
    """
    (answer,) = await register_many(conn, who, [registration], numbers)
    return answer


async def register_many(
    conn: Any,
    who: Caller,
    registrations: Sequence[Registration],
    numbers: Numbers,
    *,
    taken: Collection[str] = (),
    one_file: bool = True,
) -> list[Registered]:
    """The same for a chunk of one provider's file (at most 5,000): one transaction, answers in the same order.

    Inside a transaction of the caller's (READ COMMITTED) the chunk and the caller's note that it is done commit together.
    No two learners of one file get one number: the second goes to a clerk. For a file in chunks give as `taken` the
    numbers that the chunks before were answered. With `one_file=False` the registrations are of several providers, and
    may well be of one person. Raises Problem CR-211 for more than 5,000.
    """
    permissions.require(who, "register")
    if len(registrations) > MOST_AT_ONCE:
        raise Problem(
            "CR-211",
            f"{len(registrations):,} learners were sent at once",
            remedy=f"Send at most {MOST_AT_ONCE:,} in a call.",
        )
    faults = [items.faults_of_registration(one) for one in registrations]
    today = await clock.today(conn)
    wrong = [items.wrong_in_registration(one, today, _youngest(one)) for one in registrations]
    entries = [
        _Entry(place=place, registration=one, id=uuid7())
        for place, one in enumerate(registrations)
        if not faults[place] and not wrong[place]
    ]
    async with conn.transaction():
        if entries:
            await _decide_and_write(conn, who, entries, numbers, taken, one_file)
        answered = await _answers(conn, entries)
        found = [
            answered.get(place)
            or Registered(
                code=answers.INSUFFICIENT,
                missing=faults[place],
                wrong=wrong[place],
                reference=one.reference,
            )
            for place, one in enumerate(registrations)
        ]
        people: dict[int, UUID | None] = {one.place: one.person for one in entries}
        await watch.note_many(
            conn,
            who,
            "register",
            [one.code for one in found],
            [people.get(place) for place in range(len(found))],
        )
    return found


def _youngest(registration: Registration) -> int:
    # Of the pupils in schools' letters the school year decides (flow/tellings.py).
    return 0 if registration.source == LETTER else forms.YOUNGEST


async def _decide_and_write(
    conn: Any,
    who: Caller,
    entries: list[_Entry],
    numbers: Numbers,
    taken: Collection[str],
    one_file: bool,
) -> None:
    prepared = [matching.normalise(one.registration.details) for one in entries]
    now = await locks.lock(conn, prepared)
    await _by_number(conn, entries)
    open_ones = [one for one in entries if one.person is None]
    claimed = {row["person"] for row in await conn.fetch(_PERSONS, list(taken))} if taken else set()
    claimed |= {one.person for one in entries if one.person is not None} if one_file else set()
    await _decide(conn, open_ones, claimed, one_file)
    held = await writing.hold(
        conn, {one.person for one in entries if one.person is not None} - {one.id for one in entries}
    )
    for one in entries:
        one.person = held.get(one.person, one.person) if one.person is not None else None
    new = [one for one in open_ones if one.decision and one.decision.outcome == "new"]
    await _write_new(conn, who, new, numbers, now)
    kept = [one for one in entries if one.decision is None or one.decision.outcome != "too_many"]
    await writing.say(conn, who, "registration", [_link(one) for one in kept], now)
    existing = [one.person for one in kept if one.person is not None and one not in new]
    await writing.rewrite(conn, dict.fromkeys(existing))
    await writing.add_upns(conn, [pair for one in kept if (pair := _upn(one))], now)
    await _open_cases(conn, who, open_ones, now)


async def _by_number(conn: Any, entries: Sequence[_Entry]) -> None:
    """Where the sender holds a number and the names and the birth agree, that is who it is."""
    asked = [one.registration.uln for one in entries if one.registration.uln and is_uln(one.registration.uln)]
    if not asked:
        return
    holders = {row["number"]: row for row in await conn.fetch(_HOLDERS, asked)}
    for one in entries:
        holder = holders.get(one.registration.uln or "")
        if holder is None:
            continue
        known = msgspec.json.decode(holder["known"], type=candidates.RegisteredPerson)
        details = one.registration.details
        if details.date_of_birth == known.details.date_of_birth and finding.names_agree(details, known):
            one.person, one.by = holder["person"], "number"


async def _decide(conn: Any, entries: Sequence[_Entry], claimed: set[UUID], one_file: bool) -> None:
    if len(entries) == 1:
        (one,) = entries
        found = await candidates.of_one(conn, one.registration.details)
        one.decision = found.decision(claimed)
    elif entries:
        queries = [one.registration.details for one in entries]
        decided = await decide_chunk(conn, queries, [one.id for one in entries], claimed, one_file=one_file)
        for one, decision in zip(entries, decided, strict=True):
            one.decision = decision
    for one in entries:
        if one.decision and one.decision.outcome == "existing" and isinstance(one.decision.person, UUID):
            one.person = one.decision.person


async def _write_new(conn: Any, who: Caller, new: Sequence[_Entry], numbers: Numbers, now: datetime) -> None:
    """New persons, under the keys by which other rooms know them already; numbers for them."""
    if not new:
        return
    upns = [upn for one in new if (upn := one.registration.details.upn) and is_valid("UPN", upn)]
    keys = await writing.keys_of(conn, upns)
    ulns = await numbers.draw(conn, len(new))
    made = []
    for one, uln in zip(new, ulns, strict=True):
        # The first who brings a UPN gets its key. `id` is what the rest of the chunk knows a new person by.
        one.person, one.uln = keys.pop(one.registration.details.upn or "", one.id), uln
        said = persons.Said(
            kind="registration", party=who.party, at=now, sent=_json(one.registration), holds=True
        )
        made.append(NewPerson(person=persons.project(one.person, [said]), id=one.person, uln=uln))
    await writing.add_persons(conn, who.party, made, now)


async def _open_cases(conn: Any, who: Caller, entries: Sequence[_Entry], now: datetime) -> None:
    waiting = [one for one in entries if one.decision and one.decision.outcome == "review"]
    # A new person of this very chunk has been given the key of its UPN meanwhile.
    ids = {one.id: one.person for one in entries if one.person is not None}
    opened = await cases.open_all(conn, [_case(who, one, ids) for one in waiting], now)
    for one, case in zip(waiting, opened, strict=True):
        one.case = case


def _case(who: Caller, one: _Entry, ids: dict[UUID, UUID]) -> NewCase:
    decision = one.decision
    assert decision is not None
    return NewCase(
        kind="registration",
        party=who.party,
        sent=one.registration.details,
        candidates=tuple(
            Suspect(ids.get(each.person, each.person), each.weight, each.parts, each.guard)
            for each in decision.candidates
            if isinstance(each.person, UUID)
        ),
        guard=decision.guard,
        model=decision.model,
        registration=one.id,
    )


async def _answers(conn: Any, entries: Sequence[_Entry]) -> dict[int, Registered]:
    """The answer of each, by its place."""
    wanted = {one.person for one in entries if one.person is not None and one.uln is None}
    wanted |= {each.person for one in entries if one.case for each in _suspects(one)}
    learners = await views.learners_of(conn, list(wanted)) if wanted else {}
    found = {}
    for one in entries:
        code, uln, possible = answers.FIND_FIRST, one.uln, tuple[Learner, ...]()
        if one.uln is not None:
            code = answers.REGISTERED
        elif one.person is not None:
            uln = learners[one.person].uln
            code = answers.MASTER if learners[one.person].linked_ulns else answers.EXACT
        elif one.case is not None:
            sent = one.registration.details
            seen = [learners[each.person] for each in _suspects(one) if each.person in learners]
            code, possible = answers.POSSIBLE, tuple(views.candidate(each, sent) for each in seen)
        found[one.place] = Registered(
            code=code,
            uln=uln,
            registration=None if code == answers.FIND_FIRST else one.id,
            case=one.case,
            learners=possible,
            reference=one.registration.reference,
        )
    return found


def _suspects(one: _Entry) -> list[Any]:
    return [] if one.decision is None else [c for c in one.decision.candidates if isinstance(c.person, UUID)]


def _link(one: _Entry) -> Link:
    sent, decision = _json(one.registration), one.decision
    if decision is None or one.person is None:
        return Link(
            registration=one.id, sent=sent, person=one.person, decided_by=one.by, holds_by=_holds_by(one)
        )
    best = next((each for each in decision.candidates if each.person == one.person), None)
    return Link(
        registration=one.id,
        sent=sent,
        person=one.person,
        weight=best.weight if best else None,
        parts=best.parts if best else (),
        model=decision.model,
        guard=decision.guard,
        holds_by=_holds_by(one),
    )


def _holds_by(one: _Entry) -> HoldsBy | None:
    """Who names somebody whom others registered gets the number, and no say: a name and a birthday are soon known."""
    if one.uln is not None:
        return "first"
    return "letter" if one.person is not None and one.registration.source == LETTER else None


def _upn(one: _Entry) -> tuple[str, UUID] | None:
    upn = one.registration.details.upn
    return (upn, one.person) if upn and one.person is not None and is_valid("UPN", upn) else None


def _json(registration: Registration) -> str:
    return msgspec.json.encode(registration).decode()
