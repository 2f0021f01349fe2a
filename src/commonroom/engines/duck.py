"""DuckDB in this process: in memory, with limits, reading from the folders it was given and from nowhere else.

There is no shared database file: every process has its own, and reads the files of an announced table version.
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
    """Statements on one cursor, by one thread."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor

    def run(self, sql: str, tables: Mapping[str, pa.Table] | None = None) -> list[tuple[Any, ...]]:
        """Rows of one statement. `tables` are Arrow tables that it and those after it may name."""
        for name, table in (tables or {}).items():
            self._cursor.register(name, table)
        return self._cursor.execute(sql).fetchall()


class Duck:
    """One in-memory DuckDB. `query` may be called from several threads: each call has its own cursor."""

    def __init__(self, settings: Settings, folders: Sequence[Path]) -> None:
        self._connection = duckdb.connect(
            ":memory:",
            config={
                **_CONFIGURATION,
                "memory_limit": f"{settings.duckdb_memory_mb}MB",
                "threads": str(settings.duckdb_threads),
            },
        )
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
            for name, table in (tables or {}).items():
                cursor.register(name, table)
            cursor.execute(sql, list(parameters))
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def arrow(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Rows as an Arrow table."""
        with self._cursor() as cursor:
            return cursor.sql(sql, params=list(parameters)).to_arrow_table()

    @contextmanager
    def stream(self, sql: str, parameters: Sequence[Any] = (), rows: int = STREAMED) -> Iterator[Any]:
        """Rows as Arrow batches of about so many, made as they are read: a large answer is never in memory at once."""
        with self._cursor() as cursor:
            yield cursor.sql(sql, params=list(parameters)).to_arrow_reader(rows)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Several statements that share temporary tables, which end with it."""
        with self._cursor() as cursor:
            yield Session(cursor)

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
