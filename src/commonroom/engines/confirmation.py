"""What a standby has confirmed, where the database must have one (`synchronous_standby_names`).

PostgreSQL answers a commit once a standby has it on disk. But a wait that is cancelled, by a time-out or by an operator,
leaves the transaction committed on the primary alone: it is answered as if all were well, with a warning, and everybody
sees its rows. So does a primary that crashed while its standby was away. Those rows may be lost with the primary: whoever
promises something because it is there has to ask for a confirmation first.
"""

from __future__ import annotations

from typing import Any

import asyncpg

# Writes a line of no meaning into the WAL: its commit waits like any other, and so for all that was written before it.
_CONFIRM = """
SELECT CASE WHEN current_setting('synchronous_standby_names') <> ''
    THEN pg_logical_emit_message(true, 'commonroom', '') END
"""


class Unconfirmed(ConnectionError):
    """A commit was answered before its standby had it: nobody knows whether it will last."""


class Confirmation:
    """Of what one connection commits and sees."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._warned = False

    async def listen(self, connection: Any) -> None:
        """Begin with this connection; what was heard on another one is forgotten."""
        self._connection, self._warned = connection, False
        await connection.execute("SET client_min_messages = warning")
        connection.add_log_listener(self._hear)

    def check(self) -> None:
        """Raises Unconfirmed when a commit was answered without its standby: use the connection no more."""
        if self._warned:
            raise Unconfirmed("the database warned of a commit")

    async def ask(self, seconds: float) -> None:
        """Returns once a standby has all that this connection can see; at once where none is needed.

        Raises TimeoutError or Unconfirmed.
        """
        await self._connection.execute(_CONFIRM, timeout=seconds)
        self.check()

    def _hear(self, connection: Any, message: Any) -> None:
        # Any warning: their texts come in the server's language, and no statement of ours causes another one.
        self._warned |= isinstance(message, asyncpg.PostgresWarning)
