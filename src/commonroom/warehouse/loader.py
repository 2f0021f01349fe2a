"""The loader: the warehouse's own end point. It drains its mailbox in micro-batches, one loader at a time.

Any number may be started; PostgreSQL's lease lets one work. Losing the hub, the database or the lease never loses or
doubles a fact: the letters stay leased in the mailbox and come again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from commonroom import exchange, ids, log
from commonroom.engines import delta, duck
from commonroom.engines.database import DATABASE_AWAY
from commonroom.engines.delta import Batch
from commonroom.engines.duck import Duck
from commonroom.exchange import Client, Letter, Unreachable
from commonroom.exchange.contract import ReplayRequest
from commonroom.hub.own_end_points import own_end_point
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.stopping import pause, until_stopped
from commonroom.warehouse import batches, heads, tables
from commonroom.warehouse.batches import Loaded
from commonroom.warehouse.heads import Head

WAREHOUSE = "urn:commonroom:alias:platform:warehouse"
LETTERS_A_BATCH = 60
BODIES_A_BATCH = 4 * exchange.LARGEST  # large bodies that come with their letters
WAIT_SECONDS = 5.0
_RETRY_SECONDS = 1.0
# The database, the directory, the table or the store is not there yet, the disk is full, or a table is not as it was put
# there: nobody else's work in this process may end with that, and once it is put right the loader goes on by itself.
_WAITS = frozenset({"CR-003", "CR-005", "CR-060", "CR-061", "CR-310", "CR-311", "CR-312"})
# Faults of the surroundings, not of a letter: it comes again when they are over.
_AWAY = (*DATABASE_AWAY, Unreachable, Problem)
_log = log.get("warehouse")


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Load until `stop` is set, or for ever. Waits for the database, the hub and the directory to be there."""
    stop = stop or asyncio.Event()
    while not stop.is_set():
        try:
            async with heads.lease(settings, stop) as connection:
                if connection is not None:
                    await _drain(settings, connection, stop)
        except Problem as problem:
            if problem.code not in _WAITS:
                raise
            _log.warning(
                "loader interrupted, starts again",
                code=problem.code,
                detail=problem.detail,
                where=problem.where,
            )
        except Exception as error:
            # A full disk, a database away, a fault of our own: the letters are in the mailbox, nothing is lost by waiting.
            log.fault(_log, "loader interrupted, starts again", error)
        await pause(stop, _RETRY_SECONDS)


async def _drain(settings: Settings, connection: Any, stop: asyncio.Event) -> None:
    me = await own_end_point(settings, connection, "warehouse", WAREHOUSE)
    duckdb = duck.Duck(settings, [settings.folder("warehouse")], urgent=True)
    try:
        verify = settings.require_signatures
        async with Client(settings.hub_url, me.key_file, me.end_point, verify=verify) as client:
            await client.publish_encryption_key()
            while not stop.is_set():
                pulling = client.pull(LETTERS_A_BATCH, WAIT_SECONDS, bodies=BODIES_A_BATCH)
                letters = await _without_reports(client, await until_stopped(pulling, stop) or [])
                if letters:
                    await deliver(client, connection, settings, duckdb, letters)
                await upkeep(connection, settings)
    finally:
        duckdb.close()


async def deliver(
    client: Client, connection: Any, settings: Settings, duckdb: Duck, letters: Sequence[Letter]
) -> Loaded:
    """Load letters, then tell the hub what became of each."""
    began = time.monotonic()
    try:
        outcome = await batches.load(connection, settings, duckdb, letters)
    except Exception as error:
        await _after_fault(client, connection, letters, error)
        raise
    if outcome.loaded:
        await client.acknowledge([letter.delivery for letter in outcome.loaded])
    for letter, reason in outcome.refused:
        await client.refuse(letter.delivery, reason)
    _log.info(
        "batch loaded",
        batch=outcome.head.number,
        position=outcome.head.position,
        letters=len(outcome.loaded),
        refused=len(outcome.refused),
        findings=outcome.findings,
        rows=outcome.rows,
        seconds=round(time.monotonic() - began, 3),
    )
    return outcome


async def _after_fault(client: Client, connection: Any, letters: Sequence[Letter], error: Exception) -> None:
    """Nothing was loaded. A letter that cannot even be read is refused, so that it stops nobody; the rest come again."""
    unreadable = [] if isinstance(error, _AWAY) else await batches.unreadable(connection, letters)
    for letter, kind in unreadable:
        _log.error("letter cannot be read", position=letter.position, attempt=letter.attempt, error=kind)
        await client.refuse([letter.delivery], f"The warehouse could not read it ({kind}); its log has more.")
    refused = {letter.delivery for letter, _ in unreadable}
    await _release(client, [letter for letter in letters if letter.delivery not in refused])


async def _release(client: Client, letters: Sequence[Letter]) -> None:
    """Have the letters offered again at once; should that fail too, they come when their lease ends."""
    if not letters:
        return
    try:
        await client.release([letter.delivery for letter in letters])
    except (Unreachable, Problem) as error:
        _log.warning("letters stay leased for a while", error=type(error).__name__)


async def upkeep(connection: Any, settings: Settings, *, every: bool = False) -> Head:
    """Tidy each table whose small files have become many, or `every` table; the caller holds the lease.

    Returns the head.
    """
    head = await heads.newest(connection)
    due = sorted(head.tables) if every else await asyncio.to_thread(_due, settings, head)
    if not due:
        return head
    batch = Batch(head.number + 1, str(ids.uuid7()))
    versions = await asyncio.to_thread(_tidy, settings, head, batch, due, not every)
    new = Head(batch.number, batch.id, head.position, {**head.tables, **versions}, None)
    await heads.announce(connection, new)
    _log.info("tables tidied", batch=new.number, tables=due)
    return new


async def replay(settings: Settings, connection: Any, request: ReplayRequest) -> int:
    """Have the hub hand the warehouse's letters out again; the loader takes them like any others. How many."""
    me = await own_end_point(settings, connection, "warehouse", WAREHOUSE)
    letters = 0
    async with Client(settings.hub_url, me.key_file, me.end_point) as client:
        while True:
            answer = await client.replay(request)
            letters += answer.letters
            if not answer.more or answer.last_position is None:
                return letters
            request = msgspec.structs.replace(request, after_position=answer.last_position)


def _due(settings: Settings, head: Head) -> list[str]:
    return [
        entity
        for entity, version in sorted(head.tables.items())
        if delta.needs_tidying(tables.of(entity).folder(settings), version)
    ]


def _tidy(
    settings: Settings, head: Head, batch: Batch, entities: Sequence[str], as_due: bool
) -> dict[str, int]:
    folders = {entity: tables.of(entity).folder(settings) for entity in entities}
    return {
        entity: delta.tidy(folder, after=head.tables[entity], batch=batch, as_due=as_due)
        for entity, folder in folders.items()
    }


async def _without_reports(client: Client, letters: Sequence[Letter]) -> list[Letter]:
    """The letters to load. What the hub reports of messages of ours is noted and taken here."""
    told = [letter for letter in letters if exchange.is_report(letter.envelope)]
    if told:
        ends = [exchange.read_report(letter.body) for letter in told]
        for end in ends:
            if end.state != "acknowledged":
                _log.warning("message ended unread", message=end.message, state=end.state)
        await client.acknowledge([letter.delivery for letter in told])
    return [letter for letter in letters if not exchange.is_report(letter.envelope)]
