"""Endings: letters that can never be delivered any more come to an end of their own, so that every story has one."""

from __future__ import annotations

from typing import Any

from commonroom import log
from commonroom.hub import mailbox
from commonroom.settings import Settings

DELIVERIES_A_GROUP = 1_000
# Agreements are often renewed a few days late; what waits for that is not lost.
RENEWAL_DAYS = 7
NOT_COLLECTED = "The recipient did not collect it within the retention that its movement agreed."
MOVEMENT_ENDED = "Its movement has ended and was not renewed."

_HOPELESS = """
SELECT d.id, CASE WHEN m.retain_until <= clock.now THEN $2 ELSE $3 END AS reason
FROM hub.delivery d
JOIN hub.message m ON m.position = d.message
LEFT JOIN hub.current_movement agreed ON agreed.id = d.movement
CROSS JOIN (SELECT engines.domain_now() AS now) clock
WHERE d.finished_at IS NULL AND (d.state = 'offered' OR d.lease_until <= clock_timestamp())
    AND (
        m.retain_until <= clock.now
        OR agreed.active_to + $4::integer < (clock.now AT TIME ZONE 'Europe/London')::date
    )
ORDER BY d.id
LIMIT $1
"""


async def end_hopeless(settings: Settings, connection: Any) -> None:
    """Finish as undeliverable what outlived its retention or its movement (domain clock). A recurring job."""
    ended = 0
    while rows := await connection.fetch(
        _HOPELESS, DELIVERIES_A_GROUP, NOT_COLLECTED, MOVEMENT_ENDED, RENEWAL_DAYS
    ):
        done = await mailbox.undeliverable(
            connection, [row["id"] for row in rows], [row["reason"] for row in rows]
        )
        ended += done
        if not done:
            break  # somebody else has them in hand
    if ended:
        log.get("hub").warning("deliveries ended undelivered", count=ended)
