"""Lateness: how far movements are behind what was agreed, for the metrics. See `frequency.late_since` for the rule."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from commonroom.hub.calendars import calendar_days
from commonroom.hub.frequency import Frequency, late_since
from commonroom.hub.metrics import Metrics
from commonroom.hub.schedule import Schedule, last_open

LOOK_SECONDS = 60.0

# A version's openings count from its first day on, and none that fell into a suspension of the movement counts.
_AGREED = """
SELECT a.id, a.frequency, engines.domain_now() AS now, greatest(
    a.active_from::timestamp AT TIME ZONE 'Europe/London',
    (SELECT max(s.at) FROM hub.movement_step s WHERE s.movement = a.id AND s.step = 'resumed')
) AS since
FROM hub.active_movement a
WHERE a.frequency ? 'lateness_after'
ORDER BY a.id
"""

# $1 movements, $2 when each was due last (null: not sent by the clock). Of each sender the newest message is looked for
# that is of the movement or older than the opening: the walk through its messages ends there, however many it ever sent.
# Letters that were asked for again (`replays`) are old by nature.
_BEHIND = """
WITH agreed AS (
    SELECT a.id, a.types, a.sender_kind, coalesce(l.party, a.sender_party) AS sender_party, given.due
    FROM unnest($1::text[], $2::timestamptz[]) AS given(id, due)
    JOIN hub.active_movement a ON a.id = given.id
    LEFT JOIN hub.party_alias l ON l.alias = a.sender_party
), missed AS (
    SELECT a.id, count(*) AS senders
    FROM agreed a
    JOIN hub.party p ON p.urn = a.sender_party OR a.sender_kind = ANY(p.kinds)
    LEFT JOIN LATERAL (
        SELECT m.accepted_at FROM hub.message m
        WHERE m.source = p.urn AND m.position > 0 AND (m.type = ANY(a.types) OR m.accepted_at < a.due)
        ORDER BY m.position DESC LIMIT 1
    ) newest ON true
    WHERE a.due IS NOT NULL AND (newest.accepted_at IS NULL OR newest.accepted_at < a.due)
    GROUP BY a.id
), waiting AS (
    SELECT d.movement, min(d.message) AS position
    FROM hub.delivery d
    WHERE d.finished_at IS NULL AND d.replays = 0
    GROUP BY d.movement
)
SELECT a.id, coalesce(missed.senders, 0) AS missed, oldest.accepted_at AS oldest_waiting
FROM agreed a
LEFT JOIN missed ON missed.id = a.id
LEFT JOIN waiting ON waiting.movement = a.id
LEFT JOIN hub.message oldest ON oldest.position = waiting.position
"""


class Late(msgspec.Struct, frozen=True):
    """How one movement does."""

    seconds: float  # since the longest of its delays began; 0 when it is on time
    senders: int  # how many missed their agreed time


class Lateness:
    """One per hub process; looks now and then, for it reads an index of everything unfinished."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._looked_at = -LOOK_SECONDS

    async def look(self, connection: Any) -> None:
        """Measure and show it, unless that was done within LOOK_SECONDS."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        found = await measure(connection)
        # Movements that ended are gone from the page with this; nothing is read between here and the last line.
        self._metrics.lateness.clear()
        self._metrics.late_senders.clear()
        for movement, late in found.items():
            self._metrics.lateness.labels(movement).set(late.seconds)
            self._metrics.late_senders.labels(movement).set(late.senders)


async def measure(connection: Any) -> Mapping[str, Late]:
    """Every active movement with an agreed lateness, by id, as it stands on the domain clock."""
    agreed = [
        (row["id"], msgspec.convert(row["frequency"], Frequency), row["now"], row["since"])
        for row in await connection.fetch(_AGREED)
    ]
    days = await _calendars(connection, [frequency for _, frequency, _, _ in agreed])
    dues = [_due(frequency, now, since, days) for _, frequency, now, since in agreed]
    rows = await connection.fetch(_BEHIND, [each[0] for each in agreed], dues)
    behind = {row["id"]: row for row in rows}
    return {
        movement: _late(frequency, now, behind[movement], days)
        for movement, frequency, now, _ in agreed
        if movement in behind
    }


Calendars = Mapping[str, frozenset[date]]


def _due(frequency: Frequency, now: datetime, since: datetime, days: Calendars) -> datetime | None:
    """The last opening whose grace is over; None when nothing is sent by the clock, or that was before it counted."""
    if frequency.schedule is None or frequency.lateness_after is None:
        return None
    grace = timedelta(minutes=frequency.lateness_after)
    due = last_open(frequency.schedule, now - grace, _days(frequency.schedule, days))
    return due if due is not None and due >= since else None


def _late(frequency: Frequency, now: datetime, row: Any, days: Calendars) -> Late:
    missed = row["missed"]
    found = late_since(
        frequency,
        now,
        oldest_waiting=row["oldest_waiting"],
        last_sent=None if missed else now,
        days=_days(frequency.schedule, days) if frequency.schedule else None,
    )
    return Late((now - found).total_seconds() if found else 0.0, missed)


async def _calendars(connection: Any, frequencies: Sequence[Frequency]) -> Calendars:
    names = {frequency.calendar for frequency in frequencies if frequency.calendar is not None}
    return {name: await calendar_days(connection, name) for name in sorted(names)}


def _days(schedule: Schedule, days: Calendars) -> frozenset[date] | None:
    return days.get(schedule.calendar) if schedule.calendar is not None else None
