"""The domain clock: the day it is for windows, deadlines, retention and known time.

In production it is the real clock. In the demo and the sandbox it can be set, and then runs on from there. In SQL use
`engines.domain_now()`, never `now()`. Leases, tokens and time-outs use the real clock.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from commonroom.problems import Problem
from commonroom.settings import Settings

ENGLAND = ZoneInfo("Europe/London")  # school dates and agreements follow its days

_NOW = "SELECT engines.domain_now()"
_SET = "UPDATE engines.domain_clock SET ahead = $1::timestamptz - clock_timestamp()"


async def now(connection: Any) -> datetime:
    """The domain clock's time, in UTC."""
    moment: datetime = await connection.fetchval(_NOW)
    return moment


async def today(connection: Any) -> date:
    """The domain clock's day in England."""
    return day_of(await now(connection))


def day_of(moment: datetime) -> date:
    """The day it is in England at this moment."""
    return moment.astimezone(ENGLAND).date()


async def set_to(connection: Any, settings: Settings, moment: datetime) -> None:
    """Set the domain clock (demo and sandbox only); it runs on from `moment`, which must carry its zone."""
    if settings.mode == "production":
        raise Problem("CR-006", "the domain clock of a production system cannot be set", status=403)
    await connection.execute(_SET, moment)
