"""The backlog: recipients who leave more unfinished than is well. A warning and a number; nothing is refused for it."""

from __future__ import annotations

import time
from typing import Any

from commonroom import log
from commonroom.hub.metrics import Metrics

LOOK_SECONDS = 60.0

_LONGEST = """
SELECT count(*) FILTER (WHERE number > $1) AS over, coalesce(max(number), 0) AS longest
FROM (SELECT count(*) AS number FROM hub.delivery WHERE finished_at IS NULL GROUP BY recipient) mailboxes
"""


class Backlog:
    """One per hub process; counts now and then, for it reads an index of everything unfinished."""

    def __init__(self, metrics: Metrics, warn_above: int) -> None:
        self._metrics = metrics
        self._warn_above = warn_above
        self._looked_at = -LOOK_SECONDS
        self._over = 0

    async def look(self, connection: Any) -> None:
        """Count, unless that was done within LOOK_SECONDS; warn when there are more such recipients than before."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        row = await connection.fetchrow(_LONGEST, self._warn_above)
        self._metrics.mailboxes_over.set(row["over"])
        self._metrics.mailbox_longest.set(row["longest"])
        if row["over"] > self._over:
            log.get("hub").warning("recipients fall behind", recipients=row["over"], longest=row["longest"])
        self._over = row["over"]
