"""Periods of figures: school days, weeks, terms and academic years, from the standard's calendar.

A period is always whole: its figure does not depend on the first and last day somebody asked for.
"""

from __future__ import annotations

from datetime import date, timedelta

import msgspec

from commonroom.standard import terms
from commonroom.warehouse.model import Grain

_DAY = timedelta(days=1)


class Period(msgspec.Struct, frozen=True):
    """One period, both ends included."""

    grain: Grain
    start: date
    end: date
    label: str
    # The last school day that has come: a state is taken on it. Of what goes on without school, the last day.
    last_school_day: date
    is_over: bool = True

    def days(self) -> list[date]:
        """Every day in it."""
        return [self.start + number * _DAY for number in range((self.end - self.start).days + 1)]

    def term_days(self) -> list[date]:
        """Every day in it, of a year those of its terms: what adds up to a year is what its terms are."""
        if self.grain != "year":
            return self.days()
        return [day for day in self.days() if terms.term_of(day) is not None]


def between(grain: Grain, first: date, last: date, today: date) -> list[Period]:
    """The periods with a school day from `first` to `last` that have begun by `today`, in order.

    Raises Problem CR-092 outside the years that the calendar covers.
    """
    days = terms.school_days(first, min(last, today)) if first <= min(last, today) else []
    bounds = dict.fromkeys(_bounds(grain, day) for day in days)
    return [_period(grain, start, end, label, today) for start, end, label in bounds]


def of_any_day(grain: Grain, first: date, last: date, today: date) -> list[Period]:
    """The same of what goes on without school too, with the last day that has come in place of the last school day."""
    last = min(last, today)
    if first <= last:
        terms.school_days(first, last)  # which says where the calendar ends
    days = [first + number * _DAY for number in range((last - first).days + 1)]
    bounds = dict.fromkeys(_bounds(grain, day) for day in days)
    return [Period(grain, start, end, label, min(end, today), end < today) for start, end, label in bounds]


def year_of(day: date) -> date:
    """The 1 September that began the academic year of a day."""
    begins = date(day.year, 9, 1)
    return begins if day >= begins else date(day.year - 1, 9, 1)


def _bounds(grain: Grain, day: date) -> tuple[date, date, str]:
    if grain == "week":
        week = terms.week_of(day)
        return week.first, week.last, week.label
    if grain == "year":
        first = year_of(day)
        return first, date(first.year + 1, 8, 31), f"{first.year}/{(first.year + 1) % 100:02}"
    term = terms.term_of(day) if grain == "term" else None
    return (term.first, term.last, term.label) if term else (day, day, day.isoformat())


def _period(grain: Grain, start: date, end: date, label: str, today: date) -> Period:
    begins, ends = terms.covered()
    come = terms.school_days(max(start, begins), min(end, today, ends))
    return Period(grain, start, end, label, come[-1], end < today)
