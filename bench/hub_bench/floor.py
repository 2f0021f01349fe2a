"""The floor: what any program could do at most. Bare `unnest` inserts by asyncpg into the same server, nothing else.

`same_rows`: what the hub stores of a message (message, body and delivery, and the ledger entries of all in one row), in
tables with the hub's columns and indexes, four statements a transaction.
`one_table`: one row with envelope and body, one index.
"""

from __future__ import annotations

import hashlib
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from commonroom.exchange import Envelope
from commonroom.exchange.keys import base64url
from commonroom.ids import uuid7
from hub_bench.installation import TO_ONE, Station
from hub_bench.load import BODY_BYTES

ROWS = 500  # in one statement: the largest batch the hub takes
SIGNATURE, SIGNATURE_IN_BATCH = 180, 607  # characters: alone, and with its proof in a batch of ROWS

_MAKE = """
DROP SCHEMA IF EXISTS floor CASCADE;
CREATE SCHEMA floor;
CREATE TABLE floor.message (LIKE hub.message INCLUDING ALL);
CREATE TABLE floor.body (LIKE hub.body INCLUDING ALL);
CREATE TABLE floor.delivery (LIKE hub.delivery INCLUDING ALL);
CREATE TABLE floor.ledger_group (LIKE hub.ledger_group INCLUDING ALL);
CREATE TABLE floor.one (id uuid PRIMARY KEY, source text, ce_id text, type text, envelope jsonb, digest bytea, body bytea);
ALTER TABLE floor.one ALTER COLUMN body SET STORAGE EXTERNAL;
"""
_MESSAGE = """
INSERT INTO floor.message (position, id, source, ce_id, type, envelope, digest, size, end_point, accepted_at, retain_until)
OVERRIDING SYSTEM VALUE
SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::bytea[], $8::bigint[],
    $9::text[], $10::timestamptz[], $11::timestamptz[])
"""
_BODY = """
INSERT INTO floor.body (message, body, master, wrapped)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bytea[])
"""
_DELIVERY = """
INSERT INTO floor.delivery (id, message, recipient, movement, needs)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::smallint[])
"""
_LEDGER = """
INSERT INTO floor.ledger_group (number, event, entries, messages, parties, party_of, digests, facts)
VALUES ($1, 'accepted', $2, $3, $4, $5, $6, $7)
"""
_ONE = """
INSERT INTO floor.one
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::bytea[], $7::bytea[])
"""


class _Row(msgspec.Struct, frozen=True):
    position: int
    source: str
    ce_id: str
    envelope: dict[str, Any]
    digest: bytes
    body: bytes


async def prepare(database: Any) -> None:
    """Empty tables."""
    await database.execute(_MAKE)


async def same_rows(
    database: Any, station: Station, groups: int, first: int, *, sign_each: bool = False
) -> float:
    """Messages a second, in groups of ROWS; `first` is the number of the first one and must not come twice."""
    made = [
        [_row(station, first + ROWS * group + number, sign_each) for number in range(ROWS)]
        for group in range(groups)
    ]
    now = datetime.now(UTC)
    begun = time.perf_counter()
    for rows in made:
        ids, positions = [uuid7() for _ in rows], [row.position for row in rows]
        sources, digests = [row.source for row in rows], [row.digest for row in rows]
        async with database.transaction():
            await database.execute(
                _MESSAGE, positions, ids, sources, [row.ce_id for row in rows], [TO_ONE] * ROWS,
                [row.envelope for row in rows], digests, [BODY_BYTES] * ROWS, sources, [now] * ROWS,
                [now + timedelta(days=30)] * ROWS,
            )  # fmt: skip
            bodies = [row.body for row in rows]
            wrapped = [body[:60] for body in bodies]
            await database.execute(
                _BODY, positions, bodies, ["20260101T000000000000Z-0123456789ab"] * ROWS, wrapped
            )
            deliveries = [uuid7() for _ in rows]
            await database.execute(_DELIVERY, deliveries, positions, sources, ["one"] * ROWS, [2] * ROWS)
            await database.execute(
                _LEDGER,
                positions[0],
                positions,
                ids,
                sources[:1],
                [1] * ROWS,
                b"".join(digests),
                b"".join(digests) * 2,
            )
    return groups * ROWS / (time.perf_counter() - begun)


async def one_table(database: Any, station: Station, groups: int, *, sign_each: bool = False) -> float:
    """Messages a second, in groups of ROWS."""
    made = [[_row(station, number, sign_each) for number in range(ROWS)] for _ in range(groups)]
    begun = time.perf_counter()
    for rows in made:
        await database.execute(
            _ONE, [uuid7() for _ in rows], [row.source for row in rows], [row.ce_id for row in rows],
            [TO_ONE] * ROWS, [row.envelope for row in rows], [row.digest for row in rows], [row.body for row in rows],
        )  # fmt: skip
    return groups * ROWS / (time.perf_counter() - begun)


def _row(station: Station, position: int, sign_each: bool) -> _Row:
    body = os.urandom(BODY_BYTES + 28)  # as long as the hub's sealed body
    digest = hashlib.sha256(body).digest()
    envelope = Envelope(
        id=str(uuid7()),
        source=station.party,
        type=TO_ONE,
        datacontenttype="application/octet-stream",
        signature=base64url(os.urandom(SIGNATURE_IN_BATCH))[: SIGNATURE if sign_each else SIGNATURE_IN_BATCH],
    )
    return _Row(position, station.party, envelope.id, msgspec.to_builtins(envelope), digest, body)
