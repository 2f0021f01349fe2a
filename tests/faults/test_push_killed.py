"""kill -9 of a hub while its pushes are on the way: every letter reaches the receiver, and is acknowledged once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
from aiohttp import web

from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import HubProcess, enrolled_client, message, publish_small_county
from tests.waiting import until_async

LETTERS = 20


class SlowReceiver:
    """Takes letters and answers none until told to; then all at once."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.answering = False

    async def answer(self, request: web.Request) -> web.Response:
        """The aiohttp handler."""
        if request.method == "OPTIONS":
            return web.Response(headers={"WebHook-Allowed-Origin": "*"})
        self.taken.append(request.headers["webhook-id"])
        await request.read()
        while not self.answering:  # noqa: ASYNC110 - a plain flag, read by a server that is cancelled with its client
            await asyncio.sleep(0.02)
        return web.Response(status=204)


async def test_a_hub_killed_in_the_middle_of_its_pushes_loses_none_and_another_takes_over(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    receiver = SlowReceiver()
    application = web.Application()
    application.router.add_route("*", "/in", receiver.answer)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/in"
    pushing = settings_with(settings, push_allow_networks="127.0.0.0/8", push_seconds=60.0)
    with HubProcess(pushing) as hub:
        async with pool.acquire() as connection:
            county = await publish_small_county(connection, tmp_path)
            school = await enrolled_client(connection, hub.url, county.school, tmp_path)
            warehouse = await enrolled_client(connection, hub.url, county.warehouse, tmp_path)
        async with school, warehouse:
            token = await warehouse._current_token()
            async with httpx2.AsyncClient() as http:
                made = await http.post(
                    f"{hub.url}/subscriptions",
                    json={"url": url},
                    headers={"Authorization": f"Bearer {token}"},
                )
            assert made.status_code == 201, made.text
            await school.post_batch([message(county) for _ in range(LETTERS)])

            async def on_the_way() -> bool:
                return len(receiver.taken) >= pushing.push_concurrency

            await until_async(on_the_way, 20, "pushes being on the way")
            await asyncio.to_thread(hub.kill)
    first = set(receiver.taken)
    assert len(first) == len(receiver.taken) == pushing.push_concurrency
    # The dead hub's leases are made to end now instead of in a minute.
    await pool.execute("UPDATE hub.delivery SET lease_until = clock_timestamp() WHERE state = 'leased'")
    await pool.execute("UPDATE hub.push SET next_at = clock_timestamp(), in_flight_until = clock_timestamp()")
    receiver.answering = True
    with HubProcess(pushing, hub.settings.hub_port):

        async def settled() -> bool:
            count = await pool.fetchval(
                "SELECT count(*) FROM hub.delivery WHERE recipient = $1 AND state = 'acknowledged'",
                county.warehouse,
            )
            return bool(count == LETTERS)

        await until_async(settled, 30, "every letter being acknowledged")
    assert len(set(receiver.taken)) == LETTERS
    assert len(receiver.taken) == LETTERS + len(first), "only what was on the way came twice"
    await runner.cleanup()
