"""Reports: how the story of each copy of a message ended, told to the end point that sent it.

The row of a report is made by the statement that ends the delivery (MAKE); here it is handed out under a lease, taken,
and forgotten after a time of its own. Reports need no movement, enter no ledger and are never reported on.
They ring no doorbell: a poll that waits finds those of its last seconds together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from commonroom.exchange.reports import Report
from commonroom.hub.rounds import COMMAND_SECONDS

# The end that was reported stands also when the recipient has asked for the letter again since.
# Other end points of the party have letters of their own; those of a revoked one are anybody's of the party.
_LEASE = """
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::int[]) WITH ORDINALITY AS given(party, end_point, most, place)
), waiting AS (
    SELECT a.place, a.end_point, r.party, r.delivery
    FROM asked a
    CROSS JOIN LATERAL (
        SELECT r.party, r.delivery
        FROM hub.report r
        WHERE r.party = a.party AND (r.lease_until IS NULL OR r.lease_until <= clock_timestamp())
            AND (r.end_point = a.end_point OR r.end_point = ANY (ARRAY(
                SELECT e.id::text FROM identity.end_point e WHERE e.party = a.party AND e.revoked_at IS NOT NULL
            )))
        ORDER BY r.delivery
        LIMIT a.most
        FOR UPDATE OF r SKIP LOCKED
    ) r
), leased AS (
    UPDATE hub.report r
    SET lease_holder = w.end_point, attempt = r.attempt + 1,
        lease_until = clock_timestamp() + make_interval(secs => $4)
    FROM waiting w
    WHERE r.party = w.party AND r.delivery = w.delivery
    RETURNING w.place, r.delivery, r.attempt
)
SELECT l.place, l.delivery, l.attempt AS handed_out, m.id AS message, m.position, m.ce_id, m.type, d.recipient,
    m.accepted_at, coalesce(d.ended_state, d.state) AS state, coalesce(d.ended_at, d.finished_at) AS at,
    CASE WHEN d.ended_state IS NULL THEN d.reason ELSE d.ended_reason END AS reason, d.attempt AS attempts
FROM leased l JOIN hub.delivery d ON d.id = l.delivery JOIN hub.message m ON m.position = d.message
ORDER BY l.place, l.delivery
"""

# The reports on deliveries that a statement has just ended: `done` (id, message, finished_at, replays). A delivery ends
# for the first time once, for a replay counts in `replays`: there is no end without a report and none has two.
MAKE = """INSERT INTO hub.report (party, delivery, end_point, made_at)
    SELECT m.source, done.id, m.end_point, done.finished_at
    FROM done JOIN hub.message m ON m.position = done.message
    WHERE done.replays = 0"""

# Parts of a statement that settles rows `given` (id, party, end_point). A report that is gone was taken.
TAKEN = """taken AS (
    DELETE FROM hub.report r
    USING given
    WHERE r.party = given.party AND r.delivery = given.id AND r.lease_holder = given.end_point
    RETURNING r.delivery AS id
), taken_before AS (
    SELECT d.id
    FROM given
    JOIN hub.delivery d ON d.id = given.id AND d.recipient <> given.party
    JOIN hub.message m ON m.position = d.message AND m.source = given.party
    WHERE (d.finished_at IS NOT NULL OR d.replays > 0)
        AND NOT EXISTS (SELECT FROM hub.report r WHERE r.party = given.party AND r.delivery = d.id)
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
    connection: Any, asked: Sequence[tuple[str, str, int]], seconds: float
) -> list[list[LeasedReport]]:
    """For each (party, end point, limit), no party twice: reports on letters of that end point, leased for so long.

    Up to `limit` of them, in the order of acceptance.
    """
    parties, end_points, limits = map(list, zip(*asked, strict=True))
    rows = await connection.fetch(
        _LEASE, parties, end_points, limits, float(seconds), timeout=COMMAND_SECONDS
    )
    found: list[list[LeasedReport]] = [[] for _ in asked]
    for row in rows:
        found[row["place"] - 1].append(_leased(row))
    return found


def _leased(row: Any) -> LeasedReport:
    return LeasedReport(
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


async def forget(connection: Any, days: int) -> int:
    """Delete reports that nobody took for so many days of the domain clock; tracking still tells what they said."""
    count: int = await connection.fetchval(_FORGET, days)
    return count
