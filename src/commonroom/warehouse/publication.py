"""A publication: everything of a measure that hangs together, hidden as one.

Whoever asks for one school on one day can also ask for its week, its authority, its neighbours and the authorised part of
its absence. So what is hidden is decided over all of these at once, never over what one question happens to ask: a cell
is hidden in every answer or in none.

What hangs together: places (a nation is its regions, their authorities, their schools; a trust its schools), the measure
and those it is the sum of, and, where sessions are counted, time (a week is its days, a term its weeks). A year is decided
after its terms and from them alone (`year`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from commonroom.warehouse import suppression
from commonroom.warehouse.areas import area_by_area
from commonroom.warehouse.attack import Cell, Sum
from commonroom.warehouse.disclosure import above_lowest, is_sensitive
from commonroom.warehouse.model import Level, Measure
from commonroom.warehouse.suppression import Table

LEVELS: tuple[Level, ...] = ("school", "trust", "authority", "region", "national")
# Each level's units are those of the next one's, whole. A trust has schools of many authorities.
_CHAINS: tuple[tuple[Level, ...], ...] = (("school", "authority", "region", "national"), ("school", "trust"))
Place = tuple[str, str]  # level and code
Time = str
Hide = Callable[[Table], frozenset[Any]]
DENOMINATORS = "denominators"  # the kind of their tables
# What hiding costs: rather a school than its authority, rather a day than its week, rather a part than the whole.
_COST_OF_LEVEL = {"school": 1, "trust": 20, "authority": 40, "region": 200, "national": 1000}
_COST_OF_GRAIN = {"day": 1, "week": 6, "term": 30, "year": 60}
_COST_OF_WHOLE = 4
_HALF = 2
_TOGETHER = 20_000  # cells: publications of more are solved area by area
# A range of two steps holds a second whole number, whatever fractions it begins and ends with.
_LEAST = 2


class Parts(msgspec.Struct, frozen=True):
    """The whole numbers of one figure."""

    numerator: int
    denominator: int | None
    units: int
    tells: bool = False  # shown, it would tell a hidden figure of another measure (see `bounds`)
    deviation: int = 0  # over its units, of a measure with one
    # Of a measure with a `cohort`: that is hidden here; or it is shown, and the denominator is no more than so many.
    dark: bool = False
    most: int | None = None

    def plus(self, other: Parts) -> Parts:
        """Both together."""
        denominator = None if self.denominator is None else self.denominator + (other.denominator or 0)
        return Parts(
            self.numerator + other.numerator,
            denominator,
            self.units + other.units,
            deviation=self.deviation + other.deviation,
        )


class Calendar(msgspec.Struct, frozen=True):
    """The periods of one publication: each one's grain, and which are the sum of which."""

    grains: dict[Time, str]
    sums: dict[Time, tuple[Time, ...]]  # only where a longer period is the sum of shorter ones
    blocks: dict[Time, Time]  # the period in which its places are added up: a day's week
    longest: frozenset[Time]  # the sums of sums: terms

    @classmethod
    def of(cls, grains: Mapping[Time, str], sums: Mapping[Time, tuple[Time, ...]]) -> Calendar:
        """The calendar of periods of these grains."""
        longest = frozenset(total for total, parts in sums.items() if any(part in sums for part in parts))
        blocks = {part: total for total, parts in sums.items() if total not in longest for part in parts}
        return cls(dict(grains), dict(sums), {time: blocks.get(time, time) for time in grains}, longest)


class Tree(msgspec.Struct, frozen=True):
    """The places: each school's authority and region, and what each place is the sum of."""

    parents: dict[Place, Place | None]
    children: dict[Place, tuple[Place, ...]]

    def area(self, place: Place) -> str:
        """The part of the publication in which a place's numbers over time are added up."""
        if place[0] == "trust":
            return _trust_area(place)
        above = self.parents.get(place)
        if place[0] == "school" and above is not None:
            return above[1]
        return ""


# By measure, place and time.
Numbers = Mapping[tuple[str, Place, Time], Parts]
Name = tuple[str, Place, Time]


def tree(groups: Mapping[str, Mapping[Level, str | None]]) -> Tree:
    """The places of all schools, each given by what it belongs to at every level."""
    parents: dict[Place, Place | None] = {}
    children: dict[Place, dict[Place, None]] = defaultdict(dict)
    for of in (groups[urn] for urn in sorted(groups)):
        for levels in _CHAINS:
            chain: list[Place] = [(level, code) for level in levels if (code := of.get(level)) is not None]
            if not chain:  # an authority belongs to no trust
                continue
            for below, above in zip(chain, [*chain[1:], None], strict=True):
                if levels is _CHAINS[0]:
                    if below in parents:
                        continue
                    parents[below] = above
                if above is not None:
                    children[above][below] = None
    return Tree(parents, {place: tuple(below) for place, below in children.items()})


def rolled_up(schools: Numbers, groups: Mapping[str, Mapping[Level, str | None]]) -> dict[Name, Parts]:
    """The numbers of every place of every level, from those of the schools."""
    found: dict[Name, Parts] = {}
    places: dict[str, list[Place]] = {}  # the same few objects in millions of names
    for (measure, (_, urn), time), parts in schools.items():
        if urn not in places:
            places[urn] = [(level, code) for level in LEVELS if (code := groups[urn].get(level)) is not None]
        for place in places[urn]:
            name = (measure, place, time)
            found[name] = found[name].plus(parts) if name in found else parts
    return found


def within_cohort(
    numbers: Numbers, same: Mapping[str, str], cohort: Numbers, hidden_cohort: Collection[Name]
) -> dict[Name, Parts]:
    """The numbers with what is published of their cohort. `same`: by the names of their figures, those of the cohort's.

    Where the cohort is hidden, there is a figure that is hidden too, though nobody be in it.
    """
    found = dict(numbers)
    times = {time for _, _, time in numbers}
    for mine, other in same.items():
        for (figure, place, time), parts in cohort.items():
            if figure != other or time not in times:
                continue
            name = (mine, place, time)
            if (figure, place, time) in hidden_cohort:
                found[name] = msgspec.structs.replace(found.get(name) or Parts(0, 0, 0), dark=True)
            elif name in found:
                found[name] = msgspec.structs.replace(found[name], most=parts.denominator)
    return found


def hidden(
    family: Sequence[Measure],
    numbers: Numbers,
    places: Tree,
    calendar: Calendar,
    bases_hidden_elsewhere: frozenset[tuple[Place, Time]] | None = None,
    hide: Hide = suppression.hide,
) -> frozenset[Name]:
    """The figures to hide. `family` is a measure with what it is the sum of, the sum first, and what these are of.

    The denominator is decided first: where it is hidden, nothing over it is shown. `bases_hidden_elsewhere` says where,
    when the denominator is itself the figure of another measure. `hide` is another function only in tests.
    """
    if family[0].adds_up_over_time and any(name[1][0] == "trust" for name in numbers):
        # Over time, two trees of places are too many to solve at once: trusts are decided after their schools.
        return _trusts_after_schools(family, numbers, places, calendar, bases_hidden_elsewhere, hide)
    bases = dark_bases(family[0], numbers, places, calendar, bases_hidden_elsewhere, hide)

    def top_cell(measure: Measure, name: Name, parts: Parts) -> Cell:
        base_hidden = (name[1], name[2]) in bases
        if measure.is_its_denominator:
            # Every rate that is shown has it beside it: it is hidden where that is, and nowhere else.
            return msgspec.structs.replace(_cell(parts.numerator, base_hidden), never=not base_hidden)
        # Of a ratio, points for each pupil, the numerator may be larger than the denominator.
        known_base = None if base_hidden or measure.shown_as == "ratio" else parts.denominator
        value = above_lowest(measure, parts.numerator, parts.denominator)
        return _cell(value, base_hidden or is_sensitive(measure, parts), known_base)

    return frozenset(
        name for name in _chosen(family, numbers, places, calendar, top_cell, hide) if name in numbers
    )


def year(
    terms: Iterable[tuple[Numbers, frozenset[Name]]], time: Time
) -> tuple[dict[Name, Parts], frozenset[Name]]:
    """The figures of a year, and which of them to hide, from those of its terms: theirs are what adds up to it.

    A year's figure is shown where all its terms are shown, which anybody could add up, and hidden where one is not: so it
    tells nothing that its terms do not.
    """
    numbers: dict[Name, Parts] = {}
    hidden: set[Name] = set()
    for mine, mine_hidden in terms:
        for (measure, place, part), parts in mine.items():
            name = (measure, place, time)
            before = numbers.get(name)
            # Of pupils counted in two terms nobody knows how many are the same: at least the larger number.
            units = max(parts.units, before.units if before else 0)
            both = before.plus(parts) if before else parts
            numbers[name] = msgspec.structs.replace(both, units=units)
            if (measure, place, part) in mine_hidden:
                hidden.add(name)
    return numbers, frozenset(hidden)


def _trust_area(place: Place) -> str:
    return f"trust {place[1]}"


def _area_of_sum(place: Place) -> str:
    """The part of the publication in which the places of a place are added up."""
    if place[0] == "trust":
        return _trust_area(place)
    return place[1] if place[0] == "authority" else ""


def dark_bases(
    whole: Measure,
    numbers: Numbers,
    places: Tree,
    calendar: Calendar,
    hidden_elsewhere: frozenset[tuple[Place, Time]] | None,
    hide: Hide,
) -> frozenset[tuple[Place, Time]]:
    """Where the denominator is not shown."""
    if hidden_elsewhere is not None or whole.denominator is None:
        return hidden_elsewhere or frozenset()
    chosen = _chosen([whole], numbers, places, calendar, _base_cell, hide, DENOMINATORS)
    return frozenset((name[1], name[2]) for name in chosen if name in numbers)


def _trusts_after_schools(
    family: Sequence[Measure],
    numbers: Numbers,
    places: Tree,
    calendar: Calendar,
    bases: frozenset[tuple[Place, Time]] | None,
    hide: Hide,
) -> frozenset[Name]:
    """A trust's figure is shown where all its schools are shown, which anybody could add up: it tells nothing more."""
    others = {name: parts for name, parts in numbers.items() if name[1][0] != "trust"}
    chosen = hidden(family, others, places, calendar, bases, hide)
    return chosen | {
        (measure, place, time)
        for measure, place, time in numbers
        if place[0] == "trust"
        and any((measure, school, time) in chosen for school in places.children.get(place, ()))
    }


def _base_cell(measure: Measure, name: Name, parts: Parts) -> Cell:
    """The denominator as a cell: sensitive where it would tell of a small group."""
    value = parts.denominator or 0
    is_small = value > 0 and is_sensitive(measure, Parts(0, None, parts.units))
    return _cell(value, parts.dark or is_small, parts.most)


def _cell(value: int, sensitive: bool, at_most: int | None = None) -> Cell:
    return Cell(
        value=value,
        sensitive=sensitive,
        needs=max(_LEAST, -(-value // _HALF)) if sensitive else _LEAST,
        at_most=at_most,
    )


def _chosen(
    family: Sequence[Measure],
    numbers: Numbers,
    places: Tree,
    calendar: Calendar,
    cell_of: Callable[[Measure, Name, Parts], Cell],
    hide: Hide,
    kind: str = "",
) -> Collection[Any]:
    """What to hide: of a large publication area by area, so that no more than an area is worked on at a time."""
    if len(numbers) <= _TOGETHER or any(name[1][0] == "trust" for name in numbers):
        return hide(_table(family, numbers, places, calendar, cell_of, kind))
    mine = {measure.name for measure in family}
    by_area: dict[str, list[Name]] = defaultdict(list)
    for name in numbers:
        if name[0] in mine:
            by_area[places.area(name[1])].append(name)
    above = by_area.pop("", [])
    for name in above:
        if name[1][0] == "authority" and name[1][1] in by_area:
            by_area[name[1][1]].append(name)

    def table(names: Iterable[Name]) -> Table:
        return _table(family, {name: numbers[name] for name in names}, places, calendar, cell_of, kind)

    regions = {area: places.parents.get(("authority", area)) for area in by_area}
    return area_by_area(table, above, by_area, regions, hide)


def _table(
    family: Sequence[Measure],
    numbers: Numbers,
    places: Tree,
    calendar: Calendar,
    cell_of: Callable[[Measure, Name, Parts], Cell],
    kind: str,
) -> Table:
    by_name = {measure.name: measure for measure in family}
    cells: dict[Any, Cell] = {}
    # In one order whatever the rows came in: of two cells as cheap the same one is hidden every time.
    for name in sorted(numbers):
        measure, parts = by_name.get(name[0]), numbers[name]
        if measure is not None:
            cells[name] = _priced(cell_of(measure, name, parts), measure is family[0], name, calendar)
    blocks: dict[tuple[bool, bool, str, str], list[Sum]] = defaultdict(list)

    def add(total: Name, parts: Iterable[Name], area: str, time: str) -> None:
        one = _sum(cells, total, parts)
        if one is not None:
            blocks[not area, time not in calendar.longest, area, time].append(one)

    for name in list(cells):
        measure, place, time = name
        block = calendar.blocks[time]
        below = [(measure, child, time) for child in places.children.get(place, ())]
        if below:
            add(name, below, _area_of_sum(place), block)
        if time in calendar.sums:
            add(name, [(measure, place, part) for part in calendar.sums[time]], places.area(place), time)
        if names := by_name[measure].sum_of:
            add(name, [(part, place, time) for part in names], places.area(place), block)
    return Table(cells, tuple(tuple(blocks[key]) for key in sorted(blocks)), kind)


def _sum(cells: dict[Any, Cell], total: Name, parts: Iterable[Name]) -> Sum | None:
    """The sum, if it says anything. What its parts lack is a cell that nobody is shown."""
    mine = [part for part in parts if part in cells]
    lacking = cells[total].value - sum(cells[part].value for part in mine)
    if lacking < 0 or not mine:
        return None
    if lacking:
        rest = ("rest", total, tuple(mine))
        cells[rest] = Cell(lacking, sensitive=True, needs=0)
        mine.append(rest)  # type: ignore[arg-type]
    return (total, *mine)


def _priced(cell: Cell, is_whole: bool, name: Name, calendar: Calendar) -> Cell:
    _, (level, _), time = name
    cost = (1 + cell.value.bit_length()) * _COST_OF_LEVEL[level] * _COST_OF_GRAIN[calendar.grains[time]]
    return msgspec.structs.replace(cell, cost=float(cost * (_COST_OF_WHOLE if is_whole else 1)))
