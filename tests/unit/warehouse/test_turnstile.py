"""The turnstile of expensive questions: few at once, the same one once, and a plain refusal instead of a long queue."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from commonroom.problems import Problem
from commonroom.warehouse.turnstile import Turnstile
from tests.waiting import until_async

PATIENCE = 10.0


class Work:
    """Work that goes on until it is let go, and knows how often it was begun."""

    def __init__(self) -> None:
        self.begun, self.go_on = 0, threading.Event()

    def __call__(self) -> int:
        self.begun += 1
        assert self.go_on.wait(PATIENCE)
        return self.begun


async def test_the_same_question_is_worked_out_once_and_outlives_who_asked_first() -> None:
    work, turnstile = Work(), Turnstile(at_once=1, waiting=2)
    first, second = (asyncio.create_task(turnstile.through("same", work)) for _ in range(2))
    await _begun(work)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.go_on.set()
    assert await second == 1


async def test_when_enough_wait_the_next_is_refused_with_when_to_come_again_and_later_let_in() -> None:
    works, turnstile = [Work(), Work(), Work()], Turnstile(at_once=1, waiting=1)
    tasks = [asyncio.create_task(turnstile.through(key, works[key])) for key in (0, 1)]
    await _begun(works[0])
    with pytest.raises(Problem) as refused:
        await turnstile.through(2, works[2])
    assert (refused.value.code, refused.value.status) == ("CR-335", 503)
    assert refused.value.extra["retry_after"] > 0
    assert works[1].begun == 0, "more were let in at once than there are places"
    for work in works:
        work.go_on.set()
    assert await asyncio.gather(*tasks) == [1, 1]
    assert await turnstile.through(2, works[2]) == 1


async def test_who_asks_and_goes_away_again_and_again_fills_no_queue() -> None:
    work, turnstile = Work(), Turnstile(at_once=1, waiting=1)
    tasks = [asyncio.create_task(turnstile.through(key, work)) for key in range(2)]
    await _begun(work)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(Problem, match="no more can wait"):
        await turnstile.through("another", work)
    work.go_on.set()


async def test_nobody_waits_longer_than_patience_and_the_work_goes_on() -> None:
    work, turnstile = Work(), Turnstile()
    with pytest.raises(Problem) as refused:
        await turnstile.through("slow", work, patience=0.05)
    assert (refused.value.code, refused.value.status) == ("CR-339", 503)
    work.go_on.set()
    assert await turnstile.through("slow", work, patience=PATIENCE) == 1


async def test_a_fault_is_told_to_who_waits_and_not_kept() -> None:
    turnstile = Turnstile()

    def fault() -> Any:
        raise ValueError("worked out wrongly")

    with pytest.raises(ValueError, match="wrongly"):
        await turnstile.through("key", fault)
    assert await turnstile.through("key", lambda: 5) == 5


async def _begun(work: Work) -> None:
    async def begun() -> bool:
        return work.begun > 0

    await until_async(begun, PATIENCE, "the work having begun")
