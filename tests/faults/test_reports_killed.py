"""kill -9 of the hub while letters are sent, refused and acknowledged: every story still has one end and one report."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from commonroom.exchange import Client, Receipt, Unreachable, read_report
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import HubProcess, enrolled_client, message, publish_small_county
from tests.waiting import until_async

MESSAGES = 200
KILLS = 2
SECONDS = 60.0


class Story:
    """What recipients decided and what the sender was told."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.told: dict[tuple[str, str], str] = {}
        self.numbers: dict[str, set[int]] = {}
        self.stop = asyncio.Event()

    async def receive(self, client: Client, name: str) -> None:
        """Collect and settle by chance, until stopped; losing answers now and then, as clients do."""
        while not self.stop.is_set():
            try:
                letters = await client.pull(10, 1, "letters")
                self.numbers.setdefault(name, set()).update(letter.sequence or 0 for letter in letters)
                refused = [letter.delivery for letter in letters if self.chance.random() < 0.3]
                loaded = [letter.delivery for letter in letters if letter.delivery not in refused]
                if loaded:
                    await client.acknowledge(loaded)
                if refused and self.chance.random() < 0.8:
                    await client.refuse(refused, "By chance.")
            except Unreachable:
                await asyncio.sleep(0.05)

    async def listen(self, client: Client) -> None:
        """Take reports; one that comes twice must say the same."""
        while not self.stop.is_set():
            try:
                letters = await client.pull(50, 1)
                for report in (read_report(letter.body) for letter in letters):
                    told = self.told.setdefault((report.id, report.recipient), report.state)
                    assert told == report.state
                if letters:
                    await client.acknowledge([letter.delivery for letter in letters])
            except Unreachable:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("seed", [5])
async def test_killing_the_hub_leaves_one_report_for_each_message_and_recipient_and_no_gap(
    settings: Settings, pool: Any, tmp_path: Path, seed: int
) -> None:
    story = Story(seed)
    with HubProcess(settings_with(settings, lease_seconds=1)) as hub:
        async with pool.acquire() as connection:
            county = await publish_small_county(connection, tmp_path)
            school, authority, warehouse = [
                await enrolled_client(connection, hub.url, party, tmp_path)
                for party in (county.school, county.authority, county.warehouse)
            ]
        async with school, authority, warehouse, asyncio.TaskGroup() as tasks:
            tasks.create_task(story.receive(authority, "authority"))
            tasks.create_task(story.receive(warehouse, "warehouse"))
            tasks.create_task(story.listen(school))
            sent: set[str] = set()
            kills = 0
            while len(sent) < MESSAGES:
                batch = [message(county) for _ in range(20)]
                while True:
                    try:
                        sent |= {r.id for r in await school.post_batch(batch) if isinstance(r, Receipt)}
                        break
                    except Unreachable:
                        await asyncio.sleep(0.05)
                if kills < KILLS and len(sent) >= (kills + 1) * MESSAGES // (KILLS + 1):
                    print(f"seed {seed} kill {kills + 1}: {len(sent)} sent, {len(story.told)} ends told")
                    await asyncio.to_thread(hub.kill)
                    await asyncio.to_thread(hub.start)
                    kills += 1

            async def all_told() -> bool:
                waiting = await pool.fetchval("SELECT count(*) FROM hub.report")
                return len(story.told) >= 2 * len(sent) and waiting == 0

            await until_async(all_told, SECONDS, "the end of every story being told")
            story.stop.set()
    assert set(story.told) == {(id, one) for id in sent for one in (county.authority, county.warehouse)}
    ends = await pool.fetch(
        "SELECT m.ce_id, d.recipient, d.state FROM hub.delivery d JOIN hub.message m ON m.position = d.message"
    )
    assert {(row["ce_id"], row["recipient"]): row["state"] for row in ends} == story.told
    for party in (county.authority, county.warehouse):
        rows = await pool.fetch("SELECT sequence FROM hub.delivery WHERE recipient = $1", party)
        assert sorted(row["sequence"] for row in rows) == list(range(1, len(sent) + 1))
