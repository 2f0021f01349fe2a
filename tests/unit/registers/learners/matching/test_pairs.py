"""The hand-made pairs: twins, siblings, namesakes, slips. What is expected of each was written before the matcher ran."""

from __future__ import annotations

import pytest

from commonroom.registers.learners.matching import (
    block_keys,
    decide,
    normalise,
    normalise_known,
    query_keys,
)
from tests.unit.registers.learners.matching.pairs import Pair, pairs

PAIRS = pairs()


def test_there_are_two_hundred_or_more() -> None:
    assert len(PAIRS) >= 200
    assert len({pair.id for pair in PAIRS}) == len(PAIRS)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.id)
def test_the_decision_is_the_expected_one(pair: Pair) -> None:
    shared = set(query_keys(normalise(pair.query))) & set(block_keys(normalise_known(pair.known)))

    decision = decide(pair.query, [pair.known] if shared else [])

    assert decision.outcome == pair.expected, pair.reason
