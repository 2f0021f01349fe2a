"""What tells the rows of a return apart whatever their values: the chain of records from the top, by their own numbers.

`Child[LAchildID=...]/CINdetails[CINreferralDate=...]/Section47[...]`. Where a row has no such number, its place in the
parent stands for it. The chains are personal; they are only ever kept as hashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pyarrow as pa

from commonroom import standard
from commonroom.collections.model import Collection, Module
from commonroom.collections.tables import CURRENT, Tables, raw_name, table_name

# Module and item.
Cell = tuple[str, str]
_STEP = re.compile(r"([^/\[\]]+)\[(\d+)\]")


def identity_of(collection: Collection, module: str) -> tuple[Cell, ...]:
    """The items that tell rows of a module apart within their parent; none where nothing but their place does."""
    declared = collection.modules[module]
    if declared.identity:
        return tuple(_cell(module, written) for written in declared.identity)
    if not declared.many:
        return ()
    single = [below for below in collection.children(module) if not below.many]
    return tuple(
        (one.name, item.name) for one in (declared, *single) for item in one.items if is_key(one, item.item)
    )


def chains(tables: Tables, module: str, rows: Iterable[int]) -> dict[int, str]:
    """Row -> the chain of records that it is part of."""
    asked = pa.table({"_row": pa.array(sorted(set(rows)), pa.int32())})
    return dict(tables.query_with(_statement(tables.collection, module), "_asked", asked))


def rows_of(tables: Tables, paths: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Ordinal path -> module and row, for findings that name a place beside which something is missing."""
    by_shape: dict[tuple[str, ...], list[tuple[str, list[int]]]] = {}
    for path in sorted(set(paths)):
        steps = _STEP.findall(path)
        by_shape.setdefault(tuple(name for name, _ in steps), []).append((path, [int(n) for _, n in steps]))
    found: dict[str, tuple[str, int]] = {}
    for shape, asked in by_shape.items():
        if shape and set(shape) <= set(tables.collection.modules):
            found |= {path: (shape[-1], row) for path, row in _rows_of_shape(tables, shape, asked)}
    return found


def is_key(module: Module, written: str | None) -> bool:
    """Whether `entity.item` is of the key of the module's own entity."""
    entity, _, item = (written or "").partition(".")
    declared = standard.load().entities.get(entity)
    return declared is not None and entity == module.entity and item in declared.key


def _rows_of_shape(
    tables: Tables, shape: tuple[str, ...], asked: list[tuple[str, list[int]]]
) -> list[tuple[str, int]]:
    columns = {"path": pa.array([path for path, _ in asked], pa.string())}
    joins = []
    for depth, module in enumerate(shape):
        columns[f"o{depth}"] = pa.array([numbers[depth] for _, numbers in asked], pa.int32())
        above = f" AND t{depth}._parent = t{depth - 1}._row" if depth else ""
        joins.append(
            f"JOIN {table_name(CURRENT, module)} AS t{depth} ON t{depth}._ordinal = _asked.o{depth}{above}"
        )
    statement = f"SELECT _asked.path, t{len(shape) - 1}._row FROM _asked {' '.join(joins)}"
    return [(path, row) for path, row in tables.query_with(statement, "_asked", pa.table(columns))]


def _statement(collection: Collection, module: str) -> str:
    levels = [collection.modules[module], *collection.ancestors(module)]
    joins, steps = [], []
    for depth, level in enumerate(levels):
        key = "_asked._row" if depth == 0 else f"t{depth - 1}._parent"
        joins.append(f"JOIN {table_name(CURRENT, level.name)} AS t{depth} ON t{depth}._row = {key}")
        values = []
        for place, (name, item) in enumerate(identity_of(collection, level.name)):
            alias = f"t{depth}"
            if name != level.name:
                alias = f"t{depth}_{place}"
                below = f"{table_name(CURRENT, name)} AS {alias}"
                joins.append(f"LEFT JOIN {below} ON {alias}._parent = t{depth}._row AND {alias}._ordinal = 1")
            values.append(f"{alias}.{raw_name(item)}")
        place_text = f"'#' || t{depth}._ordinal"
        own = f"coalesce({' || chr(31) || '.join(values)}, {place_text})" if values else place_text
        steps.append(f"'{level.name}[' || {own} || ']'" if level.many else f"'{level.name}'")
    return f"SELECT _asked._row, {' || chr(30) || '.join(reversed(steps))} FROM _asked {' '.join(joins)}"


def _cell(module: str, written: str) -> Cell:
    table, _, item = written.rpartition(".")
    return table or module, item
