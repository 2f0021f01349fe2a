"""A school day of England in small: one N-th of its schools, N times as fast, so that a second of it is as busy as a
second of the nation's.

Registers in the morning and after lunch, corrections, changes of pupils and enrolments; authorities and the warehouse
collect. Then every school's register in the same minute. Prints tables and writes test-results/bench_national_day.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[1]
sys.path.insert(1, str(ROOT))  # `tests.hub_server` starts the hub's process

from hub_bench import goals  # noqa: E402
from hub_bench.meters import cost_of, load_average, percentile, table  # noqa: E402
from national import pattern, simulation  # noqa: E402
from national.floor import Floor, floor  # noqa: E402
from national.pattern import DAY_BEGINS, DAY_ENDS, HOUR, MINUTE  # noqa: E402
from national.simulation import Day  # noqa: E402
from national.town import Town, town  # noqa: E402

RESULT = ROOT / "test-results" / "bench_national_day.json"
SCALE = 240
SEED = 2026
LEAST_AUTHORITIES = 2
IDLE_LOOKS, IDLE_CONNECTIONS = 2_000, 16
IDLE_SECONDS = 5.0
FLOOR_MESSAGES = 1_000


def say(text: str) -> None:
    """Progress, away from the tables."""
    print(f"[{time.strftime('%H:%M:%S')}, load {load_average()[0]}] {text}", file=sys.stderr, flush=True)


async def measure(scale: int, faster: float) -> dict[str, Any]:
    """The idle hub, the day, the same minute, a look that finds nothing, and the floor."""
    schools = round(pattern.NATION_SCHOOLS / scale)
    authorities = max(LEAST_AUTHORITIES, round(pattern.NATION_AUTHORITIES / scale))
    found: dict[str, Any] = {
        "begun": datetime.now(UTC).isoformat(),
        "load_average_before": load_average(),
        "scale": scale,
        "faster": faster,
        "times_the_nations_rates": round(faster / scale, 3),
        "schools": schools,
        "authorities": authorities,
        "nation": nation(),
    }
    with tempfile.TemporaryDirectory(prefix="commonroom-bench-") as folder:
        async with town(Path(folder) / "hub", schools, authorities) as here:
            ready = simulation.make_ready(here, pattern.day(schools, SEED))
            say(f"{len(ready):,} messages of {schools} schools are signed; the day begins")
            found["idle_cores"] = round(await simulation.idle_cores(here, IDLE_SECONDS), 3)
            found |= await _day(here, ready, faster, found["idle_cores"])
            found["same_minute"] = await _same_minute(here, schools, faster)
            say("every register in the same minute")
            looks = simulation.idle_looks(here, IDLE_LOOKS, IDLE_CONNECTIONS)
            idle = await cost_of(looks, here.processes, settled=here.sequenced)
            found["idle_look_cpu_ms"] = round(idle.cpu_ms, 3)
            bare = await floor(here, ready[:FLOOR_MESSAGES])
            found["floor"] = _floor_as_json(bare)
            found["ratios"] = _ratios(found, bare)
            say("floor")
    return found | {
        "ended": datetime.now(UTC).isoformat(),
        "load_average_after": load_average(),
        "cores": os.cpu_count(),
    }


def nation() -> dict[str, Any]:
    """What the same pattern is at full size, counted and not run."""
    whole = pattern.day(pattern.NATION_SCHOOLS, SEED)
    return {
        "schools": pattern.NATION_SCHOOLS,
        "authorities": pattern.NATION_AUTHORITIES,
        "messages": len(whole),
        "most_in_a_second": pattern.most_within(whole, 1),
        "most_in_a_minute": pattern.most_within(whole, MINUTE),
        "most_in_15_minutes": pattern.most_within(whole, 15 * MINUTE),
        "bytes": sum(sending.size for sending in whole),
        "register_of_250_bytes": [pattern.plain_bytes(250), pattern.body_bytes(250)],
    }


async def _day(here: Town, ready: list[simulation.Ready], faster: float, idle: float) -> dict[str, Any]:
    seen = Day()

    async def work() -> int:
        nonlocal seen
        seen = await simulation.run(here, ready, faster, say)
        return len(ready)

    before = await here.on_disk()
    cost = await cost_of(work(), here.processes, settled=here.sequenced)
    grown = {name: size - before[name] for name, size in (await here.on_disk()).items()}
    most = max((sample.cores for sample in seen.samples), default=0.0)
    above_idle = cost.server_cpu - idle * cost.seconds
    return {
        "day": {
            **cost.as_json(),
            "server_cpu_ms_per_message_above_idle": round(1000 * above_idle / cost.messages, 3),
            "peak_per_second": seen.most_in_a_second(),
            "sends_late": seen.late,
            "reports_taken": seen.reports,
            "send_to_accept_ms": _percentiles(seen.accepts()),
            "accept_to_receivable_ms": _percentiles(seen.receivable()),
            "backlog_most": max((sample.unfinished for sample in seen.samples), default=0),
            "reports_waiting_most": max((sample.reports for sample in seen.samples), default=0),
            "cores_most": round(most, 2),
            "bytes_per_message": {name: round(more / cost.messages) for name, more in grown.items() if more},
        },
        "hours": _hours(seen),
        "backlog": [
            {"at": _clock(one.at), "unfinished": one.unfinished, "reports": one.reports, "cores": one.cores}
            for one in seen.samples
        ],
    }


async def _same_minute(here: Town, schools: int, faster: float) -> dict[str, Any]:
    ready = simulation.make_ready(here, pattern.registers(schools))
    seconds = MINUTE / faster
    seen = await simulation.all_at_once(here, ready, seconds)
    await simulation.drain_reports(here)
    return {
        "messages": len(ready),
        "within_seconds": seconds,
        "per_second": round(len(ready) / seconds, 1),
        "all_received_after_seconds": round(max(seen.received.values()) - seen.began, 3),
        "send_to_accept_ms": _percentiles(seen.accepts()),
        "accept_to_receivable_ms": _percentiles(seen.receivable()),
    }


def _hours(seen: Day) -> list[dict[str, Any]]:
    """Hour by hour of the day."""
    rows = []
    for hour in range(DAY_BEGINS // HOUR, DAY_ENDS // HOUR):
        ids = [name for name, sending in seen.sendings.items() if int(sending.at // HOUR) == hour]
        samples = [sample for sample in seen.samples if int(sample.at // HOUR) == hour]
        if not ids or not samples:
            continue
        rows.append(
            {
                "hour": f"{hour:02d}",
                "sent": len(ids),
                "most_in_a_second": seen.most_in_a_second(ids),
                "backlog_most": max(sample.unfinished for sample in samples),
                "reports_most": max(sample.reports for sample in samples),
                "cores": round(sum(sample.cores for sample in samples) / len(samples), 2),
                "accept_to_receivable_ms": _percentiles(seen.receivable(ids)),
            }
        )
    return rows


def _floor_as_json(bare: Floor) -> dict[str, Any]:
    return {
        "what": "the same messages as bare inserts, each in a transaction of its own with fsync, by asyncpg",
        "cpu_ms_per_message": round(bare.cpu_ms, 3),
        "per_second": round(bare.rate, 1),
        "commit_ms": _percentiles(bare.commits),
    }


def _ratios(found: dict[str, Any], bare: Floor) -> dict[str, float]:
    day = found["day"]
    commit = percentile(bare.commits, 50)
    return {
        "CPU of a message's whole story to CPU of its bare inserts": round(
            day["server_cpu_ms_per_message_above_idle"] / bare.cpu_ms, 2
        ),
        "send to 202, median, to the median commit": round(day["send_to_accept_ms"]["p50"] / commit, 2),
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{p}": round(percentile(values, p), 1) for p in (50, 95, 99)} | {"most": round(max(values), 1)}


def _kept(tables: dict[str, int]) -> str:
    found = {name: size for name, size in tables.items() if name != "body"}
    return f"{sum(found.values()):,} ({', '.join(f'{name} {size:,}' for name, size in found.items())})"


def _words(percentiles: dict[str, float]) -> str:
    return ", ".join(f"{name} {value}" for name, value in percentiles.items())


def _clock(second: float) -> str:
    return f"{int(second // HOUR):02d}:{int(second % HOUR // MINUTE):02d}"


def judged(found: dict[str, Any]) -> list[goals.Goal]:
    """What the hub promises of a day."""
    day, minute = found["day"], found["same_minute"]
    return [
        goals.goal(
            "accept to receivable over the day, p95 ms", "below", 250, day["accept_to_receivable_ms"]["p95"]
        ),
        goals.goal(
            "the same in the same minute, p95 ms", "below", 1_000, minute["accept_to_receivable_ms"]["p95"]
        ),
        goals.goal(
            "sends behind the plan, of a hundred",
            "below",
            5,
            round(100 * day["sends_late"] / day["messages"], 2),
        ),
    ]


def show(found: dict[str, Any]) -> None:
    """The result as tables."""
    day, whole, minute = found["day"], found["nation"], found["same_minute"]
    print(
        f"\n1/{found['scale']} of {whole['schools']:,} schools ({found['schools']}; {found['authorities']} authorities, "
        f"a warehouse), the day {found['faster']:g} times as fast: {found['times_the_nations_rates']:g} times the "
        f"nation's rates\nload average {found['load_average_before']} before, {found['load_average_after']} after, "
        f"on {found['cores']} cores\n"
    )
    head = ("hour", "sent", "most in 1 s", "backlog", "reports", "cores", "p50 ms", "p95 ms", "p99 ms")
    rows = [
        (
            row["hour"], row["sent"], row["most_in_a_second"], row["backlog_most"], row["reports_most"], row["cores"],
            *(row["accept_to_receivable_ms"][p] for p in ("p50", "p95", "p99")),
        )
        for row in found["hours"]
    ]  # fmt: skip
    print(table([head, *rows]), "\n")
    bare = found["floor"]
    facts: list[tuple[str, Any]] = [
        ("messages, peak in a second", f"{day['messages']:,}, {day['peak_per_second']}"),
        ("accept to receivable, ms", _words(day["accept_to_receivable_ms"])),
        ("send to 202, ms", _words(day["send_to_accept_ms"])),
        (
            "server CPU, ms a message, its two deliveries and reports",
            day["server_cpu_ms_per_message_above_idle"],
        ),
        ("the same with what an idle hub uses", day["server_cpu_ms_per_message"]),
        ("cores, idle and at most", f"{found['idle_cores']}, {day['cores_most']}"),
        ("bytes on disk a message, its body apart", _kept(day["bytes_per_message"])),
        ("a look that finds nothing, ms CPU", found["idle_look_cpu_ms"]),
        ("every register in the same minute", f"{minute['messages']} at {minute['per_second']}/s"),
        ("  all received after, s", minute["all_received_after_seconds"]),
        ("  accept to receivable, ms", _words(minute["accept_to_receivable_ms"])),
        ("floor, CPU ms a message, a second", f"{bare['cpu_ms_per_message']}, {bare['per_second']}"),
        ("floor, commit, ms", _words(bare["commit_ms"])),
        *((f"ratio: {name}", ratio) for name, ratio in found["ratios"].items()),
    ]
    print(table(facts), "\n")
    print(f"floor: {bare['what']}")
    print(
        f"at full size the pattern is {whole['messages']:,} messages, {whole['bytes'] / 1e6:.0f} MB; at most "
        f"{whole['most_in_a_second']} in a second, {whole['most_in_a_minute']:,} in a minute"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strict", action="store_true", help="status 1 when a goal is missed")
    parser.add_argument("--scale", type=int, default=SCALE, help="one N-th of the schools (240: 100 schools)")
    parser.add_argument("--faster", type=float, default=None, help="how much faster the day is; as --scale")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    found = asyncio.run(measure(given.scale, given.faster or given.scale))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    verdicts = judged(found)
    found["goals"] = msgspec.to_builtins(verdicts)
    given.out.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    show(found)
    print("\n" + table(goals.in_rows(verdicts)))
    if given.strict and not all(one.met for one in verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
