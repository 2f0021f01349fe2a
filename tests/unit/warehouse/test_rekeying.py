"""Changed keys: whatever the order of facts and changes of keys, the same is true in the end."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonroom.warehouse.facts import Change, Fact, Slot, plan
from commonroom.warehouse.rekeying import Keys, Rekeyed, follow, move
from commonroom.warehouse.tables import FactTable

START = datetime.fromisoformat("2026-09-01 08:00")
MARKS = FactTable("mark", ("school", "upn", "day"), ("school", "upn", "day", "code"), frozenset(), None, ())
PUPIL = ("", ("school", "upn"))
Told = Change | Rekeyed


def said(position: int, pupil: str, day: str, version: int, code: str, withdrawn: bool) -> Change:
    fact = Fact(
        key=("s", pupil, day), valid_from=date(2026, 9, 7), valid_to=None,
        items=("s", pupil, day, None if withdrawn else code), weight=1, version=version, known_position=position,
        known_from=START + timedelta(minutes=position), message=f"m{position}", sender="urn:s", learner_id=None,
    )  # fmt: skip
    return Change(fact, withdrawn)


def rekeyed(position: int, old: str, new: str) -> Rekeyed:
    since = START + timedelta(minutes=position)
    return Rekeyed(("school", "upn"), ("s", old), ("s", new), position, since, f"m{position}", "urn:s")


def load(batches: Sequence[Sequence[Told]]) -> list[Fact]:
    """The log after loading batches as `batches.load` does, each seeing what those before it stored."""
    log: list[Fact] = []
    known: list[Rekeyed] = []
    for batch in batches:
        told = [one for one in batch if isinstance(one, Rekeyed)]
        known += told
        keys = Keys(known)
        ended: list[Fact] = []
        changes = [follow(MARKS, one, keys) for one in batch if isinstance(one, Change)]
        if told:
            gone = {(*one,) for one in keys.gone(PUPIL)}
            stored = [fact for fact in newest(log).values() if fact.key[:2] in gone]
            ended, moved = move(MARKS, stored, keys, told)
            changes += moved
        log += [*ended, *plan(changes, newest(log))]
    return log


def newest(log: Sequence[Fact]) -> dict[Slot, Fact]:
    lives: Counter[Slot] = Counter()
    for fact in log:
        lives[fact.slot] += fact.weight
    ranked = sorted(
        log,
        key=lambda fact: (
            lives[fact.slot] > 0 and fact.weight > 0,
            fact.rank,
            fact.has_moved,
            fact.known_position,
            fact.weight,
        ),
    )
    return {fact.slot: fact for fact in ranked}


def current(log: Sequence[Fact]) -> dict[object, int]:
    sums: Counter[object] = Counter()
    for fact in log:
        sums[fact.slot, fact.items] += fact.weight
    return {what: total for what, total in sums.items() if total}


PUPILS = "abcd"


@st.composite
def letters(draw: st.DrawFn) -> list[Told]:
    """What a school may say: marks of pupils under the number of the moment, corrections, withdrawals, new numbers."""
    found: list[Told] = []
    versions: Counter[tuple[str, str]] = Counter()
    became: dict[str, str] = {}
    for position in range(1, draw(st.integers(0, 10)) + 1):
        if draw(st.integers(0, 3)) == 0:
            # Also round in circles, and the same change again; but no key becomes two others.
            old, new = draw(st.lists(st.sampled_from(PUPILS), min_size=2, max_size=2, unique=True))
            found.append(rekeyed(position, old, became.setdefault(old, new)))
            continue
        pupil, day = draw(st.sampled_from(PUPILS)), draw(st.sampled_from("12"))
        versions[pupil, day] += 1
        found.append(
            said(
                position, pupil, day, versions[pupil, day], draw(st.sampled_from("/IN")), draw(st.booleans())
            )
        )
    return found


@given(letters(), st.data())
@settings(max_examples=400, deadline=None)
def test_any_order_any_repetition_and_any_batches_come_to_the_same_state(
    told: list[Told], data: st.DataObject
) -> None:
    expected = current(load([told]))
    repeated = data.draw(st.lists(st.sampled_from(told), max_size=3)) if told else []
    order = data.draw(st.permutations([*told, *repeated]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    batches = [order[a:b] for a, b in itertools.pairwise([0, *cuts, len(order)])]
    assert current(load(batches)) == expected
    assert set(expected.values()) <= {1}


CIRCLES = [
    # what was said in turn, and under which key all is known in the end
    (("ab", "ba"), "a", ["m1"]),
    (("ab", "ba", "ab"), "b", ["m2"]),
    (("ab", "bc", "ca"), "a", ["m1"]),
    (("ab", "bc", "ca", "bc"), "a", ["m1"]),
    (("ab", "bc", "ca", "ab"), "b", ["m2"]),
]


@pytest.mark.parametrize(("said_in_turn", "last", "superseded"), CIRCLES)
def test_of_changes_that_go_round_in_a_circle_the_newest_hold(
    said_in_turn: tuple[str, ...], last: str, superseded: list[str]
) -> None:
    told = [rekeyed(place, *pair) for place, pair in enumerate(said_in_turn, start=1)]
    for order in itertools.permutations(told):
        keys = Keys(order)
        assert [one.message for one in keys.superseded] == superseded
        assert {keys.present(PUPIL, ("s", pupil)) for pair in said_in_turn for pupil in pair} == {("s", last)}


def test_a_fact_comes_back_with_its_key_and_with_what_corrected_it_meanwhile() -> None:
    log = load(
        [
            [said(1, "a", "1", 1, "/", False)],
            [rekeyed(2, "a", "b")],
            [said(3, "b", "1", 2, "I", False)],
            [rekeyed(4, "b", "a")],
        ]
    )
    assert current(log) == {((("s", "a", "1"), date(2026, 9, 7)), ("s", "a", "1", "I")): 1}
    # And nothing that comes again changes anything.
    again = load([[*[said(1, "a", "1", 1, "/", False)], rekeyed(2, "a", "b"), rekeyed(4, "b", "a")]])
    assert [fact.items[-1] for fact in newest(again).values() if fact.weight > 0] == ["/"]


def test_a_chain_is_followed_to_its_end() -> None:
    keys = Keys([rekeyed(2, "b", "c"), rekeyed(1, "a", "b")])
    assert keys.present(PUPIL, ("s", "a")) == ("s", "c")
    assert keys.present(("", ("school", "day")), ("s", "a")) == ("s", "a")


def test_a_key_with_a_day_in_it_is_of_its_own_entity_alone() -> None:
    names, since = ("day", "school", "upn"), START
    old, new = ("2026-09-07", "s", "a"), ("2026-09-08", "s", "a")
    keys = Keys([Rekeyed(names, old, new, 1, since, "m1", "urn:s", "stay")])
    mark = said(2, "a", "2026-09-07", 1, "/", False)
    assert follow(MARKS, mark, keys) is mark
    own = Keys([Rekeyed(names, old, new, 1, since, "m1", "urn:s", MARKS.entity)])
    assert follow(MARKS, mark, own).fact.key == ("s", "a", "2026-09-08")


def test_each_fact_moves_by_the_change_that_names_it() -> None:
    changes = [rekeyed(1, "a", "b"), rekeyed(2, "c", "d")]
    stored = [said(0, pupil, "1", 1, "/", False).fact for pupil in "ac"]
    ended, told = move(MARKS, stored, Keys(changes), changes)
    assert [one.message for one in ended] == ["m1", "m2"]
    assert [one.fact.key[1] for one in told] == ["b", "d"]
