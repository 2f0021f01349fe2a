"""Delivery windows: outside them nothing is handed out, inside them everything, on the days the clocks change too."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.hub.calendars import publish_calendar
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.schedule import Schedule
from commonroom.hub.windows import Windows, list_windows, set_window
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.hub_server import message, publish_small_county
from tests.unit.hub.conftest import Town
from tests.waiting import until_async

NIGHT = Schedule(cron="30 0 * * *", open_minutes=120)  # half past midnight to half past two, on the wall
TERM = Schedule(cron="0 9 * * mon-fri", open_minutes=60, calendar="term days")


@pytest.fixture
async def windows(settings: Settings, pool: Any, tmp_path: Path) -> Windows:
    async with pool.acquire() as connection:
        await publish_small_county(connection, tmp_path)
    return Windows(Doorbell(settings))


@pytest.mark.parametrize(
    ("moment", "shut"),
    [
        # 29 March 2026: at 01:00 UTC the clock goes from 01:00 to 02:00. The window is 00:30 to 02:30 on the wall.
        ("2026-03-29T00:29:59", True),
        ("2026-03-29T00:30:00", False),
        ("2026-03-29T01:29:59", False),
        ("2026-03-29T01:30:00", True),
        ("2026-03-29T23:30:00", False),  # the next night, already in summer time
        # 25 October 2026: at 01:00 UTC the clock goes from 02:00 to 01:00. The night is an hour longer.
        ("2026-10-24T23:29:59", True),
        ("2026-10-24T23:30:00", False),
        ("2026-10-25T01:30:00", False),
        ("2026-10-25T02:29:59", False),
        ("2026-10-25T02:30:00", True),
        ("2026-10-26T00:29:59", True),
        ("2026-10-26T00:30:00", False),
    ],
)
async def test_a_window_is_right_on_both_days_of_the_clock_change(
    windows: Windows, settings: Settings, pool: Any, moment: str, shut: bool
) -> None:
    async with pool.acquire() as connection:
        await set_window(connection, "attendance", NIGHT)
        await clock.set_to(connection, settings, datetime.fromisoformat(moment).replace(tzinfo=UTC))
        if moment.endswith("59"):
            await connection.execute("UPDATE engines.domain_clock SET ahead = ahead - interval '30 seconds'")
        await windows.look(connection)
    assert windows.closed == (["attendance"] if shut else [])


async def test_a_window_on_a_calendar_opens_on_its_days_alone(
    windows: Windows, settings: Settings, pool: Any
) -> None:
    async with pool.acquire() as connection:
        await set_window(connection, "attendance", TERM)
        closed = []
        for day in (9, 10):  # Monday, Tuesday
            await clock.set_to(connection, settings, datetime(2026, 3, day, 9, 30, tzinfo=UTC))
            await windows.look(connection)
            closed.append(windows.closed)
            await publish_calendar(connection, "term days", [date(2026, 3, 10)])
        [listed] = await list_windows(connection)
    assert closed == [["attendance"], []]
    assert (listed.open, listed.next_open) == (True, None)


async def test_a_window_is_for_a_movement_that_there_is_and_can_be_taken_away(
    windows: Windows, pool: Any
) -> None:
    async with pool.acquire() as connection:
        with pytest.raises(Problem, match="CR-154"):
            await set_window(connection, "unknown", TERM)
        await set_window(connection, "attendance", TERM)
        await windows.look(connection)
        assert windows.closed == ["attendance"]
        await set_window(connection, "attendance", None)
        await windows.look(connection)
        assert windows.closed == []


async def test_outside_the_window_a_letter_waits_and_when_it_opens_whoever_waits_gets_it(town: Town) -> None:
    async with town.pool.acquire() as connection:
        await clock.set_to(connection, town.settings, datetime(2026, 3, 10, 12, 0, tzinfo=UTC))
        await set_window(connection, "attendance", Schedule(cron="0 18 * * *", open_minutes=60))

    async def shut() -> bool:
        await town.school.post(*message(town.county))
        return await town.warehouse.pull(10, 0) == []

    await until_async(shut, 10, "the hub having seen the window")
    waiting = asyncio.create_task(town.warehouse.pull(10, 20))
    async with town.pool.acquire() as connection:
        await clock.set_to(connection, town.settings, datetime(2026, 3, 10, 18, 0, tzinfo=UTC))
    [letter] = await waiting
    assert letter.attempt == 1
