"""An agent goes on through faults of its own folder; the process never loses one silently."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from commonroom.agent import outbox
from tests.unit.agent.school_system import SchoolSystem
from tests.waiting import until

SECONDS = 30.0


@contextmanager
def running(school: SchoolSystem) -> Iterator[None]:
    """`commonroom agent run`, which must end cleanly when it is asked to."""
    command = [sys.executable, "-m", "commonroom", "agent", "run", str(school.config_file)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(SECONDS)
    assert code == 0


def letters(school: SchoolSystem) -> int:
    """How many letters wait (no hub is there)."""
    memory = school.memory()
    try:
        return outbox.counts(memory)["waiting"]
    finally:
        memory.close()


def test_an_agent_that_cannot_write_its_status_works_on(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    # The place of the new status is taken, as when the disk is full.
    (school.config.folder / "status.json.new").mkdir(parents=True)
    with running(school):
        until(lambda: letters(school) == 2, SECONDS, "the first look")
        school.add_pupils(2)
        until(lambda: letters(school) == 4, SECONDS, "a look after the status could not be written")
        (school.config.folder / "status.json.new").rmdir()
        until((school.config.folder / "status.json").exists, SECONDS, "a status")


def test_an_agent_that_a_fault_ended_begins_anew(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    memory = school.memory()
    # A fault that nothing in the agent foresees: a count that is no number.
    memory.write_note("loaded", "many")
    memory.close()
    with running(school):
        until(lambda: letters(school) == 2, SECONDS, "the first look")
        with closing(sqlite3.connect(school.config.memory_file)) as connection, connection:
            connection.execute("UPDATE note SET value = '0' WHERE name = 'loaded'")
        until((school.config.folder / "status.json").exists, SECONDS, "a status")
