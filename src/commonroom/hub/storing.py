"""Storing: the database's part of accepting messages, a group at a time and each step one statement over arrays.

`look` comes before routing: the moment, the routing version, which messages of the group are stored already, and
positions for the others. `store` then writes plain rows, for everything it must not do twice has been ruled out; what
changed between the two steps makes it raise Stale and write nothing, and the group begins again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import repeat
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from asyncpg.pgproto.pgproto import UUID as DatabaseUUID  # noqa: N811 - a UUID that costs a tenth to make and to send

from commonroom.engines.database import connect
from commonroom.exchange import Envelope
from commonroom.hub import bodies, ledger
from commonroom.hub.ledger_form import accepted_digests, canonical_envelope
from commonroom.hub.master_keys import MasterKeys
from commonroom.hub.routing import Way
from commonroom.ids import uuid7_bytes
from commonroom.settings import Settings

COMMAND_SECONDS = 30.0


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it came in."""

    envelope: Envelope
    body: bytes
    digest: bytes  # SHA-256 of the body
    party: str  # urn of the party that signed in
    end_point: str

    @property
    def key(self) -> tuple[str, str]:
        """Unique among stored messages. The party, not the source: nobody learns what another source has sent."""
        return self.party, self.envelope.id


class Moment(msgspec.Struct, frozen=True):
    """What the database says about a group before it is routed."""

    version: int  # of the routing table
    now: datetime  # domain clock
    positions: Sequence[int]  # as many as messages, rising
    known: frozenset[int]  # indexes in the group of messages that are stored already


class Routed(msgspec.Struct, frozen=True):
    """A new submission with its way, as it will be stored."""

    index: int  # in the group
    submission: Submission
    way: Way
    position: int
    id: UUID  # the hub's name for the message

    @property
    def is_large(self) -> bool:
        """Whether the body is an upload and not in the message."""
        return self.submission.envelope.bodyref is not None


class Stale(Exception):
    """The directory, a movement or the stored messages changed after the look; nothing was written."""


# Plans are made once and stay. They must not read whole tables because these were small when the plan was made.
_SESSION = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}

# Positions are written to the WAL some at a time, and this commit need not wait for its disk: whatever is stored under them
# waits, and for all that was written before it. The subquery stays one: as a join it could be planned as a scan of all
# messages.
LOOK = """
SELECT set_config('synchronous_commit', 'off', true), version, engines.domain_now() AS now,
    ARRAY(SELECT nextval('hub.message_position_seq') FROM generate_series(1, cardinality($1::text[]))) AS positions,
    ARRAY(
        SELECT place - 1 FROM (
            SELECT place, (
                SELECT m.position FROM hub.message m WHERE m.source = given.party AND m.ce_id = given.ce_id
            ) AS position
            FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given(party, ce_id, place)
        ) AS looked WHERE position IS NOT NULL
    ) AS known
FROM hub.routing
"""

# Writes nothing when the routing version is not $1 any more.
_STORE = f"""
WITH expected AS MATERIALIZED (
    SELECT version, nextval('hub.ledger_entry_seq') AS number FROM hub.routing WHERE version = $1
), messages AS (
    INSERT INTO hub.message (
        position, id, source, ce_id, type, envelope, digest, size, end_point, accepted_at, retain_until, left_out,
        ledger_group
    )
    OVERRIDING SYSTEM VALUE
    SELECT position, id, source, ce_id, type, envelope, substring($9::bytea FROM 32 * place::integer - 31 FOR 32), size,
        end_point, $2::timestamptz, retain_until, left_out, number
    FROM expected, unnest(
        $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $10::bigint[], $11::text[],
        $12::timestamptz[], $13::jsonb[]
    ) WITH ORDINALITY
        AS given(position, id, source, ce_id, type, envelope, size, end_point, retain_until, left_out, place)
), letters AS (
    INSERT INTO hub.body (message, body, master, wrapped, stored)
    SELECT message, body, CASE WHEN body IS NOT NULL THEN $14::text END, wrapped, stored
    FROM unnest($3::bigint[], $15::bytea[], $16::bytea[], $17::bytea[]) AS given(message, body, wrapped, stored)
    WHERE EXISTS (SELECT FROM expected)
), deliveries AS (
    INSERT INTO hub.delivery (id, message, recipient, movement, expires_at, needs)
    SELECT id, message, recipient, movement, expires_at, needs
    FROM unnest($18::uuid[], $19::bigint[], $20::text[], $21::text[], $22::timestamptz[], $23::smallint[])
        AS given(id, message, recipient, movement, expires_at, needs)
    WHERE EXISTS (SELECT FROM expected)
), entries AS (
    INSERT INTO hub.ledger_group (number, event, entries, messages, parties, party_of, digests, facts)
    SELECT number, '{ledger.ACCEPTED}',
        ARRAY(SELECT {ledger.NEXT_ENTRY} FROM generate_series(1, cardinality($4::uuid[]))), $4, $24, $25, $9, $26
    FROM expected
)
SELECT version FROM expected
"""  # noqa: S608 - constants of ledger.py

_KNOWN = """
SELECT m.id, m.position, m.source, m.ce_id, m.type, m.digest, m.envelope ->> 'recipient' AS recipient,
    d.recipients, d.movements, l.ledger_position, m.left_out
FROM unnest($1::text[], $2::text[]) AS given(source, ce_id)
JOIN hub.message m ON m.source = given.source AND m.ce_id = given.ce_id
CROSS JOIN LATERAL (
    SELECT array_agg(recipient ORDER BY id) AS recipients, array_agg(movement ORDER BY id) AS movements
    FROM hub.delivery WHERE message = m.position
) d
LEFT JOIN LATERAL (
    SELECT t.position AS ledger_position
    FROM hub.ledger e JOIN hub.ledger_leaf t ON t.entry = e.entry
    WHERE e.message = m.position AND e.event = 'accepted'
    UNION ALL
    SELECT t.position + array_position(g.messages, m.id) - 1
    FROM hub.ledger_group g JOIN hub.ledger_leaf_group t ON t.ledger_group = g.number
    WHERE g.number = m.ledger_group
) l ON true
"""


async def open_connection(settings: Settings) -> Any:
    """A connection for these statements alone."""
    return await connect(settings, _SESSION)


async def look(connection: Any, submissions: Sequence[Submission]) -> Moment:
    """The moment in which this group is routed."""
    parties = [submission.party for submission in submissions]
    names = [submission.envelope.id for submission in submissions]
    row = await connection.fetchrow(LOOK, parties, names, timeout=COMMAND_SECONDS)
    return Moment(row["version"], row["now"], row["positions"], frozenset(row["known"]))


async def store(
    connection: Any, master_keys: MasterKeys, version: int, now: datetime, routed: Sequence[Routed]
) -> Sequence[Routed]:
    """Write these messages; those of them that were written, for some may name uploads that are not there.

    Raises Stale when the routing version is another by now, or when one of them has been stored meanwhile.
    """
    try:
        if not any(one.is_large for one in routed):
            await _write(connection, master_keys, version, now, routed, {})
            return routed
        async with connection.transaction():
            names = [_upload(one)[0] for one in routed if one.is_large]
            uploads = await bodies.complete_uploads(connection, names)
            there = [one for one in routed if not one.is_large or _upload(one) in uploads]
            if there:
                await _write(connection, master_keys, version, now, there, uploads)
            return there
    # Another hub process stores the same messages at this moment.
    except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError) as error:
        raise Stale from error


async def known(connection: Any, submissions: Sequence[Submission]) -> dict[tuple[str, str], Any]:
    """The stored messages of these keys, by key."""
    sources, ids = zip(*(submission.key for submission in submissions), strict=True)
    rows = await connection.fetch(_KNOWN, list(sources), list(ids), timeout=COMMAND_SECONDS)
    return {(row["source"], row["ce_id"]): row for row in rows}


def new_ids(count: int) -> list[UUID]:
    """Ids for messages or deliveries, rising."""
    return [DatabaseUUID(number) for number in uuid7_bytes(count)]


async def _write(
    connection: Any,
    master_keys: MasterKeys,
    version: int,
    now: datetime,
    routed: Sequence[Routed],
    uploads: dict[tuple[str, str, bytes], int],
) -> None:
    envelopes = [one.submission.envelope for one in routed]
    written = [canonical_envelope(envelope) for envelope in envelopes]
    sources = [envelope.source for envelope in envelopes]
    places = {source: place for place, source in enumerate(dict.fromkeys(sources), 1)}
    sizes = [uploads[_upload(one)] if one.is_large else len(one.submission.body) for one in routed]
    ends = [now + timedelta(days=one.way.route.retention_days) for one in routed]
    stops = [(one, stop) for one in routed for stop in one.way.route.stops]
    master, letters = _letters(master_keys, routed)
    found = await connection.fetchval(
        _STORE,
        version,
        now,
        [one.position for one in routed],
        [one.id for one in routed],
        sources,
        [envelope.id for envelope in envelopes],
        [envelope.type for envelope in envelopes],
        [msgspec.Raw(text) for text in written],
        b"".join([one.submission.digest for one in routed]),
        sizes,
        [one.submission.end_point for one in routed],
        ends,
        _sparse([one.way.route.left_out or None for one in routed]),
        master,
        [body for body, _, _ in letters],
        [wrapped for _, wrapped, _ in letters],
        _sparse([stored for _, _, stored in letters]),
        new_ids(len(stops)),
        [one.position for one, _ in stops],
        [stop.recipient for _, stop in stops],
        [stop.movement for _, stop in stops],
        _sparse([one.submission.envelope.expirytime for one, _ in stops]),
        [stop.needs for _, stop in stops],
        list(places),
        [places[source] for source in sources],
        b"".join(map(_vouched, written, routed, repeat(now), ends, sizes)),
        timeout=COMMAND_SECONDS,
    )
    if found is None:
        raise Stale


def _vouched(envelope: bytes, routed: Routed, now: datetime, retain_until: datetime, size: int) -> bytes:
    """What the ledger's entry says of the message beside its body: the row that is written, in the order of FACTS."""
    said = routed.submission.envelope
    facts = (
        now, said.id, routed.submission.end_point, routed.id, routed.position, retain_until, size, said.source, said.type,
    )  # fmt: skip
    return accepted_digests(envelope, facts)


def _sparse(values: list[Any]) -> list[Any]:
    """The same, or nothing when all are None: `unnest` fills up with NULL, and each element costs something to send."""
    return [] if all(value is None for value in values) else values


def _letters(
    master_keys: MasterKeys, routed: Sequence[Routed]
) -> tuple[str, list[tuple[bytes | None, bytes | None, bytes | None]]]:
    """The master key's name, and of each message the sealed body with its wrapped key, or what it is stored under."""
    master, sealed = master_keys.seal_all(
        [(one.id, one.submission.body) for one in routed if not one.is_large]
    )
    following = iter(sealed)
    return master, [
        (None, None, one.submission.digest) if one.is_large else (*next(following), None) for one in routed
    ]


def _upload(routed: Routed) -> tuple[str, str, bytes]:
    submission = routed.submission
    return submission.envelope.bodyref or "", submission.envelope.source, submission.digest
