"""Dates that move with the year: `$reference_date - 30 days` in examples, mutators and whole valid returns.

Without them each year's overlay would need every example of the rules it inherits written again.
"""

from __future__ import annotations

import calendar
import re
from datetime import date, timedelta
from typing import Any

from commonroom.collections.model import Collection
from commonroom.collections.predicates import language_of
from commonroom.problems import Problem

_STEP = r"\s*[+-]\s*\d{1,5}\s+(?:days?|weeks?|months?|years?)"
_FORM = re.compile(rf"\$(\w+)((?:{_STEP})*)\s*")
_PARTS = re.compile(r"([+-])\s*(\d+)\s+(day|week|month|year)")


def with_dates(collection: Collection, content: Any, where: str) -> Any:
    """The same content with each value that begins with `$` as the date it means. Raises Problem CR-183."""
    known = {
        name: value for name, value in language_of(collection).parameters.items() if isinstance(value, date)
    }
    return _walked(content, known, where)


def _walked(content: Any, known: dict[str, date], where: str) -> Any:
    if isinstance(content, dict):
        return {name: _walked(value, known, where) for name, value in content.items()}
    if isinstance(content, list):
        return [_walked(value, known, where) for value in content]
    if isinstance(content, str) and content.startswith("$"):
        return _date(content, known, where).isoformat()
    return content


def _date(text: str, known: dict[str, date], where: str) -> date:
    form = _FORM.fullmatch(text)
    if form is None or form[1] not in known:
        raise Problem(
            "CR-183",
            f"`{text}` is no date of the collection",
            where=where,
            remedy=f"Write one of {', '.join(f'${name}' for name in known)}, and such as `- 4 years + 1 day`.",
        )
    day = known[form[1]]
    for sign, number, unit in _PARTS.findall(form[2]):
        day = _moved(day, int(sign + number), unit)
    return day


def _moved(day: date, by: int, unit: str) -> date:
    if unit in ("day", "week"):
        return day + timedelta(days=by * (7 if unit == "week" else 1))
    years, month = divmod(day.year * 12 + day.month - 1 + by * (12 if unit == "year" else 1), 12)
    # Of the last days of a month the last one there is.
    return date(years, month + 1, min(day.day, calendar.monthrange(years, month + 1)[1]))
