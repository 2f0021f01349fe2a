"""Numbers below 0: what is hidden of scores withstands whoever knows how low and how high a pupil's can be."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonroom.problems import Problem
from commonroom.warehouse import disclosure, divisions, measures, publication, suppression
from commonroom.warehouse.model import Level
from commonroom.warehouse.publication import Calendar, Name, Parts
from commonroom.warehouse.suppression import Table
from tests.unit.warehouse.attacker import by_solver

YEAR = "on 2026-08-31"
MOST = 9000  # what a pupil can have, in either direction
MANY = 1000  # pupils: more than there are, where a reader does not know how many there are
SEXES = ["F", "M"]
PUPILS = [(0, 8), (1, 3), (3, 15), (6, 1), (8, 8), (15, 6), (15, 0), (6, 15)]  # girls and boys of a school
MEASURE = measures.named("progress_8")
Groups = dict[str, Mapping[Level, str | None]]


def world(seed: int) -> tuple[Groups, dict[Name, Parts]]:
    """Schools of three authorities and two trusts, many of them with fewer than six pupils, and their figures."""
    chance = random.Random(seed)
    groups: Groups = {}
    numbers: dict[Name, Parts] = {}
    for number in range(12):
        school, authority = f"{number:02}", chance.choice("ABC")
        groups[school] = {
            "school": school, "authority": authority, "region": "R" if authority < "C" else "S", "national": "N",
            "trust": chance.choice(["T", "U", None]),
        }  # fmt: skip
        pupils = chance.choice([1, 2, 4, 5, 6, 9, 30])
        numbers["progress_8", ("school", school), YEAR] = figure(chance, pupils)
    return groups, publication.rolled_up(numbers, groups)


def figure(chance: random.Random, pupils: int) -> Parts:
    """The figure of so many pupils, some of whom have the lowest score that there is."""
    scores = [chance.choice([-MOST, -2000, -1, 0, 0, 1, 300, 4000]) for _ in range(pupils)]
    return Parts(sum(scores), pupils, pupils)


def sums(groups: Groups, names: Mapping[Name, Any]) -> list[tuple[Name, ...]]:
    """Every total with its parts; the first is the total."""
    tree = publication.tree(groups)
    return [
        (name, *((name[0], below, YEAR) for below in tree.children[name[1]]))
        for name in names
        if name[1] in tree.children
    ]


def recovered(
    numbers: Mapping[Name, Parts],
    told: Sequence[tuple[Name, ...]],
    hidden: Collection[Name],
    dark: Collection[Name] = (),
) -> set[Any]:
    """The hidden numerators that somebody finds who knows the denominators shown, and what a pupil can have."""
    values = {name: parts.numerator for name, parts in numbers.items()}
    most = {
        name: MOST * (MANY if name in dark else parts.denominator or 0) for name, parts in numbers.items()
    }
    lowest = {name: -value for name, value in most.items()}
    return by_solver(values, told, hidden, most, lowest)


@pytest.mark.parametrize("seed", range(8))
def test_no_hidden_score_is_recovered(seed: int) -> None:
    groups, numbers = world(seed)
    places, calendar = publication.tree(groups), Calendar.of({YEAR: "year"}, {})
    chosen = publication.hidden([MEASURE], numbers, places, calendar)
    small = {name for name, parts in numbers.items() if parts.units < 6}
    assert small <= chosen
    assert not recovered(numbers, sums(groups, numbers), chosen)


def test_with_small_schools_hidden_alone_scores_are_recovered() -> None:
    """Which shows that the attack finds what there is to find."""
    found = 0
    for seed in range(12):
        groups, numbers = world(seed)
        places, calendar = publication.tree(groups), Calendar.of({YEAR: "year"}, {})
        alone = publication.hidden([MEASURE], numbers, places, calendar, hide=suppression.sensitive_only)
        found += len(recovered(numbers, sums(groups, numbers), alone))
    assert found > 10


@pytest.mark.parametrize("seed", range(5))
def test_no_hidden_group_is_recovered(seed: int) -> None:
    """By sex: each school's groups against the whole that is shown."""
    groups, _ = world(seed)
    chance = random.Random(seed)
    mine: dict[Name, Parts] = {}
    for school in groups:
        for group, pupils in zip(SEXES, chance.choice(PUPILS), strict=True):
            mine[divisions.series("progress_8", group), ("school", school), YEAR] = figure(chance, pupils)
    numbers: dict[Name, Parts] = {}
    for name, parts in publication.rolled_up(mine, groups).items():
        whole = ("progress_8", *name[1:])
        numbers[whole] = numbers[whole].plus(parts) if whole in numbers else parts
    dark: set[Any] = set()

    def hide(table: Table) -> frozenset[Any]:
        """And note which denominators are hidden."""
        found = suppression.hide(table)
        if table.kind == publication.DENOMINATORS:
            dark.update(found)
        return found

    places, calendar = publication.tree(groups), Calendar.of({YEAR: "year"}, {})
    hidden = publication.hidden([MEASURE], numbers, places, calendar, hide=hide)
    bases = frozenset((place, time) for _, place, time in dark)
    filled = divisions.filled([MEASURE], SEXES, publication.rolled_up(mine, groups), numbers)
    whole = divisions.Whole(numbers, hidden, bases)
    chosen = divisions.hidden([MEASURE], SEXES, filled, whole, places, hide=hide)
    everything = {**numbers, **filled}
    told = [(name, *((divisions.series("progress_8", one), *name[1:]) for one in SEXES)) for name in numbers]
    told += sums(groups, everything)
    # Of nobody the denominator says it; and where one group is nobody, the other is the whole.
    nobody = {name for name in filled if name not in dark and not filled[name].denominator}
    other = {"progress_8=F": "progress_8=M", "progress_8=M": "progress_8=F"}
    is_the_whole = {(other[name[0]], *name[1:]) for name in nobody if ("progress_8", *name[1:]) not in hidden}
    assert recovered(everything, told, hidden | chosen, dark) <= nobody | is_the_whole


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**5))
def test_rounding_is_the_same_on_both_sides_of_nought(numerator: int, denominator: int) -> None:
    one = disclosure.rounded(MEASURE, numerator, denominator)
    assert one == -disclosure.rounded(MEASURE, -numerator, denominator)
    assert str(one) != "-0.00"


@pytest.mark.parametrize(("numerator", "symbol", "value"), [
    (-29, "low", None), (-30, None, "-0.01"), (29, "low", None), (30, None, "0.01"), (0, None, "0.00"), (-90, None, "-0.02"),
])  # fmt: skip
def test_what_rounds_to_nought_is_low_and_a_half_goes_away_from_it(
    numerator: int, symbol: str | None, value: str | None
) -> None:
    shown = disclosure.show(MEASURE, Parts(numerator, 6, 6), hidden=False)
    assert (shown.symbol, shown.value) == (symbol, None if value is None else Decimal(value))


@pytest.mark.parametrize(("pupils", "margin"), [(6, "1.00"), (100, "0.25"), (2401, "0.05"), (1, None)])
def test_the_margin_is_of_the_number_of_pupils(pupils: int, margin: str | None) -> None:
    """1.96 times 1.25 over the root of the pupils: of 6 it is 1.0002, of 100 0.245, of 2,401 0.05."""
    parts = Parts(0, pupils, pupils, deviation=1250 * pupils)
    shown = disclosure.show(MEASURE, parts, hidden=False)
    assert (shown.symbol, shown.margin) == ("c", None) if margin is None else shown.margin == Decimal(margin)
    assert disclosure.show(MEASURE, parts, hidden=True).margin is None


def test_what_is_lower_than_it_can_be_is_a_fault_and_not_shown() -> None:
    with pytest.raises(Problem, match="CR-341"):
        disclosure.above_lowest(MEASURE, -9001, 1)
    assert disclosure.above_lowest(MEASURE, -9000, 1) == 0
    assert disclosure.above_lowest(msgspec.structs.replace(MEASURE, lowest=None), -9001, 1) == -9001
