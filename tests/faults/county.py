"""Running a headless county and killing its processes at random moments, with what was in flight at each kill."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import psycopg

TARGETS = ("agents", "hub", "postgres", "worker")
KILLS = 5
LONGEST_GAP = 2.0
PATIENCE = 60.0  # a kill while nothing is on its way would say little: wait this long for traffic
RUN_SECONDS = 300
RESTART_SECONDS = 30


class Kill(msgspec.Struct, frozen=True):
    """One kill -9: which process, when, and what was on its way."""

    target: str
    seconds: float  # since the agents began
    letters_in_outboxes: int
    deliveries_unfinished: int


class Trial(msgspec.Struct, frozen=True):
    """One run with its kills."""

    seed: int
    kills: list[Kill]
    status: int
    account: dict[str, Any]  # what the command printed


def run_with_kills(seed: int, data: Path, *, pupils: int, days: int, late: int = 0) -> Trial:
    """Run `commonroom demo --headless` and kill its processes by the seed's dice until it ends."""
    command = [sys.executable, "-m", "commonroom", "demo", "--headless", "--json", "--data", str(data)]
    command += ["--pupils", str(pupils), "--days", str(days), "--seed", str(seed), "--late", str(late)]
    with (data.parent / "run.log").open("wb") as log:
        # What a killed agent had leased comes again when the lease ends: minutes in life, seconds here.
        hurried = {**os.environ, "COMMONROOM_LEASE_SECONDS": "5"}
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=hurried)
    try:
        kills = _kill_at_random(random.Random(seed), run, data)
        output, _ = run.communicate(timeout=RUN_SECONDS)
    finally:
        run.kill()
    if not output:
        raise AssertionError(
            f"seed {seed}: no account was given: {(data.parent / 'run.log').read_text()[-2000:]}"
        )
    return Trial(seed, kills, run.returncode, json.loads(output))


def _kill_at_random(dice: random.Random, run: subprocess.Popen[bytes], data: Path) -> list[Kill]:
    _wait(run, lambda: "agents" in _numbers(data), 120)
    began = time.monotonic()
    kills: list[Kill] = []
    # Each process at least once, in an order of the dice, then whatever comes.
    targets = dice.sample(TARGETS, len(TARGETS)) + dice.choices(TARGETS, k=KILLS - len(TARGETS))
    for target in targets:
        moment = time.monotonic() + dice.uniform(0.3, LONGEST_GAP)
        _wait(run, lambda moment=moment: time.monotonic() > moment, LONGEST_GAP + 1)  # type: ignore[misc]
        _wait(run, lambda: sum(_in_flight(data)) > 0, PATIENCE)
        if run.poll() is not None:
            break
        letters, deliveries = _in_flight(data)
        # It may be dead from the kill before, and its supervisor about to start it again.
        _wait(run, lambda target=target: _killed(data, target), RESTART_SECONDS)  # type: ignore[misc]
        kills.append(Kill(target, round(time.monotonic() - began, 1), letters, deliveries))
    return kills


def _killed(data: Path, target: str) -> bool:
    try:
        os.kill(_numbers(data)[target], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _numbers(data: Path) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads((data / "run" / "processes.json").read_bytes())
    except FileNotFoundError:
        return {}
    return found


def _in_flight(data: Path) -> tuple[int, int]:
    """Letters in outboxes and unfinished deliveries; without a database to ask the latter counts as none."""
    statuses = [json.loads(path.read_bytes()) for path in data.glob("agents/*/status.json")]
    letters = sum(status["outbox_waiting"] for status in statuses)
    try:
        with psycopg.connect((data / "postgres" / "dsn").read_text(), connect_timeout=2) as connection:
            row = connection.execute("SELECT count(*) FROM hub.delivery WHERE finished_at IS NULL").fetchone()
    except (psycopg.Error, FileNotFoundError):
        return letters, 0
    return letters, row[0] if row else 0


def _wait(run: subprocess.Popen[bytes], condition: Any, seconds: float) -> None:
    """Until the condition holds, the run ends, or the time is over."""
    deadline = time.monotonic() + seconds
    while not condition() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
