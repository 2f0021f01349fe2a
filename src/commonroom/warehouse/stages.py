"""The first stage of measures as sums that can be added up: what is known of each unit in a period, from some of its facts.

Measures over the same units of the same entity share one stage: every mark is looked at once for all five absence
measures, and every unit once for their figures. What a stage says of a period is the sum of what it says of any parts of
its facts, so new facts, corrections among them, are added to what was known before.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

import ibis
import msgspec
import pyarrow as pa

from commonroom.warehouse import compilation, measures, tables
from commonroom.warehouse.expressions import TOTALS, Expression
from commonroom.warehouse.model import Measure

SUMS = "sums"  # the first stage's rows, however many parts they were added up from
_COUNT = "count"


class Stage(msgspec.Struct, frozen=True, dict=True):
    """The first stage of every measure over the same units of an entity, and their second stage."""

    entity: str
    unit: tuple[str, ...]
    columns: tuple[str, ...]  # of the facts
    sums: dict[str, str]  # what is summed up, by the name of its column
    first: str  # SQL over FACTS and PERIODS of `compilation`: period, the unit's items, the sums
    second: str  # SQL over SUMS: period, school, and of each measure the columns that `figures_of` names
    measures: tuple[str, ...]  # their names

    @cached_property
    def name(self) -> str:
        """Another one whenever anything about it is another: what was summed up by an old stage is not read by a new one."""
        said = repr((self.entity, self.unit, self.columns, self.first, self.second, self.measures))
        return f"{self.entity}-{hashlib.sha256(said.encode()).hexdigest()[:16]}"

    def figures_of(self, measure: str) -> tuple[str, str, str]:
        """The columns with a measure's numerator, denominator and units."""
        return _figures(self.measures.index(measure) + 1)


def of(measure: Measure) -> Stage | None:
    """The stage that a measure is worked out from; None when its first stage cannot be added up."""
    if not adds_up(measure) or measures.load().get(measure.name) is not measure:
        return None
    return _stage(measure.entity, measure.unit)


def adds_up(measure: Measure) -> bool:
    """Whether what is known of a unit is the sum of what parts of its facts say."""
    return (
        measure.taken == "over the period"
        and measure.beside is None
        and measure.by is None
        and measure.place == "school"
        and measure.within is None
        and all(is_sum(Expression(text, measure.name).tree) for text in measure.each.values())
    )


def is_sum(tree: ast.expr) -> bool:
    """Whether an expression over rows is the sum of what it is over any parts of them."""
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Sub):
        return is_sum(tree.left) and is_sum(tree.right)
    return isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in TOTALS


@cache
def _stage(entity: str, unit: tuple[str, ...]) -> Stage:
    mine = [
        one for one in measures.load().values() if (one.entity, one.unit) == (entity, unit) and adds_up(one)
    ]
    texts = list(dict.fromkeys(text for one in mine for text in one.each.values()))
    sums = {f"sum_{number}": text for number, text in enumerate(texts, 1)}
    whole = msgspec.structs.replace(mine[0], each=sums)
    return Stage(
        entity=entity,
        unit=unit,
        columns=tuple(compilation.columns_of(whole, entity)),
        sums=sums,
        first=_whole_numbers(unit, sums, str(ibis.to_sql(compilation.each_unit(whole), dialect="duckdb"))),
        second=_second(mine, sums),
        measures=tuple(one.name for one in mine),
    )


def _whole_numbers(unit: tuple[str, ...], sums: Mapping[str, str], sql: str) -> str:
    """DuckDB's sums are wider than what a Parquet file can hold: there they would be fractions."""
    numbers = ", ".join(f"CAST({name} AS BIGINT) AS {name}" for name in sums)
    return f"SELECT period, {', '.join(unit)}, {numbers} FROM ({sql})"  # noqa: S608 - the standard's names


def _second(mine: list[Measure], sums: Mapping[str, str]) -> str:
    """All measures in one look at the units: each counts those of its own population."""
    kinds = tables.of(mine[0].entity).schema
    columns = [("period", pa.int32()), *((name, kinds.field(name).type) for name in mine[0].unit)]
    columns += [(name, pa.int64()) for name in sums]
    units = ibis.table(ibis.Schema.from_pyarrow(pa.schema(columns)), name=SUMS)
    parts: dict[str, Any] = {}
    for number, measure in enumerate(mine, 1):
        numerator, denominator, members = _figures(number)
        parts[numerator] = _total(measure, measure.numerator, sums, units)
        parts[denominator] = ibis.null("int64")
        if measure.denominator is not None:
            parts[denominator] = _total(measure, measure.denominator, sums, units)
        parts[members] = units.count()
        if measure.population is not None:
            everyone = msgspec.structs.replace(measure, population=None)
            parts[members] = _total(everyone, f"{_COUNT}({measure.population})", sums, units)
    same = ["period", "school"]
    sql = ibis.to_sql(units.group_by(same).aggregate(**parts), dialect="duckdb")
    numbers = ", ".join(f"CAST({name} AS BIGINT) AS {name}" for name in parts)
    return f"SELECT {', '.join(same)}, {numbers} FROM ({sql})"  # noqa: S608 - the compiled measures


def _figures(number: int) -> tuple[str, str, str]:
    return f"numerator_{number}", f"denominator_{number}", f"units_{number}"


def _total(measure: Measure, text: str, sums: Mapping[str, str], units: Any) -> Any:
    """An expression over the units of the measure's population, in the stage's columns."""
    column = {total: name for name, total in sums.items()}
    names = {name: column[total] for name, total in measure.each.items()}
    found = Expression(text, f"measure {measure.name}")
    population = measure.population and Expression(measure.population, f"measure {measure.name}").tree
    found.tree = _Renamed(names).visit(
        _OfPopulation(population).visit(found.tree) if population else found.tree
    )
    return found.compile(units)


class _OfPopulation(ast.NodeTransformer):
    """Totals leave out the units that take no part: they count for nothing."""

    def __init__(self, population: ast.expr) -> None:
        self._population = population

    def visit_Call(self, node: ast.Call) -> ast.Call:
        if not isinstance(node.func, ast.Name) or node.func.id not in TOTALS:
            return node
        counted: ast.expr = ast.BoolOp(ast.And(), [self._population, *node.args])
        if node.func.id != _COUNT and not _is_condition(node.args[0]):
            counted = ast.IfExp(self._population, node.args[0], ast.Constant(0))
        return ast.Call(node.func, [counted], [])


def _is_condition(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Compare | ast.BoolOp) or (
        isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not)
    )


class _Renamed(ast.NodeTransformer):
    """The stage's columns for the measure's own names."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit_Call(self, node: ast.Call) -> ast.Call:
        return ast.Call(node.func, [self.visit(argument) for argument in node.args], node.keywords)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self._names.get(node.id, node.id))
