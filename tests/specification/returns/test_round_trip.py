"""File -> records of the standard -> module tables, for every whole valid return: what is lost is listed.

Nothing may be, but what a header says of the file itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from itertools import count
from typing import Any

import msgspec
import pytest

from commonroom import standard
from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.from_records import from_records
from commonroom.collections.model import Collection, ColumnDef, Module
from commonroom.collections.mutators import Mutators, starts
from commonroom.collections.record_forms import is_true
from commonroom.collections.record_map import record_map
from commonroom.collections.records import read_back
from commonroom.collections.session import Session
from commonroom.collections.to_records import to_records
from commonroom.returns import telling

HEADER = "Header"
COLLECTIONS = ("cin", "school-census-spring", "school-census-summer", "school-census-autumn")
CASES = [
    (name, year, start)
    for name in COLLECTIONS
    for year in loader.years(name)[-1:]
    for start in starts(loader.load(name, year))
]
# What a header may lose: how the file was made and by whom it was sent.
OF_THE_FILE = {
    "CollectionName", "SourceLevel", "SoftwareCode", "Release", "Xversion", "SerialNo", "DateTime", "CBDSLevel",
}  # fmt: skip
# A pupil comes to a school once at a time: where from is said once.
ONCE = {"APProvisionDetail"}
# Marks that the collecting system adds to its own tables; no file of a school has them.
OF_THE_SYSTEM = {"MoveOnRollFlag", "MoveOffRollFlag", "MissingAddress", "DuplicateNotFunded"}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_every_item_has_one_of_the_standard(name: str) -> None:
    mapped = record_map(loader.load(name, loader.years(name)[-1]))
    assert mapped.homeless == []
    allowed = {f"{HEADER}.{item}" for item in OF_THE_FILE} | {f"Pupil.{item}" for item in OF_THE_SYSTEM}
    assert mapped.not_told <= allowed | {"CBDSLevel"}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_one_message_carries_all_of_it(name: str) -> None:
    kind = telling.message_type(record_map(loader.load(name, loader.years(name)[-1])))
    assert kind == ("commonroom.children-return.sent" if name == "cin" else "commonroom.school-return.sent")


@pytest.mark.parametrize(("name", "year", "start"), CASES)
def test_nothing_is_lost_on_the_way_there_and_back(name: str, year: int, start: str) -> None:
    engine = _engine(name, year)
    _there_and_back(engine, _content(engine, Mutators(engine).valid_return(start)))


@pytest.mark.parametrize("name", COLLECTIONS)
def test_nothing_is_lost_of_a_return_with_every_module_and_every_item(name: str) -> None:
    engine = _engine(name, loader.years(name)[-1])
    collection = engine.collection
    before = {module.name: _rows(collection, module, count()) for module in collection.children(None)}
    valid = Mutators(engine).valid_return("")
    before[HEADER] = _content(engine, {HEADER: valid[HEADER]})[HEADER]
    _there_and_back(engine, before, of_the_standard=False)


def _there_and_back(engine: Engine, before: Any, *, of_the_standard: bool = True) -> None:
    collection = engine.collection
    given = telling.given_of(collection, _numbers(before[HEADER][0]), 1)
    told = to_records(collection, before, given)
    assert (told.losses, told.clashes) == ([], [])
    for entity, records in told.records.items():
        checked = standard.check_records(entity, records)
        faults = [f for f in checked.findings if f.rule != "standard-required"]
        assert [(f.rule, f.item, f.message) for f in faults if of_the_standard] == [], entity
        for record in records:
            assert all(record.get(item) is not None for item in standard.load().entities[entity].key), entity
    back = from_records(collection, msgspec.json.decode(msgspec.json.encode(told.records)), given)
    assert dict(back.left_out) == {}
    after = back.content
    assert {item for item in before[HEADER][0] if item not in after[HEADER][0]} <= OF_THE_FILE
    assert {
        item for item, text in after[HEADER][0].items() if before[HEADER][0].get(item, text) != text
    } == set()
    there = _content(engine, {**after, HEADER: before[HEADER]})
    for module in before:
        assert _plain(collection, module, there[module]) == _plain(collection, module, before[module]), module


def _numbers(header: dict[str, str]) -> dict[str, str]:
    if "Estab" not in header:
        return {"la": header["LEA"]}
    return {"urn": header["URN"], "laestab": header["LEA"] + header["Estab"]}


@cache
def _engine(name: str, year: int) -> Engine:
    return Engine(loader.load(name, year))


def _rows(collection: Collection, module: Module, numbers: Iterator[int]) -> list[Any]:
    """Two rows with every item, and rows of every module below; no two with the same value where there is a choice."""
    made = []
    for place in range(2 if module.many and module.name not in ONCE else 1):
        row = {item.name: _text(item, next(numbers)) for item in module.items}
        if "OnRoll" in row:
            row["OnRoll"] = str(place)
            # Who is on roll has not left.
            row["LeavingDate"] = row["LeavingDate"] if place == 0 else None
        row = {item: text for item, text in row.items() if text is not None and item not in OF_THE_SYSTEM}
        below = {one.name: _rows(collection, one, numbers) for one in collection.children(module.name)}
        made.append(row | below)
    return made


def _text(item: ColumnDef, number: int) -> str | None:
    """A text that the standard can say."""
    target = _target(item)
    match target.type if target else item.type:
        case "date":
            return (date(2020, 1, 1) + timedelta(days=number)).isoformat()
        case "boolean":
            return str(number % 2)
        case "integer":
            return str(number)
        case "decimal":
            return f"{number}.5"
        case "code":
            codes = tuple(standard.load().codesets[(target or item).codeset or ""].by_code)
            return codes[number % len(codes)]
        case "time":
            return f"{number % 24:02}:30"
    return f"T{number}"


def _target(item: ColumnDef) -> standard.Item | None:
    entity, _, name = (item.item or "").partition(".")
    return standard.load().entities[entity].by_name[name] if entity else None


def _content(engine: Engine, written: Any) -> Any:
    with Session(engine) as session:
        session.load_records(written)
        return read_back(session.tables)


def _plain(collection: Collection, module: str, rows: list[Any]) -> list[Any]:
    """Rows whatever their order, and whatever the spelling of yes and no."""
    items = collection.modules[module].by_name
    made = [
        {
            name: _plain(collection, name, value)
            if name not in items
            else is_true(value)
            if items[name].type == "boolean"
            else value
            for name, value in sorted(row.items())
        }
        for row in rows
    ]
    return sorted(made, key=repr)
