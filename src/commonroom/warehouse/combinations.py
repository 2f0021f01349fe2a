"""Measures made of other measures: measures/combined/*.yaml, such as pupils for each teacher.

They are worked out of figures that are published already, and tell nothing that these do not:

- where numerator and denominator are each a measure's, of the figures of the place less those of its schools of which not
  all measures are known: both are of the same schools. It is shown where all of these figures are shown. With `complete`
  there is none of a place with such a school;
- otherwise (places that are unfilled) school by school, added up, and shown where those of all its schools are shown.
  A school that one of the measures does not know is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from commonroom import declarations
from commonroom.problems import Problem
from commonroom.warehouse import measures, publication
from commonroom.warehouse.divisions import series
from commonroom.warehouse.expressions import Expression
from commonroom.warehouse.model import Grain, Level, Measure, Suppression, Taken
from commonroom.warehouse.publication import Name, Parts, Place, Time

FOLDER = measures.FOLDER / "combined"
_MAX = "max"
Known = tuple[Parts, bool]  # a figure, and whether it is hidden
_NOTHING = Parts(0, None, 0)


class Combination(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One combination, as declared. `of` has the measures by the names that its expressions have for them."""

    name: str
    title: str
    meaning: str
    source: str
    of: dict[str, str]
    numerator: str
    shown_as: Literal["count", "percent", "ratio"]
    levels: tuple[Level, ...]
    grains: tuple[Grain, ...]
    denominator: str | None = None
    decimals: int = 0
    scale: int = 1
    times: int = 1
    # Worked out for each group of this characteristic, of which the whole is the sum.
    by: str | None = None
    # Made only where every authority that one of the measures knows is known to all: a rate of the others would be wrong.
    complete: bool = False

    # The measures by which a school counts as known, if not all: of none of its teachers qualified is known by its teachers.
    known_by: tuple[str, ...] = ()

    @property
    def is_of_places(self) -> bool:
        """Whether it is a figure over a figure."""
        return self.numerator in self.of and self.denominator in self.of

    def as_measure(self) -> Measure:
        """What it is to those who show figures."""
        on_31_march = all(measures.named(name).taken == "on 31 March" for name in self.of.values())
        taken: Taken = "on 31 March" if on_31_march else "over the period"
        return Measure(
            name=self.name, title=self.title, meaning=self.meaning, source=self.source,
            entity="", taken=taken, unit=(), each={}, numerator=self.numerator, shown_as=self.shown_as,
            levels=self.levels, grains=self.grains, suppression=Suppression(), denominator=self.denominator,
            decimals=self.decimals, scale=self.scale, times=self.times,
        )  # fmt: skip


@cache
def load(folder: Path = FOLDER) -> dict[str, Combination]:
    """Every combination by name. Raises Problem CR-001 or CR-062."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        one = declarations.load(path, Combination)
        _check(one, path)
        found[one.name] = one
    return found


def measure(name: str) -> Measure:
    """The measure of that name, a combination among them. Raises Problem CR-063 (404)."""
    found = load().get(name)
    if found is not None:
        return found.as_measure()
    try:
        return measures.named(name)
    except Problem as problem:
        if problem.code == "CR-063" and " by " not in name:
            known = sorted([*measures.load(), *load()])
            raise Problem(
                "CR-063",
                "there is no measure of that name",
                status=404,
                remedy=f"Use one of: {', '.join(known)}.",
            ) from problem
        raise


def parts(measure: Measure) -> list[Measure]:
    """The measures that a measure is made of; itself, when it is no combination."""
    one = load().get(measure.name)
    return [measure] if one is None else [measures.named(name) for name in dict.fromkeys(one.of.values())]


def by_group(
    one: Combination, names: Sequence[str], figures: Mapping[str, tuple[Mapping[Name, Parts], frozenset[Name], Time]],
    groups: Mapping[str, Mapping[Level, str | None]], time: Time,
) -> tuple[dict[Name, Parts], frozenset[Name]]:  # fmt: skip
    """The same for each of the groups of a characteristic, by `series`, and for all of them: shown where each is shown."""
    found: dict[Name, Parts] = {}
    hidden: set[Name] = set()
    for group in names:
        of = {alias: series(name, group) for alias, name in one.of.items()}
        mine = msgspec.structs.replace(one, name=series(one.name, group), of=of)
        numbers, dark = combined(mine, figures, groups, time)
        for (name, place, _), parts in numbers.items():
            whole = (one.name, place, time)
            found[name, place, time] = parts
            found[whole] = found[whole].plus(parts) if whole in found else parts
            if (name, place, time) in dark:
                hidden |= {(name, place, time), whole}
    return found, frozenset(hidden)


def combined(
    one: Combination, figures: Mapping[str, tuple[Mapping[Name, Parts], frozenset[Name], Time]],
    groups: Mapping[str, Mapping[Level, str | None]], time: Time,
) -> tuple[dict[Name, Parts], frozenset[Name]]:  # fmt: skip
    """The figures and which of them to hide. `figures`: of each measure by its name here: numbers, hidden, its time."""
    by_place = {alias: _by_place(*figures[alias], one.of[alias]) for alias in one.of}
    if one.is_of_places:
        return _of_places(one, by_place, groups, time)
    found: dict[Name, Parts] = {}
    hidden: set[Name] = set()
    for place in set.intersection(*(set(mine) for mine in by_place.values())):
        if place[0] == "school":
            name = (one.name, place, time)
            found[name], is_dark = _figure(one, {alias: mine[place] for alias, mine in by_place.items()})
            if is_dark:
                hidden.add(name)
    for _, (_, urn), _ in list(hidden):
        of = groups[urn]
        hidden |= {(one.name, (level, code), time) for level in publication.LEVELS if (code := of.get(level))}
    return publication.rolled_up(found, groups), frozenset(hidden)


def _of_places(
    one: Combination, by_place: Mapping[str, Mapping[Place, Known]],
    groups: Mapping[str, Mapping[Level, str | None]], time: Time,
) -> tuple[dict[Name, Parts], frozenset[Name]]:  # fmt: skip
    counted = {alias: by_place[alias] for alias in (one.numerator, one.denominator or "")}
    known, lacking = _chains(tuple(by_place[alias] for alias in one.known_by or one.of), groups)
    if one.complete:
        known -= {place for chain in lacking for place in chain}
    others = {alias: _added_up(mine, lacking) for alias, mine in counted.items()}
    found: dict[Name, Parts] = {}
    hidden: set[Name] = set()
    for place in set.intersection(known, *(set(mine) for mine in counted.values())):
        name = (one.name, place, time)
        found[name], is_dark = _figure(
            one, {alias: _less(mine[place], others[alias].get(place)) for alias, mine in counted.items()}
        )
        if is_dark:
            hidden.add(name)
    return found, frozenset(hidden)


def _figure(one: Combination, known: Mapping[str, Known]) -> tuple[Parts, bool]:
    values = {alias: parts.numerator for alias, (parts, _) in known.items()}
    denominator = None if one.denominator is None else worked_out(one.denominator, values)
    units = min(parts.units for parts, _ in known.values())
    parts = Parts(worked_out(one.numerator, values), denominator, units)
    return parts, any(is_dark for _, is_dark in known.values())


def _chains(
    measures: Sequence[Mapping[Place, Known]], groups: Mapping[str, Mapping[Level, str | None]]
) -> tuple[set[Place], list[Sequence[Place]]]:
    """The places with a school that all the measures know, and the schools that only some know with their places.

    An authority stands for itself in what is of no school.
    """
    known: set[Place] = set()
    lacking: list[Sequence[Place]] = []
    for of in groups.values():
        chain = [(level, code) for level in publication.LEVELS if (code := of.get(level)) is not None]
        told = sum(chain[0] in mine for mine in measures)
        if told == len(measures):
            known.update(chain)
        elif told:
            lacking.append(chain)
    return known, lacking


def _added_up(mine: Mapping[Place, Known], chains: Sequence[Sequence[Place]]) -> dict[Place, Known]:
    """What a measure knows of these schools, added up at each of their places; dark where one of them is."""
    found: dict[Place, Known] = {}
    for chain in chains:
        if (known := mine.get(chain[0])) is not None:
            for place in chain:
                parts, is_dark = found.get(place, (_NOTHING, False))
                found[place] = parts.plus(known[0]), is_dark or known[1]
    return found


def _less(whole: Known, others: Known | None) -> Known:
    if others is None:
        return whole
    (mine, is_dark), (theirs, theirs_dark) = whole, others
    return (
        Parts(mine.numerator - theirs.numerator, None, mine.units - theirs.units),
        is_dark or theirs_dark,
    )


def worked_out(text: str, values: Mapping[str, int]) -> int:
    """An expression of whole numbers: names, numbers, + - * and `max(a, b)`. Raises Problem CR-062."""
    expression = Expression(text, "combined measure")
    return _value(expression, expression.tree, values)


def _value(expression: Expression, node: ast.expr, values: Mapping[str, int]) -> int:
    match node:
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return number
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as op, right=right):
            one, other = (_value(expression, side, values) for side in (left, right))
            if isinstance(op, ast.Mult):
                return one * other
            return one + other if isinstance(op, ast.Add) else one - other
        case ast.Call(func=ast.Name(id=name), args=[left, right], keywords=[]) if name == _MAX:
            return max(_value(expression, left, values), _value(expression, right, values))
    raise expression.problem(f"a combination has no such thing as `{ast.unparse(node)}`")


def _by_place(
    numbers: Mapping[Name, Parts], hidden: frozenset[Name], time: Time, measure: str
) -> dict[Place, Known]:
    return {
        name[1]: (parts, name in hidden)
        for name, parts in numbers.items()
        if (name[0], name[2]) == (measure, time)
    }


def _check(one: Combination, path: Path) -> None:
    known = measures.load()
    values = dict.fromkeys(one.of, 1)
    for text in (one.numerator, one.denominator):
        if text is not None:
            worked_out(text, values)
    fault = ""
    if one.name != path.stem or one.name in known:
        fault = "a combination is called as its file and as no other measure"
    elif missing := [name for name in one.of.values() if name not in known]:
        fault = f"there is no measure {missing[0]}"
    elif any(not set(one.grains) <= set(known[name].grains) for name in one.of.values()):
        fault = "its measures have not all its grains"
    elif any(known[name].denominator is not None for name in one.of.values()):
        fault = "it is of counts"
    elif one.shown_as != "count" and not one.is_of_places:
        fault = "a ratio is of one measure over another"
    elif set(one.known_by) - set(one.of) or ((one.known_by or one.complete) and not one.is_of_places):
        fault = "`known_by` names some of its measures, and both it and `complete` are of one measure over another"
    elif one.by is not None and (one.is_of_places or one.shown_as != "count"):
        fault = "`by` is of a count that is added up"
    elif one.by is not None:
        for name in one.of.values():
            measures.divided(known[name], one.by)
    if fault:
        raise Problem("CR-062", fault, where=str(path), remedy="docs/warehouse.md shows a combination.")
