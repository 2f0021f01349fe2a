"""Two hub processes on one database are one hub."""

from __future__ import annotations

import asyncio

import httpx2

from commonroom.exchange import Client
from commonroom.hub import doorbell, load_movements
from commonroom.problems import Problem
from tests.hub_server import MOVEMENTS, enrolled_client, hub_here, message
from tests.unit.hub.conftest import Town
from tests.waiting import until_async


async def test_mail_posted_at_one_hub_wakes_who_waits_at_the_other(town: Town) -> None:
    async with hub_here(town.settings) as second:
        async with town.pool.acquire() as connection:
            reader = await enrolled_client(connection, second.hub_url, town.county.warehouse, town.folder)
        async with reader, httpx2.AsyncClient(base_url=second.hub_url) as http:
            waiting = asyncio.create_task(reader.pull(10, 30))

            async def waits() -> bool:
                return "hub_waiting_polls 1.0" in (await http.get("/metrics")).text

            await until_async(waits, 5, "the poll waiting at the second hub")
            await town.school.post(*message(town.county))
            # Sooner than it would look by itself.
            letters = await asyncio.wait_for(waiting, doorbell.CALM_SECONDS / 2)
            assert len(letters) == 1


async def test_a_movement_ended_at_one_hub_is_ended_at_the_other_at_once(town: Town) -> None:
    async with hub_here(town.settings) as second:
        async with town.pool.acquire() as connection:
            sender: Client = await enrolled_client(
                connection, second.hub_url, town.county.school, town.folder
            )
        async with sender:
            await sender.post(*message(town.county))
            file = town.folder / "ended.yaml"
            file.write_text(
                MOVEMENTS.replace("2020-01-01\n", "2020-01-01\n    active_to: 2020-02-01\n", 1), "utf-8"
            )
            await load_movements(town.pool, file)
            refusals = []
            for client in (sender, town.school):
                try:
                    await client.post(*message(town.county))
                except Problem as problem:
                    refusals.append(problem.code)
            assert refusals == ["CR-042", "CR-042"]
