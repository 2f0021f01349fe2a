"""From a school's 202 to a mark that a question finds: a real hub in a process of its own, the loader in this one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from hub_bench.meters import percentile

from commonroom import exchange
from commonroom.exchange import Client, Envelope, RecordSet
from commonroom.ids import uuid7
from commonroom.warehouse import heads, loader, tables
from tests.hub_server import MOVEMENTS, HubProcess, enrolled_client, free_port, publish_small_county
from tests.unit.warehouse.house import mark
from warehouse_bench.store import MARKS, Store

TYPE, SCHOOL = "commonroom.attendance-mark.changed", "990001"
_LOOK_SECONDS = 0.05


async def measure(store: Store, folder: Path, letters: int, rate: float) -> dict[str, Any]:
    """So many letters of one mark, so many a second."""
    hub = HubProcess(store.settings, free_port(), start_seconds=120)
    county = await publish_small_county(
        store.connection, folder, MOVEMENTS.replace("commonroom.attendance_mark.changed", TYPE)
    )
    await asyncio.to_thread(hub.start)
    stop = asyncio.Event()
    loading = asyncio.create_task(loader.run(hub.settings, stop=stop))
    try:
        async with await enrolled_client(store.connection, hub.url, county.school, folder) as school:
            await _send(school, county.school, 0)  # the loader enrols itself and warms up
            seen: dict[int, float] = {}
            while 0 not in seen:
                await _look(store, seen)
            looking = asyncio.create_task(_look_until(store, seen, letters + 1))
            accepted: dict[int, float] = {}
            for number in range(1, letters + 1):
                await _send(school, county.school, number)
                accepted[number] = time.perf_counter()
                await asyncio.sleep(1 / rate)
            await asyncio.wait_for(looking, 120)
    finally:
        stop.set()
        await loading
        await asyncio.to_thread(hub.stop)
    waited = [seen[number] - at for number, at in accepted.items()]
    return {
        "letters": letters,
        "letters_a_second": rate,
        "accepted_to_queryable_s": {f"p{p}": round(percentile(waited, p), 2) for p in (50, 95)},
    }


async def _send(school: Client, party: str, number: int) -> None:
    envelope = Envelope(id=str(uuid7()), source=party, type=TYPE, datacontenttype=exchange.RECORDS_TYPE)
    records = [mark(SCHOOL, number, "2026-09-07", "AM", "/")]
    await school.post(envelope, exchange.encode(RecordSet(standard="2026.1", records={MARKS: records})))


async def _look_until(store: Store, seen: dict[int, float], number: int) -> None:
    while len(seen) < number:
        await _look(store, seen)


async def _look(store: Store, seen: dict[int, float]) -> None:
    """Ask for the school's marks of the newest head; note which are there for the first time."""
    head = await heads.newest(store.connection)
    if MARKS in head.tables and (head.tables[MARKS] != store.versions.get(MARKS)):
        store.versions.update(head.tables)
        files = [file.path for file in store.files()]
        sql = tables.of(MARKS).relation(files, ["upn"], f"school = '{SCHOOL}'")
        found = await asyncio.to_thread(store.duck.query, sql)
        now = time.perf_counter()
        for row in found:
            seen.setdefault(int(row["upn"][-3:]) + 1000 * (int(row["upn"][4:8]) - 4000), now)
    await asyncio.sleep(_LOOK_SECONDS)
