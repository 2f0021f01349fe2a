"""The mailbox: what waits for a party, handed out under a lease and settled by whoever holds the lease.

A letter is leased to one end point for a while. Acknowledged or refused, it is finished. Not settled in time, it is
offered again, so recipients must be able to load the same letter twice. Leases run on the real clock.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commonroom.exchange import Settled
from commonroom.hub import ledger, reports
from commonroom.hub.master_keys import SealedBody
from commonroom.hub.rounds import COMMAND_SECONDS
from commonroom.hub.settling import Wish, printable, settle, wish

# A mailbox answer holds at most so many bytes of bodies, and always at least one letter.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_ROUND_BYTES = 64 * 1024 * 1024  # of all answers that are collected together


class LeasedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One letter as it goes out; `envelope` is a JSON object of CloudEvents attributes, the body is opaque."""

    delivery: UUID
    position: int
    accepted_at: datetime
    attempt: int
    sequence: int | None = None  # its number in this mailbox; the hub's own reports have none
    envelope: bytes
    body: bytes | None  # None: it is large and stays in the body store
    message: UUID | None = None  # this and what follows: of letters from the mailbox
    size: int = 0
    digest: bytes = b""
    sealed: SealedBody | None = None  # its body before `sealed_letters.open_all`: not to be handed out


class Look(msgspec.Struct, frozen=True):
    """Who wants letters, and how many at most."""

    party: str
    end_point: str
    limit: int


# Movements and assurance are looked at again here: what is accepted under an agreement is not delivered after its end.
# No list that can be long is joined with another one: without statistics the planner takes every list to be short.
# `IS TRUE` keeps the list of active movements a list, read once; as a join it would be looked up for every letter.
_LEASE = f"""
WITH {ledger.OPENED}, asked AS MATERIALIZED (
    SELECT given.*, coalesce(max(e.rank), 0) AS level
    FROM unnest($1::text[], $2::text[], $3::int[]) WITH ORDINALITY AS given(party, end_point, most, place)
    LEFT JOIN hub.valid_evidence e
        ON e.party = given.party AND (e.end_point IS NULL OR e.end_point = given.end_point)
    GROUP BY given.place, given.party, given.end_point, given.most
), candidates AS (
    SELECT a.place, a.party, a.end_point, d.id, d.message, d.sequence
    FROM asked a
    CROSS JOIN LATERAL (
        SELECT d.id, d.message, d.sequence
        FROM hub.delivery d
        WHERE d.recipient = a.party AND d.finished_at IS NULL
            AND (d.state = 'offered' OR d.lease_until <= clock_timestamp())
            AND (d.expires_at IS NULL OR d.expires_at > (SELECT engines.domain_now()))
            AND (d.movement IN (SELECT id FROM hub.active_movement)) IS TRUE
            AND d.needs <= a.level
            AND d.movement <> ALL($6::text[])
        ORDER BY d.message
        LIMIT a.most
        FOR UPDATE OF d SKIP LOCKED
    ) d
), sized AS (
    SELECT c.*, m.envelope, m.accepted_at, m.id AS message_id, m.size, m.digest,
        sum(w.size) OVER in_order - w.size AS bytes_before,
        count(*) FILTER (WHERE c.sequence IS NULL) OVER in_order AS number
    FROM candidates c JOIN hub.message m ON m.position = c.message
    CROSS JOIN LATERAL (SELECT CASE WHEN m.envelope ? 'bodyref' THEN 0 ELSE m.size::int END AS size) w
    WINDOW in_order AS (PARTITION BY c.place ORDER BY c.message ROWS UNBOUNDED PRECEDING)
), fitting AS (
    SELECT * FROM sized WHERE bytes_before < $5
), unnumbered AS (
    SELECT place, party, max(number) AS new FROM fitting WHERE sequence IS NULL GROUP BY place, party
), numbered AS (
    INSERT INTO hub.mailbox AS box (party, last_sequence)
    SELECT party, new FROM unnumbered ORDER BY party
    ON CONFLICT (party) DO UPDATE SET last_sequence = box.last_sequence + excluded.last_sequence
    RETURNING party, last_sequence
), begun AS (
    SELECT array_agg(coalesce(n.last_sequence - u.new, 0) ORDER BY a.place) AS by_place
    FROM asked a LEFT JOIN unnumbered u ON u.place = a.place LEFT JOIN numbered n ON n.party = u.party
), leased AS (
    UPDATE hub.delivery d
    SET state = 'leased', lease_holder = f.end_point, attempt = attempt + 1,
        lease_until = clock_timestamp() + make_interval(secs => $4), leased_at = (SELECT engines.domain_now()),
        sequence = coalesce(d.sequence, (SELECT by_place FROM begun)[f.place] + f.number),
        ledger_groups = d.ledger_groups || {ledger.OPEN_GROUP}
    FROM fitting f
    WHERE d.id = f.id
    RETURNING d.id, d.attempt, d.sequence, f.place, f.party, f.message, f.accepted_at, f.envelope, f.message_id,
        f.size, f.digest
), entries AS (
    {ledger.APPEND_GROUP}
    SELECT {ledger.OPEN_GROUP}, '{ledger.LEASED}', array_agg({ledger.NEXT_ENTRY}), array_agg(message_id), $1,
        array_agg(place::integer), NULL
    FROM leased HAVING count(*) > 0
)
SELECT l.place, l.id, l.attempt, l.sequence, l.message AS position, l.accepted_at, l.envelope::text, b.body, b.master,
    b.wrapped, l.message_id, l.size, l.digest
FROM leased l JOIN hub.body b ON b.message = l.message
"""  # noqa: S608 - constants of ledger.py

# The same gates for letters that somebody has chosen before: push.
_LEASE_CHOSEN = _LEASE.replace(
    "WHERE d.recipient = a.party", "WHERE d.id = ANY($7::uuid[]) AND d.recipient = a.party"
)

# Leased letters count too, since a lease may have ended. LIMIT keeps it a look at one row of each.
_WAITING = """
SELECT given.party
FROM unnest($1::text[]) AS given(party)
CROSS JOIN LATERAL (
    (SELECT FROM hub.delivery d WHERE d.recipient = given.party AND d.finished_at IS NULL LIMIT 1)
    UNION ALL
    (SELECT FROM hub.report r WHERE r.party = given.party LIMIT 1)
) something
"""

_UNDELIVERABLE = f"""
WITH hopeless AS (
    SELECT d.id, given.reason
    FROM hub.delivery d JOIN unnest($1::uuid[], $2::text[]) AS given(id, reason) ON given.id = d.id
    WHERE d.finished_at IS NULL AND (d.state = 'offered' OR d.lease_until <= clock_timestamp())
    ORDER BY d.id
    FOR UPDATE OF d SKIP LOCKED
), done AS (
    UPDATE hub.delivery d
    SET state = 'undeliverable', reason = hopeless.reason, finished_at = engines.domain_now(), lease_until = NULL
    FROM hopeless WHERE d.id = hopeless.id
    RETURNING d.id, d.message, d.recipient, d.reason, d.finished_at, d.replays
), reports AS (
    {reports.MAKE}
), entries AS (
    {ledger.APPEND}
    SELECT '{ledger.UNDELIVERABLE}', message, recipient, NULL, reason FROM done ORDER BY message
)
SELECT count(*) FROM done
"""  # noqa: S608 - constants of ledger.py

_EXPIRE = f"""
WITH late AS (
    SELECT id FROM hub.delivery
    WHERE finished_at IS NULL AND expires_at <= (SELECT engines.domain_now())
        AND (state = 'offered' OR lease_until <= clock_timestamp())
    LIMIT $1
    FOR UPDATE SKIP LOCKED
), done AS (
    UPDATE hub.delivery d
    SET state = 'expired', reason = $2, finished_at = engines.domain_now(), lease_until = NULL
    FROM late WHERE d.id = late.id
    RETURNING d.id, d.message, d.recipient, d.finished_at, d.replays
), reports AS (
    {reports.MAKE}
), entries AS (
    {ledger.APPEND}
    SELECT '{ledger.EXPIRED}', message, recipient, NULL, $2 FROM done ORDER BY message
)
SELECT count(*) FROM done
"""  # noqa: S608 - constants

EXPIRY_GROUP = 1_000
EXPIRY_REASON = "The expiry time passed before the recipient settled the message."


async def lease(
    connection: Any,
    party: str,
    end_point: str,
    limit: int,
    seconds: float,
    *,
    closed: Sequence[str] = (),
    chosen: Sequence[UUID] | None = None,
) -> list[LeasedLetter]:
    """Up to `limit` letters for this end point of the party, oldest first, leased for so many seconds.

    Only what the end point is assured for today; their bodies are still sealed.
    Not of the `closed` movements, whose delivery window is shut; only of the `chosen` deliveries when they are given.
    """
    [letters] = await lease_all(
        connection, [Look(party, end_point, limit)], seconds, closed=closed, chosen=chosen
    )
    return letters


async def lease_all(
    connection: Any,
    looks: Sequence[Look],
    seconds: float,
    *,
    closed: Sequence[str] = (),
    chosen: Sequence[UUID] | None = None,
) -> list[list[LeasedLetter]]:
    """`lease` for many in one statement, no party twice; the letters of each, in the order of `looks`."""
    arguments: list[Any] = [
        [look.party for look in looks],
        [look.end_point for look in looks],
        [look.limit for look in looks],
        float(seconds),
        max(1, min(MAX_ANSWER_BYTES, MAX_ROUND_BYTES // len(looks))),
        list(closed),
    ]
    statement = _LEASE
    if chosen is not None:
        statement = _LEASE_CHOSEN
        arguments.append(list(chosen))
    found: list[list[LeasedLetter]] = [[] for _ in looks]
    for row in await connection.fetch(statement, *arguments, timeout=COMMAND_SECONDS):
        found[row[0] - 1].append(_leased(row))
    for letters in found:
        letters.sort(key=_position)  # which they nearly always are
    return found


async def waiting(connection: Any, parties: Sequence[str]) -> set[str]:
    """Which of these parties may have something to collect: a quick look that says yes too often and never no."""
    rows = await connection.fetch(_WAITING, list(parties), timeout=COMMAND_SECONDS)
    return {row["party"] for row in rows}


_position = operator.attrgetter("position")


def _leased(row: Any) -> LeasedLetter:
    # By their order in the statement: looking names up took as long as making the letter.
    (
        _,
        delivery,
        attempt,
        sequence,
        position,
        accepted_at,
        envelope,
        body,
        master,
        wrapped,
        message,
        size,
        digest,
    ) = row
    return LeasedLetter(
        delivery=delivery,
        position=position,
        accepted_at=accepted_at,
        attempt=attempt,
        sequence=sequence,
        envelope=envelope.encode("utf-8"),
        body=None,
        sealed=None if body is None else SealedBody(body, master, wrapped),
        message=message,
        size=size,
        digest=digest,
    )


async def acknowledge(connection: Any, deliveries: Sequence[str], party: str, end_point: str) -> Settled:
    """Loaded and safe. Works for the holder of the lease, also after its end while nobody else has the letter."""
    return await _settle(connection, wish("finish", deliveries, party, end_point, state=ledger.ACKNOWLEDGED))


async def refuse(
    connection: Any, deliveries: Sequence[str], party: str, end_point: str, reason: str
) -> Settled:
    """Cannot be used; the sender sees the reason, which must hold no personal data."""
    refused = wish("finish", deliveries, party, end_point, state=ledger.REFUSED, reason=reason)
    return await _settle(connection, refused)


async def extend(
    connection: Any, deliveries: Sequence[str], party: str, end_point: str, seconds: int
) -> Settled:
    """Keep the lease for so many seconds from now."""
    return await _settle(connection, wish("extend", deliveries, party, end_point, seconds=float(seconds)))


async def release(connection: Any, deliveries: Sequence[str], party: str, end_point: str) -> Settled:
    """Give the lease back: the letters are offered again at once."""
    return await _settle(connection, wish("release", deliveries, party, end_point))


async def undeliverable(connection: Any, deliveries: Sequence[UUID], reasons: Sequence[str]) -> int:
    """Finish deliveries that nobody holds and that cannot reach their recipient, each with its reason; how many."""
    count: int = await connection.fetchval(_UNDELIVERABLE, list(deliveries), list(map(printable, reasons)))
    return count


async def expire(connection: Any) -> int:
    """Finish deliveries whose expiry time (domain clock) has passed; how many, at most EXPIRY_GROUP a call."""
    count: int = await connection.fetchval(_EXPIRE, EXPIRY_GROUP, EXPIRY_REASON)
    return count


async def _settle(connection: Any, one: Wish) -> Settled:
    [settled] = await settle(connection, [one])
    return settled
