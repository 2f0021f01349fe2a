"""The body store: sealed files named by the SHA-256 of the body in them, in a folder or at any `fsspec` address.

Nothing here knows messages or keys. A content is put whole or not at all: in a folder by fsync and a hard link, elsewhere by
the copy being given its name last. Whoever puts or deletes holds the content's lock (`uploads.locked`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from commonroom.hub.sealed_files import BLOCK_BYTES, Reader
from commonroom.problems import Problem
from commonroom.settings import Settings

PARTS = "uploads"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NAME = re.compile(r"[0-9a-f]{64}")


class BodyStore(Protocol):
    """Where whole contents are kept. All of it blocks: call it in a thread."""

    parts: Path  # local folder of the part files of uploads

    def put(self, part: Path, digest: bytes) -> None:
        """Keep this file under the digest of its content, in place of any litter that lies there; the file stays."""

    def open(self, digest: bytes) -> Any:
        """The content as a binary file that can seek. Raises FileNotFoundError."""

    def delete(self, digest: bytes) -> None:
        """Forget a content; nothing happens when there is none."""

    def litter(self, before: float) -> Iterator[tuple[str, float]]:
        """Names and times (POSIX) of all files in the store last written before this time."""

    def delete_litter(self, name: str) -> None:
        """Remove a file by the name `litter` gave it."""


def open_store(settings: Settings) -> BodyStore:
    """The store that the settings name: `body_store`, or the folder `bodies` in the data folder."""
    if settings.body_store and "://" in settings.body_store:
        return RemoteStore(settings.body_store, settings.folder("bodies") / PARTS)
    return FolderStore(Path(settings.body_store) if settings.body_store else settings.folder("bodies"))


def part_of(store: BodyStore, upload: UUID) -> Path:
    """The part file of an upload. The name is made from a UUID, so no text from outside reaches a path."""
    return store.parts / str(upload)


class FolderStore:
    """Plain files: `ab/ab12...`, and the part files beside them in `uploads/`, on the same file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = folder / PARTS
        self.parts.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, part: Path, digest: bytes) -> None:
        """Keep the content; the part file stays until the row that names the content is committed."""
        path = self._path(digest)
        if not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True, mode=0o700)
            _sync_folder(self.folder)
        _sync(part)
        path.unlink(missing_ok=True)  # of a try before a crash, under a key that nobody has
        try:
            os.link(part, path)
        except OSError:  # a file system without hard links
            copy = part.with_suffix(".copy")
            shutil.copyfile(part, copy)
            _sync(copy)
            copy.replace(path)
        _sync_folder(path.parent)

    def open(self, digest: bytes) -> Any:
        """The content as a binary file that can seek."""
        return self._path(digest).open("rb", buffering=0)

    def delete(self, digest: bytes) -> None:
        """Forget a content."""
        self._path(digest).unlink(missing_ok=True)

    def litter(self, before: float) -> Iterator[tuple[str, float]]:
        """All contents last written before this time."""
        for shelf in os.scandir(self.folder):
            if shelf.name != PARTS and shelf.is_dir(follow_symlinks=False):
                for file in os.scandir(shelf.path):
                    if _NAME.fullmatch(file.name) and (written := file.stat().st_mtime) < before:
                        yield file.name, written

    def delete_litter(self, name: str) -> None:
        """Remove a content by name."""
        self.delete(bytes.fromhex(name))

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self.folder / name[:2] / name


class RemoteStore:
    """Contents at an `fsspec` address; part files wait on this machine until they are whole."""

    def __init__(self, address: str, parts: Path) -> None:
        import fsspec

        self.files, self.root = fsspec.core.url_to_fs(address)
        self.files.makedirs(self.root, exist_ok=True)
        self.parts = parts
        self.parts.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, part: Path, digest: bytes) -> None:
        """Copy it there under another name, then give it its own."""
        path, copy = self._path(digest), f"{self.root}/{part.name}.copy"
        self.files.put_file(str(part), copy)
        self._remove(path)  # of a try before a crash, under a key that nobody has
        self.files.mv(copy, path)

    def open(self, digest: bytes) -> Any:
        """The content as a binary file that can seek."""
        return self.files.open(self._path(digest), "rb")

    def delete(self, digest: bytes) -> None:
        """Forget a content."""
        self._remove(self._path(digest))

    def litter(self, before: float) -> Iterator[tuple[str, float]]:
        """All files whose time is known and before this one; copies that were cut off are among them."""
        for entry in self.files.ls(self.root, detail=True):
            written = _time_of(entry)
            if written is not None and written < before:
                yield str(entry["name"]).rstrip("/").rpartition("/")[2], written

    def delete_litter(self, name: str) -> None:
        """Remove a file by name."""
        self._remove(f"{self.root}/{name}")

    def _remove(self, path: str) -> None:
        try:
            self.files.rm_file(path)
        except FileNotFoundError:
            return

    def _path(self, digest: bytes) -> str:
        return f"{self.root}/{digest.hex()}"


async def blocks(file: Reader, first: int, length: int) -> AsyncIterator[bytes]:
    """`length` bytes of a body from `first`, a block at a time; closes the file. One block is in memory."""
    try:
        await asyncio.to_thread(file.seek, first)
        while length > 0:
            block = await asyncio.to_thread(file.read, min(BLOCK_BYTES, length))
            if not block:
                raise OSError(errno.EIO, "the stored body is shorter than its row says")
            length -= len(block)
            yield block
    finally:
        await asyncio.to_thread(file.close)


def no_room(error: OSError) -> bool:
    """Whether this fault says that the disk, or the right to use it, is at its end."""
    return error.errno in _NO_ROOM


def full() -> Problem:
    """Problem CR-164."""
    return Problem(
        "CR-164",
        "The hub has no room for this body at the moment. What has arrived is kept.",
        status=507,
        where="the body",
        remedy="Ask for the upload's offset later and go on from there; the operator sees it in the hub's log.",
        extra={"retry_after": 60},
    )


def is_content(name: str) -> bool:
    """Whether this is the name of a whole content."""
    return _NAME.fullmatch(name) is not None


def _time_of(entry: dict[str, Any]) -> float | None:
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        moment = entry.get(name)
        if isinstance(moment, datetime):
            return moment.timestamp()
        if isinstance(moment, int | float):
            return float(moment)
    return None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    _sync(path)
