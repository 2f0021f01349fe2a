"""Manifests of partial sums: which files are kept of a table version, who works on them, and what is swept away.

What one process replaces, another may still read: it is kept for an hour after it was replaced, whenever it was written.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from pathlib import Path

import msgspec

from commonroom.engines import files

_SWEEP_SECONDS = 3600.0  # what was replaced is kept so long for those who read it
_OLD_SECONDS = (
    24 * 3600.0
)  # and a folder that nothing declared has any more, since anything was written to it
_LOOK_SECONDS = 0.02


class Busy(Exception):
    """Somebody else works on it, and has not finished in time."""


class Kept(msgspec.Struct, frozen=True):
    """One period that is kept."""

    days: tuple[date, ...]
    changed: int  # the table version that last changed anything in it


class Manifest(msgspec.Struct, frozen=True):
    """What is kept as at one table version."""

    version: int
    identity: str  # of that version: tables can be put back to an older state, and then go on otherwise
    periods: dict[str, Kept]  # by name and days
    sums: tuple[str, ...] = ()  # files; a unit's sums of a period are added up over all of them
    figures: tuple[str, ...] = ()  # files; of a school's figures of a period the newest version's holds


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
    files.write(folder / f"{manifest.version:020d}.json", msgspec.json.encode(manifest))


def stored(folder: Path, version: int) -> Iterator[Manifest]:
    """The manifests up to a version with all their files there, the newest first."""
    for path in sorted(folder.glob("*.json"), reverse=True):
        if path.stem.isdigit() and int(path.stem) <= version:
            found = _read(path)
            if found is not None and is_there(folder, found):
                yield found


def is_there(folder: Path, manifest: Manifest) -> bool:
    """Whether its files are on the disk."""
    return all((folder / name).exists() for name in (*manifest.sums, *manifest.figures))


def replaced(folder: Path, names: Iterable[str]) -> None:
    """Note that these files were replaced just now: from now on their hour runs."""
    for name in names:
        os.utime(folder / name)


def sweep(folder: Path) -> None:
    """Delete manifests that were replaced an hour ago, and files that no other one names, an hour after their last use."""
    old = time.time() - _SWEEP_SECONDS
    # A manifest was replaced when the next one was written.
    gone = [path for path, following in pairwise(sorted(folder.glob("*.json"))) if _written(following) < old]
    for path in gone:
        path.unlink()
    named = set()
    for path in folder.glob("*.json"):
        manifest = _read(path)
        named |= set() if manifest is None else {*manifest.sums, *manifest.figures}
    for path in folder.glob("*.parquet"):
        if path.name not in named and _written(path) < old:
            path.unlink()


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


def _written(path: Path) -> float:
    return path.stat().st_mtime


def _read(path: Path) -> Manifest | None:
    """None for one that another version of this program wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.MsgspecError:
        return None
