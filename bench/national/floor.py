"""The floor of a national day: the same messages as bare inserts into the same server, each in a transaction with fsync.

Four kinds of rows (message, body, two deliveries, ledger entry) in tables with the hub's columns and indexes, by asyncpg
over one connection. No HTTP, no signature, no routing, no encryption, no Merkle tree, and nobody collects anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hub_bench import meters

from commonroom.exchange import Envelope
from commonroom.ids import uuid7
from national.simulation import Ready
from national.town import Town

_MAKE = """
DROP SCHEMA IF EXISTS floor CASCADE;
CREATE SCHEMA floor;
CREATE TABLE floor.message (LIKE hub.message INCLUDING ALL);
CREATE TABLE floor.body (LIKE hub.body INCLUDING ALL);
CREATE TABLE floor.delivery (LIKE hub.delivery INCLUDING ALL);
CREATE TABLE floor.ledger (LIKE hub.ledger INCLUDING ALL);
"""
_STORE = """
WITH message AS (
    INSERT INTO floor.message
        (position, id, source, ce_id, type, envelope, digest, size, end_point, accepted_at, retain_until)
    OVERRIDING SYSTEM VALUE
    VALUES ($1, $2, $3, $4, 'day', $5, $6, $7, $3, $8, $9)
), body AS (
    INSERT INTO floor.body (message, body, master, wrapped) VALUES ($1, $10, 'master', $6)
), deliveries AS (
    INSERT INTO floor.delivery (id, message, recipient, movement, needs)
    SELECT d.id, $1, d.recipient, 'day', 2 FROM unnest($11::uuid[], $12::text[]) AS d(id, recipient)
)
INSERT INTO floor.ledger (event, message, party, digest) VALUES ('accepted', $1, $3, $6)
"""


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """What the bare inserts cost."""

    cpu_ms: float  # of the database, a message
    commits: list[float]  # milliseconds of each
    rate: float  # a second, one after the other


async def floor(town: Town, ready: Sequence[Ready]) -> Floor:
    """Store these messages, one after the other."""
    database = town.database
    await database.execute(_MAKE)
    commits = []
    used, began = meters.cpu_of([town.postmaster]), time.perf_counter()
    for position, one in enumerate(ready, 1):
        row = _row(position, one)
        moment = time.perf_counter()
        await database.execute(_STORE, *row)
        commits.append(1000 * (time.perf_counter() - moment))
    seconds, cpu = time.perf_counter() - began, meters.cpu_of([town.postmaster]) - used
    return Floor(cpu_ms=1000 * cpu / len(ready), commits=commits, rate=len(ready) / seconds)


def _row(position: int, one: Ready) -> tuple[Any, ...]:
    now = datetime.now(UTC)
    source, digest = f"urn:{one.sending.school}", os.urandom(32)
    envelope = msgspec.to_builtins(
        Envelope(id=one.id, source=source, type="day", signature=os.urandom(105).hex())
    )
    recipients = [uuid7(), uuid7()], ["urn:authority", "urn:warehouse"]
    sealed = os.urandom(len(one.body) + 28)  # as long as the hub's
    return (
        position, uuid7(), source, one.id, envelope, digest, len(one.body), now, now + timedelta(days=30), sealed,
        *recipients,
    )  # fmt: skip
