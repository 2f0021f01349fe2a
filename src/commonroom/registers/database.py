"""A connection for one command: the operator's database, the running server of the data folder, or one started for it."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from commonroom.engines import database
from commonroom.engines.postgres import LocalServer
from commonroom.problems import Problem
from commonroom.settings import Settings


@asynccontextmanager
async def opened(settings: Settings, *, new: bool) -> AsyncIterator[Any]:
    """A connection to a migrated database. A server that had to be started is stopped at the end.

    `new` allows a data folder to be set up; a look-up in a folder that holds nothing is most likely a slip of the pen.

    Raises Problem CR-003 when the operator's database does not answer, or another process holds the data folder
    without a server that answers.
    """
    server = (
        None if settings.database or await _answers(settings) else LocalServer(settings.data / "postgres")
    )
    if server is None:
        async with _connected(settings) as conn:
            yield conn
        return
    if not new and not server.cluster.exists():
        raise Problem(
            "CR-003",
            "nothing has been loaded into this data folder yet",
            where=str(settings.data),
            remedy="Check the path, or load a register first.",
        )
    settings.data.mkdir(parents=True, exist_ok=True)
    with (settings.data / ".lock").open("ab") as held:
        _hold(held, settings.data)
        await asyncio.to_thread(server.start)
        try:
            async with _connected(settings) as conn:
                yield conn
        finally:
            await asyncio.to_thread(server.stop)


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Any]:
    try:
        conn = await database.connect(settings)
    except (OSError, asyncpg.PostgresError) as error:
        raise Problem(
            "CR-003",
            f"the database does not answer ({type(error).__name__})",
            where="COMMONROOM_DATABASE" if settings.database else str(settings.data),
            remedy="Check that it runs and that the address is right.",
        ) from error
    try:
        await asyncio.to_thread(database.migrate, settings)
        yield conn
    finally:
        await conn.close()


async def _answers(settings: Settings) -> bool:
    """Whether a server runs in the data folder."""
    try:
        conn = await asyncpg.connect(database.dsn(settings), timeout=10)
    except (Problem, OSError, asyncpg.PostgresError):
        return False
    await conn.close()
    return True


def _hold(lock: Any, folder: Path) -> None:
    """The lock that every installation holds while it runs; two servers must never share a folder."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Problem(
            "CR-003",
            "another commonroom holds this data folder and its database does not answer yet",
            where=str(folder),
            remedy="Try again in a moment, or name another folder with --data.",
        ) from error
