"""Block keys: two records are compared when they share one. The register is indexed once; the query is expanded."""

from __future__ import annotations

from commonroom.registers.learners.matching.normalise import Prepared


def block_keys(known: Prepared) -> tuple[tuple[str, str], ...]:
    """The (pass, key) pairs that are stored beside a registered person. Make `known` by `normalise_known`."""
    raise NotImplementedError


def query_keys(query: Prepared) -> tuple[tuple[str, str], ...]:
    """The (pass, key) pairs to look up: with day and month swapped, names swapped, previous and middle names."""
    raise NotImplementedError
