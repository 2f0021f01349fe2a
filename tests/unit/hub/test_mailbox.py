"""Leases: a letter belongs to one end point for a while, comes back when it is not settled, and is settled once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom.hub import mailbox
from commonroom.ids import uuid7
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import message
from tests.unit.hub.conftest import Town
from tests.waiting import until_async

LONG = 3600.0
OVER = 0.0  # a lease that has ended when it begins


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    return settings_with(settings, lease_seconds=1)


class Box(msgspec.Struct, frozen=True):
    """The warehouse's mailbox with two letters, seen by two end points `a` and `b`."""

    pool: Any
    party: str

    async def lease(self, end_point: str, seconds: float = LONG, limit: int = 10) -> list[str]:
        """Delivery ids, leased."""
        async with self.pool.acquire() as connection:
            letters = await mailbox.lease(connection, self.party, end_point, limit, seconds)
        return [str(letter.delivery) for letter in letters]

    async def state(self, delivery: str) -> tuple[str, int, str | None]:
        """State, attempt, reason."""
        row = await self.pool.fetchrow(
            "SELECT state, attempt, reason FROM hub.delivery WHERE id = $1", delivery
        )
        return row["state"], row["attempt"], row["reason"]


@pytest.fixture
async def box(town: Town) -> Box:
    await town.school.post_batch([message(town.county), message(town.county)])
    return Box(town.pool, town.county.warehouse)


async def test_a_leased_letter_is_not_given_to_anybody_else(box: Box) -> None:
    assert len(await box.lease("a")) == 2
    assert await box.lease("b") == []
    assert await box.lease("a") == []


async def test_letters_come_oldest_first_and_no_more_than_asked_for(box: Box) -> None:
    [first] = await box.lease("a", limit=1)
    [second] = await box.lease("a", limit=1)
    assert (await box.state(first), await box.state(second)) == (("leased", 1, None), ("leased", 1, None))
    positions = await box.pool.fetch(
        "SELECT id::text FROM hub.delivery WHERE recipient = $1 ORDER BY message", box.party
    )
    assert [row["id"] for row in positions] == [first, second]


async def test_a_lease_that_ends_offers_the_letter_again_and_counts_the_attempt(town: Town) -> None:
    receipt = await town.school.post(*message(town.county))
    [first] = await town.warehouse.pull(10, 0)

    async def again() -> list[Any]:
        return list(await town.warehouse.pull(10, 0))

    [second] = await until_async(again, 10, "the letter being offered again")
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.delivery == second.delivery
    assert second.position == receipt.position


async def test_a_late_acknowledgement_counts_while_nobody_else_has_the_letter(box: Box) -> None:
    first, second = await box.lease("a", OVER)
    settled = await mailbox.acknowledge(box.pool, [first], box.party, "a")
    assert settled.settled == [first]
    assert await box.lease("b") == [second]


async def test_who_lost_the_lease_to_another_cannot_settle_the_letter(box: Box) -> None:
    first, second = await box.lease("a", OVER)
    assert await box.lease("b") == [first, second]
    assert (await mailbox.acknowledge(box.pool, [first], box.party, "a")).ignored == [first]
    assert (await mailbox.refuse(box.pool, [first], box.party, "a", "no")).ignored == [first]
    assert (await mailbox.extend(box.pool, [first], box.party, "a", 9)).ignored == [first]
    assert (await mailbox.release(box.pool, [first], box.party, "a")).ignored == [first]
    assert await box.state(first) == ("leased", 2, None)
    assert (await mailbox.acknowledge(box.pool, [first], box.party, "b")).settled == [first]


async def test_another_party_cannot_settle_a_letter_even_under_the_same_end_point_name(box: Box) -> None:
    first, _ = await box.lease("a")
    settled = await mailbox.acknowledge(box.pool, [first], "urn:commonroom:org:another", "a")
    assert settled.ignored == [first]
    assert await box.state(first) == ("leased", 1, None)


async def test_acknowledging_twice_is_the_same_as_once(box: Box) -> None:
    first, _ = await box.lease("a")
    for _ in range(2):
        assert (await mailbox.acknowledge(box.pool, [first, first], box.party, "a")).settled == [first]
    assert await box.state(first) == ("acknowledged", 1, None)


async def test_what_is_finished_stays_as_it_is(box: Box) -> None:
    first, second = await box.lease("a")
    await mailbox.acknowledge(box.pool, [first], box.party, "a")
    await mailbox.refuse(box.pool, [second], box.party, "a", "unreadable\x00\nbody")
    assert (await mailbox.refuse(box.pool, [first], box.party, "a", "no")).ignored == [first]
    assert (await mailbox.acknowledge(box.pool, [second], box.party, "a")).ignored == [second]
    assert (await mailbox.release(box.pool, [first, second], box.party, "a")).ignored == [first, second]
    assert await box.state(first) == ("acknowledged", 1, None)
    assert await box.state(second) == ("refused", 1, "unreadable  body")
    assert await box.lease("b") == []


async def test_released_letters_are_offered_at_once_and_releasing_twice_is_harmless(box: Box) -> None:
    first, second = await box.lease("a")
    for _ in range(2):
        assert (await mailbox.release(box.pool, [first, second], box.party, "a")).settled == [first, second]
    assert await box.lease("b") == [first, second]


async def test_an_extended_lease_keeps_the_letter(box: Box) -> None:
    first, second = await box.lease("a", OVER)
    assert (await mailbox.extend(box.pool, [first], box.party, "a", 600)).settled == [first]
    assert await box.lease("b") == [second]


async def test_ids_that_are_none_and_letters_never_leased_are_ignored(box: Box) -> None:
    first = await box.lease("a", limit=1)
    offered = await box.pool.fetchval("SELECT id::text FROM hub.delivery WHERE state = 'offered' LIMIT 1")
    unknown = [offered, "nonsense", str(uuid7())]
    settled = await mailbox.acknowledge(box.pool, [*unknown, *first], box.party, "a")
    assert (settled.settled, settled.ignored) == (first, unknown)


async def test_one_answer_holds_letters_up_to_a_size_and_at_least_one(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "MAX_ANSWER_BYTES", 1_000)
    await town.school.post_batch([message(town.county, b"x" * size) for size in (5_000, 400, 400, 400, 400)])
    sizes = [[len(letter.body) for letter in await town.warehouse.pull(10, 0)] for _ in range(3)]
    assert sizes == [[5_000], [400, 400, 400], [400]]


async def test_a_released_letter_wakes_another_end_point_that_waits(town: Town, tmp_path: Path) -> None:
    await town.school.post(*message(town.county))
    [letter] = await town.warehouse.pull(1, 0)
    await town.warehouse.release([letter.delivery])
    [again] = await town.warehouse.pull(1, 5)
    assert again.delivery == letter.delivery
