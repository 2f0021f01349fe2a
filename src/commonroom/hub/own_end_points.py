"""End points of the platform itself: the warehouse, the registers. They enrol by themselves and sign in like all others."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from commonroom import exchange, identity
from commonroom.engines import files
from commonroom.hub import directory
from commonroom.problems import Problem
from commonroom.settings import Settings

_CODE_VALID_FOR = timedelta(minutes=5)


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
