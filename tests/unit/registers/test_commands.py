"""`commonroom providers` as people run it: words, JSON, exit codes, with and without a server running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commonroom.settings import Settings
from tests.unit.registers import extracts
from tests.unit.registers.extracts import row


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COMMONROOM_DATA": str(settings.data)}
    environment.pop("COMMONROOM_DATABASE", None)
    if settings.database:
        environment["COMMONROOM_DATABASE"] = settings.database
    return subprocess.run(
        [sys.executable, "-m", "commonroom", "providers", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [row(), row(990002, URN="bad"), row(990003, EstablishmentName="Harbour School", OpenDate="never")]
    return extracts.write(tmp_path / "edubasealldata20260310.csv", rows)


def test_bad_rows_are_listed_and_the_command_ends_well(settings: Settings, file: Path) -> None:
    done = run(settings, "load", str(file))
    assert done.returncode == 0, done.stderr
    assert "2 schools, 340 pupils in 1 LAs" in done.stdout
    assert "1 refused" in done.stdout
    assert "'bad' is not a URN" in done.stdout
    assert "'never' is not a date" in done.stdout
    listed = run(settings, "issues", "--json")
    assert [(issue["line"], issue["effect"]) for issue in json.loads(listed.stdout)] == [
        (3, "row refused"),
        (4, "value left blank"),
    ]


def test_a_file_that_cannot_be_read_ends_with_2_and_the_others_are_loaded(
    settings: Settings, file: Path
) -> None:
    broken = file.parent / "broken.csv"
    broken.write_bytes(b"<html>not found</html>")
    done = run(settings, "load", str(broken), str(file), str(file.parent / "missing.csv"), "--json")
    assert done.returncode == 2
    assert [report["schools"] for report in json.loads(done.stdout)] == [2]
    assert "broken.csv, line 1" in done.stderr
    assert "missing.csv" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_school_can_be_found_shown_and_followed_through_its_history(settings: Settings, file: Path) -> None:
    assert run(settings, "load", str(file)).returncode == 0
    later = extracts.write(
        file.parent / "edubasealldata20260510.csv", [row(NumberOfPupils="181", LastChangedDate="01-05-2026")]
    )
    assert run(settings, "load", str(later)).returncode == 0
    found = json.loads(run(settings, "find", "fernside", "--json").stdout)
    assert [school["urn"] for school in found] == ["990001"]
    shown = json.loads(run(settings, "show", "990001", "--json").stdout)
    assert (shown["name"], shown["pupils"]) == ("Fernside Infant School", 181)
    history = run(settings, "history", "990001")
    assert "pupils: 170 -> 181" in history.stdout
    unknown = run(settings, "show", "999999")
    assert unknown.returncode == 2
    assert "no school with the URN 999999" in unknown.stderr


def test_without_a_server_the_command_brings_its_own_and_leaves_none_behind(
    tmp_path: Path, file: Path
) -> None:
    alone = Settings(data=tmp_path / "alone")
    done = run(alone, "load", str(file))
    assert done.returncode == 0, done.stderr
    assert not (alone.data / "postgres" / "cluster" / "postmaster.pid").exists()
    again = run(alone, "find", "harbour", "--json")
    assert [school["urn"] for school in json.loads(again.stdout)] == ["990003"]


def test_a_database_that_does_not_answer_is_named(tmp_path: Path, file: Path) -> None:
    nowhere = Settings(data=tmp_path / "data", database="postgresql://nobody@127.0.0.1:9/none")
    done = run(nowhere, "load", str(file))
    assert done.returncode == 2
    assert "CR-003" in done.stderr
    assert "Traceback" not in done.stderr
