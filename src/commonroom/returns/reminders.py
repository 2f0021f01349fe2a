"""Reminders: so many days before the deadline, and once after it, to every party whose return is not submitted.

A reminder is noted before it is posted, under a message id that never changes: it reaches its reader once.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec

from commonroom.collections import loader
from commonroom.engines import clock
from commonroom.exchange import Client, Envelope, Refusal
from commonroom.hub.own_end_points import own_end_point
from commonroom.returns import parties
from commonroom.settings import Settings

TYPE = "commonroom.return.reminder"
OVERDUE = "overdue"
# States in which the sender has nothing more to do.
DONE = ("submitted", "amended_by_approver", "approved", "amended_by_collector", "authorised")
BATCH = 200

_COLLECTIONS = "SELECT DISTINCT collection, year FROM returns.return"

_NOTE = """
INSERT INTO returns.reminder (return, kind, message, at)
SELECT r.id, $3, gen_random_uuid(), engines.domain_now()
FROM returns.return r
WHERE r.collection = $1 AND r.year = $2 AND r.state <> ALL ($4::text[])
ON CONFLICT (return, kind) DO NOTHING
RETURNING message
"""

_UNPOSTED = """
SELECT m.message, m.kind, r.collection, r.year, r.party, r.state
FROM returns.reminder m JOIN returns.return r ON r.id = m.return
WHERE NOT m.posted ORDER BY m.at LIMIT $1
"""

_POSTED = "UPDATE returns.reminder SET posted = true WHERE message = ANY ($1::uuid[])"


class Reminder(msgspec.Struct, frozen=True):
    """The body of a reminder: which return, until when, and where it stands."""

    collection: str
    year: int
    deadline: str
    state: str
    kind: str


def due(deadline: date, days: tuple[int, ...], today: date) -> str | None:
    """The reminder whose time it is: the nearest one already reached, never two for one day."""
    if today > deadline:
        return OVERDUE
    reached = [number for number in days if today >= deadline - timedelta(days=number)]
    return f"{min(reached)} days before" if reached else None


async def note(connection: Any) -> int:
    """Note the reminders that are due today; how many are new. Safe to repeat."""
    today, new = await clock.today(connection), 0
    for row in await connection.fetch(_COLLECTIONS):
        collection = loader.load(row["collection"], row["year"])
        if collection.deadline is None:
            continue
        kind = due(collection.deadline, collection.workflow.reminders, today)
        if kind is not None:
            new += len(await connection.fetch(_NOTE, collection.name, collection.year, kind, list(DONE)))
    return new


async def post(settings: Settings, connection: Any) -> int:
    """Post what is noted, as the Department; how many went. What the hub refuses waits for the next time."""
    rows = await connection.fetch(_UNPOSTED, BATCH)
    if not rows:
        return 0
    me = await own_end_point(settings, connection, "returns", parties.DEPARTMENT)
    async with Client(settings.hub_url, me.key_file, me.end_point) as client:
        fates = await client.post_batch([_message(row, me.party) for row in rows])
    sent = [row["message"] for row, fate in zip(rows, fates, strict=True) if not isinstance(fate, Refusal)]
    await connection.execute(_POSTED, sent)
    return len(sent)


async def remind(settings: Settings, connection: Any) -> None:
    """The recurring job: note what is due. The returns desk posts it."""
    await note(connection)


def _message(row: Any, department: str) -> tuple[Envelope, bytes]:
    deadline = loader.load(row["collection"], row["year"]).deadline
    body = Reminder(row["collection"], row["year"], str(deadline), row["state"], row["kind"])
    envelope = Envelope(
        id=str(row["message"]),
        source=department,
        type=TYPE,
        recipient=row["party"],
        subject=f"{row['collection']}/{row['year']}",
        datacontenttype="application/json",
        dataclassification="internal",
    )
    return envelope, msgspec.json.encode(body)
