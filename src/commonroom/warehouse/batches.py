"""One micro-batch: from a handful of letters to new rows in every table, visible at once, or not at all.

Order: our own keys of the pupils (PostgreSQL), one Delta commit a table, synced, then findings and the head row in one
transaction of PostgreSQL. Only after that may the letters be acknowledged. Killed between any two steps, the letters
come again: their keys are found, the commits that no head names are taken back, versions make a repeat harmless.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pyarrow as pa

from commonroom import ids
from commonroom.engines import delta
from commonroom.engines.database import DATABASE_AWAY
from commonroom.engines.delta import Batch
from commonroom.engines.duck import Duck
from commonroom.engines.learner_keys import learner_keys
from commonroom.exchange import Letter
from commonroom.hub import directory
from commonroom.settings import Settings
from commonroom.warehouse import facts, heads, letters, rekeying, tables
from commonroom.warehouse.facts import MOVED, Change, Fact, Slot
from commonroom.warehouse.heads import Head
from commonroom.warehouse.letters import Reading
from commonroom.warehouse.rekeying import Keys, Rekeyed, Values
from commonroom.warehouse.tables import FactTable

_FINDINGS = """
INSERT INTO warehouse.finding
    (message, ordinal, sender, position, refused, severity, rule, entity, record, key, item, value, message_text, remedy)
SELECT message, ordinal, sender, position, refused, severity, rule, entity, record, key, item, value, message_text, remedy
FROM jsonb_to_recordset($1) AS given (
    message text, ordinal integer, sender text, position bigint, refused boolean, severity text, rule text,
    entity text, record integer, key jsonb, item text, value text, message_text text, remedy text
)
ON CONFLICT (message, ordinal) DO NOTHING
"""
# Naming more schools than this in the statement costs more than it saves.
_MAX_SCHOOLS = 64


_REKEYED = """
SELECT entity, names, old, new, known_position, known_from, message, sender FROM warehouse.rekeyed
"""
_NEW_REKEYED = """
INSERT INTO warehouse.rekeyed (names, old, new, known_position, known_from, message, sender, entity)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (entity, names, old, new) DO UPDATE
SET known_position = excluded.known_position, known_from = excluded.known_from,
    message = excluded.message, sender = excluded.sender
WHERE rekeyed.known_position < excluded.known_position
"""


class Loaded(msgspec.Struct, frozen=True):
    """What became of a batch."""

    head: Head
    rows: dict[str, int]  # appended, by entity
    loaded: list[Letter]  # to acknowledge
    refused: list[tuple[Letter, str]]  # to refuse, with the reason
    findings: int


async def load(connection: Any, settings: Settings, duck: Duck, incoming: Sequence[Letter]) -> Loaded:
    """Load letters; `connection` holds the lease. When it returns, all of it is on the disk and visible."""
    with _uncollected():
        return await _load(connection, settings, duck, incoming)


@contextmanager
def _uncollected() -> Iterator[None]:
    """A batch makes many objects and no circles of them: looking through all there are stops everything for 0.2 seconds."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


async def _load(connection: Any, settings: Settings, duck: Duck, incoming: Sequence[Letter]) -> Loaded:
    head = await heads.newest(connection)
    readings = await _read(connection, incoming)
    told = [one for reading in readings for one in reading.rekeyed]
    keys = Keys([*await _known_rekeyed(connection), *told])
    moves = await asyncio.to_thread(_moves, settings, duck, head, keys, told)
    followed = _followed(_by_entity(readings), keys, moves)
    changes = await _with_learners(connection, followed)
    ended = {entity: rows for entity, (rows, _) in moves.items()}
    readings = [letters.noting(reading, keys.superseded) for reading in readings]
    batch = Batch(head.number + 1, str(ids.uuid7()))
    written = await asyncio.to_thread(_append_all, settings, duck, head, batch, changes, ended)
    position = max([head.position, *(letter.position for letter in incoming)])
    versions = {entity: version for entity, (version, _) in written.items()}
    new = Head(batch.number, batch.id, position, {**head.tables, **versions}, None)
    await _announce(connection, head, new, readings)
    return Loaded(
        head=new if written else head,
        rows={entity: count for entity, (_, count) in written.items()},
        loaded=[reading.letter for reading in readings if reading.refusal is None],
        refused=[(reading.letter, reading.refusal) for reading in readings if reading.refusal is not None],
        findings=sum(len(reading.findings) for reading in readings),
    )


async def _read(connection: Any, incoming: Sequence[Letter]) -> list[Reading]:
    contents = await asyncio.to_thread(lambda: [letters.opened(letter) for letter in incoming])
    parties = await directory.resolve_aliases(connection, letters.parties_to_resolve(contents))
    return await asyncio.to_thread(
        lambda: [
            letters.read(letter, content, parties) for letter, content in zip(incoming, contents, strict=True)
        ]
    )


async def unreadable(connection: Any, incoming: Sequence[Letter]) -> list[tuple[Letter, str]]:
    """The letters whose reading alone fails by a fault nobody foresaw, each with the kind of the fault."""
    found = []
    for letter in incoming:
        try:
            await _read(connection, [letter])
        except DATABASE_AWAY:
            raise
        except Exception as error:
            found.append((letter, type(error).__name__))
    return found


def newest_stored(
    settings: Settings, duck: Duck, table: FactTable, version: int | None, changes: Sequence[Change]
) -> dict[Slot, Fact]:
    """The newest row of each slot that `changes` name and the announced version has."""
    if version is None or not changes:
        return {}
    days = [change.fact.valid_from for change in changes]
    low, high = min(days), max(days)
    where = f"valid_from BETWEEN DATE '{low}' AND DATE '{high}'"
    files = [
        file
        for file in delta.files_of(table.folder(settings), version)
        if file.may_hold("valid_from", low, high)
    ]
    if letters.SCHOOL in table.key:
        place = table.key.index(letters.SCHOOL)
        schools = sorted({change.fact.key[place] for change in changes})
        files = [file for file in files if file.may_hold(letters.SCHOOL, schools[0], schools[-1])]
        if len(schools) <= _MAX_SCHOOLS:
            where += f" AND {letters.SCHOOL} IN ({', '.join(map(tables.quoted, schools))})"
    if not files:
        return {}
    slot = ", ".join([*table.key, "valid_from"])
    stored = table.relation([file.path for file in files], [column.name for column in table.columns], where)
    found = duck.query(
        f"""
        SELECT * FROM (
            SELECT *, sum(weight) OVER (PARTITION BY {slot}) AS lives
            FROM ({stored}) AS stored SEMI JOIN named USING ({slot})
        ) AS of_slots
        QUALIFY row_number() OVER (PARTITION BY {slot} ORDER BY {_newest_first(table)}) = 1
        """,  # noqa: S608 - names are the standard's, values are quoted
        tables={"named": _slots(table, changes)},
    )
    newest = [table.from_row(row) for row in found]
    return {fact.slot: fact for fact in newest}


def _newest_first(table: FactTable) -> str:
    """The order of the rows of a slot, as `Fact.rank` has it: by version, then by the key sent. `lives` counts the live.

    Of equal ones the live row is the newest, where one lives: a fact may have moved away and come back. Where none does,
    it is the row that moved.
    """
    sent = f"coalesce(replace(origin, '{MOVED}', ''), concat_ws(' ', {', '.join(table.key)}))"
    return (
        f"(lives > 0 AND weight > 0) DESC, version DESC, {sent} DESC, "
        f"coalesce(starts_with(origin, '{MOVED}'), false) DESC, known_position DESC, weight DESC"
    )


async def _known_rekeyed(connection: Any) -> list[Rekeyed]:
    return [
        Rekeyed(
            tuple(row["names"]), tuple(row["old"]), tuple(row["new"]), row["known_position"], row["known_from"],
            row["message"], row["sender"], row["entity"],
        )
        for row in await connection.fetch(_REKEYED)
    ]  # fmt: skip


def _moves(
    settings: Settings, duck: Duck, head: Head, keys: Keys, told: Sequence[Rekeyed]
) -> dict[str, tuple[list[Fact], list[Change]]]:
    """By entity, what the changes of keys just told end under old keys, and tell under new ones."""
    moves: dict[str, tuple[list[Fact], list[Change]]] = {}
    for kind in sorted({one.kind for one in told}):
        said = [one for one in told if one.kind == kind]
        for entity, version in head.tables.items():
            table = tables.of(entity)
            if rekeying.holds_for(table, kind):
                stored = _stored_under(settings, duck, table, version, kind[1], keys.gone(kind))
                ended, changes = rekeying.move(table, stored, keys, said)
                before = moves.get(entity, ([], []))
                moves[entity] = [*before[0], *ended], [*before[1], *changes]
    return moves


def _stored_under(
    settings: Settings,
    duck: Duck,
    table: FactTable,
    version: int,
    names: Sequence[str],
    gone: Sequence[Values],
) -> list[Fact]:
    """The newest row of each slot under keys that are gone."""
    if not gone:
        return []
    files = [file.path for file in delta.files_of(table.folder(settings), version)]
    match = " AND ".join(f"CAST(stored.{name} AS VARCHAR) = gone.{name}" for name in names)
    slot = ", ".join([*table.key, "valid_from"])
    found = duck.query(
        f"""
        SELECT * FROM (
            SELECT stored.*, sum(weight) OVER (PARTITION BY {slot}) AS lives
            FROM ({table.relation(files, [column.name for column in table.columns])}) AS stored
            SEMI JOIN gone ON {match}
        ) AS of_slots
        QUALIFY row_number() OVER (PARTITION BY {slot} ORDER BY {_newest_first(table)}) = 1
        """,  # noqa: S608 - names are the standard's
        tables={
            "gone": pa.table(
                {name: pa.array(values) for name, values in zip(names, zip(*gone, strict=True), strict=True)}
            )
        },
    )
    return [table.from_row(row) for row in found]


def _followed(
    changes: Mapping[str, list[Change]], keys: Keys, moves: Mapping[str, tuple[list[Fact], list[Change]]]
) -> dict[str, list[Change]]:
    """Every change under its present key, those of moved facts among them."""
    found: dict[str, list[Change]] = {}
    for entity, many in changes.items():
        table = tables.of(entity)  # once: it makes all tables of the standard
        found[entity] = [rekeying.follow(table, change, keys) for change in many]
    for entity, (_, many) in moves.items():
        if many:
            found.setdefault(entity, []).extend(many)
    return found


def _slots(table: FactTable, changes: Sequence[Change]) -> Any:
    keys = list(zip(*(change.fact.key for change in changes), strict=True))
    columns = {
        name: pa.array(keys[place], table.schema.field(name).type) for place, name in enumerate(table.key)
    }
    return pa.table(
        {**columns, "valid_from": pa.array([change.fact.valid_from for change in changes], pa.date32())}
    )


def _by_entity(readings: Sequence[Reading]) -> dict[str, list[Change]]:
    found: dict[str, list[Change]] = {}
    for reading in readings:
        for entity, changes in reading.changes.items():
            found.setdefault(entity, []).extend(changes)
    return found


async def _with_learners(connection: Any, changes: Mapping[str, list[Change]]) -> dict[str, list[Change]]:
    """The same changes with our own key of the pupil in each; pupils met for the first time get one.

    Of a child whom its authority tells of without a UPN there is none.
    """
    made = {entity: tables.of(entity) for entity in changes}
    upns = {
        entity: [_upn(made[entity], change.fact) for change in many]
        for entity, many in changes.items()
        if made[entity].names_learner
    }
    keys = await learner_keys(connection, {upn for many in upns.values() for upn in many if upn})
    known = {upn: str(key) for upn, key in keys.items()}
    return {
        entity: [
            Change(msgspec.structs.replace(change.fact, learner_id=known.get(upn or "")), change.withdrawn)
            for change, upn in zip(many, upns[entity], strict=True)
        ]
        if entity in upns
        else many
        for entity, many in changes.items()
    }


def _upn(table: FactTable, fact: Fact) -> str | None:
    upn: str | None = fact.items[table.items.index(tables.LEARNER_ITEM)]
    return upn


def _append_all(
    settings: Settings,
    duck: Duck,
    head: Head,
    batch: Batch,
    changes: Mapping[str, list[Change]],
    ended: Mapping[str, list[Fact]],
) -> dict[str, tuple[int, int]]:
    """New version and number of rows of each table that got any."""
    written: dict[str, tuple[int, int]] = {}
    for entity, many in sorted(changes.items()):
        table, version = tables.of(entity), head.tables.get(entity)
        rows = [
            *ended.get(entity, ()),
            *facts.plan(many, newest_stored(settings, duck, table, version, many)),
        ]
        if rows:
            new = delta.append(table.folder(settings), table.to_arrow(rows), after=version, batch=batch)
            written[entity] = new, len(rows)
    return written


async def _announce(connection: Any, old: Head, new: Head, readings: Sequence[Reading]) -> None:
    async with connection.transaction():
        rows = [row for reading in readings for row in _finding_rows(reading)]
        if rows:
            await connection.execute(_FINDINGS, rows)
        for one in (one for reading in readings for one in reading.rekeyed):
            await connection.execute(
                _NEW_REKEYED,
                list(one.names), list(one.old), list(one.new), one.known_position, one.known_from, one.message, one.sender,
                one.entity,
            )  # fmt: skip
        if new.tables != old.tables or new.position != old.position:
            await heads.announce(connection, new)


def _finding_rows(reading: Reading) -> list[dict[str, Any]]:
    common = {
        "message": f"{reading.letter.envelope.source} {reading.letter.envelope.id}",
        "sender": reading.letter.envelope.source,
        "position": reading.letter.position,
        "refused": reading.refusal is not None,
    }
    return [
        {
            **common,
            **{name: value for name, value in msgspec.structs.asdict(finding).items() if name != "message"},
            "message_text": finding.message,
            "ordinal": ordinal,
        }
        for ordinal, finding in enumerate(reading.findings)
    ]
