"""Waiting for a condition with a deadline: the only way tests wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE = 0.02


def until(condition: Callable[[], T], seconds: float = 10, what: str = "the condition") -> T:
    """The first true answer of `condition`; fails the test when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not hold within {seconds} seconds")
        time.sleep(PAUSE)
    return found


async def until_async(
    condition: Callable[[], Awaitable[T]], seconds: float = 10, what: str = "the condition"
) -> T:
    """The same for a condition that is awaited."""
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not hold within {seconds} seconds")
        await asyncio.sleep(PAUSE)
    return found
