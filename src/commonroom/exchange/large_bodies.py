"""Large bodies at an end point: send a file and fetch one, going on after every cut, with the digest proved.

Files are read and written in blocks and never whole. The client's promises hold: Unreachable means try again later (what
has arrived stays and is not sent twice), Problem means that trying again will not help.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from commonroom.exchange import contract
from commonroom.exchange.cuts import Unreachable
from commonroom.exchange.envelope import Envelope, check_digest, digest_text
from commonroom.problems import Problem

if TYPE_CHECKING:
    from commonroom.exchange.client import Client
    from commonroom.exchange.letters import Letter

SMALL_BYTES = 1_048_576  # up to here a file travels in the message, unless the hub takes less
PART_BYTES = 32 * 1_048_576  # one PUT
BLOCK_BYTES = 1_048_576
PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0)  # seconds, after tries that got nothing through
LEASE_SECONDS = 900
EXTEND_SECONDS = 300.0
ENCLOSE_PATIENCE = 20.0
_GONE_ON, _NO_UPLOAD, _TOO_LARGE = "CR-162", "CR-160", "CR-046"


def message_digest(envelope: Envelope, body: bytes) -> bytes:
    """The SHA-256 of a message's body, also when that is an upload and not here."""
    if envelope.bodyref is None or envelope.bodydigest is None:
        return hashlib.sha256(body).digest()
    return base64.b64decode(envelope.bodydigest.removeprefix("sha-256=:").removesuffix(":"))


async def post_file(client: Client, envelope: Envelope, path: Path, patience: float) -> contract.Receipt:
    """See `Client.post_file`."""
    size = path.stat().st_size
    if size <= SMALL_BYTES:
        try:
            return await client.post(envelope, await asyncio.to_thread(path.read_bytes))
        except Problem as problem:
            if problem.code != _TOO_LARGE:
                raise
    digest = digest_text((await asyncio.to_thread(_hash_of, path)).digest())
    upload = await _Sending(
        client, path, contract.UploadRequest(size=size, digest=digest), patience
    ).complete()
    return await client.post(msgspec.structs.replace(envelope, bodyref=upload.id, bodydigest=digest), b"")


async def fetch_body(client: Client, letter: Letter, path: Path, patience: float) -> None:
    """See `Client.fetch_body`."""
    if letter.stored is None:
        check_digest(letter.envelope, letter.body)
        await asyncio.to_thread(_write_whole, path, letter.body)
        return
    if letter.stored.digest != letter.envelope.bodydigest:
        raise Problem(
            "CR-021",
            "The hub offers another body than the one whose digest the envelope states.",
            where="ce-bodydigest",
            remedy="Refuse the letter.",
        )
    await _Fetching(client, letter, letter.stored, path, patience).complete()


async def enclose(client: Client, letters: Sequence[Letter], most: int) -> list[Letter]:
    """See `bodies` of `Client.pull`."""
    enclosed: list[Letter] = []
    left = most
    for place, letter in enumerate(letters):
        if letter.stored is None or letter.stored.size > most:
            enclosed.append(letter)
            continue
        if letter.stored.size > left:  # in order: what comes after it waits with it
            await client.release([later.delivery for later in letters[place:]])
            break
        left -= letter.stored.size
        with tempfile.TemporaryDirectory(prefix="commonroom-body-") as folder:
            path = Path(folder) / "body"
            await fetch_body(client, letter, path, ENCLOSE_PATIENCE)
            body = await asyncio.to_thread(path.read_bytes)
        enclosed.append(msgspec.structs.replace(letter, body=body, stored=None))
    return enclosed


class _Patience:
    """Pauses between tries that got nothing through; gives up when that has lasted too long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = time.monotonic()
        self._tries = 0

    def moved(self) -> None:
        """Something got through."""
        self._since = time.monotonic()
        self._tries = 0

    async def pause(self, error: Exception) -> None:
        """Wait before the next try, or raise Unreachable."""
        if time.monotonic() - self._since > self._seconds:
            if isinstance(error, Unreachable):
                raise error
            raise Unreachable(str(error)) from error
        await asyncio.sleep(PAUSES[min(self._tries, len(PAUSES) - 1)])
        self._tries += 1


class _Sending:
    """One file on its way to the hub."""

    def __init__(self, client: Client, path: Path, request: contract.UploadRequest, patience: float) -> None:
        self._client = client
        self._path = path
        self._request = request
        self._patience = _Patience(patience)

    async def complete(self) -> contract.UploadState:
        """Send what is missing until the hub has proved the digest."""
        state: contract.UploadState | None = None
        while state is None or not state.complete:
            before = state.offset if state is not None else -1
            try:
                # Asked anew each time: a repeat gives the same upload, and a new one when that has expired.
                state = await self._client.announce(self._request)
                if state.offset > before:
                    self._patience.moved()
                while not state.complete:
                    state = await self._put(state)
                    self._patience.moved()
            except Unreachable as error:
                await self._patience.pause(error)
            except Problem as problem:
                if problem.code not in (_GONE_ON, _NO_UPLOAD):
                    raise
                await self._patience.pause(problem)
        return state

    async def _put(self, state: contract.UploadState) -> contract.UploadState:
        length = min(PART_BYTES, state.size - state.offset)
        return await self._client.put_part(
            state.id, state.offset, length, lambda: _blocks(self._path, state.offset, length)
        )


class _Fetching:
    """One body on its way to a file. What has come is in a part file beside it, named by the digest."""

    def __init__(
        self, client: Client, letter: Letter, stored: contract.StoredBody, path: Path, patience: float
    ) -> None:
        self._client = client
        self._letter = letter
        self._stored = stored
        self._path = path
        name = hashlib.sha256(stored.digest.encode()).hexdigest()[:16]
        self._part = path.with_name(f"{path.name}.{name}.part")
        self._patience = _Patience(patience)

    async def complete(self) -> None:
        """Fetch what is missing, prove the digest, and only then give the file its name."""
        with self._part.open("a+b") as file:
            running = await asyncio.to_thread(_hash_of, self._part)
            while (here := file.seek(0, os.SEEK_END)) < self._stored.size:
                try:
                    await self._go_on(file, running, here)
                except Unreachable as error:
                    await self._patience.pause(error)
            if here > self._stored.size or digest_text(running.digest()) != self._stored.digest:
                self._part.unlink()
                raise Problem(
                    "CR-021",
                    "What was fetched is not the body whose digest the letter states; it has been thrown away.",
                    where=self._stored.location,
                    remedy="Fetch it again.",
                )
            await asyncio.to_thread(os.fsync, file.fileno())
        self._part.replace(self._path)

    async def _go_on(self, file: BinaryIO, running: Any, here: int) -> None:
        extended = -EXTEND_SECONDS
        async with self._client.body_from(self._stored.location, here) as blocks:
            async for block in blocks:
                if time.monotonic() - extended > EXTEND_SECONDS:
                    extended = time.monotonic()
                    await self._client.extend([self._letter.delivery], LEASE_SECONDS)
                await asyncio.to_thread(_take, file, running, block)
                self._patience.moved()


async def _blocks(path: Path, first: int, length: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(first)
        while length > 0 and (block := await asyncio.to_thread(file.read, min(BLOCK_BYTES, length))):
            length -= len(block)
            yield block


def _take(file: BinaryIO, running: Any, block: bytes) -> None:
    file.write(block)
    file.flush()
    running.update(block)


def _hash_of(path: Path) -> Any:
    running = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            running.update(block)
    return running


def _write_whole(path: Path, body: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
