"""The loader against a real hub: it enrols itself, drains its mailbox, and tells senders what became of their letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from deltalake.exceptions import DeltaError

from commonroom import exchange
from commonroom.engines import delta_log
from commonroom.exchange import Client, Envelope, RecordSet
from commonroom.ids import uuid7
from commonroom.settings import Settings
from commonroom.warehouse import batches, heads, letters, loader
from tests.hub_server import MOVEMENTS, SmallCounty, enrolled_client, hub_here, publish_small_county
from tests.unit.warehouse.house import mark
from tests.waiting import until_async

TYPE = "commonroom.attendance-mark.changed"
A, B = "990001", "990002"


class Town(msgspec.Struct, frozen=True):
    """A hub with the county's first school."""

    settings: Settings
    pool: Any
    county: SmallCounty
    school: Client

    async def send(self, *records: dict[str, Any]) -> str:
        """Post marks as the first school; the hub's id of the message."""
        envelope = Envelope(
            id=str(uuid7()), source=self.county.school, type=TYPE, datacontenttype=exchange.RECORDS_TYPE
        )
        body = exchange.encode(RecordSet(standard="2026.1", records={"attendance_mark": list(records)}))
        return (await self.school.post(envelope, body)).message

    async def fate(self, message: str) -> tuple[str, str | None]:
        """State and reason of the warehouse's copy."""
        tracking = await self.school.track(message)
        (mine,) = [one for one in tracking.deliveries if one.recipient == self.county.warehouse]
        return mine.state, mine.reason

    async def settled(self, message: str) -> tuple[str, str | None]:
        """The same, once the story has ended."""

        async def ended() -> bool:
            return (await self.fate(message))[0] in ("acknowledged", "refused")

        await until_async(ended, 20, "the end of the message's story")
        return await self.fate(message)


@pytest.fixture
async def town(settings: Settings, pool: Any, tmp_path: Path) -> AsyncIterator[Town]:
    movements = MOVEMENTS.replace("commonroom.attendance_mark.changed", TYPE)
    async with hub_here(settings) as served, pool.acquire() as connection:
        county = await publish_small_county(connection, tmp_path, movements)
        async with await enrolled_client(connection, served.hub_url, county.school, tmp_path) as school:
            yield Town(served, pool, county, school)


@asynccontextmanager
async def loading(settings: Settings) -> AsyncIterator[None]:
    """A loader at work in this event loop."""
    stop = asyncio.Event()
    task = asyncio.create_task(loader.run(settings, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


async def test_what_a_school_posts_is_in_the_warehouse_when_the_hub_says_acknowledged(town: Town) -> None:
    async with loading(town.settings):
        message = await town.send(mark(A, 1, "2026-09-07", "AM", "/"))
        assert await town.settled(message) == ("acknowledged", None)
        head = await heads.newest(town.pool)
        assert (set(head.tables), head.position > 0) == ({"attendance_mark"}, True)


async def test_the_sender_learns_why_a_letter_was_refused_and_the_next_one_is_loaded(town: Town) -> None:
    async with loading(town.settings):
        bad = await town.send(mark(B, 1, "2026-09-07", "AM", "/"))
        good = await town.send(mark(A, 1, "2026-09-07", "AM", "/"))
        state, reason = await town.settled(bad)
        assert (state, "does not speak for" in (reason or "")) == ("refused", True)
        assert await town.settled(good) == ("acknowledged", None)


async def test_it_enrols_once_and_keeps_its_end_point(town: Town) -> None:
    for session in ("AM", "PM"):
        async with loading(town.settings):
            await town.settled(await town.send(mark(A, 1, "2026-09-07", session, "/")))
    count = await town.pool.fetchval(
        "SELECT count(*) FROM identity.end_point WHERE party = $1", town.county.warehouse
    )
    assert count == 1


async def test_two_loaders_share_one_lease_and_every_fact_is_loaded_once(town: Town) -> None:
    async with loading(town.settings), loading(town.settings):
        days = [date(2026, 9, day).isoformat() for day in range(7, 12)]
        messages = [await town.send(mark(A, 1, day, "AM", "/"), mark(A, 1, day, "PM", "\\")) for day in days]
        for message in messages:
            assert await town.settled(message) == ("acknowledged", None)
    numbers = await town.pool.fetch("SELECT number FROM warehouse.head ORDER BY number")
    assert [row["number"] for row in numbers] == list(range(1, len(numbers) + 1))


async def test_it_waits_for_a_directory_that_comes_later(
    settings: Settings, pool: Any, tmp_path: Path
) -> None:
    async with hub_here(settings) as served, loading(served), pool.acquire() as connection:
        county = await publish_small_county(
            connection, tmp_path, MOVEMENTS.replace("commonroom.attendance_mark.changed", TYPE)
        )
        async with await enrolled_client(connection, served.hub_url, county.school, tmp_path) as school:
            late = Town(served, pool, county, school)
            message = await late.send(mark(A, 1, "2026-09-07", "AM", "/"))
            assert await late.settled(message) == ("acknowledged", None)


async def test_it_carries_on_after_the_database_dropped_its_connection(town: Town) -> None:
    async with loading(town.settings):
        await town.settled(await town.send(mark(A, 1, "2026-09-07", "AM", "/")))
        dropped = await town.pool.fetchval(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            heads.LEASE[0],
        )
        assert dropped
        assert await town.settled(await town.send(mark(A, 1, "2026-09-07", "PM", "\\"))) == (
            "acknowledged",
            None,
        )


async def test_a_letter_whose_reading_fails_is_refused_and_takes_no_other_with_it(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = await town.send(mark(A, 1, "2026-09-07", "AM", "/"))
    bad = await town.send(mark(A, 2, "2026-09-08", "AM", "/"))
    position = (await town.school.track(bad)).position
    really_read = letters.read

    def faulty(letter: exchange.Letter, *others: Any) -> Any:
        if letter.position == position:
            raise RuntimeError("a fault of our own code, put here to see what it does")
        return really_read(letter, *others)

    monkeypatch.setattr(letters, "read", faulty)
    async with loading(town.settings):
        state, reason = await town.settled(bad)
        assert (state, "RuntimeError" in (reason or "")) == ("refused", True)
        assert await town.settled(good) == ("acknowledged", None)


@pytest.mark.parametrize(
    "fault", [DeltaError("no space left on device"), delta_log.not_as_put("s3://b/t", "a file is not there")]
)
async def test_a_store_that_cannot_be_written_refuses_nothing_and_goes_on_once_it_can(
    town: Town, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    failed = asyncio.Event()
    really_append = batches.delta.append

    def full(*given: Any, **named: Any) -> Any:
        failed.set()
        raise fault

    monkeypatch.setattr(batches.delta, "append", full)
    async with loading(town.settings):
        message = await town.send(mark(A, 1, "2026-09-07", "AM", "/"))
        await asyncio.wait_for(failed.wait(), 20)
        monkeypatch.setattr(batches.delta, "append", really_append)
        assert await town.settled(message) == ("acknowledged", None)
