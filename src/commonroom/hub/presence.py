"""Presence: when each end point last used the hub, written every few seconds and not with every request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from commonroom.identity import Principal

_WRITE = """
INSERT INTO hub.end_point_seen (end_point, party, seen_at)
SELECT end_point, party, seen_at FROM unnest($1::text[], $2::text[], $3::timestamptz[])
    AS given(end_point, party, seen_at)
ORDER BY end_point
ON CONFLICT (end_point) DO UPDATE SET party = excluded.party, seen_at = greatest(end_point_seen.seen_at, excluded.seen_at)
"""


class Presence:
    """What this process has seen since it last wrote."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, datetime]] = {}

    def note(self, caller: Principal) -> None:
        """This end point is here now (real clock)."""
        self._seen[caller.id] = (caller.party or "", datetime.now(UTC))

    async def write(self, connection: Any) -> None:
        """Write what has been noted. What cannot be written is kept for the next time."""
        seen = dict(self._seen)
        if seen:
            parties, moments = zip(*seen.values(), strict=True)
            await connection.execute(_WRITE, list(seen), list(parties), list(moments))
        for end_point, noted in seen.items():
            if self._seen.get(end_point) == noted:
                del self._seen[end_point]
