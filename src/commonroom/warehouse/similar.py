"""Schools like a school, and how their published figures lie: median and quartiles to stand beside one's own.

How likeness is reckoned is declared (similar_schools.yaml). All of it is made of published figures that are shown: a
school whose size or share is hidden is like nobody, and a hidden figure is in no median.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa
from msgspec import Meta

from commonroom import declarations
from commonroom.engines import clock
from commonroom.identity import Principal
from commonroom.problems import Problem, add_codes
from commonroom.standard import terms
from commonroom.warehouse import combinations, spans
from commonroom.warehouse.model import Grain, Measure
from commonroom.warehouse.organisations import School
from commonroom.warehouse.questions import MAX_UNITS, Figure
from commonroom.warehouse.reader import Reader

add_codes({"CR-330": "The declaration of similar schools cannot be used"})

FILE = Path(__file__).parent / "similar_schools.yaml"
GRAIN = "term"
# Of neighbours, in one answer: those of five hundred schools by week of a year are.
MOST_FIGURES = 400_000
# No holiday is longer.
_LONGEST_BREAK = timedelta(days=60)

# The nearest of the same group for each of those asked for; of two equally near the one with the lower URN.
_NEAREST = """
SELECT mine.urn AS school, other.urn AS neighbour
FROM known AS mine
JOIN asked ON asked.urn = mine.urn
JOIN known AS other ON other.alike = mine.alike AND other.urn <> mine.urn
QUALIFY row_number() OVER (PARTITION BY mine.urn ORDER BY {distance}, other.urn) <= {most}
ORDER BY ALL
"""


class Near(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published measure in which similar schools are near, and how large a difference counts as one step."""

    measure: str
    difference: Literal["ratio", "points"]
    one: Decimal

    def place(self, value: Decimal) -> float | None:
        """Where a value lies, in steps; None where it has no place."""
        if self.difference == "points":
            return float(value / self.one)
        return math.log(value) / math.log(self.one) if value > 0 else None


class Likeness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How it is reckoned which schools are like a school."""

    title: str
    meaning: str  # for everybody
    same: tuple[Literal["phase", "region_code"], ...]
    near: Annotated[tuple[Near, ...], Meta(min_length=1)]
    neighbours: Annotated[int, Meta(ge=10, le=100)]
    at_least: Annotated[int, Meta(ge=10)]


class Spread(msgspec.Struct, frozen=True):
    """How the published figures of the schools like one school lie in a period; no values where too few are shown."""

    school: str  # URN
    period_start: date
    period_label: str
    schools: int  # of them with a figure that is shown
    lower: Decimal | None
    median: Decimal | None
    upper: Decimal | None


class Similar(msgspec.Struct, frozen=True):
    """The schools like each of those asked for, by URN, and how their figures lie."""

    likeness: Likeness
    schools: dict[str, tuple[str, ...]]
    spreads: tuple[Spread, ...]


@cache
def load(path: Path = FILE) -> Likeness:
    """The declaration. Raises Problem CR-001, CR-063 or CR-330."""
    likeness = declarations.load(path, Likeness)
    for near in likeness.near:
        measure = combinations.measure(near.measure)
        if "school" not in measure.levels or GRAIN not in measure.grains:
            raise _fault(path, f"{near.measure} is not published by school and {GRAIN}")
        if near.one <= (1 if near.difference == "ratio" else 0):
            raise _fault(path, f"{near.measure}: `one` is more than 1 for a ratio, more than 0 for points")
    if likeness.at_least > likeness.neighbours:
        raise _fault(path, "`at_least` is more than `neighbours`")
    return likeness


async def beside(
    reader: Reader, connection: Any, principal: Principal, measure: str, schools: Sequence[str], *,
    grain: str, first: date, last: date,
) -> Similar:  # fmt: skip
    """How the published figures of a measure lie among the schools like each of `schools`, by period.

    Which schools are like them is taken on the last school day by `last` that has come. Each read enters the trail.
    Raises Problem CR-063 where that would be more than MOST_FIGURES.
    """
    likeness = load()
    rule = combinations.measure(measure)
    today = clock.day_of(await clock.now(connection))
    check_size(likeness, len(schools), len(spans.between(rule, _grain(rule, grain), first, last, today)))
    nearest = await neighbours(reader, connection, principal, likeness, schools, last)
    wanted = sorted({one for group in nearest.values() for one in group})
    figures: list[Figure] = []
    for start in range(0, len(wanted), MAX_UNITS):
        figures += await reader.figures(
            connection, principal, measure=measure, level="school", grain=grain,
            units=wanted[start : start + MAX_UNITS], first=first, last=last, purpose="benchmark: similar schools",
        )  # fmt: skip
    return Similar(likeness, nearest, tuple(spreads(rule, likeness, nearest, figures)))


def check_size(likeness: Likeness, schools: int, wanted: int) -> None:
    """Raise Problem CR-063 where so many schools and periods have the figures of more neighbours than are read at once."""
    if schools * likeness.neighbours * wanted > MOST_FIGURES:
        raise Problem(
            "CR-063",
            f"{schools:,} schools and {wanted:,} periods are too much to lay beside schools like each of them",
            status=404,
            remedy="Ask for fewer days, or by week, term or year.",
        )


def _grain(measure: Measure, grain: str) -> Grain:
    return next((one for one in measure.grains if one == grain), measure.grains[0])


async def neighbours(
    reader: Reader,
    connection: Any,
    principal: Principal,
    likeness: Likeness,
    schools: Sequence[str],
    on: date,
) -> dict[str, tuple[str, ...]]:
    """The schools like each of `schools` that can be placed, in order of URN."""
    on = min(on, clock.day_of(await clock.now(connection)))  # of what has come
    days = terms.school_days(on - _LONGEST_BREAK, on)
    if not days or not schools:
        return {}
    known = await reader.schools(connection, days[-1])
    places = []
    for near in likeness.near:
        found = await reader.figures(
            connection, principal, measure=near.measure, level="school", grain=GRAIN,
            first=days[-1], last=days[-1], purpose="benchmark: similar schools",
        )  # fmt: skip
        places.append({one.unit: near.place(one.value) for one in found if one.value is not None})
    return await asyncio.to_thread(_nearest, reader, likeness, known, places, schools)


def _nearest(
    reader: Reader, likeness: Likeness, known: Mapping[str, School],
    places: Sequence[Mapping[str, float | None]], schools: Sequence[str],
) -> dict[str, tuple[str, ...]]:  # fmt: skip
    urns = [urn for urn in sorted(known) if all(place.get(urn) is not None for place in places)]
    groups = [_group(likeness, known[urn]) for urn in urns]
    axes = {f"place_{number}": [place[urn] for urn in urns] for number, place in enumerate(places)}
    distance = " + ".join(f"pow(mine.{axis} - other.{axis}, 2)" for axis in axes)
    rows = reader.duck.query(
        _NEAREST.format(distance=distance, most=likeness.neighbours),
        [],
        {
            "known": pa.table(
                {
                    "urn": pa.array(urns, pa.string()),
                    "alike": pa.array(groups, pa.string()),
                    **{axis: pa.array(values, pa.float64()) for axis, values in axes.items()},
                }
            ),
            "asked": pa.table({"urn": pa.array(sorted(set(schools)), pa.string())}),
        },
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["school"], []).append(row["neighbour"])
    return {urn: tuple(group) for urn, group in found.items()}


def _group(likeness: Likeness, school: School) -> str | None:
    """What must be the same; None, which is the same as nothing, where it is not known."""
    values = [getattr(school, name) for name in likeness.same]
    return None if None in values else "|".join(values)


def spreads(
    measure: Measure, likeness: Likeness, nearest: Mapping[str, Sequence[str]], figures: Sequence[Figure]
) -> list[Spread]:
    """How what is shown of these figures lies among the schools like each, by period."""
    periods = sorted({(one.period_start, one.period_label) for one in figures})
    shown = {(one.unit, one.period_start): one.value for one in figures if one.value is not None}
    found = []
    for school, group in nearest.items():
        for start, label in periods:
            values = [shown[urn, start] for urn in group if (urn, start) in shown]
            found.append(Spread(school, start, label, len(values), *_middle(measure, likeness, values)))
    return found


def _middle(
    measure: Measure, likeness: Likeness, values: Sequence[Decimal]
) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """Lower quartile, median and upper quartile of what is shown, rounded as the measure is."""
    if len(values) < likeness.at_least:
        return None, None, None
    lower, median, upper = (
        _rounded(one, measure.decimals) for one in quantiles(values, n=4, method="inclusive")
    )
    return lower, median, upper


def _rounded(value: Decimal, decimals: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP) + 0  # no nought has a minus


def _fault(path: Path, detail: str) -> Problem:
    return Problem("CR-330", detail, where=str(path), remedy="docs/warehouse.md shows how it is declared.")
