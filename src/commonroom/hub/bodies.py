"""Who may fetch the body of a message, and how the sweeper keeps the store to what messages need.

A stored file is needed while a row of hub.body names it or an upload that has not expired does. The sweeper removes what
nobody needs, after a grace time; a crash between file and row therefore leaves litter and never a gap.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from commonroom import log
from commonroom.exchange import Envelope, StoredBody, digest_text
from commonroom.exchange.envelope import SPEC_VERSION
from commonroom.hub.body_store import BodyStore, is_content, open_store, part_of
from commonroom.hub.mailbox import LeasedLetter
from commonroom.hub.master_keys import MasterKeys, sealed_in
from commonroom.hub.sealed_files import Cipher, Reader
from commonroom.hub.uploads import locked, unknown
from commonroom.problems import Problem
from commonroom.settings import Settings

GROUP = 1_000
_SPEC_VERSION = b',"specversion":"%b"' % SPEC_VERSION.encode("ascii")


class StoredFile(msgspec.Struct, frozen=True):
    """A content of the body store and what opens it."""

    digest: bytes
    master: str
    wrapped: bytes

    def open(self, store: BodyStore, master_keys: MasterKeys) -> Reader:
        """The body, to be read. Blocks. Raises FileNotFoundError, Problem CR-148 or CR-149."""
        key = master_keys.file_key(self.digest, self.master, self.wrapped)
        return Reader(store.open(self.digest), Cipher(key, self.digest))


class FoundBody(msgspec.Struct, frozen=True, kw_only=True):
    """A body somebody may have: in the row (`body`) or in the store (`stored`); neither when its retention is over."""

    size: int
    digest: bytes
    media_type: str | None
    body: bytes | None
    stored: StoredFile | None


# A recipient must hold the lease, as for acknowledging: the gates of delivery stand where leases are given.
_FIND = """
SELECT m.id AS message_id, m.size, m.digest, m.envelope ->> 'datacontenttype' AS media_type, b.body, b.master, b.wrapped,
    s.digest AS stored, s.master AS stored_master, s.wrapped AS stored_wrapped
FROM hub.message m LEFT JOIN hub.body b ON b.message = m.position LEFT JOIN hub.stored_body s ON s.digest = b.stored
WHERE m.id = $1 AND (
    m.source = $2
    OR EXISTS (
        SELECT FROM hub.delivery d
        WHERE d.message = m.position AND d.recipient = $2 AND d.state = 'leased' AND d.lease_holder = $3
            AND d.movement IN (SELECT id FROM hub.active_movement)
            AND d.needs <= (SELECT hub.level_of($2, $3))
    )
)
"""

_EXPIRED = """
DELETE FROM hub.upload WHERE id IN (
    SELECT id FROM hub.upload WHERE expires_at <= clock_timestamp() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
RETURNING id
"""

_UNNEEDED = """
SELECT digest FROM hub.stored_body s
WHERE digest > $1 AND stored_at < clock_timestamp() - make_interval(secs => $2)
    AND NOT EXISTS (SELECT FROM hub.body b WHERE b.stored = s.digest)
    AND NOT EXISTS (SELECT FROM hub.upload u WHERE u.digest = s.digest AND u.stored_at IS NOT NULL)
ORDER BY digest
LIMIT $3
"""

# First the lock, then the look: a post that has just named the content is seen by the second statement.
_LOCK_ROW = "SELECT FROM hub.stored_body WHERE digest = $1 FOR UPDATE"
_FORGET = """
DELETE FROM hub.stored_body s
WHERE digest = $1
    AND NOT EXISTS (SELECT FROM hub.body b WHERE b.stored = s.digest)
    AND NOT EXISTS (SELECT FROM hub.upload u WHERE u.digest = s.digest AND u.stored_at IS NOT NULL)
RETURNING digest
"""
_KNOWN = "SELECT EXISTS (SELECT FROM hub.stored_body WHERE digest = $1)"
_UPLOADING = "SELECT id FROM hub.upload WHERE id = ANY($1::uuid[])"


# The lock keeps the sweeper off until the transaction that stores the messages has ended.
_COMPLETE_UPLOADS = """
SELECT id, party, digest, size FROM hub.upload
WHERE id = ANY($1::uuid[]) AND stored_at IS NOT NULL AND expires_at > clock_timestamp()
ORDER BY id
FOR KEY SHARE
"""


async def complete_uploads(connection: Any, names: Sequence[str]) -> dict[tuple[str, str, bytes], int]:
    """Sizes of those of these uploads that are complete, by name, party and digest; kept until the transaction ends."""
    rows = await connection.fetch(_COMPLETE_UPLOADS, names)
    return {(str(row["id"]), row["party"], row["digest"]): row["size"] for row in rows}


async def find(
    connection: Any, master_keys: MasterKeys, message: str, party: str, end_point: str
) -> FoundBody | None:
    """The body of a message for its sender, or for the end point of a recipient that holds its lease; else None.

    Raises Problem CR-148 when it was changed where it is stored.
    """
    try:
        row = await connection.fetchrow(_FIND, UUID(message), party, end_point)
    except ValueError:
        return None
    if row is None:
        return None
    return FoundBody(
        size=row["size"],
        digest=row["digest"],
        media_type=row["media_type"],
        body=open_body(master_keys, row),
        stored=stored_file(row),
    )


def stored_file(row: Any) -> StoredFile | None:
    """The content named by a row with stored, stored_master and stored_wrapped; None when the body is not in the store."""
    return (
        None
        if row["stored"] is None
        else StoredFile(row["stored"], row["stored_master"], row["stored_wrapped"])
    )


def open_body(master_keys: MasterKeys, row: Any) -> bytes | None:
    """The body in a row with message_id, body, master and wrapped; None when there is none in it.

    Raises Problem CR-148 when it was changed where it is stored, CR-149 when its master key is not here.
    """
    sealed = sealed_in(row)
    return None if sealed is None else master_keys.open(row["message_id"], sealed)


def enclosed(letter: LeasedLetter) -> dict[str, Any]:
    """The message of a letter with its body, or, when that is large, with where to fetch it."""
    # The envelope is JSON already, and it goes out as it is, with what else the message has written behind it.
    open_message = letter.envelope[:-1] + _SPEC_VERSION
    if letter.body is not None:
        body = binascii.b2a_base64(letter.body, newline=False)
        return {"message": msgspec.Raw(b'%b,"data_base64":"%b"}' % (open_message, body))}
    location = f"/messages/{letter.message}/body"
    return {
        "message": msgspec.Raw(open_message + b"}"),
        "body": StoredBody(size=letter.size, digest=digest_text(letter.digest), location=location),
    }


def referred(envelope: Envelope, body: bytes) -> bytes:
    """The digest of the stored body that the envelope names. Raises Problem CR-020 or CR-021."""
    if body:
        raise Problem(
            "CR-021",
            "The envelope names an upload as the body, and there is another body.",
            where="ce-bodyref",
            remedy="Send no body with ce-bodyref.",
        )
    if envelope.bodydigest is None:
        raise Problem(
            "CR-020",
            "A message that names an upload must state the digest of its body.",
            where="ce-bodydigest",
            remedy="Send the digest with which the upload was begun.",
        )
    return digest_of(envelope.bodydigest)


def no_such_upload() -> Problem:
    """For a message that names what is not a complete upload of its sender with that digest."""
    return unknown(422, "ce-bodyref")


def digest_of(text: str) -> bytes:
    """The 32 bytes of `sha-256=:<base64>:`, which the envelope or the request has checked."""
    return base64.b64decode(text.removeprefix("sha-256=:").removesuffix(":"))


async def sweep(settings: Settings, connection: Any) -> None:
    """Remove expired uploads, stored bodies nobody needs, and litter of crashes. Part of the retention job."""
    store = await asyncio.to_thread(open_store, settings)
    grace = settings.body_grace_seconds
    uploads = await _end_uploads(connection, store)
    contents = await _forget_unneeded(connection, store, grace)
    litter = await _clear_litter(connection, store, grace) + await _clear_parts(connection, store, grace)
    if uploads or contents or litter:
        log.get("hub").info("body store swept", uploads=uploads, contents=contents, litter=litter)


async def _end_uploads(connection: Any, store: BodyStore) -> int:
    count = 0
    while rows := await connection.fetch(_EXPIRED, GROUP):
        for row in rows:
            part_of(store, row["id"]).unlink(missing_ok=True)
        count += len(rows)
    return count


async def _forget_unneeded(connection: Any, store: BodyStore, grace: int) -> int:
    count, last = 0, b""
    while rows := await connection.fetch(_UNNEEDED, last, float(grace), GROUP):
        for row in rows:
            count += await _forget(connection, store, row["digest"])
        last = rows[-1]["digest"]
    return count


async def _forget(connection: Any, store: BodyStore, digest: bytes) -> bool:
    """Row first, then file, under the content's lock: a crash between leaves litter."""
    async with locked(connection, digest):
        async with connection.transaction():
            await connection.execute(_LOCK_ROW, digest)
            gone = await connection.fetchval(_FORGET, digest)
        if gone is not None:
            await asyncio.to_thread(store.delete, digest)
    return gone is not None


async def _clear_litter(connection: Any, store: BodyStore, grace: int) -> int:
    """Files of the store that no row names."""
    names = store.litter(time.time() - grace)
    count = 0
    while found := await asyncio.to_thread(lambda: list(islice(names, GROUP))):
        for name, _ in found:
            if not is_content(name):
                if name.endswith(".copy"):  # cut off while it was being copied
                    await asyncio.to_thread(store.delete_litter, name)
                    count += 1
                continue
            digest = bytes.fromhex(name)
            async with locked(connection, digest):
                if not await connection.fetchval(_KNOWN, digest):
                    await asyncio.to_thread(store.delete_litter, name)
                    count += 1
    return count


async def _clear_parts(connection: Any, store: BodyStore, grace: int) -> int:
    """Part files without an upload."""
    before = time.time() - grace
    old = {path.name: path for path in store.parts.iterdir() if _written(path) < before}
    ids = [found for name in old if (found := _uuid(name.partition(".")[0])) is not None]
    alive = {str(row["id"]) for row in await connection.fetch(_UPLOADING, ids)}
    gone = [path for name, path in old.items() if name not in alive]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone)


def _written(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return time.time()


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
