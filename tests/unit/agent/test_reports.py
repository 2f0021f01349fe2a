"""What the hub reports back stands beside the letter in the outbox, and nothing of it reaches a store."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import msgspec

from commonroom.agent import outbox
from commonroom.agent.runner import Agent, Shared
from commonroom.agent.status import FILE_NAME, Status
from commonroom.exchange import make_http_client
from commonroom.settings import Settings
from tests.hub_server import enrolled_client, hub_here, publish_small_county
from tests.unit.agent.hub_side import MOVEMENTS, code_for
from tests.unit.agent.school_system import SchoolSystem
from tests.waiting import until_async


async def test_an_agent_without_a_store_learns_how_each_letter_ended_at_each_recipient(
    settings: Settings, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with pool.acquire() as connection:
        county = await publish_small_county(connection, tmp_path, MOVEMENTS)
        code = await code_for(connection, county.school)
    async with hub_here(settings) as served:
        async with pool.acquire() as connection:
            authority = await enrolled_client(connection, served.hub_url, county.authority, tmp_path)
            warehouse = await enrolled_client(connection, served.hub_url, county.warehouse, tmp_path)
        school = SchoolSystem(tmp_path / "school", hub=served.hub_url, code=code)
        school.add_pupils(1)
        async with authority, warehouse, _running(school):
            letters = await warehouse.pull(10, 20)
            while len(letters) < 2:
                letters += await warehouse.pull(10, 20)
            await warehouse.acknowledge([letter.delivery for letter in letters])
            for letter in await authority.pull(10, 20):
                await authority.refuse(letter.delivery, "Our store is full.")

            async def told() -> bool:
                status = msgspec.json.decode((school.config.folder / FILE_NAME).read_bytes(), type=Status)
                return (status.acknowledged, status.refused) == (2, 2)

            await until_async(told, 30, "both ends of both letters in the status")
        remembered = school.memory()
        for line in outbox.listed(remembered):
            fates = {fate.recipient: (fate.state, fate.reason) for fate in line.fates}
            assert fates == {
                county.warehouse: ("acknowledged", None),
                county.authority: ("refused", "Our store is full."),
            }
        remembered.close()
        assert await pool.fetchval("SELECT count(*) FROM hub.report") == 0


class _running:  # noqa: N801 - reads as a word after `async with`
    """An agent of this configuration, running while the context lasts."""

    def __init__(self, school: SchoolSystem) -> None:
        self._school = school

    async def __aenter__(self) -> None:
        self._http = make_http_client(10)
        self._stop = asyncio.Event()
        self._pools = (ThreadPoolExecutor(1), ThreadPoolExecutor(1))
        agent = Agent(self._school.config, Shared(self._http, *self._pools, self._stop))
        self._task = asyncio.create_task(agent.run())

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._task
        await self._http.aclose()
        for pool in self._pools:
            pool.shutdown()
