"""The movements file: loaded whole or not at all, with errors that name file, line and key; changes make versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commonroom.hub import list_movements, load_movements
from commonroom.hub.commands import app
from commonroom.hub.movements import read
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.hub_server import MOVEMENTS, SCHOOL_ALIAS, publish_small_county

FAULTS = [
    ("classification: confidential", "classification: secret", "CR-001", 12),
    ("    title: Attendance marks\n", "", "CR-001", 3),
    ('retention_days: "30"', "retention_days: many", "CR-001", 13),
    ("active_from: 2020-01-01", "active_from: soon", "CR-001", 14),
    ("to: [its local authority, the department's warehouse]", "to: []", "CR-001", 6),
    ("from: {kind: school}", "from: {kind: school, sort: x}", "CR-001", 5),
    ("    purpose: To see", "    porpoise: To see", "CR-001", 8),
    ("id: attendance", "id: Attendance Marks", "CR-001", 3),
    ("from: {kind: school}", "from: {}", "CR-051", None),
    ("from: {kind: school}", "from: {kind: school, party: urn:x}", "CR-051", None),
    ("id: transfers", "id: attendance", "CR-051", None),
    ("active_to: 2021-01-01", "active_to: 2019-01-01", "CR-051", None),
]


def _write(folder: Path, text: str) -> Path:
    file = folder / "movements.yaml"
    file.write_text(text, "utf-8")
    return file


@pytest.mark.parametrize(("old", "new", "code", "line"), FAULTS)
def test_a_fault_in_the_file_is_named_with_its_place(
    tmp_path: Path, old: str, new: str, code: str, line: int | None
) -> None:
    assert old in MOVEMENTS
    file = _write(tmp_path, MOVEMENTS.replace(old, new, 1))
    with pytest.raises(Problem) as caught:
        read(file)
    assert caught.value.code == code
    assert str(file) in caught.value.where
    if line is not None:
        assert caught.value.extra["line"] == line


async def test_a_changed_movement_gets_a_new_version_and_the_same_one_does_not(
    pool: Any, tmp_path: Path
) -> None:
    async with pool.acquire() as connection:
        first = await load_movements(connection, _write(tmp_path, MOVEMENTS))
        again = await load_movements(connection, _write(tmp_path, MOVEMENTS))
        changed = await load_movements(
            connection, _write(tmp_path, MOVEMENTS.replace("One pupil", "One learner"))
        )
        listed = {found.movement.id: found for found in await list_movements(connection)}
    assert (set(first.new), first.changed) == ({"attendance", "transfers", "ended"}, ())
    assert (again.new, again.changed, len(again.unchanged)) == ((), (), 3)
    assert (changed.new, changed.changed) == ((), ("transfers",))
    assert (listed["transfers"].version, listed["attendance"].version) == (2, 1)
    assert listed["transfers"].movement.content == "One learner"
    assert [listed[name].active for name in ("attendance", "transfers", "ended")] == [True, True, False]
    assert tuple(found.movement for found in listed.values()) == tuple(
        sorted(
            read(_write(tmp_path, MOVEMENTS.replace("One pupil", "One learner"))), key=lambda each: each.id
        )
    )


@pytest.fixture
def on_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The command line finds the test's database."""
    monkeypatch.setenv("COMMONROOM_DATA", str(settings.data))
    monkeypatch.setenv("COMMONROOM_DATABASE", str(settings.database))
    return settings


def test_the_command_line_loads_lists_and_reports_faults(on_settings: Settings, tmp_path: Path) -> None:
    runner = CliRunner()
    good = _write(tmp_path, MOVEMENTS)
    loaded = runner.invoke(app, ["movements", "load", str(good)])
    assert (loaded.exit_code, loaded.output.strip()) == (0, "3 new, 0 changed, 0 unchanged")
    assert '"attendance"' in runner.invoke(app, ["movements", "list", "--json"]).output
    assert runner.invoke(app, ["traffic"]).exit_code == 0
    _write(tmp_path, "movements: 7")
    failed = runner.invoke(app, ["movements", "load", str(good)])
    assert failed.exit_code == 1
    assert "line 1" in failed.output


async def test_an_enrolment_code_is_given_for_a_party_of_the_directory_alone(
    on_settings: Settings, pool: Any, tmp_path: Path
) -> None:
    import asyncio

    async with pool.acquire() as connection:
        await publish_small_county(connection, tmp_path)
    runner = CliRunner()
    given = await asyncio.to_thread(runner.invoke, app, ["enrolment-code", SCHOOL_ALIAS])
    assert given.exit_code == 0
    assert len(given.output.strip()) >= 20
    refused = await asyncio.to_thread(runner.invoke, app, ["enrolment-code", "urn:commonroom:alias:urn:1"])
    assert refused.exit_code == 1
    assert "CR-041" in refused.output
