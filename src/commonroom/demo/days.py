"""School days that pass: the domain clock moves, then the schools' systems change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import TypeVar

import asyncpg

from commonroom import simulation
from commonroom.engines import clock
from commonroom.engines.database import DATABASE_AWAY
from commonroom.settings import Settings
from commonroom.simulation import DayReport, World
from commonroom.standard import terms
from commonroom.warehouse.schedule import SETTLING, evening_of

T = TypeVar("T")

# Schools send a day after its second register.
SENDING_TIME = time_of_day(15, 30)
EVENING = time_of_day(20)
DATABASE_PATIENCE = 60.0


def eve() -> datetime:
    """The evening before the county's first day: what was known before anything happened."""
    first = date.fromisoformat(simulation.county().first_day)
    return datetime.combine(first - timedelta(days=1), EVENING, clock.ENGLAND)


async def pass_next(pool: asyncpg.Pool, settings: Settings, world: World) -> DayReport | None:
    """Let the next school day pass in every school; None after the last day of the known terms.

    A day that was cut short is passed again first, which leaves the schools that had entered it as they are.
    """
    folder = settings.folder("schools")
    last = await asyncio.to_thread(simulation.last_day, world, folder)
    if last and not terms.school_days(last + timedelta(days=1), terms.covered()[1]):
        return None
    day = simulation.next_school_day(world, last)
    moment = datetime.combine(day, SENDING_TIME, clock.ENGLAND)
    await while_database_returns(lambda: clock.set_to(pool, settings, moment))
    return await asyncio.to_thread(simulation.pass_day, world, folder, day)


async def end_of(pool: asyncpg.Pool, settings: Settings, day: date) -> None:
    """The evening of a day whose letters have all arrived: its figures are released."""
    await while_database_returns(lambda: clock.set_to(pool, settings, evening_of(day) + SETTLING))


async def while_database_returns(action: Callable[[], Awaitable[T]]) -> T:
    """Do it; when the database has gone away, try again until the supervisor has brought it back."""
    deadline = asyncio.get_running_loop().time() + DATABASE_PATIENCE
    while True:
        try:
            return await action()
        except DATABASE_AWAY:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.2)
