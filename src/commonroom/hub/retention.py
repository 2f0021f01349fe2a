"""Retention: letters are kept as long as their movements agreed, then the bodies go; envelope, digest and fate stay."""

from __future__ import annotations

from typing import Any

from commonroom import log
from commonroom.hub import assurance, bodies, reports
from commonroom.settings import Settings

# A letter still waiting for somebody is not taken away under them: its own expiry time ends that first.
_PURGE = """
WITH over AS (
    SELECT m.position
    FROM hub.message AS m
    JOIN hub.body AS b ON b.message = m.position
    WHERE m.retain_until < engines.domain_now()
      AND NOT EXISTS (SELECT FROM hub.delivery AS d WHERE d.message = m.position AND d.finished_at IS NULL)
    ORDER BY m.position
    LIMIT $1
),
purged AS (
    DELETE FROM hub.body AS b USING over WHERE b.message = over.position RETURNING b.message
)
SELECT count(*) FROM purged
"""

BODIES_A_GROUP = 10_000


async def purge(settings: Settings, connection: Any) -> None:
    """Delete the bodies whose agreed retention (domain clock) has passed. A recurring job."""
    await assurance.end_held(connection)
    purged = 0
    while done := await connection.fetchval(_PURGE, BODIES_A_GROUP):
        purged += done
    await bodies.sweep(settings, connection)
    await reports.forget(connection, settings.report_days)
    if purged:
        log.get("hub").info("bodies past their retention deleted", count=purged)
