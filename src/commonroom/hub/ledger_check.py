"""Verifying the ledger where it is stored: everything the tree was made from is read again and hashed again.

Bodies are compared with the digests that were accepted. A body past its retention is gone as agreed: its digest stands.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import closing
from typing import Any

from commonroom.hub import proofs
from commonroom.hub.bodies import StoredFile, open_body, stored_file
from commonroom.hub.body_store import BodyStore
from commonroom.hub.ledger_file import HeadChecker, Verdict, check_keys, leaves
from commonroom.hub.ledger_form import PublicKey, leaf_of
from commonroom.hub.master_keys import MasterKeys
from commonroom.hub.proofs import head_of
from commonroom.hub.sealed_files import BLOCK_BYTES
from commonroom.hub.sequencer import TILE_LEVELS, entry_of
from commonroom.merkle import Frontier, Node
from commonroom.problems import Problem

BODIES_AT_ONCE = 32  # each up to the largest that a message may have

_HEADS = "SELECT size, root, time, key, signature FROM hub.ledger_head ORDER BY size"
_NODES = "SELECT level, index, hash FROM hub.ledger_node"
_SEQUENCER = "SELECT size, peaks FROM hub.ledger_sequencer"

# Committed when the sequencer last looked, and not given a position then: numbers of transactions were changed.
_FORGOTTEN = """
SELECT e.entry
FROM hub.ledger e, hub.ledger_sequencer s
WHERE pg_visible_in_snapshot(e.tx, s.seen)
    AND s.cluster = (SELECT system_identifier FROM pg_control_system())
    AND NOT EXISTS (SELECT FROM hub.ledger_leaf t WHERE t.entry = e.entry)
UNION ALL
SELECT e.entry
FROM hub.ledger_group_entry e CROSS JOIN hub.ledger_sequencer s
LEFT JOIN hub.ledger_leaf_group t ON t.ledger_group = e.ledger_group
WHERE pg_visible_in_snapshot(e.tx, s.seen)
    AND s.cluster = (SELECT system_identifier FROM pg_control_system())
    AND e.ordinal > coalesce(length(t.hashes), 0) / 32
ORDER BY entry LIMIT 100
"""
# Proofs find the entries of a message by what message and delivery point to.
_UNPOINTED = """
SELECT e.entry, m.position
FROM hub.ledger_group_entry e
JOIN hub.message m ON m.id = e.message_id
LEFT JOIN hub.delivery d ON d.message = m.position AND d.recipient = e.party
WHERE CASE e.event WHEN 'accepted' THEN m.ledger_group IS DISTINCT FROM e.ledger_group
    ELSE (e.ledger_group = ANY (d.ledger_groups)) IS NOT TRUE END
ORDER BY e.entry LIMIT 100
"""
_UNLISTED = """
SELECT m.position FROM hub.message m
WHERE NOT EXISTS (SELECT FROM hub.ledger_entry e WHERE e.message = m.position AND e.event = 'accepted')
ORDER BY m.position LIMIT 100
"""
# A delivery's end is in the ledger, or it never happened.
_ENDS = """
SELECT d.id, d.message, d.state FROM hub.delivery d
WHERE d.finished_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM hub.ledger_entry e WHERE e.message = d.message AND e.party = d.recipient AND e.event = d.state
)
ORDER BY d.message LIMIT 100
"""
_BODIES = """
SELECT m.position, m.id AS message_id, m.digest, b.body, b.master, b.wrapped, b.stored,
    s.master AS stored_master, s.wrapped AS stored_wrapped, b.message IS NULL AS gone, e.digest AS accepted,
    m.retain_until < engines.domain_now() AS over
FROM hub.message m
LEFT JOIN hub.body b ON b.message = m.position
LEFT JOIN hub.stored_body s ON s.digest = b.stored
LEFT JOIN hub.ledger_entry e ON e.message = m.position AND e.event = 'accepted'
ORDER BY m.position
"""


async def verify_database(
    connection: Any,
    pinned: list[PublicKey] | None = None,
    store: BodyStore | None = None,
    *,
    master_keys: MasterKeys | None = None,
) -> Verdict:
    """Check the stored ledger against its signed heads, and envelopes and bodies against the ledger. One snapshot.

    Bodies are opened with the `master_keys`; without them they are counted as `sealed`. Large ones are read again from
    the `store`; without one only their names are compared.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await check(connection, pinned, store, master_keys=master_keys)


async def check(
    connection: Any,
    pinned: list[PublicKey] | None = None,
    store: BodyStore | None = None,
    *,
    master_keys: MasterKeys | None = None,
) -> Verdict:
    """The same inside a transaction of the caller's."""
    verdict = Verdict(pinned=pinned is not None)
    keys = check_keys(await proofs.published_keys(connection), pinned, verdict)
    frontier, nodes = await _check_leaves(connection, HeadChecker(keys, verdict), verdict)
    await _check_tree(connection, frontier, nodes, verdict)
    for row in await connection.fetch(_FORGOTTEN):
        verdict.fault(f"hub.ledger: entry {row['entry']} has no position in the tree")
    for row in await connection.fetch(_UNPOINTED):
        verdict.fault(
            f"hub.message or hub.delivery: message {row['position']} does not point to entry {row['entry']}"
        )
    for row in await connection.fetch(_UNLISTED):
        verdict.fault(f"hub.message: message {row['position']} was never accepted in the ledger")
    for row in await connection.fetch(_ENDS):
        verdict.fault(
            f"hub.delivery: {row['id']} of message {row['message']} is {row['state']}, not so in the ledger"
        )
    await _check_bodies(connection, store, master_keys, verdict)
    verdict.entries = frontier.size
    return verdict


async def _check_leaves(
    connection: Any, checker: HeadChecker, verdict: Verdict
) -> tuple[Frontier, dict[Node, bytes]]:
    heads = [head_of(row) for row in await connection.fetch(_HEADS)][::-1]
    frontier, nodes = Frontier(), dict[Node, bytes]()
    async for _, row in leaves(connection, 2**63 - 1):
        place = frontier.size
        if row["place"] != place:
            verdict.fault(f"hub.ledger_leaf: position {place} is missing; {row['place']} comes next")
        if row["entry"] is None:
            verdict.fault(f"hub.ledger: entry {row['number']}, position {place}, is gone")
            leaf = row["hash"]
        elif (leaf := leaf_of(entry_of(row))) != row["hash"]:
            verdict.fault(
                f"hub.ledger or hub.message: entry {row['entry']}, position {place}, "
                f"or the envelope of its message {row['position']} is not what entered the tree"
            )
        nodes |= {node: value for node, value in frontier.append(leaf) if node.level % TILE_LEVELS == 0}
        while heads and heads[-1].size <= frontier.size:
            head = heads.pop()
            checker.check(head, frontier, "hub.ledger_head")
    for head in heads:
        checker.check(head, frontier, "hub.ledger_head")
    return frontier, nodes


async def _check_tree(
    connection: Any, frontier: Frontier, nodes: dict[Node, bytes], verdict: Verdict
) -> None:
    stored = {Node(row["level"], row["index"]): row["hash"] for row in await connection.fetch(_NODES)}
    for node in sorted(stored.keys() | nodes.keys()):
        if stored.get(node) != nodes.get(node):
            verdict.fault(
                f"hub.ledger_node: level {node.level}, index {node.place} is not what the leaves say"
            )
    state = await connection.fetchrow(_SEQUENCER)
    if state is None or (state["size"], state["peaks"]) != (frontier.size, frontier.peaks):
        verdict.fault("hub.ledger_sequencer: size or peaks are not those of the leaves")


async def _check_bodies(
    connection: Any, store: BodyStore | None, master_keys: MasterKeys | None, verdict: Verdict
) -> None:
    async for row in connection.cursor(_BODIES, prefetch=BODIES_AT_ONCE):
        message = f"message {row['position']}"
        if row["accepted"] is not None and row["digest"] != row["accepted"]:
            verdict.fault(f"hub.message: the digest of {message} is not the accepted one")
        if row["gone"]:
            if row["over"]:
                verdict.purged += 1
            else:
                verdict.fault(f"hub.body: the body of {message} is gone before the end of its retention")
            continue
        if master_keys is None:
            verdict.sealed += 1
            continue
        try:
            if (file := stored_file(row)) is not None:
                found = await asyncio.to_thread(_stored_digest, store, file, master_keys)
            else:
                found = hashlib.sha256(open_body(master_keys, row) or b"").digest()
        except Problem as problem:
            verdict.fault(f"hub.body: {message}: {problem.detail}")
            continue
        verdict.bodies += 1
        if found != (row["accepted"] or row["digest"]):
            verdict.fault(f"hub.body: the body of {message} is not the accepted one")


def _stored_digest(store: BodyStore | None, file: StoredFile, master_keys: MasterKeys) -> bytes | None:
    """The digest of a body in the body store, read again; None when it is not there. Without a store: its name."""
    if store is None:
        return file.digest
    try:
        body = file.open(store, master_keys)
    except FileNotFoundError:
        return None
    digest = hashlib.sha256()
    with closing(body):
        while block := body.read(BLOCK_BYTES):
            digest.update(block)
    return digest.digest()
