"""kill -9 of the hub that holds the sequencer, at any moment: the ledger has no gap and no double, and verifies."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from commonroom.hub.ledger_check import verify_database
from commonroom.settings import Settings
from tests.hub_server import HubProcess, SmallCounty, enrolled_client, message, publish_small_county
from tests.waiting import until_async

SEED = 3
KILLS = 3
SECONDS = 40.0
APPENDED = """
INSERT INTO hub.ledger (event, message, party)
SELECT 'leased', position, 'urn:x' FROM hub.message, generate_series(1, $1)
"""
POSITIONS = "SELECT count(*), count(DISTINCT entry), coalesce(max(position) + 1, 0) FROM hub.ledger_place"


async def test_killing_the_sequencer_leaves_no_gap_and_no_double(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    hubs = [HubProcess(settings), HubProcess(settings)]
    stopping = asyncio.Event()
    try:
        for hub in hubs:
            await asyncio.to_thread(hub.start)
        county = await _first_message(pool, hubs[0], tmp_path)
        assert county.school
        writers = [asyncio.create_task(_write(pool, stopping, number)) for number in range(3)]
        for number in range(KILLS):
            goal = await _positions(pool) + chance.randrange(200, 1500)
            await until_async(lambda goal=goal: _reached(pool, goal), SECONDS, "the tree growing")  # type: ignore[misc]
            hub = hubs[number % 2]
            hub.kill()
            print(f"seed {SEED} kill {number + 1}: {await _positions(pool)} positions given")
            await asyncio.to_thread(hub.start)
        stopping.set()
        await asyncio.gather(*writers)
        await until_async(lambda: _all_signed(pool), SECONDS, "a head over everything")
        entries = await pool.fetchval("SELECT count(*) FROM hub.ledger_entry")
        assert tuple(await pool.fetchrow(POSITIONS)) == (entries, entries, entries)
        async with pool.acquire() as connection:
            verdict = await verify_database(connection)
        assert (verdict.faults, verdict.entries) == ([], entries)
    finally:
        stopping.set()
        for hub in hubs:
            if hub.process is not None and hub.process.poll() is None:
                hub.kill()


async def _first_message(pool: Any, hub: HubProcess, folder: Path) -> SmallCounty:
    async with pool.acquire() as connection:
        county = await publish_small_county(connection, folder)
        sender = await enrolled_client(connection, hub.url, county.school, folder)
    async with sender:
        await sender.post(*message(county))
    return county


async def _write(pool: Any, stopping: asyncio.Event, seed: int) -> None:
    """Entries in transactions of all lengths, some of which are rolled back."""
    chance = random.Random(seed)
    while not stopping.is_set():
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(APPENDED, chance.randrange(1, 60))
            await connection.fetchval("SELECT pg_sleep($1)", chance.random() * 0.2)
            if chance.random() < 0.2:
                await transaction.rollback()
            else:
                await transaction.commit()


async def _positions(pool: Any) -> int:
    found: int = await pool.fetchval("SELECT count(*) FROM hub.ledger_place")
    return found


async def _reached(pool: Any, goal: int) -> bool:
    return await _positions(pool) >= goal


async def _all_signed(pool: Any) -> bool:
    found: bool = await pool.fetchval(
        "SELECT (SELECT count(*) FROM hub.ledger_entry) = (SELECT max(size) FROM hub.ledger_head)"
    )
    return found
