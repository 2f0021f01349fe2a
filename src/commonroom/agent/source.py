"""The school's database, read only: queries of the mapping in, rows out. Nothing here can write to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from commonroom.problems import Problem

BUSY_SECONDS = 10  # how long a look waits for the school's own program to finish writing
_NOT_UTF8 = "Could not decode to UTF-8"


class Query(msgspec.Struct, frozen=True):
    """One SELECT with its parameters."""

    sql: str
    parameters: Mapping[str, str]


class Rows(msgspec.Struct, frozen=True):
    """What a query showed."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Failure(msgspec.Struct, frozen=True):
    """A query that the database refused, in the database's words without any value of a row."""

    reason: str


class Source:
    """A held connection to one school database. Not for two threads at once.

    The connection stays open between looks because SQLite's `data_version` speaks of one connection's time.
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._opened = 0  # how often; data_version means something within one connection only
        self._file: tuple[int, int] | None = (
            None  # which file the connection holds; None where the kind has none
        )

    def version(self) -> tuple[int, int] | None:
        """What differs whenever another program changed the database; None where the kind has no such thing."""
        if self._url.get_backend_name() != "sqlite":
            return None
        with self._reading() as connection:
            number = int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())
        return self._opened, number

    def snapshot(self, queries: Sequence[Query]) -> list[Rows | Failure]:
        """The answers to all queries as of one moment; one that fails does not stop the others.

        Raises Problem CR-072 when the database cannot be read at all.
        """
        with self._reading() as connection:
            if self._url.get_backend_name() == "sqlite":
                connection.exec_driver_sql("BEGIN")
            return [_run(connection, query) for query in queries]

    def close(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """The held connection; its transaction ends here, so that the school's program never waits for us."""
        try:
            # A program that replaces its file leaves us the old one, which would look unchanged for ever.
            file = _file(self._url)
            if file != self._file:
                self.close()
            if self._connection is None:
                self._engine = _engine(self._url)
                self._connection = self._engine.connect()
                self._file = file
                self._opened += 1
            yield self._connection
            self._connection.rollback()
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            self.close()
            raise Problem(
                "CR-072",
                f"the database cannot be read ({reason(error)})",
                where=_name(self._url),
                remedy="Check that it is there, that the address is right, and that the agent may read it.",
            ) from error


def reason(error: Exception) -> str:
    """The fault without the statement's parameters or any row's values, which may be personal."""
    original = getattr(error, "orig", None) or error
    if _NOT_UTF8 in str(original):
        return "bytes that are not UTF-8"
    words = str(original).splitlines()
    told = words[0] if words and not _quotes_values(error, original) else "a value does not fit"
    return f"{type(original).__name__}: {told}"


def _quotes_values(error: Exception, original: Exception) -> bool:
    """True for faults whose words may hold a value of a row; the other kinds speak of tables and columns.

    Every driver has a `DataError` (PEP 249) and its own classes below it.
    """
    if isinstance(error, DataError) or isinstance(original, ValueError | TypeError | ArithmeticError):
        return True
    return any(kind.__name__ == "DataError" for kind in type(original).__mro__)


def _run(connection: Connection, query: Query) -> Rows | Failure:
    faults = (DBAPIError, connection.dialect.loaded_dbapi.Error)
    try:
        return _fetch(connection, query)
    except faults as error:
        if _NOT_UTF8 not in str(error):
            return _failure(connection, error)
    # Some text is not UTF-8: read again with the bad bytes marked, so that only their records are findings.
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        return Failure(f"bytes that are not UTF-8 in {connection.dialect.name}")
    driver.text_factory = _decode_marking
    try:
        return _fetch(connection, query)
    except faults as error:
        return _failure(connection, error)
    finally:
        driver.text_factory = str


def _fetch(connection: Connection, query: Query) -> Rows | Failure:
    result = connection.execute(text(query.sql), dict(query.parameters))
    if not result.returns_rows:
        return Failure("the query returns no rows; it must be a SELECT")
    # Straight from the driver: SQLAlchemy's own rows would double the time of a look.
    return Rows(tuple(result.keys()), [tuple(row) for row in result.cursor.fetchall()])


def _failure(connection: Connection, error: Exception) -> Failure:
    if connection.dialect.name != "sqlite":
        # Elsewhere a failed statement spoils its transaction.
        connection.rollback()
    return Failure(reason(error))


def _decode_marking(value: bytes) -> str:
    return value.decode("utf-8", errors="surrogateescape")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        path = f"file:{quote(str(url.database))}?mode=ro"

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(
                path, uri=True, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
            )

        return create_engine("sqlite://", creator=connect, poolclass=NullPool)
    options: dict[str, Any] = {"isolation_level": "REPEATABLE READ"}
    if url.get_backend_name() == "postgresql":
        options["postgresql_readonly"] = True
    return create_engine(url, poolclass=NullPool, execution_options=options)


def _file(url: URL) -> tuple[int, int] | None:
    """Device and inode of the file at a SQLite address. Raises OSError when there is none."""
    if url.get_backend_name() != "sqlite":
        return None
    found = Path(str(url.database)).stat()
    return found.st_dev, found.st_ino


def _name(url: URL) -> str:
    return url.render_as_string(hide_password=True)
