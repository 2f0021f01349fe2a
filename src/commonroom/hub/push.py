"""Push: letters brought to those who subscribed, by whichever hub process gets hold of them first.

A letter is leased to its subscription's end point while it is on the way, so it is nobody else's, and a process that is
killed loses nothing: the lease ends and the letter is due again. What happened is written down after each try. All times
in hub.subscription and hub.push come from the `clock` given to the pusher; leases run on the database's real clock.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import msgspec

from commonroom import log
from commonroom.exchange import Envelope
from commonroom.hub import mailbox, push_plan, sealed_letters
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.faults import DATABASE_AWAY, log_fault
from commonroom.hub.mailbox import LeasedLetter
from commonroom.hub.master_keys import MasterKeys
from commonroom.hub.metrics import Metrics
from commonroom.hub.push_keys import load_push_keys
from commonroom.hub.push_plan import Verdict
from commonroom.hub.subscriptions import origin
from commonroom.hub.targets import Caller, networks, open_caller
from commonroom.hub.windows import Windows
from commonroom.problems import Problem
from commonroom.settings import Settings

LOOK_SECONDS = 1.0  # for letters due again and windows that open; new mail rings
SWEEP_SECONDS = 10.0
MAX_IN_FLIGHT = 64  # of one process
MARGIN_SECONDS = 15.0  # from the end of a request to the end of its lease
CANDIDATES = 500  # more than are pushed at once: some may not be handed out at the moment

_logger = log.get("hub")

# Locked, so that no two processes count the same room; in a statement of its own, so that the count sees what whoever had
# the lock before has written. An open breaker is a `ready_at` to come.
_READY = """
SELECT s.id FROM hub.subscription s
WHERE s.state = 'active' AND s.ready_at <= $1 AND ($2::text[] IS NULL OR s.party = ANY($2))
    AND s.id <> ALL($3::uuid[])
    AND NOT EXISTS (
        SELECT FROM identity.end_point e WHERE e.id = s.end_point::uuid AND e.revoked_at IS NOT NULL
    )
FOR UPDATE SKIP LOCKED
"""

_SUBSCRIBED = "SELECT DISTINCT party FROM hub.subscription WHERE state = 'active'"

# Of these the ones with room for pushes, each with the oldest of its letters that are due; after failures in a row one
# letter goes as a probe. Large letters stay in the mailbox: their bodies are fetched, not brought.
_DUE = f"""
WITH ready AS (
    SELECT * FROM hub.subscription WHERE id = ANY($2::uuid[])
), roomy AS (
    SELECT r.*, least(
        CASE WHEN r.failures >= {push_plan.BREAKER_FAILURES} THEN 1 ELSE $3::int END - (
            SELECT count(*) FROM hub.push p WHERE p.subscription = r.id AND p.in_flight_until > $1
        ),
        CASE WHEN r.rate_per_minute IS NULL THEN $3 ELSE greatest(1, r.rate_per_minute / 60) END
    )::int AS room
    FROM ready r
)
SELECT r.id, r.party, r.end_point, r.url, r.acknowledge, r.sign_v1, r.rate_per_minute, r.room, due.deliveries
FROM roomy r
CROSS JOIN LATERAL (
    SELECT array_agg(letter.id ORDER BY letter.message) AS deliveries
    FROM (
        SELECT d.id, d.message
        FROM hub.delivery d LEFT JOIN hub.push p ON p.delivery = d.id
        WHERE d.recipient = r.party AND d.finished_at IS NULL
            AND (d.state = 'offered' OR d.lease_until <= clock_timestamp())
            AND d.movement IN (SELECT id FROM hub.active_movement)
            AND d.needs <= (SELECT hub.level_of(r.party, r.end_point))
            AND d.movement <> ALL($4::text[])
            AND (r.movements IS NULL OR d.movement = ANY(r.movements))
            AND NOT EXISTS (SELECT FROM hub.message m WHERE m.position = d.message AND m.envelope ? 'bodyref')
            AND (p.delivery IS NULL OR (p.next_at <= $1 AND p.tries < {len(push_plan.DELAYS)}))
        ORDER BY d.message
        LIMIT {CANDIDATES}
    ) letter
) due
WHERE r.room > 0 AND due.deliveries IS NOT NULL
ORDER BY random()
LIMIT $5
"""  # noqa: S608 - numbers of this module

_BEGIN = """
INSERT INTO hub.push (delivery, subscription, tries, next_at, give_up_at, in_flight_until)
SELECT delivery, $2, 1, $3, $4, $3 FROM unnest($1::uuid[]) AS delivery
ON CONFLICT (delivery) DO UPDATE SET
    subscription = excluded.subscription, tries = push.tries + 1, next_at = excluded.next_at,
    in_flight_until = excluded.in_flight_until
RETURNING delivery, tries
"""

_PACE = "UPDATE hub.subscription SET ready_at = greatest(ready_at, $2) WHERE id = $1"

_TAKEN = "DELETE FROM hub.push WHERE delivery = $1"

# Taken, and to be acknowledged: if it is not, it is due again when the schedule says so.
_HANDED_OVER = """
UPDATE hub.push SET next_at = $2, in_flight_until = NULL, reason = 'The letter was taken and never acknowledged.'
WHERE delivery = $1
"""

_WORKS = "UPDATE hub.subscription SET failures = 0 WHERE id = $1 AND failures > 0"

_TRY_AGAIN = "UPDATE hub.push SET next_at = $2, in_flight_until = NULL, reason = $3 WHERE delivery = $1"

_FAILS = "UPDATE hub.subscription SET failures = failures + 1 WHERE id = $1 RETURNING failures"

# A busy target costs the letter no try.
_NOT_NOW = """
UPDATE hub.push SET next_at = $2, in_flight_until = NULL, tries = tries - 1, reason = $3 WHERE delivery = $1
"""

_STOP = "UPDATE hub.subscription SET state = 'stopped', reason = $2 WHERE id = $1"

_FORGET = "DELETE FROM hub.push WHERE subscription = $1"

_HOPELESS = f"""
SELECT delivery, coalesce(reason, 'The hub was stopped while it pushed the letter.') AS reason FROM hub.push
WHERE ((tries >= {len(push_plan.DELAYS)} AND next_at <= $1) OR give_up_at <= $1)
    AND (in_flight_until IS NULL OR in_flight_until <= $1)
ORDER BY delivery
LIMIT 1000
"""  # noqa: S608 - a number

_SWEEP = """
DELETE FROM hub.push p USING hub.delivery d WHERE d.id = p.delivery AND d.finished_at IS NOT NULL
"""


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """One letter on its way to a target."""

    subscription: UUID
    party: str
    end_point: str
    url: str
    acknowledge: str
    sign_v1: bool
    tries: int  # this one included
    letter: LeasedLetter


def real_now() -> datetime:
    """The real clock, in UTC."""
    return datetime.now(UTC)


class Pusher:
    """One per hub process. `run` pushes until it is cancelled."""

    def __init__(
        self,
        settings: Settings,
        pool: Any,
        doorbell: Doorbell,
        windows: Windows,
        metrics: Metrics,
        *,
        clock: Callable[[], datetime] = real_now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._doorbell = doorbell
        self._windows = windows
        self._metrics = metrics
        self._clock = clock
        self._chance = chance
        self._master_keys = MasterKeys(settings)
        self._rung: set[str] = set()
        self._subscribed: frozenset[str] = frozenset()  # parties, as of the last look at everybody
        self._wake = asyncio.Event()
        self._on_the_way: set[asyncio.Task[None]] = set()
        doorbell.overheard_by(self._ring)

    async def run(self) -> None:
        """Push what is due, at every ring and every LOOK_SECONDS."""
        looked = swept = -SWEEP_SECONDS
        try:
            async with open_caller(networks(self._settings.push_allow_networks)) as caller:
                while True:
                    self._wake.clear()
                    rung, self._rung = self._rung, set()
                    now = time.monotonic()
                    if everybody := now - looked >= LOOK_SECONDS:
                        looked = now
                        self._subscribed = await self._subscribers()
                    await self._start(caller, None if everybody else sorted(rung))
                    if now - swept >= SWEEP_SECONDS:
                        swept = now
                        await self.sweep()
                    await self._sleep(looked + LOOK_SECONDS - time.monotonic())
        finally:
            for task in self._on_the_way:
                task.cancel()
            await asyncio.gather(*self._on_the_way, return_exceptions=True)

    async def push_due(self, caller: Caller) -> int:
        """Push what is due now, once, and wait until every try has ended; how many there were."""
        pushes = await self._claim(None)
        await asyncio.gather(*(self._bring(caller, push) for push in pushes))
        return len(pushes)

    async def sweep(self) -> None:
        """End the letters whose schedule has ended, and forget what is finished."""
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(_HOPELESS, self._clock())
            if rows:
                reasons = [f"Pushed in vain. {row['reason']}" for row in rows]
                await mailbox.undeliverable(connection, [row["delivery"] for row in rows], reasons)
            await connection.execute(_SWEEP)

    def _ring(self, party: str) -> None:
        if party in self._subscribed:
            self._rung.add(party)
            self._wake.set()

    async def _subscribers(self) -> frozenset[str]:
        """Who may have something to be pushed; most parties never do, and their mail rings all the time."""
        return frozenset(row["party"] for row in await self._pool.fetch(_SUBSCRIBED))

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0.01)):
                await self._wake.wait()
        except TimeoutError:
            pass  # time to look at everybody

    async def _start(self, caller: Caller, parties: Sequence[str] | None) -> None:
        if len(self._on_the_way) >= MAX_IN_FLIGHT or (parties is not None and not parties):
            return
        for push in await self._claim(parties):
            task = asyncio.create_task(self._bring(caller, push))
            self._on_the_way.add(task)
            task.add_done_callback(self._on_the_way.discard)

    async def _claim(self, parties: Sequence[str] | None) -> list[Push]:
        """Lease what may be pushed now and write down that it is on its way, in one transaction."""
        now = self._clock()
        concurrency = self._settings.push_concurrency
        async with self._pool.acquire() as connection, connection.transaction():
            ready = await connection.fetch(_READY, now, parties, self._windows.closed_subscriptions)
            if not ready:
                return []
            due = await connection.fetch(
                _DUE,
                now,
                [row["id"] for row in ready],
                concurrency,
                self._windows.closed,
                max(1, (MAX_IN_FLIGHT - len(self._on_the_way)) // concurrency),
            )
            return [push for row in due for push in await self._begin(connection, row, now)]

    async def _begin(self, connection: Any, row: Any, now: datetime) -> list[Push]:
        seconds = self._settings.push_seconds + MARGIN_SECONDS
        letters = await mailbox.lease(
            connection,
            row["party"],
            row["end_point"],
            row["room"],
            seconds,
            closed=self._windows.closed,
            chosen=row["deliveries"],
        )
        letters = await sealed_letters.open_all(
            connection, self._master_keys, letters, row["party"], row["end_point"]
        )
        if not letters:
            return []
        until = now + timedelta(seconds=seconds)
        give_up_at = now + timedelta(seconds=push_plan.GIVE_UP_SECONDS)
        deliveries = [letter.delivery for letter in letters]
        begun = await connection.fetch(_BEGIN, deliveries, row["id"], until, give_up_at)
        if rate := row["rate_per_minute"]:
            await connection.execute(_PACE, row["id"], now + timedelta(seconds=60 * len(letters) / rate))
        tries = {begin["delivery"]: begin["tries"] for begin in begun}
        return [
            Push(
                subscription=row["id"],
                party=row["party"],
                end_point=row["end_point"],
                url=row["url"],
                acknowledge=row["acknowledge"],
                sign_v1=row["sign_v1"],
                tries=tries[letter.delivery],
                letter=letter,
            )
            for letter in letters
        ]

    async def _bring(self, caller: Caller, push: Push) -> None:
        """One try, and what came of it. When that cannot be written down the lease ends and the letter comes again."""
        try:
            verdict = await self._try(caller, push)
            self._metrics.pushed.labels(verdict.kind).inc()
            async with self._pool.acquire() as connection, connection.transaction():
                await self._settle(connection, push, verdict)
        except DATABASE_AWAY as error:
            _logger.warning("the database is away", part="push", error=type(error).__name__)
        except Exception as error:
            log_fault("push failed", error)
        else:
            # There is room again here; what was given back is for those who pull as well.
            self._doorbell.ring([push.party])

    async def _try(self, caller: Caller, push: Push) -> Verdict:
        try:
            answer = await caller.call(
                "POST", push.url, self._headers(push), push.letter.body or b"", self._settings.push_seconds
            )
        except Problem as problem:  # the operator has listed less since
            return Verdict("failed", problem.detail)
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            return Verdict("failed", f"The target could not be reached ({type(error).__name__}).")
        return push_plan.judge(answer, self._clock())

    def _headers(self, push: Push) -> dict[str, str]:
        now = self._clock()
        letter = push.letter
        v1_for = str(push.subscription) if push.sign_v1 else None
        return {
            **msgspec.json.decode(letter.envelope, type=Envelope).to_headers(),
            **load_push_keys(self._settings, now).headers(
                str(letter.delivery), letter.body or b"", now, v1_for
            ),
            "WebHook-Request-Origin": origin(self._settings),
            "commonroom-position": str(letter.position),
            "commonroom-accepted-at": letter.accepted_at.isoformat(),
            "commonroom-attempt": str(letter.attempt),
        }

    async def _settle(self, connection: Any, push: Push, verdict: Verdict) -> None:
        delivery = push.letter.delivery
        if verdict.kind == "taken":
            await self._taken(connection, push)
            return
        await mailbox.release(connection, [str(delivery)], push.party, push.end_point)
        if verdict.kind == "gone":
            await connection.execute(_STOP, push.subscription, verdict.reason)
            await connection.execute(_FORGET, push.subscription)
            _logger.warning("push stopped by its target", subscription=str(push.subscription))
        elif verdict.kind == "busy":
            until = self._clock() + timedelta(seconds=verdict.wait)
            await connection.execute(_NOT_NOW, delivery, until, verdict.reason)
            await connection.execute(_PACE, push.subscription, until)
        else:
            await self._failed(connection, push, verdict)

    async def _taken(self, connection: Any, push: Push) -> None:
        delivery = push.letter.delivery
        if push.acknowledge == "on_2xx":
            await mailbox.acknowledge(connection, [str(delivery)], push.party, push.end_point)
            await connection.execute(_TAKEN, delivery)
        else:
            seconds = self._settings.lease_seconds
            await mailbox.extend(connection, [str(delivery)], push.party, push.end_point, seconds)
            delay = push_plan.delay_after(push.tries, self._chance()) or 0.0
            due = self._clock() + timedelta(seconds=max(delay, seconds))
            await connection.execute(_HANDED_OVER, delivery, due)
        await connection.execute(_WORKS, push.subscription)

    async def _failed(self, connection: Any, push: Push, verdict: Verdict) -> None:
        now = self._clock()
        delay = push_plan.delay_after(push.tries, self._chance()) or 0.0
        await connection.execute(
            _TRY_AGAIN, push.letter.delivery, now + timedelta(seconds=delay), verdict.reason
        )
        failures = await connection.fetchval(_FAILS, push.subscription)
        if failures is not None and (pause := push_plan.breaker_pause(failures)):
            await connection.execute(_PACE, push.subscription, now + timedelta(seconds=pause))
            _logger.warning(
                "push pauses", subscription=str(push.subscription), failures=failures, seconds=pause
            )
