"""kill -9 of the loader after any step: what comes again is loaded once, and nothing half-done is ever visible.

The loader's process dies by SIGKILL right after the step a trial names; the letters then come again, as the hub would
deliver them. Steps are counted over three batches that insert, correct and withdraw in two tables.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom.engines import delta, files
from commonroom.engines.duck import Duck
from commonroom.exchange import Letter
from commonroom.settings import Settings
from commonroom.warehouse import batches, heads, tables
from tests.unit.warehouse.house import House, enrolment, mark, upn

SCHOOL = "990001"
# What is done in a batch, in order; a trial kills after the nth of them.
STEPS: list[tuple[Any, str]] = [
    (delta.DeltaTable, "create"),
    (delta, "write_deltalake"),
    (delta.DeltaTable, "restore"),
    (files, "sync"),
    (heads, "announce"),
    (batches, "_announce"),
]


def three_batches(house: House) -> list[list[Letter]]:
    """Ten pupils come with a day of marks; some marks and stays are corrected; some are withdrawn."""
    pupils = range(1, 11)
    day = "2026-09-07"
    key = {"school": SCHOOL, "upn": upn(3), "valid_from": day}
    stay = {
        "school": SCHOOL,
        "upn": upn(4),
        "entry_date": "2026-09-01",
        "valid_from": "2026-09-01",
        "version": 2,
    }
    return [
        [
            house.letter(SCHOOL, "enrolment", [enrolment(SCHOOL, n, "2026-09-01") for n in pupils]),
            house.letter(SCHOOL, "attendance_mark", [mark(SCHOOL, n, day, "AM", "/") for n in pupils]),
        ],
        [
            house.letter(SCHOOL, "attendance_mark", [mark(SCHOOL, n, day, "AM", "I", 2) for n in (1, 2)]),
            house.letter(SCHOOL, "enrolment", [enrolment(SCHOOL, 1, "2026-09-01", version=2, nc_year="8")]),
        ],
        [
            house.letter(
                SCHOOL, "attendance_mark", (), [{**key, "date": day, "session": "AM", "version": 2}]
            ),
            house.letter(SCHOOL, "enrolment", (), [stay]),
        ],
    ]


def live(settings: Settings, head: heads.Head) -> dict[str, list[tuple[Any, ...]]]:
    """Current rows by table, without what was given anew in each run (message, known time, our key)."""
    duck = Duck(settings, [settings.folder("warehouse")])
    found = {}
    for entity, version in head.tables.items():
        table = tables.of(entity)
        paths = [file.path for file in delta.files_of(table.folder(settings), version)]
        items = ", ".join(table.items)
        facts = table.relation(paths, [*table.items, "weight"])
        rows = duck.query(
            f"SELECT {items}, sum(weight) AS n FROM ({facts}) GROUP BY {items} HAVING n <> 0 ORDER BY ALL"
        )
        found[entity] = [tuple(row.values()) for row in rows]
    duck.close()
    return found


class Trial(msgspec.Struct):
    """What the killed process is told."""

    settings: Settings
    letters: list[list[Letter]]
    kill_after: int


async def work(trial: Trial) -> None:
    """The process that is killed: loads the batches, dying after the nth step. Ends by itself when n is never reached."""
    count = 0

    def step_done() -> None:
        nonlocal count
        count += 1
        if count == trial.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(do: Callable[..., Any]) -> Callable[..., Any]:
        def after(*arguments: Any, **options: Any) -> Any:
            result = do(*arguments, **options)
            step_done()
            return result

        async def after_awaited(*arguments: Any, **options: Any) -> Any:
            result = await do(*arguments, **options)
            step_done()
            return result

        return after_awaited if asyncio.iscoroutinefunction(do) else after

    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))
    await load_all(trial)


async def load_all(trial: Trial) -> None:
    duck = Duck(trial.settings, [trial.settings.folder("warehouse")])
    async with heads.lease(trial.settings) as connection:
        for letters in trial.letters:
            await batches.load(connection, trial.settings, duck, letters)


@pytest.mark.parametrize("trials", [5, pytest.param(100, marks=pytest.mark.soak)])
async def test_kill_9_between_any_two_steps_loses_doubles_and_tears_nothing(
    settings: Settings, pool: Any, tmp_path: Path, trials: int
) -> None:
    async with pool.acquire() as connection:
        house = await House(connection, settings, [SCHOOL]).open()
        letters = three_batches(house)
    # The state after each batch, from a run that nobody disturbs, in a warehouse of its own.
    calm = msgspec.structs.replace(settings, data=tmp_path / "calm")
    states: list[Any] = [{}]
    duck = Duck(calm, [calm.folder("warehouse")])
    async with heads.lease(calm) as lease:
        for batch in letters:
            states.append(live(calm, (await batches.load(lease, calm, duck, batch)).head))
    assert [len(rows) for rows in states[-1].values()] == [9, 9]

    killed = 0
    for trial_number in range(trials):
        await pool.execute(
            "TRUNCATE warehouse.head, warehouse.finding, learners.identifier, learners.learner"
        )
        stormy = msgspec.structs.replace(settings, data=tmp_path / f"storm {trial_number}")
        step = trial_number * 7 % 29 + 1
        # Every other time the recovery is killed too.
        for kill_after in [step, 3][: 1 + trial_number % 2]:
            killed += await in_process(Trial(stormy, letters, kill_after), tmp_path)
            seen = live(stormy, await heads.newest(pool))
            assert seen in states, f"half a batch is visible after a kill at step {kill_after}"
        await load_all(Trial(stormy, letters, 0))
        assert live(stormy, await heads.newest(pool)) == states[-1], f"first killed at step {step}"
    print(f"{trials} trials, {killed} kills, no fact lost, doubled or half visible")
    assert killed >= trials


async def in_process(trial: Trial, folder: Path) -> bool:
    """Load in a process of its own; True when it was killed. Any other end than a kill or success fails the test."""
    file = folder / "trial.msgpack"
    file.write_bytes(msgspec.msgpack.encode(trial, enc_hook=str))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.test_warehouse_kill", str(file), stderr=subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode in (0, -signal.SIGKILL), errors.decode()[-2000:]
    return process.returncode != 0


if __name__ == "__main__":
    told = msgspec.msgpack.decode(
        Path(sys.argv[1]).read_bytes(), type=Trial, dec_hook=lambda kind, value: kind(value)
    )
    asyncio.run(work(told))
