"""The sample people of the demonstration: made in identity like any others, their passwords shown on /demo.

A password is kept in clear here and nowhere else; production refuses to make one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from commonroom import identity
from commonroom.identity import Role
from commonroom.problems import Problem
from commonroom.settings import Settings

INSERT = """
    INSERT INTO portal.sample_person (username, password, role, name, sees)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (username) DO NOTHING
    RETURNING username
"""
LIST = "SELECT username, password, role, name, sees FROM portal.sample_person ORDER BY position"


class SamplePerson(msgspec.Struct, frozen=True):
    """Someone to sign in as. `party` is their organisation's urn; `sees` says what they find."""

    username: str
    password: str
    role: Role
    name: str
    sees: str
    party: str | None = None


async def add_sample_people(conn: Any, settings: Settings, people: list[SamplePerson]) -> None:
    """Make those that are not there yet. Raises Problem CR-006 outside demo mode."""
    if settings.mode != "demo":
        raise Problem("CR-006", "sample people exist in the demonstration only", status=403)
    async with conn.transaction():
        for one in people:
            if await conn.fetchval(INSERT, one.username, one.password, one.role, one.name, one.sees):
                await identity.add_person(conn, one.username, one.password, one.role, one.party, one.name)


async def sample_people(conn: Any) -> list[SamplePerson]:
    """All of them, in the order in which they were made."""
    return [SamplePerson(**dict(row)) for row in await conn.fetch(LIST)]
