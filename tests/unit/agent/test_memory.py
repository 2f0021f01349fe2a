"""The agent's memory: what it holds after faults, and what a new one means for receivers."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from commonroom.agent import Memory, Outcome, outbox
from commonroom.agent.memory import FATES, SCHEMA, SCHEMA_VERSION, VERSIONS_FROM
from tests.unit.agent.school_system import Receiver, SchoolSystem, sets, told


def receive(receiver: Receiver, outcome: Outcome) -> None:
    """Load a look's letters."""
    for found in sets(outcome):
        receiver.receive(found)


def test_a_lost_memory_s_successor_is_heard_by_receivers(tmp_path: Path) -> None:
    school, receiver = SchoolSystem(tmp_path), Receiver()
    begun = time.time_ns() // 1_000_000
    school.config.memory_file.unlink()
    school.add_pupils(1)
    receive(receiver, school.look())
    for town in ("Eastvale", "Westmarch", "Eastvale"):
        school.do("UPDATE pupil SET town = ?", [(town,)])
        receive(receiver, school.look())
    school.config.memory_file.unlink()
    school.do("UPDATE pupil SET town = 'Northolt'")
    anew = school.look()
    receive(receiver, anew)
    assert [learner["town"] for learner in receiver.live("learner")] == ["Northolt"]
    (learner, _), _ = told(anew)
    assert begun - 1 <= learner[3] <= time.time_ns() // 1_000_000 + 1


def test_a_record_s_versions_go_on_by_one_from_where_the_memory_began(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    memory = school.memory()
    memory.write_note(VERSIONS_FROM, "1000")
    memory.close()
    school.add_marks("2025-09-02", "/", 1)
    assert [version for *_, version in told(school.look())[0]] == [1001]
    school.do("UPDATE mark SET code = 'I'")
    assert [version for *_, version in told(school.look())[0]] == [1002]


def test_a_commit_that_fails_leaves_the_memory_ready_for_the_next_one(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path / "agent.sqlite")
    with memory.transaction() as connection:
        connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        child = "CREATE TABLE child (parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
        connection.execute(child)
    connection.execute("PRAGMA foreign_keys = ON")
    # A deferred constraint is one of the faults, as a full disk is, that appear only at COMMIT.
    with pytest.raises(sqlite3.IntegrityError), memory.transaction() as connection:
        connection.execute("INSERT INTO child VALUES (1)")
    memory.write_note("word", "kept")
    assert memory.note("word") == "kept"
    assert memory.rows("SELECT * FROM child") == []
    memory.close()


def test_a_transaction_that_sqlite_ended_by_itself_tells_the_fault_that_ended_it(tmp_path: Path) -> None:
    memory = Memory.open(tmp_path / "agent.sqlite")
    with pytest.raises(sqlite3.IntegrityError), memory.transaction() as connection:
        connection.execute("INSERT OR ROLLBACK INTO note VALUES (?, '0')", (VERSIONS_FROM,))
    memory.write_note("word", "kept")
    memory.close()


def _first_schema() -> str:
    later = ("    tries ", "    again_at ", "    sealed ", "INSERT INTO note")
    lines = [line for line in SCHEMA.splitlines() if not line.startswith(later)]
    return "\n".join(lines).replace("problem TEXT,  ", "problem TEXT  ")


def _second_schema() -> str:
    lines = [line for line in SCHEMA.splitlines() if not line.startswith("    sealed ")]
    return (
        "\n".join(lines).replace(
            "again_at INTEGER NOT NULL DEFAULT 0,", "again_at INTEGER NOT NULL DEFAULT 0"
        )
        + FATES
    )


@pytest.mark.parametrize(("version", "schema"), [(1, _first_schema()), (2, _second_schema())])
def test_a_memory_of_a_version_before_is_brought_up_to_date(
    tmp_path: Path, version: int, schema: str
) -> None:
    path = tmp_path / "agent.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"{schema}\nPRAGMA user_version = {version};")
    memory = Memory.open(path)
    assert memory.rows("PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert outbox.waiting(memory, 10, 1000) == []
    assert memory.rows("SELECT * FROM fate") == []
    memory.close()
