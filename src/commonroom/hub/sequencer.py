"""The sequencer: gives committed ledger entries their positions in the Merkle tree, and signs the tree's head.

One at a time, whichever hub process holds the database's advisory lock; when it dies, the lock is free and another goes
on. It works after commit and locks nothing that traffic uses, so it never holds up a message; when it is away, heads
come later and nothing else happens.

Entries commit out of order. The sequencer keeps the database snapshot of its last group: what is committed now and was
not then is exactly what has to come next. A transaction that was open then is named in that snapshot, so it is neither
skipped nor waited for. Positions, nodes and the new snapshot are one transaction: no gap and no double at any kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from joserfc.jwk import OKPKey

from commonroom.engines.database import connect
from commonroom.exchange import keys
from commonroom.hub.ledger_form import (
    FACTS,
    LedgerEntry,
    envelope_digest,
    facts_digest,
    leaf_of,
    leaves_of_group,
    signed,
    text_digest,
)
from commonroom.merkle import Frontier
from commonroom.settings import Settings

LOCK = 0x6C656467_65720001  # any number that no other advisory lock of ours uses
TILE_LEVELS = 8  # nodes are stored at every eighth level
CHUNK = 500
GROUPS = 10  # of up to some thousand entries
PAUSE_SECONDS = 0.25
STANDBY_SECONDS = 2.0
HEAD_SECONDS = 2.0

_TRY_LOCK = "SELECT pg_try_advisory_lock($1)"

# After a restore from a dump, transaction numbers of another cluster say nothing: then everything is looked through.
_STATE = """
SELECT size, peaks, coalesce(cluster = (SELECT system_identifier FROM pg_control_system()), false) AS same_cluster,
    pg_snapshot_xmax(seen) AS next_tx, ARRAY(SELECT pg_snapshot_xip(seen)) AS open_txs
FROM hub.ledger_sequencer
"""

ENTRY = """
SELECT e.entry, e.at, e.event, e.party, e.digest, e.reason, e.tx::text AS tx, m.id AS message,
    CASE WHEN e.event = 'accepted' THEN m.envelope END AS envelope,
    m.accepted_at, m.ce_id, m.end_point, m.id, m.position, m.retain_until, m.size, m.source, m.type
"""

# A table that has just grown has no statistics, and the planner would read the whole ledger four times a second.
SESSION = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}

# By entry: an event is written after what it follows from has committed, so numbers keep that order within a group.
# Materialized, or the ledger might be read in that order from its beginning.
_SINCE = f"""
WITH fresh AS MATERIALIZED (
    SELECT l.* FROM hub.ledger l WHERE l.tx >= $1::xid8
    UNION ALL
    SELECT l.* FROM hub.ledger l WHERE l.tx = ANY ($2::xid8[])
)
{ENTRY}, e.entry AS number
FROM fresh e LEFT JOIN hub.message m ON m.position = e.message
ORDER BY e.entry
"""  # noqa: S608 - constants

_ALL_WITHOUT_SESSION = "SET LOCAL enable_hashjoin = on; SET LOCAL enable_seqscan = on"
_ALL_WITHOUT = f"""
{ENTRY}, e.entry AS number
FROM hub.ledger e LEFT JOIN hub.message m ON m.position = e.message
WHERE NOT EXISTS (SELECT FROM hub.ledger_leaf t WHERE t.entry = e.entry)
ORDER BY e.entry
"""

_GROUP = """
SELECT number, at, tx::text AS tx, event, array_to_string(entries, ',') AS entries,
    array_to_string(messages, ',') AS messages, parties, array_to_string(party_of, ',') AS party_of, reasons, digests, facts
FROM hub.ledger_group
"""
_GROUPS_SINCE = f"""
WITH fresh AS MATERIALIZED (
    {_GROUP} WHERE ledger_group.tx >= $1::xid8
    UNION ALL
    {_GROUP} WHERE ledger_group.tx = ANY ($2::xid8[])
)
SELECT * FROM fresh ORDER BY number
"""  # noqa: S608 - constants
_ALL_GROUPS_WITHOUT = f"""
{_GROUP}
WHERE NOT EXISTS (SELECT FROM hub.ledger_leaf_group t WHERE t.ledger_group = number)
ORDER BY number
"""

_SAVE = """
UPDATE hub.ledger_sequencer
SET size = $1, peaks = $2, seen = pg_current_snapshot(), cluster = (SELECT system_identifier FROM pg_control_system())
"""

_LEAVES_OF_GROUP = "INSERT INTO hub.ledger_leaf_group (position, ledger_group, hashes) VALUES ($1, $2, $3)"

_UNSIGNED = """
SELECT s.size, s.peaks, clock_timestamp() AS now
FROM hub.ledger_sequencer s
WHERE s.size > coalesce((SELECT max(size) FROM hub.ledger_head), 0)
"""
_PUBLISH_KEY = "INSERT INTO hub.ledger_key (id, x) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_SIGN = "INSERT INTO hub.ledger_head (size, root, time, key, signature) VALUES ($1, $2, $3, $4, $5)"


async def run(settings: Settings) -> None:
    """Be the sequencer whenever nobody else is, until cancelled. Raises what the database raises."""
    key = await asyncio.to_thread(signing_key, settings)
    connection = await connect(settings, SESSION)
    try:
        while not await connection.fetchval(_TRY_LOCK, LOCK):  # noqa: ASYNC110 - the lock is the database's
            await asyncio.sleep(STANDBY_SECONDS)
        await _lead(connection, key)
    finally:
        connection.terminate()


def signing_key(settings: Settings) -> OKPKey:
    """The ledger's Ed25519 key, made at first use; the public half is published at GET /ledger/keys."""
    return keys.load_or_create(settings.folder("keys") / "ledger.pem")


async def sequence(connection: Any) -> int:
    """Give positions to all that has been committed and has none; how many. One transaction, in chunks.

    Somebody else doing the same at the same time makes one of the two fail, and nothing is written twice.
    """
    async with connection.transaction(isolation="repeatable_read"):
        state = await connection.fetchrow(_STATE)
        frontier = Frontier(state["size"], state["peaks"])
        nodes: list[tuple[int, int, bytes]] = []
        rows: list[Any] = []
        since = (state["next_tx"], state["open_txs"])
        singles: tuple[Any, ...] = (_SINCE, *since)
        groups: tuple[Any, ...] = (_GROUPS_SINCE, *since)
        if not state["same_cluster"]:
            singles, groups = (_ALL_WITHOUT,), (_ALL_GROUPS_WITHOUT,)
            await connection.execute(_ALL_WITHOUT_SESSION)
        async for is_group, row in merged(
            connection.cursor(*singles, prefetch=CHUNK), connection.cursor(*groups, prefetch=GROUPS), "number"
        ):
            if not is_group:
                rows.append(row)
            if is_group or len(rows) == CHUNK:
                nodes += await _append(connection, frontier, rows)
                rows = []
            if is_group:
                nodes += await _append_group(connection, frontier, row)
        nodes += await _append(connection, frontier, rows)
        grown = frontier.size - int(state["size"])
        if grown or not state["same_cluster"]:
            await connection.copy_records_to_table("ledger_node", schema_name="hub", records=nodes)
            await connection.execute(_SAVE, frontier.size, frontier.peaks)
        return grown


async def sign_head(connection: Any, key: OKPKey) -> bool:
    """Sign the tree as it is, when it has grown since the last head."""
    async with connection.transaction():
        state = await connection.fetchrow(_UNSIGNED)
        if state is None:
            return False
        root = Frontier(state["size"], state["peaks"]).root()
        head = signed(key, state["size"], root, state["now"])
        await connection.execute(_PUBLISH_KEY, head.key, keys.public_jwk(key)["x"])
        await connection.execute(_SIGN, head.size, root, head.time, head.key, bytes.fromhex(head.signature))
    return True


def entry_of(row: Any) -> LedgerEntry:
    """The canonical entry of a row of an entry with its message."""
    accepted = row["envelope"] is not None
    return LedgerEntry(
        at=row["at"],
        body=None if row["digest"] is None else row["digest"].hex(),
        entry=row["entry"],
        envelope=envelope_digest(row["envelope"]) if accepted else None,
        event=row["event"],
        facts=facts_digest({name: row[name] for name in FACTS}) if accepted else None,
        message=None if row["message"] is None else str(row["message"]),
        party=row["party"],
        reason=text_digest(row["reason"]),
        transaction=int(row["tx"]),
    )


async def merged(singles: Any, groups: Any, number: str) -> AsyncIterator[tuple[bool, Any]]:
    """The rows of two queries, each in the order of this column, in its order, with whether each is of the second."""
    entries, rows = aiter(singles), aiter(groups)
    entry, group = await anext(entries, None), await anext(rows, None)
    while entry is not None or group is not None:
        if group is None or (entry is not None and entry[number] < group[number]):
            yield False, entry
            entry = await anext(entries, None)
        else:
            yield True, group
            group = await anext(rows, None)


async def _lead(connection: Any, key: OKPKey) -> None:
    signed_at = -HEAD_SECONDS
    clock = asyncio.get_running_loop().time
    while True:
        await sequence(connection)
        if clock() - signed_at >= HEAD_SECONDS and await sign_head(connection, key):
            signed_at = clock()
        await asyncio.sleep(PAUSE_SECONDS)


async def _append(connection: Any, frontier: Frontier, rows: list[Any]) -> list[tuple[int, int, bytes]]:
    """Write the leaves of these entries; the nodes to be stored that they complete."""
    if not rows:
        return []
    hashes = [leaf_of(entry_of(row)) for row in rows]
    leaves = [
        (place, row["entry"], leaf)
        for place, (row, leaf) in enumerate(zip(rows, hashes, strict=True), frontier.size)
    ]
    await connection.copy_records_to_table("ledger_leaf", schema_name="hub", records=leaves)
    return _extended(frontier, hashes)


async def _append_group(connection: Any, frontier: Frontier, group: Any) -> list[tuple[int, int, bytes]]:
    """The same for a group, whose leaves are one row."""
    hashes = leaves_of_group(group)
    await connection.execute(_LEAVES_OF_GROUP, frontier.size, group["number"], b"".join(hashes))
    return _extended(frontier, hashes)


def _extended(frontier: Frontier, hashes: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
    return [
        (level, place, value)
        for level, row in enumerate(frontier.extend(hashes), 1)
        if level % TILE_LEVELS == 0
        for place, value in row
    ]
