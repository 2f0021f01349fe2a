"""Manifests of partial sums: which files are kept of a table version, who works on them, and what is swept away.

What one process replaces, another may still read: it is kept for an hour after it was replaced, whenever it was written.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from pathlib import Path

import msgspec

from commonroom import log
from commonroom.engines import files

_SWEEP_SECONDS = 3600.0  # what was replaced is kept so long for those who read it
# And a folder that nothing declared has any more, since anything was written to it.
_OLD_SECONDS = 24 * 3600.0
_LOOK_SECONDS = 0.02
_REST_SECONDS = 600.0  # between two sweeps
_SWEPT = "swept"
_PIECE = 1 << 20
_log = log.get("warehouse")


class Busy(Exception):
    """Somebody else works on it, and has not finished in time."""


class Part(msgspec.Struct, frozen=True):
    """What one file has of a period."""

    file: str
    rows: int


class Kept(msgspec.Struct, frozen=True):
    """One period that is kept."""

    number: int  # its name in the files
    days: tuple[date, ...]
    changed: int  # the table version that last changed anything in it
    sums: tuple[Part, ...] = ()  # a unit's sums are added up over all of them; none where it has one day
    figures: tuple[Part, ...] = ()  # of a school's figures the newest version's hold

    @property
    def files(self) -> list[str]:
        """Where it is kept."""
        return [part.file for part in (*self.sums, *self.figures)]


class Stamp(msgspec.Struct, frozen=True):
    """What a file was when it was written."""

    size: int
    crc: int


class Manifest(msgspec.Struct, frozen=True):
    """What is kept as at one table version."""

    version: int
    identity: str  # of that version: tables can be put back to an older state, and then go on otherwise
    periods: dict[str, Kept]  # by name and days
    files: dict[str, Stamp] = {}  # all that the periods name


@contextmanager
def alone(folder: Path, lock: threading.Lock, seconds: float) -> Iterator[None]:
    """One thread of one process works on a folder. Raises Busy when the others take longer than so many seconds."""
    deadline = time.monotonic() + seconds
    if not lock.acquire(timeout=seconds):
        raise Busy
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as file:
            # Given back by the kernel, also after a kill.
            while not _is_locked(file.fileno()):
                if time.monotonic() >= deadline:
                    raise Busy
                time.sleep(_LOOK_SECONDS)
            yield
    finally:
        lock.release()


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def store(folder: Path, manifest: Manifest) -> None:
    """Put it in place, whole or not at all."""
    files.write(folder / _name(manifest), msgspec.json.encode(manifest))


def stored(folder: Path, version: int) -> Iterator[Manifest]:
    """The manifests up to a version, the newest first. One that cannot be read is thrown away."""
    for path in sorted(folder.glob("*.json"), reverse=True):
        if path.stem.isdigit() and int(path.stem) <= version:
            found = _read(path)
            if found is None:
                _log.warning("a manifest of partial sums cannot be read and is thrown away", file=path.name)
                path.unlink(missing_ok=True)
            else:
                yield found


def discard(folder: Path, manifest: Manifest, broken: Collection[str]) -> None:
    """Throw away a manifest, and of its files those that are broken."""
    _log.warning(
        "partial sums are broken and are thrown away", version=manifest.version, files=sorted(broken)
    )
    for name in (_name(manifest), *broken):
        (folder / name).unlink(missing_ok=True)


def is_there(folder: Path, manifest: Manifest) -> bool:
    """Whether its files are on the disk, as long as they were."""
    return all(_size(folder / name) == stamp.size for name, stamp in manifest.files.items())


def broken(folder: Path, manifest: Manifest, seen: Collection[str] = ()) -> set[str]:
    """Its files that are not what was written, or not there; those in `seen` are looked at no further than their size."""
    return {
        name
        for name, stamp in manifest.files.items()
        if _size(folder / name) != stamp.size or (name not in seen and stamp_of(folder / name) != stamp)
    }


def stamp_of(path: Path) -> Stamp | None:
    """What a file is now; None where it is not there."""
    size = crc = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                size, crc = size + len(piece), zlib.crc32(piece, crc)
    except FileNotFoundError:
        return None
    return Stamp(size, crc)


def replaced(folder: Path, names: Iterable[str]) -> None:
    """Note that these files were replaced just now: from now on their hour runs."""
    for name in names:
        os.utime(folder / name)


def sweep(folder: Path, current: Manifest) -> bool:
    """Delete manifests that were replaced an hour ago, and files that no other one names, an hour after their last use.

    Not at every turn, for it reads all manifests. Returns whether it was time for it.
    """
    swept = folder / _SWEPT
    if swept.exists() and _written(swept) > time.time() - _REST_SECONDS:
        return False
    swept.touch()
    old = time.time() - _SWEEP_SECONDS
    stored = sorted(folder.glob("*.json"))
    # Of later versions than the present one, that nobody wrote lately: the table was put back.
    undone = [path for path in stored if path.name > _name(current) and _written(path) < old]
    # A manifest was replaced when the next one was written.
    in_turn = pairwise(path for path in stored if path not in undone)
    for path in [*undone, *(path for path, following in in_turn if _written(following) < old)]:
        path.unlink()
    named: set[str] = set()
    for path in folder.glob("*.json"):
        manifest = _read(path)
        named |= set() if manifest is None else set(manifest.files)
    for path in folder.glob("*.parquet"):
        if path.name not in named and _written(path) < old:
            path.unlink()
    return True


def sweep_old(folders: Path, names: Collection[str]) -> None:
    """Delete the folders of other names, as old declarations had them, to which nothing was written for a day."""
    old = time.time() - _OLD_SECONDS
    for folder in folders.iterdir():
        if (
            folder.name not in names
            and folder.is_dir()
            and all(_written(one) < old for one in folder.iterdir())
        ):
            shutil.rmtree(folder, ignore_errors=True)


def _name(manifest: Manifest) -> str:
    return f"{manifest.version:020d}.json"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _written(path: Path) -> float:
    return path.stat().st_mtime


def _read(path: Path) -> Manifest | None:
    """None for one that is torn, or that another version of this program wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
