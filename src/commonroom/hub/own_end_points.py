"""End points of the platform itself: the warehouse, the registers. They enrol by themselves and sign in like all others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from commonroom import exchange, identity, log
from commonroom.engines import database, files
from commonroom.exchange import Unreachable
from commonroom.hub import directory
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.stopping import pause

_CODE_VALID_FOR = timedelta(minutes=5)


Serve = Callable[[Settings, Any, asyncio.Event], Awaitable[None]]


class OwnEndPoint(msgspec.Struct, frozen=True):
    """Who one of the platform's parts is to the hub, and where its private key lies."""

    end_point: str
    party: str
    key_file: Path


class _Kept(msgspec.Struct, frozen=True):
    end_point: str
    party: str


async def own_end_point(settings: Settings, connection: Any, name: str, alias: str) -> OwnEndPoint:
    """The end point called `name` of the party with this alias.

    The first time, and after the data folder came to another database, the operator's own database gives the one-time
    code to enrol with. Raises Problem CR-005 until the directory knows the party, Unreachable without a hub.
    """
    party = await directory.resolve_alias(connection, alias)
    if party is None:
        raise Problem(
            "CR-005",
            f"the platform's own party {name} is not in the directory yet",
            status=404,
            remedy="Load the register of providers: it publishes the platform's own parties.",
        )
    folder = settings.folder("keys")
    key_file, kept_file = folder / f"{name}.pem", folder / f"{name}.json"
    kept = msgspec.json.decode(kept_file.read_bytes(), type=_Kept) if kept_file.exists() else None
    known = {one.id for one in await identity.end_points_of(connection, party)}
    if kept is None or kept.end_point not in known:
        code = await identity.issue_enrolment_code(connection, party, name, _CODE_VALID_FOR)
        enrolment = await exchange.enrol(settings.hub_url, code, key_file, name)
        kept = _Kept(enrolment.end_point, enrolment.party)
        files.write(kept_file, msgspec.json.encode(kept))
    return OwnEndPoint(kept.end_point, kept.party, key_file)


async def keep_serving(
    settings: Settings, serve: Serve, name: str, seconds: float, stop: asyncio.Event | None
) -> None:
    """Serve with a connection of its own until `stop` is set, or for ever; after any fault again, `seconds` later.

    Waits so for the database, the hub and the directory. `name` says in the log who was interrupted; its texts hold
    nothing of what was served.
    """
    stop, logger = stop or asyncio.Event(), log.get(name)
    while not stop.is_set():
        try:
            connection = await database.connect(settings)
            try:
                await serve(settings, connection, stop)
            finally:
                connection.terminate()
        except (*database.DATABASE_AWAY, Unreachable) as error:
            logger.warning("interrupted, starts again", error=type(error).__name__)
        except Problem as problem:
            if problem.code != "CR-005":  # the directory does not know the party yet
                logger.warning("interrupted, starts again", code=problem.code, detail=problem.detail)
        except Exception as error:
            log.fault(logger, "interrupted, starts again", error)
        await pause(stop, seconds)
