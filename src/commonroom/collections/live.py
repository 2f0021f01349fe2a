"""A return made from the record: module tables filled with the facts of one holder, as live.yaml says.

Where the facts come from is the caller's affair: `Facts` gives those of one entity, as they stood on the reference date
or in the period.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from commonroom.collections.live_compiler import (
    PLACES,
    Made,
    Needed,
    When,
    as_module,
    compiled,
    made_table,
)
from commonroom.collections.model import Collection, Period
from commonroom.collections.predicates import language_of, moved, quoted
from commonroom.collections.tables import BATCH, CURRENT, Buffer, Tables
from commonroom.problems import Problem
from commonroom.standard import load as load_standard

# The facts of an entity as an Arrow table: its items, `valid_from`, `valid_to`; one row for each record, of
# "until the reference date" one for each state of a record.
Facts = Callable[[str, When], Any]

_GIVEN = "_given"
_FOR_EVER = "DATE '9999-12-31'"
# Runs of a record's states in which the items named stayed the same, without a gap.
_PERIODS = """
WITH states AS (
    SELECT
        {columns},
        valid_from,
        least(
            coalesce(valid_to, {for_ever}),
            coalesce(lead(valid_from) OVER state - 1, {for_ever})
        ) AS ends,
        lag(valid_from) OVER state IS NULL OR NOT ({same}) AS differs
    FROM {given}
    WINDOW state AS (PARTITION BY {key} ORDER BY valid_from)
),
begun AS (
    SELECT *, differs OR lag(ends) OVER (PARTITION BY {key} ORDER BY valid_from) < valid_from - 1 AS begins
    FROM states
),
runs AS (
    SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY {key} ORDER BY valid_from) AS run FROM begun
)
SELECT {firsts}, min(valid_from) AS valid_from, nullif(max(ends), {for_ever}) AS valid_to
FROM runs
GROUP BY {key}, run
"""


class Maker:
    """Makes returns of one collection from the record; it holds no return, so one serves for many."""

    def __init__(self, collection: Collection) -> None:
        """Raises Problem CR-180 or CR-182 where live.yaml does not fit."""
        self.collection = collection
        self._made = compiled(collection)
        self._parameters = language_of(collection).parameters

    @property
    def needs(self) -> list[Needed]:
        """The facts that are read."""
        found = (need for sources in self._made.values() for source in sources for need in source.needs)
        return list(dict.fromkeys(found))

    def fill(self, tables: Tables, facts: Facts) -> None:
        """Fill the tables of a return, which are empty. Raises Problem CR-184 for what DuckDB refuses."""
        for need in self.needs:
            _put_facts(tables, need, facts(need.entity, need.when))
        for module, sources in self._made.items():
            self._fill(tables, module, sources)
        for need in self.needs:
            tables.query(f"DROP TABLE {need.table}")
        for module in self._made:
            tables.query(f"DROP TABLE {made_table(module)}")

    def _fill(self, tables: Tables, module: str, sources: tuple[Made, ...]) -> None:
        rows = []
        for source in sources:
            given = {name: self._parameters[name] for name in source.parameters}
            try:
                found = tables.query(source.sql, given)
            except duckdb.Error as error:
                detail = str(error).split("\n\n")[0].split("\n")[0]
                remedy = "Compare like with like; docs/collections.md has the language."
                raise Problem("CR-184", detail, where=f"live.yaml, module {module}", remedy=remedy) from error
            rows += [(row, source.keys) for row in found]
        rows.sort(key=_place)
        self._insert(tables, module, rows)

    def _insert(
        self, tables: Tables, module: str, rows: list[tuple[tuple[Any, ...], tuple[str, ...]]]
    ) -> None:
        """Write the rows with their keys, and note of which record each was made."""
        declared = self.collection.modules[module]
        buffer = Buffer(declared)
        names = dict.fromkeys(name for source in self._made[module] for name in source.keys)
        known: dict[str, list[Any]] = {"_row": [], "_person": [], **{f"_key_{name}": [] for name in names}}
        ordinals: dict[int, int] = {}
        for number, (row, keys) in enumerate(rows, start=1):
            parent, person = row[0], number if row[1] is None else row[1]
            ordinals[parent] = ordinals.get(parent, 0) + 1
            buffer.rows.append(
                [number, parent, person, ordinals[parent], *map(_text, row[len(PLACES) + len(keys) :])]
            )
            given = dict(zip(keys, row[len(PLACES) :], strict=False))
            known["_row"].append(number)
            known["_person"].append(person)
            for name in names:
                known[f"_key_{name}"].append(given.get(name))
            if len(buffer.rows) >= BATCH:
                tables.insert(CURRENT, buffer)
        tables.insert(CURRENT, buffer)
        _note(tables, made_table(module), known)


def on(collection: Collection, reference: date | None, period: Period | None = None) -> Collection:
    """The collection with another reference date; the period moves with it unless it is given."""
    if reference is None and period is None:
        return collection
    dates = moved(collection, reference or collection.reference_date)
    following = Period(dates["period_start"], dates["period_end"])
    return msgspec.structs.replace(
        collection, reference_date=dates["reference_date"], period=period or following
    )


def _put_facts(tables: Tables, need: Needed, found: Any) -> None:
    """A table of facts as conditions read them: a boolean is its text, and every item has its text beside it."""
    entity = load_standard().entities[need.entity]
    source = _GIVEN
    if need.periods_of:
        source = f"({_periods(entity.key, need)})"
    columns = []
    for item in as_module(need).items:
        name = quoted(item.name)
        columns.append(f"CAST({name} AS VARCHAR) AS {name}" if item.type == "boolean" else name)
        columns.append(f"CAST({name} AS VARCHAR) AS {quoted(f'{item.name}__raw')}")
    sql = f"CREATE TEMP TABLE {need.table} AS SELECT {', '.join(columns)} FROM {source}"
    tables.query_with(sql, _GIVEN, found)


def _periods(key: tuple[str, ...], need: Needed) -> str:
    names = [quoted(name) for name in need.columns]
    same = " AND ".join(
        f"{quoted(name)} IS NOT DISTINCT FROM lag({quoted(name)}) OVER state" for name in need.periods_of
    )
    return _PERIODS.format(
        columns=", ".join(names),
        key=", ".join(map(quoted, key)),
        same=same,
        firsts=", ".join(f"any_value({name}) AS {name}" for name in names),
        given=_GIVEN,
        for_ever=_FOR_EVER,
    )


def _note(tables: Tables, table: str, known: dict[str, list[Any]]) -> None:
    none = pa.string()
    types = {"_row": pa.int32(), "_person": pa.int32()}
    columns = {
        name: pa.array(values, types.get(name) or (none if not any(values) else None))
        for name, values in known.items()
    }
    tables.query_with(f"CREATE TEMP TABLE {table} AS SELECT * FROM {_GIVEN}", _GIVEN, pa.table(columns))


def _place(one: tuple[tuple[Any, ...], tuple[str, ...]]) -> tuple[int, int, int]:
    """By parent, then source, then the source's own order."""
    parent, _, source, place = one[0][: len(PLACES)]
    return parent, source, place


def _text(value: str | None) -> str | None:
    return (value or "").strip() or None
