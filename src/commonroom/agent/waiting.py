"""Waiting and trying again: pauses that grow, waits for the first of several, and faults as a log may show them."""

from __future__ import annotations

import asyncio
import random
import traceback
from pathlib import Path
from typing import Any

from commonroom.exchange import Unreachable
from commonroom.problems import Problem

FIRST_PAUSE = 0.5  # seconds after the first failure; doubled by each further one
LONGEST_PAUSE = 60.0


def back_off(failures: int, error: Exception) -> float:
    """Seconds until the next try: doubled by each failure, with jitter, so that many agents do not come at once."""
    asked: float = getattr(error, "retry_after", None) or 0.0
    pause = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE)
    jitter: float = random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
    return max(asked, pause * jitter)


def is_expected(error: Exception) -> bool:
    """Whether it is a fault that time mends, or one that says itself what to do."""
    return isinstance(error, Unreachable | Problem)


def loggable(error: Exception) -> str:
    """The fault without any text that could hold a value: for the unexpected its kind and the line of code."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, Problem):
        return f"{error.code} {error.where}"
    if isinstance(error, Unreachable):
        return error.reason
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


async def either(*waits: Any, seconds: float | None = None) -> None:
    """Wait until one of these is over, or so many seconds."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
