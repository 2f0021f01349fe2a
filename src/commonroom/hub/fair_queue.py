"""The fair queue before the writer: end points take turns, so that one that floods delays itself and not the others."""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar


class Parcel(Protocol):
    """What came together and is answered together."""

    @property
    def end_point(self) -> str: ...

    @property
    def count(self) -> int: ...

    @property
    def size(self) -> int: ...


P = TypeVar("P", bound=Parcel)


class FairQueue(Generic[P]):
    """Parcels in order for each end point; `take` goes round the end points, one parcel a turn."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[P]] = {}  # the order of the keys is the order of turns
        self._bytes: dict[str, int] = {}  # by end point, until `done`
        self._unfinished: dict[str, int] = {}  # parcels likewise: some have no bytes

    def has_room(self, end_point: str, size: int, most_bytes: int) -> bool:
        """Whether so many bytes more may wait. When all is full, those below an equal share of it are let in still."""
        total = sum(self._bytes.values()) + size
        if total <= most_bytes:
            return True
        own = self._bytes.get(end_point, 0) + size
        share = most_bytes // (len(self._bytes) + (end_point not in self._bytes))
        return own <= share and total <= 2 * most_bytes

    def put(self, parcel: P) -> None:
        """Add to the end of its end point's line."""
        self._lines.setdefault(parcel.end_point, deque()).append(parcel)
        self._bytes[parcel.end_point] = self._bytes.get(parcel.end_point, 0) + parcel.size
        self._unfinished[parcel.end_point] = self._unfinished.get(parcel.end_point, 0) + 1

    def take(self, most_messages: int, most_bytes: int) -> list[P]:
        """Up to so much, and at least one parcel when there is any. Who was served goes behind those who were not."""
        taken: list[P] = []
        messages = size = 0
        while self._lines:
            end_point, line = next(iter(self._lines.items()))
            messages += line[0].count
            size += line[0].size
            if taken and (messages > most_messages or size > most_bytes):
                break
            taken.append(line.popleft())
            del self._lines[end_point]
            if line:
                self._lines[end_point] = line
        return taken

    def done(self, parcel: P) -> None:
        """A parcel that was taken is written or given up: its bytes wait no longer."""
        self._bytes[parcel.end_point] -= parcel.size
        self._unfinished[parcel.end_point] -= 1
        if not self._unfinished[parcel.end_point]:
            del self._bytes[parcel.end_point], self._unfinished[parcel.end_point]

    def drain(self) -> list[P]:
        """Everything that still waits, taken out; what was taken before counts no more either."""
        rest = [parcel for line in self._lines.values() for parcel in line]
        for kept in (self._lines, self._bytes, self._unfinished):
            kept.clear()
        return rest
