"""Keys that ended a short while ago: what makes a revocation count at once, though tokens live for ten minutes.

Each process that checks tokens runs one watcher. It hears of every end by NOTIFY and looks by itself every second, so a
token dies at most a second after its key. After WINDOW no token and no remembered key of it is left anywhere.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from commonroom.engines.database import connect
from commonroom.settings import Settings

CHANNEL = "identity_key_ended"
WINDOW = timedelta(minutes=15)  # longer than a token and longer than anybody remembers a key
LOOK_SECONDS = 1.0

_ENDED = """
SELECT end_point::text AS end_point, kid FROM identity.end_point_key
WHERE valid_until <= clock_timestamp() AND valid_until > clock_timestamp() - $1::interval
"""


class EndedKeys:
    """Which keys have just ended. Empty until `look` or `run`."""

    def __init__(self) -> None:
        self._keys: frozenset[tuple[str, str]] = frozenset()

    def has(self, end_point: str, kid: str) -> bool:
        """Whether this key of this end point has ended within WINDOW."""
        return (end_point, kid) in self._keys

    async def look(self, connection: Any) -> None:
        """Read anew."""
        rows = await connection.fetch(_ENDED, WINDOW)
        self._keys = frozenset((row["end_point"], row["kid"]) for row in rows)

    async def run(self, settings: Settings) -> None:
        """Keep up until cancelled. Raises what the database raises: start it again."""
        connection = await connect(settings)
        heard = asyncio.Event()
        connection.add_termination_listener(lambda _: heard.set())
        try:
            await connection.add_listener(CHANNEL, lambda *_: heard.set())
            while True:
                heard.clear()
                await self.look(connection)
                await _first_of(heard, LOOK_SECONDS)
        finally:
            connection.terminate()


async def _first_of(heard: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(heard.wait(), seconds)
    except TimeoutError:
        return
