"""How long a census of children in need takes from XML to findings with all its rules, and how much memory.

    python bench/rules.py                         # 50,000 children, the curve from 500 to 50,000, an edit
    python bench/rules.py --full                  # the curve up to 500,000
    python bench/rules.py --peer PATH             # beside the public validator: its Python, or a checkout of it

Each measurement is a process of its own; its CPU includes threads, imports and the compiling of the rules. What is found
is compared with the truth that was written beside the file: one finding more or less, and the benchmark fails.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rules_bench import children

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "test-results" / "bench_rules.json"
CHILDREN, PEER_CHILDREN = 50_000, 5_000
CURVE = (500, 5_000, 50_000)
GOAL_CPU, GOAL_MEMORY_MB, GOAL_EDIT_MS, GOAL_PEER = 15.0, 600, 50.0, 100
EDITS = 21
# A rule of one child, and one that compares all children.
EDITED_RULES = ("4220", "8510")


def one(file: Path) -> dict[str, Any]:
    """This process: read and judge one file."""
    began = time.process_time()
    from commonroom.collections import loader
    from commonroom.collections.engine import Engine
    from commonroom.collections.session import Session

    engine = Engine(loader.load("cin", 2026))
    ready = time.process_time()
    wall = time.perf_counter()
    with Session(engine) as session:
        session.load(file)
        read = time.process_time()
        report = session.check()
        judged = time.process_time()
        taken = time.perf_counter() - wall
        edits = {code: edit(session, code) for code in EDITED_RULES}
    found = Counter((finding.rule, finding.locations[0].path) for finding in report.findings)
    return {
        "children": report.records,
        "cpu": judged,
        "start": ready - began,
        "read": read - ready,
        "judge": judged - read,
        "wall": taken,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "edit_ms": edits,
        "found": [[rule, path, count] for (rule, path), count in found.items()],
    }


def edit(session: Any, code: str) -> float:
    """Milliseconds from the edit of one child to what a rule says of it: the best of some, for the machine is shared."""
    record = session.record("Child", 77)
    taken = []
    for turn in range(EDITS):
        edited = copy.deepcopy(record)
        edited["ChildCharacteristics"][0]["Ethnicity"] = "WBRI" if turn % 2 else "NONE"
        began = time.perf_counter()
        session.replace("Child", 77, edited)
        outcome = session.recheck(code, "Child", 77).outcome
        taken.append((time.perf_counter() - began) * 1000)
        assert code != "4220" or outcome == ("passed" if turn % 2 else "failed"), outcome
    return min(taken)


def measure(folder: Path, count: int) -> dict[str, Any]:
    """A file of so many children, in a process of its own, held against the truth."""
    file = folder / f"cin_{count}.xml"
    truth = Counter(children.write(file, count))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "bench"), str(ROOT / "src")))}
    command = [sys.executable, __file__, "--one", str(file)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(answer.stderr)
    result = json.loads(answer.stdout)
    found = Counter({(rule, path): times for rule, path, times in result.pop("found")})
    if found != truth:
        raise SystemExit(f"not the truth: missing {dict(truth - found)}, more {dict(found - truth)}")
    result |= {"faults": sum(truth.values()), "file_mb": file.stat().st_size / 1e6}
    print(
        f"{count:>8,} children {result['file_mb']:7.1f} MB: {result['cpu']:6.2f} CPU s (start {result['start']:.2f}, "
        f"read {result['read']:.2f}, judge {result['judge']:.2f}), {result['memory_mb']:5.0f} MB, "
        f"{result['cpu'] / count * 1e6:6.0f} us a child; {result['faults']} faults, all found and no other"
    )
    return result


def beside_peer(folder: Path, peer: Path, ruleset: str) -> dict[str, Any]:
    """The public validator and ours over the same file, from reading to findings, start-up of neither counted."""
    file = folder / f"cin_{PEER_CHILDREN}.xml"
    ours = measure(folder, PEER_CHILDREN)
    script = ROOT / "bench" / "rules_bench" / "peer.py"
    python, environment = (
        (str(peer), dict(os.environ)) if peer.is_file() else (sys.executable, dict(os.environ))
    )
    if peer.is_dir():
        environment["PYTHONPATH"] = str(peer)
    command = [python, str(script), str(file), ruleset]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode:
        print(f"peer: SKIPPED, it does not run: {answer.stderr.strip().splitlines()[-1:]}")
        return {"skipped": answer.stderr}
    theirs = json.loads(answer.stdout.splitlines()[-1])
    mine = ours["read"] + ours["judge"]
    print(
        f"peer: {theirs['cpu']:.1f} CPU s (read {theirs['read']:.1f}), ours {mine:.2f}: {theirs['cpu'] / mine:.0f} x"
    )
    return {"theirs": theirs, "ours": mine, "ratio": theirs["cpu"] / mine}


def _a_child(one: dict[str, Any]) -> float:
    """CPU seconds of reading and judging, for each child."""
    return float((one["read"] + one["judge"]) / one["children"])


def main() -> None:
    """Print the table, write test-results/bench_rules.json, fail where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--full", action="store_true", help="the curve up to 500,000 children")
    parser.add_argument("--children", type=int, default=CHILDREN)
    parser.add_argument(
        "--peer", type=Path, help="Python of an environment with the public validator, or a checkout"
    )
    parser.add_argument("--ruleset", default="cin2025_26", help="the public validator's rules")
    chosen = parser.parse_args()
    if chosen.one is not None:
        print(json.dumps(one(chosen.one)))
        return
    with tempfile.TemporaryDirectory(prefix="commonroom-bench-") as name:
        folder = Path(name)
        counts = sorted({*CURVE, chosen.children, *((500_000,) if chosen.full else ())})
        curve = {count: measure(folder, count) for count in counts}
        peer = beside_peer(folder, chosen.peer, chosen.ruleset) if chosen.peer else None
    main_run = curve[chosen.children]
    edits = main_run["edit_ms"]
    # Without the start, which is the same for all; 500 children are too few to time.
    linear = _a_child(curve[counts[-1]]) / _a_child(curve[counts[1]])
    print(
        f"one child edited, one rule judged again: {', '.join(f'{c} {ms:.0f} ms' for c, ms in edits.items())}"
    )
    print(f"a child of {counts[-1]:,} costs {linear:.2f} x one of {counts[1]:,}")
    result = {"curve": list(curve.values()), "growth": linear, "peer": peer, "load": os.getloadavg()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2))
    missed = [
        f"{what} {value:.1f} (goal {goal})"
        for what, value, goal in (
            ("CPU seconds", main_run["cpu"], GOAL_CPU),
            ("MB", main_run["memory_mb"], GOAL_MEMORY_MB),
            ("ms for an edit", edits[EDITED_RULES[0]], GOAL_EDIT_MS),
        )
        if chosen.children == CHILDREN and value > goal
    ]
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
