"""Figures as they were released: of each period the newest release that it is in (see `schedule`).

With the setting `figures: live` they are worked out as at the head instead, and decided anew at each: safe by themselves,
not beside those of another moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from commonroom.engines import clock
from commonroom.warehouse import combinations, measures, publication, schedule
from commonroom.warehouse.combinations import Combination
from commonroom.warehouse.heads import Head
from commonroom.warehouse.model import Grain, Measure
from commonroom.warehouse.organisations import School
from commonroom.warehouse.periods import Period
from commonroom.warehouse.publication import Name, Numbers
from commonroom.warehouse.releases import Release, Releases, combined
from commonroom.warehouse.same_learners import NOBODY, Same
from commonroom.warehouse.spans import SHORTER, View, between, time_of

_DAY = timedelta(days=1)


class Published:
    """Where figures come from. Safe to use from several threads."""

    def __init__(self, releases: Releases, *, is_live: bool) -> None:
        self._releases, self._is_live = releases, is_live

    def close(self) -> None:
        """Leave the engine."""
        self._releases.close()

    def view(self, head: Head, known_at: datetime | None, now: datetime, same: Same = NOBODY) -> View:
        """What whoever asks now looks at, of what was known at a time (None for now)."""
        moment = min(known_at, now) if known_at else now
        if self._is_live:
            known = known_at.astimezone(UTC).replace(tzinfo=None) if known_at else None
            return View(head, known, clock.day_of(moment), same)
        return _as_released(View(head, None, clock.day_of(moment), same), schedule.newest_day(moment))

    def read_as(self, release: Release, view: View) -> View:
        """What the facts of a release are read as of."""
        return view if release.moment is None else _known_at(view, release.moment)

    def is_sum(self, measure: Measure, period: Period, view: View) -> bool:
        """Whether a figure is the sum of several releases, each with facts as of its own moment."""
        return not self._is_live and _is_sum(measure, period, view, None)

    def known_schools(self, head: Head, on: date) -> dict[str, School]:
        """Every school by URN, as it was on a day."""
        return self._releases.known_schools(head, on)

    def of(
        self, measure: Measure, asked: Sequence[Period], view: View, by: str | None = None
    ) -> dict[Period, Release]:
        """The release that each period's figures are in; with `by`, of those by a characteristic."""
        if self._is_live:
            return self._worked_out(measure, asked, view, by)
        combination = combinations.load().get(measure.name)
        if combination is not None:
            return {period: self._combined(combination, period, view) for period in asked}
        sums = [one for one in asked if _is_sum(measure, one, view, by)]
        found = {one: self._sum(measure, one, view, by) for one in sums}
        by_day: dict[date, list[Period]] = {}
        for period in (one for one in asked if one not in found):
            if _is_due(measure, period, view):
                by_day.setdefault(_day_of(measure, period, view), []).append(period)
            else:
                found[period] = self._nothing(period, view)
        for day, periods in by_day.items():
            found |= self._as_at(measure, periods, _as_released(view, day), by)
        for period in (one for mine in by_day.values() for one in mine if not found[one].numbers):
            found |= self._late(measure, period, view, by)
        return found

    def _combined(self, one: Combination, period: Period, view: View) -> Release:
        """A combination of what was released, each measure at its own moment."""
        parts = {
            alias: self.of(measures.named(part), [period], view, one.by)[period]
            for alias, part in one.of.items()
        }
        return combined(one, period, parts)

    def _late(self, measure: Measure, period: Period, view: View, by: str | None) -> dict[Period, Release]:
        """Of what nothing had come by its evening: as released on the first Friday that knew something, once."""
        friday = schedule.newest_friday(view.today)
        if friday <= _day_of(measure, period, view):
            return {}
        until = schedule.evening_of(friday)
        first = self._releases.first_release(measure, by, period, until)
        return self._as_at(measure, [period], _known_at(view, first or until), by)

    def _as_at(
        self, measure: Measure, asked: Sequence[Period], view: View, by: str | None
    ) -> dict[Period, Release]:
        """The releases of one moment; nothing of periods that had not begun."""
        known = {period: _until(measure, period, view) for period in asked}
        wanted = list(dict.fromkeys(one for one in known.values() if one is not None))
        released = self._worked_out(measure, wanted, view, by) if wanted else {}
        return {
            period: self._nothing(period, view) if one is None else released[one]
            for period, one in known.items()
        }

    def _worked_out(
        self, measure: Measure, asked: Sequence[Period], view: View, by: str | None
    ) -> dict[Period, Release]:
        if view.released is not None and measure.adds_up_over_time:
            self._release_what_it_is_made_of(measure, asked, view, by)
        if by is None:
            return self._releases.of(measure, asked, view)
        return self._releases.divided(measure, by, asked, view)

    def _release_what_it_is_made_of(
        self, measure: Measure, asked: Sequence[Period], view: View, by: str | None
    ) -> None:
        """Days before their week, weeks before their term: a longer one is decided beside those it is the sum of."""
        if by is not None:
            self.of(measure, asked, view)
        for period in asked:
            if period.grain in SHORTER:
                self.of(measure, _shorter(measure, period, view), view)

    def _sum(self, measure: Measure, period: Period, view: View, by: str | None) -> Release:
        """The sum of what was released of a period: shown where all of it is, it tells nothing more."""
        parts = _shorter(measure, period, view)
        released = self.of(measure, parts, view, by)
        of = [_at(released[part], time_of(measure, part)) for part in parts]
        numbers, hidden = publication.year(of, time_of(measure, period))
        # What is hidden within it is told too, to those who ask what it is made of.
        beneath = frozenset[Name]().union(*(one.hidden for one in released.values()))
        newest = released[parts[-1]]
        return msgspec.structs.replace(newest, numbers=numbers, hidden=hidden | beneath)

    def _nothing(self, period: Period, view: View) -> Release:
        """What is not released yet."""
        schools = self._releases.known_schools(view.head, period.last_school_day)
        return Release(schools, {}, frozenset(), moment=view.released)


def _shorter(measure: Measure, period: Period, view: View) -> list[Period]:
    """The periods that a longer one is the sum of, as far as they have begun."""
    grain: Grain = "term" if period.grain == "year" else SHORTER[period.grain]
    return between(measure, grain, period.start, period.end, view.today)


def _is_sum(measure: Measure, period: Period, view: View, by: str | None) -> bool:
    """Whether a figure is the sum of what was released: a week or term that has not ended, and always a year."""
    if not measure.adds_up_over_time or (by is not None and period.grain != "year"):
        return False
    return period.grain == "year" or (period.grain in SHORTER and not _is_due(measure, period, view))


def _day_of(measure: Measure, period: Period, view: View) -> date:
    """The day in whose evening a period's figures were released, or were last."""
    return schedule.evening_for(measure, period) or schedule.friday_for(period, view.today)


def _is_due(measure: Measure, period: Period, view: View) -> bool:
    """Whether its release has come. One that is released each Friday is, whenever it begins."""
    return (schedule.evening_for(measure, period) or period.start) <= view.today


def _until(measure: Measure, period: Period, view: View) -> Period | None:
    """A period as it was on the day of a release; None where it had not begun."""
    found = between(measure, period.grain, period.start, period.end, view.today)
    return found[-1] if found else None


def _at(release: Release, time: str) -> tuple[Numbers, frozenset[Name]]:
    return {name: parts for name, parts in release.numbers.items() if name[2] == time}, release.hidden


def _as_released(view: View, day: date) -> View:
    """What was known in the evening of a day."""
    return _known_at(view, schedule.evening_of(day))


def _known_at(view: View, moment: datetime) -> View:
    """What was known at a moment; where nothing came since, that is what is known now."""
    newest = view.head.committed_at
    known_at = None if newest is not None and newest <= moment else moment.replace(tzinfo=None)
    return msgspec.structs.replace(view, known_at=known_at, today=clock.day_of(moment), released=moment)
