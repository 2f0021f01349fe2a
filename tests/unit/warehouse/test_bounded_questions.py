"""What was known before, and figures by characteristic, wait at the turnstile; what is known now does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import Figure, Reader, open_reader, turnstile
from tests.unit.warehouse.house import House, enrolment
from tests.unit.warehouse.test_warming import FIRST, LAST, A, tell
from tests.waiting import until_async

PATIENCE = 20.0
LATER = datetime.fromisoformat("2026-12-30T12:00+00:00")


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-12-31T12:00+00:00"))
        house = await House(connection, settings, [A]).open()
        await house.register()
        await tell(house, 8)
        yield house


async def test_what_is_expensive_is_refused_while_enough_is_worked_out_and_the_rest_is_answered(
    house: House, settings: Settings
) -> None:
    reader = open_reader(settings)
    gate = threading.Event()
    try:
        kept = await _ask(reader, house.connection, known_at=LATER)
        others = [asyncio.create_task(_through(reader, gate, key)) for key in range(4)]
        await asyncio.wait(others, timeout=0.0)
        for more in ({"known_at": LATER.replace(day=29)}, {"characteristic": "sex", "grain": "term"}):
            with pytest.raises(Problem) as refused:
                await _ask(reader, house.connection, **more)
            assert (refused.value.code, refused.value.status) == ("CR-335", 503)
        assert await _ask(reader, house.connection)
        assert await _ask(reader, house.connection, known_at=LATER) == kept
        gate.set()
        await asyncio.gather(*others)
        assert await _ask(reader, house.connection, known_at=LATER.replace(day=29))
    finally:
        gate.set()
        reader.close()
        house.duck.close()


async def test_answers_are_kept_by_how_many_figures_they_have(house: House, settings: Settings) -> None:
    reader = open_reader(settings)
    try:
        weeks = await _ask(reader, house.connection)
        then = await _ask(reader, house.connection, known_at=LATER)
        assert weeks
        assert reader.kept == 2 + len(weeks) + len(then)
    finally:
        reader.close()
        house.duck.close()


async def test_while_new_facts_are_worked_in_the_answer_of_before_is_given_as_of_its_batch(
    house: House, settings: Settings
) -> None:
    reader, gate = open_reader(settings, patience=0.05), threading.Event()
    try:
        asked: dict[str, Any] = {"grain": "term", "characteristic": "sex"}
        before = await _in_time(reader, house.connection, **asked)
        await house.load(
            house.letter(A, "enrolment", [enrolment(A, pupil, "2026-09-01") for pupil in (8, 9)])
        )
        others = [asyncio.create_task(_through(reader, gate, key)) for key in range(4)]
        await asyncio.wait(others, timeout=0.0)
        assert await _ask(reader, house.connection, **asked) == before
        with pytest.raises(Problem, match="no more can wait"):
            await _ask(reader, house.connection, grain="term", characteristic="fsm")
        gate.set()
        await asyncio.gather(*others, return_exceptions=True)
        after = await _in_time(reader, house.connection, newer_than=before[0].batch, **asked)
        assert [one.numerator for one in after] != [one.numerator for one in before]
    finally:
        gate.set()
        reader.close()
        house.duck.close()


async def _in_time(reader: Reader, connection: Any, newer_than: int = 0, **asked: Any) -> list[Figure]:
    """The answer, asked for again and again as those do who are told to come again."""
    found: list[Figure] = []

    async def ready() -> bool:
        try:
            found[:] = await _ask(reader, connection, **asked)
        except Problem as problem:
            if problem.code != "CR-339":
                raise
            return False
        return found[0].batch > newer_than

    await until_async(ready, PATIENCE, "the figures having been worked out")
    return list(found)


async def _through(reader: Reader, gate: threading.Event, key: int) -> bool:
    assert turnstile.AT_ONCE + turnstile.WAITING == 4
    return await reader._turnstile.through(key, lambda: gate.wait(PATIENCE))


async def _ask(reader: Reader, connection: Any, grain: str = "week", **more: Any) -> list[Figure]:
    return await reader.figures(
        connection, PUBLIC, measure="headcount", level="school", grain=grain, units=[A], first=FIRST, last=LAST, **more
    )  # fmt: skip
