"""When the hub took messages, and where that stands in its ledger; asked by those who hold what the letters said."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

_ACCEPTED = """
SELECT m.source AS sender, m.ce_id, m.id::text AS id, m.type, m.position, m.accepted_at, l.ledger_position
FROM unnest($1::text[], $2::text[]) AS given(source, ce_id)
JOIN hub.message m ON m.source = given.source AND m.ce_id = given.ce_id
LEFT JOIN LATERAL (
    SELECT t.position AS ledger_position
    FROM hub.ledger e JOIN hub.ledger_leaf t ON t.entry = e.entry
    WHERE e.message = m.position AND e.event = 'accepted'
    UNION ALL
    SELECT t.position + array_position(g.messages, m.id) - 1
    FROM hub.ledger_group g JOIN hub.ledger_leaf_group t ON t.ledger_group = g.number
    WHERE g.number = m.ledger_group
) l ON true
"""
_NAMES = "SELECT urn, name FROM hub.party WHERE urn = ANY($1::text[])"


class Acceptance(msgspec.Struct, frozen=True):
    """What the sender's receipt said of a message, and its place in the tamper-evident ledger since it has one."""

    sender: str  # party urn
    ce_id: str  # the sender's id
    id: str  # the hub's id; GET /messages/{id}/proof proves the entry to its sender
    type: str
    position: int
    accepted_at: datetime
    ledger_position: int | None


async def acceptances(
    connection: Any, messages: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Acceptance]:
    """What the hub knows of messages, each named by sender and the sender's id; by the same."""
    senders, ids = [sender for sender, _ in messages], [one for _, one in messages]
    rows = await connection.fetch(_ACCEPTED, senders, ids)
    return {(row["sender"], row["ce_id"]): Acceptance(**row) for row in rows}


async def names_of(connection: Any, parties: Collection[str]) -> dict[str, str]:
    """The names of parties by urn, of those that the directory has."""
    return {row["urn"]: row["name"] for row in await connection.fetch(_NAMES, list(parties))}
