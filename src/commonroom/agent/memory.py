"""The agent's memory: one SQLite file with what it has seen, what it still has to send, and what it could not use.

What a look changes and the letters that tell of it are one transaction, so a kill at any moment loses and doubles nothing.
The file holds personal data and is readable by its owner alone.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from commonroom.problems import Problem

SCHEMA_VERSION = 3
BUSY_SECONDS = 30
VERSIONS_FROM = "versions from"  # the note with the number after which the versions of this memory begin

SCHEMA = """
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE fact (
    entity TEXT NOT NULL,
    key TEXT NOT NULL,          -- the key items as a JSON array
    valid_from TEXT NOT NULL,
    version INTEGER NOT NULL,   -- the last one sent
    live INTEGER NOT NULL,      -- 0: withdrawn
    row BLOB,                   -- digest of the source row that shows it; NULL: shown no longer
    content BLOB NOT NULL,      -- digest of the record
    record BLOB,                -- the record as JSON, of the entities that transfers need
    PRIMARY KEY (entity, key, valid_from)
) WITHOUT ROWID;
CREATE INDEX fact_time ON fact (entity, valid_from);

CREATE TABLE finding (
    number INTEGER PRIMARY KEY,
    place TEXT NOT NULL,        -- the entity of the query; `transfers`; or `received`
    row BLOB NOT NULL,          -- digest of the source row; empty: the query as a whole
    key TEXT NOT NULL,          -- as in fact; empty where it is not known
    valid_from TEXT NOT NULL,
    rule TEXT NOT NULL,
    severity TEXT NOT NULL,
    finding BLOB NOT NULL,      -- JSON
    found_at TEXT NOT NULL
);
CREATE INDEX finding_place ON finding (place, row);

CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,    -- ce-id
    type TEXT NOT NULL,
    recipient TEXT,
    dataschema TEXT NOT NULL,
    datacontenttype TEXT NOT NULL,
    made_at TEXT NOT NULL,      -- ISO, UTC
    records INTEGER NOT NULL,
    size INTEGER NOT NULL,      -- bytes of the body
    body BLOB,                  -- NULL once the hub has it
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'accepted', 'refused')),
    settled_at TEXT,
    problem TEXT,               -- why the hub refused it, or will not take it yet
    tries INTEGER NOT NULL DEFAULT 0,    -- how often the hub would not take it yet
    again_at INTEGER NOT NULL DEFAULT 0, -- Unix seconds before which it is not posted again
    sealed BLOB                 -- the body as it was encrypted and posted; since version 3
);
CREATE INDEX outbox_unsettled ON outbox (state, number) WHERE state <> 'accepted';

CREATE TABLE transfer (
    upn TEXT NOT NULL,
    leaving_date TEXT NOT NULL,
    destination TEXT NOT NULL,
    letter TEXT NOT NULL,       -- outbox.id
    PRIMARY KEY (upn, leaving_date, destination)
) WITHOUT ROWID;

-- Receivers keep the highest version: those of a memory made in the place of a lost one must be above its. Milliseconds.
INSERT INTO note VALUES ('versions from', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER));
"""
# What the hub reported of accepted letters, one row for each recipient. Since version 2.
FATES = """
CREATE TABLE fate (
    letter TEXT NOT NULL,       -- outbox.id
    recipient TEXT NOT NULL,    -- party urn
    state TEXT NOT NULL,        -- acknowledged, refused, expired or undeliverable
    reason TEXT,
    at TEXT NOT NULL,           -- ISO, the hub's clock
    PRIMARY KEY (letter, recipient)
) WITHOUT ROWID;
"""

SEALED = "ALTER TABLE outbox ADD COLUMN sealed BLOB;"  # since version 3

UPGRADES = {
    1: f"""
    ALTER TABLE outbox ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE outbox ADD COLUMN again_at INTEGER NOT NULL DEFAULT 0;
    {FATES}
    {SEALED}
    """,
    2: SEALED,
}


class Memory:
    """An open memory. Its connection may be used from any thread, by one at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> Memory:
        """Open or make the memory. Raises Problem CR-070 when the file is no memory of this version."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
        )
        try:
            _prepare(connection)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise Problem(
                "CR-070",
                f"this is not an agent's memory ({error})",
                where=str(path),
                remedy="Move the file away; the agent then sends everything again, with higher versions. What vanished "
                "from the school system meanwhile is not withdrawn: ask each receiver to take a snapshot.",
            ) from error
        return cls(connection)

    @classmethod
    def copy_of(cls, path: Path) -> Memory:
        """A copy in this process's own storage: whatever is done with it leaves the file as it was."""
        connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        if path.exists():
            original = sqlite3.connect(path, timeout=BUSY_SECONDS)
            original.backup(connection)
            original.close()
        _prepare(connection)
        return cls(connection)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; written to the disk when the block ends without an error."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk makes SQLite roll back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The answer to one SELECT."""
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def note(self, name: str) -> str | None:
        """A remembered word, such as the agent's own party."""
        found = self.rows("SELECT value FROM note WHERE name = ?", (name,))
        return str(found[0][0]) if found else None

    def write_note(self, name: str, value: str) -> None:
        """Remember a word."""
        with self.transaction() as connection:
            set_note(connection, name, value)


def set_note(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Remember a word inside a transaction."""
    connection.execute(
        "INSERT INTO note (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def add_to_note(connection: sqlite3.Connection, name: str, number: int) -> None:
    """Raise a remembered number inside a transaction."""
    connection.execute(
        """
        INSERT INTO note (name, value) VALUES (?1, CAST(?2 AS TEXT))
        ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + ?2 AS TEXT)
        """,
        (name, number),
    )


def _prepare(connection: sqlite3.Connection) -> None:
    # FULL: what the agent told its memory survives a power cut, not only a kill.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found == 0:
        _make(connection, SCHEMA + FATES)
    elif found in UPGRADES:
        _make(connection, UPGRADES[found])
    elif found != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"schema version {found}; this program knows {SCHEMA_VERSION}")


def _make(connection: sqlite3.Connection, statements: str) -> None:
    connection.executescript(f"BEGIN IMMEDIATE; {statements} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


class Occupied:
    """The claim of one process on one agent; the operating system lifts it when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # SQLite's own file lock works on every platform it runs on.
        self._connection = sqlite3.connect(
            folder / "agent.lock", timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            self._connection.close()
            raise Problem(
                "CR-074",
                "another process runs this agent",
                status=409,
                where=str(folder),
                remedy="Stop it first, or give this agent a folder of its own.",
            ) from error

    def release(self) -> None:
        """Let another process have the agent."""
        self._connection.close()
