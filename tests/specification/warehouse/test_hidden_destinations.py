"""The attack on published destinations: counts that add up to a number that stands beside each of them.

Whoever reads them knows how many leavers there are wherever one of the percentages is shown, that the kinds of destination
add up to that, and that places do. See tests/unit/warehouse/attacker.py.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from commonroom.warehouse import characteristics, divisions, measures, publication, suppression
from commonroom.warehouse.divisions import Whole, series
from commonroom.warehouse.publication import Calendar, Name, Parts, Place
from tests.unit.warehouse.attacker import Sums, by_solver

FAMILY = measures.family(measures.named("ks4_not_known"))
LEAVERS = FAMILY[0].name
SUMS = {one.name: one.sum_of for one in FAMILY if one.sum_of}
LEVELS = ("school", "authority", "region", "national")
TIME = "on 2026-08-31"
CALENDAR = Calendar.of({TIME: "year"}, {})


def test_the_family_is_whole() -> None:
    assert [one.name for one in FAMILY] == [
        "ks4_leavers", "ks4_sustained", "ks4_education", "ks4_apprenticeships", "ks4_employment", "ks4_not_sustained",
        "ks4_not_known",
    ]  # fmt: skip
    assert [one.is_its_denominator for one in FAMILY] == [True, *[False] * 6]


def test_they_are_of_the_pupils_of_attainment_8() -> None:
    """Two numbers of nearly the same pupils would tell of whom they differ."""
    other = measures.named("attainment_8")
    assert (FAMILY[0].each, FAMILY[0].population, FAMILY[0].denominator, FAMILY[0].suppression.units_below) == (
        other.each, other.population, other.denominator, other.suppression.units_below,
    )  # fmt: skip


def places_of(chance: random.Random, schools: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number in range(schools):
        urn = f"99{number:04d}"
        of = (urn, str(900 + number % 4), f"E1200000{number % 2}", "E92000001")
        trust = chance.choice([None, None, "T1"])
        found[urn] = {**dict(zip(LEVELS, of, strict=True)), "trust": trust}
    return found


def counted(chance: random.Random, most: int) -> dict[str, Parts]:
    """One school's leavers, by what became of them."""
    kinds = [name for one in FAMILY for name in one.sum_of if name not in SUMS]
    size = chance.choice([0, 3, 8, most, most])
    count = dict.fromkeys(kinds, 0)
    for _ in range(size):
        count[chance.choices(kinds, [20, 1, 1, 2, 3])[0]] += 1
    count["ks4_sustained"] = sum(count[name] for name in SUMS["ks4_sustained"])
    count[LEAVERS] = size
    return {name: Parts(number, size, size) for name, number in count.items()}


def of_places(numbers: dict[Name, Parts], groups: dict[str, Any]) -> Sums:
    """That each place is the sum of those below, in the names of the numbers."""
    found = []
    for name, place, time in numbers:
        if place[0] != "school":
            below = "school" if place[0] == "trust" else LEVELS[LEVELS.index(place[0]) - 1]
            children = sorted({(below, of[below]) for of in groups.values() if of[place[0]] == place[1]})
            found.append(((name, place, time), *((name, child, time) for child in children)))
    return found


def of_kinds(numbers: dict[Name, Parts], group: str = "") -> Sums:
    """That the kinds of destination add up."""

    def named(name: str) -> str:
        return series(name, group) if group else name

    return [
        tuple((named(one), place, time) for one in (whole, *SUMS[whole]))
        for name, place, time in numbers
        for whole in SUMS
        if name == named(whole)
    ]


def worked_out(
    numbers: dict[Name, Parts], sums: Sums, hidden: frozenset[Name], groups: tuple[str, ...] = ()
) -> set[Any]:
    """The hidden counts that a reader can tell, who sees the number of leavers beside each percentage that is shown."""
    values = {name: parts.numerator for name, parts in numbers.items()}
    whole = {name: (name[0].partition("=")[0], *name[1:]) for name in numbers}
    beside = {name: (name[0].replace(whole[name][0], LEAVERS), *name[1:]) for name in numbers}
    seen = {beside[name] for name in numbers if name not in hidden}
    limits = {name: values[beside[name]] for name in hidden if beside[name] in seen}
    # Where every group is hidden, so are those of nobody: there each may be nought.
    lowest = {
        name: 0
        for name in hidden
        if "=" in name[0] and all((series(whole[name][0], group), *name[1:]) in hidden for group in groups)
    }
    found = by_solver(values, sums, hidden - seen, limits, lowest)
    # Of nobody there is nothing to tell: where nobody left, and of a kind that the whole shows to be of nobody.
    return {
        name
        for name in found
        if values[beside[name]] and (whole[name] in hidden or whole[name] == name or values[whole[name]])
    }


@pytest.mark.parametrize(
    "seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 15))]
)
def test_nobody_works_out_a_hidden_kind_of_destination(seed: int) -> None:
    chance = random.Random(seed)
    groups = places_of(chance, 9)
    schools = {
        (name, ("school", urn), TIME): parts for urn in groups for name, parts in counted(chance, 30).items()
    }
    numbers = publication.rolled_up(schools, groups)
    tree = publication.tree(groups)
    alone = publication.hidden(FAMILY, numbers, tree, CALENDAR, hide=suppression.sensitive_only)
    beside = publication.hidden(FAMILY, numbers, tree, CALENDAR)
    sums = [*of_places(numbers, groups), *of_kinds(numbers)]
    assert worked_out(numbers, sums, alone)
    assert not worked_out(numbers, sums, beside)
    # Where the number of leavers is hidden nothing over it is shown, and where anything is shown it is.
    told: dict[Place, set[str]] = {}
    for name, place, _ in set(numbers) - beside:
        told.setdefault(place, set()).add(name)
    assert all(LEAVERS in names for names in told.values())


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 10))])
def test_nor_of_girls_and_boys(seed: int) -> None:
    chance = random.Random(seed)
    groups = places_of(chance, 4)
    names = tuple(characteristics.named("sex").titles())
    by_school: dict[Name, Parts] = {}
    schools: dict[Name, Parts] = {}
    for urn in groups:
        for group in names:
            for name, parts in counted(chance, 20 if group != "unknown" else 0).items():
                by_school[series(name, group), ("school", urn), TIME] = parts
                whole = (name, ("school", urn), TIME)
                schools[whole] = schools[whole].plus(parts) if whole in schools else parts
    whole = publication.rolled_up(schools, groups)
    numbers = divisions.filled(FAMILY, names, publication.rolled_up(by_school, groups), whole)
    tree = publication.tree(groups)
    whole_hidden = publication.hidden(FAMILY, whole, tree, CALENDAR)
    dark = publication.dark_bases(FAMILY[0], whole, tree, CALENDAR, None, suppression.hide)
    hidden = divisions.hidden(FAMILY, names, numbers, Whole(whole, whole_hidden, dark), tree)
    sums = [*of_places(whole, groups), *of_kinds(whole), *of_places(numbers, groups)]
    sums += [one for group in names for one in of_kinds(numbers, group)]
    sums += [(name, *((series(name[0], group), *name[1:]) for group in names)) for name in whole]
    assert hidden
    every = {**whole, **numbers}
    # A nought, or the many leavers of a trust whose schools' totals are shown, tells of nobody.
    small = {
        name
        for name in worked_out(every, sums, hidden | whole_hidden, names)
        if 0 < every[name].numerator < (6 if name[0].startswith(LEAVERS) else 3)
    }
    assert small == set()
