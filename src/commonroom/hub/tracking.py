"""Tracking: what became of messages, for their senders, their recipients, and in numbers for the operator.

Envelopes only; bodies are never read here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commonroom.exchange import DeliveryState, Tracking
from commonroom.hub.assurance import shortfall
from commonroom.hub.routing import join_movements

MAX_STORIES = 500
TRAFFIC_HOURS = 72
NEWEST = 1_000_000  # messages among which `in_trouble` looks for what has failed
ENDED = ("acknowledged", "refused", "expired", "undeliverable")


class DeliveryStory(msgspec.Struct, frozen=True, kw_only=True):
    """The copy for one recipient."""

    recipient: str  # party urn
    recipient_name: str
    movement: str
    state: str  # offered, leased, acknowledged, refused, expired, undeliverable
    at: datetime  # since when it is in this state, domain time
    attempt: int
    reason: str | None
    leased_at: datetime | None = None  # the newest time it was handed out, domain clock
    replays: int = (
        0  # how often the recipient has asked for it again; `state` stays the end that was reported
    )
    held: str | None = None  # why it is not handed out at the moment


class MessageStory(msgspec.Struct, frozen=True, kw_only=True):
    """One message and the fate of its copies; a recipient sees only its own copy."""

    id: str  # the hub's
    ce_id: str  # the sender's
    position: int  # newest first: pass the last one as `before` for the next page
    type: str
    sender: str  # party urn
    sender_name: str
    accepted_at: datetime  # domain time
    size: int  # bytes of the body
    deliveries: tuple[DeliveryStory, ...]


class SeenEndPoint(msgspec.Struct, frozen=True):
    """An end point that has used this hub."""

    end_point: str  # UUID
    party: str
    party_name: str
    seen_at: datetime  # real time, exact to a few seconds


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """The hub's traffic in numbers."""

    messages: int
    acknowledged: int  # messages that every recipient has acknowledged
    deliveries: dict[str, int]  # by state
    types: dict[str, int]  # messages by type
    hours: dict[datetime, int]  # messages by hour of acceptance, the last TRAFFIC_HOURS of the domain clock
    oldest_waiting: datetime | None  # acceptance of the oldest message with an unfinished delivery
    end_points: tuple[SeenEndPoint, ...]  # last seen first, at most 1,000
    reports: int = 0  # that wait for their senders; in none of the other numbers


# `position > 0`, and a branch each for what waits and what is finished, as the indexes are (0017_accept.sql).
_POSITIONS = """
(
    SELECT position FROM hub.message
    WHERE source = $1 AND position > 0 AND position < $2 ORDER BY position DESC LIMIT $3
)
UNION
(
    SELECT message FROM hub.delivery
    WHERE recipient = $1 AND message < $2 AND finished_at IS NULL ORDER BY message DESC LIMIT $3
)
UNION
(
    SELECT message FROM hub.delivery
    WHERE recipient = $1 AND message < $2 AND finished_at IS NOT NULL ORDER BY message DESC LIMIT $3
)
ORDER BY position DESC LIMIT $3
"""

_STORIES = """
SELECT m.position, m.id, m.ce_id, m.type, m.source, m.size, m.accepted_at, sp.name AS sender_name,
    d.recipient, d.movement, coalesce(d.ended_state, d.state) AS state, d.attempt, d.leased_at, d.replays,
    CASE WHEN d.ended_state IS NULL THEN d.reason ELSE d.ended_reason END AS reason,
    coalesce(d.ended_at, d.finished_at) AS finished_at, rp.name AS recipient_name,
    d.finished_at IS NULL AND d.needs > coalesce(a.rank, 0) AS held, a.rank, d.needs
FROM hub.message m
JOIN hub.delivery d ON d.message = m.position
LEFT JOIN hub.party sp ON sp.urn = m.source
LEFT JOIN hub.party rp ON rp.urn = d.recipient
LEFT JOIN LATERAL (SELECT max(e.rank) AS rank FROM hub.valid_evidence e WHERE e.party = d.recipient) a ON true
WHERE m.position = ANY($1::bigint[]) AND ($2::text IS NULL OR m.source = $2 OR d.recipient = $2)
ORDER BY m.position DESC, d.id
"""

_NEWEST = "SELECT position FROM hub.message WHERE position < $1 ORDER BY position DESC LIMIT $2"
_BY_ID = "SELECT position FROM hub.message WHERE id = $1"
_UNFINISHED = "SELECT count(*) FROM hub.delivery WHERE finished_at IS NULL"
_MESSAGES = "SELECT count(*) FROM hub.message"
_REPORTS = "SELECT count(*) FROM hub.report"
_ACKNOWLEDGED = """
SELECT count(*) FROM hub.message AS m
WHERE NOT EXISTS (
    SELECT FROM hub.delivery AS d
    WHERE d.message = m.position AND coalesce(d.ended_state, d.state) <> 'acknowledged'
)
"""
_BY_STATE = "SELECT state, count(*) AS number FROM hub.delivery GROUP BY state ORDER BY state"
_BY_TYPE = (
    "SELECT type, count(*) AS number FROM hub.message GROUP BY type ORDER BY number DESC, type LIMIT 100"
)
_BY_HOUR = """
SELECT date_trunc('hour', accepted_at) AS hour, count(*) AS number
FROM hub.message
WHERE accepted_at > engines.domain_now() - make_interval(hours => $1)
GROUP BY hour ORDER BY hour
"""
_OLDEST = """
SELECT m.accepted_at
FROM hub.message m
WHERE m.position = (SELECT min(message) FROM hub.delivery WHERE finished_at IS NULL)
"""
_SEEN = """
SELECT s.end_point, s.party, coalesce(p.name, s.party) AS party_name, s.seen_at
FROM hub.end_point_seen s LEFT JOIN hub.party p ON p.urn = s.party
ORDER BY s.seen_at DESC LIMIT 1000
"""

# Held is looked for among what waits, by its index (0017_accept.sql), and each party's rank is worked out once. What has
# ended without success has no index, for it would cost every acknowledgement: it is looked for among the newest messages.
_IN_TROUBLE = """
WITH held AS MATERIALIZED (
    SELECT d.message FROM hub.delivery d
    LEFT JOIN hub.assured_party a ON a.party = d.recipient
    WHERE d.finished_at IS NULL AND d.needs > coalesce(a.rank, 0)
)
(
    SELECT message FROM held ORDER BY message DESC LIMIT $1
)
UNION
(
    SELECT d.message FROM hub.delivery d
    WHERE d.state IN ('refused', 'expired', 'undeliverable')
        AND d.message > (SELECT max(position) FROM hub.message) - $2::bigint
    ORDER BY d.message DESC LIMIT $1
)
ORDER BY message DESC LIMIT $1
"""

_END = 2**63 - 1


async def messages_of(
    connection: Any, party: str | None, limit: int = 50, before: int | None = None
) -> list[MessageStory]:
    """What a party (urn) sent and received, newest first; None: of everybody, for operators.

    Pages with `before`, a position; at most MAX_STORIES. A message that both was sent and received is there once.
    """
    arguments = (before or _END, min(limit, MAX_STORIES))
    query = (_NEWEST, *arguments) if party is None else (_POSITIONS, party, *arguments)
    positions = [row["position"] for row in await connection.fetch(*query)]
    return _stories(await connection.fetch(_STORIES, positions, party))


async def in_trouble(connection: Any, limit: int = 100) -> list[MessageStory]:
    """Messages of which a copy is held or has ended without success, newest first; for operators.

    What has ended so among the newest NEWEST messages: a look, not a search.
    """
    rows = await connection.fetch(_IN_TROUBLE, min(limit, MAX_STORIES), NEWEST)
    positions = [row["message"] for row in rows]
    return _stories(await connection.fetch(_STORIES, positions, None))


async def track(connection: Any, message: str, party: str) -> Tracking | None:
    """One message by the hub's id, for its sender or a recipient; None for everybody else, as if there were none."""
    try:
        position = await connection.fetchval(_BY_ID, UUID(message))
    except ValueError:
        return None
    stories = _stories(await connection.fetch(_STORIES, [position] if position is not None else [], party))
    return _tracking(stories[0]) if stories else None


async def traffic(connection: Any) -> Traffic:
    """Counts over everything the hub remembers. Reads whole indexes: for a page now and then, not for every request."""
    return Traffic(
        messages=await connection.fetchval(_MESSAGES),
        acknowledged=await connection.fetchval(_ACKNOWLEDGED),
        deliveries={row["state"]: row["number"] for row in await connection.fetch(_BY_STATE)},
        types={row["type"]: row["number"] for row in await connection.fetch(_BY_TYPE)},
        hours={row["hour"]: row["number"] for row in await connection.fetch(_BY_HOUR, TRAFFIC_HOURS)},
        oldest_waiting=await connection.fetchval(_OLDEST),
        reports=await connection.fetchval(_REPORTS),
        end_points=tuple(SeenEndPoint(**row) for row in await connection.fetch(_SEEN)),
    )


async def messages(connection: Any) -> int:
    """How many messages the hub has accepted."""
    count: int = await connection.fetchval(_MESSAGES)
    return count


async def unfinished(connection: Any) -> int:
    """How many deliveries have no terminal state yet; reports are none, whether taken or not."""
    count: int = await connection.fetchval(_UNFINISHED)
    return count


def _stories(rows: list[Any]) -> list[MessageStory]:
    by_position: dict[int, list[Any]] = {}
    for row in rows:
        by_position.setdefault(row["position"], []).append(row)
    return [_story(copies) for copies in by_position.values()]


def _story(copies: list[Any]) -> MessageStory:
    first = copies[0]
    return MessageStory(
        id=str(first["id"]),
        ce_id=first["ce_id"],
        position=first["position"],
        type=first["type"],
        sender=first["source"],
        sender_name=first["sender_name"] or first["source"],
        accepted_at=first["accepted_at"],
        size=first["size"],
        deliveries=tuple(_delivery(copy) for copy in copies),
    )


def _delivery(copy: Any) -> DeliveryStory:
    return DeliveryStory(
        recipient=copy["recipient"],
        recipient_name=copy["recipient_name"] or copy["recipient"],
        movement=copy["movement"],
        state=copy["state"],
        at=copy["finished_at"] or (copy["leased_at"] if copy["state"] == "leased" else copy["accepted_at"]),
        attempt=copy["attempt"],
        reason=copy["reason"],
        leased_at=copy["leased_at"],
        replays=copy["replays"],
        held=shortfall(copy["rank"], copy["needs"]) if copy["held"] else None,
    )


def _tracking(story: MessageStory) -> Tracking:
    return Tracking(
        message=story.id,
        id=story.ce_id,
        source=story.sender,
        type=story.type,
        movement=join_movements(delivery.movement for delivery in story.deliveries),
        position=story.position,
        accepted_at=story.accepted_at,
        size=story.size,
        deliveries=[
            DeliveryState(
                recipient=delivery.recipient,
                state=delivery.state,
                at=delivery.at,
                attempt=delivery.attempt,
                reason=delivery.reason,
                offered_at=story.accepted_at,
                leased_at=delivery.leased_at,
                finished_at=delivery.at if delivery.state in ENDED else None,
                replays=delivery.replays,
                held=delivery.held,
            )
            for delivery in story.deliveries
        ],
    )
