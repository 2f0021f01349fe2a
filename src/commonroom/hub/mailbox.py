"""The mailbox: what waits for a party, handed out under a lease and settled by whoever holds the lease.

A letter is leased to one end point for a while. Acknowledged or refused, it is finished. Not settled in time, it is
offered again, so recipients must be able to load the same letter twice. Leases run on the real clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commonroom.exchange import Settled
from commonroom.hub import ledger, reports
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.master_keys import SealedBody, sealed_in

# A mailbox answer holds at most so many bytes of bodies, and always at least one letter.
MAX_ANSWER_BYTES = 16 * 1024 * 1024


class LeasedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One letter as it goes out; `envelope` holds CloudEvents attributes by name, the body is opaque."""

    delivery: UUID
    position: int
    accepted_at: datetime
    attempt: int
    sequence: int | None = None  # its number in this mailbox; the hub's own reports have none
    envelope: dict[str, Any]
    body: bytes | None  # None: it is large and stays in the body store
    message: UUID | None = None  # this and what follows: of letters from the mailbox
    size: int = 0
    digest: bytes = b""
    sealed: SealedBody | None = None  # its body before `sealed_letters.open_all`: not to be handed out


# Movements are looked at again here: what is accepted under an agreement is not delivered after its end.
_LEASE = f"""
WITH candidates AS (
    SELECT d.id, d.message, d.sequence
    FROM hub.delivery d
    WHERE d.recipient = $1 AND d.finished_at IS NULL
        AND (d.state = 'offered' OR d.lease_until <= clock_timestamp())
        AND (d.expires_at IS NULL OR d.expires_at > (SELECT engines.domain_now()))
        AND d.movement IN (SELECT id FROM hub.active_movement)
        AND d.needs <= (SELECT hub.level_of($1, $2))
        AND d.movement <> ALL($6::text[])
    ORDER BY d.message
    LIMIT $3
    FOR UPDATE OF d SKIP LOCKED
), sized AS (
    SELECT c.id, c.sequence, m.position, m.envelope, m.accepted_at, m.id AS message_id, m.size, m.digest,
        sum(w.size) OVER (ORDER BY m.position) - w.size AS bytes_before
    FROM candidates c JOIN hub.message m ON m.position = c.message
    CROSS JOIN LATERAL (SELECT CASE WHEN m.envelope ? 'bodyref' THEN 0 ELSE m.size END AS size) w
), fitting AS (
    SELECT id, row_number() OVER (PARTITION BY sequence IS NULL ORDER BY position) AS place,
        count(*) FILTER (WHERE sequence IS NULL) OVER () AS new
    FROM sized WHERE bytes_before < $5
), numbered AS (
    INSERT INTO hub.mailbox AS box (party, last_sequence)
    SELECT $1::text, new FROM fitting WHERE new > 0 LIMIT 1
    ON CONFLICT (party) DO UPDATE SET last_sequence = box.last_sequence + excluded.last_sequence
    RETURNING last_sequence
), leased AS (
    UPDATE hub.delivery d
    SET state = 'leased', lease_holder = $2, attempt = attempt + 1,
        lease_until = clock_timestamp() + make_interval(secs => $4), leased_at = (SELECT engines.domain_now()),
        sequence = coalesce(d.sequence, numbered.last_sequence - fitting.new + fitting.place)
    FROM fitting LEFT JOIN numbered ON true
    WHERE d.id = fitting.id
    RETURNING d.id, d.attempt, d.sequence
), entries AS (
    {ledger.APPEND}
    SELECT '{ledger.LEASED}', position, $1, NULL, NULL FROM leased JOIN sized USING (id) ORDER BY position
)
SELECT l.id, l.attempt, l.sequence, s.position, s.accepted_at, s.envelope, b.body, b.master, b.wrapped,
    s.message_id, s.size, s.digest
FROM leased l JOIN sized s USING (id) JOIN hub.body b ON b.message = s.position
ORDER BY s.position
"""  # noqa: S608 - constants of ledger.py

# The same gates for letters that somebody has chosen before: push.
_LEASE_CHOSEN = _LEASE.replace("WHERE d.recipient = $1", "WHERE d.id = ANY($7::uuid[]) AND d.recipient = $1")

# The rows are locked first, in one order, so that two end points of a party settling the same letters cannot deadlock.
_MINE = """
WITH mine AS (
    SELECT id, message, state, lease_holder
    FROM hub.delivery
    WHERE id = ANY($1::uuid[]) AND recipient = $2
    ORDER BY id
    FOR UPDATE
), held AS (
    SELECT id FROM mine WHERE state = 'leased' AND lease_holder = $3
)
"""

_FINISH = f"""
{_MINE}, done AS (
    UPDATE hub.delivery d
    SET state = $4, reason = $5, finished_at = (SELECT engines.domain_now()), lease_until = NULL
    FROM held WHERE d.id = held.id
    RETURNING d.id, d.message
), entries AS (
    {ledger.APPEND}
    SELECT $4, message, $2, NULL, $5 FROM done ORDER BY message
), {reports.TAKEN}
SELECT id FROM done UNION ALL SELECT id FROM mine WHERE state = $4
UNION ALL SELECT id FROM taken UNION ALL SELECT id FROM taken_before
"""  # noqa: S608 - constants

_EXTEND = f"""
{_MINE}
UPDATE hub.delivery d SET lease_until = clock_timestamp() + make_interval(secs => $4)
FROM held WHERE d.id = held.id
RETURNING d.id
"""  # noqa: S608 - constants

# The holder stays written, so that releasing twice is seen to be the same release.
_RELEASE = f"""
{_MINE}, done AS (
    UPDATE hub.delivery d SET state = 'offered', lease_until = NULL
    FROM held WHERE d.id = held.id
    RETURNING d.id, d.message
), entries AS (
    {ledger.APPEND}
    SELECT '{ledger.RELEASED}', message, $2, NULL, NULL FROM done ORDER BY message
)
SELECT id FROM done UNION ALL SELECT id FROM mine WHERE state = 'offered' AND lease_holder = $3
"""  # noqa: S608 - constants

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
    RETURNING d.message, d.recipient, d.reason
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
    RETURNING d.message, d.recipient
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
    arguments = [party, end_point, limit, float(seconds), MAX_ANSWER_BYTES, list(closed)]
    if chosen is None:
        rows = await connection.fetch(_LEASE, *arguments)
    else:
        rows = await connection.fetch(_LEASE_CHOSEN, *arguments, list(chosen))
    return [
        LeasedLetter(
            delivery=row["id"],
            position=row["position"],
            accepted_at=row["accepted_at"],
            attempt=row["attempt"],
            sequence=row["sequence"],
            envelope=row["envelope"],
            body=None,
            sealed=sealed_in(row),
            message=row["message_id"],
            size=row["size"],
            digest=row["digest"],
        )
        for row in rows
    ]


async def wait_for_mail(
    look: Callable[[], Awaitable[list[LeasedLetter]]],
    doorbell: Doorbell,
    party: str,
    seconds: float,
    gone: asyncio.Future[Any],
) -> list[LeasedLetter]:
    """What `look` finds, as soon as it finds something; nothing when `seconds` have passed or the caller is `gone`.

    `gone` is looked at before every look, so that nothing is leased to a caller that has hung up.
    """
    deadline = time.monotonic() + seconds
    with doorbell.waiter(party) as rung:
        while not gone.done():
            rung.clear()
            if letters := await look():
                return letters
            left = deadline - time.monotonic()
            if left <= 0 or doorbell.closed:
                return []
            await _first_of(rung, gone, min(left, doorbell.look_again_seconds))
    return []


async def _first_of(rung: asyncio.Event, gone: asyncio.Future[Any], seconds: float) -> None:
    ring: asyncio.Future[Any] = asyncio.ensure_future(rung.wait())
    try:
        await asyncio.wait([ring, gone], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ring.cancel()


async def acknowledge(connection: Any, deliveries: Sequence[str], party: str, end_point: str) -> Settled:
    """Loaded and safe. Works for the holder of the lease, also after its end while nobody else has the letter."""
    return await _settle(connection, _FINISH, deliveries, party, end_point, ledger.ACKNOWLEDGED, None)


async def refuse(
    connection: Any, deliveries: Sequence[str], party: str, end_point: str, reason: str
) -> Settled:
    """Cannot be used; the sender sees the reason, which must hold no personal data."""
    return await _settle(
        connection, _FINISH, deliveries, party, end_point, ledger.REFUSED, _printable(reason)
    )


async def extend(
    connection: Any, deliveries: Sequence[str], party: str, end_point: str, seconds: int
) -> Settled:
    """Keep the lease for so many seconds from now."""
    return await _settle(connection, _EXTEND, deliveries, party, end_point, float(seconds))


async def release(connection: Any, deliveries: Sequence[str], party: str, end_point: str) -> Settled:
    """Give the lease back: the letters are offered again at once."""
    return await _settle(connection, _RELEASE, deliveries, party, end_point)


async def undeliverable(connection: Any, deliveries: Sequence[UUID], reasons: Sequence[str]) -> int:
    """Finish deliveries that nobody holds and that cannot reach their recipient, each with its reason; how many."""
    count: int = await connection.fetchval(_UNDELIVERABLE, list(deliveries), list(map(_printable, reasons)))
    return count


async def expire(connection: Any) -> int:
    """Finish deliveries whose expiry time (domain clock) has passed; how many, at most EXPIRY_GROUP a call."""
    count: int = await connection.fetchval(_EXPIRE, EXPIRY_GROUP, EXPIRY_REASON)
    return count


async def _settle(
    connection: Any, statement: str, deliveries: Sequence[str], party: str, end_point: str, *more: Any
) -> Settled:
    named = {text: found for text in dict.fromkeys(deliveries) if (found := _uuid(text)) is not None}
    rows = await connection.fetch(statement, list(named.values()), party, end_point, *more)
    done = {row["id"] for row in rows}
    settled = [text for text, delivery in named.items() if delivery in done]
    return Settled(
        settled=settled, ignored=[text for text in dict.fromkeys(deliveries) if named.get(text) not in done]
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _printable(reason: str) -> str:
    return "".join(character if character.isprintable() else " " for character in reason)
