"""Who asks need not wait: what was asked for lately is worked out ahead, and different figures at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.settings import Settings
from commonroom.warehouse import Figure, Reader, open_reader
from commonroom.warehouse.suppression import Table
from commonroom.warehouse.warming import keep_warm
from tests.unit.warehouse.house import House, enrolment, mark
from tests.waiting import until_async

A = "990001"
FIRST, LAST = date(2026, 9, 7), date(2026, 9, 11)


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-12-31T12:00+00:00"))
        house = await House(connection, settings, [A]).open()
        await house.register()
        await tell(house, 8)
        yield house


async def tell(house: House, pupils: int) -> None:
    marks = [mark(A, pupil, "2026-09-07", "AM", "/") for pupil in range(pupils)]
    await house.load(house.letter(A, "attendance_mark", marks))
    await house.load(
        house.letter(A, "enrolment", [enrolment(A, pupil, "2026-09-01") for pupil in range(pupils)])
    )


async def ask(reader: Reader, connection: Any, measure: str) -> list[Figure]:
    return await reader.figures(
        connection, PUBLIC, measure=measure, level="school", grain="week", units=[A], first=FIRST, last=LAST
    )


class Hiding:
    """Hides nothing, and counts how often it was asked to: once and more for every release that is worked out."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, _: Table) -> frozenset[Any]:
        self.times += 1
        return frozenset()


async def test_after_a_new_head_the_first_reader_finds_what_was_asked_for_lately_worked_out(
    house: House, pool: Any
) -> None:
    hiding = Hiding()
    reader, stop = open_reader(house.settings, hiding), asyncio.Event()
    await ask(reader, house.connection, "absence_overall")
    keeping = asyncio.create_task(keep_warm(reader, pool, stop))
    try:
        seen = hiding.times
        await tell(house, 30)

        async def worked_out() -> bool:
            return hiding.times > seen

        await until_async(worked_out, 20, "the release of the new head")
    finally:
        stop.set()
        await keeping
    done = hiding.times
    (figure,) = await ask(reader, house.connection, "absence_overall")
    assert (figure.denominator, hiding.times) == (30, done)
    assert await reader.warm(pool, await reader.warm(pool)) is not None
    assert hiding.times == done, "the same head was worked out twice"
    reader.close()


async def test_a_release_that_takes_long_keeps_nobody_from_another_one(house: House, pool: Any) -> None:
    other_is_done = threading.Event()
    waited = []

    def hide(table: Table) -> frozenset[Any]:
        if any(name[0].startswith("absence") for name in table.cells):
            waited.append(other_is_done.wait(20))
        return frozenset()

    reader = open_reader(house.settings, hide)
    async with pool.acquire() as connection:
        slow = asyncio.create_task(ask(reader, connection, "absence_overall"))
        (figure,) = await ask(reader, house.connection, "headcount")
        other_is_done.set()
        await slow
    assert figure.numerator == 8
    assert waited
    assert all(waited), "the second release waited for the first"
    reader.close()


async def test_two_who_ask_for_the_same_release_have_it_worked_out_once(house: House, pool: Any) -> None:
    hiding = Hiding()
    reader = open_reader(house.settings, hiding)
    await ask(reader, house.connection, "absence_overall")
    once = hiding.times
    await tell(house, 40)
    async with pool.acquire() as connection:
        answers = await asyncio.gather(
            ask(reader, house.connection, "absence_overall"), ask(reader, connection, "absence_overall")
        )
    assert answers[0] == answers[1]
    assert hiding.times == 2 * once
    reader.close()
