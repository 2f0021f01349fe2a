"""The public register of extracts: announced when they are approved, with their day; kept when they are over."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from commonroom import access
from commonroom.access.policies import Asker
from commonroom.warehouse.extracts.model import Declaration

DATASET = "extracts.register"
_ANNOUNCED = """
SELECT e.name, coalesce(p.name, e.requester) AS requester, e.declaration, e.state, s.at AS approved_at
FROM warehouse.extract e
LEFT JOIN hub.party p ON p.urn = e.requester
LEFT JOIN warehouse.extract_step s ON s.extract = e.name AND s.step = 'approved'
WHERE e.state IN ('approved', 'frozen', 'expired') AND {scope}
ORDER BY s.at DESC NULLS LAST, e.name
"""


class Announced(msgspec.Struct, frozen=True):
    """An extract as everybody may know of it."""

    name: str
    requester: str  # by name
    declaration: Declaration
    state: str  # approved, frozen, expired
    approved_at: datetime | None


async def announced(connection: Any, who: Asker, purpose: str) -> list[Announced]:
    """What was approved, the newest first."""
    scope = access.rows(who, DATASET, "postgres")
    rows = await connection.fetch(_ANNOUNCED.format(scope=scope.sql), *scope.params)
    await access.audit(connection, who, DATASET, purpose, len(rows))
    return [
        Announced(
            row["name"],
            row["requester"],
            msgspec.convert(row["declaration"], Declaration),
            row["state"],
            row["approved_at"],
        )
        for row in rows
    ]
