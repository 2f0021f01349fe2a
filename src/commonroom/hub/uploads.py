"""Uploads: a large body comes in piece by piece, is hashed while it is written, and can go on after any cut.

It lies sealed from its first byte. How much of it is here is the length of its part file, so neither a killed hub nor a
dropped connection loses what was written. A part file is written by one request at a time (flock), also with several hub
processes on one folder. Whole and with its digest proved it becomes a stored body; a message then names the upload
(`ce-bodyref`).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag

from commonroom import log
from commonroom.hub.body_store import BodyStore, full, no_room, part_of
from commonroom.hub.master_keys import MasterKeys
from commonroom.hub.sealed_files import BLOCK_BYTES, Appender, Cipher, plain_size
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.settings import Settings

IDLE_SECONDS = 60.0  # a sender that is silent for so long has gone
REMEMBERED = 256  # uploads whose running hash is kept; the others are read again from the part file

_logger = log.get("hub")


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One row of hub.upload."""

    id: UUID
    party: str
    digest: bytes
    size: int
    expires_at: datetime
    stored_at: datetime | None
    master: str  # the master key that has wrapped the file's key
    wrapped: bytes


_COLUMNS = "id, party, digest, size, expires_at, stored_at, master, wrapped"

# One asker of a party at a time, or two would each see room for the last one.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('upload ' || $1, 0))"

# What is open: not yet whole, or whole and in no message.
_OPEN = """
SELECT count(*) AS uploads, coalesce(sum(size), 0)::bigint AS bytes
FROM hub.upload u
WHERE party = $1 AND expires_at > clock_timestamp() AND (digest, size) <> ($2, $3)
    AND (stored_at IS NULL OR NOT EXISTS (SELECT FROM hub.body b WHERE b.stored = u.digest))
"""

_BEGIN = f"""
INSERT INTO hub.upload (id, party, digest, size, expires_at, master, wrapped)
VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(hours => $5), $6, $7)
ON CONFLICT (party, digest, size) DO UPDATE SET expires_at = excluded.expires_at
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants

_FIND = f"SELECT {_COLUMNS} FROM hub.upload WHERE id = $1 AND party = $2 AND expires_at > clock_timestamp()"  # noqa: S608

_PROLONG = f"""
UPDATE hub.upload SET expires_at = clock_timestamp() + make_interval(hours => $3)
WHERE id = $1 AND party = $2 AND expires_at > clock_timestamp()
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants

_KNOWN = "SELECT EXISTS (SELECT FROM hub.stored_body WHERE digest = $1)"

# The key goes with the file that is kept: the first one's, whoever sends the same content later.
_STORED = """
WITH content AS (
    INSERT INTO hub.stored_body (digest, size, master, wrapped)
    SELECT digest, size, master, wrapped FROM hub.upload WHERE id = $1
    ON CONFLICT (digest) DO NOTHING
)
UPDATE hub.upload SET stored_at = clock_timestamp() WHERE id = $1
"""

_DROP = "DELETE FROM hub.upload WHERE id = $1"

_LOCK = "SELECT pg_advisory_lock(hashtextextended('body ' || encode($1, 'hex'), 0))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended('body ' || encode($1, 'hex'), 0))"


@asynccontextmanager
async def locked(connection: Any, digest: bytes) -> AsyncIterator[None]:
    """Nobody else puts or deletes this content meanwhile, in any hub process. Outside of a transaction."""
    unlocked = False
    try:
        await connection.execute(_LOCK, digest)
        yield
        await connection.execute(_UNLOCK, digest)
        unlocked = True
    finally:
        if not unlocked:  # the lock is the session's: it ends with it, whatever went wrong
            connection.terminate()


class Uploads:
    """The uploads of one hub process."""

    def __init__(self, settings: Settings, pool: Any, store: BodyStore, master_keys: MasterKeys) -> None:
        self._settings = settings
        self._pool = pool
        self._store = store
        self._master_keys = master_keys
        self._hashes: OrderedDict[UUID, tuple[int, Any]] = OrderedDict()  # bytes hashed, running SHA-256

    async def begin(self, party: str, digest: bytes, size: int) -> Upload:
        """A new upload, or the party's own one of the same content. Raises Problem CR-046, CR-163 or CR-164."""
        settings = self._settings
        if size > settings.max_large_body_bytes:
            raise Problem(
                "CR-046",
                f"The body is over {settings.max_large_body_bytes:,} bytes.",
                status=413,
                where="size",
                remedy="Send it in several messages.",
            )
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_ONE_AT_A_TIME, party)
            found = await connection.fetchrow(_OPEN, party, digest, size)
            if found["uploads"] >= settings.max_uploads or found["bytes"] + size > settings.max_uploads_bytes:
                raise _over_quota(settings)
            self._need_room(size)
            key = self._master_keys.new_file_key(digest)
            row = await connection.fetchrow(_BEGIN, uuid7(), party, digest, size, settings.upload_hours, *key)
        return Upload(**row)

    async def find(self, text: str, party: str) -> Upload:
        """The party's own upload. Raises Problem CR-160 (404) for every other, as if there were none."""
        return await self._row(_FIND, text, party)

    def offset(self, upload: Upload) -> int:
        """How many bytes of it are here."""
        if upload.stored_at is not None:
            return upload.size
        try:
            return min(plain_size(part_of(self._store, upload.id).stat().st_size), upload.size)
        except FileNotFoundError:
            return 0

    async def receive(
        self, text: str, party: str, first: int | None, chunks: AsyncIterator[bytes], announced: int | None
    ) -> Upload:
        """Append what comes; when it is whole, prove the digest and store it.

        `first` is where the sender goes on, None for the end of what is here when nothing is. Raises Problem CR-160
        to CR-164; whatever came before is kept, except when the whole is not what its digest says.
        """
        upload = await self._row(_PROLONG, text, party, self._settings.upload_hours)
        if upload.stored_at is not None:
            if first not in (None, upload.size) or announced:
                raise _elsewhere(upload.size)
            return upload
        with _part(part_of(self._store, upload.id)) as handle:
            part = await asyncio.to_thread(Appender, handle, self._cipher(upload))
            here = part.size
            if (first or 0) != here:
                raise _elsewhere(here)
            if announced is not None and here + announced > upload.size:
                raise _too_long(upload)
            self._need_room(upload.size - here)
            try:
                await self._append(upload, part, chunks)
            except OSError as error:
                self._hashes.pop(upload.id, None)
                if no_room(error):
                    _logger.error("no room for a large body", error=type(error).__name__, number=error.errno)
                    raise full() from None
                raise
            if part.size == upload.size:
                await self._finish(upload, part)
        return await self.find(text, party)

    async def cancel(self, text: str, party: str) -> None:
        """Forget an upload and what came of it; messages that were posted with it keep their body."""
        upload = await self.find(text, party)
        await self._discard(upload)

    async def _append(self, upload: Upload, part: Appender, chunks: AsyncIterator[bytes]) -> None:
        """Seal and hash, a block at a time, off the event loop; on disk before this returns or raises."""
        running = await self._hash_of(upload, part)
        here, block = part.size, bytearray()
        try:
            async for chunk in _unless_idle(chunks):
                if here + len(block) + len(chunk) > upload.size:
                    raise _too_long(upload)
                block += chunk
                if len(block) >= BLOCK_BYTES:
                    whole, block = block, bytearray()  # what fails half written must not be written again
                    await asyncio.to_thread(_take, part, running, whole)
                    here = part.size
        finally:
            if block:
                await asyncio.to_thread(_take, part, running, block)
            await asyncio.to_thread(part.flush)
            self._remember(upload.id, part.size, running)

    async def _finish(self, upload: Upload, part: Appender) -> None:
        running = await self._hash_of(upload, part)
        if running.digest() != upload.digest:
            await self._discard(upload)
            raise Problem(
                "CR-161",
                "What has arrived is not what the digest says; it has been thrown away.",
                status=422,
                where="digest",
                remedy="Compute the SHA-256 over the file as it is sent, and upload it again.",
            )
        path = part_of(self._store, upload.id)
        async with self._pool.acquire() as connection, locked(connection, upload.digest):
            if not await connection.fetchval(_KNOWN, upload.digest):
                await self._keep(path, upload.digest)
            await connection.execute(_STORED, upload.id)
        self._hashes.pop(upload.id, None)
        path.unlink(missing_ok=True)

    async def _keep(self, path: Path, digest: bytes) -> None:
        try:
            await asyncio.to_thread(self._store.put, path, digest)
        except OSError as error:
            if no_room(error):
                raise full() from None
            raise

    def _cipher(self, upload: Upload) -> Cipher:
        return Cipher(self._master_keys.file_key(upload.digest, upload.master, upload.wrapped), upload.digest)

    async def _discard(self, upload: Upload) -> None:
        await self._pool.execute(_DROP, upload.id)
        self._hashes.pop(upload.id, None)
        part_of(self._store, upload.id).unlink(missing_ok=True)

    async def _row(self, query: str, text: str, party: str, *more: Any) -> Upload:
        try:
            row = await self._pool.fetchrow(query, UUID(text), party, *more)
        except ValueError:
            row = None
        if row is None:
            raise unknown()
        return Upload(**row)

    async def _hash_of(self, upload: Upload, part: Appender) -> Any:
        """The running hash over what is here: remembered, or read again after a restart."""
        known, running = self._hashes.pop(upload.id, (0, None))
        if running is None or known != part.size:
            try:
                running = await asyncio.to_thread(part.hashed)
            except InvalidTag:  # a power cut tore more than the end: there is nothing to go on from
                _logger.error("an upload's part file is torn", upload=str(upload.id))
                await self._discard(upload)
                raise unknown(409) from None
        self._remember(upload.id, part.size, running)
        return running

    def _remember(self, upload: UUID, here: int, running: Any) -> None:
        self._hashes[upload] = (here, running)
        self._hashes.move_to_end(upload)
        while len(self._hashes) > REMEMBERED:
            self._hashes.popitem(last=False)

    def _need_room(self, size: int) -> None:
        if shutil.disk_usage(self._store.parts).free - size < self._settings.keep_free_bytes:
            _logger.error("no room for a large body", keep_free_bytes=self._settings.keep_free_bytes)
            raise full()


@contextmanager
def _part(path: Path) -> Iterator[int]:
    """The part file, open, ours alone. Raises Problem CR-162 when another request is writing it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy() from None
        yield handle
    finally:
        os.close(handle)


def _take(part: Appender, running: Any, block: bytearray) -> None:
    part.add(block)
    running.update(block)


async def _unless_idle(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _silent() from None
        yield chunk


def unknown(status: int = 404, where: str = "the upload") -> Problem:
    """Problem CR-160."""
    return Problem(
        "CR-160",
        "You have no such upload, or it is not complete, or it has expired.",
        status=status,
        where=where,
        remedy="Begin it again with POST /uploads; GET /uploads/{id} says how far one is.",
    )


def _elsewhere(here: int) -> Problem:
    return Problem(
        "CR-162",
        f"The hub has the first {here:,} bytes and takes what follows them.",
        status=409,
        where="Content-Range or Upload-Offset",
        remedy="Ask for the offset with HEAD or GET /uploads/{id} and go on from there.",
        extra={"offset": here},
    )


def _busy() -> Problem:
    return Problem(
        "CR-162",
        "Another request is writing this upload.",
        status=409,
        where="the upload",
        remedy="Wait a little, ask for the offset with HEAD or GET /uploads/{id}, and go on from there.",
    )


def _silent() -> Problem:
    return Problem(
        "CR-050",
        f"Nothing came for {IDLE_SECONDS:.0f} seconds. What had come before is kept.",
        status=408,
        where="the body",
        remedy="Ask for the offset and go on from there.",
    )


def _too_long(upload: Upload) -> Problem:
    return Problem(
        "CR-161",
        f"More comes than the {upload.size:,} bytes that were announced.",
        status=413,
        where="the body",
        remedy="Begin another upload with the right size and digest.",
    )


def _over_quota(settings: Settings) -> Problem:
    return Problem(
        "CR-163",
        f"An organisation may have {settings.max_uploads} uploads open, of {settings.max_uploads_bytes:,} bytes together.",
        status=429,
        where="size",
        remedy="Post the messages of those that are complete, delete what is not needed, or wait.",
        extra={"retry_after": 60},
    )
