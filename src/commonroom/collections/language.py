"""What conditions of one collection may name beside items: its parameters and its code sets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from commonroom.collections.model import Collection
from commonroom.standard import load as load_standard


@dataclass(frozen=True)
class Language:
    """What conditions of one collection may name beside items: parameters and code sets."""

    parameters: Mapping[str, str | int | date]
    # Name -> (code, since, until).
    codesets: Mapping[str, Sequence[tuple[str, date | None, date | None]]]
    start: date
    end: date

    def codes(self, name: str) -> list[str]:
        """The codes of a set that were in use on some day of the period."""
        return [
            code
            for code, since, until in self.codesets[name]
            if (since is None or since <= self.end) and (until is None or until >= self.start)
        ]


def language_of(collection: Collection) -> Language:
    """The parameters and code sets of a collection."""
    codesets = {
        name: [(code.code, code.since, code.until) for code in codeset.codes]
        for name, codeset in load_standard().codesets.items()
    }
    for name, own in collection.codesets.items():
        codesets[name] = [(code.code, code.since, code.until) for code in own.codes]
    period = collection.period
    dates = (collection.reference_date, period.start, period.end)
    given: dict[str, str | int | date] = {
        "reference_date": collection.reference_date,
        "period_start": period.start,
        "period_end": period.end,
        "year": collection.year,
        **{name: _typed(text) for name, text in collection.parameters.items()},
    }
    return Language(given, codesets, min(dates), max(dates))


def moved(collection: Collection, reference: date) -> dict[str, date]:
    """The dates that rules read, when the reference date is another one: the period keeps its distance from it."""
    declared = collection.reference_date
    years = reference.year - declared.year
    days = reference - _in_year(declared, reference.year)
    period = {"period_start": collection.period.start, "period_end": collection.period.end}
    return {"reference_date": reference} | {
        name: _in_year(day, day.year + years) + days for name, day in period.items()
    }


def _in_year(day: date, year: int) -> date:
    """The same day of another year; of 29 February the day before March."""
    try:
        return day.replace(year=year)
    except ValueError:
        return day.replace(year=year, day=28)


def _typed(text: str) -> str | int | date:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return date.fromisoformat(text)
    return int(text) if re.fullmatch(r"-?\d{1,15}", text) else text
