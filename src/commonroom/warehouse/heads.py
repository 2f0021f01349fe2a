"""The head: which version of each fact table readers may read. One row in PostgreSQL makes a whole batch visible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commonroom.engines import database
from commonroom.settings import Settings
from commonroom.stopping import pause

# The loader's lease: held by a session of PostgreSQL, gone with it. The numbers are arbitrary and ours.
LEASE = (0x434F4D52, 6)
_TRY_LEASE = "SELECT pg_try_advisory_lock($1, $2)"
_TRY_SECONDS = 0.25
_GIVE_BACK = "SELECT pg_advisory_unlock($1, $2)"

_NEWEST = (
    "SELECT number, batch, position, tables, committed_at FROM warehouse.head ORDER BY number DESC LIMIT 1"
)
_WRITE = "INSERT INTO warehouse.head (number, batch, position, tables) VALUES ($1, $2, $3, $4)"
# Readers and the vacuum need none of the older ones; some are kept to look back on.
_FORGET = "DELETE FROM warehouse.head WHERE number <= $1"
_KEEP_HEADS = 10_000


class Head(msgspec.Struct, frozen=True):
    """What a reader may read."""

    number: int  # 0 before anything was loaded
    batch: str
    position: int  # the highest position of the hub that is in it
    tables: dict[str, int]  # version by entity
    committed_at: datetime | None  # by the domain clock


NOTHING = Head(0, "", 0, {}, None)


async def newest(connection: Any) -> Head:
    """The head, as a reader sees it now."""
    row = await connection.fetchrow(_NEWEST)
    if row is None:
        return NOTHING
    return Head(row["number"], str(row["batch"]), row["position"], row["tables"], row["committed_at"])


async def announce(connection: Any, head: Head) -> None:
    """Make `head` the head. Fails when another loader announced the same number meanwhile."""
    await connection.execute(_WRITE, head.number, UUID(head.batch), head.position, head.tables)
    await connection.execute(_FORGET, head.number - _KEEP_HEADS)


@asynccontextmanager
async def lease(settings: Settings, stop: asyncio.Event | None = None) -> AsyncIterator[Any]:
    """The right to load, as the connection that holds it; waits until the loader before has gone.

    Gives None when `stop` was set meanwhile. Heads are written on this very connection: one that lost its lease has
    lost the connection too, and can announce nothing.
    """
    stop = stop or asyncio.Event()
    connection = await database.connect(settings)
    try:
        while not (mine := await connection.fetchval(_TRY_LEASE, *LEASE)) and not stop.is_set():
            await pause(stop, _TRY_SECONDS)
        yield connection if mine else None
        if mine:
            await connection.execute(_GIVE_BACK, *LEASE)
    finally:
        await connection.close()
