"""The domain clock can be set in a demo, runs on from there, and stays the real one in production."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from commonroom.engines import clock
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.conftest import settings_with


async def test_it_is_the_real_clock_until_it_is_set(pool: asyncpg.Pool) -> None:
    assert abs(await clock.now(pool) - datetime.now(UTC)) < timedelta(seconds=5)


async def test_it_runs_on_from_where_it_was_set(settings: Settings, pool: asyncpg.Pool) -> None:
    moment = datetime(2031, 3, 30, 0, 59, tzinfo=UTC)
    await clock.set_to(pool, settings, moment)
    first = await clock.now(pool)
    assert timedelta(0) <= first - moment < timedelta(seconds=5)
    assert await clock.now(pool) > first


async def test_a_production_clock_cannot_be_set(settings: Settings, pool: asyncpg.Pool) -> None:
    with pytest.raises(Problem, match="cannot be set"):
        await clock.set_to(pool, settings_with(settings, mode="production"), datetime(2031, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [("2026-07-01T23:30+00:00", "2026-07-02"), ("2026-01-01T23:30+00:00", "2026-01-01")],
)
def test_half_past_eleven_of_utc_is_tomorrow_in_summer(moment: str, expected: str) -> None:
    assert clock.day_of(datetime.fromisoformat(moment)) == date.fromisoformat(expected)
