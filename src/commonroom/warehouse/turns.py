"""Results shared by the threads of a process: worked out once, and kept for those who come after."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Turns:
    """Who works at the same thing does so in turn; at different things, at the same time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Any, tuple[threading.Lock, int]] = {}

    @contextmanager
    def alone(self, key: Any) -> Iterator[None]:
        """Nobody else is at `key`; keys that nobody waits for are forgotten."""
        with self._guard:
            lock, waiting = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = lock, waiting + 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, waiting = self._locks.pop(key)
                if waiting > 1:
                    self._locks[key] = lock, waiting - 1


class Kept:
    """The last results, by everything they depend on; a new head makes new keys."""

    def __init__(self, size: int) -> None:
        self._size, self._held = size, 0
        self._values: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """How much all together are."""
        return self._held

    def get(self, key: Any) -> Any:
        """What is kept under a key, None when nothing is."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Any, value: Any, weight: int = 1) -> None:
        """Keep it, and forget the oldest when all together are too much. What is too much alone is not kept."""
        with self._lock:
            self._held -= self._values.pop(key, (None, 0))[1]
            if weight > self._size:  # it would drive out all the others, and go itself
                return
            self._held += weight
            self._values[key] = value, weight
            while self._held > self._size:
                self._held -= self._values.popitem(last=False)[1][1]

    def forget(self, key: Any) -> None:
        """Keep nothing under a key."""
        with self._lock:
            self._held -= self._values.pop(key, (None, 0))[1]

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            self._values.clear()
            self._held = 0
