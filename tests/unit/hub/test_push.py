"""Push: letters come to who consented, signed, again when they must, and end as agreed.

The pusher's clock is a value that the test moves; nothing here waits for real hours.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from commonroom.exchange import Envelope
from commonroom.hub import assurance, mailbox, push_keys
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.metrics import Metrics
from commonroom.hub.post import Post, Submission
from commonroom.hub.push import Pusher
from commonroom.hub.push_keys import PublicKey, load_push_keys
from commonroom.hub.push_plan import BREAKER_FAILURES, DELAYS, GIVE_UP_SECONDS
from commonroom.hub.schedule import Schedule
from commonroom.hub.sealed_letters import CHANGED
from commonroom.hub.subscriptions import (
    SubscribeRequest,
    Subscription,
    read_consent,
    subscribe,
    subscriptions_of,
)
from commonroom.hub.targets import Answer, Caller, networks, open_caller
from commonroom.hub.windows import Windows
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import SmallCounty, message, publish_small_county
from tests.unit.hub.push_receiver import Receiver, receiver_here

END_POINT = str(uuid7())


class Desk:
    """A post, a pusher with a clock that is moved by hand, and a receiver."""

    def __init__(
        self, settings: Settings, pool: Any, county: SmallCounty, caller: Caller, receiver: Receiver
    ) -> None:
        self.settings, self.pool, self.county = settings, pool, county
        self.caller, self.receiver = caller, receiver
        self.now = datetime.now(UTC)
        doorbell = Doorbell(settings)
        self.windows = Windows(doorbell)
        self.post = Post(settings, doorbell, Metrics())
        self.pusher = self.another_pusher()

    def another_pusher(self) -> Pusher:
        """One of another hub process on the same database."""
        doorbell = Doorbell(self.settings)
        return Pusher(
            self.settings,
            self.pool,
            doorbell,
            self.windows,
            Metrics(),
            clock=lambda: self.now,
            chance=lambda: 0.0,
        )

    async def subscribe(self, rate: int | None = None, **wanted: Any) -> Subscription:
        """The warehouse's subscription to the receiver."""
        request = SubscribeRequest(**{"url": self.receiver.url, **wanted})
        async with self.pool.acquire() as connection:
            return await subscribe(connection, request, self.county.warehouse, END_POINT, rate, self.now)

    async def send(self, *bodies: bytes) -> None:
        """Letters of the school; the warehouse is one of their recipients."""
        outcomes = await self.post.submit([self._submission(body) for body in bodies])
        assert not [outcome for outcome in outcomes if isinstance(outcome, Problem)]

    async def push(self, *, after: float = 0.0) -> int:
        """So many seconds later, push what is due; how many tries there were."""
        self.now += timedelta(seconds=after)
        async with self.pool.acquire() as connection:
            await self.windows.look(connection)
        return await self.pusher.push_due(self.caller)

    async def states(self) -> list[tuple[str, str | None]]:
        """State and reason of the warehouse's deliveries, oldest first."""
        rows = await self.pool.fetch(
            "SELECT state, reason FROM hub.delivery WHERE recipient = $1 ORDER BY message",
            self.county.warehouse,
        )
        return [(row["state"], row["reason"]) for row in rows]

    async def subscription(self) -> Subscription:
        """The subscription as it stands."""
        async with self.pool.acquire() as connection:
            [found] = await subscriptions_of(connection, END_POINT)
        return found

    def _submission(self, body: bytes) -> Submission:
        envelope, _ = message(self.county, body, subject="school day ü")
        digest = hashlib.sha256(body).digest()
        return Submission(
            envelope=envelope, body=body, digest=digest, party=self.county.school, end_point="e"
        )


@pytest.fixture
async def desk(settings: Settings, pool: Any, tmp_path: Path) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(receiver_here())
        caller = await stack.enter_async_context(open_caller(networks("127.0.0.0/8")))
        async with pool.acquire() as connection:
            county = await publish_small_county(connection, tmp_path)
        desk = Desk(settings_with(settings, push_concurrency=2), pool, county, caller, receiver)
        writer = asyncio.create_task(desk.post.run())
        yield desk
        writer.cancel()
        await asyncio.wait([writer])


def verify(key: PublicKey, headers: dict[str, str], body: bytes) -> None:
    """What a receiver does with the public key alone. Raises InvalidSignature when no signature fits."""
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.key.removeprefix("whpk_")))
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for signature in headers["webhook-signature"].split(" "):
        version, _, value = signature.partition(",")
        try:
            if version == "v1a":
                return public.verify(base64.b64decode(value), text)
        except InvalidSignature:
            pass
    raise InvalidSignature


@pytest.mark.parametrize(
    ("status", "headers", "rate"),
    [
        (200, {"webhook-allowed-origin": "hub.example"}, None),
        (204, {"webhook-allowed-origin": "HUB.example"}, None),
        (200, {"webhook-allowed-origin": "*", "webhook-allowed-rate": "*"}, None),
        (200, {"webhook-allowed-origin": "*", "webhook-allowed-rate": "120"}, 120),
        (200, {}, "no WebHook-Allowed-Origin"),
        (204, {"allow": "POST, OPTIONS"}, "no WebHook-Allowed-Origin"),
        (200, {"webhook-allowed-origin": " "}, "no WebHook-Allowed-Origin"),
        (200, {"webhook-allowed-origin": "other.example"}, "another origin"),
        (200, {"webhook-allowed-origin": "*", "webhook-allowed-rate": "0"}, "Rate"),
        (200, {"webhook-allowed-origin": "*", "webhook-allowed-rate": "many"}, "Rate"),
        (302, {"webhook-allowed-origin": "*", "location": "https://example.org/"}, "redirect"),
        (404, {"webhook-allowed-origin": "*"}, "answered 404"),
        (500, {"webhook-allowed-origin": "*"}, "answered 500"),
    ],
)
def test_consent_is_an_answer_that_allows_our_origin_and_nothing_else(
    status: int, headers: dict[str, str], rate: int | str | None
) -> None:
    if isinstance(rate, str):
        with pytest.raises(Problem, match=f"CR-151.*{rate}"):
            read_consent(Answer(status, headers), "hub.example")
    else:
        assert read_consent(Answer(status, headers), "hub.example") == rate


@pytest.fixture
def key_settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)


def test_two_keys_sign_during_a_rotation_and_the_new_one_alone_after_it(key_settings: Settings) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    [old] = load_push_keys(key_settings, now).public()
    rotated = push_keys.rotate(key_settings, now)
    new, still_old = rotated.public()
    assert (still_old.key, still_old.signs_until) == (old.key, now + push_keys.OVERLAP)
    headers = rotated.headers("id", b"\x00\xff", now)
    verify(old, headers, b"\x00\xff")
    verify(new, headers, b"\x00\xff")
    with pytest.raises(InvalidSignature):
        verify(new, headers, b"\x00\xfe")
    with pytest.raises(Problem, match="CR-155"):
        push_keys.rotate(key_settings, now + timedelta(days=1))
    later = load_push_keys(key_settings, now + push_keys.OVERLAP)
    assert [key.key for key in later.public()] == [new.key]
    with pytest.raises(InvalidSignature):
        verify(old, later.headers("id", b"x", now), b"x")


async def test_a_push_is_the_message_in_binary_mode_with_a_signature_that_outsiders_verify(
    desk: Desk,
) -> None:
    made = await desk.subscribe(sign_v1=True)
    await desk.send(b'{"a": 1}', bytes(range(256)))
    assert await desk.push() == 2
    text, raw = sorted(desk.receiver.pushes, key=lambda got: len(got.body))
    assert (raw.body, raw.path) == (bytes(range(256)), "/in?a=%7Eb")
    envelope = Envelope.from_headers(
        {k: v for k, v in raw.headers.items() if k.startswith("ce-") or k == "content-type"}
    )
    assert (envelope.source, envelope.subject) == (desk.county.school, "school day ü")
    keys = load_push_keys(desk.settings, desk.now)
    for got in (text, raw):
        verify(keys.public()[0], got.headers, got.body)
    [secret] = keys.secrets(made.id)
    library = Webhook(secret)
    assert library.verify(text.body, text.headers) == {"a": 1}
    with pytest.raises(WebhookVerificationError):
        library.verify(text.body + b" ", text.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(keys.secrets("another")[0]).verify(text.body, text.headers)
    assert await desk.states() == [("acknowledged", None)] * 2
    assert await desk.pool.fetchval("SELECT count(*) FROM hub.push") == 0


async def test_without_being_asked_for_the_symmetric_signature_is_not_sent(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(b"x")
    await desk.push()
    [got] = desk.receiver.pushes
    assert [part.partition(",")[0] for part in got.headers["webhook-signature"].split(" ")] == ["v1a"]


async def test_a_failing_push_follows_the_schedule_and_ends_undeliverable_with_its_reason(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(b"x")
    desk.receiver.status = 500
    assert await desk.push() == 1
    for delay in DELAYS[1:]:
        assert await desk.push(after=delay - 1) == 0, "too early"
        if await desk.push(after=1) == 0:  # the breaker lets it wait a little longer
            assert (await desk.subscription()).failures >= BREAKER_FAILURES
            assert await desk.push(after=3600) == 1
    await desk.pusher.sweep()
    assert await desk.states() == [("undeliverable", "Pushed in vain. The target answered 500.")]
    ids = {got.headers["webhook-id"] for got in desk.receiver.pushes}
    assert (len(desk.receiver.pushes), len(ids)) == (len(DELAYS), 1)
    assert await desk.push(after=GIVE_UP_SECONDS) == 0


async def test_a_letter_that_is_backing_off_can_be_pulled_by_its_end_point(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(b"x")
    desk.receiver.status = 500
    await desk.push()
    async with desk.pool.acquire() as connection:
        [letter] = await mailbox.lease(connection, desk.county.warehouse, END_POINT, 10, 60)
        await mailbox.acknowledge(connection, [str(letter.delivery)], desk.county.warehouse, END_POINT)
    assert await desk.push(after=5) == 0
    await desk.pusher.sweep()
    assert await desk.states() == [("acknowledged", None)]


async def test_the_breaker_opens_lets_one_probe_through_and_closes_when_it_works(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(*[b"x"] * 12)
    desk.receiver.status = 500
    tries = [await desk.push() for _ in range(4)]
    assert tries == [2, 2, 2, 0], "two at a time, and none once five or more have failed"
    assert await desk.push(after=61) == 1, "half open: one probe"
    assert await desk.push(after=1) == 0
    desk.receiver.status = 200
    assert await desk.push(after=121) == 1
    assert (await desk.subscription()).failures == 0
    assert await desk.push() == 2


async def test_busy_targets_are_left_alone_as_long_as_they_say_and_lose_no_tries(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(b"x")
    desk.receiver.answers = [(429, {"Retry-After": "100"}), (503, {"Retry-After": "200"})]
    assert [await desk.push(), await desk.push(after=99), await desk.push(after=1)] == [1, 0, 1]
    assert [await desk.push(after=199), await desk.push(after=1)] == [0, 1]
    assert await desk.states() == [("acknowledged", None)]
    assert (await desk.subscription()).failures == 0


async def test_gone_stops_the_subscription_and_the_letter_waits_in_the_mailbox(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(b"x")
    desk.receiver.answers = [(410, {})]
    assert await desk.push() == 1
    stopped = await desk.subscription()
    assert (stopped.state, stopped.reason) == ("stopped", "The target answered 410.")
    assert await desk.push(after=100_000) == 0
    assert await desk.states() == [("offered", None)]
    await desk.subscribe()  # consent given anew
    assert await desk.push() == 1


async def test_explicit_acknowledgement_leases_the_letter_and_pushes_it_again_when_none_comes(
    desk: Desk,
) -> None:
    desk.settings = settings_with(
        desk.settings, lease_seconds=0
    )  # a lease that ends at once; the clock does the rest
    desk.pusher = desk.another_pusher()
    await desk.subscribe(acknowledge="explicitly")
    await desk.send(b"x")
    assert await desk.push() == 1
    assert [state for state, _ in await desk.states()] == ["leased"]
    assert [await desk.push(after=4), await desk.push(after=1)] == [0, 1]
    delivery = desk.receiver.pushes[1].headers["webhook-id"]
    async with desk.pool.acquire() as connection:
        settled = await mailbox.acknowledge(connection, [delivery], desk.county.warehouse, END_POINT)
    assert settled.settled == [delivery]
    assert await desk.push(after=100_000) == 0


async def test_two_hub_processes_never_push_the_same_letter_at_once_nor_more_than_agreed(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(*[b"%d" % number for number in range(8)])
    other = desk.another_pusher()
    while any(await asyncio.gather(desk.push(), other.push_due(desk.caller))):
        pass
    assert sorted(got.body for got in desk.receiver.pushes) == [b"%d" % number for number in range(8)]
    assert desk.receiver.most_at_once <= desk.settings.push_concurrency


async def test_a_target_that_allows_a_rate_gets_no_more(desk: Desk) -> None:
    await desk.subscribe(rate=30)
    await desk.send(b"1", b"2", b"3")
    assert [await desk.push(), await desk.push(after=1), await desk.push(after=1)] == [1, 0, 1]


async def test_a_subscription_may_be_for_some_movements_and_in_a_window(desk: Desk) -> None:
    await desk.subscribe(movements=["transfers"])
    await desk.send(b"x")
    assert await desk.push() == 0
    never = Schedule(cron="0 3 * * *", calendar="unpublished")
    await desk.subscribe(movements=["attendance"], window=never)
    assert await desk.push() == 0
    await desk.subscribe(movements=["attendance"])
    assert await desk.push() == 1


async def test_a_target_no_longer_in_a_listed_network_is_not_called(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(b"x")
    async with open_caller(()) as careful:
        desk.caller = careful
        assert await desk.push() == 1
    assert desk.receiver.got == []
    assert (await desk.subscription()).failures == 1


def test_the_settings_of_a_subscription_are_checked() -> None:
    for wrong in (
        {"url": "https://e.org/", "acknowledge": "never"},
        {"url": "https://e.org/", "movements": []},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, SubscribeRequest)


async def test_a_large_letter_stays_in_the_mailbox_and_holds_up_nothing(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(b"large", b"small")
    await desk.pool.execute(
        """
        UPDATE hub.message SET envelope = envelope || '{"bodyref": "upload"}'
        WHERE position = (SELECT min(position) FROM hub.message)
        """
    )
    assert await desk.push() == 1
    assert [got.body for got in desk.receiver.pushes] == [b"small"]
    assert [state for state, _ in await desk.states()] == ["offered", "acknowledged"]


async def test_a_revoked_end_point_gets_no_pushes(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(b"x")
    await desk.pool.execute(
        """
        INSERT INTO identity.end_point (id, party, name, public_key, revoked_at)
        VALUES ($1::uuid, $2, 'gone', decode(repeat('00', 32), 'hex'), clock_timestamp())
        """,
        END_POINT,
        desk.county.warehouse,
    )
    assert await desk.push() == 0


async def test_nothing_is_pushed_to_whose_evidence_has_lapsed_until_it_is_renewed(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(b"one")
    async with desk.pool.acquire() as connection:
        [evidence] = await assurance.list_evidence(connection, desk.county.warehouse)
        await assurance.end(connection, evidence.id, "test")
    assert await desk.push() == 0
    assert await desk.states() == [("offered", None)]
    async with desk.pool.acquire() as connection:
        await assurance.record(
            connection,
            [desk.county.warehouse],
            "restricted",
            kind="test",
            reference="renewed",
            valid_from=evidence.valid_from,
            valid_to=evidence.valid_to,
            by="test",
        )
    assert await desk.push() == 1
    assert desk.receiver.pushes[-1].body == b"one"


async def test_a_body_that_was_changed_where_it_is_stored_is_not_pushed(desk: Desk) -> None:
    await desk.subscribe()
    await desk.send(b"one", b"two")
    await desk.pool.execute(
        "UPDATE hub.body SET body = set_byte(body, 12, get_byte(body, 12) # 1) "
        "WHERE message = (SELECT min(message) FROM hub.body)"
    )
    assert await desk.push() == 1
    assert [push.body for push in desk.receiver.pushes] == [b"two"]
    assert (await desk.states())[0] == ("undeliverable", CHANGED)
