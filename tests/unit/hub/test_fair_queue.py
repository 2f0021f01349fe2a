"""The fair queue: end points take turns, whatever each of them has piled up."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from commonroom.hub import post as post_module
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.fair_queue import FairQueue
from commonroom.hub.metrics import Metrics
from commonroom.hub.post import Post
from commonroom.settings import Settings
from tests.hub_server import publish_small_county
from tests.unit.hub.test_post import submission


class Bundle(msgspec.Struct, frozen=True):
    """A parcel of the tests."""

    end_point: str
    number: int
    count: int = 1
    size: int = 10


def queue_of(*bundles: Bundle) -> FairQueue[Bundle]:
    """A queue in which these wait."""
    queue: FairQueue[Bundle] = FairQueue()
    for bundle in bundles:
        queue.put(bundle)
    return queue


def test_one_that_floods_does_not_keep_the_others_waiting() -> None:
    flood = [Bundle("flood", number) for number in range(100)]
    queue = queue_of(*flood, Bundle("a", 0), Bundle("b", 0), Bundle("a", 1))
    taken = queue.take(6, 1_000)
    assert [(each.end_point, each.number) for each in taken] == [
        ("flood", 0),
        ("a", 0),
        ("b", 0),
        ("flood", 1),
        ("a", 1),
        ("flood", 2),
    ]


def test_who_was_not_served_is_first_the_next_time() -> None:
    queue = queue_of(*(Bundle("flood", number, count=500) for number in range(9)), Bundle("small", 0))
    assert [each.end_point for each in queue.take(500, 10_000)] == ["flood"]
    assert [each.end_point for each in queue.take(500, 10_000)] == ["small"]
    assert [each.end_point for each in queue.take(500, 10_000)] == ["flood"]


def test_parcels_without_a_body_are_done_one_by_one() -> None:
    queue = queue_of(*(Bundle("a", number, size=0) for number in range(2)), Bundle("a", 2, size=10))
    for parcel in queue.take(10, 1_000):
        queue.done(parcel)
    queue.put(Bundle("a", 3, size=5))
    assert queue.drain() == [Bundle("a", 3, size=5)]
    assert queue.has_room("a", 10, 10)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 600)), max_size=40), st.integers(1, 1_000))
def test_every_parcel_comes_out_once_and_each_line_keeps_its_order(parcels: list[Any], most: int) -> None:
    bundles = [Bundle(name, number, count) for number, (name, count) in enumerate(parcels)]
    queue = queue_of(*bundles)
    out: list[Bundle] = []
    while group := queue.take(most, 10_000):
        assert len(group) == 1 or sum(each.count for each in group) <= most
        out += group
    assert sorted(each.number for each in out) == [each.number for each in bundles]
    for name in "abcd":
        numbers = [each.number for each in out if each.end_point == name]
        assert numbers == sorted(numbers)


def test_a_full_house_still_lets_those_in_who_have_less_than_their_share() -> None:
    queue = queue_of(*(Bundle("flood", number) for number in range(10)))
    assert not queue.has_room("flood", 10, 100)
    assert queue.has_room("small", 10, 100)
    assert not queue.has_room("small", 60, 100)
    for bundle in queue.take(100, 1_000):
        queue.done(bundle)
    assert queue.has_room("flood", 100, 100)


async def test_the_post_stores_a_lone_message_before_the_rest_of_a_flood(
    settings: Settings, pool: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(post_module, "MAX_GROUP_MESSAGES", 4)
    async with pool.acquire() as connection:
        county = await publish_small_county(connection, tmp_path)
    post = Post(settings, Doorbell(settings), Metrics())
    flood = [asyncio.create_task(post.submit([submission(county)])) for _ in range(20)]
    lone = msgspec.structs.replace(submission(county), end_point="lone")
    last = asyncio.create_task(post.submit([lone]))
    await asyncio.sleep(0)  # all of them wait before the writer starts
    writer = asyncio.create_task(post.run())
    await asyncio.gather(*flood, last)
    order = await pool.fetch("SELECT end_point FROM hub.message ORDER BY position")
    assert [row["end_point"] for row in order].index("lone") < 4
    writer.cancel()
    await asyncio.wait([writer])
