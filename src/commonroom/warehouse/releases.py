"""Releases: the whole of a publication worked out, with what is hidden in it, kept for as long as its tables stay.

A question is answered from the release that it falls into, so that what is hidden never depends on the question. A
release of session measures is a term with its weeks and days, a year the sum of its terms; of others it is the periods
asked for, which say nothing about each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime

import msgspec

from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import (
    analytics,
    bounds,
    characteristics,
    combinations,
    compilation,
    divisions,
    measures,
    organisations,
    periods,
    publication,
    suppression,
)  # fmt: skip
from commonroom.warehouse.analytics import Engine
from commonroom.warehouse.combinations import Combination
from commonroom.warehouse.heads import Head
from commonroom.warehouse.memory import Memory, Remembering
from commonroom.warehouse.model import Level, Measure
from commonroom.warehouse.organisations import School
from commonroom.warehouse.periods import Period
from commonroom.warehouse.publication import Hide, Name, Parts, Place, Time
from commonroom.warehouse.school_numbers import SchoolNumbers
from commonroom.warehouse.shelf import Shelf, Stored, WorkedOut
from commonroom.warehouse.spans import View, all_of_term, by_term, calendar, term_of, time_of
from commonroom.warehouse.turns import Kept, Turns

_KEPT = 64


class Release(msgspec.Struct, frozen=True):
    """The numbers of everything published together, and which of them are hidden."""

    schools: dict[str, School]
    numbers: dict[Name, Parts]
    hidden: frozenset[Name]
    # When it was released (UTC), and as of which state of the warehouse; where it is live, none.
    moment: datetime | None = None
    batch: int = 0
    position: int = 0


Term = tuple[date, date]
WorkOut = Callable[[Sequence[Period], Hide], Release]


class Releases:
    """The releases of one warehouse. Safe to use from several threads."""

    def __init__(
        self, settings: Settings, duck: Duck, hide: Hide = suppression.hide, engine: Engine | None = None
    ) -> None:
        self._hide = hide
        self._engine: Engine = engine or analytics.open_engine(settings, duck)
        self._numbers = SchoolNumbers(settings, duck, self._engine)
        self._releases = Kept(_KEPT)
        self._shelf = Shelf(settings)
        # Two that ask for the same release at the same time wait for one another: it is worked out once.
        self._working = Turns()

    def close(self) -> None:
        """Leave the engine."""
        self._engine.close()

    def known_schools(self, head: Head, on: date) -> dict[str, School]:
        """Every school by URN, as it was on a day."""
        return self._numbers.known_schools(View(head, None, on), on)

    def of(self, measure: Measure, asked: Sequence[Period], view: View) -> dict[Period, Release]:
        """The release that each period's figures are in."""
        if measure.name in combinations.load():
            return {period: self._combined(measure.name, period, view) for period in asked}
        found = {}
        years: list[Period] = []
        if measure.adds_up_over_time:
            years = [period for period in asked if period.grain == "year"]
            found.update({period: self._year(measure, period, view) for period in years})
        for term, mine in by_term([period for period in asked if period not in years]).items():
            release = self._release(measure, term, mine, view)
            found.update(dict.fromkeys(mine, release))
        return found

    def _combined(self, name: str, period: Period, view: View) -> Release:
        one = combinations.load()[name]

        def of(measure: Measure) -> Release:
            if one.by is None:
                return self.of(measure, [period], view)[period]
            return self.divided(measure, one.by, [period], view)[period]

        return combined(one, period, {alias: of(measures.named(part)) for alias, part in one.of.items()})

    def divided(
        self, measure: Measure, by: str, asked: Sequence[Period], view: View
    ) -> dict[Period, Release]:
        """The release of each period's figures by a characteristic, named by `divisions.series`."""
        if measure.name in combinations.load():  # which is worked out by its characteristic in any case
            return {period: self._combined(measure.name, period, view) for period in asked}
        found = {}
        others = []
        for period in asked:
            if measure.adds_up_over_time and period.grain == "year":
                found[period] = self._year(measure, period, view, by)
            else:
                others.append(period)
        for term, mine in by_term(others).items():
            release = self._division(measure, by, term, mine, view)
            found.update(dict.fromkeys(mine, release))
        return found

    def _division(
        self, measure: Measure, by: str, term: tuple[date, date], asked: Sequence[Period], view: View
    ) -> Release:
        family = measures.family(measure)
        if view.released is not None:

            def work_out(mine: Sequence[Period], hide: Hide) -> Release:
                return self._divide(family, by, term, mine, view, hide)

            return self._released(family[0], by, term, asked, view, work_out)
        times = tuple(sorted({time_of(measure, one) for one in asked}))
        reads = [measures.divided(measure, by), *measures.telling(measure, by).values()]
        reads += [measures.divided(measures.named(family[0].cohort), by)] if family[0].cohort else []
        entities = {organisations.ENTITY}.union(*(compilation.entities_of(one).values() for one in reads))
        versions = tuple(view.head.tables.get(entity) for entity in sorted(entities))
        key = (family[0].name, by, times, versions, *view.all_of(family))
        with self._working.alone(key):
            found: Release | None = self._releases.get(key)
            if found is None:
                found = self._divide(family, by, term, asked, view, self._hide)
                self._releases.put(key, found)
        return found

    def _divide(
        self, family: Sequence[Measure], by: str, term: Term, asked: Sequence[Period], view: View, hide: Hide
    ) -> Release:
        first = family[0]
        whole = self._release(first, term, asked, view)
        groups = _groups_of(whole.schools)
        places = publication.tree(groups)
        mine = self._numbers.of(family, whole.schools, asked, view, by)
        names = list(characteristics.named(by).titles())
        numbers = divisions.filled(family, names, publication.rolled_up(mine, groups), whole.numbers)
        # By a characteristic of the facts, the session of a mark, units are not counted.
        counted = [] if compilation.is_of_facts(first, by) else measures.bounded_by(first)
        for other in counted:
            counts = publication.rolled_up(self._numbers.of([other], whole.schools, asked, view, by), groups)
            numbers = bounds.guarded(first, numbers, other, counts)
        if first.cohort is not None:
            of_cohort = self._division(measures.named(first.cohort), by, term, asked, view)
            same = {
                divisions.series(one.name, group): divisions.series(first.cohort, group)
                for one in family
                for group in names
            }
            numbers = publication.within_cohort(numbers, same, of_cohort.numbers, of_cohort.hidden)
        base, bases = None, None
        if first.base is not None:
            base_measure = measures.named(first.base)
            undivided = self._release(base_measure, term, asked, view)
            bases = frozenset((place, time) for _, place, time in undivided.hidden)
            hidden_bases = self._division(base_measure, by, term, asked, view).hidden
            base = frozenset(
                (divisions.series(first.name, name.partition("=")[2]), place, time)
                for name, place, time in hidden_bases
            )
        told = measures.telling(first, by)
        if told:
            base = frozenset(
                (divisions.series(first.name, group), place, time)
                for group, one in told.items()
                for name, place, time in self._alone(one, term, asked, view).hidden
                if name == one.name
            )
        wanted = all_of_term(first, term, asked, view)
        undivided_numbers = _without_trusts(whole.numbers) if first.adds_up_over_time else whole.numbers

        def dark_with(hiding: Hide) -> frozenset[tuple[Place, Time]]:
            when = calendar(first, wanted)
            return publication.dark_bases(first, undivided_numbers, places, when, bases, hiding)

        if view.released is None:
            dark = dark_with(hide)
        else:  # as it was released, looked up
            dark = self._shelf.looked_up(
                _publication(first, "", term),
                lambda known: dark_with(self._remembering(first, asked, view, known)),
            )
        published = divisions.Whole(whole.numbers, whole.hidden, dark)
        hidden = divisions.hidden(
            family, names, numbers, published, places, base, hide, measures.bound_groups(first, by)
        )
        return Release(whole.schools, numbers, hidden)

    def _released(
        self,
        measure: Measure,
        by: str,
        term: Term,
        asked: Sequence[Period],
        view: View,
        work_out: WorkOut,
    ) -> Release:
        """The release of a moment: as it was published, or worked out beside all that was published before."""
        assert view.released is not None
        at = {time_of(measure, period): period for period in asked}

        def make(known: Memory, missing: list[str]) -> WorkedOut:
            mine = [at[part] for part in missing]
            hide = self._remembering(measure, mine, view, known)
            found = work_out(mine, hide)
            parts = {
                part: Stored(
                    {name: of for name, of in found.numbers.items() if name[2] == part},
                    frozenset(name for name in found.hidden if name[2] == part),
                    view.head.number,
                    view.head.position,
                )
                for part in missing
            }
            return parts, hide.decided

        found = self._shelf.of(_publication(measure, by, term), view.released, list(at), make).values()
        numbers: dict[Name, Parts] = {}
        for one in found:
            numbers |= one.numbers
        return Release(
            self._schools(measure, term, asked, view),
            numbers,
            frozenset[Name]().union(*(one.hidden for one in found)),
            view.released,
            min(one.batch for one in found),
            min(one.position for one in found),
        )

    def _remembering(
        self, measure: Measure, asked: Sequence[Period], view: View, known: Memory
    ) -> Remembering:
        # States are one figure whatever their day, and decided beside those of all other days.
        times = {time_of(measure, one): "" for one in asked if measure.taken != "over the period"}
        beside = {time_of(measure, one) for one in all_of_term(measure, term_of(asked[0]), asked, view)}
        told_before = beside - {time_of(measure, one) for one in asked}
        return Remembering(known, self._hide, times, told_before)

    def first_release(
        self, measure: Measure, by: str | None, period: Period, until: datetime
    ) -> datetime | None:
        """When a period's figures were first released with something in them, until a moment."""
        whole = measures.family(measure)[0]
        name = _publication(whole, by or "", term_of(period))
        return self._shelf.first_of(name, time_of(measure, period), until)

    def _year(self, measure: Measure, year: Period, view: View, by: str | None = None) -> Release:
        """The year as the sum of its terms."""
        name = time_of(measure, year)
        terms_of_year = periods.between("term", year.start, year.end, view.today)
        released = []
        for term in terms_of_year:
            span = term_of(term)
            found = self._release(measure, span, [term], view)
            released.append((found if by is None else self._division(measure, by, span, [term], view), term))
        parts = []
        for release, term in released:
            mine = {key: value for key, value in release.numbers.items() if key[2] == time_of(measure, term)}
            parts.append((mine, release.hidden))
        numbers, hidden = publication.year(parts, name)
        # What is hidden within the year is told too, to those who ask what the year's figure is made of.
        beneath = frozenset[Name]().union(*(release.hidden for release, _ in released))
        return msgspec.structs.replace(released[-1][0], numbers=numbers, hidden=hidden | beneath)

    def _release(
        self, measure: Measure, term: tuple[date, date], asked: Sequence[Period], view: View
    ) -> Release:
        found = self._alone(measure, term, asked, view)
        told = measures.groups_told(measure)
        if told is None:
            return found
        # The same figure is published as a group of another measure (or subtracting this one from it tells the group),
        # which is solved with what must be hidden here and hides more beside it: what is hidden there is hidden here, so
        # that both are one figure to whoever reads them.
        base, by, groups = told
        there = self._division(base, by, term, asked, view).hidden
        mine = {divisions.series(base.name, group) for group in groups}
        more = ((measure.name, place, time) for name, place, time in there if name in mine)
        hidden = found.hidden.union(name for name in more if name in found.numbers)
        return msgspec.structs.replace(found, hidden=hidden)

    def _alone(
        self, measure: Measure, term: tuple[date, date], asked: Sequence[Period], view: View
    ) -> Release:
        """The release of a measure as if no group of another were the same figure."""
        family = measures.family(measure)
        if view.released is not None:

            def work_out(mine: Sequence[Period], hide: Hide) -> Release:
                return self._work_out(family, term, all_of_term(measure, term, mine, view), view, hide)

            return self._released(family[0], "", term, asked, view, work_out)
        wanted = all_of_term(measure, term, asked, view)
        times = tuple(sorted({time_of(measure, one) for one in wanted}))
        read = [measure, *([measures.named(family[0].cohort)] if family[0].cohort else [])]
        versions = (
            *(version for one in read for version in self._numbers.versions(one, wanted, view)),
            view.head.tables.get(organisations.ENTITY),
        )
        key = (family[0].name, times, versions, *view.all_of(family))
        with self._working.alone(key):
            found: Release | None = self._releases.get(key)
            if found is None:
                found = self._work_out(family, term, wanted, view, self._hide)
                self._releases.put(key, found)
        return found

    def _work_out(
        self, family: Sequence[Measure], term: Term, wanted: Sequence[Period], view: View, hide: Hide
    ) -> Release:
        whole = family[0]
        schools = self._schools(whole, term, wanted, view)
        groups = _groups_of(schools)
        mine = self._numbers.of(family, schools, wanted, view)
        numbers = publication.rolled_up(mine, groups)
        for other in measures.bounded_by(whole):
            counts = publication.rolled_up(self._numbers.of([other], schools, wanted, view), groups)
            numbers = bounds.guarded(whole, numbers, other, counts)
        if whole.cohort is not None:
            cohort = self._release(measures.named(whole.cohort), term, wanted, view)
            same = {one.name: whole.cohort for one in family}
            numbers = publication.within_cohort(numbers, same, cohort.numbers, cohort.hidden)
        bases = None
        if whole.base is not None:
            base = self._release(measures.named(whole.base), term, wanted, view)
            bases = frozenset((place, time) for _, place, time in base.hidden)
        hidden = publication.hidden(
            family, numbers, publication.tree(groups), calendar(whole, wanted), bases, hide
        )
        return Release(schools, numbers, hidden)

    def _schools(
        self, measure: Measure, term: Term, wanted: Sequence[Period], view: View
    ) -> dict[str, School]:
        """The schools (or authorities) as they belonged to their groups at the end of what has come of the term."""
        last = max(period.last_school_day for period in periods.between("term", *term, view.today) or wanted)
        schools = self._numbers.known_schools(view, last)
        return organisations.authorities_of(schools) if measures.is_of_authorities(measure) else schools


def combined(one: Combination, period: Period, parts: Mapping[str, Release]) -> Release:
    """The release of a combination, of those of its measures by their names in it."""
    figures = {
        alias: (release.numbers, release.hidden, time_of(measures.named(one.of[alias]), period))
        for alias, release in parts.items()
    }
    last = list(parts.values())[-1]
    groups, time = _groups_of(last.schools), time_of(one.as_measure(), period)
    if one.by is None:
        numbers, hidden = combinations.combined(one, figures, groups, time)
    else:
        names = list(characteristics.named(one.by).titles())
        numbers, hidden = combinations.by_group(one, names, figures, groups, time)
    return msgspec.structs.replace(last, numbers=numbers, hidden=hidden)


def _publication(measure: Measure, by: str, term: Term) -> str:
    """What is decided with all of it that was published before: of sums over days a term, of states all, else a year."""
    of = f"{measure.name} by {by}" if by else measure.name
    if measure.taken != "over the period":
        return of
    return f"{of} from {term[0] if measure.adds_up_over_time else periods.year_of(term[0])}"


def _groups_of(schools: Mapping[str, School]) -> dict[str, Mapping[Level, str | None]]:
    return {
        urn: {level: school.group(level)[0] for level in publication.LEVELS}
        for urn, school in schools.items()
    }


def _without_trusts(numbers: Mapping[Name, Parts]) -> dict[Name, Parts]:
    return {name: parts for name, parts in numbers.items() if name[1][0] != "trust"}
