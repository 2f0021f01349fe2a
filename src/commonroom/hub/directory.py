"""The directory: parties, their other names, and who is what to whom.

The provider register publishes into it. To the hub all of it is opaque text: it never asks what a URN or a school is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from commonroom.hub import codes  # noqa: F401 - registers the hub's problem codes
from commonroom.problems import Problem


class Party(msgspec.Struct, frozen=True):
    """An organisation that may send or receive."""

    urn: str  # urn:commonroom:org:<uuid>
    name: str
    kinds: tuple[str, ...]  # opaque tags that movements name, such as `school`


class Alias(msgspec.Struct, frozen=True):
    """Another name of a party."""

    alias: str  # urn:commonroom:alias:<scheme>:<value>
    party: str  # urn of the party


class Relation(msgspec.Struct, frozen=True):
    """For `party` (None: for everyone), `other` is `role`, such as `its local authority`."""

    party: str | None
    role: str
    other: str


_LOCK = "SELECT version FROM hub.routing FOR UPDATE"

_UPSERT_PARTIES = """
INSERT INTO hub.party (urn, name, kinds)
SELECT urn, name, kinds FROM jsonb_to_recordset($1) AS given(urn text, name text, kinds text[])
ON CONFLICT (urn) DO UPDATE SET name = excluded.name, kinds = excluded.kinds
WHERE (party.name, party.kinds) IS DISTINCT FROM (excluded.name, excluded.kinds)
"""

_UPSERT_ALIASES = """
INSERT INTO hub.party_alias (alias, party)
SELECT alias, party FROM unnest($1::text[], $2::text[]) AS given(alias, party)
ON CONFLICT (alias) DO UPDATE SET party = excluded.party
WHERE party_alias.party <> excluded.party
"""

_DELETE_OTHER_ALIASES = """
DELETE FROM hub.party_alias a
WHERE a.party IN (SELECT unnest($1::text[]))
AND NOT EXISTS (SELECT FROM unnest($2::text[]) AS given(alias) WHERE given.alias = a.alias)
"""

_INSERT_RELATIONS = """
INSERT INTO hub.relation (party, role, other)
SELECT party, role, other FROM unnest($1::text[], $2::text[], $3::text[]) AS given(party, role, other)
ON CONFLICT DO NOTHING
"""

# What was true of a published party and is not said again is no longer true: a school that left its trust must not
# go on sending to it. Relations of everyone are replaced role by role. (coalesce, so that the join can be hashed: a
# country has 24,000 relations with the same role and other.)
_DELETE_OTHER_RELATIONS = """
WITH given AS (
    SELECT party, role, other FROM unnest($1::text[], $2::text[], $3::text[]) AS given(party, role, other)
)
DELETE FROM hub.relation r
WHERE (
    r.party IN (SELECT unnest($4::text[]))
    OR EXISTS (SELECT FROM given g WHERE g.party IS NULL AND r.party IS NULL AND g.role = r.role)
)
AND NOT EXISTS (
    SELECT FROM given g
    WHERE coalesce(g.party, '') = coalesce(r.party, '') AND g.role = r.role AND g.other = r.other
)
"""

_RESOLVE = """
SELECT urn FROM hub.party WHERE urn = $1
UNION ALL
SELECT party FROM hub.party_alias WHERE alias = $1
LIMIT 1
"""

_RESOLVE_MANY = """
SELECT given.name, coalesce(p.urn, a.party) AS party
FROM unnest($1::text[]) AS given(name)
LEFT JOIN hub.party p ON p.urn = given.name
LEFT JOIN hub.party_alias a ON a.alias = given.name
WHERE coalesce(p.urn, a.party) IS NOT NULL
"""

_ALIASES_OF = "SELECT alias FROM hub.party_alias WHERE party = $1 ORDER BY alias"


async def publish(
    connection: Any, parties: Sequence[Party], aliases: Sequence[Alias], relations: Sequence[Relation]
) -> None:
    """Say these parties whole: afterwards each has exactly the aliases and relations given here.

    Parties not named stay as they are, and may be given further aliases and relations. Works in one transaction (a
    savepoint inside the caller's) and in sets, so all of a country may come in one call.
    Raises Problem CR-041 when an alias or a relation names a party that nobody has published.
    """
    urns = [party.urn for party in parties]
    triples = (
        [relation.party for relation in relations],
        [relation.role for relation in relations],
        [relation.other for relation in relations],
    )
    names = [alias.alias for alias in aliases]
    try:
        async with connection.transaction():
            # Publishers take turns, so that two of them cannot lock parties in opposite orders.
            await connection.execute(_LOCK)
            await connection.execute(_UPSERT_PARTIES, [msgspec.to_builtins(party) for party in parties])
            await connection.execute(_DELETE_OTHER_ALIASES, urns, names)
            await connection.execute(_UPSERT_ALIASES, names, [alias.party for alias in aliases])
            await connection.execute(_DELETE_OTHER_RELATIONS, *triples, urns)
            await connection.execute(_INSERT_RELATIONS, *triples)
    except asyncpg.ForeignKeyViolationError as error:
        raise Problem(
            "CR-041",
            f"An alias or a relation names a party that has not been published: {error.detail}",
            status=422,
            where="the directory",
            remedy="Publish the party first, or in the same call.",
        ) from error


async def resolve_alias(connection: Any, name: str) -> str | None:
    """The urn of the party with this urn or alias; None when the directory has none."""
    found: str | None = await connection.fetchval(_RESOLVE, name)
    return found


async def resolve_aliases(connection: Any, names: Sequence[str]) -> dict[str, str]:
    """The urns of the parties with these urns or aliases; unknown ones are left out."""
    return {row["name"]: row["party"] for row in await connection.fetch(_RESOLVE_MANY, list(names))}


async def aliases_of(connection: Any, party: str) -> list[str]:
    """All aliases of a party, in order."""
    return [row["alias"] for row in await connection.fetch(_ALIASES_OF, party)]
