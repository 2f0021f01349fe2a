"""Who asks need not wait: what was asked for lately is worked out ahead, and different figures at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import duckdb
import pytest

from commonroom import log
from commonroom.engines import clock
from commonroom.engines.duck import Duck
from commonroom.identity import PUBLIC
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import Figure, Reader, open_reader
from commonroom.warehouse.suppression import Table
from commonroom.warehouse.warming import Asked, end, keep_warm
from tests.unit.warehouse.house import House, enrolment, mark
from tests.waiting import until, until_async

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


LONG_AGO = Asked("absence_overall", "week", date(1900, 1, 1), date(1900, 2, 1))


async def test_a_question_that_cannot_be_answered_is_not_worked_out_ahead(house: House) -> None:
    reader = open_reader(house.settings)
    with pytest.raises(Problem, match="calendar"):
        await reader.figures(
            house.connection, PUBLIC, measure="absence_overall", level="school", grain="week", units=[A],
            first=LONG_AGO.first, last=LONG_AGO.last,
        )  # fmt: skip
    assert reader.lately.questions() == []
    reader.close()


async def test_one_question_that_fails_keeps_no_other_from_being_worked_out_and_is_logged_once(
    house: House, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[str] = []
    monkeypatch.setattr(log, "fault", lambda _, event, __: faults.append(event))
    hiding = Hiding()
    reader = open_reader(house.settings, hiding)
    reader.lately.note(Asked("absence_overall", "week", FIRST, LAST))
    reader.lately.note(LONG_AGO)  # the newest comes first
    await reader.warm(pool, await reader.warm(pool))
    assert hiding.times > 0
    assert len(faults) == 1
    reader.close()


async def test_told_to_stop_the_warm_up_begins_no_further_term(house: House, pool: Any) -> None:
    stop, terms = asyncio.Event(), set()

    def hide(table: Table) -> frozenset[Any]:
        stop.set()
        terms.update(time for _, _, time in table.cells if time.startswith("term"))
        return frozenset()

    reader = open_reader(house.settings, hide)
    marks = [mark(A, pupil, "2026-04-21", "AM", "/") for pupil in range(8)]
    await house.load(house.letter(A, "attendance_mark", marks))
    reader.lately.note(Asked("absence_overall", "week", date(2026, 4, 20), LAST))
    await reader.warm(pool, None, stop)
    assert len(terms) == 1
    await reader.warm(pool)
    assert len(terms) == 2
    reader.close()


async def test_whoever_shuts_down_waits_for_the_warm_up_only_so_long() -> None:
    async def never_ends() -> None:
        await asyncio.Event().wait()

    keeping = asyncio.create_task(never_ends())
    await end(keeping, 0.01)
    assert keeping.cancelled()


def test_closing_the_engine_ends_what_it_is_asked(settings: Settings) -> None:
    duck, ended = Duck(settings, []), []

    def ask_much() -> None:
        try:
            duck.query("SELECT sum(a.range * b.range) FROM range(100000) AS a, range(100000000) AS b")
        except Exception as error:
            ended.append(type(error).__name__)

    asking = threading.Thread(target=ask_much, daemon=True)
    asking.start()
    until(lambda: bool(duck._open), what="the question")

    duck.close()
    asking.join(10)
    assert ended == ["InterruptException"]
    with pytest.raises(duckdb.ConnectionException, match="closed"):
        duck.query("SELECT 1")
