"""The warehouse's speed: loading, asking, committing beside readers, a new school day, from hub to question; growth.

    python bench/warehouse.py                     # 1/20 of the nation: about 3 minutes on a quiet machine
    python bench/warehouse.py --scale 1           # all of it: 24,000 schools, 9 million pupils, a week of 90 million marks
    python bench/warehouse.py --growth            # the curve from 1 to 50 million rows; --most 500000000 for more
    python bench/warehouse.py --only load ask     # some parts: load, ask, commits, refresh, delay, growth

Ratios are to a named floor in the same run, by turns. Prints tables, writes test-results/bench_warehouse.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(1, str(ROOT))  # what tests of the warehouse and of the hub share

from hub_bench.goals import in_rows  # noqa: E402
from hub_bench.meters import load_average, table  # noqa: E402
from warehouse_bench import commits, days, delay, goals, growth, questions  # noqa: E402
from warehouse_bench.nation import Nation, maker, weekdays  # noqa: E402
from warehouse_bench.store import MARKS, REGISTER, Store, Took, peak_mb, store, written_by_duckdb  # noqa: E402

from commonroom import log  # noqa: E402

RESULT = ROOT / "test-results" / "bench_warehouse.json"
PARTS = ("load", "ask", "commits", "refresh", "delay", "growth")
MONDAY = date(2026, 9, 7)
YEAR_IS_SMALLER = 10  # a year is 38 weeks: of so many times fewer schools


def say(text: str) -> None:
    """Progress, away from the tables."""
    print(f"[{time.strftime('%H:%M:%S')}, load {load_average()[0]}] {text}", file=sys.stderr, flush=True)


def load(into: Store, nation: Nation) -> dict[str, Any]:
    """A week, chunk by chunk: written by DuckDB, then committed by our loader's own function; each is timed alone."""
    from_rows, by_duckdb, ours = maker(), Took(), Took()
    rows, written = 0, into.settings.folder("warehouse") / "floor.parquet"
    into.append(REGISTER, nation.register())
    for day in weekdays(MONDAY, 5):
        for chunk in nation.day(from_rows, day):
            with by_duckdb.more():
                written_by_duckdb(from_rows, chunk, written)
            with ours.more():
                into.append(MARKS, chunk)
            rows += chunk.num_rows
    size = sum(file.size for file in into.files())
    written.unlink()
    return {
        "schools": nation.schools,
        "pupils": nation.pupils,
        "rows": rows,
        "chunk_rows": chunk.num_rows,
        "bytes_a_row": round(size / rows, 2),
        "duckdb_s": {"wall": round(by_duckdb.wall, 3), "cpu": round(by_duckdb.cpu, 3)},
        "ours_s": {"wall": round(ours.wall, 3), "cpu": round(ours.cpu, 3)},
        "rows_per_second": {
            "DuckDB": round(rows / by_duckdb.wall),
            "record batches to committed Delta": round(rows / ours.wall),
        },
        "ratio_to_duckdb": round(by_duckdb.wall / ours.wall, 3),
        "ratio_to_duckdb_cpu": round(by_duckdb.cpu / ours.cpu, 3),
    }


async def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything asked for."""
    parts, nation = set(given.only), Nation(given.scale)
    found: dict[str, Any] = {"begun": datetime.now(UTC).isoformat(), "load_average_before": load_average()}
    with tempfile.TemporaryDirectory(prefix="commonroom-bench-", dir=given.folder) as folder:
        if parts & {"load", "ask", "commits"}:
            async with store(Path(folder) / "week") as week:
                found["load"] = await asyncio.to_thread(load, week, nation)
                await week.announce()
                say(f"loaded: {found['load']}")
                if "ask" in parts:
                    # Everything was known by then: at an earlier time there is less to add up.
                    known_at = datetime(2026, 9, 13)  # noqa: DTZ001 - UTC without a zone
                    found["ask"] = await asyncio.to_thread(
                        questions.measure, week, nation.urns, weekdays(MONDAY, 5), given.rounds, known_at
                    )
                    say(f"asked: {found['ask']}")
                if "commits" in parts:
                    later = weekdays(MONDAY + timedelta(days=7), given.batches + 2)
                    found["commits"] = await commits.measure(week, later, given.batches)
                    say(f"committed: {found['commits']}")
        if "refresh" in parts:
            async with store(Path(folder) / "year") as year:
                smaller = Nation(given.scale * YEAR_IS_SMALLER)
                found["refresh"] = await days.measure(year, maker(), smaller, say)
        if "delay" in parts:
            async with store(Path(folder) / "delay") as empty:
                found["delay"] = await delay.measure(empty, Path(folder), given.letters, 5.0)
                say("hub to question")
        if "growth" in parts:
            async with store(Path(folder) / "growth") as grown:
                found["growth"] = await asyncio.to_thread(growth.measure, grown, given.most, say)
    return found | {
        "ended": datetime.now(UTC).isoformat(),
        "load_average_after": load_average(),
        "scale": given.scale,
        "peak_memory_mb": peak_mb(),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "processor": platform.machine(),
        },
    }


def show(found: dict[str, Any]) -> None:
    """The result as tables."""
    print(f"\n1/{found['scale']} of the nation; load average {found['load_average_before']} before,", end=" ")
    print(f"{found['load_average_after']} after, on {found['machine']['cores']} cores")
    print(f"peak memory of the process, with the nation's maker in it: {found['peak_memory_mb']} MB\n")
    rows: list[tuple[Any, ...]] = [("what", "figure")]
    for part in ("load", "ask", "commits", "refresh", "delay"):
        rows += [(f"{part}: {name}", value) for name, value in _flat(found.get(part, {}))]
    print(table(rows), "\n")
    if found.get("growth"):
        print(table([tuple(found["growth"][0]), *(tuple(point.values()) for point in found["growth"])]), "\n")


def _flat(values: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        whole = f"{before}{name}".replace("_", " ")
        flat += _flat(value, f"{whole}, ") if isinstance(value, dict) else [(whole, value)]
    return flat


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strict", action="store_true", help="status 1 when a goal is missed")
    parser.add_argument("--scale", type=int, default=20, help="one N-th of the nation")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS[:-1], help="some parts alone")
    parser.add_argument("--growth", action="store_true", help="the growth curve alone")
    parser.add_argument("--most", type=int, default=50_000_000, help="rows at the end of the growth curve")
    parser.add_argument("--rounds", type=int, default=5, help="of every question")
    parser.add_argument("--batches", type=int, default=30, help="of 10,000 rows beside readers")
    parser.add_argument("--letters", type=int, default=60, help="from hub to question")
    parser.add_argument("--folder", type=Path, default=None, help="where there is room for the data")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    if given.growth:
        given.only = ("growth",)
    log.configure("bench", "warning")
    found = asyncio.run(measure(given))
    verdicts = goals.judged(found)
    found["goals"] = [
        {"goal": v.goal, "wanted": v.wanted, "measured": v.measured, "met": v.met} for v in verdicts
    ]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    show(found)
    print(table(in_rows(verdicts)))
    if given.strict and not all(verdict.met for verdict in verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
