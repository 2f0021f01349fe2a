"""The first stage of measures as sums that can be added up: what is known of each unit in a period, from some of its facts.

Measures over the same units of the same entity share one stage: every mark is looked at once for all five absence
measures. What a stage says of a period is the sum of what it says of any parts of its facts, so new facts, corrections
among them, are added to what was known before.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache

import ibis
import msgspec

from commonroom.warehouse import compilation, measures
from commonroom.warehouse.compilation import MEMBERS, UNITS
from commonroom.warehouse.expressions import TOTALS, Expression
from commonroom.warehouse.model import Measure

SUMS = "sums"  # the first stage's rows, however many parts they were added up from


class Stage(msgspec.Struct, frozen=True):
    """The first stage of every measure over the same units of an entity, and their second stages."""

    entity: str
    unit: tuple[str, ...]
    columns: tuple[str, ...]  # of the facts
    sums: dict[str, str]  # what is summed up, by the name of its column
    first: str  # SQL over FACTS and PERIODS of `measures`: period, the unit's items, the sums
    second: dict[
        str, str
    ]  # by measure, SQL over SUMS: measure, period, school, numerator, denominator, units

    @property
    def name(self) -> str:
        """Another one whenever anything about it is another: what was summed up by an old stage is not read by a new one."""
        said = repr((self.entity, self.unit, self.columns, self.first, sorted(self.second.items())))
        return f"{self.entity}-{hashlib.sha256(said.encode()).hexdigest()[:16]}"


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
        and all(_is_sum(Expression(text, measure.name).tree) for text in measure.each.values())
    )


def _is_sum(tree: ast.expr) -> bool:
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Sub):
        return _is_sum(tree.left) and _is_sum(tree.right)
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
        second={one.name: _second(one, sums) for one in mine},
    )


def _whole_numbers(unit: tuple[str, ...], sums: dict[str, str], sql: str) -> str:
    """DuckDB's sums are wider than what a Parquet file can hold: there they would be fractions."""
    numbers = ", ".join(f"CAST({name} AS BIGINT) AS {name}" for name in sums)
    return f"SELECT period, {', '.join(unit)}, {numbers} FROM ({sql})"  # noqa: S608 - the standard's names


def _second(measure: Measure, sums: dict[str, str]) -> str:
    column = {text: name for name, text in sums.items()}
    each = ", ".join(f"{column[text]} AS {name}" for name, text in measure.each.items())
    denominator = "denominator" if measure.denominator is not None else "NULL"
    return f"""
        WITH {UNITS} AS (SELECT period, {", ".join(measure.unit)}, {each} FROM {SUMS}),
        {MEMBERS} AS (SELECT DISTINCT school, school AS member FROM {SUMS})
        SELECT '{measure.name}' AS measure, period, member AS school,
            CAST(numerator AS BIGINT) AS numerator, CAST({denominator} AS BIGINT) AS denominator, units
        FROM ({ibis.to_sql(compilation.of_units(measure), dialect="duckdb")})
    """  # noqa: S608 - declared names and the compiled measure
