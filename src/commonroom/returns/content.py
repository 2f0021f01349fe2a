"""The content of a version: the module tables as written, kept under their digest in the data folder.

A folder of Parquet files, one for each module that has rows, is written under another name, synced and renamed, so what
stands there is whole. The digest is taken over the rows, not over the files: the same return has it wherever it was made.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from commonroom.collections.model import Collection
from commonroom.collections.predicates import KEYS
from commonroom.collections.tables import CURRENT, Tables
from commonroom.engines import files
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.returns import codes
from commonroom.settings import Settings

FOLDER = "returns"
_NEW = "new-"


def keep(settings: Settings, tables: Tables) -> str:
    """Write the tables of a return into the data folder; their digest, by which they are found again."""
    home = settings.folder(FOLDER)
    home.chmod(0o700)
    new = home / f"{_NEW}{uuid7()}"
    new.mkdir(mode=0o700)
    try:
        digest = hashlib.sha256()
        written = [
            path for module in tables.collection.modules if (path := _write(tables, module, new, digest))
        ]
        files.sync([*written, new])
        name = digest.hexdigest()
        if not (home / name).exists():
            try:
                new.rename(home / name)
            except OSError:
                # Somebody else wrote the same content a moment ago.
                if not (home / name).exists():
                    raise
            files.sync([home])
        return name
    finally:
        shutil.rmtree(new, ignore_errors=True)


def folder(settings: Settings, digest: str) -> Path:
    """Where a content lies. Raises Problem CR-203 when it is not there."""
    path = settings.folder(FOLDER) / digest
    if not path.is_dir():
        raise Problem(
            codes.CONTENT,
            "the content of this version is not in the data folder",
            status=500,
            where=str(path),
            remedy="Restore the data folder from the backup that belongs to this database.",
        )
    return path


def fill(tables: Tables, path: Path, schema: str = CURRENT) -> None:
    """Put kept content into tables. Items the collection no longer has are left out, new ones are blank."""
    for module in tables.collection.modules.values():
        file = path / f"{module.name}.parquet"
        if not file.exists():
            continue
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches():
                rows = pa.Table.from_batches([batch])
                columns = [
                    rows.column(name) if name in rows.column_names else pa.nulls(rows.num_rows, pa.string())
                    for name in (*KEYS, *module.by_name)
                ]
                tables.insert_texts(module.name, pa.table(columns, names=[*KEYS, *module.by_name]), schema)


def digest_of(tables: Tables) -> str:
    """The digest of a return's content without writing it."""
    digest = hashlib.sha256()
    for module in tables.collection.modules:
        _read(tables, module, digest, None)
    return digest.hexdigest()


def proved(collection: Collection, path: Path, digest: str) -> bool:
    """Whether kept content is what its digest says."""
    tables = Tables(collection)
    try:
        fill(tables, path)
        return digest_of(tables) == digest
    finally:
        tables.close()


def sweep(settings: Settings, wanted: set[str], older_than: float) -> int:
    """Take away contents that no version names and that were written before `older_than`; how many they were."""
    swept = 0
    for path in settings.folder(FOLDER).iterdir():
        if path.is_dir() and path.name not in wanted and path.stat().st_mtime < older_than:
            shutil.rmtree(path, ignore_errors=True)
            swept += 1
    return swept


def _write(tables: Tables, module: str, new: Path, digest: Any) -> Path | None:
    if not tables.count(module):
        return None
    path = new / f"{module}.parquet"
    _read(tables, module, digest, path)
    return path


def _read(tables: Tables, module: str, digest: Any, path: Path | None) -> None:
    """Take the rows of a module into the digest and, with `path`, into a file."""
    if not tables.count(module):
        return
    reader = tables.texts(module)
    names = list(tables.collection.modules[module].by_name)
    digest.update(f"\x1d{module}\x1e".encode())
    writer = pq.ParquetWriter(path, reader.schema, compression="zstd") if path else None
    try:
        for batch in reader:
            if writer is not None:
                writer.write_batch(batch)
            digest.update(_plain(batch, names))
    finally:
        if writer is not None:
            writer.close()


def _plain(batch: Any, names: list[str]) -> bytes:
    """Rows as bytes: place, record and values by name; a blank item leaves nothing, so a new one changes nothing."""
    columns = [batch.column(index).to_pylist() for index in range(batch.num_columns)]
    keys, texts = columns[: len(KEYS)], columns[len(KEYS) :]
    lines = []
    for place in range(batch.num_rows):
        numbers = ",".join(str(column[place] or 0) for column in keys)
        values = "\x1f".join(
            f"{name}={column[place]}"
            for name, column in zip(names, texts, strict=True)
            if column[place] is not None
        )
        lines.append(f"{numbers}\x1f{values}\x1e")
    return "".join(lines).encode("utf-8", "surrogatepass")
