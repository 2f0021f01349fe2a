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
from tests.unit.warehouse.house import House
from tests.unit.warehouse.test_warming import FIRST, LAST, A, tell

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


async def _through(reader: Reader, gate: threading.Event, key: int) -> bool:
    assert turnstile.AT_ONCE + turnstile.WAITING == 4
    return await reader._turnstile.through(key, lambda: gate.wait(PATIENCE))


async def _ask(reader: Reader, connection: Any, grain: str = "week", **more: Any) -> list[Figure]:
    return await reader.figures(
        connection, PUBLIC, measure="headcount", level="school", grain=grain, units=[A], first=FIRST, last=LAST, **more
    )  # fmt: skip
