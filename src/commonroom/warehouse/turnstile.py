"""Expensive questions, let in a few at a time: what was known before, by characteristic, where a figure comes from.

Whoever asks the same thing as somebody before waits for that answer. When enough wait, the next is told so at once: a
queue without an end would hold every connection of the process, and nobody would get anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-335": "Too many expensive questions are being answered",
        "CR-339": "The answer is still being worked out",
    }
)

AT_ONCE = 2
WAITING = 2  # each of those who ask holds one of the process's eight connections
RETRY_SECONDS = 10
T = TypeVar("T")


class Turnstile:
    """For the tasks of one event loop."""

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._most = at_once + waiting
        self._inside = 0
        self._slots = asyncio.Semaphore(at_once)
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}

    async def through(self, key: Hashable, work: Callable[[], T], patience: float | None = None) -> T:
        """What `work` gives, done in a thread; the same `key` is done once.

        Raises Problem CR-335 (503) when it is full, CR-339 (503) after so many seconds of `patience`: the work goes on,
        and should keep what it finds for who asks again.
        """
        if self._inside >= self._most or (key not in self._under_way and len(self._under_way) >= self._most):
            raise Problem(
                "CR-335",
                "Others are asking for what takes long, and no more can wait.",
                status=503,
                remedy="Ask again in a moment.",
                extra={"retry_after": RETRY_SECONDS},
            )
        self._inside += 1
        try:
            task = self._under_way.get(key)
            if task is None:
                task = self._under_way[key] = asyncio.create_task(self._work(work))
                task.add_done_callback(lambda done: self._forget(key, done))
            # Whoever goes away does not take the answer from those who wait with them.
            done, _ = await asyncio.wait((task,), timeout=patience)
            if not done:
                raise Problem(
                    "CR-339",
                    "It takes longer than you should wait, and goes on without you.",
                    status=503,
                    remedy="Ask again in a moment.",
                    extra={"retry_after": RETRY_SECONDS},
                )
            found: T = await task
            return found
        finally:
            self._inside -= 1

    def _forget(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        del self._under_way[key]
        if not done.cancelled():
            done.exception()  # it was told to those who waited; where all had gone, to nobody

    async def _work(self, work: Callable[[], T]) -> T:
        async with self._slots:
            return await asyncio.to_thread(work)
