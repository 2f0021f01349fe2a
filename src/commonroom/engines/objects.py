"""Objects under one address of a store, by delta-rs's own way to it: the same credentials, and no second library.

delta-rs holds Python's lock while it asks how large the object is that it is to open: every thread of the process stands
still for that request, or until a store that hangs is given up. So it is told a size, right or wrong, of each object that is
opened, and where a size is needed it is asked for in a way that lets go of the lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pyarrow.fs
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler

# A question waits for an answer; the loader tries again by itself.
OPTIONS = {"connect_timeout": "5s", "timeout": "60s", "max_retries": "5", "retry_timeout": "20s"}
_CHUNK_BYTES = 8 * 1024 * 1024


class Objects:
    """What lies under an address. Faults are OSError, of an object that is not there FileNotFoundError."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._open: DeltaTable | None = None

    def read(self, name: str, most: int) -> Iterator[bytes]:
        """An object from its beginning, in pieces, `most` bytes at most."""
        with self._told({name: most}).open_input_file(name) as file:
            position = 0
            while position < most:
                left = most - position
                # No request begins where the object may end: it would be refused.
                asked = left if left <= _CHUNK_BYTES + 1 else _CHUNK_BYTES
                try:
                    piece = file.read(asked)
                except OSError:
                    if position and self.size(name) == position:
                        return
                    raise
                yield piece
                position += len(piece)
                if len(piece) < asked:
                    return

    def size(self, name: str) -> int | None:
        """How large an object is; None where there is none."""
        found = self._untold.get_file_info(name)
        return int(found.size) if found.is_file else None

    @cached_property
    def _untold(self) -> Any:
        return pyarrow.fs.PyFileSystem(DeltaStorageHandler(self._address, OPTIONS))

    def through(self, table: DeltaTable) -> bool:
        """Whether the way of this table, open at this address, is gone from now on.

        Then it may be used for nothing else: who loads another version of it has it locked for that long, and who goes
        its way meanwhile waits for it with Python's lock in hand.
        """
        if self._open is not None:
            return False
        self._open = table
        return True

    def _told(self, sizes: dict[str, int]) -> Any:
        """The store as one who has been told these sizes sees it; it costs nothing over a table that is open."""
        if self._open is None:
            self._open = DeltaTable(self._address, storage_options=OPTIONS)
        return pyarrow.fs.PyFileSystem(DeltaStorageHandler.from_table(self._open._table, OPTIONS, sizes))
