"""`commonroom standard`: what an integrator sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from commonroom.problems import Problem
from commonroom.standard import identifiers
from commonroom.standard.commands import app
from commonroom.standard.files import MAX_BYTES, check_file

UPN = identifiers.make_upn(997, 4000, 2020, 17)
ENROLMENT: dict[str, Any] = {
    "school": "990001",
    "upn": UPN,
    "entry_date": "2020-09-03",
    "enrolment_status": "C",
    "nc_year": "6",
    "valid_from": "2025-09-01",
    "version": 1,
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"})


def record_set(path: Path, **parts: Any) -> Path:
    path.write_text(json.dumps({"standard": "2026.1", **parts}), "utf-8")
    return path


def test_list_names_everything_there_is() -> None:
    result = run("list")
    assert result.exit_code == 0
    for name in ("attendance_mark", "language", "commonroom.transfer.sent", "2026.1"):
        assert name in result.output


def test_show_prints_an_entity_in_words_or_as_json() -> None:
    assert "The last day on the roll" in run("show", "enrolment").output
    assert json.loads(run("show", "enrolment", "--json").output)["key"] == ["school", "upn", "entry_date"]


def test_codes_prints_dates_attributes_and_what_is_invented() -> None:
    assert "2024-08-19" in run("codes", "attendance").output
    assert "Westmarch (invented)" in run("codes", "local_authority").output
    assert len(json.loads(run("codes", "language", "--json").output)["codes"]) == 319


@pytest.mark.parametrize("command", ["show", "codes"])
def test_a_name_that_does_not_exist_is_answered_with_those_that_do(command: str) -> None:
    problem = run(command, "nonsense").exception
    assert isinstance(problem, Problem)
    assert problem.code == "CR-091"
    assert "enrolment" in problem.remedy


def test_check_counts_good_records_and_ends_well(tmp_path: Path) -> None:
    withdrawn = {"school": "990001", "upn": UPN, "valid_from": "2025-09-01", "version": 2}
    file = record_set(
        tmp_path / "good.json", records={"enrolment": [ENROLMENT]}, withdrawn={"learner": [withdrawn]}
    )
    result = run("check", str(file))
    assert result.exit_code == 0
    assert "2 of 2 records are good; 0 errors." in result.output


def test_check_names_file_record_item_and_remedy_without_any_value(tmp_path: Path) -> None:
    wrong = {**ENROLMENT, "upn": "A" + UPN[1:], "nc_year": "99"}
    file = record_set(tmp_path / "bad.json", records={"enrolment": [ENROLMENT, wrong]})
    result = run("check", str(file))
    assert result.exit_code == 1
    assert f"{file}: records enrolment[1]: error standard-identifier: `upn`" in result.output
    assert "Use one of: E1, E2, N1" in result.output
    assert "1 of 2 records are good; 2 errors." in result.output
    assert UPN[1:] not in result.output
    assert "99 " not in result.output


def test_a_query_is_printed_and_is_no_error(tmp_path: Path) -> None:
    organisation = {
        "organisation": "urn:commonroom:org:0190a3c4-8a00-7000-8000-000000000001",
        "kind": "school",
        "name": "Ysgol",
        "la_code": "672",
        "valid_from": "2025-09-01",
    }
    result = run("check", str(record_set(tmp_path / "query.json", records={"organisation": [organisation]})))
    assert result.exit_code == 0
    assert "query standard-code: `la_code`" in result.output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "truncated"),
        (b'{"records": {}}', "standard"),
        (b'{"standard": "2026.1", "recrods": {}}', "recrods"),
        (b'{"standard": "2013.4"}', "not of version 2026.1"),
        (b'{"standard": "2026.1", "records": {"enrolment": [1]}}', "object"),
        (b'\xff\xfe{"standard"', "malformed"),
    ],
)
def test_a_file_that_is_no_record_set_is_a_problem_with_a_remedy(
    tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "set.json"
    file.write_bytes(content)
    with pytest.raises(Problem, match=words) as caught:
        check_file(file)
    assert (caught.value.code, caught.value.where) == ("CR-093", str(file))
    assert caught.value.remedy


def test_a_missing_or_an_over_large_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="cannot be opened"):
        check_file(tmp_path / "nothing.json")
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(Problem, match="larger than"):
        check_file(large)


def test_diff_says_what_changed_and_what_it_breaks() -> None:
    result = run("diff", "2025.1", "2026.1")
    assert result.exit_code == 0
    assert "From 2025.1 to 2026.1: 19 changes." in result.output
    assert "learning_aim.traineeship" in result.output
    assert "Senders must leave it out." in " ".join(result.output.split())
    found = json.loads(run("diff", "2024.1", "2026.1", "--json").output)
    assert {one["kind"] for one in found} >= {"item renamed", "item removed", "code recoded", "entity added"}


def test_diff_of_versions_in_the_wrong_order_is_a_problem() -> None:
    problem = run("diff", "2026.1", "2025.1").exception
    assert isinstance(problem, Problem)
    assert problem.remedy == "Name the older version first."


def test_versions_are_listed_oldest_first() -> None:
    assert run("versions").output.split() == ["2024.1", "2025.1", "2026.1"]


def test_a_file_of_an_older_version_is_judged_as_what_it_becomes(tmp_path: Path) -> None:
    aim = {
        "school": "990001",
        "upn": UPN,
        "qualification": "60146084",
        "start_date": "2025-09-03",
        "traineeship": True,
    }
    file = tmp_path / "older.json"
    file.write_text(json.dumps({"standard": "2025.1", "records": {"learning_aim": [aim]}}), "utf-8")
    result = run("check", str(file))
    assert result.exit_code == 0
    assert "1 of 1 records are good; 0 errors." in result.output
    assert "`traineeship` of 1 record says more in version 2025.1" in " ".join(result.output.split())
