"""Delta tables in a folder: versions that are on the disk before anybody is told of them.

A table has one writer at a time; readers read the version they were told of (the *announced* one), through its list of
files. Versions after the announced one count as never written: the next writer takes them back first. Nothing here
knows what a row means.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
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

from commonroom.engines import files
from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-060": "The table is being written by another process",
        "CR-061": "The table cannot be read by every engine",
    }
)

# Every table begins with an empty version, so that "take back to the announced version" always has a version to go to.
EMPTY = 0
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
_LOG = "_delta_log"
_APPLICATION = "commonroom.warehouse"
# What DuckDB's plain Parquet reader would read wrongly, because the log changes the meaning of the files.
_UNREADABLE_FEATURES = {"deletionVectors", "columnMapping"}


class Batch(msgspec.Struct, frozen=True):
    """What a commit carries to say which batch wrote it."""

    number: int  # rises by one with every announced batch
    id: str


class TableFile(msgspec.Struct, frozen=True):
    """One data file of a version, with the bounds of its columns where the log has them."""

    path: str
    rows: int
    size: int  # bytes
    low: dict[str, Any]
    high: dict[str, Any]

    def may_hold(self, column: str, low: Any, high: Any) -> bool:
        """False only when no row of the file can have `column` between `low` and `high`, both inclusive."""
        mine_low, mine_high = self.low.get(column), self.high.get(column)
        return mine_low is None or mine_high is None or (mine_low <= high and low <= mine_high)


def append(folder: Path, rows: pa.Table, *, after: int | None, batch: Batch) -> int:
    """Append `rows` after the announced version (None: none was ever announced). Returns the new version, synced.

    Whatever was committed since by a batch that was never announced is taken back first. New columns are added to the
    table. Raises Problem CR-060 when another writer commits at the same moment: start again from the announced state.
    """
    table = _at_announced(folder, after, batch, rows.schema)
    before = table.version()
    try:
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
        raise _other_writer(folder) from error
    _sync_versions(folder, before, table.version())
    return table.version()


def tidy(
    folder: Path, *, after: int, batch: Batch, keep_hours: int = KEEP_HOURS, as_due: bool = False
) -> int:
    """Merge small files, checkpoint the log, delete files that no version of the last `keep_hours` needs.

    Returns the version to announce. Rows stay the same. `as_due` merges only the step that has become many, which takes
    seconds at most however large the table is.
    """
    size = _size_due(files_of(folder, after)) if as_due else _LARGEST_BYTES
    table = _at_announced(folder, after, batch, None)
    before = table.version()
    try:
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
    except CommitFailedError as error:
        raise _other_writer(folder) from error
    table.create_checkpoint()
    _sync_versions(folder, before, table.version())
    return table.version()


def needs_tidying(folder: Path, version: int) -> bool:
    """Whether a version has so many small files, or so long a log, that reading or committing slows down."""
    if version - _last_checkpoint(folder) >= CHECKPOINT_EVERY:
        return True
    return _size_due(files_of(folder, version)) is not None


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


def files_of(folder: Path, version: int) -> list[TableFile]:
    """The data files of one version. Raises Problem CR-061 for a table whose files do not speak for themselves."""
    table = DeltaTable(str(folder), version=version)
    features = set(table.protocol().reader_features or ())
    if features & _UNREADABLE_FEATURES:
        raise Problem(
            "CR-061", f"it uses {', '.join(sorted(features & _UNREADABLE_FEATURES))}", where=str(folder)
        )
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return [_file(folder, action) for action in actions]


def appended(folder: Path, after: int, until: int) -> list[str] | None:
    """The data files with the rows that version `until` has and version `after` had not.

    None where that cannot be told: rows were taken away since, a file is gone because it was merged long ago, or does
    not say how many rows it has.
    """
    stood = {file.path: file.rows for file in files_of(folder, after)}
    merged: set[str] = set()
    new: dict[str, int | None] = {}
    for version in range(after + 1, until + 1):
        actions = _actions(folder / _LOG / f"{version:020d}.json")
        operation = next((one["commitInfo"].get("operation") for one in actions if "commitInfo" in one), None)
        added = {str(folder / one["add"]["path"]): _rows_of(one["add"]) for one in actions if "add" in one}
        removed = {str(folder / one["remove"]["path"]) for one in actions if "remove" in one}
        if operation == "OPTIMIZE":
            merged |= added.keys()
            continue
        # Taking back what was never announced (RESTORE) removes new files, and puts those in place that it had merged.
        if operation != "RESTORE" and removed:
            return None
        new = {path: rows for path, rows in new.items() if path not in removed}
        new |= {path: rows for path, rows in added.items() if path not in stood and path not in merged}
    told = [*stood.values(), *new.values()]
    rows = [number for number in told if number is not None]
    if len(rows) < len(told) or sum(rows) != sum(file.rows for file in files_of(folder, until)):
        return None
    if not all(map(os.path.exists, new)):
        return None
    return list(new)


def identity(folder: Path, version: int) -> str:
    """What tells this version from another one of that number, as there is after a table was put back; "" for none."""
    try:
        return hashlib.sha256((folder / _LOG / f"{version:020d}.json").read_bytes()).hexdigest()[:32]
    except FileNotFoundError:
        return ""


def _actions(entry: Path) -> list[dict[str, Any]]:
    try:
        return [msgspec.json.decode(line) for line in entry.read_bytes().splitlines()]
    except FileNotFoundError:
        return [{"remove": {"path": ""}}]  # nobody knows what it said


def _rows_of(added: Mapping[str, Any]) -> int | None:
    """None where its writer did not say."""
    stats = added.get("stats")
    number = msgspec.json.decode(stats).get("numRecords") if stats else None
    return None if number is None else int(number)


def _file(folder: Path, action: Mapping[str, Any]) -> TableFile:
    return TableFile(
        path=str(folder / action["path"]),
        rows=action["num_records"],
        size=action["size_bytes"],
        low={name[4:]: value for name, value in action.items() if name.startswith("min.")},
        high={name[4:]: value for name, value in action.items() if name.startswith("max.")},
    )


def _at_announced(folder: Path, after: int | None, batch: Batch, schema: pa.Schema | None) -> DeltaTable:
    """The table with nothing in it after the announced version."""
    announced = EMPTY if after is None else after
    _drop_torn_entries(folder, announced)
    if schema is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if not DeltaTable.is_deltatable(str(folder)):
            DeltaTable.create(
                str(folder),
                schema,
                mode="ignore",
                commit_properties=CommitProperties(max_commit_retries=_NO_RETRY),
            )
            _sync_versions(folder, -1, EMPTY)
    table = DeltaTable(str(folder))
    if table.version() != announced:
        try:
            table.restore(announced, commit_properties=_properties(batch))
        except CommitFailedError as error:
            raise _other_writer(folder) from error
        _sync_versions(folder, announced, table.version())
    return table


def _drop_torn_entries(folder: Path, announced: int) -> None:
    """Delete log entries after the announced version that a power cut left unreadable.

    They were not synced, so they were never announced; the log cannot be opened while they are there.
    """
    for path in sorted((folder / _LOG).glob("*.json"), reverse=True):
        number = path.stem
        if not number.isdigit() or (
            int(number) <= announced and not (announced == EMPTY and int(number) == EMPTY)
        ):
            return
        if _is_torn(path):
            path.unlink()


def _is_torn(path: Path) -> bool:
    lines = path.read_bytes().splitlines()
    try:
        for line in lines:
            msgspec.json.decode(line)
    except msgspec.DecodeError:
        return True
    return not lines


def _sync_versions(folder: Path, after: int, until: int) -> None:
    """Put the log entries of versions `after` + 1 to `until`, the files they add and any checkpoint on the disk."""
    log = folder / _LOG
    entries = [log / f"{version:020d}.json" for version in range(after + 1, until + 1)]
    added = [
        folder / action["add"]["path"]
        for entry in entries
        for action in map(msgspec.json.decode, entry.read_bytes().splitlines())
        if "add" in action
    ]
    checkpoints = [*log.glob(f"{until:020d}.checkpoint*.parquet"), *log.glob("_last_checkpoint")]
    # A file that one of these versions added and a later one of them removed may be gone already.
    files.sync([*(path for path in added if path.exists()), *entries, *checkpoints])
    files.sync([folder])


def _last_checkpoint(folder: Path) -> int:
    try:
        return int(msgspec.json.decode((folder / _LOG / "_last_checkpoint").read_bytes())["version"])
    except FileNotFoundError:
        return EMPTY


def _properties(batch: Batch) -> CommitProperties:
    return CommitProperties(
        app_transactions=[Transaction(_APPLICATION, batch.number)],
        custom_metadata={"batch": batch.id},
        max_commit_retries=_NO_RETRY,
    )


def _other_writer(folder: Path) -> Problem:
    return Problem(
        "CR-060",
        "another process committed to it at the same moment",
        status=409,
        where=str(folder),
        remedy="Run one loader at a time; this one starts again from the last announced state.",
    )
