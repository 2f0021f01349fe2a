"""Delivery windows: movements that are handed out, pulled or pushed, at certain times alone.

Windows follow the domain clock. Each process looks at them every second and keeps the list of movements whose window is
shut, which is nearly always empty; the mailbox leaves these movements out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from commonroom.hub.calendars import calendar_days
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.schedule import Schedule, is_open, next_open
from commonroom.problems import Problem

LOOK_SECONDS = 1.0

Days = Mapping[str, frozenset[date]]  # by name of calendar


class Window(msgspec.Struct, frozen=True):
    """A movement's window as it stands."""

    movement: str
    schedule: Schedule
    open: bool
    next_open: datetime | None  # UTC; None: never again, as far as the calendar goes


_WINDOWS = "SELECT movement, schedule, engines.domain_now() AS now FROM hub.delivery_window ORDER BY movement"

_SUBSCRIPTIONS = """
SELECT id, delivery_window, engines.domain_now() AS now FROM hub.subscription
WHERE delivery_window IS NOT NULL AND state = 'active'
"""

_SET = """
INSERT INTO hub.delivery_window (movement, schedule)
SELECT DISTINCT id, $2::jsonb FROM hub.movement WHERE id = $1
ON CONFLICT (movement) DO UPDATE SET schedule = excluded.schedule
RETURNING movement
"""

_CLEAR = "DELETE FROM hub.delivery_window WHERE movement = $1"

_WAITING_FOR = """
SELECT DISTINCT recipient FROM hub.delivery WHERE finished_at IS NULL AND movement = ANY($1::text[])
"""


async def set_window(connection: Any, movement: str, schedule: Schedule | None) -> None:
    """Deliver the movement in this window alone; with None, always. Raises Problem CR-154 for an unknown movement."""
    if schedule is None:
        await connection.execute(_CLEAR, movement)
    elif await connection.fetchval(_SET, movement, msgspec.to_builtins(schedule)) is None:
        remedy = "commonroom hub movements list shows them."
        raise Problem(
            "CR-154", f"There is no movement {movement}.", status=404, where="MOVEMENT", remedy=remedy
        )


async def list_windows(connection: Any) -> list[Window]:
    """All windows of movements as they are now (domain clock)."""
    rows = await connection.fetch(_WINDOWS)
    found = [(row["movement"], _schedule(row["schedule"]), row["now"]) for row in rows]
    days = await _calendars(connection, [schedule for _, schedule, _ in found])
    return [
        Window(
            movement,
            schedule,
            is_open(schedule, now, _days(schedule, days)),
            next_open(schedule, now, _days(schedule, days)),
        )
        for movement, schedule, now in found
    ]


class Windows:
    """One per hub process: what is shut at the moment."""

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self.closed: list[str] = []  # movements
        self.closed_subscriptions: list[Any] = []  # their UUIDs

    async def look(self, connection: Any) -> None:
        """Read the windows and the domain clock; ring for those whose letters have just come within reach."""
        movements = [
            (row["movement"], row["schedule"], row["now"]) for row in await connection.fetch(_WINDOWS)
        ]
        subscriptions = [
            (row["id"], row["delivery_window"], row["now"]) for row in await connection.fetch(_SUBSCRIPTIONS)
        ]
        shut = await self._shut(connection, movements)
        self.closed_subscriptions = await self._shut(connection, subscriptions)
        opened = [movement for movement in self.closed if movement not in shut]
        self.closed = shut
        if opened:
            self._doorbell.ring(row["recipient"] for row in await connection.fetch(_WAITING_FOR, opened))

    async def run(self, pool: Any) -> None:
        """Look every second until cancelled."""
        while True:
            async with pool.acquire() as connection:
                await self.look(connection)
            await asyncio.sleep(LOOK_SECONDS)

    async def _shut(self, connection: Any, found: list[tuple[Any, Any, datetime]]) -> list[Any]:
        schedules = [(name, _schedule(declared), now) for name, declared, now in found]
        days = await _calendars(connection, [schedule for _, schedule, _ in schedules])
        return [
            name for name, schedule, now in schedules if not is_open(schedule, now, _days(schedule, days))
        ]


def _schedule(declared: Any) -> Schedule:
    return msgspec.convert(declared, Schedule)


async def _calendars(connection: Any, schedules: list[Schedule]) -> Days:
    names = {schedule.calendar for schedule in schedules if schedule.calendar is not None}
    return {name: await calendar_days(connection, name) for name in sorted(names)}


def _days(schedule: Schedule, days: Days) -> frozenset[date] | None:
    return days.get(schedule.calendar) if schedule.calendar is not None else None
