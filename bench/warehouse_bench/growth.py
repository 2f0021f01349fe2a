"""Days of marks appended one after another, looked at as the rows become more: a question, a commit, what it corrects."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from hub_bench.meters import load_average

from commonroom.warehouse import batches, tables
from commonroom.warehouse.facts import Change
from warehouse_bench import questions
from warehouse_bench.nation import Nation, maker, weekdays
from warehouse_bench.store import MARKS, Store, Took, peak_mb

POINTS = tuple(n * 10**power for power in (6, 7, 8) for n in (1, 2, 5))
_FIRST, _DAYS = date(2024, 9, 2), 570
_AS_KNOWN = datetime(2025, 3, 1)  # noqa: DTZ001 - UTC without a zone
_COMMITS = 5
_WARM_BELOW = 20_000_000  # above, a first reading costs no more CPU than a second one


def measure(into: Store, most: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Day after day of a twentieth of the nation, tidied whenever the loader would."""
    rows, before, curve, from_rows, took = 0, 0, [], maker(), Took()
    nation, tidied = Nation(20), Took()
    points = [point for point in POINTS if point <= most]
    for day in weekdays(_FIRST, _DAYS):
        for chunk in nation.day(from_rows, day):
            with took.more():
                into.append(MARKS, chunk)
            with tidied.more():
                into.upkeep()
            rows += chunk.num_rows
            if points and rows >= points[0]:
                points.pop(0)
                point = {"rows": rows, "load_rows_per_cpu_second": round((rows - before) / took.cpu)}
                point["tidy_cpu_s"] = round(tidied.cpu, 2)
                curve.append(point | _point(into, nation, rows, day))
                say(f"growth: {curve[-1]}")
                before, took, tidied = rows, Took(), Took()
            if not points:
                return curve
    return curve


def _point(into: Store, nation: Nation, rows: int, newest: date) -> dict[str, Any]:
    files = into.files()
    everything = [_FIRST + timedelta(days=n) for n in range(800)]
    asked = questions.measure(into, nation.urns, everything, 1, _AS_KNOWN, warm=rows < _WARM_BELOW)
    some = into.duck.arrow(f"SELECT * FROM '{files[0].path}' LIMIT 10000")  # noqa: S608 - a file of ours
    look_up_ms, commit_ms = [], []
    for _ in range(_COMMITS):
        look_up_ms.append(_looked_up(into, nation, newest))
        one = Took()
        with one.more():
            into.append(MARKS, some)
        commit_ms.append(1000 * one.wall)
    return {
        "files": len(files),
        "bytes_a_row": round(sum(file.size for file in files) / rows, 2),
        "ask_cpu_s": asked["took"]["now"]["cpu_s"],
        "ask_wall_s": asked["took"]["now"]["wall_s"],
        "known_at_cpu_s": asked["took"]["known at"]["cpu_s"],
        "look_up_10000_rows_ms": round(statistics.median(look_up_ms), 1),
        "commit_10000_rows_ms": round(statistics.median(commit_ms), 1),
        "peak_memory_mb": peak_mb(),
        "load_average": load_average()[0],
    }


def _looked_up(into: Store, nation: Nation, day: date) -> float:
    """How long it takes to find what 10,000 corrections of the newest day, of 60 schools, correct."""
    table, version = tables.of(MARKS), into.versions[MARKS]
    urns = nation.urns[:: len(nation.urns) // 60][:60]
    where = f"valid_from = DATE '{day}' AND school IN ({', '.join(map(tables.quoted, urns))}) AND weight = 1"
    sql = table.relation(
        [file.path for file in into.files()], [column.name for column in table.columns], where
    )
    changes = [Change(table.from_row(row)) for row in into.duck.query(f"{sql} LIMIT 10000")]
    began = time.perf_counter()
    found = batches.newest_stored(into.settings, into.duck, table, version, changes)
    took = 1000 * (time.perf_counter() - began)
    assert found, "the marks of the newest day are there"
    return took
