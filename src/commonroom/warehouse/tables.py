"""From the standard's entities to columns: the shape of each fact table, and rows to and from it.

`<data>/warehouse/<entity>/`, or the same in the object store, is a Delta table with the entity's items, then the columns
every fact has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cached_property
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from commonroom import standard
from commonroom.engines import places
from commonroom.engines.places import Folder
from commonroom.settings import Settings
from commonroom.warehouse.facts import Fact

_ARROW = {"date": pa.date32(), "boolean": pa.bool_(), "integer": pa.int64()}
_SQL = {"date": "DATE", "boolean": "BOOLEAN", "integer": "BIGINT"}
# Times are UTC without a zone: every engine then compares them alike.
_FACT_COLUMNS: dict[str, tuple[Any, str]] = {
    "valid_from": (pa.date32(), "DATE"),
    "valid_to": (pa.date32(), "DATE"),
    "weight": (pa.int8(), "TINYINT"),
    "version": (pa.int64(), "BIGINT"),
    "known_position": (pa.int64(), "BIGINT"),
    "known_from": (pa.timestamp("us"), "TIMESTAMP"),
    "message": (pa.string(), "VARCHAR"),
    "sender": (pa.string(), "VARCHAR"),
    "origin": (pa.string(), "VARCHAR"),
}
# Came later than the first tables: files may lack them, all of them even.
_LATER_COLUMNS = ("origin", "trust_uid", "trust_name")
_OF_FACT = {name: attrgetter(name) for name in _FACT_COLUMNS}
_ITEMS = attrgetter("items")
LEARNER_ITEM = "upn"
LEARNER_ID = "learner_id"


# Made once of each declaration: every question asks for a few.
_made: dict[str, tuple[standard.Entity, FactTable]] = {}


class Column(msgspec.Struct, frozen=True):
    """One column of a fact table."""

    name: str
    arrow: Any
    sql: str


class FactTable(msgspec.Struct, frozen=True, dict=True):
    """The table of one entity."""

    entity: str
    key: tuple[str, ...]
    items: tuple[str, ...]
    dates: frozenset[str]
    valid_from_item: str | None
    columns: tuple[Column, ...]

    @cached_property
    def schema(self) -> Any:
        """Its Arrow schema."""
        return pa.schema([(column.name, column.arrow) for column in self.columns])

    @cached_property
    def names_learner(self) -> bool:
        """Whether its rows carry our own key of a pupil."""
        return LEARNER_ITEM in self.items

    def folder(self, settings: Settings) -> Folder:
        """Where its files are."""
        return places.home(settings) / self.entity

    def to_arrow(self, facts: Sequence[Fact]) -> Any:
        """Facts as a table, in the order in which they are read: by day, then by key."""
        items = list(zip(*map(_ITEMS, facts), strict=True))
        values: dict[str, Sequence[Any]] = dict(zip(self.items, items, strict=True))
        for name, of in _OF_FACT.items():
            values[name] = list(map(of, facts))
        if self.names_learner:
            values[LEARNER_ID] = [fact.learner_id for fact in facts]
        rows = pa.table(
            [pa.array(values[column.name], column.arrow) for column in self.columns], schema=self.schema
        )
        # Arrow sorts ten times as fast as Python does, and without tuples to sweep up.
        order = dict.fromkeys(["valid_from", *self.key, "known_position", "weight"])
        return rows.sort_by([(name, "ascending") for name in order])

    def from_row(self, row: Mapping[str, Any]) -> Fact:
        """The fact of a stored row."""
        return Fact(
            key=tuple(row[name] for name in self.key),
            items=tuple(row[name] for name in self.items),
            learner_id=row[LEARNER_ID] if self.names_learner else None,
            **{name: row[name] for name in _FACT_COLUMNS},
        )

    def values(self, record: Mapping[str, Any]) -> tuple[Any, ...]:
        """A checked record's items in order, with its dates as dates; an item it lacks is None."""
        return tuple(
            as_date(record.get(name)) if name in self.dates else record.get(name) for name in self.items
        )

    def relation(self, files: Iterable[str], columns: Sequence[str], where: str = "true") -> str:
        """SQL of a relation over data files; with no file, an empty one of the same columns.

        `columns` and `where` are ours, never a user's. Files that lie in an object store are fetched: call it in a thread.
        """
        wanted = [column for column in self.columns if column.name in columns]
        names = ", ".join(column.name for column in wanted)
        listed = ", ".join(quoted(path) for path in places.here(files))
        if not listed:
            nothing = ", ".join(f"CAST(NULL AS {column.sql}) AS {column.name}" for column in wanted)
            return f"SELECT {nothing} WHERE false"
        source = f"read_parquet([{listed}], union_by_name = true)"
        later = ", ".join(f"CAST(NULL AS VARCHAR) AS {name}" for name in _LATER_COLUMNS if name in columns)
        if later:
            empty = f"SELECT {later} WHERE false"
            source = f"(SELECT * FROM {source} UNION ALL BY NAME {empty})"  # noqa: S608
        return f"SELECT {names} FROM {source} WHERE {where}"  # noqa: S608


def of(entity: str) -> FactTable:
    """The table of an entity of the standard."""
    declared = standard.load().entities[entity]
    known = _made.get(entity)
    if known is None or known[0] is not declared:
        _made[entity] = known = declared, _table(declared)
    return known[1]


def all_tables() -> dict[str, FactTable]:
    """The tables of all entities, by entity."""
    return {name: of(name) for name in standard.load().entities}


def as_date(value: Any) -> date | None:
    """A date from its ISO text; dates and None pass."""
    return date.fromisoformat(value) if isinstance(value, str) else value


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _table(entity: standard.Entity) -> FactTable:
    columns = [
        Column(item.name, _ARROW.get(item.type, pa.string()), _SQL.get(item.type, "VARCHAR"))
        for item in entity.items
    ]
    columns += [Column(name, arrow, sql) for name, (arrow, sql) in _FACT_COLUMNS.items()]
    if LEARNER_ITEM in entity.by_name:
        columns.append(Column(LEARNER_ID, pa.string(), "VARCHAR"))
    return FactTable(
        entity=entity.name,
        key=entity.key,
        items=tuple(item.name for item in entity.items),
        dates=frozenset(item.name for item in entity.items if item.type == "date"),
        valid_from_item=entity.valid_from_item,
        columns=tuple(columns),
    )
