"""Where Delta tables lie: in a folder of this machine, or under an address of an object store.

All that differs between the two is here and in `object_folder`. A folder's files are read where they are, and must be
forced onto the disk; what was put into an object store is durable, and is read from a cache on this machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import msgspec
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from commonroom.engines import delta_log, files
from commonroom.engines.object_folder import Distant, ObjectFolder, object_folder
from commonroom.problems import Problem
from commonroom.settings import Settings

T = TypeVar("T")
Folder: TypeAlias = Path | ObjectFolder

CACHE = ".cache"


class Place(Protocol):
    """Where one table lies."""

    address: str

    def table(self, version: int) -> DeltaTable:
        """The table at a version, to be read. Raises Problem CR-310 when there is no such table or version."""

    def newest(self, *, anew: bool) -> DeltaTable | None:
        """The table at its newest version, to be written, by one thread at a time; None when there is none.

        `anew` reads all of its log again, whatever this process knows of it.
        """

    def create(self, schema: pa.Schema, properties: CommitProperties) -> None:
        """Make an empty table."""

    def mend(self, announced: int) -> None:
        """Remove what a power cut left after the announced version so that the log cannot be opened."""

    def settle(self, after: int, until: int) -> None:
        """Return when versions `after` + 1 to `until`, the files they add and any checkpoint are durable."""

    def read(self, name: str) -> bytes | None:
        """A small file of the table; None when there is none."""

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """How large data files are where they lie; None for those that are not there."""

    def path(self, name: str, size: int) -> str:
        """Where a data file is read, once it is `here`."""

    def reached(self) -> AbstractContextManager[None]:
        """Faults on the way there as a Problem."""

    def not_as_put(self, detail: str) -> Problem:
        """Problem CR-310."""

    def recall(self, version: int, find: Callable[[], T]) -> T:
        """What `find` found out about a version, perhaps earlier, of the same version as now."""

    def once(self, version: int, find: Callable[[], T]) -> T:
        """What `find` found out about a version, perhaps earlier."""


def home(settings: Settings) -> Folder:
    """Where the warehouse's tables lie, each in `home / entity`."""
    folder = settings.folder("warehouse")
    if settings.warehouse_store is None:
        return folder
    return object_folder(
        settings.warehouse_store.rstrip("/"),
        folder.absolute() / CACHE,
        settings.warehouse_cache_bytes,
        settings.keep_free_bytes,
        "",
    )


def read_under(folder: Folder) -> Path:
    """The folder of this machine under which the paths of its files are."""
    return folder.absolute() if isinstance(folder, Path) else folder.read_under


def seen_as(folder: Folder) -> str:
    """The address by which another machine would find the files, in the form that Spark knows."""
    if isinstance(folder, Path):
        return f"file://{folder.absolute()}"
    return re.sub("^s3://", "s3a://", folder.address)


def of(folder: Folder) -> Place:
    """The place that a folder of either kind is."""
    return LocalFolder(folder) if isinstance(folder, Path) else folder


def here(paths: Iterable[str]) -> list[str]:
    """The same paths, when all their files are on this machine to be read.

    Raises Problem CR-310 when the store lacks a file or has another one, so that no figure is ever made of fewer rows.
    """
    wanted = list(paths)
    distant: dict[ObjectFolder, list[Distant]] = {}
    for path in wanted:
        if isinstance(path, Distant):
            distant.setdefault(path.lies_in, []).append(path)
    for folder, its in distant.items():
        folder.bring(its)
    return wanted


class LocalFolder:
    """A folder of this machine, or one that is mounted here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = str(folder)

    def table(self, version: int) -> DeltaTable:
        """See Place."""
        try:
            return DeltaTable(self.address, version=version)
        except (TableNotFoundError, DeltaError) as error:
            raise self.not_as_put("the table, or this version of it, cannot be read") from error

    def newest(self, *, anew: bool) -> DeltaTable | None:
        """See Place."""
        return DeltaTable(self.address) if DeltaTable.is_deltatable(self.address) else None

    def create(self, schema: pa.Schema, properties: CommitProperties) -> None:
        """See Place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        DeltaTable.create(self.address, schema, mode="ignore", commit_properties=properties)

    def mend(self, announced: int) -> None:
        """Delete log entries after the announced version that a power cut left unreadable.

        They were not synced, so they were never announced; the log cannot be opened while they are there.
        """
        for path in sorted((self.folder / delta_log.LOG).glob("*.json"), reverse=True):
            number = path.stem
            if not number.isdigit() or (
                int(number) <= announced
                and not (announced == delta_log.EMPTY and int(number) == delta_log.EMPTY)
            ):
                return
            if _is_torn(path):
                path.unlink()

    def settle(self, after: int, until: int) -> None:
        """delta-rs never syncs: do it for what it wrote."""
        log = self.folder / delta_log.LOG
        entries = [self.folder / delta_log.entry_of(version) for version in range(after + 1, until + 1)]
        added = [
            self.folder / action["add"]["path"]
            for entry in entries
            for action in map(msgspec.json.decode, entry.read_bytes().splitlines())
            if "add" in action
        ]
        checkpoints = list(log.glob(f"{until:020d}.checkpoint*.parquet"))
        if checkpoints:
            checkpoints.append(self.folder / delta_log.LAST_CHECKPOINT)
        # The folder itself is new with its first version.
        made = [self.folder] if after < delta_log.EMPTY else []
        # A file that one of these versions added and a later one of them removed may be gone already.
        files.sync([*(path for path in added if path.exists()), *entries, *checkpoints, *made])

    def read(self, name: str) -> bytes | None:
        """See Place."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """See Place."""
        paths = [self.folder / name for name in names]
        return [path.stat().st_size if path.exists() else None for path in paths]

    def path(self, name: str, size: int) -> str:
        """See Place."""
        return str(self.folder / name)

    def reached(self) -> AbstractContextManager[None]:
        """The disk's own faults say enough."""
        return nullcontext()

    def not_as_put(self, detail: str) -> Problem:
        """See Place."""
        return delta_log.not_as_put(self.address, detail)

    def recall(self, version: int, find: Callable[[], T]) -> T:
        """Looking is quick here."""
        return find()

    def once(self, version: int, find: Callable[[], T]) -> T:
        """Looking is quick here."""
        return find()


def _is_torn(path: Path) -> bool:
    lines = path.read_bytes().splitlines()
    try:
        for line in lines:
            msgspec.json.decode(line)
    except msgspec.DecodeError:
        return True
    return not lines
