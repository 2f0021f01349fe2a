"""The ledger: what happened to each message, as rows that are only ever appended.

Entries are written by the statement that does the thing, so there is never one without the other: other modules put
APPEND into their statements. Nobody updates or deletes here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

ACCEPTED = "accepted"
LEASED = "leased"
ACKNOWLEDGED = "acknowledged"
REFUSED = "refused"
RELEASED = "released"
EXPIRED = "expired"
UNDELIVERABLE = "undeliverable"

# To be followed by a SELECT of these five columns.
APPEND = "INSERT INTO hub.ledger (event, message, party, digest, reason)"


class Entry(msgspec.Struct, frozen=True):
    """One event."""

    entry: int  # running number, rising with time within one hub process
    at: datetime  # real time
    event: str
    message: int  # the message's position
    party: str  # who did it: the sender of `accepted`, the recipient of everything else
    reason: str | None


_OF_MESSAGE = (
    "SELECT entry, at, event, message, party, reason FROM hub.ledger WHERE message = $1 ORDER BY entry"
)


async def entries_of(connection: Any, position: int) -> list[Entry]:
    """All that happened to the message at this position, in order."""
    return [Entry(**row) for row in await connection.fetch(_OF_MESSAGE, position)]
