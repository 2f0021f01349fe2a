"""The proof: for every school, its own tables against what the warehouse holds, its authority received and the learner
register numbered.

Row by row, by content. Personal data never enters the result: a pupil is named by a digest, a changed item by its name.
The warehouse is read as any reader may read it, through its head, with SQL of our own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import duckdb
import msgspec

from commonroom.engines import clock, database, delta, places
from commonroom.engines.places import Folder
from commonroom.settings import Settings
from commonroom.simulation import numbers
from commonroom.simulation.numbers import OwnNumber, Register
from commonroom.simulation.own_tables import (
    ENROLMENT_ITEMS,
    ITEMS,
    KEYS,
    NO,
    YES,
    Content,
    Key,
    OwnRecords,
    OwnTable,
    read_school,
)
from commonroom.simulation.world import Manifest, authority_database, read_manifest, school_database

Where = Literal["warehouse", "authority", "register"]
Kind = Literal["missing", "extra", "changed", "duplicate", "too few"]

ALL = "*"  # instead of a school: a difference of the whole
_LEAVING = ENROLMENT_ITEMS.index("leaving_date")
_HEAD = "SELECT tables FROM warehouse.head ORDER BY number DESC LIMIT 1"


class Difference(msgspec.Struct, frozen=True):
    """One record that is not the same on both sides. `key` is a digest of the UPN and the rest of the key."""

    school: str  # URN, or * for the whole
    where: Where
    kind: Kind
    entity: str
    key: str
    detail: str


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, and what differs. `pupils` are on roll in the schools' own tables, `marks` stand in them."""

    schools: int
    pupils: int
    marks: int
    warehouse_pupils: int
    warehouse_marks: int
    authority_pupils: int
    authority_marks: int
    ulns: int  # numbers for life in the schools' own tables
    register_ulns: int  # of the same pupils, numbers that the register of learners gave
    ulns_due: int  # pupils who are 14 in this school year or older; some wait for a clerk's decision
    differences: tuple[Difference, ...]


class Arrived(msgspec.Struct, frozen=True):
    """A record elsewhere: its content, and how often it is live (1 when all is well)."""

    content: Content
    live: int


# school -> key with valid_from -> the records found for it
Found = dict[str, dict[Key, list[Arrived]]]


def reconcile(
    settings: Settings,
    *,
    minimum_schools: int,
    minimum_pupils: int,
    minimum_marks: int,
    minimum_of_due: float = 0.0,
) -> Reconciliation:
    """Compare everything the simulation wrote with everything that arrived, at the warehouse's newest head.

    Nothing may be running that still writes. Runs its own event loop: call it in a thread where one is running. Fewer
    schools, pupils or marks than demanded, on any side, are differences too, and so is a smaller part of the pupils due
    with a number. Raises Problem CR-120 when no simulation was built in this data folder.
    """
    versions, register = asyncio.run(_arrived(settings))
    return compare(
        settings.folder("schools"),
        places.home(settings),
        versions,
        register,
        minimum_schools=minimum_schools,
        minimum_pupils=minimum_pupils,
        minimum_marks=minimum_marks,
        minimum_of_due=minimum_of_due,
    )


def compare(
    schools: Path,
    warehouse: Folder,
    versions: Mapping[str, int],
    register: Register | None = None,
    *,
    minimum_schools: int,
    minimum_pupils: int,
    minimum_marks: int,
    minimum_of_due: float = 0.0,
) -> Reconciliation:
    """Compare the databases in `schools` with the Delta tables in `warehouse` at `versions`, the authorities' stores and
    the numbers in the `register` of learners (left out without one)."""
    manifest = read_manifest(schools)
    own = {
        school.urn: read_school(school_database(schools, school.urn), school.system)
        for school in manifest.schools
    }
    warehoused = {entity: _in_warehouse(warehouse, entity, versions) for entity in ITEMS}
    received = _in_authorities(schools, manifest)
    differences = [*_differences(own, warehoused, "warehouse"), *_differences(own, received, "authority")]
    numbered = numbers.own_numbers(own, register.today) if register else []
    if register:
        differences += _in_numbers(numbered, register)
    counts = Reconciliation(
        schools=len(own),
        pupils=sum(records.on_roll for records in own.values()),
        marks=sum(len(records.tables["attendance_mark"].rows) for records in own.values()),
        warehouse_pupils=_on_roll(warehoused["enrolment"]),
        warehouse_marks=_count(warehoused["attendance_mark"]),
        authority_pupils=_on_roll(received["enrolment"]),
        authority_marks=_count(received["attendance_mark"]),
        ulns=sum(1 for one in numbered if one.uln),
        register_ulns=sum(1 for one in numbered if register and one.upn in register.numbers),
        ulns_due=sum(1 for one in numbered if one.is_due),
        differences=(),
    )
    few = _too_few(
        counts, minimum_schools, minimum_pupils, minimum_marks, int(counts.ulns_due * minimum_of_due)
    )
    return msgspec.structs.replace(counts, differences=(*few, *differences))


def pupil_digest(school: str, upn: str) -> str:
    """How a pupil of a school is named in a difference."""
    return blake2b(upn.encode(), key=school.encode(), digest_size=8).hexdigest()


async def _arrived(settings: Settings) -> tuple[dict[str, int], Register]:
    connection = await database.connect(settings)
    try:
        tables: dict[str, int] | None = await connection.fetchval(_HEAD)
        return tables or {}, Register(await numbers.given(connection), await clock.today(connection))
    finally:
        await connection.close()


# What arrived.


def _in_warehouse(folder: Folder, entity: str, versions: Mapping[str, int]) -> Found:
    """All live facts of an entity; those whose weights cancel out are gone."""
    found: Found = defaultdict(lambda: defaultdict(list))
    stored = delta.files_of(folder / entity, versions[entity]) if entity in versions else []
    if not stored:
        return found
    files = places.here(file.path for file in stored)
    columns = ", ".join(_columns(entity))
    statement = f"""
        SELECT {columns}, sum(weight)
        FROM read_parquet(?, union_by_name = true)
        GROUP BY {columns}
        HAVING sum(weight) <> 0
    """  # noqa: S608 - the names are constants
    with closing(duckdb.connect()) as connection:
        _sort(found, entity, connection.execute(statement, [files]).fetchall())
    return found


def _in_authorities(schools: Path, manifest: Manifest) -> dict[str, Found]:
    """What each authority holds of its own schools that was not withdrawn; of others, under a name of its own."""
    received: dict[str, Found] = {entity: defaultdict(lambda: defaultdict(list)) for entity in ITEMS}
    for authority in manifest.authorities:
        own = {school.urn for school in manifest.schools if school.la_code == authority.code}
        path = authority_database(schools, authority.code)
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            for entity, found in received.items():
                columns = ", ".join(_columns(entity))
                statement = f"SELECT {columns}, 1 FROM {entity} WHERE NOT withdrawn"  # noqa: S608 - constants
                rows = connection.execute(statement).fetchall()
                _sort(found, entity, [row for row in rows if row[0] in own])
                strays = [(f"{row[0]} in {authority.code}", *row[1:]) for row in rows if row[0] not in own]
                _sort(found, entity, strays)
    return received


def _columns(entity: str) -> tuple[str, ...]:
    return ("school", *KEYS[entity], "valid_from", *ITEMS[entity])


def _sort(found: Found, entity: str, rows: Sequence[tuple[Any, ...]]) -> None:
    keys = 1 + len(KEYS[entity]) + 1
    for row in rows:
        words = tuple(map(_word, row[:-1]))
        found[words[0]][words[1:keys]].append(Arrived(words[keys:], int(row[-1])))


def _word(value: object) -> str:
    """A value as the schools' own tables are read: text, ISO dates, 1 and 0, '' for nothing."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return YES if value else NO
    return value.isoformat()[:10] if isinstance(value, date) else str(value)


# Comparing.


def _differences(
    own: Mapping[str, OwnRecords], arrived: Mapping[str, Found], where: Where
) -> Iterator[Difference]:
    for entity, found in arrived.items():
        for school in sorted({*own, *found}):
            table = own[school].tables[entity] if school in own else OwnTable(True, {})
            there = found.get(school, {})
            compare_rows = _of_histories if table.keeps_history else _of_present
            for kind, key, detail in compare_rows(entity, table, there):
                yield Difference(school, where, kind, entity, _shown(school, key), detail)
            yield from (
                Difference(school, where, "duplicate", entity, _shown(school, key), f"{copies} live copies")
                for key, copies in _repeated(entity, there)
            )


def _in_numbers(pupils: list[OwnNumber], register: Register) -> Iterator[Difference]:
    for school, upn, kind, detail in numbers.differences(pupils, register):
        yield Difference(school, "register", kind, "learner_number", pupil_digest(school, upn), detail)


def _of_histories(
    entity: str, table: OwnTable, there: Mapping[Key, list[Arrived]]
) -> Iterator[tuple[Kind, Key, str]]:
    """Every record of the history has its own place on the other side, and nothing else is there."""
    for key, content in table.rows.items():
        records = there.get(key)
        if not records:
            yield "missing", key, "not there"
        elif all(_digest(content) != _digest(record.content) for record in records):
            yield "changed", key, _changed(entity, content, records[0].content)
    yield from (("extra", key, "not in the school's own tables") for key in there if key not in table.rows)


def _of_present(
    entity: str, table: OwnTable, there: Mapping[Key, list[Arrived]]
) -> Iterator[tuple[Kind, Key, str]]:
    """The newest record of each key is the one the school shows; older ones are history that the school forgot."""
    newest: dict[Key, Key] = {}
    for key in there:
        held = newest.get(key[:-1])
        if held is None or held[-1] < key[-1]:
            newest[key[:-1]] = key
    shown = {key[:-1]: key for key in table.rows}
    for bare, key in shown.items():
        latest = newest.get(bare)
        if latest is None:
            yield "missing", key, "not there"
        elif latest[-1] < key[-1]:
            yield "missing", key, f"what holds from {key[-1]} is not there"
        elif latest[-1] > key[-1]:
            yield "extra", latest, f"something that holds from {latest[-1]} is there"
        elif all(_digest(table.rows[key]) != _digest(record.content) for record in there[latest]):
            yield "changed", key, _changed(entity, table.rows[key], there[latest][0].content)
    yield from (
        ("extra", key, "not in the school's own tables") for bare, key in newest.items() if bare not in shown
    )


def _repeated(entity: str, there: Mapping[Key, list[Arrived]]) -> Iterator[tuple[Key, int]]:
    """Keys with more than one live record, or one that is live more or less than once.

    A mark holds from its own date, so a second day for the same session is a second mark.
    """
    copies: dict[Key, int] = defaultdict(int)
    bare = slice(None, -1) if entity == "attendance_mark" else slice(None)
    for key, records in there.items():
        copies[key[bare]] += sum(record.live for record in records)
    yield from ((key, count) for key, count in copies.items() if count != 1)


def _digest(content: Content) -> bytes:
    return blake2b("\x1f".join(content).encode(), digest_size=16).digest()


def _changed(entity: str, own: Content, other: Content) -> str:
    """The names of the items that differ: values may be personal."""
    names = [name for name, a, b in zip(ITEMS[entity], own, other, strict=True) if a != b]
    return ", ".join(names)


def _shown(school: str, key: Key) -> str:
    return " ".join((pupil_digest(school, key[0]), *key[1:]))


# Counting.


def _on_roll(found: Found) -> int:
    """Enrolments whose newest record has no leaving date."""
    present = 0
    for there in found.values():
        newest: dict[Key, tuple[str, Content]] = {}
        for key, records in there.items():
            held = newest.get(key[:-1])
            if held is None or held[0] < key[-1]:
                newest[key[:-1]] = key[-1], records[0].content
        present += sum(1 for _, content in newest.values() if not content[_LEAVING])
    return present


def _count(found: Found) -> int:
    return sum(record.live for there in found.values() for records in there.values() for record in records)


def _too_few(counts: Reconciliation, schools: int, pupils: int, marks: int, ulns: int) -> list[Difference]:
    """Nothing compared is nothing proved: each side must hold at least what was demanded."""
    demanded: list[tuple[Where, str, int, int]] = [
        ("warehouse", "school", counts.schools, schools),
        ("warehouse", "enrolment", min(counts.pupils, counts.warehouse_pupils), pupils),
        ("warehouse", "attendance_mark", min(counts.marks, counts.warehouse_marks), marks),
        ("authority", "enrolment", min(counts.pupils, counts.authority_pupils), pupils),
        ("authority", "attendance_mark", min(counts.marks, counts.authority_marks), marks),
        ("register", "learner_number", min(counts.ulns, counts.register_ulns), ulns),
    ]
    return [
        Difference(ALL, where, "too few", entity, ALL, f"{found:,} found, {minimum:,} demanded")
        for where, entity, found, minimum in demanded
        if found < minimum
    ]
