"""Bodies on their way in: few large ones at once, each within its time, on disk and not in memory."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import IO

from commonroom.problems import Problem, add_codes

TOO_MANY, TOO_SLOW = "CR-008", "CR-009"
add_codes({TOO_MANY: "Too many files are arriving", TOO_SLOW: "The request took too long to arrive"})

# What is larger lies on disk while it arrives.
IN_MEMORY = 1024 * 1024
RETRY_SECONDS = 30


class Arrivals:
    """How many large files may arrive at this process at once: of everybody, and of one party."""

    def __init__(self, at_once: int = 8, of_one: int = 2) -> None:
        self._at_once = at_once
        self._of_one = of_one
        self._now: Counter[str] = Counter()

    @contextmanager
    def place(self, party: str) -> Iterator[None]:
        """A place for one file. Raises Problem CR-008: 429 when the party has all of its own, 503 when none is free."""
        if self._now[party] >= self._of_one:
            raise _too_many(f"{self._of_one} files of yours are arriving already.", 429)
        if self._now.total() >= self._at_once:
            raise _too_many(f"{self._at_once} files are arriving already.", 503)
        self._now[party] += 1
        try:
            yield
        finally:
            self._now[party] -= 1
            if not self._now[party]:
                del self._now[party]


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """What arrives here is whole in time. Raises Problem CR-009 (408)."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Problem(
            TOO_SLOW, f"It was not whole after {seconds:,.0f} seconds.", status=408, remedy="Send it again."
        ) from error


@asynccontextmanager
async def spooled(pieces: AsyncIterator[bytes], seconds: float) -> AsyncIterator[IO[bytes]]:
    """A body as a file without a name, read from its start, gone when it is let go. Raises Problem CR-009."""
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
        async with within(seconds):
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
        file.seek(0)
        yield file


def _too_many(detail: str, status: int) -> Problem:
    return Problem(
        TOO_MANY,
        detail,
        status=status,
        remedy=f"Send it again in {RETRY_SECONDS} seconds.",
        extra={"retry_after": RETRY_SECONDS},
    )
