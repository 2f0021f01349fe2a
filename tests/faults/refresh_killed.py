"""Processes that bring partial sums up to date and are killed in the midst of it; a process of its own, which forks them.

    python -m tests.faults.refresh_killed FOLDER TRIALS

It imports everything once and starts no threads, so that a fork is cheap and safe. Every other trial dies right after a
step that is drawn (a statement, a sync, a rename), the others at a moment that is drawn. Prints what happened as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from commonroom import log
from commonroom.engines import delta, files
from commonroom.engines.delta import Batch
from commonroom.engines.duck import Duck, Session
from commonroom.settings import Settings
from commonroom.standard import terms
from commonroom.warehouse import manifests, measures, partials, periods, stages, tables
from commonroom.warehouse.analytics import InProcess
from commonroom.warehouse.heads import Head
from commonroom.warehouse.partials import Partials
from commonroom.warehouse.school_numbers import SchoolNumbers
from commonroom.warehouse.spans import View, days

MARKS = tables.of("attendance_mark")
MEASURES = ("absence_overall", "persistent_absence")
FIRST, LAST = date(2026, 9, 7), date(2026, 9, 18)
SCHOOLS: dict[str, Any] = dict.fromkeys(str(990001 + number) for number in range(5))
VERSIONS = range(1, 7)
# Seen to die: what a refresh does, in order; a trial kills after the nth of them.
STEPS: list[tuple[Any, str]] = [
    (Session, "run"),
    (files, "sync"),
    (files, "write"),
    (manifests, "store"),
    (manifests, "replaced"),
    (manifests, "sweep"),
]
_MOST_STEPS = 40


def main(folder: Path, trials: int) -> None:
    """Make the facts, then trial after trial: one process is killed, the next one gives the figures."""
    log.configure("test", "error")
    settings = Settings(data=folder, database="none")
    for name in MEASURES:  # compiled once, for all forks
        stages.of(measures.named(name))
        measures.duckdb_sql(name)
    _periods()
    with suppress(ImportError):
        importlib.import_module("pandas")  # DuckDB looks for it, once in each process
    of_facts = _in_child(lambda: _facts(settings))
    began = time.monotonic()
    _in_child(partial(_figures, settings, VERSIONS))
    one_takes = (time.monotonic() - began) / len(VERSIONS)
    killed = {"at a step": 0, "at a moment": 0}
    for seed in range(trials):
        chance = random.Random(seed)
        first, last = sorted(chance.sample(VERSIONS, 2))
        shutil.rmtree(settings.folder("warehouse") / partials.FOLDER, ignore_errors=True)
        if chance.random() < 0.7:  # something is kept already
            _in_child(partial(_figures, settings, [first]))
        for _ in range(chance.choice([1, 1, 2])):  # who comes after may be killed, too
            wanted = range(first, last + 1)
            if seed % 2:
                killed["at a moment"] += _killed_at(
                    chance.random() * one_takes * len(wanted), settings, wanted
                )
            else:
                killed["at a step"] += _killed_after(chance.randint(1, _MOST_STEPS), settings, wanted)
        found = _in_child(partial(_figures, settings, [first, last, VERSIONS[-1]]))
        for version, figures in found.items():
            if figures != of_facts[version]:
                sys.exit(f"seed {seed}: the figures at {version} are not those of the facts")
    print(json.dumps({"trials": trials, "killed": killed}))


def _killed_after(step: int, settings: Settings, wanted: Sequence[int]) -> bool:
    """Bring it up in a process that dies right after so many steps; whether it did."""
    return _in_child(lambda: _figures(settings, wanted), before=lambda: _dies_after(step)) is None


def _killed_at(seconds: float, settings: Settings, wanted: Sequence[int]) -> bool:
    """Bring it up in a process that is killed after so many seconds; whether it was."""
    return _in_child(lambda: _figures(settings, wanted), seconds=seconds) is None


def _in_child(
    do: Callable[[], Any], *, before: Callable[[], None] | None = None, seconds: float | None = None
) -> Any:
    """What is done in a fork of this process; None when it was killed. Any other end than these ends the test."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            if before is not None:
                before()
            with os.fdopen(writing, "w") as answer:
                answer.write(json.dumps(do(), default=str))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    if seconds is not None and not select.select([reading], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as answer:
        told = answer.read()
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    if ended not in (0, -signal.SIGKILL):
        sys.exit(f"a process ended with {ended}")
    return None if ended else json.loads(told)


def _dies_after(step: int) -> None:
    count = 0

    def counted(do: Callable[..., Any]) -> Callable[..., Any]:
        def after(*given: Any, **named: Any) -> Any:
            nonlocal count
            result = do(*given, **named)
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return after

    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))


def _figures(settings: Settings, versions: Sequence[int]) -> dict[str, Any]:
    """From what is kept, as at each version in turn."""
    duck = Duck(settings, [settings.folder("warehouse")])
    kept, found = Partials(settings, duck), {}
    for version in versions:
        rows = [
            _named(
                name, kept.rows(measures.named(name), _head(version), days(measures.named(name), _periods()))
            )
            for name in MEASURES
        ]
        found[str(version)] = _in_order(rows)
    return found


def _facts(settings: Settings) -> dict[str, Any]:
    """Make the table, and figures from all its facts as at each version."""
    folder = MARKS.folder(settings)
    for version in VERSIONS:
        delta.append(
            folder,
            _marks(version),
            after=version - 1 if version > 1 else None,
            batch=Batch(version, str(version)),
        )
    duck = Duck(settings, [settings.folder("warehouse")])
    numbers, found = SchoolNumbers(settings, duck, InProcess(duck)), {}
    for version in VERSIONS:
        view = View(_head(version), datetime(2030, 1, 1), LAST)  # noqa: DTZ001 - UTC without a zone
        rows = [
            _named(name, numbers.rows(measures.named(name), SCHOOLS, _periods(), view)) for name in MEASURES
        ]
        found[str(version)] = _in_order(rows)
    return found


def _marks(version: int) -> pa.Table:
    """The marks of another day, and corrections of the days before."""
    chance, school_days = random.Random(version), terms.school_days(FIRST, LAST)
    told = [(school_days[version - 1], code, 1) for code in "/\\IN"]
    told += [(chance.choice(school_days[:version]), code, chance.choice([1, -1])) for code in "/IN"]
    rows = [
        {
            "school": school, "upn": f"A{pupil:012}", "date": day, "session": chance.choice(["AM", "PM"]), "code": code,
            "valid_from": day, "weight": weight, "version": version, "known_position": version,
            "known_from": datetime(2026, 9, 20), "message": "m", "sender": "s", "learner_id": str(pupil),  # noqa: DTZ001
        }
        for school in chance.sample(list(SCHOOLS), 1 + version % len(SCHOOLS))
        for pupil in range(9)
        for day, code, weight in chance.sample(told, 4)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=MARKS.schema)


def _head(version: int) -> Head:
    return Head(version, "batch", version, {MARKS.entity: version}, None)


def _periods() -> list[periods.Period]:
    return [one for grain in ("day", "week", "term") for one in periods.between(grain, FIRST, LAST, LAST)]


def _named(measure: str, rows: list[dict[str, Any]] | None) -> list[Any]:
    if rows is None:
        raise RuntimeError("nothing is kept")
    return [
        [measure, row["period"], row["member"], row["numerator"], row["denominator"], row["units"]]
        for row in rows
    ]


def _in_order(rows: list[list[Any]]) -> list[str]:
    return sorted(json.dumps(row) for measure in rows for row in measure)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
