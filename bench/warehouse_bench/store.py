"""The warehouse that is measured: a data folder with PostgreSQL, fact tables, heads; and what a piece of work took."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from commonroom.engines import delta
from commonroom.engines.database import connect, migrate
from commonroom.engines.delta import Batch
from commonroom.engines.duck import Duck
from commonroom.engines.postgres import LocalServer
from commonroom.ids import uuid7
from commonroom.settings import Settings
from commonroom.warehouse import heads, tables
from commonroom.warehouse.heads import Head

MARKS, REGISTER = "attendance_mark", "organisation"


class Took(msgspec.Struct):
    """Wall and CPU seconds of this process with all its threads."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def more(self) -> Iterator[None]:
        """Add what is done meanwhile."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


class Store:
    """One warehouse, loaded by this process."""

    def __init__(self, settings: Settings, connection: Any) -> None:
        self.settings, self.connection = settings, connection
        self.duck = Duck(settings, [settings.folder("warehouse")])
        self.versions: dict[str, int] = {}
        self.number = 0

    def append(self, entity: str, rows: pa.Table) -> None:
        """Record batches to a committed version on the disk, by the loader's own function."""
        self.number += 1
        folder, batch = tables.of(entity).folder(self.settings), Batch(self.number, str(uuid7()))
        self.versions[entity] = delta.append(folder, rows, after=self.versions.get(entity), batch=batch)

    async def announce(self) -> Head:
        """Let readers see what was appended."""
        self.number += 1
        head = Head(self.number, str(uuid7()), self.number, dict(self.versions), None)
        await heads.announce(self.connection, head)
        return head

    def files(self, entity: str = MARKS) -> list[delta.TableFile]:
        """The data files of the newest version."""
        return delta.files_of(tables.of(entity).folder(self.settings), self.versions[entity])

    def upkeep(self) -> None:
        """Merge small files when they have become many, as the loader does by itself."""
        folder = tables.of(MARKS).folder(self.settings)
        if not delta.needs_tidying(folder, self.versions[MARKS]):
            return
        self.number += 1
        batch = Batch(self.number, str(uuid7()))
        after = self.versions[MARKS]
        self.versions[MARKS] = delta.tidy(folder, after=after, batch=batch, keep_hours=0, as_due=True)


@asynccontextmanager
async def store(folder: Path) -> AsyncIterator[Store]:
    """A new warehouse in this folder, its database running."""
    server = LocalServer(folder / "postgres")
    await asyncio.to_thread(server.start)
    try:
        settings = Settings(data=folder, database=server.dsn, figures="live")
        await asyncio.to_thread(migrate, settings)
        connection = await connect(settings)
        try:
            yield Store(settings, connection)
        finally:
            await connection.close()
    finally:
        await asyncio.to_thread(server.stop)


def written_by_duckdb(maker: duckdb.DuckDBPyConnection, rows: pa.Table, file: Path) -> None:
    """The floor: the same rows as one Parquet file, with the same compression and its level, synced by nobody."""
    maker.register("chunk", rows)
    form = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"  # as delta.append has it
    maker.execute(f"COPY (SELECT * FROM chunk) TO '{file}' ({form})").fetchall()  # noqa: S608
    maker.unregister("chunk")


def peak_mb() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
