"""Our own PostgreSQL: it starts, stops cleanly, and comes back after anything that can happen to it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest

from commonroom.engines.database import dsn, migrate, open_pool
from commonroom.engines.postgres import CONNECTIONS, LocalServer, connections_for
from commonroom.hub.office import POOL_SIZE
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.waiting import until


def _answer(server: LocalServer) -> object:
    with psycopg.connect(server.dsn) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        return row[0] if row else None


@pytest.fixture
def server(tmp_path: Path) -> LocalServer:
    server = LocalServer(tmp_path / "a folder with spaces" / "postgres")
    server.start()
    with psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000)")
    return server


def test_it_is_the_release_the_documents_name(server: LocalServer) -> None:
    with psycopg.connect(server.dsn) as connection:
        assert connection.info.server_version // 10_000 == 18
    server.stop()


def test_it_starts_again_after_a_clean_stop_with_the_connections_that_64_hub_processes_need(
    server: LocalServer,
) -> None:
    server.stop()
    assert not (server.cluster / "postmaster.pid").exists()
    needed = connections_for(64)
    assert needed > 64 * POOL_SIZE
    assert connections_for(1) == CONNECTIONS
    server.options["max_connections"] = str(needed)
    server.start()
    assert _answer(server) == 1000
    with psycopg.connect(server.dsn) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == (str(needed),)
    server.stop()


def test_it_recovers_after_a_kill_and_keeps_what_was_committed(server: LocalServer) -> None:
    assert server.process
    held = psycopg.connect(server.dsn)  # a live backend keeps the shared memory for a moment
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    assert (server.cluster / "postmaster.pid").exists(), "the stale lock is what this test is about"
    server.start()
    held.close()
    assert _answer(server) == 1000
    server.stop()


def test_a_stale_lock_naming_a_living_stranger_does_not_stop_it(server: LocalServer) -> None:
    server.stop()
    (server.cluster / "postmaster.pid").write_text(
        f"{os.getppid()}\n{server.cluster}\n0\n5432\n\n127.0.0.1\n0 0\nready\n"
    )
    server.start()
    assert _answer(server) == 1000
    server.stop()


def test_a_server_left_behind_by_a_killed_run_is_replaced(server: LocalServer) -> None:
    assert server.process
    second = LocalServer(server.folder)
    second.start()
    until(lambda: server.process is None or server.process.poll() is not None, what="the old server's end")
    assert _answer(second) == 1000
    second.stop()


def test_a_set_up_killed_half_way_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    (folder / "cluster.new").mkdir(parents=True)
    (folder / "cluster.new" / "PG_VERSION").write_text("18\n")
    (folder / "password").write_text("from before\n")
    server = LocalServer(folder)
    server.start()
    with psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    server.stop()


def test_a_database_without_its_password_file_is_never_made_anew(server: LocalServer) -> None:
    server.stop()
    password = server.password_file.read_text()
    server.password_file.unlink()
    with pytest.raises(Problem, match="Bring the file back"):
        server.start()
    server.password_file.write_text(password)
    server.start()
    assert _answer(server) == 1000
    server.stop()


def test_nobody_gets_in_without_the_password(server: LocalServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.dsn.replace(server.password_file.read_text().strip(), "wrong"))
    assert server.dsn_file.stat().st_mode & 0o077 == 0
    assert server.password_file.stat().st_mode & 0o077 == 0
    server.stop()


def test_a_data_folder_without_a_database_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="commonroom serve"):
        dsn(Settings(data=tmp_path))


async def test_migrations_can_run_twice_and_give_every_room_its_schema(settings: Settings) -> None:
    migrate(settings)
    pool = await open_pool(settings, size=1)
    found = {row["nspname"] for row in await pool.fetch("SELECT nspname FROM pg_namespace")}
    await pool.close()
    assert {"engines", "identity", "hub", "providers", "learners", "access", "warehouse", "portal"} <= found
