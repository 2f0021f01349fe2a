"""Working days of England: Mondays to Fridays that are no bank holidays. Rules of censuses count in them."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

_DAY = timedelta(days=1)
FIRST_YEAR, LAST_YEAR = 1985, 2060
_MONDAY, _SATURDAY = 0, 5

# Days moved or given for one occasion.
_MOVED = {
    date(1995, 5, 1): date(1995, 5, 8),
    date(2002, 5, 27): date(2002, 6, 4),
    date(2012, 5, 28): date(2012, 6, 4),
    date(2020, 5, 4): date(2020, 5, 8),
    date(2022, 5, 30): date(2022, 6, 2),
}
_ONCE = (
    date(1999, 12, 31),
    date(2002, 6, 3),
    date(2011, 4, 29),
    date(2012, 6, 5),
    date(2022, 6, 3),
    date(2022, 9, 19),
    date(2023, 5, 8),
)


@cache
def bank_holidays() -> frozenset[date]:
    """The bank holidays of England from `FIRST_YEAR` to `LAST_YEAR`, those of later years as the law now stands."""
    regular = [day for year in range(FIRST_YEAR, LAST_YEAR + 1) for day in _of_year(year)]
    return frozenset([*(_MOVED.get(day, day) for day in regular), *_ONCE])


def calendar() -> list[tuple[date, int, bool]]:
    """Every day with the number of working days up to and with it, and whether it is one."""
    found = []
    holidays, number, day = bank_holidays(), 0, date(FIRST_YEAR, 1, 1)
    while day.year <= LAST_YEAR:
        working = day.weekday() < _SATURDAY and day not in holidays
        number += working
        found.append((day, number, working))
        day += _DAY
    return found


def _of_year(year: int) -> list[date]:
    easter = _easter(year)
    christmas = date(year, 12, 25)
    return [
        _next_free(date(year, 1, 1)),
        easter - 2 * _DAY,
        easter + _DAY,
        _first_monday(date(year, 5, 1)),
        _last_monday(date(year, 5, 31)),
        _last_monday(date(year, 8, 31)),
        *_christmas(christmas),
    ]


def _next_free(day: date) -> date:
    """A holiday at a weekend is kept on the Monday after."""
    return day + (7 - day.weekday()) * _DAY if day.weekday() >= _SATURDAY else day


def _christmas(christmas: date) -> tuple[date, date]:
    """Christmas Day and Boxing Day, or the weekdays that stand for them."""
    first = _next_free(christmas)
    boxing = _next_free(christmas + _DAY)
    return first, boxing if boxing != first else first + _DAY


def _first_monday(day: date) -> date:
    return day + (-day.weekday() % 7) * _DAY


def _last_monday(day: date) -> date:
    return day - day.weekday() * _DAY


def _easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Meeus, Jones, Butcher)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)
