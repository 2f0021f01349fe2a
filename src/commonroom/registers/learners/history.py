"""Who has looked at a learner, when and why: the register's own trail, as far as the asker may see it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from commonroom.registers.learners.store import Caller, permissions, watch

MOST = 500
_LOOK_UPS = """
SELECT at, party, name, role, purpose, action, outcome
FROM (
    SELECT l.entry, l.at, l.party, l.role, l.purpose, l.action, l.outcome, r.other AS authority, p.name
    FROM learners.look_up l
    LEFT JOIN hub.relation r ON r.party = l.party AND r.role = 'its local authority'
    LEFT JOIN hub.party p ON p.urn = l.party
    WHERE l.learner IN (SELECT u.person FROM learners.uln u WHERE u.number = $1)
) seen
WHERE """


class LookUp(msgspec.Struct, frozen=True, kw_only=True):
    """One look-up or change. Who sat there is known to the register and not told."""

    at: datetime
    party: str
    name: str
    role: str
    purpose: str
    action: str
    outcome: str


async def of_uln(conn: Any, who: Caller, uln: str) -> list[LookUp]:
    """The newest look-ups of the learner with this number. Raises Problem CR-111 and CR-211."""
    scope = permissions.require(who, "audit")
    asked = f"{_LOOK_UPS} {scope.sql} ORDER BY entry DESC LIMIT {MOST}"
    rows = await conn.fetch(asked, uln, *scope.params)
    await watch.note(conn, who, "audit", str(len(rows)), None)
    return [LookUp(**(dict(row) | {"name": row["name"] or ""})) for row in rows]
