"""Deciding a chunk: everybody against the register in columns, then the new ones against each other.

Two learners of one provider's file never get one number. The provider says of them that they are two, so twins in one file
need no clerk; but two rows that would be one person anywhere else are shown to one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
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
        frequencies=found.frequencies,
    )
    decided = [_waits(one) if one.outcome == "existing" and one.person in claimed else one for one in decided]
    return _among_themselves(queries, ids, keys, decided, one_file, found)


def _among_themselves(
    queries: Sequence[Details],
    ids: Sequence[UUID],
    keys: Sequence[Sequence[int]],
    decided: list[Decision],
    one_file: bool,
    register: candidates.Many,
) -> list[Decision]:
    """The new ones that are a new one before them in the chunk.

    Somebody who stands there three times is like two others and neither is best, so those who were found to be another
    are left out and the rest is asked about again, until nobody more is found.
    """
    new = [place for place, one in enumerate(decided) if one.outcome == "new"]
    places = {id: place for place, id in enumerate(ids)}
    blocks = {place: block_hashes(_known(ids[place], queries[place])) for place in new}
    pairs = _pairs(new, keys, blocks)
    while pairs:
        asked, known = sorted({later for later, _ in pairs}), sorted({earlier for _, earlier in pairs})
        again = matching.decide_many(
            [queries[place] for place in asked],
            [_known(ids[place], queries[place]) for place in known],
            (
                [bisect_left(asked, later) for later, _ in pairs],
                [bisect_left(known, earlier) for _, earlier in pairs],
            ),
            one_file=False,
            registered=register.registered,
            frequencies=register.frequencies,
        )
        found = {place for place, one in zip(asked, again, strict=True) if one.outcome == "existing"}
        for place, one in zip(asked, again, strict=True):
            if place in found and isinstance(one.person, UUID):
                # Who is the same as one that is itself the same as another: the first of them.
                before = decided[places[one.person]]
                same = one if before.outcome == "new" else before
                decided[place] = _waits(same) if one_file else same
        pairs = [(later, earlier) for later, earlier in pairs if found and not found & {later, earlier}]
    return decided


def _known(id: UUID, details: Details) -> RegisteredPerson:
    return RegisteredPerson(person=id, details=details)


def _pairs(
    new: Sequence[int], keys: Sequence[Sequence[int]], blocks: Mapping[int, Sequence[int]]
) -> list[tuple[int, int]]:
    """(later, earlier) places that share a key."""
    earlier: dict[int, list[int]] = {}
    found = set[tuple[int, int]]()
    for place in new:
        found.update((place, other) for key in keys[place] for other in earlier.get(key, ()))
        for key in blocks[place]:
            earlier.setdefault(key, []).append(place)
    return sorted(found)


def _waits(decision: Decision) -> Decision:
    return msgspec.structs.replace(decision, outcome="review", person=None, guard=TWICE)
