"""What to hide of a measure divided by a characteristic, so that neither its groups nor its whole is given away.

The whole is decided first and without its groups (`publication`): a cell of it is hidden in every answer or in none,
whatever characteristics exist. Then each characteristic is solved by itself, against the whole as it is shown. What hangs
together: the groups, which add up to the whole; places; the measure and those it is the sum of.

- Where the whole is hidden, every group is.
- Where a group is small and all groups together are few, all are hidden, the noughts among them.
- A trust's group is shown where it is shown of all its schools, a year's where it is of all its terms.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from commonroom.warehouse import suppression, told
from commonroom.warehouse.attack import Cell, Sum
from commonroom.warehouse.disclosure import above_lowest, is_sensitive
from commonroom.warehouse.model import Measure
from commonroom.warehouse.publication import DENOMINATORS, Hide, Name, Numbers, Parts, Place, Time, Tree
from commonroom.warehouse.suppression import Table

# Fewer than this in all groups together are not divided where one of the groups is small.
FEW = 10
_HALF, _LEAST = 2, 2
_COST_OF_DEAR = 10  # of a group that is a figure elsewhere, which is hidden with it
_COST_OF_LEVEL = {"school": 1, "authority": 40, "region": 200, "national": 1000}


class Whole(msgspec.Struct, frozen=True):
    """The undivided measure as it is published: its numbers, and where it and its denominator are not shown."""

    numbers: Numbers
    hidden: frozenset[Name]
    dark: frozenset[tuple[Place, Time]]


def series(measure: str, group: str) -> str:
    """The name that a group's figures of a measure have in a release."""
    return f"{measure}={group}"


def filled(
    family: Sequence[Measure], groups: Sequence[str], numbers: Numbers, whole: Numbers
) -> dict[Name, Parts]:
    """The numbers of every group wherever the whole has one: a group of nobody is 0, and can be hidden like others."""
    times = {time for _, _, time in numbers}
    found = {}
    for measure in family:
        if measure.nobody_is_unknown:
            found.update(
                {name: parts for name, parts in numbers.items() if name[0].startswith(f"{measure.name}=")}
            )
            continue
        nobody = Parts(0, None if measure.denominator is None else 0, 0)
        for name, place, time in whole:
            if name == measure.name and time in times:
                for group in groups:
                    key = (series(name, group), place, time)
                    found[key] = numbers.get(key, nobody)
    return found


def hidden(
    family: Sequence[Measure],
    groups: Sequence[str],
    numbers: Numbers,
    whole: Whole,
    places: Tree,
    dark_elsewhere: frozenset[Name] | None = None,
    hide: Hide = suppression.hide,
    dear: Collection[str] = (),
) -> frozenset[Name]:
    """The figures to hide among `numbers`, which are by `series`, place and time. `dear` groups are hidden last.

    `dark_elsewhere` names those whose denominator is the hidden figure of another measure, which is published so too.
    """
    schools = {name: parts for name, parts in numbers.items() if name[1][0] != "trust"}
    first = family[0]
    dark = dark_elsewhere or frozenset()
    if first.denominator is not None and dark_elsewhere is None:
        dark = _dark(first, groups, schools, whole, places, hide)

    def is_dark(group: str, place: Place, time: Time) -> bool:
        return (series(first.name, group), place, time) in dark

    cells = _Cells(family, groups, places, dear)
    for measure in family:
        for place, time in sorted({(name[1], name[2]) for name in schools}):
            mine = {
                group: schools[name]
                for group in groups
                if (name := (series(measure.name, group), place, time)) in schools
            }
            total = whole.numbers[measure.name, place, time]
            if measure.is_its_denominator:
                small = {group for group in mine if is_dark(group, place, time)}
                values = {group: parts.numerator for group, parts in mine.items()}
                is_hidden = (measure.name, place, time) in whole.hidden
                cells.add_base(measure.name, place, time, values, total.numerator, small, is_hidden)
                continue
            sensitive = {
                group
                for group, parts in mine.items()
                if is_dark(group, place, time) or is_sensitive(measure, parts)
            }
            limits = {
                group: None
                if is_dark(group, place, time) or (measure.shown_as == "ratio" and parts.denominator)
                else parts.denominator  # of a ratio only of nobody is it known what it can be at most
                for group, parts in mine.items()
            }
            cells.add(
                measure.name, place, time,
                {
                    group: above_lowest(measure, parts.numerator, parts.denominator)
                    for group, parts in mine.items()
                },
                above_lowest(measure, total.numerator, total.denominator),
                sensitive, limits, (measure.name, place, time) in whole.hidden,
            )  # fmt: skip
        for name in _trusts_of(measure, whole, schools):
            total = whole.numbers[name]
            value = above_lowest(measure, total.numerator, total.denominator)
            cells.add_trust(name, value, whole_is_hidden=name in whole.hidden)
    chosen = frozenset(name for name in hide(cells.table(parts=True)) if name in schools)
    of_trusts = _of_trusts(numbers, chosen, places)
    if first.denominator is None:
        of_trusts -= _told(family, numbers, chosen, places)
    return chosen | of_trusts


def _dark(
    measure: Measure, groups: Sequence[str], numbers: Numbers, whole: Whole, places: Tree, hide: Hide
) -> frozenset[Name]:
    """The figures whose denominator is not shown, by the first measure's series."""
    cells = _Cells([measure], groups, places)
    for place, time in sorted({(name[1], name[2]) for name in numbers}):
        mine = {
            group: numbers[name]
            for group in groups
            if (name := (series(measure.name, group), place, time)) in numbers
        }
        values = {group: parts.denominator or 0 for group, parts in mine.items()}
        small = {
            group
            for group, parts in mine.items()
            if parts.dark or (values[group] and is_sensitive(measure, Parts(0, None, parts.units)))
        }
        total = whole.numbers[measure.name, place, time].denominator or 0
        cells.add(measure.name, place, time, values, total, small, {}, (place, time) in whole.dark)
    for name in _trusts_of(measure, whole, numbers):
        total = whole.numbers[name].denominator or 0
        cells.add_trust(name, total, whole_is_hidden=name[1:] in whole.dark)
    return frozenset(name for name in hide(cells.table(parts=False)) if name in numbers)


class _Cells:
    """The cells of one characteristic, gathered place by place, and the sums between them."""

    def __init__(
        self, family: Sequence[Measure], groups: Sequence[str], places: Tree, dear: Collection[str] = ()
    ) -> None:
        self._dear = dear
        self._sum_of, self._groups, self._places = {one.name: one.sum_of for one in family}, groups, places
        self._cells: dict[Any, Cell] = {}
        self._wholes: dict[Name, tuple[Name, ...]] = {}
        self._small: set[Name] = set()  # hidden whatever is known of them, and what is hidden with them

    def add(
        self, measure: str, place: Place, time: Time, values: Mapping[str, int], total: int,
        sensitive: Collection[str], limits: Mapping[str, int | None], whole_is_hidden: bool,
    ) -> None:  # fmt: skip
        """The groups of one figure, with their whole."""
        needs = {
            group: max(_LEAST, -(-values[group] // _HALF)) if group in sensitive else _LEAST
            for group in values
        }
        nonzero = sum(value > 0 for value in values.values())
        tight = total < FEW or total - nonzero < max(needs.values(), default=0)
        all_dark = whole_is_hidden or (bool(sensitive) and tight)
        if total == 0 and not whole_is_hidden:
            needs = dict.fromkeys(needs, 0)  # that all are 0 is told by the whole
        # Where a group's denominator is shown and 0, its numerator is known to be: nothing could protect it.
        empty = {group for group, limit in limits.items() if limit == 0}
        needs |= dict.fromkeys(empty & needs.keys(), 0)
        if sensitive and not whole_is_hidden and tight:
            self._small.update((series(measure, group), place, time) for group in values)
        self._small.update((series(measure, group), place, time) for group in sensitive)
        cost = _COST_OF_LEVEL[place[0]]
        for group, value in values.items():
            self._cells[series(measure, group), place, time] = Cell(
                value=value,
                sensitive=(all_dark or group in sensitive) and group not in empty,
                needs=min(needs[group], max(total, 1)) if all_dark else needs[group],
                may_be_nought=all_dark and group not in empty,
                cost=float((1 + value.bit_length()) * cost * (_COST_OF_DEAR if group in self._dear else 1)),
                at_most=limits.get(group),
                # The only group of which anything is known is the whole itself, and shown where that is.
                never=len(values) == 1 and not whole_is_hidden,
            )
        name = (measure, place, time)
        self._cells[name] = _cell_of_whole(total, whole_is_hidden)
        self._wholes[name] = tuple((series(measure, group), place, time) for group in values)

    def add_base(
        self, measure: str, place: Place, time: Time, values: Mapping[str, int], total: int,
        dark: Collection[str], whole_is_hidden: bool,
    ) -> None:  # fmt: skip
        """The groups of what the rates of the family are out of: every rate that is shown has it beside it."""
        names = {group: (series(measure, group), place, time) for group in values}
        for group, name in names.items():
            is_dark = group in dark
            self._cells[name] = Cell(
                values[group], sensitive=is_dark, never=not is_dark, needs=_LEAST if is_dark else 0,
                may_be_nought=len(dark) == len(values),
            )  # fmt: skip
        self._small.update(names[group] for group in dark)
        self._cells[measure, place, time] = _cell_of_whole(total, whole_is_hidden)
        self._wholes[measure, place, time] = tuple(names.values())

    def add_trust(self, name: Name, value: int, *, whole_is_hidden: bool) -> None:
        """A trust's whole, which tells of its schools' where some are hidden."""
        schools = [(name[0], school, name[2]) for school in self._places.children.get(name[1], ())]
        if any(school in self._cells and self._cells[school].sensitive for school in schools):
            self._cells[name] = _cell_of_whole(value, whole_is_hidden)

    def table(self, *, parts: bool) -> Table:
        """All of it. `parts`: also that measures are the sums of others."""
        blocks: dict[tuple[bool, str, str], list[Sum]] = defaultdict(list)
        for name, divided in self._wholes.items():
            blocks[False, self._places.area(name[1]), name[2]].append((name, *divided))
        for name in list(self._cells):
            figure, place, time = name
            below = [(figure, child, time) for child in self._places.children.get(place, ())]
            above = place[1] if place[0] == "authority" else self._places.area(place)
            self._add(blocks[place[0] != "authority", above, time], name, below)
            first, _, group = figure.partition("=")
            if parts and self._sum_of.get(first):
                others = [series(one, group) if group else one for one in self._sum_of[first]]
                area = self._places.area(place)
                self._add(blocks[not area, area, time], name, [(other, place, time) for other in others])
        kind = "" if parts else DENOMINATORS
        sums = tuple(tuple(blocks[key]) for key in sorted(blocks) if blocks[key])
        return Table(self._settled([one for block in sums for one in block]), sums, kind)

    def _settled(self, sums: Sequence[Sum]) -> dict[Any, Cell]:
        """The cells; what shown wholes tell of groups is shown, and what is hidden beside it is known not to be 0."""
        cells = told.settled(self._cells, sums, self._small)
        for divided in self._wholes.values():
            if any(cells[name].never and not cells[name].sensitive for name in divided):
                cells |= {name: msgspec.structs.replace(cells[name], may_be_nought=False) for name in divided}
        return cells

    def _add(self, block: list[Sum], total: Name, parts: Iterable[Name]) -> None:
        mine = [part for part in parts if part in self._cells]
        # What is published as a sum of less, or more, is none.
        if mine and sum(self._cells[part].value for part in mine) == self._cells[total].value:
            block.append((total, *mine))


def _cell_of_whole(value: int, is_hidden: bool) -> Cell:
    return Cell(value, sensitive=is_hidden, never=not is_hidden, needs=_LEAST if is_hidden else 0)


def _trusts_of(measure: Measure, whole: Whole, numbers: Numbers) -> list[Name]:
    """The trusts' wholes at the times of some numbers."""
    times = {time for _, _, time in numbers}
    mine = (name for name in whole.numbers if name[0] == measure.name and name[1][0] == "trust")
    return sorted(name for name in mine if name[2] in times)


def _told(family: Sequence[Measure], numbers: Numbers, chosen: Collection[Name], places: Tree) -> set[Name]:
    """The trusts' figures that other places' totals tell: all schools hidden behind these totals are the trust's."""
    measures = {measure.name: measure for measure in family}
    found = set()
    by_figure: dict[tuple[str, Time], dict[Place, Parts]] = defaultdict(dict)
    for (figure, place, time), parts in numbers.items():
        by_figure[figure, time][place] = parts
    for (figure, time), mine in by_figure.items():
        values = {place: parts.numerator for place, parts in mine.items()}
        dark = {place for place in mine if (figure, place, time) in chosen}
        behind = told.by_totals(
            values, dark, places.parents, [place for place in mine if place[0] == "school"]
        )
        for trust, parts in mine.items():
            if trust[0] == "trust" and not is_sensitive(measures[figure.partition("=")[0]], parts):
                schools = [place for place in places.children.get(trust, ()) if place in dark]
                many = Counter(behind[place] for place in schools if place in behind)
                if many.total() == len(schools) and all(own == of for (_, of), own in many.items()):
                    found.add((figure, trust, time))
    return found


def _of_trusts(numbers: Numbers, chosen: frozenset[Name], places: Tree) -> frozenset[Name]:
    return frozenset(
        name
        for name in numbers
        if name[1][0] == "trust"
        and any((name[0], school, name[2]) in chosen for school in places.children.get(name[1], ()))
    )
