"""The tables of a return: one for each module, in a DuckDB of its own that can reach nothing else.

A row has our own keys (`_row` in file order from 1, `_parent`, `_person`: the row of the record it is part of), its number
within the parent (`_ordinal`), each item typed, and the item's text as written (`<Item>__raw`).
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from commonroom.collections.model import Collection, ColumnDef, Module
from commonroom.collections.predicates import KEYS, quoted
from commonroom.collections.working_days import calendar

CURRENT, LAST_RETURN = "main", "last_return"
# Rows that wait in memory until they go into the database together.
BATCH = 65_536
_MANY = 20_000

_CONFIGURATION = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "enable_external_access": "false",
    "temp_directory": "",
}
# Types that are more than their text; a boolean keeps its text, which `is_true` reads.
_TYPED = {
    "date": ("DATE", "CASE WHEN {x} LIKE '____-__-__' THEN try_cast({x} AS DATE) END"),
    "datetime": (
        "TIMESTAMP",
        "CASE WHEN {x} LIKE '____-__-__T__:__:__%' THEN try_cast({x} AS TIMESTAMP) END",
    ),
    "time": ("TIME", "CASE WHEN {x} LIKE '__:__%' THEN try_cast({x} AS TIME) END"),
    "integer": ("BIGINT", r"CASE WHEN regexp_full_match({x}, '[+-]?\d+') THEN try_cast({x} AS BIGINT) END"),
    "decimal": (
        "DECIMAL(18, 4)",
        r"CASE WHEN regexp_full_match({x}, '[+-]?(\d+(\.\d*)?|\.\d+)') THEN try_cast({x} AS DECIMAL(18, 4)) END",
    ),
}
BOOLEANS = ("1", "0", "true", "false", "y", "n", "yes", "no")
_UPN_LETTERS = "ABCDEFGHJKLMNPQRTUVWXYZ"
_MACROS = (
    "CREATE TABLE _calendar (day DATE, number INTEGER, working BOOLEAN)",
    "CREATE MACRO _is_weekend(d) AS isodow(d) > 5",
    "CREATE MACRO _is_working_day(d) AS (SELECT c.working FROM _calendar AS c WHERE c.day = CAST(d AS DATE))",
    "CREATE MACRO _working_days_to(d) AS (SELECT c.number FROM _calendar AS c WHERE c.day = CAST(d AS DATE))",
    "CREATE MACRO _working_days_between(a, b) AS _working_days_to(b) - _working_days_to(a)",
    "CREATE MACRO _working_day(n) AS (SELECT c.day FROM _calendar AS c WHERE c.working AND c.number = n)",
    "CREATE MACRO _working_days_before(d, n) AS _working_day(_working_days_to(CAST(d AS DATE) - 1) + 1 - n)",
    "CREATE MACRO _working_days_after(d, n) AS _working_day(_working_days_to(d) + n)",
    # Who was born on 29 February is a year older on 1 March, where there is no such day.
    "CREATE MACRO _age_on(born, d) AS year(d) - year(born)"
    " - CAST(month(d) * 100 + day(d) < month(born) * 100 + day(born) AS INTEGER)",
    "CREATE MACRO _months_between(a, b) AS date_sub('month', CAST(a AS DATE), CAST(b AS DATE))",
    "CREATE MACRO _minutes_between(a, b) AS date_sub('minute', CAST(a AS TIME), CAST(b AS TIME))",
    f"CREATE MACRO _upn_value(c) AS CASE WHEN c <= '9' THEN ascii(c) - 48 ELSE strpos('{_UPN_LETTERS}', c) - 1 END",
    f"CREATE MACRO _upn_check_letter(u) AS CASE WHEN regexp_full_match(u, '.[0-9]{{11}}[0-9{_UPN_LETTERS}]') "
    f"THEN substr('{_UPN_LETTERS}', CAST(("
    + " + ".join(f"{place} * (ascii(substr(u, {place}, 1)) - 48)" for place in range(2, 13))
    + " + 13 * _upn_value(substr(u, 13, 1))"
    + ") % 23 + 1 AS BIGINT), 1) END",
    "CREATE MACRO _uln_remainder(u) AS ("
    + " + ".join(f"{11 - place} * (ascii(substr(u, {place}, 1)) - 48)" for place in range(1, 10))
    + ") % 11",
    "CREATE MACRO _uln_check_digit(u) AS CASE WHEN regexp_full_match(u, '[1-9][0-9]{8}.*') AND _uln_remainder(u) > 0 "
    "THEN 10 - _uln_remainder(u) END",
)


@dataclass(frozen=True)
class Limits:
    """What reading and judging a return may take."""

    memory_mb: int = 2048
    threads: int = min(4, os.cpu_count() or 1)
    file_bytes: int = 8 * 1024**3
    # One record with all below it; also what may stand in a file between two records.
    record_bytes: int = 16 * 1024**2
    # Characters of a value.
    value_length: int = 100_000


def _array(values: Sequence[Any], kind: Any) -> Any:
    """An Arrow array of texts or keys.

    `pa.array` imports pandas, where that is installed, for the first list it is given: a second for which a small return, or
    the edit of one record, need not wait. For many values it is worth it.
    """
    if len(values) > _MANY:
        return pa.array(values, kind)
    if kind == pa.string():
        builder = pa.lib.StringBuilder()
        builder.append_values(values)
        return builder.finish()
    return _integers(values)


def _integers(values: Sequence[int]) -> Any:
    return pa.Array.from_buffers(pa.int32(), len(values), [None, pa.py_buffer(array("i", values))])


class Buffer:
    """Rows of one module on their way into the database. A row is `[*KEYS, *texts of the items in order]`; a row at the
    top has 0 for its parent, which is nobody's key."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.rows: list[list[Any]] = []
        self.count = 0
        fields = [(key, pa.int32()) for key in KEYS] + [(item.name, pa.string()) for item in module.items]
        self._schema = pa.schema(fields)

    def table(self) -> Any:
        """The waiting rows as an Arrow table; none wait after this."""
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * len(self._schema)
        arrays = [_array(column, kind.type) for column, kind in zip(columns, self._schema, strict=True)]
        self.rows = []
        return pa.table(arrays, schema=self._schema)


class Tables:
    """The tables of one return and, beside them, of the previous one. Used by one thread at a time."""

    def __init__(self, collection: Collection, limits: Limits | None = None) -> None:
        self.collection = collection
        self.limits = limits or Limits()
        self._connection = duckdb.connect(
            ":memory:",
            config={
                **_CONFIGURATION,
                "memory_limit": f"{self.limits.memory_mb}MB",
                "threads": str(self.limits.threads),
            },
        )
        # Rows keep their order by their keys; the engine need not keep it too.
        self._connection.execute("SET preserve_insertion_order = false")
        for statement in _MACROS:
            self._connection.execute(statement)
        self._fill("_calendar", _calendar())
        self._connection.execute(f"CREATE SCHEMA {LAST_RETURN}")
        for schema in (CURRENT, LAST_RETURN):
            for module in collection.modules.values():
                self._connection.execute(_create(schema, module))
        self._connection.execute("SET lock_configuration = true")
        self._filled: set[tuple[str, str]] = set()
        self.has_last_return = False
        # (module, item) of which some value could not be read, as the last check found.
        self.unreadable: frozenset[tuple[str, str]] = frozenset()
        # Highest key of each module of the return.
        self.highest: dict[str, int] = dict.fromkeys(collection.modules, 0)

    def query(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        return self._connection.execute(sql, parameters or None).fetchall()

    def query_with(self, sql: str, name: str, table: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement that may name the Arrow table `name`."""
        self._connection.register(name, table)
        try:
            return self._connection.execute(sql).fetchall()
        finally:
            self._connection.unregister(name)

    def insert(self, schema: str, buffer: Buffer) -> None:
        """Write the waiting rows of a buffer."""
        if not buffer.rows:
            return
        self._filled.add((schema, buffer.module.name))
        if schema == CURRENT:
            name = buffer.module.name
            self.highest[name] = max(self.highest[name], *(row[0] for row in buffer.rows))
        self._connection.register("_batch", buffer.table())
        try:
            self._connection.execute(_insert(schema, buffer.module))
        finally:
            self._connection.unregister("_batch")

    def texts(self, module: str, schema: str = CURRENT) -> Any:
        """The rows of a module as written, in file order: an Arrow reader of `[*KEYS, *texts of the items]`."""
        items = self.collection.modules[module].items
        columns = [*KEYS, *(f"{raw_name(item.name)} AS {quoted(item.name)}" for item in items)]
        name = table_name(schema, module)
        found = self._connection.sql(f"SELECT {', '.join(columns)} FROM {name} ORDER BY _row")
        return found.to_arrow_reader(BATCH)

    def insert_texts(self, module: str, rows: Any, schema: str = CURRENT) -> None:
        """Write an Arrow table of rows in the form that `texts` gives."""
        if not rows.num_rows:
            return
        self._filled.add((schema, module))
        if schema == CURRENT:
            self.highest[module] = max(self.highest[module], max(rows.column("_row").to_pylist()))
        self._connection.register("_batch", rows)
        try:
            self._connection.execute(_insert(schema, self.collection.modules[module]))
        finally:
            self._connection.unregister("_batch")

    def clear(self) -> None:
        """Take all rows away: the tables are as new."""
        self.clear_last_return()
        self.clear_return()

    def clear_last_return(self) -> None:
        """Take the rows of the previous return away."""
        self._truncate(LAST_RETURN)
        self.has_last_return = False

    def clear_return(self) -> None:
        """Take the rows of the return away, and leave those of the previous one."""
        self._truncate(CURRENT)
        self.highest = dict.fromkeys(self.collection.modules, 0)
        self.unreadable = frozenset()

    def _truncate(self, schema: str) -> None:
        filled = {(of, module) for of, module in self._filled if of == schema}
        for _, module in filled:
            self._connection.execute(f"TRUNCATE {table_name(schema, module)}")
        self._filled -= filled

    @property
    def filled(self) -> list[str]:
        """The modules that were given rows."""
        return [module for schema, module in self._filled if schema == CURRENT]

    def count(self, module: str, schema: str = CURRENT) -> int:
        """How many rows a module has."""
        ((found,),) = self.query(f"SELECT count(*) FROM {table_name(schema, module)}")
        return int(found)

    def paths(self, module: str, rows: Iterable[int]) -> dict[int, str]:
        """Row -> ordinal path, such as `Child[682]/CINdetails[1]/Section47[1]`."""
        asked = pa.table({"_row": _integers(sorted(set(rows)))})
        found = self.query_with(_paths(self.collection, module), "_asked", asked)
        return dict(found)

    def interrupt(self) -> None:
        """Stop the statement that runs, from another thread."""
        self._connection.interrupt()

    def close(self) -> None:
        """Release the memory."""
        self._connection.close()

    def _fill(self, table: str, rows: Any) -> None:
        self._connection.register("_batch", rows)
        self._connection.execute(f"INSERT INTO {table} SELECT * FROM _batch")
        self._connection.unregister("_batch")


def table_name(schema: str, module: str) -> str:
    """A module's table as SQL."""
    return f"{schema}.{quoted(module)}"


def raw_name(item: str) -> str:
    """The column of the text as written, as SQL."""
    return quoted(f"{item}__raw")


def is_typed(item: ColumnDef) -> bool:
    """True where the value is more than its text, so that a text may fail to be one."""
    return item.type in _TYPED


def unreadable(table: str, item: ColumnDef) -> str:
    """SQL of the condition that something is written which is no value of the item's type; empty for texts."""
    raw = f"{table}.{raw_name(item.name)}" if table else raw_name(item.name)
    if item.type == "boolean":
        words = ", ".join(f"'{word}'" for word in BOOLEANS)
        return f"(lower({raw}) NOT IN ({words}))"
    own = f"{table}.{quoted(item.name)}" if table else quoted(item.name)
    return f"({own} IS NULL AND {raw} IS NOT NULL)" if is_typed(item) else ""


@cache
def _calendar() -> Any:
    days, numbers, working = zip(*calendar(), strict=True)
    epoch = date(1970, 1, 1)
    return pa.table(
        {
            "day": _integers([(day - epoch).days for day in days]).view(pa.date32()),
            "number": _integers(numbers),
            "working": _integers(working),
        }
    )


def _create(schema: str, module: Module) -> str:
    columns = ["_row INTEGER", "_parent INTEGER", "_person INTEGER", "_ordinal INTEGER"]
    for item in module.items:
        name, raw = quoted(item.name), raw_name(item.name)
        if is_typed(item):
            columns += [f"{name} {_TYPED[item.type][0]}", f"{raw} VARCHAR"]
        else:
            columns += [f"{name} VARCHAR", f"{raw} VARCHAR GENERATED ALWAYS AS ({name}) VIRTUAL"]
    return f"CREATE TABLE {table_name(schema, module.name)} ({', '.join(columns)})"


def _insert(schema: str, module: Module) -> str:
    columns, values = list(KEYS), list(KEYS)
    for item in module.items:
        name = quoted(item.name)
        columns.append(name)
        values.append(_TYPED[item.type][1].format(x=name) if is_typed(item) else name)
        if is_typed(item):
            columns.append(raw_name(item.name))
            values.append(name)
    return (
        f"INSERT INTO {table_name(schema, module.name)} ({', '.join(columns)})"
        f" SELECT {', '.join(values)} FROM _batch"
    )


def _paths(collection: Collection, module: str) -> str:
    """The statement that writes the paths of the rows in `_asked`."""
    chain = [collection.modules[module], *collection.ancestors(module)]
    joins, steps = [], []
    for depth, level in enumerate(chain):
        key = "_asked._row" if depth == 0 else f"t{depth - 1}._parent"
        joins.append(f"JOIN {table_name(CURRENT, level.name)} AS t{depth} ON t{depth}._row = {key}")
        steps.append(f"'{level.name}[' || t{depth}._ordinal || ']'")
    path = " || '/' || ".join(reversed(steps))
    return f"SELECT _asked._row, {path} FROM _asked {' '.join(joins)}"
