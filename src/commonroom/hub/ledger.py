"""The ledger: what happened to each message, as rows that are only ever appended.

Entries are written by the statement that does the thing, so there is never one without the other: other modules put
APPEND or APPEND_GROUP into their statements. Nobody updates or deletes here. What the traffic is made of (accepted,
leased, acknowledged, refused) is written as groups, one row for all that a statement does; the rest entry by entry.
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

# A part of a statement: the number of the group it writes, which is also put into the rows that the entries are about.
OPENED = "opened AS MATERIALIZED (SELECT nextval('hub.ledger_entry_seq') AS number)"
OPEN_GROUP = "(SELECT number FROM opened)"
# To be followed by a SELECT of these columns, the first of them OPEN_GROUP.
APPEND_GROUP = "INSERT INTO hub.ledger_group (number, event, entries, messages, parties, party_of, reasons)"
NEXT_ENTRY = "nextval('hub.ledger_entry_seq')"


class Entry(msgspec.Struct, frozen=True):
    """One event."""

    entry: int  # running number, rising with time within one hub process
    at: datetime  # real time
    event: str
    message: int  # the message's position
    party: str  # who did it: the sender of `accepted`, the recipient of everything else
    reason: str | None


_OF_MESSAGE = """
SELECT entry, at, event, message, party, reason FROM hub.ledger WHERE message = $1
UNION ALL
SELECT e.entry, e.at, e.event, m.position, e.party, e.reason
FROM hub.message m
JOIN hub.ledger_group_entry e ON e.message_id = m.id AND e.ledger_group = ANY (
    m.ledger_group || ARRAY(SELECT unnest(d.ledger_groups) FROM hub.delivery d WHERE d.message = m.position)
)
WHERE m.position = $1
ORDER BY entry
"""


async def entries_of(connection: Any, position: int) -> list[Entry]:
    """All that happened to the message at this position, in order."""
    return [Entry(**row) for row in await connection.fetch(_OF_MESSAGE, position)]
