"""Writing links between establishments and memberships of groups, each difference kept in the history of links."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from commonroom.registers.providers.organisations import NOTIFY, Written
from commonroom.registers.providers.parse import Facts, Parsed


class Linked(msgspec.Struct, frozen=True):
    """What became of the rows; `absent` are in the register and not in the file, `ended` those taken away for it."""

    written: Written
    absent: int
    ended: int


_MAKE_INCOMING = """
CREATE TEMP TABLE incoming_link (urn text, other text, link_type text, name text, since date) ON COMMIT DROP
"""

_WRITE_LINKS = """
WITH written AS (
    INSERT INTO providers.link AS l (urn, link_urn, link_type, link_name, established, load, recorded_at)
    SELECT urn, other, link_type, name, since, $1, engines.domain_now()
    FROM incoming_link
    ON CONFLICT (urn, link_urn, link_type) DO UPDATE
    SET link_name = excluded.link_name, established = excluded.established, load = excluded.load,
        recorded_at = excluded.recorded_at
    WHERE (l.link_name, l.established) IS DISTINCT FROM (excluded.link_name, excluded.established)
    RETURNING urn, link_urn AS other, link_type, link_name AS name, established AS since, xmax = 0 AS is_new
),
"""

_WRITE_MEMBERS = """
WITH written AS (
    INSERT INTO providers.membership AS m (urn, group_uid, joined, load, recorded_at)
    SELECT urn, other, since, $1, engines.domain_now()
    FROM incoming_link
    ON CONFLICT (urn, group_uid) DO UPDATE
    SET joined = excluded.joined, load = excluded.load, recorded_at = excluded.recorded_at
    WHERE m.joined IS DISTINCT FROM excluded.joined
    RETURNING urn, group_uid AS other, '' AS link_type, NULL::text AS name, joined AS since, xmax = 0 AS is_new
),
"""

# $2 is the relation.
_KEEP = """
kept AS (
    INSERT INTO providers.link_version (relation, urn, other, link_type, what, name, since, load, recorded_at)
    SELECT
        $2, urn, other, link_type, CASE WHEN is_new THEN 'added' ELSE 'changed' END, name, since, $1,
        engines.domain_now()
    FROM written
)

SELECT is_new FROM written
"""

# $2 is the relation, $3 the day of the file.
_END_LINKS = """
WITH gone AS (
    DELETE FROM providers.link AS l
    WHERE NOT EXISTS (
        SELECT FROM incoming_link AS i
        WHERE i.urn = l.urn AND i.other = l.link_urn AND i.link_type = l.link_type
    )
    RETURNING l.urn, l.link_urn AS other, l.link_type, l.link_name AS name
),
"""

_END_MEMBERS = """
WITH gone AS (
    DELETE FROM providers.membership AS m
    WHERE NOT EXISTS (SELECT FROM incoming_link AS i WHERE i.urn = m.urn AND i.other = m.group_uid)
    RETURNING m.urn, m.group_uid AS other, '' AS link_type, NULL::text AS name
),
"""

_KEEP_ENDED = """
kept AS (
    INSERT INTO providers.link_version (relation, urn, other, link_type, what, name, since, load, recorded_at)
    SELECT $2, urn, other, link_type, 'ended', name, $3, $1, engines.domain_now()
    FROM gone
    RETURNING 1
)

SELECT count(*) FROM kept
"""

# A school tells its trust with its own versions. One that was told before its trust changed gets another version of the same
# facts, with a position that the next announcement takes; it is of no load, for no row of a file has changed the school.
_TELL_AGAIN = """
WITH touched AS (
    SELECT DISTINCT o.id, o.kind, o.valid_from, o.facts
    FROM providers.link_version AS k
    JOIN providers.organisation AS o ON o.scheme = 'urn' AND o.value = k.urn
    JOIN providers.organisation AS g ON g.scheme = 'group' AND g.value = k.other
    WHERE k.load = $1 AND k.relation = 'membership' AND g.kind = 'trust' AND NOT o.facts ? 'trust_uid'
        AND o.version <= (
            SELECT coalesce(max(last_position), 0) FROM providers.announcement WHERE audience = 'warehouse'
        )
),

added AS (
    INSERT INTO providers.version (organisation, kind, valid_from, recorded_at, facts, digest)
    SELECT id, kind, valid_from, engines.domain_now(), facts, sha256(convert_to(facts::text, 'UTF8'))
    FROM touched
    ORDER BY id
    RETURNING organisation, position
)

UPDATE providers.organisation AS o SET version = added.position FROM added WHERE o.id = added.organisation
"""

_COUNT_LINKS = "SELECT count(*) FROM providers.link"
_COUNT_MEMBERS = "SELECT count(*) FROM providers.membership"


async def write_links(conn: Any, parsed: Parsed, file_date: date, load: int, *, complete: bool) -> Linked:
    """Predecessors, successors, mergers. `complete`: what the file does not have has ended."""
    rows = [
        (
            row.facts["urn"],
            row.facts["link_urn"],
            row.facts["link_type"],
            row.facts.get("link_name"),
            day(row.facts, "established"),
        )
        for row in parsed.rows
    ]
    ending = _END_LINKS + _KEEP_ENDED if complete else None
    return await _write(conn, "link", rows, (_WRITE_LINKS + _KEEP, ending, _COUNT_LINKS), file_date, load)


async def write_members(conn: Any, parsed: Parsed, file_date: date, load: int, *, complete: bool) -> Linked:
    """Who joined which trust, federation or sponsor. `complete`: who is not in the file has left."""
    rows = [
        (row.facts["urn"], row.facts["group_uid"], "", None, day(row.facts, "joined")) for row in parsed.rows
    ]
    ending = _END_MEMBERS + _KEEP_ENDED if complete else None
    linked = await _write(
        conn, "membership", rows, (_WRITE_MEMBERS + _KEEP, ending, _COUNT_MEMBERS), file_date, load
    )
    if linked.written.new or linked.written.changed or linked.ended:
        await conn.execute(_TELL_AGAIN, load)
        await conn.execute(NOTIFY)
    return linked


def day(facts: Facts, name: str) -> date | None:
    """A fact that is a date."""
    found = facts.get(name)
    return date.fromisoformat(str(found)) if found else None


async def _write(
    conn: Any,
    relation: str,
    rows: list[tuple[Any, ...]],
    statements: tuple[str, str | None, str],
    file_date: date,
    load: int,
) -> Linked:
    writing, ending, counting = statements
    await conn.execute(_MAKE_INCOMING)
    await conn.copy_records_to_table("incoming_link", records=rows)
    await conn.execute("ANALYZE incoming_link")
    done = await conn.fetch(writing, load, relation)
    ended = await conn.fetchval(ending, load, relation, file_date) if ending else 0
    new = sum(row["is_new"] for row in done)
    absent = await conn.fetchval(counting) - len(rows)
    return Linked(Written(new, len(done) - new, len(rows) - len(done), 0), absent, ended)
