"""The register as it was: what held on a day, and what was known of that at a moment."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import msgspec

from commonroom.registers.providers.values import Value


class State(msgspec.Struct, frozen=True):
    """An organisation on a day: the version that held then."""

    scheme: str
    value: str
    kind: str
    name: str
    valid_from: date
    recorded_at: datetime
    facts: dict[str, Value]


class Name(msgspec.Struct, frozen=True):
    """A name with the days it was used; `until` is the first day without it."""

    name: str
    use: str  # name, or trading name
    since: date
    until: date | None


class Count(msgspec.Struct, frozen=True):
    """How many of a kind the register had on a day."""

    kind: str
    known: int
    open: int
    pupils: int
    authorities: int


# $3 is the day; $4, when it is not null, leaves out what was recorded after it.
_STATE = """
SELECT o.scheme, o.value, o.kind, coalesce(v.facts ->> 'name', '') AS name, v.valid_from, v.recorded_at, v.facts
FROM providers.organisation AS o
JOIN providers.version AS v ON v.organisation = o.id
WHERE o.scheme = $1 AND o.value = $2 AND v.valid_from <= $3 AND ($4::timestamptz IS NULL OR v.recorded_at <= $4)
ORDER BY v.valid_from DESC, v.position DESC
LIMIT 1
"""

_COUNTS = """
WITH state AS (
    SELECT DISTINCT ON (organisation) kind, facts
    FROM providers.version
    WHERE valid_from <= $1 AND ($2::timestamptz IS NULL OR recorded_at <= $2)
    ORDER BY organisation, valid_from DESC, position DESC
),

counted AS (
    SELECT
        kind, coalesce(facts ->> 'status', 'Open') LIKE 'Open%' AS is_open, facts ->> 'la_code' AS la_code,
        (facts ->> 'pupils')::integer AS pupils
    FROM state
)

SELECT
    kind, count(*) AS known, count(*) FILTER (WHERE is_open) AS open,
    coalesce(sum(pupils) FILTER (WHERE is_open), 0)::bigint AS pupils,
    count(DISTINCT la_code) FILTER (WHERE is_open) AS authorities
FROM counted
GROUP BY kind
ORDER BY kind
"""

_NAMES = """
SELECT v.valid_from, v.facts ->> 'name' AS name, v.facts -> 'trading_names' AS trading_names
FROM providers.version AS v
JOIN providers.organisation AS o ON o.id = v.organisation
WHERE o.scheme = $1 AND o.value = $2
ORDER BY v.valid_from, v.position
"""


async def state(
    conn: Any, scheme: str, value: str, on: date, known_by: datetime | None = None
) -> State | None:
    """An organisation as it was on a day; None when the register knows nothing of that day.

    `known_by` asks what the register would have answered at that moment.
    """
    row = await conn.fetchrow(_STATE, scheme, value, on, known_by)
    return State(**row) if row else None


async def counts(conn: Any, on: date, known_by: datetime | None = None) -> list[Count]:
    """How many organisations of each kind the register had on a day."""
    return [Count(**row) for row in await conn.fetch(_COUNTS, on, known_by)]


async def names(conn: Any, scheme: str, value: str) -> list[Name]:
    """Every name an organisation has had, with its days: names first, then trading names, each in order of time."""
    spans: dict[tuple[str, str], list[tuple[date, date | None]]] = {}
    current: dict[tuple[str, str], date] = {}
    for row in await conn.fetch(_NAMES, scheme, value):
        now = {("name", row["name"])} if row["name"] else set()
        now |= {("trading name", name) for name in row["trading_names"] or ()}
        for gone in current.keys() - now:
            spans.setdefault(gone, []).append((current.pop(gone), row["valid_from"]))
        for come in now - current.keys():
            current[come] = row["valid_from"]
    for key, since in current.items():
        spans.setdefault(key, []).append((since, None))
    found = [
        Name(name, use, since, until)
        for (use, name), days in spans.items()
        for since, until in days
        if until is None or until > since
    ]
    return sorted(found, key=lambda one: (one.use, one.since, one.name))
