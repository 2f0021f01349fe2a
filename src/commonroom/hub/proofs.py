"""Proofs out of the stored tree: that an entry is in the ledger of a signed head, that one head continues another.

A proof reads about a thousand leaf hashes at any size of the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from commonroom import merkle
from commonroom.hub.ledger_form import (
    ConsistencyProof,
    InclusionProof,
    ProvenEntry,
    PublicKey,
    SignedHead,
)
from commonroom.hub.sequencer import ENTRY, HEAD_SECONDS, TILE_LEVELS, entry_of
from commonroom.merkle import Node
from commonroom.problems import Problem

MAX_ENTRIES = 1_000  # of one message in one proof: the oldest

_NEWEST_HEAD = """
SELECT size, root, time, key, signature FROM hub.ledger_head
WHERE size <= coalesce($1, size) ORDER BY size DESC LIMIT 1
"""
_HEAD = "SELECT size, root, time, key, signature FROM hub.ledger_head WHERE size = $1"
_KEYS = "SELECT id, x FROM hub.ledger_key ORDER BY id"

_HASHES = """
SELECT given.level, t.position AS index, t.hash
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS given(level, first, last)
JOIN hub.ledger_leaf t ON t.position >= given.first AND t.position < given.last
WHERE given.level = 0
UNION ALL
SELECT given.level, place.index, substring(t.hashes FROM 32 * (place.index - t.position)::integer + 1 FOR 32)
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS given(level, first, last)
JOIN hub.ledger_leaf_group t ON t.position < given.last AND t.position >= coalesce(
    (SELECT max(before.position) FROM hub.ledger_leaf_group before WHERE before.position <= given.first), given.first
)
CROSS JOIN LATERAL generate_series(
    greatest(given.first, t.position), least(given.last, t.position + length(t.hashes) / 32) - 1
) AS place(index)
WHERE given.level = 0
UNION ALL
SELECT given.level, n.index, n.hash
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS given(level, first, last)
JOIN hub.ledger_node n ON n.level = given.level AND n.index >= given.first AND n.index < given.last
WHERE given.level > 0
"""

# The sender sees all entries of its message, a recipient the acceptance and its own.
_SEES = """m.id = $1 AND (m.source = $2 OR (
    (e.event = 'accepted' OR e.party = $2)
    AND EXISTS (SELECT FROM hub.delivery d WHERE d.message = m.position AND d.recipient = $2)
))"""
_ENTRIES = f"""
{ENTRY}, t.position AS place
FROM hub.message m JOIN hub.ledger e ON e.message = m.position LEFT JOIN hub.ledger_leaf t ON t.entry = e.entry
WHERE {_SEES}
UNION ALL
{ENTRY}, t.position + e.ordinal - 1
FROM hub.message m
JOIN hub.ledger_group_entry e ON e.message_id = m.id AND e.ledger_group = ANY (
    m.ledger_group || ARRAY(SELECT unnest(d.ledger_groups) FROM hub.delivery d WHERE d.message = m.position)
)
LEFT JOIN hub.ledger_leaf_group t ON t.ledger_group = e.ledger_group
WHERE {_SEES}
ORDER BY entry LIMIT $3
"""  # noqa: S608 - constants


async def newest_head(connection: Any, upto: int | None = None) -> SignedHead:
    """The newest signed head, of those up to a size when one is given. Raises Problem CR-131 (404) while there is none."""
    row = await connection.fetchrow(_NEWEST_HEAD, upto)
    if row is None:
        raise _problem_not_yet("Nothing has entered the ledger yet.")
    return head_of(row)


async def head_at(connection: Any, size: int, upto: int | None = None) -> SignedHead:
    """The signed head of this size. Raises Problem CR-132 (404) when no head has it, or it is beyond `upto`."""
    row = await connection.fetchrow(_HEAD, size)
    if row is None or (upto is not None and size > upto):
        raise Problem(
            "CR-132",
            f"No head of {size} entries has been signed.",
            status=404,
            where="the size",
            remedy="Use the size of a head that GET /ledger/head or a proof has given.",
        )
    return head_of(row)


async def published_keys(connection: Any) -> list[PublicKey]:
    """The public keys that have signed heads."""
    return [PublicKey(kid=row["id"], x=row["x"]) for row in await connection.fetch(_KEYS)]


async def prove(connection: Any, message: str, party: str, upto: int | None = None) -> InclusionProof:
    """What this party may see of a message's entries, in the ledger of the newest head (of those up to a size).

    Raises Problem CR-005 (404) when there is no such message for the party, CR-131 (404) when no head covers it yet.
    """
    rows = await connection.fetch(_ENTRIES, uuid, party, MAX_ENTRIES) if (uuid := _uuid(message)) else []
    if not rows:
        remedy = "Use the `message` of the receipt; only the sender and the recipients can see a message."
        raise Problem(
            "CR-005", "There is no such message for you.", status=404, where="message", remedy=remedy
        )
    head = await newest_head(connection, upto)
    covered = [row for row in rows if row["place"] is not None and row["place"] < head.size]
    if not covered:
        raise _problem_not_yet("No signed head covers the message yet.")
    paths = await _hashes(connection, [merkle.inclusion_ranges(row["place"], head.size) for row in covered])
    return InclusionProof(
        message=message,
        head=head,
        entries=[
            ProvenEntry(entry=entry_of(row), position=row["place"], proof=[step.hex() for step in path])
            for row, path in zip(covered, paths, strict=True)
        ],
        later=len(rows) - len(covered),
    )


async def prove_consistency(
    connection: Any, old: int, new: int | None = None, upto: int | None = None
) -> ConsistencyProof:
    """That the ledger of the head of size `new` (the newest without it) begins with that of the head of size `old`.

    Raises Problem CR-131 or CR-132 (404) when there are no such heads, CR-050 when `old` is the larger.
    """
    older = await head_at(connection, old, upto)
    newer = await (newest_head(connection, upto) if new is None else head_at(connection, new, upto))
    if older.size > newer.size:
        raise Problem(
            "CR-050", "The old head is larger than the new one.", where="old, new", remedy="Swap them."
        )
    [path] = await _hashes(connection, [merkle.consistency_ranges(older.size, newer.size)])
    return ConsistencyProof(old=older, new=newer, proof=[step.hex() for step in path])


def head_of(row: Any) -> SignedHead:
    """The head in a row of hub.ledger_head."""
    return SignedHead(
        key=row["key"],
        root=row["root"].hex(),
        signature=row["signature"].hex(),
        size=row["size"],
        time=row["time"],
    )


async def _hashes(connection: Any, proofs: Sequence[Sequence[merkle.Range]]) -> list[list[bytes]]:
    """The hash of each range of each proof, out of stored leaves and nodes."""
    peaks = {node for ranges in proofs for leaves in ranges for node in merkle.peaks_of(leaves)}
    stored = sorted({_stored_under(node) for node in peaks})
    rows = await connection.fetch(_HASHES, *([item[part] for item in stored] for part in range(3)))
    known = {Node(row["level"], row["index"]): row["hash"] for row in rows}
    values = {node: _value(node, known) for node in peaks}
    return [
        [merkle.fold([values[node] for node in merkle.peaks_of(leaves)]) for leaves in ranges]
        for ranges in proofs
    ]


def _stored_under(node: Node) -> tuple[int, int, int]:
    """Level, first and last (not included) index of the stored nodes that a node is made of."""
    level = node.level - node.level % TILE_LEVELS
    height = node.level - level
    return level, node.place << height, (node.place + 1) << height


def _value(node: Node, known: dict[Node, bytes]) -> bytes:
    level, first, last = _stored_under(node)
    return merkle.root_of([known[Node(level, index)] for index in range(first, last)])


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _problem_not_yet(detail: str) -> Problem:
    seconds = int(HEAD_SECONDS) + 1
    return Problem(
        "CR-131",
        detail,
        status=404,
        where="the ledger",
        remedy=f"Heads are signed every few seconds: ask again in {seconds} seconds.",
        extra={"retry_after": seconds},
    )
