"""Batches of 10,000 marks in 60 letters, loaded beside readers: from rows to a head, and from letters to a head."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from datetime import date
from typing import Any

from hub_bench.meters import percentile

from commonroom.engines import delta
from commonroom.warehouse import batches, heads, loader
from tests.unit.warehouse.house import House, mark
from warehouse_bench.store import MARKS, Store

LETTERS, MARKS_A_LETTER, READERS = 60, 167, 2
_ASKED = (
    "SELECT school, sum(weight) FROM read_parquet([{files}]) WHERE valid_from = DATE '{day}' GROUP BY school"
)


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
    """So many batches into the warehouse as it stands, `READERS` threads asking all the while."""
    house = House(store.connection, store.settings, [str(500_000 + n) for n in range(LETTERS)])
    house.position = 10**6
    await house.open()
    turns = [(day, session) for day in days for session in ("AM", "PM")][: number + 2]
    stop = threading.Event()
    readers = [threading.Thread(target=_read, args=(store, days[0], stop)) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    commits, whole = [], []
    try:
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
                await loader.upkeep(store.connection, store.settings)
    finally:
        stop.set()
        await asyncio.gather(*(asyncio.to_thread(reader.join) for reader in readers))
    head = await heads.newest(store.connection)
    store.versions.update(head.tables)
    store.number = head.number
    rows = LETTERS * MARKS_A_LETTER
    return {
        "rows_a_batch": rows,
        "batches": len(whole),
        "commit_ms": {f"p{p}": round(1000 * percentile(commits, p), 1) for p in (50, 95)},
        "letters_to_visible_ms": {f"p{p}": round(1000 * percentile(whole, p), 1) for p in (50, 95)},
        "letters_rows_per_second": round(rows / statistics.median(whole)),
    }


def _read(store: Store, day: date, stop: threading.Event) -> None:
    """Ask again and again, each time of the newest announced files as they were at the start of the run."""
    folder = store.settings.folder("warehouse") / MARKS
    files = ", ".join(f"'{file.path}'" for file in delta.files_of(folder, store.versions[MARKS]))
    while not stop.is_set():
        store.duck.query(_ASKED.format(files=files, day=day))
        stop.wait(0.05)
