"""Numbers, gaps and replay: a recipient can always get back to what it would have, had it been on all the time."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonroom.engines import clock
from commonroom.exchange import Letter, Receipt, RecordSet, ReplayRequest, Seen, decode, encode
from commonroom.hub import ledger, mailbox, unfinished
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import enrolled_client, message
from tests.unit.hub.conftest import Town
from tests.waiting import until_async


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    return settings_with(settings, lease_seconds=1)


async def test_letters_of_a_mailbox_are_numbered_without_gaps_whoever_collects_them(town: Town) -> None:
    async with town.pool.acquire() as connection:
        second = await enrolled_client(connection, town.url, town.county.warehouse, town.folder)
    async with second:
        await town.school.post_batch([message(town.county) for _ in range(60)])
        pulls = await asyncio.gather(*(client.pull(9, 0) for client in (town.warehouse, second) * 4))
    letters = [letter for found in pulls for letter in found]
    assert sorted(letter.sequence or 0 for letter in letters) == list(range(1, 61))
    assert all(letter.previous == (letter.sequence or 0) - 1 for letter in letters)
    by_answer = [[letter.sequence for letter in found] for found in pulls]
    assert all(numbers == sorted(numbers, key=lambda each: each or 0) for numbers in by_answer)
    assert [letter.sequence for letter in await town.authority.pull(2, 0)] == [1, 2]


async def test_a_letter_keeps_its_number_and_a_rollback_leaves_no_gap(town: Town) -> None:
    await town.school.post_batch([message(town.county) for _ in range(3)])
    async with town.pool.acquire() as connection:
        undone = connection.transaction()
        await undone.start()
        lost = await mailbox.lease(connection, town.county.warehouse, "lost", 2, 60)
        await undone.rollback()
    assert [letter.sequence for letter in lost] == [1, 2]
    first = await town.warehouse.pull(1, 0)
    again = await until_async(lambda: town.warehouse.pull(10, 0), 10, "the letters")
    while len(again) < 3:
        again += await until_async(lambda: town.warehouse.pull(10, 0), 10, "the first letter again")
    numbers = {letter.envelope.id: letter.sequence for letter in again}
    assert numbers[first[0].envelope.id] == first[0].sequence == 1
    assert sorted(number or 0 for number in numbers.values()) == [1, 2, 3]


async def test_a_replay_delivers_again_as_a_new_attempt_without_a_second_report(town: Town) -> None:
    sent = await town.school.post_batch([message(town.county) for _ in range(4)])
    letters = await town.warehouse.pull(10, 0)
    await town.warehouse.acknowledge([letter.delivery for letter in letters[:3]])
    await town.warehouse.refuse(letters[3].delivery, "Not now")
    assert len(await town.school.pull(10, 0)) == 4
    replayed = await town.warehouse.replay(ReplayRequest(from_sequence=3))
    assert (replayed.letters, replayed.more) == (2, False)
    assert (replayed.first_position, replayed.last_position) == (letters[2].position, letters[3].position)
    again = await town.warehouse.pull(10, 0)
    assert [(one.sequence, one.attempt, one.body) for one in again] == [
        (one.sequence, 2, one.body) for one in letters[2:]
    ]
    await town.warehouse.acknowledge([letter.delivery for letter in again])
    assert await town.pool.fetchval("SELECT count(*) FROM hub.report WHERE lease_holder IS NULL") == 0
    tracked = await town.school.track([each for each in sent if isinstance(each, Receipt)][3].message)
    mine = next(one for one in tracked.deliveries if one.recipient == town.county.warehouse)
    assert (mine.state, mine.reason, mine.attempt, mine.replays) == ("refused", "Not now", 2, 1)
    events = [entry.event for entry in await ledger.entries_of(town.pool, letters[3].position)]
    assert events == ["accepted", "leased", "refused", "replayed", "leased", "acknowledged"]
    audit = await town.pool.fetchrow("SELECT * FROM hub.replay")
    assert (audit["party"], audit["end_point"]) == (town.county.warehouse, town.warehouse.end_point)
    assert (audit["asked"]["from_sequence"], audit["letters"]) == (3, 2)


async def test_positions_and_times_name_letters_too_and_only_ones_own(town: Town) -> None:
    began = await clock.now(town.pool)
    await town.school.post_batch([message(town.county) for _ in range(3)])
    letters = await town.warehouse.pull(10, 0)
    await town.warehouse.acknowledge([letter.delivery for letter in letters])

    async def taken(request: ReplayRequest) -> list[int | None]:
        await town.warehouse.replay(request)
        found = await town.warehouse.pull(10, 0)
        if found:
            await town.warehouse.acknowledge([letter.delivery for letter in found])
        return [letter.sequence for letter in found]

    at = letters[1].position
    assert await taken(ReplayRequest(from_position=at, to=at)) == [2]
    assert await taken(ReplayRequest(from_sequence=1, to=2)) == [1, 2]
    assert await taken(ReplayRequest(since=began, to=letters[2].accepted_at)) == [1, 2, 3]
    assert await taken(ReplayRequest(from_sequence=1, after_position=at)) == [3]
    assert await taken(ReplayRequest(since=letters[2].accepted_at + timedelta(seconds=1))) == []
    assert (await town.authority.replay(ReplayRequest(from_position=1))).letters == 0
    assert (await town.other_school.replay(ReplayRequest(from_position=1))).letters == 0


async def test_past_its_retention_or_its_expiry_a_letter_is_not_replayed(town: Town) -> None:
    now = await clock.now(town.pool)
    await town.school.post(*message(town.county))
    await town.school.post(*message(town.county, expirytime=now + timedelta(days=2)))
    letters = await town.warehouse.pull(10, 0)
    await town.warehouse.acknowledge([letter.delivery for letter in letters])
    await clock.set_to(town.pool, town.settings, now + timedelta(days=3))
    assert (await town.warehouse.replay(ReplayRequest(from_sequence=1))).letters == 1
    [again] = await town.warehouse.pull(10, 0)
    await town.warehouse.acknowledge([again.delivery])
    await clock.set_to(town.pool, town.settings, now + timedelta(days=31))
    assert (await town.warehouse.replay(ReplayRequest(from_sequence=1))).letters == 0


@pytest.mark.parametrize(
    "request_",
    [
        ReplayRequest(),
        ReplayRequest(from_sequence=1, from_position=1),
        ReplayRequest(from_sequence=1, to=datetime.fromisoformat("2026-01-01T00:00:00+00:00")),
        ReplayRequest(since=datetime.fromisoformat("2026-01-01T00:00:00+00:00"), to=3),
    ],
)
async def test_a_request_that_says_two_things_or_none_is_refused(town: Town, request_: ReplayRequest) -> None:
    with pytest.raises(Problem) as caught:
        await town.warehouse.replay(request_)
    assert (caught.value.code, caught.value.status) == ("CR-135", 422)


class Subscriber:
    """Who keeps the newest version of each record, as stores do, and the numbers it has loaded beside them."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.rows: dict[str, tuple[int, str]] = {}
        self.seen = Seen()

    def load(self, letters: list[Letter]) -> None:
        """Take records in whatever order and however often they come."""
        for letter in letters:
            records = decode(letter.body, letter.envelope.datacontenttype, 1_000_000).records
            for record in records["attendance_mark"]:
                new = (record["version"], record["code"])
                self.rows[record["upn"]] = max(self.rows.get(record["upn"], new), new)
        self.seen.note(letter.sequence for letter in letters)

    async def catch_up(self) -> None:
        """Drain the mailbox."""
        while letters := await self.client.pull(7, 0):
            self.load(letters)
            await self.client.acknowledge([letter.delivery for letter in letters])


async def test_a_subscriber_off_for_a_week_ends_with_the_state_of_one_always_on(town: Town) -> None:
    always, weekly = Subscriber(town.authority), Subscriber(town.warehouse)
    start = await clock.now(town.pool)
    backup: tuple[dict[str, tuple[int, str]], int] = ({}, 0)
    for day in range(10):
        await clock.set_to(town.pool, town.settings, start + timedelta(days=day))
        await town.school.post_batch([_mark(town, pupil, day) for pupil in range(day, day + 3)])
        await always.catch_up()
        if day < 2:
            await weekly.catch_up()
        if day == 0:
            backup = dict(weekly.rows), weekly.seen.through
    # Back after a week, it loads a part, loses what it has not acknowledged, and then its disk: a backup is put back.
    weekly.load(await weekly.client.pull(20, 0))
    weekly.rows, weekly.seen = backup[0], Seen(backup[1])
    await until_async(lambda: _caught_up(town, weekly), 20, "the leases ending")
    assert weekly.rows != always.rows
    assert weekly.seen.gaps
    await weekly.client.replay(ReplayRequest(from_sequence=weekly.seen.through + 1))
    await weekly.catch_up()
    assert weekly.rows == always.rows
    assert len(weekly.rows) == 12
    assert (weekly.seen.through, weekly.seen.gaps) == (always.seen.through, [])


async def _caught_up(town: Town, subscriber: Subscriber) -> bool:
    await subscriber.catch_up()
    return await unfinished(town.pool) == 0


def _mark(town: Town, pupil: int, day: int) -> Any:
    record = {"upn": f"P{pupil}", "version": day * 100 + pupil, "code": "/" if (pupil + day) % 5 else "N"}
    body = encode(RecordSet(standard="2026.1", records={"attendance_mark": [record]}))
    envelope, _ = message(town.county, contentmode="changes")
    return msgspec.structs.replace(envelope, datacontenttype="application/vnd.commonroom.records+json"), body


@given(st.lists(st.integers(1, 30), max_size=60))
def test_gaps_are_the_numbers_that_have_not_come(numbers: list[int]) -> None:
    seen = Seen()
    for number in numbers:
        seen.note([number, None])
    missing = {number for first, last in seen.gaps for number in range(first, last + 1)}
    assert missing == set(range(1, max(numbers, default=0))) - set(numbers)
    assert set(range(1, seen.through + 1)) <= set(numbers)
    assert seen.through + 1 not in numbers
