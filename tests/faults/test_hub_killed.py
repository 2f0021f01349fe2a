"""kill -9 of the hub, and of its database, while messages pour in: what was answered is there, once, bit for bit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom.engines.database import migrate, open_pool
from commonroom.engines.postgres import LocalServer
from commonroom.exchange import Client, Envelope, Letter, Receipt, Unreachable
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import HubProcess, SmallCounty, enrolled_client, message, publish_small_county
from tests.waiting import until, until_async

SENDERS = 6
SECONDS = 40.0


class Load:
    """Senders that each post one message after the other, trying each until it is accepted, until told to stop."""

    def __init__(self, client: Client, county: SmallCounty) -> None:
        self.client = client
        self.county = county
        self.bodies: dict[str, bytes] = {}  # by ce-id: everything that was ever tried
        self.receipts: dict[str, list[Receipt]] = {}
        self.in_flight = 0
        self.tries = 0
        self._stopping = False
        self._tasks = [asyncio.create_task(self._send(number)) for number in range(SENDERS)]

    @property
    def accepted(self) -> int:
        """Messages answered 202 so far."""
        return len(self.receipts)

    async def stop(self) -> None:
        """No new messages; those begun are sent until they are accepted."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _send(self, sender: int) -> None:
        random_bytes = random.Random(sender).randbytes
        while not self._stopping:
            messages = [message(self.county, random_bytes(700)) for _ in range(1 + sender % 3 * 5)]
            self.bodies |= {envelope.id: body for envelope, body in messages}
            await self._until_accepted(messages)

    async def _until_accepted(self, messages: list[tuple[Envelope, bytes]]) -> None:
        while True:
            self.in_flight += len(messages)
            self.tries += 1
            try:
                results = await self._post(messages)
            except Unreachable:
                await asyncio.sleep(0.05)
                continue
            finally:
                self.in_flight -= len(messages)
            waiting = [
                m for m, result in zip(messages, results, strict=True) if not isinstance(result, Receipt)
            ]
            for result in results:
                if isinstance(result, Receipt):
                    self.receipts.setdefault(result.id, []).append(result)
            if not waiting:
                return
            messages = waiting

    async def _post(self, messages: list[tuple[Envelope, bytes]]) -> list[Any]:
        if len(messages) == 1:
            return [await self.client.post(*messages[0])]
        return list(await self.client.post_batch(messages))


async def _collect_all(client: Client) -> list[Letter]:
    letters: list[Letter] = []
    while found := await client.pull(500, 0):
        letters += found
        assert not (await client.acknowledge([letter.delivery for letter in found])).ignored
    return letters


async def _check(pool: Any, load: Load, letters: list[Letter]) -> None:
    """Every message that was tried is there exactly once, with the receipt and the body its sender knows."""
    rows = await pool.fetch("SELECT ce_id, id::text, position FROM hub.message")
    assert sorted(row["ce_id"] for row in rows) == sorted(load.bodies)
    stored = {row["ce_id"]: (row["id"], row["position"]) for row in rows}
    for ce_id, receipts in load.receipts.items():
        assert {(receipt.message, receipt.position) for receipt in receipts} == {stored[ce_id]}
    assert sorted(letter.envelope.id for letter in letters) == sorted(load.bodies)
    assert all(load.bodies[letter.envelope.id] == letter.body for letter in letters)
    entries = await pool.fetchval("SELECT count(*) FROM hub.ledger_entry WHERE event = 'accepted'")
    assert entries == len(load.bodies)
    assert await pool.fetchval("SELECT count(*) FROM hub.delivery") == 2 * len(load.bodies)
    assert await pool.fetchval("SELECT count(*) FROM hub.body") == len(load.bodies)


async def _suffer(load: Load, kill_and_restart: Callable[[], None], seed: int, kills: int) -> None:
    chance = random.Random(seed)
    for number in range(kills):
        goal = load.accepted + chance.randrange(20, 120)
        await until_async(lambda goal=goal: _reached(load, goal), SECONDS, "the load making headway")  # type: ignore[misc]
        in_flight = load.in_flight
        await asyncio.to_thread(kill_and_restart)
        print(
            f"seed {seed} kill {number + 1}: {in_flight} messages in flight, {load.accepted} accepted before"
        )
    goal = load.accepted + 20
    await until_async(lambda: _reached(load, goal), SECONDS, "the load going on after the last kill")
    await load.stop()


async def _reached(load: Load, goal: int) -> bool:
    return load.accepted >= goal


@pytest.mark.parametrize("seed", [1])
async def test_killing_the_hub_under_load_loses_nothing_and_doubles_nothing(
    settings: Settings, pool: Any, tmp_path: Path, seed: int
) -> None:
    with HubProcess(settings_with(settings, lease_seconds=600)) as hub:
        async with pool.acquire() as connection:
            county = await publish_small_county(connection, tmp_path)
            sender = await enrolled_client(connection, hub.url, county.school, tmp_path)
            receiver = await enrolled_client(connection, hub.url, county.warehouse, tmp_path)
        async with sender, receiver:
            load = Load(sender, county)

            def kill_and_restart() -> None:
                hub.kill()
                hub.start()

            await _suffer(load, kill_and_restart, seed, kills=2)
            await _check(pool, load, await _collect_all(receiver))


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[tuple[LocalServer, Settings]]:
    """A database server that may be killed, with fsync, and settings that lead to it."""
    server = LocalServer(tmp_path / "data" / "postgres")
    await asyncio.to_thread(server.start)
    settings = Settings(data=tmp_path / "data")
    await asyncio.to_thread(migrate, settings)
    yield server, settings
    await asyncio.to_thread(server.stop)


async def test_killing_the_database_under_load_loses_nothing_and_the_hub_comes_back_by_itself(
    own_server: tuple[LocalServer, Settings], tmp_path: Path
) -> None:
    server, settings = own_server
    with HubProcess(msgspec.structs.replace(settings, lease_seconds=600)) as hub:
        pool = await open_pool(settings, size=2)
        async with pool.acquire() as connection:
            county = await publish_small_county(connection, tmp_path)
            sender = await enrolled_client(connection, hub.url, county.school, tmp_path)
            receiver = await enrolled_client(connection, hub.url, county.warehouse, tmp_path)
        pool.terminate()
        assert hub.process is not None
        first_process = hub.process.pid
        async with sender, receiver:
            load = Load(sender, county)

            def kill_and_restart() -> None:
                assert server.process is not None
                server.process.kill()
                server.process.wait()
                server.start()

            await _suffer(load, kill_and_restart, seed=7, kills=2)
            await asyncio.to_thread(until, hub.healthy, 30, "a hub that has its database again")
            assert hub.process.pid == first_process
            pool = await open_pool(settings, size=2)
            await _check(pool, load, await _collect_all(receiver))
            pool.terminate()
