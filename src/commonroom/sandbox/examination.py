"""The conformance suite: what an end point does at a sandbox hub, seen from the hub's side, under real faults.

The end point under test follows one rule: it answers every `commonroom.sandbox.greeting` with one
`commonroom.sandbox.answer` (same body, addressed to the greeting's `source`, `causationid` the greeting's `id`) and then
acknowledges it; a body that is said to be text and is not UTF-8 it refuses with a reason. Nothing else is asked of it,
and nothing of it is looked at but its traffic.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from commonroom import identity
from commonroom.exchange import Client, Envelope, ReplayRequest, Tracking, Unreachable, enrol
from commonroom.exchange.conformance import Check, Result
from commonroom.hub.quotas import set_quota
from commonroom.hub.replay import replay
from commonroom.ids import alias_urn, uuid7
from commonroom.problems import Problem
from commonroom.sandbox import faults, stage
from commonroom.sandbox.partners import ANSWER_TYPE, GREETING_TYPE
from commonroom.settings import Settings

T = TypeVar("T")

EXAMINER = alias_urn("urn", "990006")
NOT_TEXT = b"\xff\xfe\xfd"
PAUSE = 0.2
# The hub reads quotas every few seconds; from then on the first A_MINUTE answers pass and the next meets a 429.
QUOTA_IS_READ = 6.0
A_MINUTE = 4
HELD_UP = 5.0

_ANSWERS = """
SELECT count(DISTINCT m.ce_id) AS number, bool_and(m.envelope ? 'signature') AS signed
FROM hub.message m
WHERE m.source = $1 AND m.type = $2 AND m.envelope ->> 'causationid' = $3
"""
_AGAIN = """
SELECT d.replays > 0 AND d.finished_at IS NOT NULL AND d.state = 'acknowledged'
FROM hub.delivery d JOIN hub.message m ON m.position = d.message
WHERE m.id = $1::uuid AND d.recipient = $2
"""


class Failed(Exception):
    """What the end point did not do, in words."""


class Examination:
    """One run of the suite against the newest end point of a party."""

    def __init__(self, connection: Any, settings: Settings, client: Client, own: str, party: str) -> None:
        self._connection = connection
        self._settings = settings
        self._client = client
        self._own = own
        self._party = party
        self._greetings: list[str] = []
        self._end_point: identity.EndPoint | None = None
        self.patience = settings.lease_seconds + 30.0

    async def run(self) -> Result:
        """All checks in their order; what follows a failure is still tried, except when nobody is enrolled."""
        steps: tuple[tuple[str, Callable[[], Awaitable[str]]], ...] = (
            ("enrolled", self._enrolled),
            ("takes, answers signed, acknowledges within its lease", self._takes),
            ("a letter delivered twice has one effect", self._redelivered),
            ("refuses the unusable with a reason", self._refuses),
            ("survives a kill -9 of the hub", self._hub_killed),
            ("gets a new token when its own is refused", self._token_lost),
            ("waits and sends again after 429", self._slowed),
            ("every greeting answered exactly once", self._once),
        )
        checks: list[Check] = []
        for name, step in steps:
            began = time.monotonic()
            try:
                detail, passed = await step(), True
            except Failed as failure:
                detail, passed = str(failure), False
            checks.append(Check(name, passed, detail, round(time.monotonic() - began, 1)))
            if self._end_point is None:
                break
        found = self._end_point
        return Result(
            self._party,
            found.id if found else "",
            found.name if found else "",
            tuple(checks),
            datetime.now(UTC),
            await self._keys() if found else (),
        )

    async def _enrolled(self) -> str:
        known = await identity.end_points_of(self._connection, self._party)
        open_ones = [one for one in known if one.revoked_at is None]
        if not open_ones:
            raise Failed("the party has no end point")
        self._end_point = max(open_ones, key=lambda one: one.enrolled_at)
        return f"{self._end_point.name}, since {self._end_point.enrolled_at:%d %b %Y %H:%M}"

    async def _keys(self) -> tuple[str, ...]:
        """The names of the keys with which the end point may sign: by them another hub knows it again."""
        assert self._end_point is not None
        found = await identity.keys_of_end_point(self._connection, self._end_point.id)
        return tuple(key.kid for key in found if key.use == "sig" and key.valid_until is None)

    async def _takes(self) -> str:
        tracking = await self._greet("good morning")
        attempt = tracking.deliveries[0].attempt
        if attempt != 1:
            raise Failed(f"it was acknowledged at attempt {attempt}: the lease ran out first")
        return "at its first attempt"

    async def _redelivered(self) -> str:
        tracking = await self._greet("twice")
        only = ReplayRequest(from_position=tracking.position, to=tracking.position)
        assert self._end_point is not None
        await replay(self._connection, self._party, self._end_point.id, only)
        if not await self._until(
            lambda: self._connection.fetchval(_AGAIN, tracking.message, self._party), self.patience
        ):
            raise Failed("it came a second time and was not acknowledged again")
        await self._answered_once(tracking.id)
        return "acknowledged twice, answered once"

    async def _refuses(self) -> str:
        tracking = await self._ended(await self._post(NOT_TEXT))
        end = tracking.deliveries[0]
        if end.state != "refused":
            raise Failed(f"a text that is not UTF-8 was {end.state}")
        return f"reason: {end.reason}"

    async def _hub_killed(self) -> str:
        message = await self._post(b"before the kill")
        seconds = await asyncio.to_thread(faults.restart_hub, self._settings)
        await self._answered(await self._ended(message))
        await self._greet("after the kill")
        return f"the hub was away for {seconds:.1f} s"

    async def _token_lost(self) -> str:
        await asyncio.to_thread(faults.change_token_key, self._settings)
        await self._greet("with a new token")
        return "every token given before was refused"

    async def _slowed(self) -> str:
        assert self._end_point is not None
        end_point = self._end_point.id
        await set_quota(self._connection, end_point, A_MINUTE, None, "commonroom conformance")
        try:
            await asyncio.sleep(QUOTA_IS_READ)
            longest = 0.0
            for number in range(A_MINUTE + 2):
                began = time.monotonic()
                await self._greet(f"slowly {number}")
                longest = max(longest, time.monotonic() - began)
                if longest >= HELD_UP:
                    break
        finally:
            await set_quota(self._connection, end_point, None, None, "commonroom conformance")
        if longest < HELD_UP:
            raise Failed("it never met the limit, so nothing is known")
        return f"{A_MINUTE} a minute; one answer was held up {longest:.0f} s and came"

    async def _once(self) -> str:
        for greeting in self._greetings:
            await self._answered_once(greeting)
        return f"{len(self._greetings)} greetings"

    async def _greet(self, text: str) -> Tracking:
        tracking = await self._ended(await self._post(text.encode()))
        await self._answered(tracking)
        return tracking

    async def _post(self, body: bytes) -> str:
        envelope = Envelope(
            id=str(uuid7()),
            source=self._own,
            type=GREETING_TYPE,
            recipient=self._party,
            datacontenttype="text/plain",
        )
        while True:
            try:
                return (await self._client.post(envelope, body)).message
            except Unreachable as cut:
                await asyncio.sleep(cut.retry_after or PAUSE)

    async def _ended(self, message: str) -> Tracking:
        """The tracking of a message that has ended, however it did."""

        async def ended() -> Tracking | None:
            try:
                found = await self._client.track(message)
            except Unreachable:
                return None
            return found if found.deliveries[0].finished_at is not None else None

        found = await self._until(ended, self.patience)
        if found is None:
            raise Failed(f"a greeting was neither acknowledged nor refused in {self.patience:.0f} s")
        return found

    async def _answered(self, tracking: Tracking) -> None:
        if tracking.deliveries[0].state != "acknowledged":
            end = tracking.deliveries[0]
            raise Failed(f"a good greeting was {end.state} ({end.reason or 'no reason'})")
        self._greetings.append(tracking.id)
        await self._answered_once(tracking.id)

    async def _answered_once(self, greeting: str) -> None:
        row = await self._connection.fetchrow(_ANSWERS, self._party, ANSWER_TYPE, greeting)
        if row["number"] != 1:
            raise Failed(f"a greeting that was acknowledged has {row['number']} answers")
        if not row["signed"]:
            raise Failed("an answer is not signed")

    async def _until(self, condition: Callable[[], Awaitable[T | None]], seconds: float) -> T | None:
        deadline = time.monotonic() + seconds
        while not (found := await condition()):
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(PAUSE)
        return found


async def examine(connection: Any, settings: Settings, party: str, patience: float | None = None) -> Result:
    """Run the suite against the newest end point of a party (urn or alias) of a sandbox that runs."""
    whom = await stage.party_of(connection, party)
    own = await stage.newcomer(connection, settings, EXAMINER)
    if whom == own.party:
        raise Problem("CR-172", "the examiner does not examine itself", where="--party", remedy="Be another.")
    key = settings.folder("keys") / f"examiner-{uuid7()}.pem"
    try:
        enrolment = await enrol(settings.hub_url, own.code, key, "the examiner")
        async with Client(settings.hub_url, key, enrolment.end_point) as client:
            examination = Examination(connection, settings, client, own.party, whom)
            examination.patience = patience or examination.patience
            return await examination.run()
    except Unreachable as cut:
        raise Problem("CR-172", f"the sandbox cannot be reached ({cut.reason})", status=503) from cut
    finally:
        key.unlink(missing_ok=True)
