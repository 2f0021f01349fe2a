"""The warehouse's goals, held against what was measured. A goal of a part that was not run is not judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hub_bench.goals import Goal, goal


def judged(found: dict[str, Any]) -> list[Goal]:
    """Every goal for which there is a figure."""
    return list(_judged(found))


def _judged(found: dict[str, Any]) -> Iterator[Goal]:
    if "load" in found:
        ratio = found["load"]["ratio_to_duckdb"]
        yield goal("record batches to committed Delta, rate to DuckDB's Parquet", "at least", 0.5, ratio)
    if "ask" in found:
        ratios = found["ask"]["ratios"]
        yield goal("absence by school, CPU to SQL by hand", "below", 1.15, ratios["measure to SQL by hand"])
        yield goal("as known at a time, CPU to now", "below", 1.5, ratios["known at to now"])
    if "commits" in found:
        commits = found["commits"]
        rows = f"{commits['rows_a_batch']:,}"
        yield goal(
            f"commit of {rows} rows beside readers, p95 ms", "below", 250.0, commits["commit_ms"]["p95"]
        )
    if "refresh" in found:
        times = found["refresh"]["year_to_new_day"]["cpu"]
        yield goal("CPU of a year to that of a new day's refresh", "at least", 50.0, times)
    if "delay" in found:
        yield goal("hub to queryable, p95 s", "below", 10.0, found["delay"]["accepted_to_queryable_s"]["p95"])
    if len(curve := found.get("growth", [])) > 1:
        per_row = [point["ask_cpu_s"] / point["rows"] for point in curve[1:]]
        growth = round(per_row[-1] / per_row[0], 2)
        yield goal(
            f"CPU a row of a question at {curve[-1]['rows']:,} rows to the first", "below", 1.25, growth
        )
    peak = max([found.get("peak_memory_mb", 0), *(point["peak_memory_mb"] for point in curve)])
    yield goal("memory, MB", "below", 4096.0, peak)
