"""Who looked whom up, and why: for those who answer for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from commonroom.registers.learners.store import permissions, watch
from commonroom.registers.learners.store.values import Caller

MOST_LISTED = 1_000
# The number stands here for our id: whoever may see the trail knows learners by it.
_LIST = """
SELECT l.at, l.party, l.person, l.role, l.purpose, l.action, l.outcome, p.uln
FROM learners.look_up l
LEFT JOIN learners.person p ON p.id = l.learner
WHERE ($1::text IS NULL OR l.learner = (SELECT u.person FROM learners.uln u WHERE u.number = $1)) AND {scope}
ORDER BY l.entry DESC
LIMIT {limit}
"""


class LookUp(msgspec.Struct, frozen=True, kw_only=True):
    """One look-up or change: who, why, what kind, what came of it."""

    at: datetime
    party: str
    person: str | None
    role: str
    purpose: str
    action: str
    outcome: str
    uln: str | None


async def look_ups(conn: Any, who: Caller, *, uln: str | None = None, limit: int = 100) -> list[LookUp]:
    """The newest look-ups that the caller may see, of one learner or of all. Reading the trail leaves a row in it too."""
    scope = permissions.require(who, "audit")
    sql = _LIST.format(scope=scope.sql, limit=min(max(int(limit), 1), MOST_LISTED))
    found = [LookUp(**dict(row)) for row in await conn.fetch(sql, uln, *scope.params)]
    await watch.note(conn, who, "look_ups", f"{len(found)} rows", None)
    return found
