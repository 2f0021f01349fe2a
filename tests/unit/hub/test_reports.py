"""Reports: whoever sent a message learns how it ended at each recipient, once, and from the envelope alone."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from commonroom.engines import clock
from commonroom.exchange import Letter, Receipt, Report, is_report, read_report
from commonroom.hub import endings, load_movements, mailbox, retention, traffic, unfinished
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import MOVEMENTS, enrolled_client, message
from tests.unit.hub.conftest import Town
from tests.waiting import until_async

SECRET = b"Olivia Wren, born 2011-04-05"


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    return settings_with(settings, lease_seconds=1)


async def test_each_recipient_makes_one_report_with_what_stood_on_the_envelope(town: Town) -> None:
    receipt = await town.school.post(*message(town.county, SECRET, subject="week 37"))
    [at_warehouse] = await town.warehouse.pull(10, 0)
    await town.warehouse.acknowledge([at_warehouse.delivery])
    [at_authority] = await town.authority.pull(10, 0)
    await town.authority.refuse(at_authority.delivery, "Not for us")
    letters = await town.school.pull(10, 0)
    reports = {report.recipient: report for report in map(_report, letters)}
    assert {recipient: (one.state, one.reason) for recipient, one in reports.items()} == {
        town.county.warehouse: ("acknowledged", None),
        town.county.authority: ("refused", "Not for us"),
    }
    one, envelope = reports[town.county.warehouse], letters[0].envelope
    assert (one.message, one.id, one.type) == (receipt.message, receipt.id, at_warehouse.envelope.type)
    assert one.accepted_at == at_warehouse.accepted_at
    assert one.at >= one.accepted_at
    assert one.attempts == 1
    assert (envelope.correlationid, envelope.causationid) == (receipt.message, receipt.id)
    assert (envelope.source, envelope.recipient) == ("urn:commonroom:hub", town.county.school)
    assert not any(SECRET in letter.body for letter in letters)
    assert {letter.sequence for letter in letters} == {None}


async def test_reports_are_taken_once_and_never_reported_on(town: Town) -> None:
    await _ended(town, 3)
    letters = await town.school.pull(10, 0, "reports")
    assert len(letters) == 6
    assert await town.school.pull(10, 0) == []
    deliveries = [letter.delivery for letter in letters]
    for _ in range(2):
        settled = await town.school.acknowledge(deliveries)
        assert (sorted(settled.settled), settled.ignored) == (sorted(deliveries), [])
    assert await town.pool.fetchval("SELECT count(*) FROM hub.report") == 0
    assert (await traffic(town.pool)).messages == 3


async def test_a_report_that_is_not_taken_comes_again_when_its_lease_ends(town: Town) -> None:
    await _ended(town, 1)
    first = await town.school.pull(10, 0)
    again = await until_async(lambda: town.school.pull(10, 0), 10, "the reports coming again")
    assert {letter.envelope.id for letter in again} == {letter.envelope.id for letter in first}
    assert [letter.attempt for letter in again] == [2, 2]


async def test_who_asks_for_letters_alone_gets_no_reports_and_the_other_way_round(town: Town) -> None:
    await _ended(town, 1)
    addressed = message(
        town.county,
        source=town.county.other_school,
        type="commonroom.transfer.sent",
        recipient=town.county.school,
    )
    await town.other_school.post(*addressed)
    letters = await town.school.pull(10, 0, "letters")
    assert [letter.envelope.type for letter in letters] == ["commonroom.transfer.sent"]
    assert len(await town.school.pull(10, 0, "reports")) == 2


async def test_reports_go_to_the_end_point_that_sent_and_to_its_successor_once_it_is_revoked(
    town: Town,
) -> None:
    async with town.pool.acquire() as connection:
        second = await enrolled_client(connection, town.url, town.county.school, town.folder)
    async with second:
        await _ended(town, 1)
        assert await second.pull(10, 0) == []
        assert (await town.warehouse.pull(10, 0), await town.authority.pull(10, 0)) == ([], [])
        await town.pool.execute(
            "UPDATE identity.end_point SET revoked_at = clock_timestamp() WHERE id::text = $1",
            town.school.end_point,
        )
        assert len(await second.pull(10, 0)) == 2


async def test_a_batch_of_500_ends_in_one_statement_with_500_reports(town: Town) -> None:
    for _ in range(2):
        await town.school.post_batch([message(town.county) for _ in range(250)])
    letters = await town.warehouse.pull(500, 0)
    assert len((await town.warehouse.acknowledge([letter.delivery for letter in letters])).settled) == 500
    written = "SELECT count(DISTINCT xmin::text) AS transactions, count(*) AS number FROM hub.report"
    assert tuple(await town.pool.fetchrow(written)) == (1, 500)
    assert len(await town.school.pull(500, 0)) == 500


async def test_what_expires_and_what_can_never_be_delivered_is_reported_with_its_reason(town: Town) -> None:
    now = await clock.now(town.pool)
    await town.school.post(*message(town.county, expirytime=now + timedelta(hours=1)))
    await town.school.post(*message(town.county))
    await clock.set_to(town.pool, town.settings, now + timedelta(hours=2))
    await until_async(lambda: _waiting_reports(town, 2), 10, "the expiry")
    await clock.set_to(town.pool, town.settings, now + timedelta(days=31))
    async with town.pool.acquire() as connection:
        await endings.end_hopeless(town.settings, connection)
    reports = [_report(letter) for letter in await town.school.pull(10, 0)]
    assert sorted((one.state, one.reason) for one in reports) == [
        *[("expired", mailbox.EXPIRY_REASON)] * 2,
        *[("undeliverable", endings.NOT_COLLECTED)] * 2,
    ]
    assert await unfinished(town.pool) == 0


async def test_a_letter_whose_movement_ended_and_was_not_renewed_is_undeliverable(town: Town) -> None:
    await town.school.post(*message(town.county))
    ended = MOVEMENTS.replace(
        "active_from: 2020-01-01", "active_from: 2020-01-01\n    active_to: 2020-01-02", 1
    )
    file = town.folder / "ended.yaml"
    file.write_text(ended, "utf-8")
    await load_movements(town.pool, file)
    async with town.pool.acquire() as connection:
        await endings.end_hopeless(town.settings, connection)
    told = await town.school.pull(10, 0)
    assert [(_report(letter).state, _report(letter).reason) for letter in told] == [
        ("undeliverable", endings.MOVEMENT_ENDED)
    ] * 2


async def test_reports_nobody_takes_are_forgotten_and_tracking_still_tells(town: Town) -> None:
    receipt = (await _ended(town, 1))[0]
    await clock.set_to(town.pool, town.settings, await clock.now(town.pool) + timedelta(days=31))
    async with town.pool.acquire() as connection:
        await retention.purge(town.settings, connection)
    assert await town.school.pull(10, 0) == []
    # Nothing makes a second report of an end once reported, whatever is written to the delivery later.
    await town.pool.execute("UPDATE hub.delivery SET attempt = attempt + 1")
    assert await town.school.pull(10, 0) == []
    found = await town.school.track(receipt.message)
    assert {delivery.state for delivery in found.deliveries} == {"acknowledged"}


async def test_tracking_tells_each_step_with_its_time(town: Town) -> None:
    receipt = await town.school.post(*message(town.county))
    assert {one.state for one in (await town.school.track(receipt.message)).deliveries} == {"offered"}
    [letter] = await town.warehouse.pull(1, 0)
    leased = await _copy(town, receipt)
    assert (leased.state, leased.attempt, leased.at) == ("leased", 1, leased.leased_at)
    await town.warehouse.refuse(letter.delivery, "Broken")
    refused = await _copy(town, receipt)
    assert (refused.state, refused.reason, refused.at) == ("refused", "Broken", refused.finished_at)
    assert refused.offered_at <= refused.leased_at <= refused.finished_at


async def test_every_message_ends_in_one_report_for_each_recipient_whatever_recipients_do(town: Town) -> None:
    chance = random.Random(3)
    sent = list(await town.school.post_batch([message(town.county) for _ in range(40)]))
    told: list[Report] = []

    async def recipient(client: Any) -> None:
        for letter in await client.pull(7, 0, "letters"):
            await chance.choice(
                (
                    lambda one: client.acknowledge([one.delivery, one.delivery]),
                    lambda one: client.refuse(one.delivery, "By chance"),
                    lambda one: client.release([one.delivery]),
                    lambda one: asyncio.sleep(0),
                )
            )(letter)

    async def settle() -> bool:
        await asyncio.gather(*(recipient(client) for client in (town.warehouse, town.authority) * 2))
        for letter in await town.school.pull(25, 0):
            if (await town.school.acknowledge([letter.delivery])).settled:
                told.append(_report(letter))
        return len(told) >= 80

    await until_async(settle, 60, "the end of every story")
    assert await town.school.pull(25, 0) == []
    recipients = (town.county.warehouse, town.county.authority)
    expected = {(each.id, one) for each in sent if isinstance(each, Receipt) for one in recipients}
    assert len(told) == len(expected) == 80
    assert {(report.id, report.recipient) for report in told} == expected


async def _ended(town: Town, number: int) -> list[Receipt]:
    """Messages of the school that both recipients have acknowledged."""
    sent = await town.school.post_batch([message(town.county) for _ in range(number)])
    for client in (town.warehouse, town.authority):
        await client.acknowledge([letter.delivery for letter in await client.pull(100, 0)])
    return [each for each in sent if isinstance(each, Receipt)]


async def _waiting_reports(town: Town, number: int) -> bool:
    return bool(await town.pool.fetchval("SELECT count(*) FROM hub.report") == number)


async def _copy(town: Town, receipt: Receipt) -> Any:
    found = await town.school.track(receipt.message)
    return next(one for one in found.deliveries if one.recipient == town.county.warehouse)


def _report(letter: Letter) -> Report:
    assert is_report(letter.envelope)
    assert msgspec.json.decode(letter.body)["recipient"]
    return read_report(letter.body)
