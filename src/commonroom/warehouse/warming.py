"""Working figures out before somebody asks: after each new head, what was asked for lately.

Best effort: a reader who comes sooner waits as before. It rests longer than it works, so that a warehouse which changes
every second leaves the machine to those who ask.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any, Protocol

import msgspec

from commonroom import log
from commonroom.stopping import pause

_MOST = 24  # questions that are remembered
_LATELY_SECONDS = 1800.0
_LOOK_SECONDS = 0.5
_REST = 3.0  # of the time that the work took
_GRACE_SECONDS = 3.0
_log = log.get("warehouse")


class Asked(msgspec.Struct, frozen=True):
    """What decides which releases a question needs."""

    measure: str
    grain: str
    first: date
    last: date


class Lately:
    """What was asked for in the last half hour, newest last. Used by one event loop."""

    def __init__(self) -> None:
        self._at: OrderedDict[Asked, float] = OrderedDict()

    def note(self, asked: Asked) -> None:
        """It was asked for now."""
        self._at[asked] = time.monotonic()
        self._at.move_to_end(asked)
        while len(self._at) > _MOST:
            self._at.popitem(last=False)

    def questions(self) -> list[Asked]:
        """The newest first."""
        since = time.monotonic() - _LATELY_SECONDS
        return [asked for asked, at in reversed(self._at.items()) if at >= since]


class Warm(Protocol):
    """What `keep_warm` needs of a reader."""

    async def warm(self, pool: Any, done: Any, stop: asyncio.Event | None) -> Any:
        """Work out what was asked for lately, unless `done` says that nothing is new; what to give as `done` next time."""
        ...


async def keep_warm(
    reader: Warm, pool: Any, stop: asyncio.Event, expect: Callable[[Any], Awaitable[None]] | None = None
) -> None:
    """Until `stop` is set: look for a new head, and work out for it what was asked for lately.

    `expect` may note, each time, what will be asked for in any case; it is given the connection.
    """
    done = None
    while not stop.is_set():
        began = time.monotonic()
        try:
            if expect is not None:
                async with pool.acquire() as connection:
                    await expect(connection)
            done = await reader.warm(pool, done, stop)
        except Exception as error:
            log.fault(_log, "figures were not worked out ahead", error)
        await pause(stop, max(_LOOK_SECONDS, _REST * (time.monotonic() - began)))


async def end(keeping: asyncio.Task[None], seconds: float = _GRACE_SECONDS) -> None:
    """Once it was told to stop: give it so many seconds, then leave its work to end with the engine."""
    _, unfinished = await asyncio.wait((keeping,), timeout=seconds)
    for task in unfinished:
        task.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
