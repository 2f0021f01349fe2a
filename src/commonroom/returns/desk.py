"""Where returns are handed over: versions are posted as their senders, and taken in as the Department, through the hub.

The two sides know nothing of each other but letters (`posting`, `taking`); this is the process that does both.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from commonroom import log
from commonroom.exchange import Client
from commonroom.hub.own_end_points import keep_serving, own_end_point
from commonroom.returns import content, parties, reminders
from commonroom.returns.posting import post_waiting
from commonroom.returns.taking import take_letters
from commonroom.settings import Settings

WAIT_SECONDS = 5.0
RETRY_SECONDS = 2.0
# How long content that no version names is left alone: longer than any upload takes.
KEPT_SECONDS = 86_400.0
_log = log.get("returns")


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Post and take until `stop` is set, or for ever; waits for the database, the hub and the directory."""
    await keep_serving(settings, _serve, "returns", RETRY_SECONDS, stop)


async def sweep(settings: Settings, connection: Any) -> None:
    """The recurring job: take away what killed uploads left, once nobody can still be at it."""
    wanted = {
        row["content"] for row in await connection.fetch("SELECT DISTINCT content FROM returns.version")
    }
    before = time.time() - KEPT_SECONDS
    swept = await asyncio.to_thread(content.sweep, settings, wanted, before)
    if swept:
        _log.info("contents of no version swept", folders=swept)


async def _serve(settings: Settings, connection: Any, stop: asyncio.Event) -> None:
    me = await own_end_point(settings, connection, "returns", parties.DEPARTMENT)
    verify = settings.require_signatures
    async with Client(settings.hub_url, me.key_file, me.end_point, verify=verify) as client:
        while not stop.is_set():
            await post_waiting(settings, connection)
            await reminders.post(settings, connection)
            await take_letters(settings, connection, client, WAIT_SECONDS)
