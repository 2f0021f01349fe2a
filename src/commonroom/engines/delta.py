"""Delta tables: versions that are durable before anybody is told of them, wherever they lie (`places`).

A table has one writer at a time; readers read the version they were told of (the *announced* one), through its list of
files. Versions after the announced one count as never written: the next writer takes them back first. Nothing here
knows what a row means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError

from commonroom.engines import delta_log, places
from commonroom.engines.places import Folder, Place
from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-060": "The table is being written by another process",
        "CR-061": "The table cannot be read by every engine",
    }
)

EMPTY = delta_log.EMPTY
KEEP_HOURS = 24
COMPACT_FROM_FILES = 24
CHECKPOINT_EVERY = 50
# Merged by steps, as a log-structured store does: many little files to one of the first size, many of those to one of the
# second. Merging all at once would write the largest file again for every few little ones. The size of each step, and how
# many files below half of it are too many.
_STEPS = ((8 * 1024 * 1024, COMPACT_FROM_FILES), (64 * 1024 * 1024, 8))
_LARGEST_BYTES = 256 * 1024 * 1024
# Another writer at the same version is a fault to see, never to retry past: a retry would keep that writer's rows.
_NO_RETRY = 0
# Checkpoints are made by `tidy`, which syncs them; the hook would leave them unsynced.
_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
# Half the size of the default compression, and less work: fewer bytes go through the checksum and to the disk.
_WRITER = WriterProperties(compression="ZSTD", compression_level=1)
_APPLICATION = "commonroom.warehouse"
_WRITE = "WRITE"  # what an entry that appends calls itself
# What DuckDB's plain Parquet reader would read wrongly, because the log changes the meaning of the files.
_UNREADABLE_FEATURES = {"deletionVectors", "columnMapping"}


class Batch(msgspec.Struct, frozen=True):
    """What a commit carries to say which batch wrote it."""

    number: int  # rises by one with every announced batch
    id: str


class TableFile(msgspec.Struct, frozen=True):
    """One data file of a version, with the bounds of its columns where the log has them."""

    name: str  # in the table
    path: str  # for `places.here`
    rows: int
    size: int  # bytes
    low: dict[str, Any]
    high: dict[str, Any]

    def may_hold(self, column: str, low: Any, high: Any) -> bool:
        """False only when no row of the file can have `column` between `low` and `high`, both inclusive."""
        mine_low, mine_high = self.low.get(column), self.high.get(column)
        return mine_low is None or mine_high is None or (mine_low <= high and low <= mine_high)


def append(folder: Folder, rows: pa.Table, *, after: int | None, batch: Batch) -> int:
    """Append `rows` after the announced version (None: none was ever announced). Returns the new version, synced.

    Whatever was committed since by a batch that was never announced is taken back first. New columns are added to the
    table. Raises Problem CR-060 when another writer commits at the same moment: start again from the announced state.
    """
    place = places.of(folder)
    table = _at_announced(place, after, batch, rows.schema)
    before = table.version()
    try:
        with place.reached():
            write_deltalake(
                table,
                rows,
                mode="append",
                schema_mode="merge",
                writer_properties=_WRITER,
                commit_properties=_properties(batch),
                post_commithook_properties=_NO_HOOKS,
            )
    except CommitFailedError as error:
        raise _other_writer(place) from error
    place.settle(before, table.version())
    return table.version()


def tidy(
    folder: Folder, *, after: int, batch: Batch, keep_hours: int = KEEP_HOURS, as_due: bool = False
) -> int:
    """Merge small files, checkpoint the log, delete files that no version of the last `keep_hours` needs.

    Returns the version to announce. Rows stay the same. `as_due` merges only the step that has become many, which takes
    seconds at most however large the table is.
    """
    size = _size_due(files_of(folder, after)) if as_due else _LARGEST_BYTES
    place = places.of(folder)
    table = _at_announced(place, after, batch, None)
    before = table.version()
    try:
        with place.reached():
            table.optimize.compact(
                target_size=size or _STEPS[0][0],
                writer_properties=_WRITER,
                commit_properties=_properties(batch),
                post_commithook_properties=_NO_HOOKS,
            )
            table.vacuum(
                retention_hours=keep_hours,
                dry_run=False,
                enforce_retention_duration=False,
                full=True,
                commit_properties=_properties(batch),
                post_commithook_properties=_NO_HOOKS,
            )
            table.create_checkpoint()
    except CommitFailedError as error:
        raise _other_writer(place) from error
    place.settle(before, table.version())
    return table.version()


def needs_tidying(folder: Folder, version: int) -> bool:
    """Whether a version has so many small files, or so long a log, that reading or committing slows down."""
    place = places.of(folder)
    return place.once(version, lambda: _needs_tidying(place, version))


def _needs_tidying(place: Place, version: int) -> bool:
    if version - _last_checkpoint(place) >= CHECKPOINT_EVERY:
        return True
    return _size_due(_remembered_files(place, version)) is not None


def _size_due(stored: Sequence[TableFile]) -> int | None:
    """The size to which files are to be merged now, the largest that is due; None where none has become many.

    Only files below half of a size count: two of them always fit together, so merging always makes them fewer.
    """
    below, due = 0, None
    for size, many in _STEPS:
        if len([file for file in stored if below <= file.size < size // 2]) >= many:
            due = size
        below = size // 2
    return due


def files_of(folder: Folder, version: int) -> list[TableFile]:
    """The data files of one version. Raises Problem CR-061 for a table whose files do not speak for themselves."""
    return list(_remembered_files(places.of(folder), version))


def missing(folder: Folder, stored: Sequence[TableFile]) -> tuple[int, int]:
    """How many of the files are not there, and how many are not as large as the log says."""
    sizes = places.of(folder).sizes([file.name for file in stored])
    absent = sizes.count(None)
    return absent, sum(size != file.size for size, file in zip(sizes, stored, strict=True)) - absent


def _remembered_files(place: Place, version: int) -> tuple[TableFile, ...]:
    return place.recall(version, lambda: _files_of(place, version))


def _files_of(place: Place, version: int) -> tuple[TableFile, ...]:
    table = place.table(version)
    features = set(table.protocol().reader_features or ())
    if features & _UNREADABLE_FEATURES:
        raise Problem(
            "CR-061", f"it uses {', '.join(sorted(features & _UNREADABLE_FEATURES))}", where=place.address
        )
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return tuple(_file(place, action) for action in actions)


def appended(folder: Folder, after: int, until: int) -> list[str] | None:
    """The data files with the rows that version `until` has and version `after` had not.

    None where that cannot be told: rows were taken away since, a file is gone because it was merged long ago, or does
    not say how many rows it has.
    """
    place = places.of(folder)
    if (only_added := _only_added(place, after, until)) is not None:
        return only_added
    stood = {file.name: file.rows for file in files_of(folder, after)}
    merged: set[str] = set()
    new: dict[str, Mapping[str, Any]] = {}
    for version in range(after + 1, until + 1):
        actions = _actions(place, version)
        operation = next((one["commitInfo"].get("operation") for one in actions if "commitInfo" in one), None)
        added = {one["add"]["path"]: one["add"] for one in actions if "add" in one}
        removed = {one["remove"]["path"] for one in actions if "remove" in one}
        if operation == "OPTIMIZE":
            merged |= added.keys()
            continue
        # Taking back what was never announced (RESTORE) removes new files, and puts those in place that it had merged.
        if operation != "RESTORE" and removed:
            return None
        new = {name: add for name, add in new.items() if name not in removed}
        new |= {name: add for name, add in added.items() if name not in stood and name not in merged}
    told = [*stood.values(), *map(_rows_of, new.values())]
    rows = [number for number in told if number is not None]
    if len(rows) < len(told) or sum(rows) != sum(file.rows for file in files_of(folder, until)):
        return None
    if None in place.sizes(list(new)):
        return None
    return [place.path(name, int(add["size"])) for name, add in new.items()]


def _only_added(place: Place, after: int, until: int) -> list[str] | None:
    """The files of versions that did nothing but add some, as most do: their entries say it all, whatever stood before."""
    new: dict[str, int] = {}
    for version in range(after + 1, until + 1):
        for action in _actions(place, version):
            if "remove" in action or action.get("commitInfo", {}).get("operation", _WRITE) != _WRITE:
                return None
            if "add" in action:
                if _rows_of(action["add"]) is None:
                    return None
                new[action["add"]["path"]] = int(action["add"]["size"])
    if None in place.sizes(list(new)):
        return None
    return [place.path(name, size) for name, size in new.items()]


def identity(folder: Folder, version: int) -> str:
    """What tells this version from another one of that number, as there is after a table was put back; "" for none."""
    entry = places.of(folder).read(delta_log.entry_of(version))
    return "" if entry is None else hashlib.sha256(entry).hexdigest()[:32]


def _actions(place: Place, version: int) -> list[dict[str, Any]]:
    entry = place.read(delta_log.entry_of(version))
    if entry is None:
        return [{"remove": {"path": ""}}]  # nobody knows what it said
    return [msgspec.json.decode(line) for line in entry.splitlines()]


def _rows_of(added: Mapping[str, Any]) -> int | None:
    """None where its writer did not say."""
    stats = added.get("stats")
    number = msgspec.json.decode(stats).get("numRecords") if stats else None
    return None if number is None else int(number)


def _file(place: Place, action: Mapping[str, Any]) -> TableFile:
    return TableFile(
        name=action["path"],
        path=place.path(action["path"], action["size_bytes"]),
        rows=action["num_records"],
        size=action["size_bytes"],
        low={name[4:]: value for name, value in action.items() if name.startswith("min.")},
        high={name[4:]: value for name, value in action.items() if name.startswith("max.")},
    )


def _at_announced(place: Place, after: int | None, batch: Batch, schema: pa.Schema | None) -> DeltaTable:
    """The table with nothing in it after the announced version."""
    announced = EMPTY if after is None else after
    place.mend(announced)
    table = place.newest(anew=schema is None) or _created(place, after, schema)
    if table.version() != announced:
        try:
            with place.reached():
                table.restore(announced, commit_properties=_properties(batch))
        except CommitFailedError as error:
            raise _other_writer(place) from error
        place.settle(announced, table.version())
    return table


def _created(place: Place, after: int | None, schema: pa.Schema | None) -> DeltaTable:
    if after is not None or schema is None:
        raise place.not_as_put(f"version {after} of this table was announced, and there is no table")
    place.create(schema, CommitProperties(max_commit_retries=_NO_RETRY))
    place.settle(-1, EMPTY)
    table = place.newest(anew=True)
    assert table is not None
    return table


def _last_checkpoint(place: Place) -> int:
    said = place.read(delta_log.LAST_CHECKPOINT)
    return EMPTY if said is None else int(msgspec.json.decode(said)["version"])


def _properties(batch: Batch) -> CommitProperties:
    return CommitProperties(
        app_transactions=[Transaction(_APPLICATION, batch.number)],
        custom_metadata={"batch": batch.id},
        max_commit_retries=_NO_RETRY,
    )


def _other_writer(place: Place) -> Problem:
    return Problem(
        "CR-060",
        "another process committed to it at the same moment",
        status=409,
        where=place.address,
        remedy="Run one loader at a time; this one starts again from the last announced state.",
    )
