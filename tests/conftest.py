"""Fixtures all tests share: one real PostgreSQL a run, a fresh migrated database and data folder a test."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import hypothesis
import msgspec
import psycopg
import pytest

from commonroom.engines.database import migrate, open_pool
from commonroom.engines.postgres import LocalServer
from commonroom.settings import Settings

TEMPLATE = "commonroom_template"

# Speed is measured in bench/; a busy machine must not make a property false.
hypothesis.settings.register_profile("commonroom", deadline=None)
hypothesis.settings.load_profile("commonroom")

# The server is thrown away with its run: nothing of it needs to outlive the machine.
NOT_TO_LAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
    "max_connections": "400",
}

# What the test processes' servers take together is some hundred megabytes; where there is less than this, the disk does.
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 2**30

# The files that take longest come first, so that no worker is left alone with one of them at the end.
LONGEST_FIRST = (
    "specification/collections/test_rules.py",
    "faults",
    "specification/returns/test_live_equals_source.py",
    "browser",
    "specification/test_tutorial.py",
    "specification/test_new_collection.py",
    "unit/hub/test_fuzzed_interface.py",
    "specification/registers",
    "unit/registers/test_commands.py",
    "unit/agent",
    "unit/sandbox",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files by how long they take; within a file the tests stay as they stand."""
    items.sort(key=_turn)


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay until the end: the garbage collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


def _turn(item: pytest.Item) -> int:
    place = item.path.relative_to(Path(__file__).parent)
    long = [turn for turn, path in enumerate(LONGEST_FIRST) if place.is_relative_to(path)]
    return long[0] if long else len(LONGEST_FIRST)


@pytest.fixture(scope="session")
def postgres() -> Iterator[LocalServer]:
    """A server of this test process's own, without fsync: tests kill processes, never the machine.

    Not under pytest's folder: the next pytest to start takes everybody else's right to pass through that one, and run
    as root the server is another user.
    """
    with tempfile.TemporaryDirectory(prefix="commonroom-postgres-", dir=_memory()) as folder:
        server = LocalServer(Path(folder), options=NOT_TO_LAST)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def template(postgres: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated database that each test copies."""
    with _maintenance(postgres) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    migrate(Settings(data=tmp_path_factory.mktemp("template"), database=_dsn(postgres, TEMPLATE)))
    return TEMPLATE


@pytest.fixture
def settings(
    postgres: LocalServer, template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """A fresh data folder and a fresh migrated database."""
    # Tests ask for figures at once, by commands too; those of releases say so.
    monkeypatch.setenv("COMMONROOM_FIGURES", "live")
    name = f"test_{uuid.uuid4().hex[:12]}"
    with _maintenance(postgres) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield Settings(data=tmp_path / "data", database=_dsn(postgres, name), figures="live")
    with _maintenance(postgres) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    """Connections to the test's database."""
    pool = await open_pool(settings, size=8)
    yield pool
    # A connection that nobody gave back never comes; on a busy machine the others may take their time.
    await asyncio.wait_for(pool.close(), 60)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real public files; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("COMMONROOM_SHARED") or Path(__file__).parents[2] / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no shared data folder at {folder} (set COMMONROOM_SHARED)")
    return folder


def _memory() -> Path | None:
    """Files in memory when there is room: a database is a thousand small files, and each test makes and drops one.

    On a disk without a journal ext4 looks past every file that was removed in the last seconds, again for each new one.
    """
    try:
        return MEMORY if shutil.disk_usage(MEMORY).free >= MEMORY_BYTES else None
    except OSError:
        return None


def _dsn(server: LocalServer, database: str) -> str:
    return f"{server.dsn.rsplit('/', 1)[0]}/{database}"


def _maintenance(server: LocalServer) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(_dsn(server, "postgres"), autocommit=True)


def settings_with(settings: Settings, **changes: object) -> Settings:
    """The same settings with some changed."""
    return msgspec.structs.replace(settings, **changes)
