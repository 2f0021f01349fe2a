"""A Delta table in an object store, read through a cache of whole files on this machine.

What was put there is durable and whole, and data files never change. Credentials are the environment's, as everywhere with
that store; they are never part of an address, a log or a problem.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from commonroom import log
from commonroom.engines import delta_log
from commonroom.engines.file_cache import FileCache
from commonroom.engines.objects import OPTIONS, Objects
from commonroom.problems import Problem, add_codes

add_codes({"CR-311": "The object store cannot be reached"})

T = TypeVar("T")

_AT_ONCE = 8
_MOST_OF_A_LOG = 1 << 30  # bytes of one entry
# What delta-rs says, in the middle of writing, of a fault that it calls OSError elsewhere.
_OF_THE_STORE = re.compile(r"Generic (?:S3|GCS|MicrosoftAzure) error")
# Of what a store said, nothing that could be a token: not what it quotes of a request, nor what an address asks with.
_QUOTED = re.compile(r"<.*|\?\S*", re.DOTALL)
_REASON = re.compile(r"<Code>(\w{1,60})</Code>")
_MOST_SAID = 300
_VERSIONS = 4  # of a table, whose files are remembered
# Who waits so long for another to read the same version reads it too: that one may have a connection that hangs.
_PATIENCE = 5.0
# A name in the log becomes a path of this machine.
_NAME = re.compile(r"(?:[A-Za-z0-9_=-][A-Za-z0-9._=-]*/)*[A-Za-z0-9_=-][A-Za-z0-9._=-]*")

_log = log.get("warehouse")


class Distant(str):
    """The path on this machine of a file that lies in an object store: it is there after `places.here`."""

    __slots__ = ("lies_in", "name", "size")
    lies_in: ObjectFolder
    name: str
    size: int


class ObjectFolder:
    """The objects of a store under one address, such as `s3://bucket/warehouse/enrolment`."""

    def __init__(self, address: str, cache: FileCache, prefix: str) -> None:
        self.address = address
        self._cache, self._prefix = cache, prefix  # of its files in the cache
        # As written last, to be gone on with; after a commit that failed it is read anew.
        self._written: DeltaTable | None = None
        self._writing: DeltaTable | None = None
        self._objects = Objects(address)
        # As read last, with a digest of its last log entry.
        self._known: tuple[DeltaTable, bytes] | None = None
        # Held for moments only, never while the store is asked.
        self._guard = threading.Lock()
        self._reading: dict[int, threading.Lock] = {}  # by version
        self._found: dict[int, tuple[bytes, Any]] = {}  # by version, with a digest of its log entry
        self._asked: tuple[int, Any] | None = None

    def __truediv__(self, name: str) -> ObjectFolder:
        """What lies under one name in it."""
        cache = self._cache
        return object_folder(
            f"{self.address}/{name}",
            cache.folder,
            cache.most_bytes,
            cache.keep_free,
            f"{self._prefix}{name}/",
        )

    @property
    def read_under(self) -> Path:
        """The folder of this machine under which its files are read."""
        return self._cache.folder / self._prefix

    def table(self, version: int) -> DeltaTable:
        """See Place; call it within `recall`. Raises Problem CR-310 when there is no such table or version.

        Of a log that was read already only what came since is read, while its last entry is still the same.
        """
        with self._guard:  # one thread has it
            known, self._known = self._known, None
        with self.reached():
            try:
                if (
                    known is not None
                    and known[0].version() <= version
                    and self._digest(known[0].version()) == known[1]
                ):
                    table = known[0]
                    table.load_as_version(version)
                else:
                    table = DeltaTable(self.address, version=version, storage_options=OPTIONS)
            except (TableNotFoundError, DeltaError) as error:
                raise self.not_as_put("the table, or this version of it, cannot be read") from error
        if not self._objects.through(table):
            self._known = (table, self._digest(version))
        return table

    def newest(self, *, anew: bool) -> DeltaTable | None:
        """See Place."""
        written, self._written, self._writing = self._written, None, None
        with self.reached():
            try:
                written = self._since(written) if written is not None and not anew else None
                written = written or DeltaTable(self.address, storage_options=OPTIONS)
            except TableNotFoundError:
                return None
        self._writing = written
        return written

    def _since(self, written: DeltaTable) -> DeltaTable | None:
        """The table with what came since; None when the log is another one, as after a copy that was put back."""
        try:
            written.update_incremental()
        except DeltaError as error:
            if _OF_THE_STORE.search(str(error)):
                raise
            return None
        return written

    def create(self, schema: pa.Schema, properties: CommitProperties) -> None:
        """See Place."""
        with self.reached():
            DeltaTable.create(
                self.address,
                schema,
                mode="ignore",
                commit_properties=properties,
                storage_options=OPTIONS,
            )

    def mend(self, announced: int) -> None:
        """An object is there whole or not at all."""

    def settle(self, after: int, until: int) -> None:
        """An object that was put is durable."""
        self._written = self._writing

    def read(self, name: str) -> bytes | None:
        """See Place."""
        with self.reached():
            try:
                return b"".join(self._objects.read(name, _MOST_OF_A_LOG))
            except (FileNotFoundError, TableNotFoundError):
                return None

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """See Place."""
        with self.reached():
            return self._at_once(self._objects.size, names)

    def path(self, name: str, size: int) -> str:
        """See Place."""
        if not _NAME.fullmatch(name):
            raise self.not_as_put("the log names a file that the loader would not have named so")
        path = Distant(self._cache.folder / f"{self._prefix}{name}")
        path.lies_in, path.name, path.size = self, name, size
        return path

    def recall(self, version: int, find: Callable[[], T]) -> T:
        """Reading a log of many objects takes long. It is read again when its entry is another one, as after a copy that
        was put back. Nobody waits for who reads another version, or for long: the store may hang."""
        kept = self._remembered(version)
        if kept is None:
            with self._in_turn(version):
                kept = self._remembered(version)
                if kept is None:
                    kept = (self._keep(version, find()),)
        same: T = kept[0]
        return same

    def _remembered(self, version: int) -> tuple[Any] | None:
        with self._guard:
            found = self._found.get(version)
        if found is None or found[0] != self._digest(version):
            return None
        self._put(version, found)
        return (found[1],)

    def _keep(self, version: int, answer: T) -> T:
        known = self._known
        is_known = known is not None and known[0].version() == version
        self._put(version, (known[1] if known and is_known else self._digest(version), answer))
        return answer

    def _put(self, version: int, found: tuple[bytes, Any]) -> None:
        """Keep it as the one that was asked for last."""
        with self._guard:
            self._found.pop(version, None)
            self._found[version] = found
            while len(self._found) > _VERSIONS:
                self._found.pop(next(iter(self._found)))

    @contextmanager
    def _in_turn(self, version: int) -> Iterator[None]:
        with self._guard:
            turn = self._reading.setdefault(version, threading.Lock())
        is_alone = turn.acquire(timeout=_PATIENCE)
        try:
            yield
        finally:
            if is_alone:
                with self._guard:
                    self._reading.pop(version, None)
                turn.release()

    def once(self, version: int, find: Callable[[], T]) -> T:
        """Not a request is made for what is asked after every batch and is known."""
        if self._asked is None or self._asked[0] != version:
            self._asked = (version, find())
        answer: T = self._asked[1]
        return answer

    def _digest(self, version: int) -> bytes:
        return hashlib.sha256(self.read(delta_log.entry_of(version)) or b"").digest()

    def bring(self, wanted: Sequence[Distant]) -> None:
        """Have these files in the cache. Raises Problem CR-310, CR-311 or CR-312."""
        absent = [one for one in wanted if not self._cache.has(self._kept_as(one), one.size)]
        if absent:
            self._at_once(self._fetch, absent)
            self._cache.trim()

    def _fetch(self, file: Distant) -> None:
        self._cache.put(self._kept_as(file), file.size, lambda into: self._copy(file, into))

    def _kept_as(self, file: Distant) -> str:
        return f"{self._prefix}{file.name}"

    def _copy(self, file: Distant, into: IO[bytes]) -> None:
        pieces = self._objects.read(file.name, file.size + 1)  # one more than there should be
        copied = 0
        while piece := self._next(pieces):
            copied += into.write(piece)
        if copied != file.size:
            told = "more" if copied > file.size else f"{copied}"
            raise self.not_as_put(f"a file has {told} bytes, the log says {file.size}")

    def _next(self, pieces: Iterator[bytes]) -> bytes:
        """Faults of the store are told apart from those of the disk that is written to."""
        with self.reached():
            try:
                return next(pieces, b"")
            except FileNotFoundError as error:
                raise self.not_as_put("a file that the log names is not there") from error

    @staticmethod
    def _at_once(do: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
        with ThreadPoolExecutor(min(_AT_ONCE, len(items) or 1)) as pool:
            return list(pool.map(do, items))

    @contextmanager
    def reached(self) -> Iterator[None]:
        """The store's faults as Problem CR-311; what it said may name its insides, and goes to the log alone."""
        try:
            yield
        except (OSError, DeltaError) as error:
            if isinstance(error, DeltaError) and not _OF_THE_STORE.search(str(error)):
                raise
            _log.warning("object store away", place=self.address, said=_said(error))
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
        return delta_log.not_as_put(self.address, detail)


def _said(error: Exception) -> str:
    """What a store answered, in a line for the operator."""
    text = str(error)
    reason = _REASON.search(text)
    return " ".join([_QUOTED.sub("", text)[:_MOST_SAID].strip(), *(reason.groups() if reason else ())])


@lru_cache(maxsize=256)
def object_folder(address: str, cache: Path, most_bytes: int, keep_free: int, prefix: str) -> ObjectFolder:
    """One for each address: connections and credentials are found out once."""
    return ObjectFolder(address, FileCache(cache, most_bytes, keep_free), prefix)
