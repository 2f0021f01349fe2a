"""Connections to PostgreSQL and the migrations that give it its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg
import msgspec

from commonroom.engines import primary
from commonroom.engines.postgres import LocalServer
from commonroom.problems import Problem
from commonroom.settings import Settings

# What a database that is away or coming back looks like from here: come again later.
DATABASE_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver's word when the server dies between two messages (asyncpg issue 1069)
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,  # a primary that has become a standby
)


def dsn(settings: Settings) -> str:
    """The address of the database: the operator's own, or our local server's as it is at this moment."""
    if settings.database:
        return settings.database
    try:
        return LocalServer(settings.data / "postgres").dsn
    except FileNotFoundError as error:
        raise Problem(
            "CR-003",
            "no database has been started in this data folder",
            where=str(settings.data),
            remedy="Run `commonroom serve`, or set COMMONROOM_DATABASE.",
        ) from error


async def open_pool(settings: Settings, *, size: int = 8, seconds: float | None = None) -> asyncpg.Pool:
    """A pool of connections; `jsonb` columns come and go as plain Python values. No command takes more than `seconds`.

    Whoever takes one leaves nothing behind on it: no setting, no lock of the session, no listener. Clearing the session
    after each use would cost as much as many a statement.
    """
    return await asyncpg.create_pool(
        dsn(settings),
        min_size=1,
        max_size=size,
        connect=primary.connect,
        init=prepare_connection,
        reset=_leave_as_it_is,
        command_timeout=seconds,
    )


async def _leave_as_it_is(connection: Any) -> None:
    """asyncpg has rolled back what was left open before it calls this."""


async def connect(settings: Settings, session: Mapping[str, str] | None = None) -> asyncpg.Connection:
    """One connection, set up like those of the pool, with the server's settings for its `session`."""
    connection = await primary.connect(dsn(settings), server_settings=dict(session or {}))
    await prepare_connection(connection)
    return connection


async def prepare_connection(connection: Any) -> None:
    """JSON codecs; asyncpg leaves JSON as text otherwise."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda data: msgspec.json.decode(data[1:]),
        format="binary",
    )


def migrate(settings: Settings) -> None:
    """Bring the database's tables up to date. Many processes may call it at once: one works, the others wait."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "commonroom:engines/migrations")
    config.attributes["conninfo"] = primary.libpq(dsn(settings))
    command.upgrade(config, "head")
