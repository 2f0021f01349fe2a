"""The data dictionary as CSV tables: entities, items, code sets, codes, messages, the Common Data Definitions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date

from commonroom.standard.definitions import common_data_definitions
from commonroom.standard.loader import load
from commonroom.standard.model import Code, Entity, Item, Standard

Cell = str | int | bool | None
_ITEM = (
    "entity", "item", "title", "description", "type", "length", "digits", "decimals", "code_set", "identifier",
    "key", "required", "personal", "cbds", "cbds_now", "since", "until",
)  # fmt: skip


def files(standard: Standard) -> dict[str, str]:
    """Every table by file name."""
    found = {
        "entities.csv": _entities(standard),
        "items.csv": _items(standard),
        "code_sets.csv": _codesets(standard),
        "codes.csv": _codes(standard),
        "messages.csv": _messages(standard),
    }
    if standard.version == load().version:
        found["common_data_definitions.csv"] = _definitions()
    return found


def _entities(standard: Standard) -> str:
    columns = ("entity", "title", "description", "area", "key", "holder", "valid_from_item", "items")
    rows = (
        (
            entity.name,
            entity.title,
            entity.description,
            standard.areas[entity.area],
            " ".join(entity.key),
            entity.holder,
            entity.valid_from_item,
            len(entity.items),
        )
        for entity in standard.entities.values()
    )
    return _table(columns, rows)


def _items(standard: Standard) -> str:
    return _table(
        _ITEM, (_item(entity, item) for entity in standard.entities.values() for item in entity.items)
    )


def _item(entity: Entity, item: Item) -> Sequence[Cell]:
    return (
        entity.name,
        item.name,
        item.title,
        item.description,
        item.type,
        item.max_length,
        item.digits,
        item.decimals,
        item.codeset,
        item.identifier,
        item.name in entity.key,
        item.required,
        item.personal,
        item.cbds,
        item.cbds_now,
        _day(item.since),
        _day(item.until),
    )


def _codesets(standard: Standard) -> str:
    columns = ("code_set", "title", "description", "source", "open", "codes")
    return _table(
        columns,
        (
            (one.name, one.title, one.description, one.source, one.open, len(one.codes))
            for one in standard.codesets.values()
        ),
    )


def _codes(standard: Standard) -> str:
    columns = ("code_set", "code", "title", "since", "until", "note", "invented", "attributes")
    return _table(
        columns,
        ((codeset.name, *_code(code)) for codeset in standard.codesets.values() for code in codeset.codes),
    )


def _code(code: Code) -> Sequence[Cell]:
    attributes = "; ".join(f"{name}={value}" for name, value in code.attributes.items())
    return (code.code, code.title, _day(code.since), _day(code.until), code.note, code.invented, attributes)


def _messages(standard: Standard) -> str:
    columns = ("type", "title", "description", "entities", "media_types")
    return _table(
        columns,
        (
            (one.type, one.title, one.description, " ".join(one.entities), " ".join(one.media_types))
            for one in standard.events.values()
        ),
    )


def _definitions() -> str:
    published = common_data_definitions()
    uln = {one.entity: one for one in published.entities}
    rows = (
        (item.title, *_item(entity, item), uln[entity.name].uln, uln[entity.name].when)
        for entity, item in published.items()
    )
    return _table(("definition", *_ITEM, "uln", "uln_when"), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(cell) for cell in row] for row in rows)
    return written.getvalue()


def _day(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def _text(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return "" if cell is None else str(cell)
