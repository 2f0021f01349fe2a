"""A small county with a running hub."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom.exchange import Client
from commonroom.settings import Settings
from tests.hub_server import SmallCounty, enrolled_client, hub_here, publish_small_county

MEMBERS = ("school", "other_school", "authority", "warehouse")


class Town(msgspec.Struct, frozen=True, kw_only=True):
    """A hub, its county, and the end points of some of its parties."""

    settings: Settings
    pool: Any
    county: SmallCounty
    folder: Path
    school: Client
    other_school: Client
    authority: Client
    warehouse: Client

    @property
    def url(self) -> str:
        """The hub's address."""
        return self.settings.hub_url


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    """What the hub of `town` runs with; test modules may override it."""
    return settings


@pytest.fixture
async def town(hub_settings: Settings, pool: Any, tmp_path: Path) -> AsyncIterator[Town]:
    """The small county with a hub in this event loop."""
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(hub_here(hub_settings))
        async with pool.acquire() as connection:
            county = await publish_small_county(connection, tmp_path)
            clients = {
                name: await enrolled_client(connection, served.hub_url, getattr(county, name), tmp_path)
                for name in MEMBERS
            }
        for client in clients.values():
            stack.push_async_callback(client.aclose)
        yield Town(settings=served, pool=pool, county=county, folder=tmp_path, **clients)
