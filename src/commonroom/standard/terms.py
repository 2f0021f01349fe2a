"""The calendar of English schools: terms, half terms, bank holidays, and the school days they leave.

The dates are data (terms.yaml) and a reference only: every authority and academy sets its own.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from pathlib import Path

import msgspec

from commonroom import declarations
from commonroom.problems import Problem, add_codes

add_codes({"CR-092": "The school calendar does not cover the date"})

_FILE = Path(__file__).parent / "terms.yaml"
_SATURDAY = 5
_DAY = timedelta(days=1)


class Break(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days within a term on which schools are closed, both ends included."""

    first: date
    last: date


class BankHoliday(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One day on which schools are closed."""

    date: date
    title: str


class Term(msgspec.Struct, frozen=True):
    """One term: `code` is AUT, SPR or SUM; `first` and `last` are its first and last school day."""

    year: str
    code: str
    title: str
    first: date
    last: date
    half_term: Break

    @property
    def label(self) -> str:
        """Such as `Autumn term 2025/26`."""
        return f"{self.title} {self.year}"


class Week(msgspec.Struct, frozen=True):
    """A week from Monday to Sunday; `year` and `number` as ISO 8601 counts them."""

    year: int
    number: int
    first: date
    last: date

    @property
    def label(self) -> str:
        """Such as `2025 week 45`."""
        return f"{self.year} week {self.number}"


class _Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: str
    title: str
    first: date
    last: date
    half_term: Break


class _Year(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    terms: tuple[_Term, ...]


class _Calendar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    description: str
    years: tuple[_Year, ...]
    bank_holidays: tuple[BankHoliday, ...]


@cache
def terms() -> tuple[Term, ...]:
    """Every term of the calendar, in order of time. Raises Problem CR-001 when the file is faulty."""
    return tuple(
        Term(year.name, term.code, term.title, term.first, term.last, term.half_term)
        for year in _calendar().years
        for term in year.terms
    )


def bank_holidays() -> tuple[BankHoliday, ...]:
    """Every bank holiday of the calendar, in order of time."""
    return _calendar().bank_holidays


def term_of(day: date) -> Term | None:
    """The term that a day lies in, its weekends and half term included; None between terms and outside the calendar."""
    return next((term for term in terms() if term.first <= day <= term.last), None)


def week_of(day: date) -> Week:
    """The week a day lies in, in school or not."""
    year, number, weekday = day.isocalendar()
    monday = day - (weekday - 1) * _DAY
    return Week(year, number, monday, monday + 6 * _DAY)


def is_school_day(day: date) -> bool:
    """True on weekdays of a term outside its half term and bank holidays. False outside the calendar."""
    term = term_of(day)
    if term is None or day.weekday() >= _SATURDAY or day in _closed_days():
        return False
    return not term.half_term.first <= day <= term.half_term.last


def school_days(first: date, last: date) -> list[date]:
    """The school days from `first` to `last`, both included.

    Raises Problem CR-092 where the calendar does not know the days: from 1 September of its first year to 31 August
    after its last.
    """
    begins, ends = covered()
    if first < begins or last > ends:
        raise Problem(
            "CR-092",
            f"the school calendar runs from {begins} to {ends}.",
            where=f"{first} to {last}",
            remedy="Ask for days within it, or add a year to standard/terms.yaml.",
        )
    days = (first + number * _DAY for number in range((last - first).days + 1))
    return [day for day in days if is_school_day(day)]


def covered() -> tuple[date, date]:
    """The first and last day the calendar speaks of: whole school years, September to August."""
    return date(terms()[0].first.year, 9, 1), date(terms()[-1].last.year, 8, 31)


@cache
def _calendar() -> _Calendar:
    return declarations.load(_FILE, _Calendar)


@cache
def _closed_days() -> frozenset[date]:
    return frozenset(holiday.date for holiday in bank_holidays())
