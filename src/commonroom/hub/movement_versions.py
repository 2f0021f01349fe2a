"""The versions of one movement, read while nobody else can take a step with it, and which of them a step is about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from commonroom.hub.lifecycle import OPEN, Standing, standing
from commonroom.hub.movements import is_id
from commonroom.problems import Problem


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a movement: how it stands today, and who proposed it."""

    version: int
    standing: Standing
    proposer: str  # `Actor.key`
    proposer_party: str | None


# One step at a time for a movement, also for one that is not there yet.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('hub.movement ' || $1, 0))"

_VERSIONS = """
SELECT m.version, m.state, m.active_from, m.active_to, m.proposer, m.proposer_party,
    (
        SELECT min(n.active_from) FROM hub.movement n
        WHERE n.id = m.id AND n.version > m.version AND n.state = 'approved'
    ) AS replaced_from,
    EXISTS (SELECT FROM hub.movement_suspension s WHERE s.movement = m.id) AS suspended,
    (engines.domain_now() AT TIME ZONE 'Europe/London')::date AS today
FROM hub.movement m WHERE m.id = $1 ORDER BY m.version
"""


@asynccontextmanager
async def locked(connection: Any, movement: str) -> AsyncIterator[list[Version]]:
    """The versions of a movement, oldest first, while nobody else can take a step with it."""
    if not is_id(movement):
        newest_of([], "with such an id")
    async with connection.transaction():
        await connection.execute(_LOCK, movement)
        yield await all_of(connection, movement)


async def all_of(connection: Any, movement: str) -> list[Version]:
    """The versions of a movement, oldest first; none where there is no such movement."""
    return [
        Version(
            version=row["version"],
            standing=standing(
                row["state"],
                row["active_from"],
                row["active_to"],
                on=row["today"],
                replaced_from=row["replaced_from"],
                suspended=row["suspended"],
            ),
            proposer=row["proposer"],
            proposer_party=row["proposer_party"],
        )
        for row in await connection.fetch(_VERSIONS, movement)
    ]


def newest_of(versions: list[Version], movement: str) -> Version:
    """The newest version. Raises Problem CR-005 (404) where there is none."""
    if not versions:
        remedy = "GET /register/movements, or `commonroom hub movements list`, shows them."
        raise Problem(
            "CR-005", f"There is no movement {movement}.", status=404, where="movement", remedy=remedy
        )
    return versions[-1]


def check_read(newest: Version, movement: str, expected: int | None) -> None:
    """Raises Problem CR-141 (409) where the version that somebody read is no longer the newest."""
    if expected is not None and expected != newest.version:
        detail = f"{movement} has changed since: version {newest.version} is the newest now."
        raise Problem(
            "CR-141", detail, status=409, where=movement, remedy="Read the new text and choose again."
        )


def numbered(versions: list[Version], movement: str, number: int) -> Version:
    """The version of that number. Raises Problem CR-005 (404)."""
    found = [version for version in versions if version.version == number]
    return newest_of(found, f"{movement} version {number}")


def running_of(versions: list[Version], movement: str) -> Version:
    """The version that runs or is suspended, else the next to begin, else the newest."""
    for wanted in ({"active", "suspended"}, {"approved"}):
        found = [version for version in versions if version.standing in wanted]
        if found:
            return found[0]
    return newest_of(versions, movement)


def in_hand(versions: list[Version], movement: str) -> Version:
    """The version that is still being agreed, else the one that runs."""
    newest = newest_of(versions, movement)
    return newest if newest.standing in OPEN else running_of(versions, movement)
