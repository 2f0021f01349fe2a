"""The platform's own end points enrol once, and enrol anew when they find themselves in another database."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from commonroom.hub.own_end_points import own_end_point
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.hub_server import WAREHOUSE_ALIAS, hub_here, publish_small_county


async def test_it_enrols_once_and_again_only_in_another_database(
    settings: Settings, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with hub_here(settings) as served, pool.acquire() as connection:
        county = await publish_small_county(connection, tmp_path)
        first = await own_end_point(served, connection, "warehouse", WAREHOUSE_ALIAS)
        assert first.party == county.warehouse
        assert await own_end_point(served, connection, "warehouse", WAREHOUSE_ALIAS) == first
        kept = served.folder("keys") / "warehouse.json"
        kept.write_text(kept.read_text().replace(first.end_point, "00000000-0000-7000-8000-000000000000"))
        second = await own_end_point(served, connection, "warehouse", WAREHOUSE_ALIAS)
        assert second.end_point != first.end_point


async def test_it_says_what_is_missing_while_the_directory_does_not_know_the_party(
    settings: Settings, pool: asyncpg.Pool
) -> None:
    async with hub_here(settings) as served, pool.acquire() as connection:
        with pytest.raises(Problem, match="Load the register"):
            await own_end_point(served, connection, "warehouse", WAREHOUSE_ALIAS)
