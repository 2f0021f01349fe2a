"""Calendars: named sets of days that schedules may ask for. What a day means is the publisher's business."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

# Replaced whole; a calendar published again unchanged writes nothing.
_PUBLISH = """
WITH given AS (
    SELECT DISTINCT day FROM unnest($2::date[]) AS day
), gone AS (
    DELETE FROM hub.calendar c WHERE c.name = $1 AND c.day NOT IN (SELECT day FROM given) RETURNING 1
), come AS (
    INSERT INTO hub.calendar (name, day) SELECT $1, day FROM given ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM come)
"""

_DAYS = "SELECT day FROM hub.calendar WHERE name = $1"


async def publish_calendar(connection: Any, name: str, days: Iterable[date]) -> int:
    """Say which days a calendar has, all of them; how many days came or went."""
    changed: int = await connection.fetchval(_PUBLISH, name, list(days))
    return changed


async def calendar_days(connection: Any, name: str) -> frozenset[date]:
    """The days of a calendar; none when nobody has published it."""
    return frozenset(row["day"] for row in await connection.fetch(_DAYS, name))
