"""An end point's signing key on disk, and its change for a new one that a kill at any moment cannot break.

The new key is written whole beside the old one first. It takes the old one's place only when the hub knows it. Whatever
moment the change was cut off at, one of the two signs in.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from commonroom.exchange import keys
from commonroom.exchange.keys import SigningKey
from commonroom.problems import Problem


class KeyFile:
    """The file, read anew when another process has changed the key in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next_path = path.with_name(f"{path.name}.next")
        self._read: SigningKey | None = None
        self._state: tuple[int, int] = (0, 0)

    def current(self) -> SigningKey:
        """The key that signs now. Raises Problem CR-025 when there is none."""
        state = self._stat()
        if self._read is None or state != self._state:
            self._read, self._state = keys.signing_key(keys.load(self.path)), state
        return self._read

    def next(self) -> SigningKey | None:
        """The key that is to follow, when a change has begun and is not done."""
        try:
            return keys.signing_key(keys.load(self.next_path)) if self.next_path.exists() else None
        except Problem:
            if self.next_path.exists():
                raise
            return None  # another process has just finished the change

    def make_next(self) -> SigningKey:
        """The key that is to follow: the one of a change that was cut off, or a new one."""
        return keys.signing_key(keys.load_or_create(self.next_path))

    def promote(self) -> None:
        """Let the next key take the current one's place, unless another process has just done so."""
        with contextlib.suppress(FileNotFoundError):
            self.next_path.replace(self.path)
        keys.sync_folder(self.path.parent)

    def _stat(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return (0, 0)  # `load` says what is wrong
        return found.st_ino, found.st_mtime_ns
