"""Storing: the database's part of accepting messages, a group at a time and each step one statement over arrays.

`look` comes before routing: the moment, the routing version, which messages of the group are stored already, and
positions for the others. `store` then writes plain rows, for everything it must not do twice has been ruled out; what
changed between the two steps makes it raise Stale and write nothing, and the group begins again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from asyncpg.pgproto.pgproto import UUID as DatabaseUUID  # noqa: N811 - a UUID that costs a tenth to make and to send

from commonroom.engines.database import connect
from commonroom.exchange import Envelope
from commonroom.hub import bodies, ledger
from commonroom.hub.columns import json_texts, numbers, of_numbers, of_texts, texts
from commonroom.hub.ledger_form import accepted_digests, canonical_envelope
from commonroom.hub.master_keys import KEY_BYTES, OVERHEAD, MasterKeys
from commonroom.hub.routing import Way
from commonroom.ids import uuid7_bytes
from commonroom.settings import Settings

COMMAND_SECONDS = 30.0
WRAPPED_BYTES = KEY_BYTES + OVERHEAD  # the key of a body as the master key wraps it


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
LOOK = f"""
SELECT set_config('synchronous_commit', 'off', true), version, engines.domain_now() AS now,
    ARRAY(SELECT nextval('hub.message_position_seq') FROM generate_series(1, cardinality({of_texts("$1")}))) AS positions,
    ARRAY(
        SELECT place - 1 FROM (
            SELECT place, (
                SELECT m.position FROM hub.message m WHERE m.source = given.party AND m.ce_id = given.ce_id
            ) AS position
            FROM unnest({of_texts("$1")}, {of_texts("$2")}) WITH ORDINALITY AS given(party, ce_id, place)
        ) AS looked WHERE position IS NOT NULL
    ) AS known
FROM hub.routing
"""  # noqa: S608 - columns.py

# Writes nothing when the routing version is not $1 any more. Bodies come as one ($15), each from where `begins` says and
# as long as it is when it is sealed; 0 is a large one, which is stored elsewhere under its digest.
_POSITIONS, _IDS = of_numbers("$3", "bigint"), of_numbers("$4", "uuid")
_WRAPPED = (
    f"substring($16::bytea FROM {WRAPPED_BYTES} * place::integer - {WRAPPED_BYTES - 1} FOR {WRAPPED_BYTES})"
)
_STORE = f"""
WITH expected AS MATERIALIZED (
    SELECT version, nextval('hub.ledger_entry_seq') AS number FROM hub.routing WHERE version = $1
), messages AS (
    INSERT INTO hub.message (
        position, id, source, ce_id, type, envelope, digest, size, end_point, accepted_at, retain_until, left_out,
        ledger_group
    )
    OVERRIDING SYSTEM VALUE
    SELECT position, id, source, ce_id, type, envelope::jsonb, substring($9::bytea FROM 32 * place::integer - 31 FOR 32),
        size, end_point, $2::timestamptz, $2::timestamptz + days * interval '24 hours', left_out, number
    FROM expected, unnest(
        {_POSITIONS}, {_IDS}, {of_texts("$5")}, {of_texts("$6")}, {of_texts("$7")}, {of_texts("$8")},
        {of_numbers("$10", "bigint")}, {of_texts("$11")}, {of_numbers("$12", "integer")}, $13::jsonb[]
    ) WITH ORDINALITY AS given(position, id, source, ce_id, type, envelope, size, end_point, days, left_out, place)
), letters AS (
    INSERT INTO hub.body (message, body, master, wrapped, stored)
    SELECT message, CASE WHEN begins > 0 THEN substring($15::bytea FROM begins FOR size + {OVERHEAD}) END,
        CASE WHEN begins > 0 THEN $14::text END,
        CASE WHEN begins > 0 THEN {_WRAPPED} END,
        CASE WHEN begins = 0 THEN substring($9::bytea FROM 32 * place::integer - 31 FOR 32) END
    FROM expected, unnest({_POSITIONS}, {of_numbers("$17", "integer")}, {of_numbers("$10", "bigint")})
        WITH ORDINALITY AS given(message, begins, bytes, place)
    CROSS JOIN LATERAL (SELECT CASE WHEN begins > 0 THEN bytes::integer END AS size) small
), deliveries AS (
    INSERT INTO hub.delivery (id, message, recipient, movement, expires_at, needs)
    SELECT id, message, recipient, movement, expires_at, needs
    FROM expected, unnest(
        {of_numbers("$18", "uuid")}, {of_numbers("$19", "bigint")}, {of_texts("$20")}, {of_texts("$21")},
        $22::timestamptz[], {of_numbers("$23", "smallint")}
    ) AS given(id, message, recipient, movement, expires_at, needs)
), entries AS (
    INSERT INTO hub.ledger_group (number, event, entries, messages, parties, party_of, digests, facts)
    SELECT number, '{ledger.ACCEPTED}',
        ARRAY(SELECT {ledger.NEXT_ENTRY} FROM generate_series(1, cardinality({_IDS}))), {_IDS},
        {of_texts("$24")}, {of_numbers("$25", "integer")}, $9, $26
    FROM expected
)
SELECT version FROM expected
"""  # noqa: S608 - constants of ledger.py and columns.py

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
    row = await connection.fetchrow(LOOK, texts(parties), texts(names), timeout=COMMAND_SECONDS)
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
    submissions = [one.submission for one in routed]
    envelopes = [submission.envelope for submission in submissions]
    written = [canonical_envelope(envelope) for envelope in envelopes]
    routes = [one.way.route for one in routed]
    sizes = [uploads[_upload(one)] if one.is_large else len(one.submission.body) for one in routed]
    sources = [envelope.source for envelope in envelopes]
    places = {source: place for place, source in enumerate(dict.fromkeys(sources), 1)}
    stops = [(one, stop) for one in routed for stop in one.way.route.stops]
    positions = [one.position for one in routed]
    master, bodies_joined, wrapped, begins = _letters(master_keys, routed)
    found = await connection.fetchval(
        _STORE,
        version,
        now,
        numbers(positions),
        numbers([one.id for one in routed]),
        texts(sources),
        texts([envelope.id for envelope in envelopes]),
        texts([envelope.type for envelope in envelopes]),
        json_texts(written),
        b"".join([submission.digest for submission in submissions]),
        numbers(sizes),
        texts([submission.end_point for submission in submissions]),
        numbers([route.retention_days for route in routes]),
        _sparse([route.left_out or None for route in routes]),
        master,
        bodies_joined,
        wrapped,
        numbers(begins),
        ",".join([number.hex() for number in uuid7_bytes(len(stops))]),
        numbers([one.position for one, _ in stops]),
        texts([stop.recipient for _, stop in stops]),
        texts([stop.movement for _, stop in stops]),
        _sparse([one.submission.envelope.expirytime for one, _ in stops]),
        numbers([stop.needs for _, stop in stops]),
        texts(list(places)),
        numbers([places[source] for source in sources]),
        _vouched(written, routed, now, sizes),
        timeout=COMMAND_SECONDS,
    )
    if found is None:
        raise Stale


def _vouched(
    envelopes: Sequence[bytes], routed: Sequence[Routed], now: datetime, sizes: Sequence[int]
) -> bytes:
    """What the ledger's entries say of messages beside their bodies: the rows that are written, in the order of FACTS."""
    days = {one.way.route.retention_days for one in routed}
    ends = {one: now + timedelta(days=one) for one in days}
    digests = []
    for envelope, one, size in zip(envelopes, routed, sizes, strict=True):
        submission, said = one.submission, one.submission.envelope
        facts = (
            now,
            said.id,
            submission.end_point,
            one.id,
            one.position,
            ends[one.way.route.retention_days],
            size,
            said.source,
            said.type,
        )
        digests.append(accepted_digests(envelope, facts))
    return b"".join(digests)


def _sparse(values: list[Any]) -> list[Any]:
    """The same, or nothing when all are None: `unnest` fills up with NULL, and each element costs something to send."""
    return [] if all(value is None for value in values) else values


def _letters(master_keys: MasterKeys, routed: Sequence[Routed]) -> tuple[str, bytes, bytes, list[int]]:
    """The master key's name, sealed bodies and wrapped keys as one each, and where each body begins; 0: it is large."""
    master, sealed = master_keys.seal_all(
        [(one.id, one.submission.body) for one in routed if not one.is_large]
    )
    following = iter(sealed)
    bodies_of, keys_of, begins, begin = [], [], [], 1
    for one in routed:
        if one.is_large:
            keys_of.append(bytes(WRAPPED_BYTES))
            begins.append(0)
            continue
        body, wrapped = next(following)
        bodies_of.append(body)
        keys_of.append(wrapped)
        begins.append(begin)
        begin += len(body)
    return master, b"".join(bodies_of), b"".join(keys_of), begins


def _upload(routed: Routed) -> tuple[str, str, bytes]:
    submission = routed.submission
    return submission.envelope.bodyref or "", submission.envelope.source, submission.digest
