"""One school, authority or region as the register knows it now, and what it was before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from commonroom.ids import org_urn
from commonroom.registers.providers.shapes import lists
from commonroom.registers.providers.values import Value


class Link(msgspec.Struct, frozen=True):
    """A link as the other side's row or this side's tells it; `urn` is the other establishment."""

    urn: str
    name: str
    link_type: str
    established: date | None


class Group(msgspec.Struct, frozen=True):
    """A trust, federation or sponsor that a school belongs to."""

    uid: str
    name: str
    type: str
    joined: date | None
    is_open: bool
    party: str


class School(msgspec.Struct, frozen=True):
    """A school now. `facts` holds every item kept, by its name in the register; `as_at` is the newest extract with it."""

    urn: str
    name: str
    party: str
    laestab: str | None
    ukprn: str | None
    type: str | None
    type_group: str | None
    phase: str | None
    status: str
    is_open: bool
    la_code: str
    la_name: str
    region_code: str | None
    region_name: str | None
    low_age: int | None
    high_age: int | None
    gender: str | None
    religious_character: str | None
    capacity: int | None
    pupils: int | None
    boys: int | None
    girls: int | None
    percent_fsm: float | None
    open_date: date | None
    close_date: date | None
    ofsted_rating: str | None
    ofsted_last_inspection: date | None
    address: tuple[str, ...]
    town: str | None
    postcode: str | None
    website: str | None
    easting: int | None
    northing: int | None
    trust: Group | None
    groups: tuple[Group, ...]
    links: tuple[Link, ...]
    valid_from: date
    as_at: date
    facts: dict[str, Value]


class Authority(msgspec.Struct, frozen=True):
    """A local authority with counts of its open schools and their pupils (GIAS figures)."""

    la_code: str
    name: str
    party: str
    gss_code: str | None
    region_code: str | None
    region_name: str | None
    schools: int
    pupils: int
    phases: dict[str, int]


class Region(msgspec.Struct, frozen=True):
    """A region of England (ONS code) with counts of what the register holds in it."""

    code: str
    name: str
    authorities: int
    schools: int
    pupils: int


class Change(msgspec.Struct, frozen=True):
    """One item that differs from the version before."""

    item: str
    before: Value | None
    after: Value | None


class Version(msgspec.Struct, frozen=True):
    """One state of an organisation: valid from a day, recorded at a moment, from a line of a file."""

    position: int
    valid_from: date
    recorded_at: datetime
    file: str | None
    line: int | None
    changes: tuple[Change, ...]
    facts: dict[str, Value]


_OF_UKPRN = """
SELECT o.scheme, o.value
FROM providers.alias AS a
JOIN providers.organisation AS o ON o.id = a.organisation
WHERE a.scheme = 'ukprn' AND a.value = $1
ORDER BY o.kind = 'provider', o.is_open DESC, a.valid_to IS NULL DESC, a.valid_from DESC, o.id DESC
LIMIT 1
"""

_SCHOOL = """
SELECT id, value AS urn, facts, valid_from, last_seen, is_open
FROM providers.organisation
WHERE scheme = 'urn' AND value = $1
"""

_GROUPS = """
SELECT g.value AS uid, g.id, g.name, g.kind, g.is_open, coalesce(g.facts ->> 'group_type', '') AS type, m.joined
FROM providers.organisation AS g
LEFT JOIN providers.membership AS m ON m.group_uid = g.value AND m.urn = $1
WHERE g.scheme = 'group' AND (m.urn IS NOT NULL OR g.value = ANY ($2::text[]))
ORDER BY g.is_open DESC, m.joined DESC NULLS LAST, g.value
"""

_LINKS = """
SELECT l.link_urn AS urn, coalesce(o.name, l.link_name, '') AS name, l.link_type, l.established
FROM providers.link AS l
LEFT JOIN providers.organisation AS o ON o.scheme = 'urn' AND o.value = l.link_urn
WHERE l.urn = $1
ORDER BY l.established, l.link_urn
"""

# A school of an invented or unknown authority is counted with its own authority only.
_AUTHORITIES = """
WITH phase AS (
    SELECT la_code, coalesce(phase, 'Not recorded') AS phase, count(*) AS schools, coalesce(sum(pupils), 0) AS pupils
    FROM providers.organisation
    WHERE kind = 'school' AND is_open AND ($1::text IS NULL OR la_code = $1)
    GROUP BY 1, 2
),

total AS (
    SELECT la_code, sum(schools) AS schools, sum(pupils) AS pupils, jsonb_object_agg(phase, schools) AS phases
    FROM phase
    GROUP BY la_code
)

SELECT
    o.id, o.value AS la_code, o.name, o.facts ->> 'gss_code' AS gss_code, o.region_code,
    o.facts ->> 'region_name' AS region_name,
    coalesce(t.schools, 0)::bigint AS schools, coalesce(t.pupils, 0)::bigint AS pupils, coalesce(t.phases, '{}') AS phases
FROM providers.organisation AS o
LEFT JOIN total AS t ON t.la_code = o.value
WHERE o.scheme = 'la' AND ($1::text IS NULL OR o.value = $1)
ORDER BY o.name, o.value
"""

_SCHOOLS_OF_AUTHORITY = """
SELECT
    value AS urn, la_code, coalesce(facts ->> 'la_name', '') AS la_name,
    coalesce(facts ->> 'establishment_number', '') AS estab, name, coalesce(phase, '') AS phase,
    coalesce(facts ->> 'type', '') AS type, coalesce(facts ->> 'status', '') AS status,
    (facts ->> 'low_age')::integer AS low_age, (facts ->> 'high_age')::integer AS high_age, pupils,
    coalesce(facts ->> 'town', '') AS town, coalesce(facts ->> 'postcode', '') AS postcode
FROM providers.organisation
WHERE kind = 'school' AND la_code = $1
ORDER BY value
"""

_REGIONS = """
SELECT
    region_code,
    count(*) FILTER (WHERE kind = 'local_authority') AS authorities,
    count(*) FILTER (WHERE kind = 'school' AND is_open) AS schools,
    coalesce(sum(pupils) FILTER (WHERE kind = 'school' AND is_open), 0)::bigint AS pupils
FROM providers.organisation
WHERE region_code IS NOT NULL
GROUP BY region_code
"""

_VERSIONS = """
SELECT v.position, v.valid_from, v.recorded_at, l.file, v.line, v.facts
FROM providers.version AS v
JOIN providers.organisation AS o ON o.id = v.organisation
LEFT JOIN providers.load AS l ON l.id = v.load
WHERE o.scheme = $1 AND o.value = $2
ORDER BY v.valid_from, v.position
"""


async def of_ukprn(conn: Any, ukprn: str) -> tuple[str, str] | None:
    """Scheme and number under which the register keeps who has this UKPRN: a school or trust before UKRLP's record."""
    row = await conn.fetchrow(_OF_UKPRN, ukprn)
    return (row["scheme"], row["value"]) if row else None


async def school(conn: Any, urn: str) -> School | None:
    """The school of a URN, None when the register has none."""
    row = await conn.fetchrow(_SCHOOL, urn)
    if row is None:
        return None
    facts: dict[str, Any] = row["facts"]
    items: dict[str, Any] = {item: facts.get(item) for item in _PLAIN_ITEMS}
    items |= {item: date.fromisoformat(facts[item]) if item in facts else None for item in _DATES}
    uids = [str(facts[item]) for item in ("trust_uid", "federation_uid") if item in facts]
    found = await conn.fetch(_GROUPS, urn, uids)
    groups = tuple(_group(group) for group in found)
    trusts = [_group(group) for group in found if group["kind"] == "trust" and group["is_open"]]
    links = [Link(**link) for link in await conn.fetch(_LINKS, urn)]
    return School(
        urn=urn,
        name=facts["name"],
        party=org_urn(row["id"]),
        status=facts.get("status", "Open"),
        is_open=row["is_open"],
        la_code=facts["la_code"],
        la_name=facts.get("la_name", ""),
        address=tuple(
            facts[part] for part in ("street", "locality", "address3", "town", "county") if part in facts
        ),
        trust=_trust_of(trusts, facts.get("trust_uid")),
        groups=groups,
        links=tuple(links),
        valid_from=row["valid_from"],
        as_at=row["last_seen"],
        facts=facts,
        **items,
    )


async def authority(conn: Any, la_code: str) -> Authority | None:
    """The local authority of a three-digit code, None when the register has none."""
    found = await conn.fetch(_AUTHORITIES, la_code)
    return _authority(found[0]) if found else None


async def authorities(conn: Any) -> list[Authority]:
    """All local authorities, by name."""
    return [_authority(row) for row in await conn.fetch(_AUTHORITIES, None)]


async def schools_of_authority(conn: Any, la_code: str) -> list[dict[str, Any]]:
    """Every school of an authority, open or not, as the simulation reads a register (`RegisterRow`)."""
    return [dict(row) for row in await conn.fetch(_SCHOOLS_OF_AUTHORITY, la_code)]


async def regions(conn: Any) -> list[Region]:
    """The nine regions of England, in the order of their codes, whether or not the register holds any of each."""
    counts = {row["region_code"]: row for row in await conn.fetch(_REGIONS)}
    return [
        Region(
            code,
            name,
            *(
                (row["authorities"], row["schools"], row["pupils"])
                if (row := counts.get(code))
                else (0, 0, 0)
            ),
        )
        for code, name in sorted(lists().regions.items())
    ]


async def versions(conn: Any, value: str, scheme: str = "urn") -> list[Version]:
    """Every state of an organisation, oldest first, each with what changed from the one before.

    `scheme` is urn (a school), la (three digits) or group (UID). Empty when the register has none.
    """
    before: dict[str, Value] = {}
    found: list[Version] = []
    for row in await conn.fetch(_VERSIONS, scheme, value):
        facts: dict[str, Value] = row["facts"]
        changed = changes(before, facts)
        if found and not changed and row["file"] is None:
            continue  # told again, for its trust had changed
        found.append(Version(**{**row, "facts": facts}, changes=changed))
        before = facts
    return found


def changes(before: dict[str, Value], after: dict[str, Value]) -> tuple[Change, ...]:
    """The items that differ, by name."""
    items = sorted(item for item in before.keys() | after.keys() if before.get(item) != after.get(item))
    return tuple(Change(item, before.get(item), after.get(item)) for item in items)


_PLAIN_ITEMS = (
    "laestab", "ukprn", "type", "type_group", "phase", "region_code", "region_name", "low_age", "high_age", "gender",
    "religious_character", "capacity", "pupils", "boys", "girls", "percent_fsm", "ofsted_rating", "town", "postcode",
    "website", "easting", "northing",
)  # fmt: skip
_DATES = ("open_date", "close_date", "ofsted_last_inspection")


def _trust_of(trusts: Sequence[Group], named: str | None) -> Group | None:
    """The trust that the school's own row names; else the one joined last."""
    return next((trust for trust in trusts if trust.uid == named), trusts[0] if trusts else None)


def _group(row: Any) -> Group:
    return Group(row["uid"], row["name"], row["type"], row["joined"], row["is_open"], org_urn(row["id"]))


def _authority(row: Any) -> Authority:
    values = dict(row)
    return Authority(party=org_urn(values.pop("id")), **values)
