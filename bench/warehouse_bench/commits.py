"""Batches of 10,000 marks in 60 letters, loaded alone and beside readers: from rows to a head, from letters to a head.

The readers are processes that ask for the numbers of every school's week by the reader's own way (`asker`).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

from hub_bench.meters import percentile

from commonroom.engines.duck import Duck
from commonroom.warehouse import batches, heads, loader
from tests.unit.warehouse.house import House, mark
from warehouse_bench.store import MARKS, Store

LETTERS, MARKS_A_LETTER, READERS = 60, 167, 2
_ASKER = Path(__file__).with_name("asker.py")


class _Watched:
    """How long the steps of one batch took, by the loader's own functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._append, self._announce = batches._append_all, batches._announce

    def __enter__(self) -> _Watched:
        def append(*arguments: Any) -> Any:
            began = time.perf_counter()
            done = self._append(*arguments)
            self.seconds["append"] = time.perf_counter() - began
            return done

        async def announce(*arguments: Any) -> Any:
            began = time.perf_counter()
            await self._announce(*arguments)
            self.seconds["announce"] = time.perf_counter() - began

        batches._append_all, batches._announce = append, announce
        return self

    def __exit__(self, *_: object) -> None:
        batches._append_all, batches._announce = self._append, self._announce


async def measure(store: Store, days: list[date], number: int) -> dict[str, Any]:
    """So many batches into the warehouse as it stands, first alone, then with `READERS` processes asking all the while."""
    house = House(store.connection, store.settings, [str(500_000 + n) for n in range(LETTERS)])
    house.duck.close()
    house.duck = Duck(
        store.settings, [store.settings.folder("warehouse")], urgent=True
    )  # as the loader's own
    house.position = 10**6
    await house.open()
    turns = [(day, session) for day in days for session in ("AM", "PM")]
    try:
        alone = await _load(house, turns[: number + 2])
        async with _asked(store, READERS) as asked:
            beside = await _load(house, turns[number + 2 : 2 * number + 4])
    finally:
        house.duck.close()
    head = await heads.newest(store.connection)
    store.versions.update(head.tables)
    store.number = head.number
    return {
        "rows_a_batch": LETTERS * MARKS_A_LETTER,
        "batches": number,
        **beside,
        "alone": alone,
        "readers": READERS,
        "readers_questions_a_minute": asked,
    }


async def _load(house: House, turns: list[tuple[date, str]]) -> dict[str, Any]:
    commits, whole = [], []
    with _Watched() as watched:
        for turn, (day, session) in enumerate(turns):
            letters = [
                house.letter(
                    urn,
                    MARKS,
                    [mark(urn, 200 * n + p, f"{day}", session, "/") for p in range(MARKS_A_LETTER)],
                )
                for n, urn in enumerate(house.parties)
            ]
            began = time.perf_counter()
            outcome = await house.load(*letters)
            assert outcome.rows == {MARKS: LETTERS * MARKS_A_LETTER}, outcome.refused[:1]
            if turn > 1:  # first met, pupils get their keys
                whole.append(time.perf_counter() - began)
                commits.append(sum(watched.seconds.values()))
            await loader.upkeep(house.connection, house.settings)
    return {
        "commit_ms": {f"p{p}": round(1000 * percentile(commits, p), 1) for p in (50, 95)},
        "letters_to_visible_ms": {f"p{p}": round(1000 * percentile(whole, p), 1) for p in (50, 95)},
        "letters_rows_per_second": round(LETTERS * MARKS_A_LETTER / statistics.median(whole)),
    }


@asynccontextmanager
async def _asked(store: Store, readers: int) -> AsyncIterator[dict[str, float]]:
    """So many processes ask meanwhile. Holds at the end how many questions of all of them were answered in a minute."""
    settings = store.settings
    asking = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(_ASKER), str(settings.data), settings.database or "",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        for _ in range(readers)
    ]  # fmt: skip
    counts = [0] * readers

    async def count(number: int) -> None:
        async for line in asking[number].stdout or ():
            counts[number] = int(line)

    counting = [asyncio.create_task(count(number)) for number in range(readers)]
    found: dict[str, float] = {}
    try:
        while not all(counts):  # they have begun
            assert all(one.returncode is None for one in asking), "a reader ended"
            await asyncio.sleep(0.1)
        before, began = sum(counts), time.perf_counter()
        yield found
        found["by all"] = round(60 * (sum(counts) - before) / (time.perf_counter() - began), 1)
    finally:
        for one in asking:
            if one.stdin is not None:
                one.stdin.close()
        await asyncio.gather(*(one.wait() for one in asking), *counting)
