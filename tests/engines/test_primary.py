"""Finding the server that takes writes among those of a DSN. What happens when it is lost: tests/faults/test_failover.py."""

from __future__ import annotations

import socket

import asyncpg
import psycopg
import pytest

from commonroom.engines import primary
from commonroom.engines.postgres import LocalServer
from tests.hub_server import free_port


def _beside(server: LocalServer, port: int) -> str:
    """The server's DSN with another address before its own."""
    login, _, rest = server.dsn.partition("@")
    return f"{login}@127.0.0.1:{port},{rest}?target_session_attrs=read-write"


@pytest.mark.parametrize(
    ("dsn", "servers"),
    [
        ("postgresql://u:p@a:1/db", ["postgresql://u:p@a:1/db"]),
        (
            "postgresql://u:p%40@a:1,b/db?x=y",
            ["postgresql://u:p%40@a:1/db?x=y", "postgresql://u:p%40@b/db?x=y"],
        ),
        ("postgresql://[::1]:1,[::2]:2/db", ["postgresql://[::1]:1/db", "postgresql://[::2]:2/db"]),
        ("postgresql:///db?host=/run", ["postgresql:///db?host=/run"]),
    ],
)
def test_a_dsn_is_read_server_by_server(dsn: str, servers: list[str]) -> None:
    assert primary.servers(dsn) == servers


async def test_a_server_that_is_down_keeps_nobody_from_the_other(postgres: LocalServer) -> None:
    dsn = _beside(postgres, free_port())
    connection = await primary.connect(dsn)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    with psycopg.connect(primary.libpq(dsn)) as other:
        assert other.execute("SELECT 1").fetchone() == (1,)


async def test_a_server_that_hangs_keeps_nobody_from_the_other_for_long(
    postgres: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(primary, "CONNECT_SECONDS_EACH", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = _beside(postgres, silent.getsockname()[1])
        connection = await primary.connect(dsn)
        await connection.close()
        with psycopg.connect(primary.libpq(dsn)) as other:
            assert other.execute("SELECT 1").fetchone() == (1,)


async def test_when_none_takes_writes_the_fault_says_come_again(postgres: LocalServer) -> None:
    with pytest.raises(primary.NoPrimary):
        await primary.connect(f"postgresql://u@127.0.0.1:{free_port()},127.0.0.1:{free_port()}/db")
    for dsn in (
        f"{postgres.dsn}?target_session_attrs=standby",
        f"{_beside(postgres, free_port())[:-10]}only",
    ):
        with pytest.raises(primary.NoPrimary):
            await primary.connect(dsn)
    assert issubclass(primary.NoPrimary, OSError)


async def test_a_wrong_password_is_no_reason_to_come_again(postgres: LocalServer) -> None:
    password = postgres.password_file.read_text().strip()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await primary.connect(_beside(postgres, free_port()).replace(password, "wrong"))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no TCP_USER_TIMEOUT")
async def test_a_connection_to_a_machine_that_vanished_ends_by_itself(postgres: LocalServer) -> None:
    connection = await primary.connect(postgres.dsn)
    line = connection._transport.get_extra_info("socket")
    assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
    await connection.close()
