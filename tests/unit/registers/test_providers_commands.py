"""`commonroom providers`: what changed, the register as of a day, records and names, as words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commonroom.problems import Problem
from commonroom.registers.commands import app
from commonroom.settings import Settings
from tests.unit.registers import extracts
from tests.unit.registers.extracts import row
from tests.unit.registers.ukrlp_answers import RECORD, write_lines


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COMMONROOM_DATA", str(settings.data))
    monkeypatch.setenv("COMMONROOM_DATABASE", str(settings.database))

    def command(*arguments: str, status: int = 0) -> str:
        done = CliRunner().invoke(app, list(arguments))
        if isinstance(done.exception, Problem):
            raise done.exception
        assert done.exit_code == status, done.output
        return done.output

    return command


def test_changes_days_records_and_names_can_be_asked_for(run: Any, tmp_path: Path) -> None:
    first = extracts.write(tmp_path / "edubasealldata20260310.csv", [row(), row(990002, UKPRN="")])
    later = row(EstablishmentName="Fernside Primary School", LastChangedDate="01-05-2026")
    second = extracts.write(tmp_path / "edubasealldata20260510.csv", [later])
    ukrlp = write_lines(tmp_path / "ukrlp20260511.json", [RECORD])
    loaded = run("load", str(first), str(second), str(ukrlp))
    assert "ukrlp20260511.json: ukrlp as at 2026-05-11" in loaded
    assert [one["number"] for one in json.loads(run("loads", "--json"))] == [3, 2, 1]
    told = run("changes", "1", "2")
    assert "After load 1 up to load 2: 1 renamed." in told
    assert "   name: Fernside Infant School -> Fernside Primary School" in told
    assert json.loads(run("changes", "--json"))["counts"] == {"added": 1}
    assert "Fernside Infant School (urn 990001), valid from 2026-03-01" in run(
        "as-of", "2026-04-01", "990001"
    )
    counts = {one["kind"]: one["open"] for one in json.loads(run("as-of", "2026-06-01", "--json"))}
    assert (counts["school"], counts["provider"]) == (2, 1)
    names = json.loads(run("names", "990001", "--json"))
    assert [(one["name"], one["until"]) for one in names] == [
        ("Fernside Infant School", "2026-05-01"),
        ("Fernside Primary School", None),
    ]
    [line] = run("record", "10099001").splitlines()
    assert json.loads(line)["ProviderName"] == RECORD["ProviderName"]
    assert run("record", "10099999", status=2) == ""
    found = json.loads(run("find", "saltmeer colege", "--all", "--json"))
    assert [one["urn"] for one in found] == ["10099001"]
    assert "number" in run("find", "saltmeer colege", "--all")
    assert "valid from" in run("history", "10099001")
    assert "Fernside Primary School (990001)" in run("show", "10080446")
    assert "(ukprn 10099001)" in run("as-of", "2026-06-01", "10099001")
    with pytest.raises(Problem, match="no school's UKPRN") as raised:
        run("show", "10099001")
    assert "providers record 10099001" in raised.value.remedy
    with pytest.raises(Problem, match="no school"):
        run("as-of", "1900-01-01", "990001")
