"""Rounds: one task that does for everybody at once what many callers have asked for, in one statement.

Whatever was asked while the last round ran is the next one; there is no timer. Each kind of round has a connection of its
own, whose plans are kept, and an answer is given when the database has committed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from commonroom.engines.database import connect
from commonroom.hub.faults import DATABASE_AWAY
from commonroom.settings import Settings

COMMAND_SECONDS = 30.0

# The statements look up a few rows of many by index, whatever the tables hold, so one plan serves always; planning costs
# more than running. Only nested loops over indexes: a table without statistics must not bring a plan that reads all of it.
SESSION = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "work_mem": "64MB",
}

A = TypeVar("A")
R = TypeVar("R")


class Asked(Generic[A, R]):
    """One caller's wish, and where its answer goes."""

    __slots__ = ("answer", "wish")

    def __init__(self, wish: A) -> None:
        self.wish = wish
        self.answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()


class Rounds(Generic[A, R]):
    """Made by subclasses, which say what goes together and how it is done. `run` must be running."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: deque[Asked[A, R]] = deque()
        self._arrived = asyncio.Event()
        self._connection: Any = None

    async def ask(self, wish: A) -> R:
        """The answer, once it is on disk. Raises what the database raises, and then nothing is known."""
        asked: Asked[A, R] = Asked(wish)
        self._waiting.append(asked)
        self._arrived.set()
        return await asked.answer

    async def run(self) -> None:
        """Do rounds until cancelled."""
        try:
            while True:
                await self._arrived.wait()
                if group := self._together():
                    await self._round(group)
                else:
                    self._arrived.clear()
        finally:
            self._drop_connection()
            while self._waiting:
                self._waiting.popleft().answer.cancel()

    def _together(self) -> list[Asked[A, R]]:
        """Take out of `_waiting` what may go into one round, at least one when there is any."""
        raise NotImplementedError

    async def _do(self, connection: Any, wishes: Sequence[A]) -> list[R]:
        """The answers to these wishes, in their order."""
        raise NotImplementedError

    async def _unclaimed(self, wish: A, result: R) -> None:
        """The caller has gone before its answer came."""

    async def _round(self, group: list[Asked[A, R]]) -> None:
        group = [asked for asked in group if not asked.answer.done()]
        if not group:
            return
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._settings, SESSION)
            results = await self._do(self._connection, [asked.wish for asked in group])
            answers = list(zip(group, results, strict=True))
            gone = [(asked.wish, result) for asked, result in answers if asked.answer.done()]
            for asked, result in answers:
                if not asked.answer.done():
                    asked.answer.set_result(result)
            for wish, result in gone:
                await self._unclaimed(wish, result)
        except asyncio.CancelledError:
            for asked in group:
                asked.answer.cancel()
            raise
        except Exception as error:
            await self._failed(group, error)

    async def _failed(self, group: list[Asked[A, R]], error: Exception) -> None:
        """One wish the database cannot fulfil must not be everybody's fault: then each is tried by itself."""
        left = [asked for asked in group if not asked.answer.done()]
        if isinstance(error, DATABASE_AWAY):
            self._drop_connection()
        elif len(left) > 1:
            for asked in left:
                await self._round([asked])
            return
        for asked in left:
            asked.answer.set_exception(error)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
