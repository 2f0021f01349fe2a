"""What a sender needs to know of its own traffic: problems found in its records, and an authority's schools at a glance.

Counts and words only: keys and values of records, which may be personal, are never read here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from commonroom import access
from commonroom.identity import Principal

ITS_AUTHORITY = "its local authority"
PLATFORM_ALIAS = "urn:commonroom:alias:platform:"
URN_ALIAS = "urn:commonroom:alias:urn:"
MOST_PROBLEMS = 50


class FoundProblem(msgspec.Struct, frozen=True):
    """One kind of fault in a sender's records, and how often it was found."""

    severity: str
    rule: str
    entity: str
    item: str | None
    message: str
    remedy: str
    times: int
    newest: datetime


class SchoolAtAGlance(msgspec.Struct, frozen=True):
    """A school of an authority: its party, URN, last message, and what went wrong."""

    party: str
    name: str
    urn: str | None
    last_message: datetime | None
    undelivered: int
    found: int


_PROBLEMS = """
SELECT severity, rule, entity, item, message_text AS message, remedy, count(*) AS times, max(found_at) AS newest
FROM (SELECT *, sender AS party FROM warehouse.finding) AS finding
WHERE {scope}
GROUP BY severity, rule, entity, item, message_text, remedy
ORDER BY max(found_at) DESC, count(*) DESC
LIMIT {limit}
"""

# `position > 0`: the index on (source, position) says so.
_SCHOOLS = """
SELECT
    p.urn AS party,
    p.name,
    (SELECT min(substr(a.alias, length($1) + 1)) FROM hub.party_alias a
     WHERE a.party = p.urn AND starts_with(a.alias, $1)) AS urn,
    (SELECT m.accepted_at FROM hub.message m
     WHERE m.source = p.urn AND m.position > 0 ORDER BY m.position DESC LIMIT 1) AS last_message,
    (SELECT count(*) FROM hub.message m JOIN hub.delivery d ON d.message = m.position
     WHERE m.source = p.urn AND m.position > 0 AND d.state IN ('refused', 'expired', 'undeliverable')) AS undelivered,
    (SELECT count(*) FROM warehouse.finding f WHERE f.sender = p.urn) AS found
FROM (SELECT party, other AS authority FROM hub.relation WHERE role = $2 AND party IS NOT NULL) AS r
JOIN hub.party p ON p.urn = r.party
WHERE {scope}
ORDER BY p.name
"""


_NAME = "SELECT name FROM hub.party WHERE urn = $1"

_PLATFORM = """
SELECT a.alias, p.name
FROM hub.party_alias a
JOIN hub.party p ON p.urn = a.party
WHERE starts_with(a.alias, $1)
"""


async def platform_names(conn: Any) -> dict[str, str]:
    """The names of the platform's own parties by alias: movements name them so."""
    return {row["alias"]: row["name"] for row in await conn.fetch(_PLATFORM, PLATFORM_ALIAS)}


async def name_of(conn: Any, party: str) -> str:
    """The name of a party (urn) in the hub's directory, the urn itself when it has none."""
    return await conn.fetchval(_NAME, party) or party


async def problems_of(conn: Any, principal: Principal) -> list[FoundProblem]:
    """Kinds of fault in what the principal's party sent, the newest first."""
    scope = access.rows(principal, "hub.messages", "postgres")
    sql = _PROBLEMS.format(scope=scope.sql, limit=MOST_PROBLEMS)
    return [FoundProblem(**dict(row)) for row in await conn.fetch(sql, *scope.params)]


async def schools_of(conn: Any, principal: Principal) -> list[SchoolAtAGlance]:
    """The schools whose local authority the principal's party is, by name."""
    scope = access.rows(principal, "authority.schools", "postgres", first_parameter=3)
    rows = await conn.fetch(_SCHOOLS.format(scope=scope.sql), URN_ALIAS, ITS_AUTHORITY, *scope.params)
    return [SchoolAtAGlance(**dict(row)) for row in rows]
