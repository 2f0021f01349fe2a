"""Large bodies at rest: a file of sealed blocks, each content under a key of its own.

Every block but the last holds 1 MiB of the body: a nonce of its own, then AES-256-GCM with the content's digest and the
block's number as associated data, so that a block fits no other place and no other content. A range is read by opening
its blocks alone. What is appended overwrites the last, unfinished block; when a crash tears that block, it is dropped.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from commonroom.hub.master_keys import NONCE_BYTES, OVERHEAD
from commonroom.problems import Problem

BLOCK_BYTES = 1024 * 1024
SEALED_BYTES = BLOCK_BYTES + OVERHEAD
_ABOUT = b"commonroom file block "


class Cipher:
    """Seals and opens the blocks of one content."""

    def __init__(self, key: bytes, digest: bytes) -> None:
        self._cipher = AESGCM(key)
        self._about = _ABOUT + digest

    def seal(self, number: int, block: bytes | bytearray) -> bytes:
        """Nonce, ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, bytes(block), self._about + number.to_bytes(8, "big"))

    def open(self, number: int, sealed: bytes) -> bytes:
        """The block. Raises InvalidTag when it is not what was sealed at this place, whole."""
        if len(sealed) <= OVERHEAD:
            raise InvalidTag
        nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        return self._cipher.decrypt(nonce, text, self._about + number.to_bytes(8, "big"))


def plain_size(stored: int) -> int:
    """How many bytes of a body a sealed file of this length holds."""
    whole, rest = divmod(stored, SEALED_BYTES)
    return whole * BLOCK_BYTES + max(rest - OVERHEAD, 0)


class Appender:
    """The end of a sealed part file that is ours alone: what comes is sealed block by block.

    `size` is how many bytes of the body are here and open; a torn end is cut off when it is made.
    """

    def __init__(self, handle: int, cipher: Cipher) -> None:
        self._handle = handle
        self._cipher = cipher
        stored = os.fstat(handle).st_size
        self._number = max(stored - 1, 0) // SEALED_BYTES
        place = self._number * SEALED_BYTES
        try:
            self._block = bytearray(cipher.open(self._number, os.pread(handle, SEALED_BYTES, place)))
        except InvalidTag:
            self._block = bytearray()
            os.ftruncate(handle, place)
        self._unwritten = False

    @property
    def size(self) -> int:
        """Bytes of the body that are here."""
        return self._number * BLOCK_BYTES + len(self._block)

    def add(self, data: bytes | bytearray) -> None:
        """Append; whole blocks are written at once, what is left by `flush`."""
        view = memoryview(data)
        while view:
            if len(self._block) == BLOCK_BYTES:
                self._number, self._block = self._number + 1, bytearray()
            piece = view[: BLOCK_BYTES - len(self._block)]
            self._block += piece
            view = view[len(piece) :]
            self._unwritten = True
            if len(self._block) == BLOCK_BYTES:
                self._write()

    def flush(self) -> None:
        """Write the unfinished block, and all of it to the disk."""
        if self._unwritten:
            self._write()
        os.fsync(self._handle)

    def hashed(self) -> Any:
        """SHA-256 so far over all that is here, read again."""
        running = hashlib.sha256()
        for number in range(self._number):
            sealed = os.pread(self._handle, SEALED_BYTES, number * SEALED_BYTES)
            running.update(self._cipher.open(number, sealed))
        running.update(self._block)
        return running

    def _write(self) -> None:
        view = memoryview(self._cipher.seal(self._number, self._block))
        place = self._number * SEALED_BYTES
        while view:
            written = os.pwrite(self._handle, view, place)
            view, place = view[written:], place + written
        self._unwritten = False


class Reader:
    """A sealed file, open for reading, as the body it holds. One block is in memory."""

    def __init__(self, file: Any, cipher: Cipher) -> None:
        self._file = file
        self._cipher = cipher
        self._place = 0

    def seek(self, place: int) -> None:
        """Read from this byte of the body on."""
        self._place = place

    def read(self, most: int) -> bytes:
        """Some of the next bytes, up to the end of their block; nothing at the end. Raises Problem CR-148."""
        number, first = divmod(self._place, BLOCK_BYTES)
        self._file.seek(number * SEALED_BYTES)
        sealed = _all_of(self._file, SEALED_BYTES)
        if not sealed:
            return b""
        try:
            block = self._cipher.open(number, sealed)[first : first + most]
        except InvalidTag:
            raise _changed() from None
        self._place += len(block)
        return block

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _all_of(file: Any, most: int) -> bytes:
    """Reads again where a file gives less than was asked for."""
    found = b""
    while len(found) < most and (more := file.read(most - len(found))):
        found += more
    return found


def _changed() -> Problem:
    return Problem(
        "CR-148",
        "A stored body does not open: it was changed where it is stored.",
        status=500,
        where="the body store",
        remedy="The operator compares the ledger (commonroom ledger verify --database) and restores a backup.",
    )
