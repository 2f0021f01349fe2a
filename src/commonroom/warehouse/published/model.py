"""Declarations of published statistics: what a file of figures holds, place by place, with its symbols and its totals."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from commonroom import declarations
from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-260": "The file of published figures cannot be read",
        "CR-261": "There are no such published figures",
        "CR-262": "The files do not keep the rules of Explore Education Statistics",
    }
)

FOLDER = Path(__file__).parent / "definitions"
ANY = "*"  # in `when`: whatever stands there, but something


class Symbol(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in a cell in place of a number, and what it becomes: a symbol of the statistics conventions."""

    means: Literal["c", "x", "z", "low", "u"]
    title: str


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column by which figures are broken down."""

    name: str
    title: str
    column: str
    blank: str = "Total"  # what an empty cell stands for


class Indicator(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of figures."""

    name: str
    title: str
    column: str
    unit: str = ""  # as Explore Education Statistics has it: empty for a count, % and so on
    decimals: int = 0


class Time(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the figures are of: the same for all, or by columns."""

    period: str = ""  # 201819
    identifier: str = ""  # Academic year
    period_column: str = ""
    identifier_column: str = ""


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which rows are of which geographic level, and where the codes and names of the place stand."""

    level: str
    when: dict[str, str]  # column: value, or * for any
    values: dict[str, str] = {}  # the same for all
    columns: dict[str, str] = {}


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows that are added up: of one level, or some of them."""

    level: str
    when: dict[str, list[str]] = {}  # filter or column of the place: values
    starts: dict[str, str] = {}  # the same by the beginning of the value


class Weight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a rate is weighed by when no counts are published: an indicator of another file, place by place."""

    dataset: str
    indicator: str
    match: str  # column of the place
    when: dict[str, list[str]] = {}  # of the other file's schools: filter: values


class Total(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published total that must be found again from its parts; each difference is zero or has its reason.

    `rounded_to`: the parts are rounded to multiples of it, so that each may be half of it away. `within` and `because`
    are of a difference that is known and understood.
    """

    of: Part
    parts: Part
    indicators: list[str]
    by: list[str] = []  # filters; time is always among them
    rounded_to: int = 0
    weighed: Weight | None = None
    within: float = 0.0
    because: str = ""


class Dataset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of file of published figures."""

    name: str
    title: str
    source: str
    licence: str
    time: Time
    places: list[Place]
    indicators: list[Indicator]
    encoding: str = "utf-8-sig"
    filters: list[Filter] = []
    symbols: dict[str, Symbol] = {}
    totals: list[Total] = []

    def columns(self) -> set[str]:
        """All columns of the file that the declaration reads: by them a file is recognised."""
        of_places = {name for place in self.places for name in (*place.when, *place.columns.values())}
        return {
            *of_places,
            *(one.column for one in self.filters),
            *(one.column for one in self.indicators),
            *filter(None, (self.time.period_column, self.time.identifier_column)),
        }

    def place_columns(self) -> list[str]:
        """Names of the columns that say where a row is of, in the order of the declaration."""
        return list(dict.fromkeys(name for place in self.places for name in (*place.values, *place.columns)))


@cache
def all_declared() -> dict[str, Dataset]:
    """The declared datasets by name. Raises Problem CR-001 naming file, line and key."""
    found = [declarations.load(path, Dataset) for path in sorted(FOLDER.glob("*.yaml"))]
    for dataset in found:
        _check(dataset)
    return {dataset.name: dataset for dataset in found}


def named(name: str) -> Dataset:
    """The dataset of this name. Raises Problem CR-261."""
    try:
        return all_declared()[name]
    except KeyError:
        raise Problem(
            "CR-261",
            "no published figures are declared under this name",
            status=404,
            where=name[:60],
            remedy=f"There are {', '.join(all_declared())}.",
        ) from None


def _check(dataset: Dataset) -> None:
    """Names in totals must be those of indicators, filters and places."""
    indicators = {one.name for one in dataset.indicators}
    levels = {one.level for one in dataset.places}
    breakdowns = {one.name for one in dataset.filters} | set(dataset.place_columns())
    for total in dataset.totals:
        used = {*total.by, *total.of.when, *total.parts.when, *total.of.starts, *total.parts.starts}
        wrong = (
            sorted(set(total.indicators) - indicators)
            + sorted({total.of.level, total.parts.level} - levels)
            + sorted(used - breakdowns)
        )
        if wrong:
            raise Problem("CR-001", f"totals name {', '.join(wrong)}, which is not there", where=dataset.name)
