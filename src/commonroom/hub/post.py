"""The post: takes messages in, for good, in groups.

One writer task commits whatever arrived while its last commit ran, as one statement over arrays; there is no timer.
A message is answered only after the database has it on disk. Sending again is always safe: (source, id) is unique, a
repeat gets the first receipt, and another message under the same id is a conflict. Bodies are opaque bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from commonroom import log
from commonroom.engines.confirmation import Confirmation
from commonroom.exchange import Receipt
from commonroom.exchange.contract import LeftOut
from commonroom.hub import bodies, storing
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.fair_queue import FairQueue
from commonroom.hub.faults import log_fault
from commonroom.hub.master_keys import MasterKeys
from commonroom.hub.metrics import Metrics
from commonroom.hub.routing import Routing, Ways, join_movements, load_routing
from commonroom.hub.storing import Moment, Routed, Submission
from commonroom.problems import Problem
from commonroom.settings import Settings

__all__ = ["ENGLAND", "Outcome", "Post", "Submission"]

ENGLAND = ZoneInfo("Europe/London")
MAX_GROUP_MESSAGES = 2_000
MAX_GROUP_BYTES = 32 * 1024 * 1024
MAX_WAITING_BYTES = (
    128 * 1024 * 1024
)  # bodies of messages not yet on disk; above it senders are told to come back
MAX_STALE_TRIES = 5
RETRY_AFTER_SECONDS = 2

_logger = log.get("hub")


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


_ROUTING_VERSION = "SELECT version FROM hub.routing"


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
        self._ways: Ways | None = None
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
            self._connection = await storing.open_connection(self._settings)
            await self._confirmation.listen(self._connection)
        for _ in range(MAX_STALE_TRIES):
            moment = await storing.look(self._connection, submissions)
            try:
                outcomes = await self._store_routed(await self._ways_at(moment), moment, submissions)
                self._confirmation.check()
                return outcomes
            except storing.Stale:
                continue
        return [_unavailable("The directory changes too fast at the moment.") for _ in submissions]

    async def _ways_at(self, moment: Moment) -> Ways:
        """The ways of this moment's routing table and day: those found before, while both are the same."""
        if self._routing is None or self._routing.version != moment.version:
            self._routing = await load_routing(self._connection)
        day = moment.now.astimezone(ENGLAND).date()
        if self._ways is None or self._ways.routing is not self._routing or self._ways.day != day:
            self._ways = Ways(self._routing, day)
        return self._ways

    async def _store_routed(
        self, ways: Ways, moment: Moment, submissions: Sequence[Submission]
    ) -> list[Outcome]:
        routed, outcomes = _route_all(ways, moment, submissions)
        if routed:
            stored = await storing.store(
                self._connection, self._master_keys, ways.routing.version, moment.now, routed
            )
            self._doorbell.ring(chain.from_iterable(one.way.recipients for one in stored))
            for one in stored:
                outcomes[one.index] = _receipt(one)
        # What was sent before has its first receipt, also when its movement has ended since; so has what stands in
        # the group twice.
        again = [index for index, outcome in enumerate(outcomes) if outcome is None]
        if again:
            known = await storing.known(self._connection, [submissions[index] for index in again])
            if known:  # what is there may be there only: its first receipt was perhaps never given
                await self._confirmation.ask(storing.COMMAND_SECONDS)
            for index in again:
                if earlier := known.get(submissions[index].key):
                    outcomes[index] = _repeat(submissions[index], earlier)
        return [
            outcome or _not_stored(submission)
            for outcome, submission in zip(outcomes, submissions, strict=True)
        ]

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _route_all(
    ways: Ways, moment: Moment, submissions: Sequence[Submission]
) -> tuple[list[Routed], list[Outcome | None]]:
    """What is to be stored, and what is refused; nothing of what is stored already or stands in the group before."""
    routed: list[Routed] = []
    outcomes: list[Outcome | None] = [None] * len(submissions)
    seen: set[tuple[str, str]] = set()
    ids = storing.new_ids(len(submissions))
    for index, submission in enumerate(submissions):
        if index in moment.known:
            continue
        try:
            _check_expiry(submission, moment)
            way = ways.find(submission.envelope, submission.party, submission.end_point)
        except Problem as problem:
            outcomes[index] = problem
            continue
        if submission.key not in seen:
            seen.add(submission.key)
            routed.append(Routed(index, submission, way, moment.positions[index], ids[index]))
    return routed, outcomes


def _check_expiry(submission: Submission, moment: Moment) -> None:
    expires, now = submission.envelope.expirytime, moment.now
    if expires is not None and expires <= now:
        raise Problem(
            "CR-049",
            f"The message's expiry time {expires.isoformat()} has passed; it is {now.isoformat()}.",
            status=422,
            where="ce-expirytime",
            remedy="Send it with a later expiry time, or not at all.",
        )


def _receipt(routed: Routed) -> Receipt:
    way = routed.way
    return Receipt(
        message=str(routed.id),
        id=routed.submission.envelope.id,
        position=routed.position,
        recipients=list(way.recipients),
        movement=way.movement,
        left_out=list(way.route.left_out),
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
