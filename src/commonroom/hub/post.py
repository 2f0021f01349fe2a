"""The post: takes messages in, for good, in groups.

One writer task commits whatever arrived while its last commit ran, as one statement over arrays; there is no timer.
A message is answered only after the database has it on disk. Sending again is always safe: (source, id) is unique, a
repeat gets the first receipt, and another message under the same id is a conflict. Bodies are opaque bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from commonroom import log
from commonroom.engines.confirmation import Confirmation
from commonroom.engines.database import connect
from commonroom.exchange import Envelope, Receipt
from commonroom.exchange.contract import LeftOut
from commonroom.hub import bodies, ledger
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.fair_queue import FairQueue
from commonroom.hub.faults import log_fault
from commonroom.hub.master_keys import OVERHEAD, MasterKeys
from commonroom.hub.metrics import Metrics
from commonroom.hub.routing import Route, Routing, assure, join_movements, load_routing, route
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.settings import Settings

ENGLAND = ZoneInfo("Europe/London")
MAX_GROUP_MESSAGES = 2_000
MAX_GROUP_BYTES = 32 * 1024 * 1024
MAX_WAITING_BYTES = (
    128 * 1024 * 1024
)  # bodies of messages not yet on disk; above it senders are told to come back
MAX_STALE_TRIES = 5
COMMAND_SECONDS = 30.0
RETRY_AFTER_SECONDS = 2

_logger = log.get("hub")


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One message as it came in."""

    envelope: Envelope
    body: bytes
    digest: bytes  # SHA-256 of the body
    party: str  # urn of the party that signed in
    end_point: str


Outcome = Receipt | Problem


class _Parcel(msgspec.Struct, frozen=True):
    """Submissions that came together and are answered together."""

    submissions: Sequence[Submission]
    size: int  # bytes of all bodies
    answer: asyncio.Future[list[Outcome]]

    @property
    def end_point(self) -> str:
        """Who sent it."""
        return self.submissions[0].end_point

    @property
    def count(self) -> int:
        """How many messages."""
        return len(self.submissions)


class _Routed(msgspec.Struct, frozen=True):
    """A submission with its way."""

    index: int  # in the group
    id: UUID  # the hub's name for the message
    submission: Submission
    route: Route


class _StaleRouting(Exception):
    """The directory or a movement changed between routing and storing."""


_ROUTING_VERSION = "SELECT version FROM hub.routing"

_MOMENT = "SELECT version, engines.domain_now() AS now FROM hub.routing"

# Stores nothing when the routing version is not $1 any more. A duplicate is skipped and fails nobody else.
_STORE = f"""
WITH expected AS MATERIALIZED (
    SELECT version FROM hub.routing WHERE version = $1
), incoming AS MATERIALIZED (
    SELECT * FROM unnest(
        $3::uuid[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::bytea[], $9::bytea[], $10::text[], $11::int[],
        $17::uuid[], $19::text[], $20::bytea[], $21::jsonb[]
    ) AS given(
        id, source, ce_id, type, envelope, digest, body, end_point, retention_days, upload, master, wrapped, left_out
    )
), uploads AS MATERIALIZED (
    {bodies.COMPLETE_UPLOADS}
), stored AS (
    INSERT INTO hub.message (
        id, source, ce_id, type, envelope, digest, size, end_point, accepted_at, retain_until, left_out
    )
    SELECT i.id, i.source, i.ce_id, i.type, i.envelope, i.digest, coalesce(u.size, length(i.body) - {OVERHEAD}),
        i.end_point, $2::timestamptz, $2::timestamptz + make_interval(days => i.retention_days), i.left_out
    FROM expected CROSS JOIN incoming i
    LEFT JOIN uploads u ON (u.id, u.party, u.digest) = (i.upload, i.source, i.digest)
    WHERE i.upload IS NULL OR u.id IS NOT NULL
    ORDER BY i.id
    ON CONFLICT (source, ce_id) DO NOTHING
    RETURNING position, id, source, digest
), letters AS (
    INSERT INTO hub.body (message, body, master, wrapped, stored)
    SELECT s.position, CASE WHEN i.upload IS NULL THEN i.body END, i.master, i.wrapped,
        CASE WHEN i.upload IS NOT NULL THEN i.digest END
    FROM stored s JOIN incoming i ON i.id = s.id
), deliveries AS (
    INSERT INTO hub.delivery (id, message, recipient, movement, expires_at, needs)
    SELECT given.id, s.position, given.recipient, given.movement, given.expires_at, given.needs
    FROM unnest($12::uuid[], $13::uuid[], $14::text[], $15::text[], $16::timestamptz[], $18::smallint[])
        AS given(id, message, recipient, movement, expires_at, needs)
    JOIN stored s ON s.id = given.message
), entries AS (
    {ledger.APPEND}
    SELECT '{ledger.ACCEPTED}', position, source, digest, NULL FROM stored ORDER BY position
)
SELECT e.version, s.id, s.position
FROM (SELECT) AS always LEFT JOIN expected e ON true LEFT JOIN stored s ON true
"""  # noqa: S608 - constants of ledger.py, a number

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
) l ON true
"""


class Post:
    """One per hub process; `run` is its writer task. Submissions of many senders share commits."""

    def __init__(self, settings: Settings, doorbell: Doorbell, metrics: Metrics) -> None:
        self._settings = settings
        self._doorbell = doorbell
        self._metrics = metrics
        self._master_keys = MasterKeys(settings)
        self._parcels: FairQueue[_Parcel] = FairQueue()
        self._arrived = asyncio.Event()
        self._connection: Any = None
        self._confirmation = Confirmation()
        self._routing: Routing | None = None
        self._away = False  # so that the log says once that the database is away, and once that it is back

    async def submit(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Receipts or refusals, in order, once all that was accepted is on disk.

        A Problem CR-048 (503) among them means: not stored, or not known to be; send it again.
        """
        size = sum(len(submission.body) for submission in submissions)
        if not self._parcels.has_room(submissions[0].end_point, size, MAX_WAITING_BYTES):
            return [_unavailable("More has arrived than could be written yet.") for _ in submissions]
        parcel = _Parcel(submissions, size, asyncio.get_running_loop().create_future())
        self._parcels.put(parcel)
        self._arrived.set()
        return await parcel.answer

    async def routing(self, connection: Any) -> Routing:
        """The routing table as it is now: the writer's copy, renewed when it is old."""
        version = await connection.fetchval(_ROUTING_VERSION)
        if self._routing is None or self._routing.version != version:
            self._routing = await load_routing(connection)
        return self._routing

    async def run(self) -> None:
        """Write groups until cancelled."""
        try:
            while True:
                await self._arrived.wait()
                if group := self._parcels.take(MAX_GROUP_MESSAGES, MAX_GROUP_BYTES):
                    await self._write(group)
                else:
                    self._arrived.clear()
        finally:
            self._drop_connection()
            for parcel in self._parcels.drain():
                parcel.answer.cancel()

    async def _write(self, group: list[_Parcel]) -> None:
        submissions = [submission for parcel in group for submission in parcel.submissions]
        with self._metrics.group(len(submissions)):
            outcomes = iter(await self._outcomes(submissions))
        for parcel in group:
            answer = [next(outcomes) for _ in parcel.submissions]
            self._parcels.done(parcel)
            if not parcel.answer.done():  # done: the sender has gone
                parcel.answer.set_result(answer)

    async def _outcomes(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Store a group. When the database refuses a row of it, halve it until that row stands alone."""
        try:
            outcomes = await self._store(submissions)
        except Exception as error:
            if not _is_fault_of_a_row(error):
                self._lost_database(error)
                return [_unavailable("The database did not confirm the message.") for _ in submissions]
            if len(submissions) == 1:
                _logger.error("message not storable", error=type(error).__name__)
                return [_unstorable()]
            middle = len(submissions) // 2
            return [*await self._outcomes(submissions[:middle]), *await self._outcomes(submissions[middle:])]
        self._metrics.count(outcomes)
        if self._away:
            _logger.warning("the database is back", part="post")
            self._away = False
        return outcomes

    def _lost_database(self, error: Exception) -> None:
        self._drop_connection()
        if not self._away:
            log_fault("messages cannot be stored", error)
            self._away = True

    async def _store(self, submissions: Sequence[Submission]) -> list[Outcome]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._settings)
            await self._confirmation.listen(self._connection)
        for _ in range(MAX_STALE_TRIES):
            moment = await self._connection.fetchrow(_MOMENT, timeout=COMMAND_SECONDS)
            if self._routing is None or self._routing.version != moment["version"]:
                self._routing = await load_routing(self._connection)
            try:
                outcomes = await self._store_routed(self._routing, moment["now"], submissions)
                self._confirmation.check()
                return outcomes
            except _StaleRouting:
                continue
        return [_unavailable("The directory changes too fast at the moment.") for _ in submissions]

    async def _store_routed(
        self, routing: Routing, now: datetime, submissions: Sequence[Submission]
    ) -> list[Outcome]:
        routed, outcomes = _route_all(routing, now, submissions)
        if routed:
            positions = await self._insert(routing.version, now, routed)
            self._doorbell.ring(s.recipient for r in routed if r.id in positions for s in r.route.stops)
            outcomes |= {r.index: _receipt(r, positions[r.id]) for r in routed if r.id in positions}
        # What was not stored is either refused or known from an earlier send, and then its first receipt stands,
        # also when its movement has ended since.
        left = [index for index in range(len(submissions)) if not isinstance(outcomes.get(index), Receipt)]
        if left:
            known = await self._known([submissions[index] for index in left])
            for index in left:
                if earlier := known.get(_key(submissions[index])):
                    outcomes[index] = _repeat(submissions[index], earlier)
        return [
            outcomes.get(index) or _not_stored(submission) for index, submission in enumerate(submissions)
        ]

    async def _insert(self, version: int, now: datetime, routed: list[_Routed]) -> dict[UUID, int]:
        """Positions of the messages that are new, by hub id. Raises _StaleRouting."""
        stops = [
            (uuid7(), r.id, stop, r.submission.envelope.expirytime) for r in routed for stop in r.route.stops
        ]
        sealed = [
            self._master_keys.seal(r.id, r.submission.body) if r.submission.envelope.bodyref is None else None
            for r in routed
        ]
        rows = await self._connection.fetch(
            _STORE,
            version,
            now,
            [r.id for r in routed],
            [r.submission.envelope.source for r in routed],
            [r.submission.envelope.id for r in routed],
            [r.submission.envelope.type for r in routed],
            [msgspec.to_builtins(r.submission.envelope) for r in routed],
            [r.submission.digest for r in routed],
            [one.body if one else None for one in sealed],
            [r.submission.end_point for r in routed],
            [r.route.retention_days for r in routed],
            [delivery for delivery, _, _, _ in stops],
            [message for _, message, _, _ in stops],
            [stop.recipient for _, _, stop, _ in stops],
            [stop.movement for _, _, stop, _ in stops],
            [expires for _, _, _, expires in stops],
            [r.submission.envelope.bodyref for r in routed],
            [stop.needs for _, _, stop, _ in stops],
            [one.master if one else None for one in sealed],
            [one.wrapped if one else None for one in sealed],
            [msgspec.to_builtins(r.route.left_out) or None for r in routed],
            timeout=COMMAND_SECONDS,
        )
        if rows[0]["version"] is None:
            raise _StaleRouting
        return {row["id"]: row["position"] for row in rows if row["id"] is not None}

    async def _known(self, submissions: list[Submission]) -> dict[tuple[str, str], Any]:
        sources, ids = zip(*(_key(submission) for submission in submissions), strict=True)
        rows = await self._connection.fetch(_KNOWN, list(sources), list(ids), timeout=COMMAND_SECONDS)
        if rows:  # what is there may be there only: its first receipt was perhaps never given
            await self._confirmation.ask(COMMAND_SECONDS)
        return {(row["source"], row["ce_id"]): row for row in rows}

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _route_all(
    routing: Routing, now: datetime, submissions: Sequence[Submission]
) -> tuple[list[_Routed], dict[int, Outcome]]:
    routed: list[_Routed] = []
    refused: dict[int, Outcome] = {}
    day = now.astimezone(ENGLAND).date()
    for index, submission in enumerate(submissions):
        try:
            way = _way(routing, now, day, submission)
        except Problem as problem:
            refused[index] = problem
        else:
            routed.append(_Routed(index, uuid7(), submission, way))
    return routed, refused


def _way(routing: Routing, now: datetime, day: date, submission: Submission) -> Route:
    expires = submission.envelope.expirytime
    if expires is not None and expires <= now:
        raise Problem(
            "CR-049",
            f"The message's expiry time {expires.isoformat()} has passed; it is {now.isoformat()}.",
            status=422,
            where="ce-expirytime",
            remedy="Send it with a later expiry time, or not at all.",
        )
    way = route(routing, submission.envelope, submission.party, day)
    return assure(routing, way, submission.party, submission.end_point, day)


def _key(submission: Submission) -> tuple[str, str]:
    # The party, not the envelope's source: a stranger's source must not reveal what its owner has sent.
    return submission.party, submission.envelope.id


def _receipt(routed: _Routed, position: int) -> Receipt:
    stops = routed.route.stops
    return Receipt(
        message=str(routed.id),
        id=routed.submission.envelope.id,
        position=position,
        recipients=[stop.recipient for stop in stops],
        movement=join_movements(stop.movement for stop in stops),
        left_out=list(routed.route.left_out),
    )


def _repeat(submission: Submission, earlier: Any) -> Outcome:
    envelope = submission.envelope
    same = (submission.digest, envelope.source, envelope.type, envelope.recipient) == (
        earlier["digest"],
        earlier["source"],
        earlier["type"],
        earlier["recipient"],
    )
    if not same:
        return Problem(
            "CR-045",
            "You have sent another message under this id: its body, type or recipient differs.",
            status=409,
            where="ce-id",
            remedy="Give every message its own id, a new UUID for instance, and repeat a message unchanged.",
            extra={"message": str(earlier["id"])},
        )
    return Receipt(
        message=str(earlier["id"]),
        id=envelope.id,
        position=earlier["position"],
        recipients=earlier["recipients"] or [],
        movement=join_movements(earlier["movements"] or []),
        repeated=True,
        ledger_position=earlier["ledger_position"],
        left_out=msgspec.convert(earlier["left_out"] or [], list[LeftOut]),
    )


# SQLSTATE classes that say "this row": data exception, integrity violation, program limit exceeded.
_ROW_CLASSES = ("22", "23", "54")


def _is_fault_of_a_row(error: Exception) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _ROW_CLASSES
    # asyncpg's own DataError, when a value cannot be written in the column's form, is a ValueError too.
    return isinstance(error, ValueError | OverflowError)


def _not_stored(submission: Submission) -> Problem:
    if submission.envelope.bodyref is not None:
        return bodies.no_such_upload()
    return _unavailable("The message was not stored.")


def _unavailable(detail: str) -> Problem:
    return Problem(
        "CR-048",
        detail,
        status=503,
        where="the hub",
        remedy=f"Keep the message and send it again, unchanged, in {RETRY_AFTER_SECONDS} seconds or more.",
        extra={"retry_after": RETRY_AFTER_SECONDS},
    )


def _unstorable() -> Problem:
    return Problem(
        "CR-052",
        "The database refuses a value of the envelope.",
        status=422,
        where="the envelope",
        remedy="Look for unusual characters or lengths in its attributes; other messages are not affected.",
    )
