"""Values between a file and the standard: types, and the forms that records.yaml may name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any

import msgspec

from commonroom import standard
from commonroom.standard import Item

_TRUE, _FALSE = ("1", "true", "y", "yes"), ("0", "false", "n", "no")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}([.][0-9]{1,18})?")
_LAESTAB = re.compile(r"[0-9]{7}")
_MARK = re.compile(r"[A-Z][1-9]|.", re.DOTALL)
# No mark was taken; the record of it is that there is none.
_NO_MARK = "-"
_SATURDAY = 5
_AUGUST = 8

Record = dict[str, Any]


class School(msgspec.Struct, frozen=True):
    """What must be known of a school to name it in a file."""

    urn: str
    laestab: str
    name: str = ""


class Given(msgspec.Struct, frozen=True):
    """What the file or its sender says besides the rows; and the schools that files name by number."""

    values: Mapping[str, Any] = {}
    by_laestab: Mapping[str, School] = {}
    by_urn: Mapping[str, School] = {}


def given(values: Mapping[str, Any], schools: Sequence[School] = ()) -> Given:
    """All that is given, the schools findable by either number."""
    return Given(values, {one.laestab: one for one in schools}, {one.urn: one for one in schools})


def is_true(text: str) -> bool | None:
    """What a text says of yes and no; None for anything else."""
    lower = text.lower()
    return True if lower in _TRUE else False if lower in _FALSE else None


def to_value(item: Item, text: str) -> Any:
    """A text of a file as the standard's value; None where it is none, or a code that a closed list has not."""
    if item.type == "boolean":
        return is_true(text)
    if item.type == "integer":
        return int(text) if _INTEGER.fullmatch(text) else None
    if item.type == "decimal":
        return text if _DECIMAL.fullmatch(text) else None
    if item.type == "date":
        return _date(text)
    if item.type == "code":
        codeset = standard.load().codesets[item.codeset or ""]
        return text if codeset.open or text in codeset.by_code else None
    return text


def to_text(value: Any, booleans: tuple[str, str]) -> str:
    """A value of the standard as a text of a file."""
    if isinstance(value, bool):
        return booleans[0] if value else booleans[1]
    return str(value)


def _date(text: str) -> str | None:
    day = text[:10]
    try:
        date.fromisoformat(day)
    except ValueError:
        return None
    return day if len(day) == 10 else None


def school_year(day: str) -> int | None:
    """The year in which the school year of a day begins."""
    try:
        parsed = date.fromisoformat(day)
    except ValueError:
        return None
    return parsed.year if parsed.month > _AUGUST else parsed.year - 1


# Texts of the cells -> value; None where they do not make one.
Read = Callable[[Sequence[str | None], Given], Any]
# Value -> texts of the cells; None where it has none.
Write = Callable[[Any, Given], "Sequence[str | None] | None"]


def _read_laestab(texts: Sequence[str | None], _: Given) -> Any:
    number = f"{texts[0] or ''}{texts[1] or ''}"
    return number if _LAESTAB.fullmatch(number) else None


def _write_laestab(value: Any, _: Given) -> Sequence[str | None] | None:
    number = str(value).replace("/", "")
    return (number[:3], number[3:]) if _LAESTAB.fullmatch(number) else None


def _read_urn(texts: Sequence[str | None], given: Given) -> Any:
    school = given.by_laestab.get(f"{texts[0] or ''}{texts[1] or ''}")
    return school.urn if school else None


def _write_urn(value: Any, given: Given) -> Sequence[str | None] | None:
    school = given.by_urn.get(str(value))
    return (school.laestab[:3], school.laestab[3:], school.name or None) if school else None


def _read_first_day(texts: Sequence[str | None], _: Given) -> Any:
    return f"{texts[0]}-09-01" if re.fullmatch(r"[12][0-9]{3}", texts[0] or "") else None


def _read_last_day(texts: Sequence[str | None], _: Given) -> Any:
    year = texts[0] or ""
    return f"{int(year) + 1}-08-31" if re.fullmatch(r"[12][0-9]{3}", year) else None


def _write_year(value: Any, _: Given) -> Sequence[str | None] | None:
    year = school_year(str(value))
    return None if year is None else (str(year),)


def _read_day(texts: Sequence[str | None], _: Given) -> Any:
    return _date(texts[0] or "")


def _write_day(value: Any, _: Given) -> Sequence[str | None] | None:
    year = school_year(str(value))
    return None if year is None else (str(value), str(year))


FORMS: dict[str, tuple[Read, Write]] = {
    # (LA, establishment number)
    "laestab": (_read_laestab, _write_laestab),
    # (LA, establishment number, name that is only written)
    "urn": (_read_urn, _write_urn),
    # (Year in which a school year begins): its first and last day.
    "first_day": (_read_first_day, _write_year),
    "last_day": (_read_last_day, _write_year),
    # (Day, year in which its school year begins, which is only written)
    "day": (_read_day, _write_day),
}


# One record with the cells of the row -> the records it means; and back, records of one row's key -> rows.
Spread = Callable[[Record], Iterator[Record]]
Gather = Callable[[Sequence[Record]], Iterator[Record]]


def _spread_marks(row: Record) -> Iterator[Record]:
    """A string of marks, two a day from Monday to Friday, as one record for each session."""
    day = date.fromisoformat(row["date"])
    codes = _mark_codes()
    for place, code in enumerate(_MARK.findall(row["code"])):
        while day.weekday() >= _SATURDAY:
            day += timedelta(days=1)
        if code != _NO_MARK and code in codes:
            yield {**row, "date": day.isoformat(), "session": "AM" if place % 2 == 0 else "PM", "code": code}
        if place % 2:
            day += timedelta(days=1)


def _gather_marks(records: Sequence[Record]) -> Iterator[Record]:
    """Marks of one pupil at one school as one string for each school year."""
    years: dict[int, dict[tuple[str, str], str]] = {}
    for record in records:
        year = school_year(str(record["date"]))
        if year is not None:
            years.setdefault(year, {})[record["date"], record["session"]] = record["code"]
    for _, marks in sorted(years.items()):
        days = sorted({day for day, _ in marks if date.fromisoformat(day).weekday() < _SATURDAY})
        if not days:
            continue
        day, last, text = date.fromisoformat(days[0]), date.fromisoformat(days[-1]), []
        while day <= last:
            if day.weekday() < _SATURDAY:
                text += [marks.get((day.isoformat(), session), _NO_MARK) for session in ("AM", "PM")]
            day += timedelta(days=1)
        yield {**records[0], "date": days[0], "code": "".join(text)}


@cache
def _mark_codes() -> frozenset[str]:
    return frozenset(standard.load().codesets["attendance"].by_code)


SPREADS: dict[str, tuple[Spread, Gather]] = {"marks": (_spread_marks, _gather_marks)}
# Items of the standard that a spread fills, or that tell its records of one row apart.
SPREAD_ITEMS = {"marks": ("date", "session", "code")}
