"""Bands, guards and margin: an existing number, a clerk, or a new number."""

from __future__ import annotations

from collections.abc import Hashable, Sequence, Set

from commonroom.registers.learners.matching.people import Decision, Details, Known, Overrides


def decide(
    query: Details,
    candidates: Sequence[Known],
    *,
    overrides: Overrides = Overrides(),
    taken: Set[Hashable] = frozenset(),
    registered: int | None = None,
) -> Decision:
    """What is done with a query, given everybody in the register who shares a block key with it.

    `taken` are the persons whom the same file has already claimed: two learners in one provider's file never get one
    number, so such a candidate goes to a clerk.
    """
    raise NotImplementedError
