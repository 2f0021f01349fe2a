"""File -> records of the standard -> module tables, for every collection with a whole valid return: what is lost is listed.

Nothing may be, but what a header says of the file itself.
"""

from __future__ import annotations

from typing import Any

import pytest

from commonroom import standard
from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.mutators import Mutators, starts
from commonroom.collections.records import read_back
from commonroom.collections.session import Session
from commonroom.returns.translation import HEADER, OF_THE_FILE, Holder, Translator

# Collections whose items are all items of the standard. Those not named here are told in part, and refused by an upload.
WHOLE = ("cin",)
NUMBERS = {"cin": "823"}


CASES = [
    (name, loader.years(name)[-1], start)
    for name in WHOLE
    for start in starts(loader.load(name, loader.years(name)[-1]))
]


@pytest.mark.parametrize("name", WHOLE)
def test_every_item_has_one_of_the_standard(name: str) -> None:
    assert Translator(loader.load(name, loader.years(name)[-1])).silent_items() == []


@pytest.mark.parametrize(("name", "year", "start"), CASES)
def test_nothing_is_lost_on_the_way_there_and_back(name: str, year: int, start: str) -> None:
    collection = loader.load(name, year)
    translator, holder = Translator(collection), Holder(NUMBERS[name])
    written = Mutators(Engine(collection)).valid_return(start)
    before = _content(collection, written)
    told = translator.tell(before, holder, 1)
    assert told.losses == []
    for entity, records in told.records.items():
        checked = standard.check_records(entity, records)
        assert [(f.rule, f.item, f.message) for f in checked.findings] == [], entity
    after = translator.untell(told.records, holder)
    lost = {item for item in before[HEADER][0] if item not in after[HEADER][0]}
    assert lost <= OF_THE_FILE
    for item in lost:
        del before[HEADER][0][item]
    assert _sorted(_content(collection, after)) == _sorted(before)


def _content(collection: Any, written: Any) -> Any:
    with Session(Engine(collection)) as session:
        session.load_records(written)
        return read_back(session.tables)


def _sorted(value: Any) -> Any:
    """The same content whatever the order of its rows."""
    if isinstance(value, dict):
        return {name: _sorted(below) for name, below in sorted(value.items())}
    if isinstance(value, list):
        return sorted((_sorted(below) for below in value), key=repr)
    return value
