"""How often the learner register's matcher joins two people, asks a clerk, or gives somebody a second number.

    python bench/learners.py                          # 100,000 registered, 2 judging seeds of 50,000 incoming
    python bench/learners.py --full                   # 1,000,000 registered, 10 judging seeds
    python bench/learners.py --registered 10000000 --seeds 1 --only five_fields
    python bench/learners.py --splink PYTHON          # beside Splink 4: the Python it is installed in

Judging seeds start at 1001; parameters were set on seeds below 100 and never on those. Each seed is a process of its
own with a population of its own. CPU is one core's, from text as given to decisions.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "test-results" / "bench_learners.json"
FIRST_SEED = 1001
INCOMING = 50_000
NAMES = Path(os.environ.get("COMMONROOM_SHARED", ROOT.parent / "shared")) / "data" / "names"
GOALS = {
    "five_fields": {"wrong_merges_upper": 50.0, "review_pct": 7.5, "false_new_pct": 0.7},
    "optional_fields": {"wrong_merges_upper": 25.0, "review_pct": 7.5, "false_new_pct": 0.7},
}
GOAL_CPU = 0.5
COUNTED = ("decided", "known", "automatic", "review", "wrong_merges", "false_new", "with_twin")


def one(registered: int, seed: int, names: Path, splink: str | None, methods: list[str]) -> dict[str, Any]:
    """This process: one seed, with five fields and with optional ones."""
    from learners_bench import population, run

    everybody = run.world(registered, INCOMING, seed, names)
    answer: dict[str, Any] = {}
    if splink:
        answer["splink"] = beside(everybody, registered, seed, names, splink)
    for name in methods:
        drawn = population.sample(
            everybody, registered, INCOMING, seed, names, optional=name == "optional_fields"
        )
        if name == methods[-1]:
            # A register of ten millions needs the room.
            del everybody
        answer[name] = run.measure(drawn, registered, seed, optional=name == "optional_fields")
    return answer


def beside(everybody: Any, registered: int, seed: int, names: Path, python: str) -> dict[str, Any]:
    """Splink on the same register and the same incoming."""
    from learners_bench import population
    from learners_bench.peer_files import write

    drawn = population.sample(everybody, registered, INCOMING, seed, names, optional=False)
    with tempfile.TemporaryDirectory() as folder:
        files = write(drawn, Path(folder))
        script = Path(__file__).parent / "learners_bench" / "peer.py"
        found = subprocess.run(
            [python, str(script), *map(str, files)], capture_output=True, text=True, check=False
        )
    if found.returncode:
        return {"error": found.stderr.strip().splitlines()[-1:]}
    answer: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return answer


def upper(events: int) -> float:
    """The upper limit of a Poisson mean of which `events` were seen, two-sided 95%."""
    low, high = float(events), events + 10 * math.sqrt(events + 1) + 10
    for _ in range(80):
        middle = (low + high) / 2
        term = total = math.exp(-middle)
        for number in range(1, events + 1):
            term *= middle / number
            total += term
        low, high = (middle, high) if total > 0.025 else (low, middle)
    return high


def pooled(runs: list[dict[str, Any]], goals: dict[str, float]) -> dict[str, Any]:
    """All seeds together, beside the goals."""
    total: Counter[str] = Counter()
    by_group: dict[str, Counter[str]] = {}
    for run in runs:
        total.update(
            {
                key: run[key]
                for key in (
                    "decided",
                    "known",
                    "automatic",
                    "review",
                    "wrong_merges",
                    "false_new",
                    "with_twin",
                )
            }
        )
        for group, figures in run["groups"].items():
            by_group.setdefault(group, Counter()).update(figures)
    answer = rates(total) | {"with_twin": total["with_twin"], "pairs": sum(run["pairs"] for run in runs)}
    answer["cpu_seconds_a_batch"] = round(sum(run["batch_cpu"] for run in runs) / len(runs), 2)
    answer["memory_mb"] = max(run["memory_mb"] for run in runs)
    answer["goals"] = {name: {"goal": goal, "met": answer[name] <= goal} for name, goal in goals.items()}
    answer["fairness"] = {group: rates(figures) for group, figures in sorted(by_group.items())}
    return answer


def rates(total: Counter[str]) -> dict[str, Any]:
    """Counts as shares."""
    decided = total["decided"]
    return {
        "incoming": decided,
        "wrong_merges": total["wrong_merges"],
        "wrong_merges_per_100k": round(1e5 * total["wrong_merges"] / decided, 1),
        "wrong_merges_upper": round(1e5 * upper(total["wrong_merges"]) / decided, 1),
        "automatic_pct": round(100 * total["automatic"] / decided, 2),
        "review_pct": round(100 * total["review"] / decided, 2),
        "false_new_pct": round(100 * total["false_new"] / max(1, total["known"]), 3),
    }


def show(name: str, figures: dict[str, Any]) -> None:
    """One method's figures in a line, and its groups below."""
    print(
        f"{name:16} wrong merges {figures['wrong_merges_per_100k']:6.1f} per 100k "
        f"(upper {figures['wrong_merges_upper']:.1f})  "
        f"review {figures['review_pct']:5.2f}%  false new {figures['false_new_pct']:.3f}%  "
        f"CPU {figures['cpu_seconds_a_batch']:.2f} s for {INCOMING:,}"
    )
    for group, rate in figures["fairness"].items():
        print(
            f"    {group:14} {rate['incoming']:7,} incoming  wrong {rate['wrong_merges_per_100k']:6.1f}  "
            f"review {rate['review_pct']:5.2f}%  false new {rate['false_new_pct']:.3f}%"
        )


def child(registered: int, seed: int, names: Path, splink: str | None, methods: list[str]) -> dict[str, Any]:
    """Another process for one seed."""
    command = [
        sys.executable,
        __file__,
        "--one",
        str(seed),
        "--registered",
        str(registered),
        "--names",
        str(names),
    ]
    command += ["--splink", splink] if splink else []
    command += ["--only", methods[0]] if len(methods) == 1 else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def summary(registered: int, first_seed: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that was measured, pooled and seed by seed."""
    result: dict[str, Any] = {"registered": registered, "seeds": len(runs), "first_seed": first_seed}
    for name, goals in GOALS.items():
        if name in runs[0]:
            result[name] = pooled([run[name] for run in runs], goals)
    beside = [run for run in runs if "predict_cpu" in run.get("splink", {}) and "five_fields" in run]
    if beside:
        result["splink"] = [run["splink"] for run in beside]
        ours, theirs = (
            sum(run[method][figure] for run in beside)
            for method, figure in (("five_fields", "batch_cpu"), ("splink", "predict_cpu"))
        )
        share = ours / theirs
        result["cpu_of_splink"] = {"share": round(share, 3), "goal": GOAL_CPU, "met": share <= GOAL_CPU}
    return result | {"runs": runs}


def write(path: Path, result: dict[str, Any]) -> None:
    """The JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1), "utf-8")


def main() -> int:
    """Run all seeds and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--registered", type=int)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--splink", help="the Python that has Splink 4")
    parser.add_argument("--splink-seeds", type=int, default=1, help="beside how many seeds it runs")
    parser.add_argument("--only", choices=list(GOALS), help="one of the two ways to ask")
    parser.add_argument(
        "--names",
        type=Path,
        default=NAMES,
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.names.is_dir():
        print(f"no lists of names at {given.names} (set COMMONROOM_SHARED): nothing was measured")
        return 0
    registered = given.registered or (1_000_000 if given.full else 100_000)
    methods = [given.only] if given.only else list(GOALS)
    if given.one is not None:
        print(json.dumps(one(registered, given.one, given.names, given.splink, methods)))
        return 0
    runs: list[dict[str, Any]] = []
    for place in range(given.seeds or (10 if given.full else 2)):
        # The peer is slow and its figures steady: it runs beside the first seeds.
        splink = given.splink if place < given.splink_seeds else None
        runs.append(child(registered, given.first_seed + place, given.names, splink, methods))
        print(f"seed {given.first_seed + place}: done", flush=True)
        # Written after each seed: what was measured stays when somebody stops the rest.
        write(given.out, summary(registered, given.first_seed, runs))
    result = summary(registered, given.first_seed, runs)
    for name in methods:
        show(name, result[name])
    if "splink" in result:
        print("splink", json.dumps(result["splink"]), json.dumps(result.get("cpu_of_splink")))
    missed = [
        f"{method} {name}"
        for method in methods
        for name, goal in result[method]["goals"].items()
        if not goal["met"]
    ]
    print("all goals met" if not missed else f"missed: {', '.join(missed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
