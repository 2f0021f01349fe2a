"""The columnar scorer: a whole batch at once. It decides as `decide` does, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from commonroom.registers.learners.matching.people import Decision, Details, Known, Overrides


def decide_many(
    queries: Sequence[Details],
    register: Sequence[Known],
    pairs: tuple[Sequence[int], Sequence[int]],
    *,
    overrides: Mapping[int, Overrides] | None = None,
    one_file: bool = True,
    registered: int | None = None,
) -> list[Decision]:
    """A decision for each query.

    `pairs` are two lists of equal length: positions in `queries` and in `register` that share a block key (the same
    pair may stand there twice). `overrides` by position of the query. With `one_file` the queries come from one
    provider's file: no two of them get one existing person; those after the first go to a clerk.
    """
    raise NotImplementedError
