"""Tables that are put back to an earlier state, as docs/operate.md has it: what came since comes again and counts once."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import checks, heads, open_reader, tables
from tests.unit.warehouse.house import House, enrolment

SCHOOL = "990001"
DAY = date(2026, 9, 9)
PAGE = Path(__file__).parents[3] / "docs" / "operate.md"


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-30T12:00+00:00"))
        house = await House(connection, settings, [SCHOOL]).open()
        await house.register()
        yield house


async def headcount(house: House) -> int | None:
    reader = open_reader(house.settings)  # as after a restart
    try:
        (figure,) = await reader.figures(
            house.connection, PUBLIC, measure="headcount", level="school", grain="day", units=[SCHOOL],
            first=DAY, last=DAY,
        )  # fmt: skip
    finally:
        reader.close()
    return figure.numerator


async def test_what_came_since_the_copy_comes_again_and_counts_once(house: House) -> None:
    def letter(first: int, last: int) -> Any:
        return house.letter(
            SCHOOL, "enrolment", [enrolment(SCHOOL, one, "2026-09-01") for one in range(first, last)]
        )

    await house.load(letter(0, 10))
    table = tables.of("enrolment").folder(house.settings)
    assert isinstance(table, Path)
    shutil.copytree(table, copy := table.with_name("copy"))
    of_copy = await heads.newest(house.connection)
    await clock.set_to(house.connection, house.settings, datetime.fromisoformat("2026-10-01T12:00+00:00"))
    since = letter(10, 30)
    await house.load(since)
    assert await headcount(house) == 30

    shutil.rmtree(table)
    copy.rename(table)
    with pytest.raises(Problem, match="CR-310"):  # the head names a version that is not there
        await house.load(letter(30, 40))
    (delete,) = re.findall(
        r"`(DELETE FROM warehouse\.head WHERE committed_at > )'...'`", PAGE.read_text("utf-8")
    )
    await house.connection.execute(f"{delete} '2026-09-30T18:00+00:00'")
    head = await heads.newest(house.connection)
    assert head == of_copy
    assert [one for one in checks.verify(house.settings, house.duck, head) if one.faults] == []
    assert await headcount(house) == 10
    await house.load(since)
    assert await headcount(house) == 30
    await house.load(since)
    assert await headcount(house) == 30
