"""The register tells the hub who there is: parties, their numbers as aliases, who is whose authority and trust."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from commonroom import hub
from commonroom.engines import clock
from commonroom.ids import alias_urn, org_urn
from commonroom.registers.providers.organisations import Incoming, lock, write
from commonroom.standard import terms

WAREHOUSE = alias_urn("platform", "warehouse")
REGISTERS = alias_urn("platform", "registers")
DEPARTMENT = alias_urn("platform", "department")
LEARNERS = alias_urn("platform", "learners")

# The calendar that movements' schedules may name: the days on which England's schools are open.
SCHOOL_DAYS = "school days"

# The hub's word for each kind; kinds that are not here exchange nothing and stay out of the directory.
DIRECTORY_KINDS = {
    "school": "school",
    "local_authority": "local authority",
    "trust": "academy trust",
    "provider": "learning provider",
    "department": "department",
    "platform": "platform",
}

_EVIDENCE_FROM, _EVIDENCE_TO = date(2000, 1, 1), date(2199, 12, 31)

_PLATFORM = (
    Incoming("department", "department", date.min, {"name": "The Department"}),
    Incoming("warehouse", "platform", date.min, {"name": "The Department's warehouse"}),
    Incoming("registers", "platform", date.min, {"name": "The registers"}),
    Incoming("learners", "platform", date.min, {"name": "The register of learners"}),
)


class Published(msgspec.Struct, frozen=True):
    """How much the directory was told."""

    parties: int
    aliases: int
    relations: int


# A UKPRN that a school or trust has makes no second party of UKRLP's record of it.
_PARTIES = """
SELECT o.id, o.kind, o.name
FROM providers.organisation AS o
WHERE o.kind = ANY ($1::text[])
    AND (
        o.kind <> 'provider'
        OR NOT EXISTS (
            SELECT FROM providers.alias AS a
            JOIN providers.organisation AS same ON same.id = a.organisation
            WHERE a.scheme = 'ukprn' AND a.value = o.value AND same.kind <> 'provider' AND same.kind = ANY ($1::text[])
        )
    )
ORDER BY o.id
"""

# A LAESTAB or UKPRN may have passed from a closed school to its successor: the alias names the one that has it now,
# and a school or trust before UKRLP's record of it.
_ALIASES = """
SELECT DISTINCT ON (a.scheme, a.value) a.scheme, a.value, a.organisation
FROM providers.alias AS a
JOIN providers.organisation AS o ON o.id = a.organisation
WHERE o.kind = ANY ($1::text[])
ORDER BY
    a.scheme, a.value, o.kind = 'provider', o.is_open DESC, a.valid_to IS NULL DESC, a.valid_from DESC,
    a.organisation DESC
"""

_AUTHORITY_OF = """
SELECT school.id AS school, authority.id AS other
FROM providers.organisation AS school
JOIN providers.organisation AS authority ON authority.scheme = 'la' AND authority.value = school.la_code
WHERE school.kind = 'school'
"""

# The trust that the school's own row names, else the open one it joined last: a school has one trust at a time.
_TRUST_OF = """
SELECT DISTINCT ON (school.id) school.id AS school, trust.id AS other
FROM providers.organisation AS school
LEFT JOIN providers.membership AS m ON m.urn = school.value
JOIN providers.organisation AS trust
    ON trust.scheme = 'group' AND trust.value IN (m.group_uid, school.facts ->> 'trust_uid')
WHERE school.kind = 'school' AND trust.kind = 'trust' AND trust.is_open
ORDER BY school.id, (trust.value = school.facts ->> 'trust_uid') DESC NULLS LAST, m.joined DESC NULLS LAST, trust.value
"""


async def ensure_platform(conn: Any) -> None:
    """Make the platform's own parties (department, warehouse, both registers) where missing. Safe to repeat."""
    today = (await clock.now(conn)).date()
    async with conn.transaction():
        await lock(conn)
        known = {row["value"] for row in await conn.fetch(_PLATFORM_KNOWN)}
        missing = [
            msgspec.structs.replace(one, valid_from=today) for one in _PLATFORM if one.value not in known
        ]
        if missing:
            await write(conn, "platform", missing, items=["name"], seen=today, load=None)


_PLATFORM_KNOWN = "SELECT value FROM providers.organisation WHERE scheme = 'platform'"


async def publish_to_directory(conn: Any) -> Published:
    """Say all of the register to the hub's directory, and the school days, in one transaction; repeats change nothing."""
    kinds = list(DIRECTORY_KINDS)
    async with conn.transaction():
        await lock(conn)
        parties = [
            hub.Party(org_urn(row["id"]), row["name"], (DIRECTORY_KINDS[row["kind"]],))
            for row in await conn.fetch(_PARTIES, kinds)
        ]
        aliases = [
            hub.Alias(alias_urn(row["scheme"], row["value"]), org_urn(row["organisation"]))
            for row in await conn.fetch(_ALIASES, kinds)
        ]
        relations = [
            *_related("its local authority", await conn.fetch(_AUTHORITY_OF)),
            *_related("its academy trust", await conn.fetch(_TRUST_OF)),
            *_of_everyone(aliases),
        ]
        await hub.publish(conn, parties, aliases, relations)
        # The platform's own parties run in the operator's house. Evidence ended since is not made again.
        await hub.assurance.record_for_kinds(
            conn,
            [DIRECTORY_KINDS["platform"], DIRECTORY_KINDS["department"]],
            "restricted",
            kind="own platform",
            reference="runs beside the hub, under the operator's own security policy",
            valid_from=_EVIDENCE_FROM,
            valid_to=_EVIDENCE_TO,
            by="the provider register",
        )
        await hub.publish_calendar(conn, SCHOOL_DAYS, terms.school_days(*terms.covered()))
    return Published(len(parties), len(aliases), len(relations))


def _related(role: str, rows: list[Any]) -> list[hub.Relation]:
    return [hub.Relation(org_urn(row["school"]), role, org_urn(row["other"])) for row in rows]


def _of_everyone(aliases: list[hub.Alias]) -> list[hub.Relation]:
    """Roles that are the same for every sender; none before `ensure_platform`."""
    roles = {WAREHOUSE: "the department's warehouse", LEARNERS: "the learner register"}
    return [hub.Relation(None, roles[one.alias], one.party) for one in aliases if one.alias in roles]
