"""The server that takes writes, among those a DSN names: `postgresql://...@a:5432,b:5432/commonroom`.

All are asked at once: one that is dead must not keep us from the others. Of two that take writes one is an old primary
that came back after its standby was promoted. Promotion starts a new timeline: the one on the newest is the primary, a
process that has seen a timeline never goes back to an older one, and what it still holds there is ended.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg
import msgspec

from commonroom import log

CONNECT_SECONDS = 30.0
CONNECT_SECONDS_EACH = 5  # of several servers
# Once one that may be the primary has answered: how long another has to prove that it is on a newer timeline.
GRACE_SECONDS = 1.0
# A machine that vanished says nothing, and TCP would wait a quarter of an hour for it: after this long without a sign of
# life the kernel ends the connection, and whoever waits on it hears of it.
DEAD_LINE_SECONDS = 10
_PROBES = {"idle": 4, "interval": 2, "count": 3}

_DSN = re.compile(r"(\w+://(?:[^/?#]*@)?)([^/?#]*)(.*)", re.DOTALL)

# No timeline of a server that only reads. The name of the WAL file being written begins with it.
_STANDING = """
SELECT system_identifier AS system, CASE WHEN NOT current_setting('transaction_read_only')::bool
    THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline
FROM pg_control_system()
"""

_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)

_logger = log.get("database")


class NoPrimary(ConnectionError):
    """No server that is named takes writes at the moment: come again later."""


class _Writable(msgspec.Struct, frozen=True):
    """A connection to a server that takes writes."""

    connection: asyncpg.Connection
    loop: asyncio.AbstractEventLoop
    system: int
    timeline: int


# By system, the newest timeline that this process has seen; and the connections it has open.
_newest: dict[int, int] = {}
_held: WeakKeyDictionary[asyncpg.Connection, tuple[asyncio.AbstractEventLoop, int, int]] = WeakKeyDictionary()


async def connect(dsn: str, **options: Any) -> asyncpg.Connection:
    """A connection to the primary. Raises NoPrimary, or what asyncpg raises."""
    addresses = servers(dsn)
    if len(addresses) > 1:
        return await _connect_to_newest(addresses, options)
    try:
        return await _open(dsn, CONNECT_SECONDS, options)
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise NoPrimary("the server takes no writes") from error


def servers(dsn: str) -> list[str]:
    """A DSN for each server that this one names."""
    parts = _DSN.fullmatch(dsn)
    if parts is None:
        return [dsn]
    login, named, rest = parts.groups()
    return [f"{login}{server}{rest}" for server in named.split(",")]


def libpq(dsn: str) -> str:
    """The same for psycopg, which asks one server after the other, with time-outs like ours."""
    from psycopg.conninfo import make_conninfo

    probes = {f"keepalives_{name}": number for name, number in _PROBES.items()}
    return make_conninfo(
        dsn, connect_timeout=CONNECT_SECONDS_EACH, tcp_user_timeout=DEAD_LINE_SECONDS * 1000, **probes
    )


async def _connect_to_newest(addresses: list[str], options: dict[str, Any]) -> asyncpg.Connection:
    opening = [asyncio.create_task(_open_for_writing(address, options)) for address in addresses]
    chosen: _Writable | None = None
    try:
        chosen = await _choose(opening)
    finally:
        await _let_go(opening, chosen)
    if chosen is None:
        raise _lasting_fault(opening) or NoPrimary(f"none of {len(addresses)} servers takes writes")
    if chosen.timeline > _newest.get(chosen.system, 0):
        _newest[chosen.system] = chosen.timeline
        _leave_older(chosen)
    _held[chosen.connection] = (chosen.loop, chosen.system, chosen.timeline)
    return chosen.connection


async def _choose(opening: list[asyncio.Task[_Writable | None]]) -> _Writable | None:
    """The one on the newest timeline, when that is not older than what this process knows."""
    waiting = set(opening)
    found: list[_Writable] = []
    grace: float | None = None
    while waiting:
        done, waiting = await asyncio.wait(waiting, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            break
        found += [one for task in done if not task.exception() and (one := task.result()) is not None]
        if any(one.timeline >= _newest.get(one.system, one.timeline + 1) for one in found):
            grace = GRACE_SECONDS
    best = max(found, key=lambda one: one.timeline, default=None)
    current = [one for one in found if one is best and one.timeline >= _newest.get(one.system, 0)]
    if len(found) > len(current):
        _logger.warning("an old primary takes connections: it must be stopped")
    return current[0] if current else None


def _lasting_fault(opening: list[asyncio.Task[_Writable | None]]) -> BaseException | None:
    """What waiting will not mend, a wrong password for instance."""
    faults = (None if task.cancelled() else task.exception() for task in opening)
    return next((fault for fault in faults if fault is not None and not isinstance(fault, _AWAY)), None)


async def _let_go(opening: list[asyncio.Task[_Writable | None]], chosen: _Writable | None) -> None:
    for task in opening:
        task.cancel()
    for found in await asyncio.gather(*opening, return_exceptions=True):
        if isinstance(found, _Writable) and found is not chosen:
            found.connection.terminate()


def _leave_older(chosen: _Writable) -> None:
    """End this loop's connections to a primary that is none any more: what waits there would wait for ever."""
    for connection, (loop, system, timeline) in list(_held.items()):
        if loop is chosen.loop and system == chosen.system and timeline < chosen.timeline:
            connection.terminate()


async def _open_for_writing(address: str, options: dict[str, Any]) -> _Writable | None:
    connection = await _open(address, CONNECT_SECONDS_EACH, options)
    try:
        row = await connection.fetchrow(_STANDING, timeout=CONNECT_SECONDS_EACH)
    except BaseException:
        connection.terminate()
        raise
    if row["timeline"] is None:
        connection.terminate()
        return None
    return _Writable(connection, asyncio.get_running_loop(), row["system"], row["timeline"])


async def _open(address: str, seconds: float, options: dict[str, Any]) -> asyncpg.Connection:
    connection = await asyncpg.connect(address, timeout=seconds, **options)
    _end_dead_line(connection._transport.get_extra_info("socket"))
    return connection


def _end_dead_line(line: Any) -> None:
    """Have the kernel end this connection when the other machine is gone. Not every system can set everything."""
    if line.family == getattr(socket, "AF_UNIX", None):
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    values = {
        "TCP_KEEPIDLE": _PROBES["idle"],
        "TCP_KEEPINTVL": _PROBES["interval"],
        "TCP_KEEPCNT": _PROBES["count"],
        "TCP_USER_TIMEOUT": DEAD_LINE_SECONDS * 1000,
    }
    for name, value in values.items():
        if hasattr(socket, name):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
