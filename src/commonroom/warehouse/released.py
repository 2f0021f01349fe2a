"""Figures as they were released: of each period the newest release that it is in (see `schedule`).

With the setting `figures: live` they are worked out as at the head instead, and decided anew at each: safe by themselves,
not beside those of another moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from commonroom.engines import clock
from commonroom.warehouse import combinations, publication, schedule
from commonroom.warehouse.heads import Head
from commonroom.warehouse.model import Measure
from commonroom.warehouse.organisations import School
from commonroom.warehouse.periods import Period
from commonroom.warehouse.publication import Name, Numbers
from commonroom.warehouse.releases import Release, Releases
from commonroom.warehouse.same_learners import NOBODY, Same
from commonroom.warehouse.spans import View, between, time_of

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
        moment = known_at or now
        if self._is_live:
            known = known_at.astimezone(UTC).replace(tzinfo=None) if known_at else None
            return View(head, known, clock.day_of(moment), same)
        return _as_released(View(head, None, clock.day_of(moment), same), schedule.newest_day(moment))

    def view_of(self, measure: Measure, period: Period, view: View) -> View:
        """What the figures of one period are worked out of."""
        if self._is_live:
            return view
        evening = _own_evening(measure, period)
        friday = schedule.newest_friday(view.today)
        if evening is None or evening <= friday:
            return _as_released(view, friday)
        return msgspec.structs.replace(_as_released(view, evening), is_of_day=True)

    def known_schools(self, head: Head, on: date) -> dict[str, School]:
        """Every school by URN, as it was on a day."""
        return self._releases.known_schools(head, on)

    def of(
        self, measure: Measure, asked: Sequence[Period], view: View, by: str | None = None
    ) -> dict[Period, Release]:
        """The release that each period's figures are in; with `by`, of those by a characteristic."""
        if self._is_live:
            return self._worked_out(measure, asked, view, by)
        found: dict[Period, Release] = {}
        by_view: dict[tuple[datetime | None, bool], tuple[View, list[Period]]] = {}
        for period in asked:
            mine = self.view_of(measure, period, view)
            by_view.setdefault((mine.released, mine.is_of_day), (mine, []))[1].append(period)
        for mine, periods in by_view.values():
            known = {period: _until(measure, period, mine) for period in periods}
            wanted = list(dict.fromkeys(one for one in known.values() if one is not None))
            released = self._worked_out(measure, wanted, mine, by) if wanted else {}
            for period, one in known.items():
                found[period] = released[one] if one is not None else self._nothing(period, mine)
        if by is None and measure.adds_up_over_time:
            found |= {period: self._so_far(measure, period, found[period], view) for period in asked}
        return found

    def _worked_out(
        self, measure: Measure, asked: Sequence[Period], view: View, by: str | None
    ) -> dict[Period, Release]:
        if by is None:
            return self._releases.of(measure, asked, view)
        return self._releases.divided(measure, by, asked, view)

    def _so_far(self, measure: Measure, period: Period, until_friday: Release, view: View) -> Release:
        """A period so far: as released on Friday, with the days that were released since. It tells no more than these."""
        first = max(period.start, schedule.newest_friday(view.today) + _DAY)
        days = between(measure, "day", first, min(period.end, view.today), view.today)
        if period.grain in ("day", "year") or not days:
            return until_friday
        time = time_of(measure, period)
        since = self.of(measure, days, view)
        parts = [_at(until_friday, time), *(_at(since[day], time_of(measure, day)) for day in days)]
        numbers, hidden = publication.year(parts, time)
        # What is hidden within it is told too, to those who ask what it is made of.
        beneath = until_friday.hidden.union(*(one.hidden for one in since.values()))
        return msgspec.structs.replace(since[days[-1]], numbers=numbers, hidden=hidden | beneath)

    def _nothing(self, period: Period, view: View) -> Release:
        """What is not released yet."""
        schools = self._releases.known_schools(view.head, period.last_school_day)
        return Release(schools, {}, frozenset(), moment=view.released)


def _own_evening(measure: Measure, period: Period) -> date | None:
    evenings = {schedule.own_evening(one, period) for one in combinations.parts(measure)}
    return evenings.pop() if len(evenings) == 1 else None


def _until(measure: Measure, period: Period, view: View) -> Period | None:
    """A period as it was on the day of a release; None where it had not begun."""
    if view.is_of_day:
        return period
    found = between(measure, period.grain, period.start, period.end, view.today)
    return found[-1] if found else None


def _at(release: Release, time: str) -> tuple[Numbers, frozenset[Name]]:
    return {name: parts for name, parts in release.numbers.items() if name[2] == time}, release.hidden


def _as_released(view: View, day: date) -> View:
    """What was known in the evening of a day; where nothing came since, that is what is known now."""
    moment = schedule.evening_of(day)
    newest = view.head.committed_at
    known_at = None if newest is not None and newest <= moment else moment.replace(tzinfo=None)
    return msgspec.structs.replace(view, known_at=known_at, today=day, released=moment, is_of_day=False)
