"""Where published figures lie once loaded: for each dataset a folder with one Parquet file a load, and what is current.

A load is announced by one file, replaced whole: readers see the load before or the load after it. Earlier loads stay, so
that what was published then can be read again.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from commonroom.engines import files
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse.published.model import all_declared, named
from commonroom.warehouse.published.reading import Reading
from commonroom.warehouse.published.totals import Check

CURRENT = "current.json"


class Load(msgspec.Struct, frozen=True):
    """One load of a file of published figures."""

    dataset: str
    file: str  # its name as given
    digest: str  # SHA-256 of the file, in hex
    loaded_at: datetime
    rows: int
    levels: dict[str, int]
    symbols: dict[str, int]
    totals: dict[str, int]  # verdict: how many
    earlier: tuple[str, ...] = ()  # digests of the loads before


def save(settings: Settings, path: Path, reading: Reading, checks: list[Check]) -> Load:
    """Keep what was read of a file, and make it current. The same file again changes nothing but the time."""
    name = reading.dataset.name
    folder = _folder(settings, name)
    folder.mkdir(parents=True, exist_ok=True)
    before = _current(settings, name)
    digest = _digest(path)
    sink = pa.BufferOutputStream()
    pq.write_table(reading.rows, sink, compression="zstd")
    files.write(folder / f"{digest}.parquet", sink.getvalue().to_pybytes())
    earlier = () if before is None else (*before.earlier, before.digest)
    load = Load(
        dataset=name,
        file=path.name,
        digest=digest,
        loaded_at=datetime.now(UTC),
        rows=reading.rows.num_rows,
        levels=_counts(reading.rows["geographic_level"].to_pylist()),
        symbols=reading.symbols,
        totals=_counts([one.verdict for one in checks]),
        earlier=tuple(dict.fromkeys(one for one in earlier if one != digest)),
    )
    files.write(folder / CURRENT, msgspec.json.encode(load))
    return load


def loads(settings: Settings) -> list[Load]:
    """The current load of each dataset that has one."""
    return [load for name in all_declared() if (load := _current(settings, name)) is not None]


def current(settings: Settings, name: str) -> Load:
    """The current load of a dataset. Raises Problem CR-261 when there is none."""
    found = _current(settings, named(name).name)
    if found is None:
        raise Problem(
            "CR-261",
            "none are loaded under this name",
            status=404,
            where=name,
            remedy="Load them: commonroom publish load FILE.",
        )
    return found


def rows_of(settings: Settings, load: Load) -> pa.Table:
    """The figures of a load."""
    return pq.read_table(_folder(settings, load.dataset) / f"{load.digest}.parquet")


def _current(settings: Settings, name: str) -> Load | None:
    try:
        return msgspec.json.decode((_folder(settings, name) / CURRENT).read_bytes(), type=Load)
    except FileNotFoundError:
        return None


def _folder(settings: Settings, name: str) -> Path:
    return settings.folder("warehouse") / "published" / name


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _counts(values: list[str]) -> dict[str, int]:
    return {value: values.count(value) for value in dict.fromkeys(values)}
