"""Reports: how the story of each copy of a message ended, told to the end point that sent it.

The row of a report is made by the database with the delivery's end (0010_reports.sql); here it is handed out under a
lease, taken, and forgotten after a time of its own. Reports need no movement, enter no ledger and are never reported on.
They ring no doorbell: a poll that waits finds those of its last seconds together.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from commonroom.exchange.reports import Report

# The end that was reported stands also when the recipient has asked for the letter again since.
# Other end points of the party have letters of their own; those of a revoked one are anybody's of the party.
_LEASE = """
WITH waiting AS (
    SELECT r.party, r.delivery
    FROM hub.report r
    WHERE r.party = $1 AND (r.lease_until IS NULL OR r.lease_until <= clock_timestamp())
        AND (r.end_point = $2 OR r.end_point = ANY (ARRAY(
            SELECT e.id::text FROM identity.end_point e WHERE e.party = $1 AND e.revoked_at IS NOT NULL
        )))
    ORDER BY r.delivery
    LIMIT $3
    FOR UPDATE OF r SKIP LOCKED
), leased AS (
    UPDATE hub.report r
    SET lease_holder = $2, attempt = r.attempt + 1, lease_until = clock_timestamp() + make_interval(secs => $4)
    FROM waiting w
    WHERE r.party = w.party AND r.delivery = w.delivery
    RETURNING r.delivery, r.attempt
)
SELECT l.delivery, l.attempt AS handed_out, m.id AS message, m.position, m.ce_id, m.type, d.recipient, m.accepted_at,
    coalesce(d.ended_state, d.state) AS state, coalesce(d.ended_at, d.finished_at) AS at,
    CASE WHEN d.ended_state IS NULL THEN d.reason ELSE d.ended_reason END AS reason, d.attempt AS attempts
FROM leased l JOIN hub.delivery d ON d.id = l.delivery JOIN hub.message m ON m.position = d.message
ORDER BY l.delivery
"""

# Parts of the mailbox's statement that settles: $1 deliveries, $2 party, $3 end point. A report that is gone was taken.
TAKEN = """taken AS (
    DELETE FROM hub.report r
    WHERE r.party = $2 AND r.delivery = ANY($1::uuid[]) AND r.lease_holder = $3
    RETURNING r.delivery AS id
), taken_before AS (
    SELECT d.id
    FROM hub.delivery d JOIN hub.message m ON m.position = d.message
    WHERE d.id = ANY($1::uuid[]) AND d.recipient <> $2 AND m.source = $2
        AND (d.finished_at IS NOT NULL OR d.replays > 0)
        AND NOT EXISTS (SELECT FROM hub.report r WHERE r.party = $2 AND r.delivery = d.id)
)"""

_FORGET = """
WITH old AS (
    DELETE FROM hub.report WHERE made_at < engines.domain_now() - make_interval(days => $1) RETURNING 1
)
SELECT count(*) FROM old
"""


class LeasedReport(msgspec.Struct, frozen=True, kw_only=True):
    """One report as it is handed out."""

    delivery: UUID
    position: int  # of the message it speaks of
    attempt: int
    report: Report


async def lease(
    connection: Any, party: str, end_point: str, limit: int, seconds: float
) -> list[LeasedReport]:
    """Up to `limit` reports on letters of this end point, in the order of acceptance, leased for so many seconds."""
    rows = await connection.fetch(_LEASE, party, end_point, limit, float(seconds))
    return [
        LeasedReport(
            delivery=row["delivery"],
            position=row["position"],
            attempt=row["handed_out"],
            report=Report(
                message=str(row["message"]),
                id=row["ce_id"],
                type=row["type"],
                recipient=row["recipient"],
                state=row["state"],
                reason=row["reason"],
                accepted_at=row["accepted_at"],
                at=row["at"],
                attempts=row["attempts"],
            ),
        )
        for row in rows
    ]


async def forget(connection: Any, days: int) -> int:
    """Delete reports that nobody took for so many days of the domain clock; tracking still tells what they said."""
    count: int = await connection.fetchval(_FORGET, days)
    return count
