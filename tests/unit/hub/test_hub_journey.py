"""A message's journey through a real hub: posted, collected, settled, tracked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from commonroom.exchange import Client
from commonroom.settings import Settings
from tests.hub_server import SmallCounty, enrolled_client, hub_here, message, publish_small_county


class Town:
    """A hub with a school's, an authority's and the warehouse's end points."""

    def __init__(self, settings: Settings, county: SmallCounty, clients: dict[str, Client]) -> None:
        self.settings = settings
        self.county = county
        self.school = clients["school"]
        self.authority = clients["authority"]
        self.warehouse = clients["warehouse"]


@pytest.fixture
async def town(settings: Settings, pool: Any, tmp_path: Path) -> AsyncIterator[Town]:
    async with pool.acquire() as connection, hub_here(settings) as served:
        county = await publish_small_county(connection, tmp_path)
        clients = {
            name: await enrolled_client(connection, served.hub_url, getattr(county, name), tmp_path)
            for name in ("school", "authority", "warehouse")
        }
        yield Town(served, county, clients)
        for client in clients.values():
            await client.aclose()


async def test_a_letter_reaches_each_recipient_bit_for_bit_and_its_fate_is_told(town: Town) -> None:
    envelope, body = message(town.county, bytes(range(256)))
    receipt = await town.school.post(envelope, body)
    assert receipt.recipients == [town.county.authority, town.county.warehouse]
    [letter] = await town.warehouse.pull(10, 0)
    assert (letter.envelope, letter.body, letter.position, letter.attempt) == (
        envelope,
        body,
        receipt.position,
        1,
    )
    await town.warehouse.acknowledge([letter.delivery])
    tracking = await town.school.track(receipt.message)
    states = {delivery.recipient: delivery.state for delivery in tracking.deliveries}
    assert states == {town.county.authority: "offered", town.county.warehouse: "acknowledged"}
