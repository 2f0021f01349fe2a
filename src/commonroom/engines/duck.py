"""DuckDB in this process: in memory, with limits, reading from the folders it was given and from nowhere else.

There is no shared database file: every process has its own, and reads the files of an announced table version. Its threads
give way to what others do on this machine (`priorities`), except the loader's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from commonroom.engines.priorities import AtOnce, GivingWay
from commonroom.settings import Settings

STREAMED = 50_000  # rows of one batch of a stream
_END_SECONDS, _LOOK_SECONDS = 5.0, 0.05
_CONFIGURATION = {
    # Nothing is fetched at run time, and no Python variable is mistaken for a table.
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
}


class Session:
    """Statements on one cursor, one after another."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, threads: AtOnce | GivingWay) -> None:
        self._cursor, self._threads = cursor, threads

    def offer(self, name: str, table: pa.Table) -> None:
        """An Arrow table that statements may name from now on."""
        self._cursor.register(name, table)

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of one statement."""
        return self._threads.run(lambda: _asked(self._cursor, sql, (), {}))[1]


class Duck:
    """One in-memory DuckDB. `query` may be called from several threads: each call has its own cursor."""

    def __init__(self, settings: Settings, folders: Sequence[Path], *, urgent: bool = False) -> None:
        self._threads: AtOnce | GivingWay = AtOnce() if urgent else GivingWay()
        self.memory_bytes = settings.duckdb_memory_mb * 1_000_000
        # DuckDB's threads have the priority of the one that opens it.
        self._connection = self._threads.run(lambda: _opened(settings))
        spill = settings.folder("warehouse") / ".spill"
        allowed = [str(folder.absolute()) for folder in folders]
        self._connection.execute("SET temp_directory = ?", [str(spill)])
        self._connection.execute("SET allowed_directories = ?", [allowed])
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")
        self._ended = threading.Condition()
        self._open: set[duckdb.DuckDBPyConnection] = set()
        self._is_closed = False

    def query(
        self, sql: str, parameters: Sequence[Any] = (), tables: dict[str, pa.Table] | None = None
    ) -> list[dict[str, Any]]:
        """Rows as dicts. `tables` are Arrow tables the statement may name; they exist for this call only."""
        with self._cursor() as cursor:
            names, rows = self._threads.run(lambda: _asked(cursor, sql, parameters, tables or {}))
        return [dict(zip(names, row, strict=True)) for row in rows]

    def arrow(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Rows as an Arrow table."""
        with self._cursor() as cursor:
            return self._threads.run(lambda: cursor.sql(sql, params=list(parameters)).to_arrow_table())

    @contextmanager
    def stream(self, sql: str, parameters: Sequence[Any] = (), rows: int = STREAMED) -> Iterator[Any]:
        """Rows as Arrow batches of about so many, made as they are read: a large answer is never in memory at once."""
        with self._cursor() as cursor:
            yield cursor.sql(sql, params=list(parameters)).to_arrow_reader(rows)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Several statements that share temporary tables, which end with it."""
        with self._cursor() as cursor:
            yield Session(cursor, self._threads)

    def close(self) -> None:
        """Interrupt what is being asked, and release its memory. Who asks later gets a ConnectionException."""
        deadline = time.monotonic() + _END_SECONDS
        with self._ended:
            self._is_closed = True
            # Again and again: an interrupt that comes before a statement begins is lost on it.
            while self._open and time.monotonic() < deadline:
                for cursor in self._open:
                    cursor.interrupt()
                self._ended.wait(_LOOK_SECONDS)
            with suppress(duckdb.Error):  # still in use: it ends with the process
                self._connection.close()
        self._threads.close()

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._ended:
            if self._is_closed:
                raise duckdb.ConnectionException("the engine is closed")
            cursor = self._connection.cursor()
            self._open.add(cursor)
        try:
            yield cursor
        finally:
            cursor.close()
            with self._ended:
                self._open.discard(cursor)
                self._ended.notify_all()


def _opened(settings: Settings) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        ":memory:",
        config={
            **_CONFIGURATION,
            "memory_limit": f"{settings.duckdb_memory_mb}MB",
            "threads": str(settings.duckdb_threads),
        },
    )


def _asked(
    cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any], tables: Mapping[str, pa.Table]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of columns, and rows."""
    for name, table in tables.items():
        cursor.register(name, table)
    cursor.execute(sql, list(parameters))
    return [column[0] for column in cursor.description or ()], cursor.fetchall()
