"""A message's journey through a real hub: posted, collected, settled, tracked."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from commonroom.engines import clock
from commonroom.exchange import Receipt, Refusal
from commonroom.hub import load_movements, messages_of, traffic, unfinished
from commonroom.hub.ledger import entries_of
from commonroom.problems import Problem
from tests.hub_server import MOVEMENTS, OTHER_SCHOOL_ALIAS, enrolled_client, message
from tests.unit.hub.conftest import Town
from tests.waiting import until_async


async def test_a_letter_reaches_each_recipient_bit_for_bit_and_its_fate_is_told(town: Town) -> None:
    envelope, body = message(town.county, bytes(range(256)))
    receipt = await town.school.post(envelope, body)
    assert receipt.recipients == [town.county.authority, town.county.warehouse]
    assert receipt.movement == "attendance"
    [letter] = await town.warehouse.pull(10, 0)
    unsigned = msgspec.structs.replace(letter.envelope, signature=envelope.signature)
    assert (unsigned, letter.body, letter.position, letter.attempt) == (
        envelope,
        body,
        receipt.position,
        1,
    )
    await town.warehouse.acknowledge([letter.delivery])
    [other] = await town.authority.pull(10, 0)
    await town.authority.refuse([other.delivery], "No such school here.")
    tracking = await town.school.track(receipt.message)
    fates = {delivery.recipient: (delivery.state, delivery.reason) for delivery in tracking.deliveries}
    assert fates == {
        town.county.authority: ("refused", "No such school here."),
        town.county.warehouse: ("acknowledged", None),
    }
    assert await town.warehouse.pull(10, 0) == []


async def test_everything_that_happens_is_in_the_ledger_in_order(town: Town) -> None:
    receipt = await town.school.post(*message(town.county))
    [letter] = await town.warehouse.pull(1, 0)
    await town.warehouse.acknowledge([letter.delivery])
    await town.warehouse.acknowledge([letter.delivery])
    entries = await entries_of(town.pool, receipt.position)
    assert [(entry.event, entry.party) for entry in entries] == [
        ("accepted", town.county.school),
        ("leased", town.county.warehouse),
        ("acknowledged", town.county.warehouse),
    ]


async def test_an_addressed_message_goes_to_the_addressed_school_alone(town: Town) -> None:
    envelope, body = message(town.county, type="commonroom.transfer.sent", recipient=OTHER_SCHOOL_ALIAS)
    receipt = await town.school.post(envelope, body)
    assert receipt.recipients == [town.county.other_school]
    [letter] = await town.other_school.pull(10, 0)
    assert letter.envelope.recipient == OTHER_SCHOOL_ALIAS


async def test_sending_again_gives_the_first_receipt_and_delivers_once(town: Town) -> None:
    envelope, body = message(town.county)
    first = await town.school.post(envelope, body)
    again = await town.school.post(envelope, body)
    assert again.repeated
    assert (again.message, again.position, again.recipients) == (
        first.message,
        first.position,
        first.recipients,
    )
    assert len(await town.warehouse.pull(10, 0)) == 1


@pytest.mark.parametrize("change", ["body", "type", "recipient"])
async def test_another_message_under_a_used_id_is_a_conflict(town: Town, change: str) -> None:
    envelope, body = message(town.county)
    await town.school.post(envelope, body)
    other: dict[str, Any] = {
        "body": {},
        "type": {"type": "commonroom.transfer.sent", "recipient": OTHER_SCHOOL_ALIAS},
        "recipient": {"recipient": town.county.warehouse},
    }[change]
    changed, _ = message(town.county, id=envelope.id, **other)
    with pytest.raises(Problem) as caught:
        await town.school.post(changed, b"changed" if change == "body" else body)
    assert (caught.value.code, caught.value.status) == ("CR-045", 409)


async def test_two_senders_may_use_the_same_id(town: Town) -> None:
    envelope, body = message(town.county)
    first = await town.school.post(envelope, body)
    theirs, _ = message(town.county, id=envelope.id, source=town.county.other_school)
    second = await town.other_school.post(theirs, body)
    assert not second.repeated
    assert second.message != first.message


async def test_a_repeat_after_the_movement_has_ended_still_gets_its_receipt(town: Town) -> None:
    envelope, body = message(town.county)
    first = await town.school.post(envelope, body)
    await _end_attendance(town)
    assert (await town.school.post(envelope, body)).message == first.message


async def test_from_the_moment_a_movement_ends_nothing_is_accepted_and_nothing_delivered(town: Town) -> None:
    await town.school.post(*message(town.county))
    await _end_attendance(town)
    with pytest.raises(Problem) as caught:
        await town.school.post(*message(town.county))
    assert (caught.value.code, caught.value.status) == ("CR-042", 403)
    assert await town.warehouse.pull(10, 0) == []
    await load_movements(town.pool, _movements(town, MOVEMENTS))
    assert len(await town.warehouse.pull(10, 0)) == 1


async def test_a_movement_starts_on_its_day_of_the_domain_clock_in_england(town: Town) -> None:
    await _end_attendance(town)
    later = MOVEMENTS.replace("active_from: 2020-01-01", "active_from: 2030-07-01", 1)
    await load_movements(town.pool, _movements(town, later))
    await clock.set_to(town.pool, town.settings, datetime(2030, 6, 30, 22, 58, tzinfo=UTC))
    with pytest.raises(Problem):
        await town.school.post(*message(town.county))
    await clock.set_to(
        town.pool, town.settings, datetime(2030, 6, 30, 23, 1, tzinfo=UTC)
    )  # 00:01 in summer time
    receipt = await town.school.post(*message(town.county))
    [story] = await messages_of(town.pool, town.county.school)
    assert story.id == receipt.message
    assert story.accepted_at.date().isoformat() == "2030-06-30"


async def test_a_long_poll_is_woken_by_mail(town: Town) -> None:
    waiting = asyncio.create_task(town.warehouse.pull(10, 30))
    await until_async(lambda: _waiting_polls(town), 5, "the poll waiting")
    began = time.monotonic()
    await town.school.post(*message(town.county))
    assert len(await waiting) == 1
    assert time.monotonic() - began < 5


async def test_a_poll_that_was_hung_up_takes_no_letter_with_it(town: Town) -> None:
    waiting = asyncio.create_task(town.warehouse.pull(10, 30))
    await until_async(lambda: _waiting_polls(town), 5, "the poll waiting")
    waiting.cancel()
    await asyncio.wait([waiting])
    await until_async(lambda: _no_waiting_polls(town), 5, "the poll being gone")
    await town.school.post(*message(town.county))
    [letter] = await town.warehouse.pull(10, 0)
    assert letter.attempt == 1


async def test_a_batch_has_one_result_for_each_item_and_a_bad_one_stops_nobody(town: Town) -> None:
    good, body = message(town.county)
    conflict, _ = message(town.county, id=good.id)
    unknown, _ = message(town.county, type="commonroom.unknown.changed")
    last, _ = message(town.county)
    results = await town.school.post_batch(
        [(good, body), (conflict, b"other"), (unknown, body), (last, body)]
    )
    assert [result.problem.code if isinstance(result, Refusal) else result.id for result in results] == [
        good.id,
        "CR-045",
        "CR-042",
        last.id,
    ]
    letters = await town.warehouse.pull(10, 0)
    assert [letter.envelope.id for letter in letters] == [good.id, last.id]


async def test_the_same_message_twice_in_a_batch_is_accepted_once(town: Town) -> None:
    envelope, body = message(town.county)
    first, second = await town.school.post_batch([(envelope, body), (envelope, body)])
    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    assert first.message == second.message
    assert second.repeated
    assert len(await town.authority.pull(10, 0)) == 1


async def test_concurrent_repeats_of_one_message_are_one_message(town: Town) -> None:
    envelope, body = message(town.county)
    receipts = await asyncio.gather(*(town.school.post(envelope, body) for _ in range(20)))
    assert len({receipt.message for receipt in receipts}) == 1
    assert sum(not receipt.repeated for receipt in receipts) == 1
    assert len(await town.warehouse.pull(50, 0)) == 1


async def test_an_expired_message_is_refused_and_one_that_expires_waiting_is_finished_with_a_reason(
    town: Town,
) -> None:
    now = await clock.now(town.pool)
    with pytest.raises(Problem) as caught:
        await town.school.post(*message(town.county, expirytime=now - timedelta(seconds=1)))
    assert caught.value.code == "CR-049"
    receipt = await town.school.post(*message(town.county, expirytime=now + timedelta(days=1)))
    await clock.set_to(town.pool, town.settings, now + timedelta(days=2))
    assert await town.warehouse.pull(10, 0) == []

    async def finished() -> bool:
        return await unfinished(town.pool) == 0

    await until_async(finished, 10, "the delivery being expired")
    tracking = await town.school.track(receipt.message)
    assert {delivery.state for delivery in tracking.deliveries} == {"expired"}
    assert all(delivery.reason for delivery in tracking.deliveries)


async def test_strangers_cannot_see_a_message_and_recipients_see_only_their_own_copy(town: Town) -> None:
    receipt = await town.school.post(*message(town.county))
    own = await town.warehouse.track(receipt.message)
    assert [delivery.recipient for delivery in own.deliveries] == [town.county.warehouse]
    for name in (receipt.message, "0199d5a0-0000-7000-8000-000000000000", "not-a-uuid"):
        with pytest.raises(Problem) as caught:
            await town.other_school.track(name)
        assert (caught.value.code, caught.value.status) == ("CR-005", 404)


async def test_stories_come_newest_first_in_pages_and_each_once(town: Town) -> None:
    receipts = await town.school.post_batch([message(town.county) for _ in range(5)])
    expected = [receipt.message for receipt in reversed(receipts) if isinstance(receipt, Receipt)]
    first = await messages_of(town.pool, town.county.authority, limit=3)
    second = await messages_of(town.pool, town.county.authority, limit=3, before=first[-1].position)
    assert [story.id for story in [*first, *second]] == expected
    assert first[0].sender_name == "First School"
    assert [delivery.recipient_name for delivery in first[0].deliveries] == ["Westmarch"]
    everything = await messages_of(town.pool, None)
    assert [len(story.deliveries) for story in everything] == [2] * 5
    assert await messages_of(town.pool, town.county.other_school) == []


async def test_traffic_counts_what_happened(town: Town) -> None:
    await town.school.post_batch([message(town.county) for _ in range(3)])
    letters = await town.warehouse.pull(2, 0)
    await town.warehouse.acknowledge([letters[0].delivery])
    found = await traffic(town.pool)
    assert found.messages == 3
    assert found.deliveries == {"acknowledged": 1, "leased": 1, "offered": 4}
    assert found.types == {"commonroom.attendance_mark.changed": 3}
    assert sum(found.hours.values()) == 3
    assert found.oldest_waiting is not None
    assert await unfinished(town.pool) == 5

    async def seen() -> set[str]:
        return {end_point.party for end_point in (await traffic(town.pool)).end_points}

    await until_async(
        lambda: _equal(seen, {town.county.school, town.county.warehouse}), 10, "both being seen"
    )


async def test_every_end_point_of_a_party_collects_from_the_same_mailbox_without_overlap(town: Town) -> None:
    async with town.pool.acquire() as connection:
        second = await enrolled_client(connection, town.url, town.county.warehouse, town.folder)
    async with second:
        await town.school.post_batch([message(town.county) for _ in range(40)])
        pulls = await asyncio.gather(*(client.pull(10, 0) for client in (town.warehouse, second) * 2))
    deliveries = [letter.delivery for letters in pulls for letter in letters]
    assert len(deliveries) == len(set(deliveries)) == 40


async def _end_attendance(town: Town) -> None:
    ended = MOVEMENTS.replace(
        "active_from: 2020-01-01", "active_from: 2020-01-01\n    active_to: 2020-01-02", 1
    )
    await load_movements(town.pool, _movements(town, ended))


def _movements(town: Town, text: str) -> Any:
    file = town.folder / "changed.yaml"
    file.write_text(text, "utf-8")
    return file


async def _waiting_polls(town: Town) -> bool:
    return await _gauge(town) == 1.0


async def _no_waiting_polls(town: Town) -> bool:
    return await _gauge(town) == 0.0


async def _gauge(town: Town) -> float:
    import httpx2

    async with httpx2.AsyncClient() as http:
        text = (await http.get(f"{town.url}/metrics")).text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith("hub_waiting_polls ")))


async def _equal(found: Any, wanted: object) -> bool:
    return bool(await found() == wanted)
