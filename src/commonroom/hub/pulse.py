"""The pulse of the database: does it answer, and does a standby confirm its commits? For health, metrics and the door.

Each hub process asks every few seconds on a connection of its own, so that it knows also when every other connection
waits. What the operator wants to see is what a sender would meet, and so it is asked for just that: a commit.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from commonroom.engines.confirmation import Confirmation
from commonroom.engines.database import connect
from commonroom.problems import Problem
from commonroom.settings import Settings

LOOK_SECONDS = 2.0
ANSWER_SECONDS = 5.0
CONFIRM_SECONDS = 30.0
# For how long nobody is told: a standby that starts again is away for some seconds.
PATIENCE_SECONDS = 5.0
RETRY_AFTER_SECONDS = 5

# A session whose commits wait for less than a standby's disk needs none, whatever is named.
_LOOK = """
SELECT current_setting('synchronous_standby_names') <> ''
        AND current_setting('synchronous_commit') IN ('on', 'remote_apply') AS needs_standby,
    (SELECT max(size) FROM hub.ledger_head) AS head
"""


class Pulse:
    """One per hub process; `run` keeps looking."""

    def __init__(self, settings: Settings, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._confirmation = Confirmation()
        self._silent_since: float | None = None
        self._unconfirmed_since: float | None = None
        self.needs_standby = False
        # The largest signed head that a standby has for sure; None for any, where no standby is needed. One that was
        # shown to the world and then lost would make the ledger look forged.
        self.confirmed_head: int | None = None
        for name, text, value in (
            ("hub_database_silent_seconds", "For how long the database has not answered", self._silent),
            ("hub_standby_silent_seconds", "For how long no standby has confirmed", self._unconfirmed),
            ("hub_standby_needed", "Whether commits wait for a standby", lambda: float(self.needs_standby)),
        ):
            Gauge(name, text, registry=registry).set_function(value)

    async def begin(self, connection: Any) -> None:
        """Look for the first time, before anybody is served; wait for no standby."""
        self.needs_standby = (await connection.fetchrow(_LOOK))["needs_standby"]
        self.confirmed_head = 0 if self.needs_standby else None

    async def run(self) -> None:
        """Look until cancelled. Raises what the database raises: start it again."""
        self._silent_since = self._silent_since or time.monotonic()
        connection = await connect(self._settings)
        try:
            await self._confirmation.listen(connection)
            while True:
                await self._look(connection)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            connection.terminate()

    def check(self) -> None:
        """Raises Problem CR-168 (503) when no standby has confirmed for a while, CR-003 when the database is silent."""
        self.check_standby()
        if self._silent() > PATIENCE_SECONDS:
            raise Problem(
                "CR-003",
                f"The database has not answered for {self._silent():.0f} seconds.",
                status=503,
                remedy="Ask again in a few seconds.",
                extra={"retry_after": RETRY_AFTER_SECONDS},
            )

    def check_standby(self) -> None:
        """Raises Problem CR-168 (503) when no standby has confirmed for a while: nothing can be promised then."""
        if self._unconfirmed() > PATIENCE_SECONDS:
            raise Problem(
                "CR-168",
                f"For {self._unconfirmed():.0f} seconds no standby of the database has confirmed what is written.",
                status=503,
                where="the hub",
                remedy=f"Keep what you have and send it again, unchanged, in {RETRY_AFTER_SECONDS} seconds or more.",
                extra={"retry_after": RETRY_AFTER_SECONDS},
            )

    async def _look(self, connection: Any) -> None:
        self._silent_since = self._silent_since or time.monotonic()
        row = await connection.fetchrow(_LOOK, timeout=ANSWER_SECONDS)
        self._silent_since = None
        self.needs_standby = row["needs_standby"]
        if self.needs_standby:
            self._unconfirmed_since = self._unconfirmed_since or time.monotonic()
            await self._confirmation.ask(CONFIRM_SECONDS)
        self._unconfirmed_since = None
        self.confirmed_head = row["head"] or 0 if self.needs_standby else None

    def _silent(self) -> float:
        return _since(self._silent_since)

    def _unconfirmed(self) -> float:
        return _since(self._unconfirmed_since)


def _since(moment: float | None) -> float:
    return 0.0 if moment is None else time.monotonic() - moment
