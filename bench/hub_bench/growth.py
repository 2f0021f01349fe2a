"""Growth: fill the hub's tables up to so many stored messages, as if they had been sent, loaded and acknowledged.

Written by SQL in groups, because a million sends would take the benchmark's whole time; the sequencer then works through
their ledger entries as through any others. The bodies are random bytes that nobody will read again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

GROUP = 20_000

_STORED = "SELECT count(*) FROM hub.message"
# Time-ordered like the hub's own: random ones would be another load on the indexes.
_ID = """(
    lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
    || substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15)
)::uuid"""
_FILL = f"""
WITH sample AS MATERIALIZED (
    SELECT m.source, m.type, m.envelope, m.digest, m.size, m.end_point, m.accepted_at, m.retain_until,
        b.body, b.master, b.wrapped, d.recipient, d.movement, d.needs,
        row_number() OVER (ORDER BY m.position) - 1 AS number, count(*) OVER () AS many
    FROM hub.message m JOIN hub.body b ON b.message = m.position JOIN hub.delivery d ON d.message = m.position
    WHERE d.state = 'acknowledged' AND m.position IN (SELECT position FROM hub.message ORDER BY position LIMIT 512)
), given AS MATERIALIZED (
    SELECT {_ID} AS id, s.*
    FROM generate_series(1, $1::int) AS n JOIN sample s ON s.number = n % s.many
), stored AS (
    INSERT INTO hub.message (id, source, ce_id, type, envelope, digest, size, end_point, accepted_at, retain_until)
    SELECT id, source, id::text, type, envelope, digest, size, end_point, accepted_at, retain_until
    FROM given ORDER BY given.id
    RETURNING id, position
), bodies AS (
    INSERT INTO hub.body (message, body, master, wrapped)
    SELECT position, body, master, wrapped FROM stored JOIN given USING (id)
), deliveries AS (
    INSERT INTO hub.delivery (id, message, recipient, movement, needs, state, attempt, finished_at)
    SELECT {_ID}, position, recipient, movement, needs, 'acknowledged', 1, accepted_at FROM stored JOIN given USING (id)
)
INSERT INTO hub.ledger (event, message, party, digest)
SELECT event, position, CASE event WHEN 'accepted' THEN source ELSE recipient END,
    CASE event WHEN 'accepted' THEN digest END
FROM stored JOIN given USING (id) CROSS JOIN unnest(ARRAY['accepted', 'leased', 'acknowledged']) AS event
"""  # noqa: S608 - a constant


async def fill(database: Any, messages: int, say: Callable[[str], None]) -> int:
    """Fill up to at least so many; how many there are."""
    stored: int = await database.fetchval(_STORED)
    while stored < messages:
        await database.execute(_FILL, min(GROUP, messages - stored))
        stored = await database.fetchval(_STORED)
        say(f"filled to {stored:,}")
    # As autovacuum would have done on the way.
    await database.execute(
        "VACUUM (ANALYZE) hub.message, hub.body, hub.delivery, hub.ledger, hub.ledger_leaf, hub.ledger_group,"
        " hub.ledger_leaf_group"
    )
    await database.execute("CHECKPOINT")
    return stored
