"""The doorbell: wakes those who wait for mail, in this process at once and in other hub processes by NOTIFY.

A ring is only a hint. Nothing is lost with it: whoever waits also looks by itself now and then.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from commonroom import log
from commonroom.engines.database import connect
from commonroom.hub.faults import DATABASE_AWAY
from commonroom.settings import Settings

CHANNEL = "hub_mail"
# How often whoever waits looks by itself: rarely while rings are heard (it finds letters whose lease has ended), often
# while the database's notifications are out of reach.
CALM_SECONDS = 10.0
DEAF_SECONDS = 1.0
RECONNECT_SECONDS = 1.0
# Other processes hear of mail at most so much later: rings of that time are one statement and one commit.
TELL_SECONDS = 0.02
EVERYBODY = ""

MAX_PARTIES = 30  # in one notification, which holds 8,000 bytes; names have 255 at most

_RING = "SELECT pg_notify($1, parties) FROM unnest($2::text[]) AS parties"

# A lost ring costs CALM_SECONDS and no more, so it need not wait for the disk.
_NO_FSYNC = "SET synchronous_commit = off"

_logger = log.get("hub")


class Bell:
    """What one who waits listens to. Rings between two waits are not lost."""

    def __init__(self) -> None:
        self.rung = False
        self._woken: asyncio.Future[None] | None = None

    def ring(self, _: Any = None) -> None:
        """Wake whoever waits, or the next wait at once."""
        self.rung = True
        self._wake()

    async def wait(self, seconds: float, gone: asyncio.Future[Any]) -> bool:
        """Until it rings, the listener is `gone` or so much time has passed; whether it rang."""
        if not self.rung and not gone.done():
            loop = asyncio.get_running_loop()
            self._woken = loop.create_future()
            timer = loop.call_later(seconds, self._wake)
            gone.add_done_callback(self._wake)
            try:
                await self._woken
            finally:
                timer.cancel()
                gone.remove_done_callback(self._wake)
        rung, self.rung = self.rung, False
        return rung

    def _wake(self, _: Any = None) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


class Doorbell:
    """One per hub process. `run` must be running for rings to pass between processes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: dict[str, set[Bell]] = defaultdict(set)
        self._to_tell: set[str] = set()
        self._something_to_tell = asyncio.Event()
        self._hears = False
        self._overheard_by: list[Callable[[str], None]] = []
        self.closed = False

    @property
    def look_again_seconds(self) -> float:
        """How long to wait for a ring before looking without one."""
        return CALM_SECONDS if self._hears else DEAF_SECONDS

    @contextmanager
    def waiter(self, party: str) -> Iterator[Bell]:
        """A bell that every ring for this party rings, while the context lasts."""
        bell = Bell()
        self._waiting[party].add(bell)
        try:
            yield bell
        finally:
            self._waiting[party].discard(bell)
            if not self._waiting[party]:
                del self._waiting[party]

    def overheard_by(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the party of every ring from now on, EVERYBODY included."""
        self._overheard_by.append(listener)

    def ring(self, parties: Iterable[str]) -> None:
        """There is mail for these parties."""
        rung = set(parties)
        for party in rung:
            self._wake(party)
        self._to_tell |= rung
        self._something_to_tell.set()

    def close(self) -> None:
        """Let everybody who waits go, now and from now on: the process is about to end."""
        self.closed = True
        self._wake(EVERYBODY)

    def _wake(self, party: str) -> None:
        groups = [*self._waiting.values()] if party == EVERYBODY else [self._waiting.get(party, ())]
        for bell in (bell for group in groups for bell in group):
            bell.ring()
        for listener in self._overheard_by:
            listener(party)

    async def run(self) -> None:
        """Pass rings on until cancelled; comes back by itself after the database was away."""
        while True:
            try:
                await self._pass_on()
            except DATABASE_AWAY as error:
                _logger.warning("doorbell lost the database", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _pass_on(self) -> None:
        connection = await connect(self._settings)
        connection.add_termination_listener(lambda _: self._something_to_tell.set())
        try:
            await connection.execute(_NO_FSYNC)
            await connection.add_listener(CHANNEL, self._heard)
            self._hears = True
            self._wake(EVERYBODY)  # rings may have passed by while nobody listened
            while not connection.is_closed():
                await self._something_to_tell.wait()
                self._something_to_tell.clear()
                parties, self._to_tell = self._to_tell, set()
                if parties:
                    await connection.execute(_RING, CHANNEL, _lists(parties))
                    await asyncio.sleep(TELL_SECONDS)
        finally:
            self._hears = False
            connection.terminate()

    def _heard(self, connection: Any, process: int, channel: str, parties: str) -> None:
        if process != connection.get_server_pid():  # our own rings were heard when they were rung
            for party in parties.split("\n"):
                self._wake(party)


def _lists(parties: set[str]) -> list[str]:
    """The parties as payloads of notifications, one a line."""
    names = sorted(parties)
    return ["\n".join(names[first : first + MAX_PARTIES]) for first in range(0, len(names), MAX_PARTIES)]
