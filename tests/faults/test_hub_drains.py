"""A hub told to stop lets nobody wait in vain, and one whose senders vanish goes on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx2

from commonroom.exchange import Receipt
from commonroom.settings import Settings
from tests.hub_server import HubProcess, enrolled_client, message, publish_small_county
from tests.signing import signed
from tests.waiting import until_async


async def test_a_hub_told_to_stop_answers_waiting_polls_and_keeps_what_it_accepted(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    with HubProcess(settings) as hub:
        async with pool.acquire() as connection:
            county = await publish_small_county(connection, tmp_path)
            school = await enrolled_client(connection, hub.url, county.school, tmp_path)
            trust = await enrolled_client(connection, hub.url, county.trust, tmp_path)
        async with school, trust, httpx2.AsyncClient(base_url=hub.url) as http:
            waiting = asyncio.create_task(trust.pull(10, 50))

            async def waits() -> bool:
                return "hub_waiting_polls 1.0" in (await http.get("/metrics")).text

            await until_async(waits, 10, "the poll waiting")
            posted = await school.post_batch([message(county) for _ in range(100)])
            began = time.monotonic()
            await asyncio.to_thread(hub.stop)
            assert await asyncio.wait_for(waiting, 5) == []
            assert time.monotonic() - began < 10
        receipts = [receipt.message for receipt in posted if isinstance(receipt, Receipt)]
        stored = {row["id"] for row in await pool.fetch("SELECT id::text FROM hub.message")}
        assert len(receipts) == 100
        assert stored == set(receipts)


async def test_a_sender_that_vanishes_in_the_middle_of_a_body_leaves_nothing_behind(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    with HubProcess(settings) as hub:
        async with pool.acquire() as connection:
            county = await publish_small_county(connection, tmp_path)
            school = await enrolled_client(connection, hub.url, county.school, tmp_path)
        async with school:
            receipt = await school.post(*message(county))
            envelope, _ = message(county)
            token = await school._current_token()
            headers = {**signed(school, envelope, b"").to_headers(), "authorization": f"Bearer {token}"}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            _, writer = await asyncio.open_connection("127.0.0.1", hub.settings.hub_port)
            writer.write(
                f"POST /messages HTTP/1.1\r\nhost: hub\r\n{lines}content-length: 1000\r\n\r\nhalf".encode()
            )
            await writer.drain()
            writer.close()

            async def noticed() -> bool:
                async with httpx2.AsyncClient(base_url=hub.url) as http:
                    return 'hub_problems_total{code="CR-050"} 1.0' in (await http.get("/metrics")).text

            await until_async(noticed, 10, "the hub noticing")
            assert hub.healthy()
            assert await pool.fetchval("SELECT count(*) FROM hub.message") == 1
            assert (await school.post(*message(county))).position > receipt.position
