"""Encryption of stored bodies: each body under a key of its own, and those keys wrapped by a master key.

AES-256-GCM throughout, with the message's id as associated data, so that neither a body nor a wrapped key fits another
message. Master keys are files of the hub's processes and never in the database: whoever has only a copy of the database
reads no body. Changing the master key wraps the bodies' keys anew and leaves the bodies as they are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from commonroom.ids import uuid7
from commonroom.problems import Problem, add_codes
from commonroom.settings import Settings

add_codes(
    {
        "CR-148": "The stored body is not what was accepted",
        "CR-149": "The master key of stored bodies cannot be used",
    }
)

KEY_BYTES = 32
NONCE_BYTES = 12
OVERHEAD = NONCE_BYTES + 16  # how much longer a sealed body is: nonce and tag
_RANDOM_BYTES = KEY_BYTES + 2 * NONCE_BYTES  # what sealing one body takes
KEEP_OLD = timedelta(hours=1)  # a process may have wrapped with it shortly before it learnt of the new one
GROUP = 1_000
_ABOUT_BODY = b"commonroom body "
_ABOUT_KEY = b"commonroom key "
_ABOUT_FILE = b"commonroom file key "
_NAME_FORM = "%Y%m%dT%H%M%S%fZ"
_SUFFIX = ".master"


class SealedBody(msgspec.Struct, frozen=True):
    """A body as it is stored."""

    body: bytes  # nonce, ciphertext, tag
    master: str | None  # name of the master key; None: not sealed by us, and never opened
    wrapped: bytes | None  # nonce, the body's key encrypted, tag


def sealed_in(row: Any) -> SealedBody | None:
    """The sealed body in a row of hub.body; None when the body is large and elsewhere, or gone."""
    return None if row["body"] is None else SealedBody(row["body"], row["master"], row["wrapped"])


class MasterKeys:
    """The master keys in the data folder. The newest wraps, each opens what it wrapped. Blocks, for microseconds."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.folder("keys") / "bodies"
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self._seen = -1  # the folder's time of change when its files were read
        self._ciphers: dict[str, AESGCM] = {}
        self._newest = ""

    def seal(self, message: UUID, body: bytes) -> SealedBody:
        """Encrypt a body under a new key."""
        master, [(sealed, wrapped)] = self.seal_all([(message, body)])
        return SealedBody(sealed, master, wrapped)

    def seal_all(self, letters: Sequence[tuple[UUID, bytes]]) -> tuple[str, list[tuple[bytes, bytes]]]:
        """The master key's name, and each body encrypted under a new key of its own with that key wrapped."""
        self._look()
        if not self._newest:
            self.add()
        wrap = self._ciphers[self._newest].encrypt
        random, place = os.urandom(len(letters) * _RANDOM_BYTES), 0
        sealed = []
        for message, body in letters:
            key = random[place : place + KEY_BYTES]
            nonce = random[place + KEY_BYTES : place + KEY_BYTES + NONCE_BYTES]
            place += _RANDOM_BYTES
            other = random[place - NONCE_BYTES : place]
            number = message.bytes
            sealed.append(
                (
                    nonce + AESGCM(key).encrypt(nonce, body, _ABOUT_BODY + number),
                    other + wrap(other, key, _ABOUT_KEY + number),
                )
            )
        return self._newest, sealed

    def open(self, message: UUID, sealed: SealedBody) -> bytes:
        """The body, exactly as it was sealed for this message.

        Raises Problem CR-148 when anything stored was changed, CR-149 when the master key is not here.
        """
        key = self._key_of(message, sealed)
        try:
            nonce, text = sealed.body[:NONCE_BYTES], sealed.body[NONCE_BYTES:]
            return AESGCM(key).decrypt(nonce, text, _about_body(message))
        except (InvalidTag, ValueError) as error:
            raise _changed(f"The stored body of message {message}") from error

    def rewrap(self, message: UUID, sealed: SealedBody) -> SealedBody:
        """The same body, its key wrapped by the newest master key."""
        key = self._key_of(message, sealed)
        return SealedBody(sealed.body, *self._wrap(_about_key(message), key))

    def new_file_key(self, digest: bytes) -> tuple[str, bytes]:
        """A new key for the file of a content: the master key's name and the key as that has wrapped it."""
        return self._wrap(_ABOUT_FILE + digest, os.urandom(KEY_BYTES))

    def file_key(self, digest: bytes, master: str, wrapped: bytes) -> bytes:
        """The key of a content's file. Raises Problem CR-148 and CR-149 as `open` does."""
        try:
            return self._unwrap(_ABOUT_FILE + digest, master, wrapped)
        except InvalidTag as error:
            raise _changed("The key of a stored file") from error

    def rewrap_file(self, digest: bytes, master: str, wrapped: bytes) -> bytes:
        """The same key, wrapped by the newest master key."""
        return self._wrap(_ABOUT_FILE + digest, self.file_key(digest, master, wrapped))[1]

    def add(self) -> str:
        """Make a new master key, which wraps from now on; its name. It is on disk before it is used."""
        key = os.urandom(KEY_BYTES)
        made = self._folder / f"{datetime.now(UTC).strftime(_NAME_FORM)}-{_fingerprint(key)}{_SUFFIX}"
        part = self._folder / f"{uuid7()}.part"
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        part.replace(made)
        _sync_folder(self._folder)
        self._read()
        return made.stem

    def forget(self, used: set[str]) -> list[str]:
        """Remove master keys that are not the newest, wrap nothing any more, and have not been the newest for a while."""
        files = _files(self._folder)
        gone = []
        for file, successor in pairwise(files):
            made = datetime.strptime(successor.stem.partition("-")[0], _NAME_FORM).replace(tzinfo=UTC)
            if file.stem not in used and datetime.now(UTC) - made > KEEP_OLD:
                file.unlink()
                gone.append(file.stem)
        return gone

    @property
    def newest(self) -> str:
        """The name of the master key that wraps; empty before the first body."""
        self._look()
        return self._newest

    def _wrap(self, about: bytes, key: bytes) -> tuple[str, bytes]:
        self._look()
        if not self._newest:
            self.add()
        nonce = os.urandom(NONCE_BYTES)
        return self._newest, nonce + self._ciphers[self._newest].encrypt(nonce, key, about)

    def _key_of(self, message: UUID, sealed: SealedBody) -> bytes:
        try:
            if sealed.master is None or sealed.wrapped is None:
                raise InvalidTag
            return self._unwrap(_about_key(message), sealed.master, sealed.wrapped)
        except InvalidTag as error:
            raise _changed(f"The stored body of message {message}") from error

    def _unwrap(self, about: bytes, master: str, wrapped: bytes) -> bytes:
        """Raises InvalidTag when it was changed, Problem CR-149 when its master key is not here."""
        if master not in self._ciphers:
            self._read()
        if (cipher := self._ciphers.get(master)) is None:
            raise _unusable(f"The master key {master[:100]} is not in {self._folder.name}.")
        try:
            return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], about)
        except ValueError as error:
            raise InvalidTag from error

    def _look(self) -> None:
        if self._folder.stat().st_mtime_ns != self._seen:
            self._read()

    def _read(self) -> None:
        seen = (
            self._folder.stat().st_mtime_ns
        )  # before the files: a change meanwhile is seen by the next look
        files = _files(self._folder)
        self._ciphers = {file.stem: AESGCM(_key_in(file)) for file in files}
        self._newest = files[-1].stem if files else ""
        self._seen = seen


_OLD = """
SELECT b.message, m.id, b.master, b.wrapped
FROM hub.body b JOIN hub.message m ON m.position = b.message
WHERE b.message > $1 AND b.body IS NOT NULL AND b.master <> $2
ORDER BY b.message LIMIT $3
"""
# Bodies that another rotation has wrapped meanwhile stay as that left them.
_REWRAP = """
UPDATE hub.body b SET master = $4, wrapped = given.wrapped
FROM unnest($1::bigint[], $2::text[], $3::bytea[]) AS given(message, before, wrapped)
WHERE b.message = given.message AND b.master = given.before
"""
_FILES = (
    (
        "SELECT digest, master, wrapped FROM hub.stored_body WHERE master <> $1",
        "UPDATE hub.stored_body SET master = $3, wrapped = $4 WHERE digest = $1 AND master = $2 AND wrapped = $5",
    ),
    (
        "SELECT DISTINCT digest, master, wrapped FROM hub.upload WHERE master <> $1",
        "UPDATE hub.upload SET master = $3, wrapped = $4 WHERE digest = $1 AND master = $2 AND wrapped = $5",
    ),
)
_USED = """
SELECT master FROM hub.body WHERE master IS NOT NULL
UNION
SELECT master FROM hub.stored_body
UNION
SELECT master FROM hub.upload
"""


class Rotated(msgspec.Struct, frozen=True):
    """What a change of the master key did."""

    master: str  # name of the new one
    rewrapped: int
    unreadable: tuple[UUID, ...]  # messages whose keys do not open; they were left as they are
    unreadable_files: tuple[str, ...]  # the same of the body store, by digest in hex
    forgotten: list[str]  # master keys that were removed


async def rotate(settings: Settings, connection: Any) -> Rotated:
    """Make a new master key and wrap all bodies' keys with it, a group at a time. Safe to repeat after a crash."""
    keys = MasterKeys(settings)
    master = keys.add()
    count, last, unreadable = 0, 0, list[UUID]()
    while rows := await connection.fetch(_OLD, last, master, GROUP):
        wrapped: list[tuple[int, str, bytes | None]] = []
        for row in rows:
            try:
                again = keys.rewrap(row["id"], SealedBody(b"", row["master"], row["wrapped"]))
            except Problem:
                unreadable.append(row["id"])
            else:
                wrapped.append((row["message"], row["master"], again.wrapped))
        numbers, before, values = ([one[place] for one in wrapped] for place in range(3))
        await connection.execute(_REWRAP, numbers, before, values, master)
        count += len(wrapped)
        last = rows[-1]["message"]
    files, lost = await _rewrap_files(connection, keys, master)
    used = {row["master"] for row in await connection.fetch(_USED)}
    return Rotated(master, count + files, tuple(unreadable), lost, keys.forget(used))


async def _rewrap_files(connection: Any, keys: MasterKeys, master: str) -> tuple[int, tuple[str, ...]]:
    """How many keys of files were wrapped anew, and which files' keys do not open."""
    count, lost = 0, set[str]()
    for find, change in _FILES:
        for row in await connection.fetch(find, master):
            digest, before, wrapped = row["digest"], row["master"], row["wrapped"]
            try:
                again = keys.rewrap_file(digest, before, wrapped)
            except Problem:
                lost.add(digest.hex())
            else:
                await connection.execute(change, digest, before, master, again, wrapped)
                count += 1
    return count, tuple(sorted(lost))


def _about_body(message: UUID) -> bytes:
    return _ABOUT_BODY + message.bytes


def _about_key(message: UUID) -> bytes:
    return _ABOUT_KEY + message.bytes


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _fingerprint(key: bytes) -> str:
    return hashlib.sha256(b"commonroom master " + key).hexdigest()[:16]


def _key_in(file: Path) -> bytes:
    key = file.read_bytes()
    if len(key) != KEY_BYTES or not file.stem.endswith(f"-{_fingerprint(key)}"):
        raise _unusable(f"{file.name} does not hold the key that its name says.")
    return key


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _changed(what: str) -> Problem:
    return Problem(
        "CR-148",
        f"{what} does not open: it was changed where it is stored.",
        status=500,
        where="hub.body",
        remedy="The operator compares the ledger (commonroom ledger verify --database) and restores a backup.",
    )


def _unusable(detail: str) -> Problem:
    return Problem(
        "CR-149",
        detail,
        status=503,
        where="the folder keys/bodies",
        remedy="Put the files of keys/bodies back from their backup; nothing is lost and nothing goes out without.",
    )
