"""An invented nation of figures: schools of an authority, what they missed day by day, and who their pupils are.

Sizes and rates are those of England roughly: 24,000 schools in 152 authorities of 9 regions, 1,200 trusts; two authorities
have one school. About 6.5 sessions in a hundred are missed, three quarters of them with leave, most of them whole days.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from commonroom.warehouse import divisions, measures
from commonroom.warehouse.model import Level
from commonroom.warehouse.publication import Calendar, Name, Parts

AUTHORITIES, COUNTY, REGIONS, TRUSTS = 152, 158, 9, 1_200
WEEKS, DAYS = 14, 5
FAMILY = [measures.named(name) for name in ("absence_overall", "absence_authorised", "absence_unauthorised")]
ETHNICITY = ("white", "mixed", "asian", "black", "chinese", "other", "unknown")
_SHARES = (0.70, 0.07, 0.12, 0.06, 0.005, 0.025, 0.02)
Groups = dict[str, Mapping[Level, str | None]]


def calendar(days: int) -> Calendar:
    """The first days of a term, with its weeks so far."""
    names = [_day(number) for number in range(days)]
    weeks = {f"week {first // DAYS}": tuple(names[first : first + DAYS]) for first in range(0, days, DAYS)}
    sums: dict[str, tuple[str, ...]] = {**weeks, "term": tuple(weeks)}
    grains = {**dict.fromkeys(names, "day"), **{name: name.split()[0] for name in sums}}
    return Calendar.of(grains, sums)


def _day(number: int) -> str:
    return f"day {number // DAYS}.{number % DAYS}"


class Authority:
    """One authority's schools."""

    def __init__(self, number: int) -> None:
        self._chance = np.random.default_rng(number)
        self.code = f"{200 + number}"
        small = number in (1, 100)  # as the City of London and the Isles of Scilly
        # From 30 schools to 500.
        count = 1 if small else int(np.clip(self._chance.lognormal(np.log(135), 0.6), 30, 500))
        count = COUNTY if number == 0 else count
        kind = self._chance.random(count)
        primary = self._chance.lognormal(np.log(230), 0.55, count)
        secondary = self._chance.lognormal(np.log(950), 0.4, count)
        other = self._chance.lognormal(np.log(90), 0.8, count)
        sizes = np.where(kind < 0.70, primary, np.where(kind < 0.88, secondary, other))
        self.pupils = sizes.astype(int).clip(3, 2200)
        # Half of the schools are of trusts; most trusts are at home in a few authorities beside one another.
        trusts = number * TRUSTS // AUTHORITIES + self._chance.integers(0, 12, count)
        in_one = self._chance.random(count) < 0.5
        self.groups: Groups = {
            f"{self.code}{school:03}": {
                "school": f"{self.code}{school:03}",
                "authority": self.code,
                "region": f"E1200000{number * REGIONS // AUTHORITIES + 1}",
                "national": "E92000001",
                "trust": f"T{trusts[school]}" if in_one[school] else None,
            }
            for school in range(count)
        }
        self._persistent = self._chance.beta(3, 17, count)

    def absence(self, days: int) -> Iterator[tuple[Name, Parts]]:
        """Sessions missed of each school, by day, week and term so far."""
        with_leave = self._missed(self._chance.beta(20, 390, len(self.pupils)))[:, :days]
        without = self._missed(self._chance.beta(2, 110, len(self.pupils)))[:, :days]
        spans = {name: slice(number, number + 1) for number, name in enumerate(map(_day, range(days)))}
        spans |= {
            f"week {first // DAYS}": slice(first, min(first + DAYS, days)) for first in range(0, days, DAYS)
        }
        spans["term"] = slice(0, days)
        for measure, missed in zip(FAMILY, (with_leave + without, with_leave, without), strict=True):
            for place, mine in self._places(missed):
                size = int(self.pupils[place])
                for name, span in spans.items():
                    of = 2 * size * (span.stop - span.start)
                    yield (
                        (measure.name, ("school", self._urn(place)), name),
                        Parts(int(mine[span].sum()), of, size),
                    )

    def counts(self, name: str, denominator: bool, rate: float) -> Iterator[tuple[Name, Parts]]:
        """How many pupils of each school are something, at the end of the term."""
        rates = self._chance.beta(20 * rate, 20 * (1 - rate), len(self.pupils))
        for place, number in enumerate(self._chance.binomial(self.pupils, rates)):
            size = int(self.pupils[place])
            yield (
                (name, ("school", self._urn(place)), "term"),
                Parts(int(number), size if denominator else None, size),
            )

    def headcount(self) -> Iterator[tuple[Name, Parts]]:
        """The pupils of each school."""
        for place, size in enumerate(self.pupils.tolist()):
            yield ("headcount", ("school", self._urn(place)), "term"), Parts(size, None, size)

    def by_ethnicity(self) -> Iterator[tuple[Name, Parts]]:
        """The pupils of each school by their ethnic group."""
        shares = self._chance.dirichlet(12 * np.array(_SHARES), len(self.pupils))
        for place, size in enumerate(self.pupils):
            for group, number in zip(
                ETHNICITY, self._chance.multinomial(size, shares[place]).tolist(), strict=True
            ):
                if number:
                    name = (divisions.series("headcount", group), ("school", self._urn(place)), "term")
                    yield name, Parts(number, None, number)

    def suspensions(self, days: int) -> Iterator[tuple[Name, Parts]]:
        """Suspensions of each school, where there is one."""
        rates = np.where(self.pupils > 600, 0.0006, 0.00006)[:, None] * self.pupils[:, None]
        missed = self._chance.poisson(rates, (len(self.pupils), WEEKS * DAYS))[:, :days]
        spans = {name: slice(number, number + 1) for number, name in enumerate(map(_day, range(days)))}
        spans |= {
            f"week {first // DAYS}": slice(first, min(first + DAYS, days)) for first in range(0, days, DAYS)
        }
        spans["term"] = slice(0, days)
        for place, mine in self._places(missed):
            for name, span in spans.items():
                if number := int(mine[span].sum()):
                    yield ("suspensions", ("school", self._urn(place)), name), Parts(number, None, number)

    def _missed(self, rates: Any) -> Any:
        """Sessions missed by school and day: of those away, two in three all day."""
        shape = (len(self.pupils), WEEKS * DAYS)
        all_day = self._chance.binomial(self.pupils[:, None], 0.8 * rates[:, None], shape)
        return 2 * all_day + self._chance.binomial(self.pupils[:, None], 0.4 * rates[:, None], shape)

    def _places(self, missed: Any) -> Iterator[tuple[int, Any]]:
        yield from enumerate(missed)

    def _urn(self, place: int) -> str:
        return f"{self.code}{place:03}"
