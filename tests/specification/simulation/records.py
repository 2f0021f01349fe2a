"""The records that a maker's mapping shows of a school's database: the queries run here, the words translated here."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from commonroom import standard
from commonroom.agent.mapping import Read, SourceMapping, load_source
from commonroom.simulation import school_database, source_mapping
from commonroom.simulation.schools import School

Record = dict[str, Any]
BEGINNING = "2000-01-01"


@cache
def mapping(system: str) -> SourceMapping:
    """The maker's mapping, as an agent reads it."""
    return load_source(source_mapping(system), standard.load())


def records(folder: Path, school: School, entity: str, window_start: str = BEGINNING) -> list[Record]:
    """All records of an entity that the mapping shows, without what is empty."""
    read = next(read for read in mapping(school.system).reads if read.entity == entity)
    with closing(sqlite3.connect(school_database(folder, school.urn))) as connection:
        parameters = {"school": school.urn, "window_start": window_start}
        rows = connection.execute(read.query, parameters)
        names = [column[0] for column in rows.description]
        found = [
            {name: _item(read, name, value) for name, value in zip(names, row, strict=True)} for row in rows
        ]
    return [{name: value for name, value in record.items() if value not in (None, "")} for record in found]


def transfers(folder: Path, school: School) -> set[tuple[str, str, str]]:
    """UPN, leaving date and next school of each who left for another school."""
    asked = mapping(school.system).transfers
    assert asked is not None
    with closing(sqlite3.connect(school_database(folder, school.urn))) as connection:
        rows = connection.execute(asked.query)
        assert [column[0] for column in rows.description] == ["upn", "leaving_date", "destination"]
        return {(upn, leaving, str(destination)) for upn, leaving, destination in rows}


def _item(read: Read, name: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    text = str(value)
    if name in read.dates:
        return datetime.strptime(text, read.dates[name]).date().isoformat()  # noqa: DTZ007 - a date without a time
    if name in read.booleans:
        words = read.booleans[name]
        assert text in (*words.true, *words.false)
        return text in words.true
    return read.codes.get(name, {}).get(text, text)
