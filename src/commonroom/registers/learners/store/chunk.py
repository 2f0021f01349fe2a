"""Deciding a chunk: everybody against the register in columns, then the new ones against each other.

Two learners of one provider's file never get one number. The provider says of them that they are two, so twins in one file
need no clerk; but two rows that would be one person anywhere else are shown to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from commonroom.registers.learners import matching
from commonroom.registers.learners.matching.people import Decision, Details
from commonroom.registers.learners.store import candidates
from commonroom.registers.learners.store.candidates import RegisteredPerson
from commonroom.registers.learners.store.persons import block_hashes, hashed

TWICE = "file"  # the guard: twice in one file


async def decide_chunk(
    conn: Any, queries: Sequence[Details], ids: Sequence[UUID], claimed: set[UUID], *, one_file: bool
) -> list[Decision]:
    """A decision for each. `ids` are those that new persons of this chunk get; `claimed` are already somebody else's."""
    keys = [[hashed(*key) for key in matching.query_keys(matching.normalise(details))] for details in queries]
    found = await candidates.of_many(conn, queries, keys)
    decided = matching.decide_many(
        queries,
        found.known,
        found.pairs,
        overrides=found.overrides,
        one_file=one_file,
        registered=found.registered,
    )
    decided = [_waits(one) if one.outcome == "existing" and one.person in claimed else one for one in decided]
    return _among_themselves(queries, ids, keys, decided, one_file, found.registered)


def _among_themselves(
    queries: Sequence[Details],
    ids: Sequence[UUID],
    keys: Sequence[Sequence[int]],
    decided: list[Decision],
    one_file: bool,
    registered: int,
) -> list[Decision]:
    """The new ones that are a new one before them in the chunk."""
    new = [place for place, one in enumerate(decided) if one.outcome == "new"]
    known = [RegisteredPerson(person=ids[place], details=queries[place]) for place in new]
    pairs = _pairs([keys[place] for place in new], [block_hashes(one) for one in known])
    if not pairs:
        return decided
    again = matching.decide_many(
        [queries[place] for place in new],
        known,
        ([later for later, _ in pairs], [earlier for _, earlier in pairs]),
        one_file=False,
        registered=registered,
    )
    for place, one in zip(new, again, strict=True):
        if one.outcome == "existing":
            decided[place] = _waits(one) if one_file else _follow(one, ids, decided)
    return decided


def _pairs(asked: Sequence[Sequence[int]], blocks: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """(later, earlier) places that share a key."""
    earlier: dict[int, list[int]] = {}
    found = set[tuple[int, int]]()
    for place, (keys, own) in enumerate(zip(asked, blocks, strict=True)):
        found.update((place, other) for key in keys for other in earlier.get(key, ()))
        for key in own:
            earlier.setdefault(key, []).append(place)
    return sorted(found)


def _waits(decision: Decision) -> Decision:
    return msgspec.structs.replace(decision, outcome="review", person=None, guard=TWICE)


def _follow(decision: Decision, ids: Sequence[UUID], decided: Sequence[Decision]) -> Decision:
    """Who is the same as one that is itself the same as another: the first of them."""
    before = next((one for one, own in zip(decided, ids, strict=True) if own == decision.person), None)
    if before is not None and before.outcome == "existing":
        return msgspec.structs.replace(decision, person=before.person)
    return decision
