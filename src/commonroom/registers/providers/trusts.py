"""A trust as the register knows it: its name, and the schools that are its own."""

from __future__ import annotations

from typing import Any

import msgspec

# The trust of a school is the one that its own row names; where that names none, the open trust that it joined last.
_SCHOOLS = """
SELECT o.value AS urn, o.name, o.phase, o.facts ->> 'la_name' AS la_name, o.facts ->> 'trust_name' AS trust_name
FROM providers.organisation AS o
WHERE o.scheme = 'urn' AND o.kind = 'school' AND o.is_open AND (
    o.facts ->> 'trust_uid' = $1
    OR o.value IN (SELECT urn FROM providers.membership WHERE group_uid = $1)
    AND NOT o.facts ? 'trust_uid'
    AND $1 = (
        SELECT g.value
        FROM providers.membership AS m
        JOIN providers.organisation AS g ON g.scheme = 'group' AND g.value = m.group_uid
        WHERE m.urn = o.value AND g.kind = 'trust' AND g.is_open
        ORDER BY m.joined DESC NULLS LAST, g.value
        LIMIT 1
    )
)
ORDER BY o.name, o.value
"""

_TRUST = "SELECT name, is_open FROM providers.organisation WHERE scheme = 'group' AND value = $1 AND kind = 'trust'"


class TrustSchool(msgspec.Struct, frozen=True):
    """An open school of a trust."""

    urn: str
    name: str
    phase: str | None
    la_name: str | None


class Trust(msgspec.Struct, frozen=True):
    """A trust with its open schools, by name. `is_open` is None where no file of groups has told."""

    uid: str
    name: str
    is_open: bool | None
    schools: tuple[TrustSchool, ...]


async def trust(conn: Any, uid: str) -> Trust | None:
    """The trust of a UID, None when neither the groups nor a school's row name it."""
    row = await conn.fetchrow(_TRUST, uid)
    schools = await conn.fetch(_SCHOOLS, uid)
    names = [row["name"] if row else None, *(one["trust_name"] for one in schools)]
    if row is None and not schools:
        return None
    return Trust(
        uid,
        next((name for name in names if name), uid),
        row["is_open"] if row else None,
        tuple(TrustSchool(one["urn"], one["name"], one["phase"], one["la_name"]) for one in schools),
    )
