"""Writing organisations: incoming facts are compared with what is known, and each difference becomes a version.

Two times are kept. `valid_from` is the day from which the sender says the facts hold; `recorded_at` is the domain
clock. A row whose day is before the current version's goes into the history and leaves the present as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import msgspec

from commonroom.ids import uuid7
from commonroom.registers.providers.parse import Facts

# Loads of any process wait for each other: positions of versions then rise in the order of commit.
LOCK_KEY = 4_100_001
LOCK = "SELECT pg_advisory_xact_lock($1)"
# Whoever listens learns of a change when its transaction has committed.
CHANGED_CHANNEL = "providers_changed"
NOTIFY = f"NOTIFY {CHANGED_CHANNEL}"


class Incoming(msgspec.Struct, frozen=True):
    """Facts about one organisation from one file; `value` is its key in the scheme."""

    value: str
    kind: str
    valid_from: date
    facts: Facts
    line: int | None = None


class Written(msgspec.Struct, frozen=True):
    """What became of the incoming rows. `late` ones are among `changed`: they only deepened the history."""

    new: int
    changed: int
    unchanged: int
    late: int


_MAKE_INCOMING = """
CREATE TEMP TABLE IF NOT EXISTS incoming (
    id uuid NOT NULL,
    value text NOT NULL,
    kind text NOT NULL,
    valid_from date NOT NULL,
    line integer,
    facts jsonb NOT NULL
) ON COMMIT DROP
"""

_MAKE_COMPARED = """
CREATE TEMP TABLE IF NOT EXISTS compared (
    organisation uuid NOT NULL,
    value text NOT NULL,
    kind text NOT NULL,
    valid_from date NOT NULL,
    line integer,
    facts jsonb NOT NULL,
    is_new boolean NOT NULL,
    is_late boolean NOT NULL,
    is_changed boolean NOT NULL
) ON COMMIT DROP
"""

# $2 are the items the file speaks of: an item that it has and leaves blank is taken away, one that it does not have stays.
_COMPARE = """
INSERT INTO compared
SELECT
    coalesce(known.id, incoming.id), incoming.value, incoming.kind, incoming.valid_from, incoming.line,
    (coalesce(base.facts, '{}') - $2::text[]) || incoming.facts,
    known.id IS NULL,
    coalesce(known.valid_from > incoming.valid_from, false),
    base.facts IS DISTINCT FROM (coalesce(base.facts, '{}') - $2::text[]) || incoming.facts
FROM incoming
LEFT JOIN providers.organisation AS known ON known.scheme = $1 AND known.value = incoming.value
LEFT JOIN LATERAL (
    SELECT known.facts
    WHERE known.valid_from <= incoming.valid_from
    UNION ALL
    SELECT earlier.facts
    FROM (
        SELECT version.facts
        FROM providers.version
        WHERE version.organisation = known.id
            AND known.valid_from > incoming.valid_from
            AND version.valid_from <= incoming.valid_from
        ORDER BY version.valid_from DESC, version.position DESC
        LIMIT 1
    ) AS earlier
) AS base ON true
"""

_ADD_NEW = """
INSERT INTO providers.organisation (id, scheme, value, kind, facts, valid_from, version, last_seen)
SELECT organisation, $1, value, kind, '{}', valid_from, 0, $2
FROM compared
WHERE is_new
"""

# One statement: the planner knows nothing yet of the rows just added, and would look each of them up by a scan.
_ADD_VERSIONS = """
WITH added AS (
    INSERT INTO providers.version (organisation, kind, valid_from, recorded_at, load, line, facts, digest, made_by)
    SELECT
        organisation, kind, valid_from, engines.domain_now(), $1, line, facts, sha256(convert_to(facts::text, 'UTF8')), $2
    FROM compared
    WHERE is_changed
    ORDER BY value
    RETURNING organisation, position
)
UPDATE providers.organisation AS o
SET kind = c.kind, facts = c.facts, valid_from = c.valid_from, version = added.position
FROM compared AS c
JOIN added USING (organisation)
WHERE o.id = c.organisation AND NOT c.is_late
"""

_SEEN = """
UPDATE providers.organisation AS o
SET last_seen = $1
FROM compared AS c
WHERE o.id = c.organisation AND o.last_seen < $1
"""

# A number that the organisation no longer has is closed; one that it has is opened, and closed with the organisation.
_CLOSE_ALIASES = """
UPDATE providers.alias AS a
SET valid_to = c.valid_from
FROM compared AS c
WHERE a.organisation = c.organisation
    AND c.is_changed AND NOT c.is_late
    AND a.valid_to IS NULL
    AND a.scheme = ANY ($1::text[])
    AND a.value IS DISTINCT FROM c.facts ->> a.scheme
"""

_OPEN_ALIASES = """
INSERT INTO providers.alias (scheme, value, organisation, valid_from, valid_to)
SELECT
    s.scheme, c.facts ->> s.scheme, c.organisation,
    least((c.facts ->> 'open_date')::date, c.valid_from), (c.facts ->> 'close_date')::date
FROM compared AS c
CROSS JOIN unnest($1::text[]) AS s (scheme)
WHERE c.is_changed AND NOT c.is_late AND c.facts ? s.scheme
ON CONFLICT (scheme, value, organisation) DO UPDATE SET valid_to = excluded.valid_to
"""

_KEY_ALIASES = """
INSERT INTO providers.alias (scheme, value, organisation, valid_from)
SELECT $1, value, organisation, valid_from
FROM compared
WHERE is_new
"""

# What a search that forgives slips of the pen may mean.
_ADD_WORDS = """
INSERT INTO providers.word (word)
SELECT DISTINCT lexeme
FROM compared AS c
JOIN providers.organisation AS o ON o.id = c.organisation
CROSS JOIN unnest(tsvector_to_array(o.search)) AS lexeme
WHERE c.is_changed AND lexeme ~ '^[a-z]{3,}$'
ON CONFLICT (word) DO NOTHING
"""

_COUNTS = """
SELECT
    count(*) FILTER (WHERE is_new) AS new,
    count(*) FILTER (WHERE is_changed AND NOT is_new) AS changed,
    count(*) FILTER (WHERE NOT is_changed) AS unchanged,
    count(*) FILTER (WHERE is_changed AND is_late) AS late
FROM compared
"""

_COLUMNS = ("id", "value", "kind", "valid_from", "line", "facts")
_ALIAS_SCHEMES = ["laestab", "ukprn"]


async def lock(conn: Any) -> None:
    """Wait until no other load is under way; held to the end of the transaction."""
    await conn.execute(LOCK, LOCK_KEY)


async def write(
    conn: Any,
    scheme: str,
    incoming: Iterable[Incoming],
    *,
    items: Iterable[str],
    seen: date,
    load: int | None,
    made_by: str | None = None,
) -> Written:
    """Compare and write, inside the caller's transaction and after `lock`. No two incoming rows share a value.

    `made_by` is the id of the person whose entry it is, where no file brought it.
    """
    await conn.execute(_MAKE_INCOMING)
    await conn.execute(_MAKE_COMPARED)
    await conn.execute("TRUNCATE incoming, compared")
    records = ((uuid7(), row.value, row.kind, row.valid_from, row.line, row.facts) for row in incoming)
    await conn.copy_records_to_table("incoming", records=records, columns=_COLUMNS)
    await conn.execute("ANALYZE incoming")
    await conn.execute(_COMPARE, scheme, sorted(items))
    await conn.execute("ANALYZE compared")
    await conn.execute(_ADD_NEW, scheme, seen)
    await conn.execute(_ADD_VERSIONS, load, made_by)
    await conn.execute(_SEEN, seen)
    await conn.execute(_KEY_ALIASES, scheme)
    await conn.execute(_CLOSE_ALIASES, _ALIAS_SCHEMES)
    await conn.execute(_OPEN_ALIASES, _ALIAS_SCHEMES)
    await conn.execute(_ADD_WORDS)
    counts = await conn.fetchrow(_COUNTS)
    if counts["new"] or counts["changed"]:
        await conn.execute(NOTIFY)
    return Written(counts["new"], counts["changed"], counts["unchanged"], counts["late"])
