"""Where Delta tables lie: in a folder of this machine, or under an address of an object store.

All that differs between the two is here. A folder's files are read where they are, and must be forced onto the disk; what
was put into an object store is durable and whole, and is read from a cache on this machine, for data files never change.
Credentials are the environment's, as everywhere with that store; they are never part of an address.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.fs
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from commonroom.engines import files
from commonroom.engines.file_cache import FileCache
from commonroom.problems import Problem, add_codes
from commonroom.settings import Settings

add_codes(
    {
        "CR-310": "A file of the warehouse is not as it was put in its store",
        "CR-311": "The object store cannot be reached",
    }
)

T = TypeVar("T")
Folder: TypeAlias = "Path | ObjectFolder"

# Every table begins with an empty version, so that "take back to the announced version" always has a version to go to.
EMPTY = 0
LOG = "_delta_log"
CACHE = ".cache"
# A question waits for an answer; the loader tries again by itself.
_OPTIONS = {"connect_timeout": "5s", "timeout": "60s", "max_retries": "5", "retry_timeout": "20s"}
_AT_ONCE = 8
_CHUNK_BYTES = 8 * 1024 * 1024
_REMEMBERED = 512  # lists of files, over all tables
# A name in the log becomes a path of this machine.
_NAME = re.compile(r"(?:[A-Za-z0-9_=-][A-Za-z0-9._=-]*/)*[A-Za-z0-9_=-][A-Za-z0-9._=-]*")


class Place(Protocol):
    """Where one table lies."""

    address: str

    def table(self, version: int) -> DeltaTable:
        """The table at a version, to be read."""

    def newest(self) -> DeltaTable | None:
        """The table at its newest version, to be written by this process alone; None when there is none."""

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
        """What `find` found out about a version, perhaps earlier."""


class Distant(str):
    """The path on this machine of a file that lies in an object store: it is there after `here`."""

    __slots__ = ("lies_in", "name", "size")
    lies_in: ObjectFolder
    name: str
    size: int


def home(settings: Settings) -> Folder:
    """Where the warehouse's tables lie, each in `home / entity`."""
    folder = settings.folder("warehouse")
    if settings.warehouse_store is None:
        return folder
    return _object_folder(
        settings.warehouse_store.rstrip("/"), folder.absolute() / CACHE, settings.warehouse_cache_bytes, ""
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
        return DeltaTable(self.address, version=version)

    def newest(self) -> DeltaTable | None:
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
        for path in sorted((self.folder / LOG).glob("*.json"), reverse=True):
            number = path.stem
            if not number.isdigit() or (
                int(number) <= announced and not (announced == EMPTY and int(number) == EMPTY)
            ):
                return
            if _is_torn(path):
                path.unlink()

    def settle(self, after: int, until: int) -> None:
        """delta-rs never syncs: do it for what it wrote."""
        log = self.folder / LOG
        entries = [log / entry_name(version) for version in range(after + 1, until + 1)]
        added = [
            self.folder / action["add"]["path"]
            for entry in entries
            for action in map(msgspec.json.decode, entry.read_bytes().splitlines())
            if "add" in action
        ]
        checkpoints = list(log.glob(f"{until:020d}.checkpoint*.parquet"))
        if checkpoints:
            checkpoints.append(log / "_last_checkpoint")
        # The folder itself is new with its first version.
        made = [self.folder] if after < EMPTY else []
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
        return _not_as_put(self.address, detail)

    def recall(self, version: int, find: Callable[[], T]) -> T:
        """Looking is quick here."""
        return find()


class ObjectFolder:
    """The objects of a store under one address, such as `s3://bucket/warehouse/enrolment`."""

    def __init__(self, address: str, cache: FileCache, prefix: str) -> None:
        self.address = address
        self._cache, self._prefix = cache, prefix  # of its files in the cache
        self._written: DeltaTable | None = None

    def __truediv__(self, name: str) -> ObjectFolder:
        """What lies under one name in it."""
        cache = self._cache
        return _object_folder(
            f"{self.address}/{name}", cache.folder, cache.most_bytes, f"{self._prefix}{name}/"
        )

    @property
    def read_under(self) -> Path:
        """The folder of this machine under which its files are read."""
        return self._cache.folder / self._prefix

    @cached_property
    def _objects(self) -> Any:
        # delta-rs's own way to the store: the same credentials, and no second library.
        return pyarrow.fs.PyFileSystem(DeltaStorageHandler(self.address, _OPTIONS))

    def table(self, version: int) -> DeltaTable:
        """See Place. Raises Problem CR-310 when there is no such table or version."""
        with self.reached():
            try:
                return DeltaTable(self.address, version=version, storage_options=_OPTIONS)
            except TableNotFoundError as error:
                raise self.not_as_put("there is no table, or not so new a version of it") from error

    def newest(self) -> DeltaTable | None:
        """See Place. What this process knows of the log already it does not read again: that would be request after request."""
        with self.reached():
            known, self._written = self._written, None
            if known is not None:
                known.update_incremental()
            try:
                self._written = known or DeltaTable(self.address, storage_options=_OPTIONS)
            except TableNotFoundError:
                return None
        return self._written

    def create(self, schema: pa.Schema, properties: CommitProperties) -> None:
        """See Place."""
        with self.reached():
            DeltaTable.create(
                self.address,
                schema,
                mode="ignore",
                commit_properties=properties,
                storage_options=_OPTIONS,
            )

    def mend(self, announced: int) -> None:
        """An object is there whole or not at all."""

    def settle(self, after: int, until: int) -> None:
        """An object that was put is durable."""

    def read(self, name: str) -> bytes | None:
        """See Place."""
        with self.reached():
            try:
                with self._objects.open_input_file(name) as found:
                    return bytes(found.read())
            except FileNotFoundError:
                return None

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """See Place."""
        return self._at_once(self._size, names)

    def path(self, name: str, size: int) -> str:
        """See Place."""
        if not _NAME.fullmatch(name):
            raise self.not_as_put("the log names a file that the loader would not have named so")
        path = Distant(self._cache.folder / f"{self._prefix}{name}")
        path.lies_in, path.name, path.size = self, name, size
        return path

    def recall(self, version: int, find: Callable[[], T]) -> T:
        """Reading a log of many objects takes long. It is read again when its entry is another one, as after a copy that
        was put back."""
        entry = self.read(f"{LOG}/{entry_name(version)}") or b""
        found: T = _remembered.get((self.address, version, hashlib.sha256(entry).digest()), find)
        return found

    def bring(self, wanted: Sequence[Distant]) -> None:
        """Have these files in the cache. Raises Problem CR-310, CR-311 or CR-312."""
        absent = [one for one in wanted if not self._cache.has(self._kept_as(one), one.size)]
        if absent:
            self._at_once(self._fetch, absent)
            self._cache.trim()

    def _fetch(self, file: Distant) -> None:
        def copy(into: IO[bytes]) -> None:
            with self.reached():
                found = self._opened(file.name)
            with found:
                self._copy(found, into, file.size)

        self._cache.put(self._kept_as(file), file.size, copy)

    def _kept_as(self, file: Distant) -> str:
        return f"{self._prefix}{file.name}"

    def _opened(self, name: str) -> Any:
        try:
            return self._objects.open_input_file(name)
        except FileNotFoundError as error:
            raise self.not_as_put("a file that the log names is not there") from error

    def _copy(self, found: Any, into: IO[bytes], size: int) -> None:
        if found.size() != size:
            raise self.not_as_put(f"a file has {found.size()} bytes, the log says {size}")
        copied = 0
        while copied < size:
            with self.reached():
                chunk = found.read(_CHUNK_BYTES)
            if not chunk:
                raise self.not_as_put(f"a file ended after {copied} bytes, the log says {size}")
            copied += into.write(chunk)

    def _size(self, name: str) -> int | None:
        with self.reached():
            try:
                with self._objects.open_input_file(name) as found:
                    return int(found.size())
            except FileNotFoundError:
                return None

    @staticmethod
    def _at_once(do: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
        with ThreadPoolExecutor(min(_AT_ONCE, len(items) or 1)) as pool:
            return list(pool.map(do, items))

    @contextmanager
    def reached(self) -> Iterator[None]:
        """The store's faults as Problem CR-311; what it said may name its insides, and goes to the log alone."""
        try:
            yield
        except OSError as error:
            raise Problem(
                "CR-311",
                "it did not answer, or refused",
                status=503,
                where=self.address,
                remedy="Look at AWS_ENDPOINT_URL, AWS_REGION and the credentials in the environment of this process, "
                "and whether they may list, read and write there.",
            ) from error

    def not_as_put(self, detail: str) -> Problem:
        """See Place."""
        return _not_as_put(self.address, detail)


class Remembered:
    """Answers by what they were about; those that nobody asked for longest are forgotten."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, about: Any, find: Callable[[], Any]) -> Any:
        """The answer, found out now if need be."""
        with self._lock:
            if about in self._answers:
                self._answers.move_to_end(about)
                return self._answers[about]
        answer = find()
        with self._lock:
            self._answers[about] = answer
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)
        return answer


_remembered = Remembered()


@lru_cache(maxsize=256)
def _object_folder(address: str, cache: Path, most_bytes: int, prefix: str) -> ObjectFolder:
    """One for each address: connections and credentials are found out once."""
    return ObjectFolder(address, FileCache(cache, most_bytes), prefix)


def entry_name(version: int) -> str:
    """The file of a version in the log."""
    return f"{version:020d}.json"


def _is_torn(path: Path) -> bool:
    lines = path.read_bytes().splitlines()
    try:
        for line in lines:
            msgspec.json.decode(line)
    except msgspec.DecodeError:
        return True
    return not lines


def _not_as_put(address: str, detail: str) -> Problem:
    return Problem(
        "CR-310",
        detail,
        status=500,
        where=address,
        remedy="Put it back from the store's own versions or a copy; `commonroom warehouse verify` names the tables. "
        "Figures that need it are refused until then.",
    )
