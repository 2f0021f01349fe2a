"""Gaps: which numbers of a mailbox a recipient has not seen.

The hub numbers the letters of a mailbox 1, 2, 3 ... as it first hands them out. A number that does not come belongs to a
letter that another end point of the same party holds, that was lost on the way and comes again when its lease ends, or
that was loaded into a store that has since been put back to an older state: the last is what a replay is for.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable


class Seen:
    """The numbers seen so far, kept small: everything up to `through`, and what came after a gap."""

    def __init__(self, through: int = 0) -> None:
        self.through = through  # nothing is missing up to here; what a store keeps with its rows
        self._beyond: list[int] = []

    def note(self, sequences: Iterable[int | None]) -> None:
        """These have been loaded; None (reports, letters of a hub without numbers) is passed over."""
        for sequence in sequences:
            if sequence is not None and sequence > self.through and sequence not in self._beyond:
                insort(self._beyond, sequence)
        while self._beyond and self._beyond[0] == self.through + 1:
            self.through = self._beyond.pop(0)

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """The missing ranges, first and last included, lowest first."""
        found, expected = [], self.through + 1
        for sequence in self._beyond:
            if sequence > expected:
                found.append((expected, sequence - 1))
            expected = sequence + 1
        return found
