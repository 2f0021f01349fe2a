"""The nightly search for persons with two numbers: everybody is asked about as if registered anew.

Where registering would have answered with the other number, the two become one. A doubtful pair is shown to a clerk, once,
when it weighs as much as a match and only a guard or the margin speaks against it. Twins are no news: registering has
told them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commonroom.engines import clock
from commonroom.registers.learners import matching
from commonroom.registers.learners.matching.parameters import parameters
from commonroom.registers.learners.matching.people import Decision
from commonroom.registers.learners.store import apart, candidates, cases, merging, permissions, watch
from commonroom.registers.learners.store.candidates import RegisteredPerson
from commonroom.registers.learners.store.cases import NewCase, Suspect
from commonroom.registers.learners.store.persons import hashed
from commonroom.registers.learners.store.values import Caller, Deduped

CHUNK = 2_000
NO_NEWS = ("twin", "different")
_NEXT = """
SELECT id, known FROM learners.person p
WHERE id > $1 AND ($2::timestamptz IS NULL OR updated_at > $2)
  AND EXISTS (SELECT FROM learners.uln u WHERE u.person = p.id AND u.status = 'active')
ORDER BY id LIMIT $3
"""
_ASKED = "SELECT person, candidates FROM learners.review WHERE closed_at IS NULL AND kind = 'pair'"
_NOBODY = UUID(int=0)


async def dedupe(conn: Any, who: Caller, *, since: datetime | None = None, merge: bool = True) -> Deduped:
    """Look for persons with two numbers among all, or among those that changed after `since`.

    With `merge=False` every pair is shown to a clerk. Each chunk of persons is a transaction of its own.
    """
    permissions.require(who, "merge")
    last, total = _NOBODY, Deduped(persons=0, pairs=0, merged=0, cases=0)
    asked = await _asked(conn)
    while rows := await conn.fetch(_NEXT, last, since, CHUNK):
        last = rows[-1]["id"]
        chunk = [msgspec.json.decode(row["known"], type=RegisteredPerson) for row in rows]
        async with conn.transaction():
            done = await _chunk(conn, who, chunk, asked, merge=merge)
        total = Deduped(
            persons=total.persons + len(chunk),
            pairs=total.pairs + done.pairs,
            merged=total.merged + done.merged,
            cases=total.cases + done.cases,
        )
    await watch.note(conn, who, "dedupe", f"{total.merged} merged, {total.cases} cases", None)
    return total


async def _chunk(
    conn: Any, who: Caller, chunk: Sequence[RegisteredPerson], asked: set[tuple[UUID, UUID]], *, merge: bool
) -> Deduped:
    decided, compared = await _compared(conn, chunk)
    parted = await apart.of(conn, [one.person for one in chunk])
    now, new, gone = await clock.now(conn), list[NewCase](), set[UUID]()
    for one, decision in zip(chunk, decided, strict=True):
        suspects = [
            each for each in _suspects(decision) if apart.ordered(one.person, each.person) not in parted
        ]
        if not suspects or gone & {one.person, suspects[0].person}:
            continue
        if decision.outcome == "existing" and merge:
            older, newer = apart.ordered(one.person, suspects[0].person)
            await merging.merge_persons(conn, older, newer, "deduplication", now, by_rule=True)
            gone |= {older, newer}  # what else there is about them, the next night sees
        elif (pairs := {apart.ordered(one.person, each.person) for each in suspects}) - asked:
            asked |= pairs
            new.append(_case(who, one, suspects, decision))
    await cases.open_all(conn, new, now)
    return Deduped(persons=len(chunk), pairs=compared, merged=len(gone) // 2, cases=len(new))


async def _compared(conn: Any, chunk: Sequence[RegisteredPerson]) -> tuple[list[Decision], int]:
    """What registering would say of each, asked about everybody else."""
    queries = [one.details for one in chunk]
    keys = [[hashed(*key) for key in matching.query_keys(matching.normalise(one))] for one in queries]
    found = await candidates.of_many(conn, queries, keys)
    pairs = [
        (place, other)
        for place, other in zip(*found.pairs, strict=True)
        if found.known[other].person != chunk[place].person
    ]
    decided = matching.decide_many(
        queries,
        found.known,
        ([place for place, _ in pairs], [other for _, other in pairs]),
        one_file=False,
        registered=found.registered,
        frequencies=found.frequencies,
    )
    return decided, len(pairs)


async def _asked(conn: Any) -> set[tuple[UUID, UUID]]:
    """The pairs about which a clerk has been asked and has not answered."""
    return {
        apart.ordered(row["person"], each.person)
        for row in await conn.fetch(_ASKED)
        for each in msgspec.json.decode(row["candidates"], type=list[Suspect])
    }


def _suspects(decision: Decision) -> list[Suspect]:
    """The others who may be the person: strong enough, and not known for twins."""
    if decision.outcome not in ("existing", "review"):
        return []
    return [
        Suspect(one.person, one.weight, one.parts, one.guard)
        for one in decision.candidates
        if isinstance(one.person, UUID)
        and one.weight >= parameters().bands.existing
        and one.guard not in NO_NEWS
    ]


def _case(who: Caller, one: RegisteredPerson, suspects: Sequence[Suspect], decision: Decision) -> NewCase:
    return NewCase(
        kind="pair",
        party=who.party,
        sent=one.details,
        candidates=tuple(suspects),
        guard=decision.guard,
        model=decision.model,
        person=one.person,
    )
