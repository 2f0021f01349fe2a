"""Whoever keeps every release works out no more of what is hidden than whoever has one.

Schools of two authorities over a term of two weeks: each evening the day is released, on Friday the week, with what was
corrected since, at last the term. The attacker knows all of it, and of a school's figure that was shown what it is since.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from commonroom.warehouse import measures, publication, suppression
from commonroom.warehouse.memory import Memory, Remembering
from commonroom.warehouse.publication import Calendar, Name, Parts
from commonroom.warehouse.shelf import decoded, encoded
from tests.unit.warehouse.attacker import by_solver

FAMILY = [measures.named(name) for name in ("absence_overall", "absence_authorised", "absence_unauthorised")]
LEVELS = ("school", "authority", "region", "national")
WEEKS = ("week 1", "week 2")
Groups = dict[str, dict[Any, str | None]]


class County:
    """What is known of the schools, as it grows and is corrected."""

    def __init__(self, seed: int, schools: int) -> None:
        self.chance = random.Random(seed)
        self.groups: Groups = {
            f"99{number:04d}": {
                "school": f"99{number:04d}", "authority": str(900 + number % 2), "region": "R", "national": "E",
            }
            for number in range(schools)
        }  # fmt: skip
        self.pupils = {urn: self.chance.choice([12, 40, 90, 200]) for urn in self.groups}
        self.days: dict[tuple[str, str], tuple[int, int]] = {}  # authorised, unauthorised

    def enter(self, day: str, but: str | None = None) -> None:
        """Every school's register of a day; one may be late."""
        for urn, pupils in self.pupils.items():
            if urn != but:
                most = max(1, pupils // 8)
                self.days[urn, day] = self.chance.randint(0, most), self.chance.randint(0, most // 2)

    def correct(self) -> None:
        """A tenth of the registers."""
        for place, (authorised, unauthorised) in list(self.days.items()):
            if self.chance.random() < 0.1:
                self.days[place] = authorised + 1, max(0, unauthorised - self.chance.randint(0, 1))

    def numbers(self, periods: Mapping[str, tuple[str, ...]]) -> dict[Name, Parts]:
        """The figures of all places, of periods given by their days."""
        found: dict[Name, Parts] = {}
        for urn, pupils in self.pupils.items():
            for period, days in periods.items():
                mine = [self.days[urn, day] for day in days if (urn, day) in self.days]
                if mine:
                    missed = sum(one for one, _ in mine), sum(one for _, one in mine)
                    for measure, number in zip(FAMILY, (sum(missed), *missed), strict=True):
                        found[measure.name, ("school", urn), period] = Parts(
                            number, 2 * pupils * len(mine), pupils
                        )
        return publication.rolled_up(found, self.groups)


class Attacker:
    """All that was released, one evening after the other: a figure with a value is one unknown, or known."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.values: dict[Any, int] = {}
        self.shown: set[Any] = set()
        self.withheld: set[Any] = set()
        self.untold: set[Any] = set()  # what withheld figures have become since, and those that came late
        self.limits: dict[Any, int] = {}
        self.sums: dict[tuple[Any, ...], None] = {}

    def reads(
        self,
        numbers: Mapping[Name, Parts],
        hidden: frozenset[Name],
        sums: Mapping[str, tuple[str, ...]],
        told_before: Collection[str],
    ) -> None:
        """One release.

        The figures of the times `told_before` were released before; these are what is known of them now.
        """

        def known(name: Name) -> Any:
            measure, place, time = name
            return measure, place, time, numbers[name].numerator

        for name, parts in numbers.items():
            self.values[known(name)] = parts.numerator
            if name[2] in told_before:
                was_shown = place_of(name) == "school" and any(one[:3] == name for one in self.shown)
                if known(name) not in self.withheld:
                    (self.shown if was_shown else self.untold).add(known(name))
                continue
            (self.withheld if name in hidden else self.shown).add(known(name))
            whole = ("absence_overall", *name[1:])
            if any((measure.name, *name[1:]) not in hidden for measure in FAMILY):
                self.limits[known(name)] = numbers[whole].denominator or 0
        for name in numbers:
            measure, place, time = name
            parts: list[list[Name]] = [[(measure, place, one) for one in sums.get(time, ())]]
            if place[0] != "school":
                below = LEVELS[LEVELS.index(place[0]) - 1]
                places = sorted({of[below] for of in self.groups.values() if of[place[0]] == place[1]})  # type: ignore[type-var]
                parts.append([(measure, (below, one), time) for one in places])  # type: ignore[misc]
            if measure == FAMILY[0].name:
                parts.append([(one.name, place, time) for one in FAMILY[1:]])
            for of in parts:
                there = [one for one in of if one in numbers]
                if there and sum(numbers[one].numerator for one in there) == numbers[name].numerator:
                    self.sums[known(name), *map(known, there)] = None

    def finds(self) -> set[Any]:
        """What was withheld once and is known now."""
        hidden = (self.withheld | self.untold) - self.shown
        limits = {name: limit for name, limit in self.limits.items() if name in hidden}
        found = by_solver(self.values, list(self.sums), hidden, limits)
        # Nor a small number of a school that came late; an authority's is told where all its schools' are.
        late = {name for name in found & self.untold if name[1][0] == "school"}
        small = {name for name in late if 0 < name[3] < FAMILY[0].suppression.numerator_below}
        return (self.withheld & self.shown) | (found & self.withheld) | small


def place_of(name: Name) -> str:
    """The level of a figure's place."""
    return name[1][0]


def fortnight(seed: int, schools: int, *, remembers: bool) -> Attacker:
    """Ten evenings, as `releases` makes them of what is known."""
    county, known = County(seed, schools), Memory()
    attacker = Attacker(county.groups)
    tree = publication.tree(county.groups)
    late = min(county.groups)

    def released(period: str, made_of: Mapping[str, tuple[str, ...]]) -> None:
        days = tuple(day for mine in made_of.values() for day in mine)
        numbers = county.numbers({period: days or (period,), **made_of})
        sums = {period: tuple(made_of)} if made_of else {}
        calendar = Calendar.of({one: one.split()[0] for one in (period, *made_of)}, sums)
        hide = Remembering(
            known if remembers else Memory(),
            suppression.hide,
            {},
            tuple(made_of) if remembers else (),
        )
        hidden = publication.hidden(FAMILY, numbers, tree, calendar, hide=hide)
        if remembers:
            known.learn(decoded(encoded(hide.decided)))
        attacker.reads(numbers, hidden, sums, tuple(made_of))

    weeks: dict[str, tuple[str, ...]] = {}
    for week in WEEKS:
        weeks[week] = tuple(f"day {week[-1]}.{number}" for number in range(5))
        for day in weeks[week]:
            county.enter(day, but=late if day == "day 1.1" else None)
            released(day, {})
        county.days.setdefault((late, "day 1.1"), (1, 1))
        county.correct()
        released(week, {day: (day,) for day in weeks[week]})
    released("term", weeks)
    return attacker


SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 12))]


@pytest.mark.parametrize("seed", SEEDS)
def test_who_keeps_every_release_finds_nothing_that_was_hidden(seed: int) -> None:
    forgetful, remembering = (fortnight(seed, 6, remembers=one) for one in (False, True))
    found, left = forgetful.finds(), remembering.finds()
    print(
        f"decided anew: {len(forgetful.withheld)} of {len(forgetful.values)} withheld, {len(found)} found; "
        f"remembered: {len(remembering.withheld)} of {len(remembering.values)} withheld, {len(left)} found"
    )
    assert found
    assert not left
