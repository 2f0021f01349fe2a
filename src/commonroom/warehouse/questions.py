"""What is asked of the figures, checked; and the figures that answer it, made of the numbers of a release."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime
from decimal import Decimal
from typing import get_args

import msgspec

from commonroom.problems import Problem
from commonroom.warehouse import characteristics, combinations, disclosure, divisions, measures
from commonroom.warehouse.disclosure import Shown
from commonroom.warehouse.model import Grain, Level, Measure
from commonroom.warehouse.periods import Period
from commonroom.warehouse.releases import Release
from commonroom.warehouse.spans import place_of, time_of

MAX_UNITS = 1000  # that one may ask for by code; None asks for all of a level
MAX_DAYS = 800
# Of a figure as a row of text.
COLUMNS = (
    "measure", "level", "unit", "unit_name", "grain", "period_start", "period_label", "characteristic", "group",
    "numerator", "denominator", "value", "symbol", "batch", "position", "as_of", "margin",
)  # fmt: skip
# Of sums over days, by characteristic: what a pupil is, is taken once a term.
DIVIDED_GRAINS = ("term", "year")
# What stands in the place of a value.
SYMBOLS = {
    "c": "withheld to protect individuals",
    "z": "does not apply",
    "x": "not available",
    "low": "rounds to zero",
    "u": "too few to be relied on",
}
_LONGEST_TIME = 40


class Figure(msgspec.Struct, frozen=True):
    """One published figure. Where `symbol` is set there is no value; with c, z and x no part either."""

    measure: str
    level: str
    unit: str  # URN, authority number, region code or E92000001
    unit_name: str
    grain: str
    period_start: date
    period_label: str
    numerator: int | None
    denominator: int | None
    value: Decimal | None  # a percentage, or a count
    symbol: str | None
    # As of which state of the warehouse: its batch, the hub's position, and the time of it or that which was asked for.
    batch: int = 0
    position: int = 0
    as_of: datetime | None = None
    # Of which pupils alone: a characteristic and one of its groups; empty: of all.
    characteristic: str = ""
    group: str = ""
    margin: Decimal | None = None  # of a mean: how far to either side it could lie by chance, at 95%


class Question(msgspec.Struct, frozen=True):
    """What is asked, checked."""

    measure: str
    level: Level
    grain: Grain
    units: tuple[str, ...] | None
    first: date
    last: date
    known_at: datetime | None  # UTC without a zone; None for now
    characteristic: str | None = None
    groups: tuple[str, ...] | None = None


def checked(
    measure: str,
    level: str,
    grain: str,
    units: Sequence[str] | None,
    first: date,
    last: date,
    known_at: datetime | None,
) -> Question:
    """The question as one that can be answered. Raises Problem CR-063 (no such measure, level, grain, unit or time)."""
    declared = combinations.measure(measure)
    if declared.by is not None:
        raise _no_such("a measure with its characteristic in its name", ["the characteristic by itself"])
    if level not in declared.levels:
        raise _no_such(f"{measure} is not made by {level[:40]!r}", declared.levels)
    if grain not in declared.grains:
        raise _no_such(f"{measure} is not made by {grain[:40]!r}", declared.grains)
    if units is not None and len(units) > MAX_UNITS:
        raise _no_such(f"more than {MAX_UNITS} units", ["fewer, or all of the level"])
    if (last - first).days > MAX_DAYS:
        raise _no_such(f"more than {MAX_DAYS} days", ["a shorter time"])
    if known_at is not None and known_at.tzinfo is None:
        raise _no_such("a known time without its zone", ["a time such as 2026-09-01T12:00:00Z"])
    if known_at is not None and not MINYEAR < known_at.year < MAXYEAR:  # which other zones need not have
        raise _no_such("the first or the last of all years", ["a time such as 2026-09-01T12:00:00Z"])
    levels: dict[str, Level] = {name: name for name in get_args(Level)}
    grains: dict[str, Grain] = {name: name for name in get_args(Grain)}
    return Question(
        measure,
        levels[level],
        grains[grain],
        None if units is None else tuple(units),
        first,
        last,
        known_at.astimezone(UTC).replace(tzinfo=None) if known_at else None,
    )


def known_time(text: str, now: datetime) -> datetime:
    """The time that `known_at` names, which has come. Raises Problem CR-063 that says which of three it is not."""
    try:
        moment = datetime.fromisoformat(text[:_LONGEST_TIME])
    except ValueError:
        raise _no_known_time("is not a time") from None
    if moment.tzinfo is None:
        raise _no_known_time("is without its zone")
    if moment > now:
        raise _no_known_time("has not come yet")
    return moment


def divided(question: Question, name: str, groups: Sequence[str] | None) -> Question:
    """The question by a characteristic. Raises Problem CR-063 where the measure is not divided so."""
    measure = combinations.measure(question.measure)
    combination = combinations.load().get(question.measure)
    if combination is None:
        measures.divided(measure, name)
    elif combination.by != name:
        raise _no_such(
            f"{measure.name} is not counted by {name}", [combination.by or "it without a characteristic"]
        )
    known = tuple(characteristics.named(name).titles())
    if groups is not None and not set(groups) <= set(known):
        raise _no_such(f"{name} has no such group", known)
    if measure.adds_up_over_time and question.grain not in DIVIDED_GRAINS:
        raise _no_such(f"by characteristic {measure.name} is not made by {question.grain}", DIVIDED_GRAINS)
    chosen = known if groups is None else tuple(group for group in known if group in groups)
    return msgspec.structs.replace(question, characteristic=name, groups=chosen)


def names(question: Question, release: Release) -> dict[str, str]:
    """The units to answer for, with their names: those asked for in their order, or every one of the level by code."""
    known = {}
    for school in release.schools.values():
        code, name = school.group(question.level)
        if code is not None:
            known[code] = name or code
    wanted = sorted(known) if question.units is None else dict.fromkeys(question.units)
    return {unit: known.get(unit, unit) for unit in wanted}


def cell(
    measure: Measure, question: Question, release: Release, unit: str, period: Period, group: str = ""
) -> Shown | None:
    """A unit's figure of a period. Units asked for by code have one in every period, others where anything is known."""
    figure = divisions.series(measure.name, group) if group else measure.name
    name = (figure, place_of(question.level, unit), time_of(measure, period))
    parts = release.numbers.get(name)
    if parts is not None:
        return disclosure.show(measure, parts, hidden=name in release.hidden)
    return None if question.units is None else disclosure.nothing(measure)


def figure(question: Question, unit: str, name: str, period: Period, cell: Shown, group: str = "") -> Figure:
    return Figure(
        question.measure, question.level, unit, name, question.grain, period.start, period.label,
        cell.numerator, cell.denominator, cell.value, cell.symbol,
        characteristic=question.characteristic or "", group=group, margin=cell.margin,
    )  # fmt: skip


def row(figure: Figure) -> dict[str, str | int | None]:
    """A figure as a row of text: the value as it is written, and its symbol in a column of its own."""
    fields = {name: getattr(figure, name) for name in COLUMNS}
    return {
        **fields,
        **{name: _written(fields[name]) for name in ("period_start", "value", "margin", "as_of")},
    }


def _written(value: date | Decimal | None) -> str | None:
    if isinstance(value, date):
        return value.isoformat()
    return None if value is None else f"{value:f}"


def _no_known_time(fault: str) -> Problem:
    remedy = "Write a time that has come, with its zone, such as 2026-09-13T12:00:00Z."
    return Problem("CR-063", f"`known_at` {fault}", status=400, remedy=remedy)


def _no_such(detail: str, known: Sequence[str]) -> Problem:
    return Problem("CR-063", detail, status=404, remedy=f"Ask for {', '.join(known)}.")
