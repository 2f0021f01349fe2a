"""The hub's goals, held against what was measured. A goal of a part that was not run is not judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

SINGLE_CYCLE, BATCH_CYCLE = "single cycle, rate, to the peer", "batch cycle, rate, to the peer"
TO_FLOOR = "batch of 500 accept, to the floor (same_rows)"


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """One goal and what became of it."""

    goal: str
    wanted: str
    measured: float
    met: bool


def judged(found: dict[str, Any]) -> list[Goal]:
    """Every goal for which there is a figure."""
    return list(_judged(found))


def _judged(found: dict[str, Any]) -> Iterator[Goal]:
    ratios, costs = found.get("ratios", {}), found.get("costs", {})
    for name, least in ((SINGLE_CYCLE, 10.0), (BATCH_CYCLE, 100.0), (TO_FLOOR, 0.4)):
        if name in ratios:
            yield goal(name, "at least", least, ratios[name])
    for name, per_second in (("single accept", 1_000.0), ("batch accept", 5_000.0)):
        if name in costs:
            yield goal(f"{name}, a second", "at least", per_second, costs[name]["per_second"])
    for rate, seen in found.get("latency", {}).items():
        p95 = seen["accept_to_receivable_ms"]["p95"]
        yield goal(f"accept to receivable at {rate}, p95 ms", "below", 250.0, p95)
    if "fan_out" in found:
        yield goal("fan-out 3 to 1, time", "below", 1.5, found["fan_out"]["ratio_time"])
    if len(curve := found.get("growth", [])) > 2:
        for kind in ("accept", "receive"):
            # From the first filled size on: an empty hub has no pages to read.
            cpu = [point[kind]["server_cpu_ms_per_message"] for point in curve[1:]]
            last = f"{curve[-1]['stored']:,}"
            yield goal(f"growth to {last} stored, CPU of {kind}", "below", 1.25, round(cpu[-1] / cpu[0], 3))


def in_rows(goals: Sequence[Goal]) -> list[tuple[Any, ...]]:
    """For a table."""
    rows = [(one.goal, one.wanted, one.measured, "met" if one.met else "MISSED") for one in goals]
    return [("goal", "wanted", "measured", ""), *rows]


def goal(name: str, how: Literal["at least", "below"], bound: float, measured: float) -> Goal:
    """The figure held against its bound."""
    met = measured >= bound if how == "at least" else measured < bound
    return Goal(goal=name, wanted=f"{how} {bound:g}", measured=measured, met=met)
