"""The hub's speed beside a named peer and beside the floor, every ratio from one run on one machine.

1 KB bodies, fsync on; authentication, signatures, routing, assurance, encryption of stored bodies, reports and ledger on.
Prints tables and writes test-results/bench_hub.json. `--full` takes longer; docs in bench/README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import uvloop

ROOT = Path(__file__).parents[1]
sys.path.insert(1, str(ROOT))  # `tests.hub_server` starts the hub's process

from hub_bench import floor, goals, growth, load, peer  # noqa: E402
from hub_bench.client import connections  # noqa: E402
from hub_bench.installation import TO_NEXT, TO_ONE, TO_THREE, Installation, installation  # noqa: E402
from hub_bench.meters import Cost, cost_of, load_average, middle, percentile, table  # noqa: E402

RESULT = ROOT / "test-results" / "bench_hub.json"
CONNECTIONS, PEER_CONNECTIONS = 64, 16
GROWTH_BATCHES = 16  # few, so that measuring at 10^4 does not make it 10^5
PARTS = ("cycle", "floor", "latency", "fan-out", "growth")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything."""

    rounds: int
    peer_messages: int
    singles: int  # messages one by one
    hundreds: int  # batches of 100
    five_hundreds: int  # batches of 500
    floor_groups: int  # of 500 rows
    rate: float  # messages a second
    rate_seconds: float
    stored: tuple[int, ...]
    sign_each: bool = False  # in batches too, in place of one signature for a batch


SHORT = Plan(
    rounds=3,
    peer_messages=320,
    singles=1024,
    hundreds=64,
    five_hundreds=8,
    floor_groups=10,
    rate=500,
    rate_seconds=8,
    stored=(10_000, 100_000),
)
FULL = Plan(
    rounds=5,
    peer_messages=1000,
    singles=6400,
    hundreds=256,
    five_hundreds=32,
    floor_groups=40,
    rate=500,
    rate_seconds=30,
    stored=(10_000, 100_000),
)


def say(text: str) -> None:
    """Progress, away from the tables."""
    print(f"[{time.strftime('%H:%M:%S')}, load {load_average()[0]}] {text}", file=sys.stderr, flush=True)


async def cycle_of_singles(hub: Installation, messages: int) -> tuple[Cost, Cost]:
    """One message in every request: send, then receive and acknowledge, by 64 connections of 64 end points."""
    requests = [load.ready_single(hub.schools[n % CONNECTIONS], TO_NEXT) for n in range(messages)]
    return await _accept_and_drain(hub, requests, limit=1)


async def cycle_of_batches(hub: Installation, plan: Plan, batches: int, size: int = 100) -> tuple[Cost, Cost]:
    """So many messages in every request."""
    requests = [
        load.ready_batch(hub.schools[n % CONNECTIONS], TO_NEXT, size, sign_each=plan.sign_each)
        for n in range(batches)
    ]
    return await _accept_and_drain(hub, requests, limit=size)


async def _accept_and_drain(hub: Installation, requests: list[load.Ready], limit: int) -> tuple[Cost, Cost]:
    messages = sum(request.messages for request in requests)
    async with connections(hub.url, CONNECTIONS) as http:
        accept = await cost_of(
            load.send_all(http, requests, CONNECTIONS), hub.processes, settled=hub.sequenced
        )
        drained = await cost_of(load.drain(http, hub.schools, limit), hub.processes, settled=hub.sequenced)
    if (accept.messages, drained.messages) != (messages, messages):
        raise RuntimeError(f"{messages} sent, {accept.messages} accepted, {drained.messages} received")
    return accept, drained


async def measure_cycles(
    hub: Installation, plan: Plan, peer_at: tuple[str, int] | None, parts: set[str]
) -> dict[str, Any]:
    """(a) and (b): peer, hub and floor by turns, so that what else the machine does falls on all of them."""
    costs: dict[str, list[Cost]] = {}
    floors: dict[str, list[float]] = {"same_rows": [], "one_table": []}
    await floor.prepare(hub.database)
    await cycle_of_batches(hub, plan, CONNECTIONS, 10)  # warms caches, plans and connections up
    for number in range(plan.rounds):
        if "cycle" in parts:
            if peer_at is not None:
                url, pid = peer_at
                work = peer.cycle(url, plan.peer_messages, PEER_CONNECTIONS)
                costs.setdefault("peer", []).append(await cost_of(work, [pid]))
            for name, (accept, drained) in (
                ("single", await cycle_of_singles(hub, plan.singles)),
                ("batch", await cycle_of_batches(hub, plan, plan.hundreds)),
            ):
                costs.setdefault(f"{name} accept", []).append(accept)
                costs.setdefault(f"{name} receive + acknowledge", []).append(drained)
                costs.setdefault(f"{name} cycle", []).append(accept + drained)
        if "floor" in parts:
            station, groups = hub.schools[0], plan.floor_groups
            first = 1 + number * groups * floor.ROWS
            floors["same_rows"].append(
                await floor.same_rows(hub.database, station, groups, first, sign_each=plan.sign_each)
            )
            floors["one_table"].append(
                await floor.one_table(hub.database, station, groups, sign_each=plan.sign_each)
            )
            accept, _ = await cycle_of_batches(hub, plan, plan.five_hundreds, 500)
            costs.setdefault("batch of 500 accept", []).append(accept)
        say(f"round {number + 1} of {plan.rounds}: cycles and floor")
    found = {name: middle(rounds) for name, rounds in costs.items()}
    rows = {name: statistics.median(values) for name, values in floors.items() if values}
    return {
        "costs": {name: cost.as_json() for name, cost in found.items()},
        "floor_per_second": {name: round(rate) for name, rate in rows.items()},
        "rates_of_rounds": {name: [round(cost.rate) for cost in rounds] for name, rounds in costs.items()},
        "ratios": _ratios(found, rows),
    }


def _ratios(found: dict[str, Cost], rows: dict[str, float]) -> dict[str, float]:
    ratios = {}
    for kind in ("single", "batch"):
        if "peer" in found:
            ours, theirs = found[f"{kind} cycle"], found["peer"]
            ratios[f"{kind} cycle, rate, to the peer"] = ours.rate / theirs.rate
            ratios[f"{kind} cycle, CPU per message, peer to us"] = theirs.cpu_ms / ours.cpu_ms
    for name, rate in rows.items():
        ratios[f"batch of 500 accept, to the floor ({name})"] = found["batch of 500 accept"].rate / rate
    return {name: round(ratio, 3) for name, ratio in ratios.items()}


async def measure_latency(hub: Installation, plan: Plan) -> dict[str, Any]:
    """(c): from the answer to the sender until the recipient, waiting in a long poll, has the letter."""
    found: dict[str, Any] = {}
    for rate in (plan.rate / 5, plan.rate):
        number = int(rate * plan.rate_seconds)
        requests = [load.ready_single(hub.schools[n % CONNECTIONS], TO_ONE) for n in range(number)]
        async with connections(hub.url, 500) as http:
            seen = await load.at_rate(http, requests, hub.authorities, rate)
        await hub.sequenced()
        found[f"{rate:g}/s"] = {
            "messages": number,
            "reached_per_second": round(number / seen.seconds, 1),
            "sends_late": seen.late,
            **{
                f"{name}_ms": {f"p{p}": round(percentile(values, p), 1) for p in (50, 95, 99)}
                for name, values in (
                    ("accept_to_receivable", seen.from_answer),
                    ("send_to_receivable", seen.from_send),
                )
            },
        }
    return found


async def measure_fan_out(hub: Installation, plan: Plan) -> dict[str, Any]:
    """(d): the accept of batches of 100 to one recipient and to three, by turns."""
    costs: dict[str, list[Cost]] = {TO_ONE: [], TO_THREE: []}
    recipients = [*hub.authorities, *hub.trusts, hub.warehouse]
    async with connections(hub.url, CONNECTIONS) as http:
        for _ in range(plan.rounds):
            for kind, found in costs.items():
                requests = [load.ready_batch(s, kind, 100, sign_each=plan.sign_each) for s in hub.schools][
                    : max(32, plan.hundreds // 4)
                ]
                work = load.send_all(http, requests, CONNECTIONS)
                found.append(await cost_of(work, hub.processes, settled=hub.sequenced))
                await load.drain(http, recipients, 500)
                await hub.sequenced()
    one, three = middle(costs[TO_ONE]), middle(costs[TO_THREE])
    return {
        "to_1": one.as_json(),
        "to_3": three.as_json(),
        "ratio_time": round(one.rate / three.rate, 3),
        "ratio_cpu": round(three.cpu_ms / one.cpu_ms, 3),
    }


async def measure_growth(hub: Installation, plan: Plan) -> list[dict[str, Any]]:
    """(e), in a hub of its own: the cost of a message, sent and collected by hundreds, beside so many stored ones."""
    curve = []
    for size in (0, *plan.stored):
        stored = await growth.fill(hub.database, size, say)
        await hub.sequenced()
        say("ledger in order")
        await cycle_of_batches(hub, plan, CONNECTIONS, 2)
        rounds = [await cycle_of_batches(hub, plan, GROWTH_BATCHES) for _ in range(3)]
        accept, drained = middle([r[0] for r in rounds]), middle([r[1] for r in rounds])
        curve.append({"stored": stored, "accept": accept.as_json(), "receive": drained.as_json()})
    return curve


def peer_python_in(folder: Path, given: Path | None) -> Path:
    """The Python given, or a new one with the peer. Raises NoPeer."""
    return given or peer.make_environment(folder)


async def measure(plan: Plan, parts: set[str], hubs: list[int], peer_python: Path | None) -> dict[str, Any]:
    """Everything asked for with the first number of hub processes, the cycles with the others too."""
    found: dict[str, Any] = {"begun": datetime.now(UTC).isoformat(), "load_average_before": load_average()}
    with tempfile.TemporaryDirectory(prefix="commonroom-bench-") as folder:
        async with AsyncExitStack() as stack:
            peer_at = None
            if "cycle" in parts:
                try:
                    python = await asyncio.to_thread(peer_python_in, Path(folder), peer_python)
                    peer_at = await stack.enter_async_context(peer.running(python))
                    found["peer"] = f"{peer.PACKAGE} {peer.version_in(python)}, in memory"
                except peer.NoPeer as error:
                    found["peer"] = f"SKIPPED: {error}"
                say(found["peer"])
            async with installation(Path(folder) / "hub", hubs[0]) as hub:
                found["database"] = await hub.durability()
                say(f"{found['database']}; hub processes {hub.hubs}")
                if parts & {"cycle", "floor"}:
                    found |= await measure_cycles(hub, plan, peer_at, parts)
                if "latency" in parts:
                    found["latency"] = await measure_latency(hub, plan)
                    say("latency")
                if "fan-out" in parts:
                    found["fan_out"] = await measure_fan_out(hub, plan)
                    say("fan-out")
            for number in hubs[1:] if "cycle" in parts else []:
                async with installation(Path(folder) / f"hubs-{number}", number) as hub:
                    say(f"hub processes {hub.hubs}")
                    found[f"with_{number}"] = await measure_cycles(hub, plan, peer_at, {"cycle"})
        if "growth" in parts:
            async with installation(Path(folder) / "growth", hubs[0]) as hub:
                found["growth"] = await measure_growth(hub, plan)
    found |= {
        "hub_processes": hubs,
        "ended": datetime.now(UTC).isoformat(),
        "load_average_after": load_average(),
        "body_bytes": load.BODY_BYTES,
        "connections": {"hub": CONNECTIONS, "peer": PEER_CONNECTIONS},
        "plan": msgspec.to_builtins(plan),
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "processor": platform.machine(),
        },
    }
    return found


def show(found: dict[str, Any]) -> None:
    """The result as tables."""
    print(
        f"\n{found.get('peer', '')}\n{found['database']}; load average {found['load_average_before']} before,"
    )
    first, *others = found["hub_processes"]
    print(
        f"{found['load_average_after']} after, on {found['machine']['cores']} cores; hub processes: {first}\n"
    )
    head = ("", "messages/s", "server CPU ms/message", "client CPU ms/message")
    keys = ("per_second", "server_cpu_ms_per_message", "client_cpu_ms_per_message")
    lines = [(name, *(cost[key] for key in keys)) for name, cost in found.get("costs", {}).items()]
    for number in others:
        costs = found.get(f"with_{number}", {}).get("costs", {})
        lines += [
            (f"{name}, hub processes: {number}", *(cost[key] for key in keys)) for name, cost in costs.items()
        ]
    if "fan_out" in found:
        lines += [(f"accept, {k}", *(found["fan_out"][k][key] for key in keys)) for k in ("to_1", "to_3")]
    for point in found.get("growth", []):
        lines += [
            (f"{k}, {point['stored']:,} stored", *(point[k][key] for key in keys))
            for k in ("accept", "receive")
        ]
    lines += [(f"floor, {name}", rate, "", "") for name, rate in found.get("floor_per_second", {}).items()]
    if lines:
        print(table([head, *lines]), "\n")
    ratios = dict(found.get("ratios", {}))
    for number in others:
        other = found.get(f"with_{number}", {}).get("ratios", {})
        ratios |= {f"{name}, hub processes: {number}": ratio for name, ratio in other.items()}
    if "fan_out" in found:
        ratios |= {f"fan-out 3 to 1, {k}": found["fan_out"][f"ratio_{k}"] for k in ("time", "cpu")}
    if ratios:
        print(table([("ratio", ""), *ratios.items()]), "\n")
    for rate, seen in found.get("latency", {}).items():
        print(f"at {rate} ({seen['reached_per_second']}/s reached): accept to receivable", end=" ")
        print(f"{seen['accept_to_receivable_ms']} ms, send to receivable {seen['send_to_receivable_ms']} ms")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strict", action="store_true", help="status 1 when a goal is missed")
    parser.add_argument("--full", action="store_true", help="more rounds and messages")
    parser.add_argument("--million", action="store_true", help="the growth curve up to 10^6 stored messages")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="some parts alone")
    parser.add_argument(
        "--hubs",
        nargs="+",
        type=int,
        default=[*dict.fromkeys((os.cpu_count() or 1, 1))],
        help="hub processes on one port; with further numbers the cycles alone (default: one a core, then one)",
    )
    parser.add_argument("--sign-each", action="store_true", help="each message of a batch signed by itself")
    parser.add_argument("--rate", type=float, default=None, help="of the latency part, messages a second")
    parser.add_argument("--peer-python", type=Path, help="a Python that has the peer; else one is made")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    plan = msgspec.structs.replace(FULL if given.full else SHORT, sign_each=given.sign_each)
    if given.million:
        plan = msgspec.structs.replace(plan, stored=(*plan.stored, 1_000_000))
    if given.rate:
        plan = msgspec.structs.replace(plan, rate=given.rate)
    found = uvloop.run(measure(plan, set(given.only), given.hubs, given.peer_python))
    verdicts = goals.judged(found)
    found["goals"] = msgspec.to_builtins(verdicts)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    show(found)
    print("\n" + table(goals.in_rows(verdicts)))
    if given.strict and not all(one.met for one in verdicts):
        sys.exit(1)


if __name__ == "__main__":
    main()
