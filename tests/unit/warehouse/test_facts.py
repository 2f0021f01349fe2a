"""However changes arrive, the fact log comes to the same state."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from commonroom.warehouse.facts import Change, Fact, Slot, plan

START = datetime.fromisoformat("2026-09-01 08:00")


def change(key: str, day: int, version: int, value: str, position: int, withdrawn: bool = False) -> Change:
    fact = Fact(
        key=(key,), valid_from=date(2026, 9, day), valid_to=None, items=(key, None if withdrawn else value), weight=1,
        version=version, known_position=position, known_from=START + timedelta(minutes=position),
        message=f"m{position}", sender="urn:s", learner_id=None,
    )  # fmt: skip
    return Change(fact, withdrawn)


def load(batches: Iterable[Sequence[Change]]) -> list[Fact]:
    """The log after loading the batches one after another, each seeing what the ones before it stored."""
    log: list[Fact] = []
    for batch in batches:
        newest: dict[Slot, Fact] = {}
        for fact in sorted(log, key=lambda fact: (fact.version, fact.weight)):
            newest[fact.slot] = fact
        log.extend(plan(batch, newest))
    return log


def current(log: Iterable[Fact]) -> Counter[tuple[object, ...]]:
    """What is true: items with the sum of their weights, where it is not 0."""
    sums: Counter[tuple[object, ...]] = Counter()
    for fact in log:
        sums[(*fact.slot, fact.items)] += fact.weight
    return Counter({items: total for items, total in sums.items() if total})


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """What one sender may say: per key, versions that rise, over a few days, now and then a withdrawal."""
    said = draw(
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.sampled_from("xyz"), st.booleans()))
    )
    versions: Counter[str] = Counter()
    changes = []
    for position, (key, day, value, withdrawn) in enumerate(said, start=1):
        versions[key] += 1
        changes.append(change(key, day, versions[key], value, position, withdrawn))
    return changes


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[Change], list[list[Change]]]:
    """A history, and the same changes in any order, some repeated, cut into any batches."""
    history = draw(histories())
    repeated = draw(st.lists(st.sampled_from(history), max_size=5)) if history else []
    order = draw(st.permutations([*history, *repeated]))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=4)))
    edges = [0, *cuts, len(order)]
    return history, [list(order[a:b]) for a, b in itertools.pairwise(edges)]


@given(arrivals())
@settings(max_examples=300, deadline=None)
def test_any_order_any_repetition_and_any_batches_come_to_the_same_state(
    case: tuple[list[Change], list[list[Change]]],
) -> None:
    history, batches = case
    assert current(load(batches)) == current(load([history]))


@given(arrivals())
@settings(max_examples=200, deadline=None)
def test_at_no_known_time_is_a_fact_counted_twice_or_taken_away_before_it_was_there(
    case: tuple[list[Change], list[list[Change]]],
) -> None:
    log = load(case[1])
    for moment in {fact.known_from for fact in log}:
        known = [fact for fact in log if fact.known_from <= moment]
        assert set(current(known).values()) <= {1}
        live_in_slot: Counter[Slot] = Counter()
        for fact in known:
            live_in_slot[fact.slot] += fact.weight
        assert set(live_in_slot.values()) <= {0, 1}


@given(histories(), st.data())
@settings(max_examples=200, deadline=None)
def test_how_messages_are_cut_into_batches_leaves_no_trace_in_the_log(
    history: list[Change], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(history)))
    assert load([history[:cut], history[cut:]]) == load([history])


def test_the_same_version_with_other_content_does_not_replace_what_is_stored() -> None:
    log = load([[change("a", 1, 1, "first", 1)], [change("a", 1, 1, "second", 2)]])
    assert [fact.items for fact in log] == [("a", "first")]


def test_a_correction_takes_the_live_row_away_and_adds_the_new_one_under_the_new_version_and_message() -> (
    None
):
    log = load([[change("a", 1, 1, "old", 1)], [change("a", 1, 2, "new", 2)]])
    assert [(f.items[1], f.weight, f.version, f.message) for f in log] == [
        ("old", 1, 1, "m1"),
        ("old", -1, 2, "m2"),
        ("new", 1, 2, "m2"),
    ]


def test_a_withdrawal_that_overtakes_its_record_keeps_the_record_out() -> None:
    log = load([[change("a", 1, 2, "", 1, withdrawn=True)], [change("a", 1, 1, "late", 2)]])
    assert [(fact.weight, fact.version) for fact in log] == [(0, 2)]


def test_a_withdrawn_record_may_be_sent_again_with_a_higher_version() -> None:
    said = [change("a", 1, 1, "x", 1), change("a", 1, 2, "", 2, withdrawn=True), change("a", 1, 3, "y", 3)]
    assert list(current(load([[one] for one in said]))) == [(("a",), date(2026, 9, 1), ("a", "y"))]


def test_a_later_valid_from_is_a_succession_and_leaves_the_earlier_row_alone() -> None:
    log = load([[change("a", 1, 1, "x", 1)], [change("a", 2, 2, "y", 2)]])
    assert [fact.weight for fact in log] == [1, 1]


def test_the_plan_does_not_alter_what_it_is_given() -> None:
    stored = change("a", 1, 1, "x", 1).fact
    before = msgspec.structs.replace(stored)
    plan([change("a", 1, 2, "y", 2)], {stored.slot: stored})
    assert stored == before
