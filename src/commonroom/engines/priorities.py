"""Who goes first on a busy machine: what is written before what is read.

A question over many facts keeps every core busy for as long as it takes, and it can take a little longer. A batch that
waits for a core keeps letters waiting, and everybody who asks for what they say.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")
# A third of the share of a thread that does not give way: enough to go after it, too much to starve beside many of them.
# On an idle machine it is all there is.
_LOW = 5


def give_way() -> None:
    """From now on this thread, and those it starts, go after all others. It cannot be taken back.

    Linux gives each thread a priority of its own; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            me = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, me, max(_LOW, os.getpriority(os.PRIO_PROCESS, me)))


class GivingWay:
    """Threads that go after all others. What they are given runs in them, the caller waits and keeps its priority."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(thread_name_prefix="giving-way", initializer=give_way)

    def run(self, do: Callable[[], T]) -> T:
        """What `do` returns or raises."""
        return self._threads.submit(do).result()

    def close(self) -> None:
        """Its threads end when they have done what they were given."""
        self._threads.shutdown(wait=False)


class AtOnce:
    """The same in the caller's own thread."""

    def run(self, do: Callable[[], T]) -> T:
        """What `do` returns or raises."""
        return do()

    def close(self) -> None:
        """Nothing to end."""
