"""Two hub processes on one database are one hub."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from commonroom.exchange import Client, Receipt
from commonroom.hub import doorbell, load_movements
from commonroom.hub.server import listeners
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.supervisor import hold_shared_port, hubs
from tests.hub_server import (
    MOVEMENTS,
    HubProcess,
    enrolled_client,
    free_port,
    hub_here,
    message,
    publish_small_county,
)
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


async def test_two_hub_processes_share_one_port_and_one_goes_on_when_the_other_is_killed(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    shared = msgspec.structs.replace(settings, hub_processes=2)
    assert [child.name for child in hubs(shared)] == ["hub", "hub-2"]
    port = free_port()
    with ExitStack() as running:
        first, second = (HubProcess(shared, port) for _ in range(2))
        for hub in (first, second):
            running.enter_context(hub)
        async with pool.acquire() as connection:
            county = await publish_small_county(connection, tmp_path)
            school = await enrolled_client(connection, first.url, county.school, tmp_path)
            authority = await enrolled_client(connection, first.url, county.authority, tmp_path)
        async with school, authority:
            sent = [await school.post(*message(county))]
            # The kernel spreads new connections by chance: that all of 64 meet one process is as good as impossible.
            answered = {await asyncio.to_thread(_answering_process, port) for _ in range(64)}
            assert len(answered) == 2, answered
            first.kill()
            answers = await school.post_batch([message(county) for _ in range(20)])
            sent += [answer for answer in answers if isinstance(answer, Receipt)]
            letters = await authority.pull(100, 5)
            assert {letter.position for letter in letters} == {receipt.position for receipt in sent}
            assert len(sent) == 21


def test_a_process_that_shares_its_port_does_not_listen_before_it_is_ready(settings: Settings) -> None:
    shared = msgspec.structs.replace(settings, hub_processes=2, hub_port=free_port())
    with ExitStack() as bound:
        for _ in range(2):
            for listener in listeners(shared) or ():
                bound.enter_context(listener)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((shared.bind, shared.hub_port), timeout=5)


def test_another_data_folder_cannot_share_the_port(settings: Settings) -> None:
    shared = msgspec.structs.replace(settings, hub_processes=2, hub_port=free_port())
    hold_shared_port(shared)
    with pytest.raises(Problem, match="another commonroom has the port"):
        hold_shared_port(shared)


def _answering_process(port: int) -> str:
    """The number of the process that takes a new connection."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode("utf-8").splitlines()
    return next(line for line in lines if line.startswith("hub_process_id "))
