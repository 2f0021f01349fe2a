"""A return is loaded, judged, edited record by record and judged again; the command prints what was found."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commonroom.cli import _build
from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.session import Session
from commonroom.collections.tables import Limits
from commonroom.problems import Problem
from tests.unit.collections.conftest import Clubs

BACKWARDS = {
    "for_each": "Club",
    "fails_when": "End < Start",
    "point_at": ["End"],
    "examples": [],
    "mutate": None,
}
TWICE = {"code": "2", "for_each": "Pupil", "unique": {"items": ["Number"]}, "point_at": ["Number"]}
KINDS = {
    "code": "3",
    "measures": {"over": "Club", "values": {"n": "count(DISTINCT Kind)"}},
    "fails_when": "n > 1",
}
XML = (
    "<Message><Header><CollectionDetails><Collection>CLUB</Collection><Year>2026</Year></CollectionDetails></Header>"
    "<Pupils>{}</Pupils></Message>"
)
GOOD = (
    "<Pupil><Number>A1</Number><Clubs><Club><Kind>ART</Kind><Start>2025-09-10</Start></Club></Clubs></Pupil>"
)
BAD = GOOD.replace("A1", "A2").replace("</Club>", "<End>2025-09-01</End></Club>")


@pytest.fixture
def file(clubs: Clubs) -> Path:
    path = clubs.folder.parent / "return.xml"
    path.write_text(XML.format(GOOD + BAD + GOOD.replace("A1", "A3")))
    return path


class TestEdits:
    """After the edit of a record one rule says what a check of the whole return would say."""

    @pytest.fixture
    def session(self, clubs: Clubs, file: Path) -> Any:
        with Session(
            Engine(clubs.rules(BACKWARDS, TWICE, KINDS)), Limits(memory_mb=256, threads=1)
        ) as session:
            session.load(file)
            session.check()
            yield session

    def _edit(self, session: Session, **changes: str) -> None:
        record = session.record("Pupil", 2)
        record["Club"][0].update(changes)
        session.replace("Pupil", 2, record)

    def test_a_fault_is_put_right(self, session: Session) -> None:
        assert session.recheck("1", "Pupil", 2).outcome == "failed"
        self._edit(session, End="2025-09-11")
        again = session.recheck("1", "Pupil", 2)
        assert (again.outcome, again.findings, again.whole) == ("passed", [], False)
        assert session.check().outcomes["1"] == "passed"

    def test_a_fault_is_made(self, session: Session) -> None:
        record = session.record("Pupil", 2)
        record["Club"] = [*record["Club"], {"Start": "2025-09-10", "End": "2025-09-02"}]
        session.replace("Pupil", 2, record)
        again = session.recheck("1", "Pupil", 2)
        assert [one.locations[0].path for one in again.findings] == ["Pupil[2]/Club[1]", "Pupil[2]/Club[2]"]
        assert again.findings == [one for one in session.check().findings if one.rule == "1"]

    def test_a_rule_that_looks_beyond_the_record_judges_the_return(self, session: Session) -> None:
        record = session.record("Pupil", 2)
        session.replace("Pupil", 2, {**record, "Number": "A3"})
        again = session.recheck("2", "Pupil", 2)
        assert again.whole
        assert [one.locations[0].path for one in again.findings] == ["Pupil[2]", "Pupil[3]"]
        self._edit(session, Kind="SPT")
        assert session.recheck("3", "Pupil", 2).outcome == "failed"

    def test_built_in_rules_too(self, session: Session) -> None:
        self._edit(session, Start="soon", Kind="XXX")
        assert [one.locations[0].value for one in session.recheck("type", "Pupil", 2).findings] == ["soon"]
        assert session.recheck("code", "Pupil", 2).outcome == "failed"
        # The rule that reads the date says nothing of it.
        assert session.recheck("1", "Pupil", 2).outcome == "not_checked"

    def test_a_record_that_does_not_fit_changes_nothing(self, session: Session) -> None:
        before = session.record("Pupil", 2)
        with pytest.raises(Problem, match="CR-183"):
            session.replace("Pupil", 2, {"Number": "A2", "Colour": "red"})
        assert session.record("Pupil", 2) == before

    def test_a_record_may_lose_all_below_it(self, session: Session) -> None:
        session.replace("Pupil", 2, {"Number": "A2"})
        assert session.record("Pupil", 2) == {"Number": "A2"}
        assert session.check().records == 3
        assert session.tables.count("Club") == 2


def run(clubs: Clubs, *arguments: str) -> Any:
    return CliRunner().invoke(_build(list(arguments)), arguments, env={loader.VARIABLE: str(clubs.folder)})


class TestCommand:
    def test_json_is_as_others_expect_it(self, clubs: Clubs, file: Path) -> None:
        clubs.rules(BACKWARDS, TWICE)
        done = run(clubs, "check", str(file), "--collection", "clubs", "--year", "2026", "--format", "json")
        assert done.exit_code == 1
        said = json.loads(done.stdout)
        assert said["collection"] == "clubs"
        assert said["records"] == 3
        assert (said["outcomes"]["1"], said["outcomes"]["2"], said["outcomes"]["type"]) == (
            "failed",
            "passed",
            "passed",
        )
        assert said["findings"] == [
            {
                "rule": "1",
                "severity": "error",
                "message": "It fails.",
                "locations": [
                    {
                        "module": "Club",
                        "item": "End",
                        "path": "Pupil[2]/Club[1]",
                        "row": 2,
                        "value": "2025-09-01",
                    }
                ],
            }
        ]

    def test_a_return_without_errors_ends_with_0(self, clubs: Clubs, file: Path) -> None:
        clubs.rules({**BACKWARDS, "severity": "query"})
        done = run(clubs, "check", str(file), "--collection", "clubs", "--format", "table")
        assert done.exit_code == 0
        assert "3 records; 0 errors, 1 queries." in done.stdout

    def test_csv_is_a_line_for_each_place_and_no_formula(self, clubs: Clubs, file: Path) -> None:
        clubs.rules({**TWICE, "code": "1"})
        file.write_text(XML.format(GOOD.replace("A1", "=1+1") * 2))
        done = run(clubs, "check", str(file), "--collection", "clubs", "--format", "csv")
        rows = [row for row in csv.DictReader(io.StringIO(done.stdout)) if row["rule"] == "1"]
        assert [(row["finding"], row["path"], row["value"]) for row in rows[:2]] == [
            ("3", "Pupil[1]", "'=1+1"),
            ("3", "Pupil[2]", "'=1+1"),
        ]

    def test_the_previous_return_and_local_rules(self, clubs: Clubs, file: Path, tmp_path: Path) -> None:
        gone = {
            "code": "9", "for_each": "Pupil", "fails_when": "Number IS NOT NULL",
            "none_of": {"module": "last_return.Pupil", "where": "last.Number = Pupil.Number"},
        }  # fmt: skip
        clubs.rules(gone)
        last = tmp_path / "last.xml"
        last.write_text(XML.format(GOOD))
        own = tmp_path / "own.yaml"
        own.write_text(
            "rules: [{code: LA-1, severity: query, title: t, message: m, for_each: Pupil, fails_when: Born IS NULL}]"
        )
        done = run(
            clubs,
            "check",
            str(file),
            "--collection",
            "clubs",
            "--last",
            str(last),
            "--local",
            str(own),
            "--format",
            "json",
        )
        said = json.loads(done.stdout)
        assert (said["outcomes"]["9"], said["outcomes"]["LA-1"]) == ("failed", "failed")
        assert [one["locations"][0]["path"] for one in said["findings"] if one["rule"] == "9"] == [
            "Pupil[2]",
            "Pupil[3]",
        ]
        without = json.loads(
            run(clubs, "check", str(file), "--collection", "clubs", "--format", "json").stdout
        )
        assert without["outcomes"]["9"] == "not_checked"
        assert without["not_checked"] == {"9": "there is no previous return to compare with"}

    def test_what_cannot_be_read_is_a_problem(self, clubs: Clubs, tmp_path: Path) -> None:
        clubs.rules(BACKWARDS)
        for content, code in (("<Message>", "CR-190"), ("<Other/>", "CR-193")):
            path = tmp_path / "wrong.xml"
            path.write_text(content)
            done = run(clubs, "check", str(path), "--collection", "clubs")
            assert isinstance(done.exception, Problem)
            assert done.exception.code == code
            assert done.stdout == ""

    def test_the_collections_can_be_looked_at(self, clubs: Clubs) -> None:
        clubs.rules({**BACKWARDS, "title": "Ends before it begins"})
        listed = json.loads(run(clubs, "collections", "list", "--json").stdout)
        assert {"name": "clubs", "year": 2026, "title": "After-school clubs", "status": "released"} in listed
        assert "clubs" in run(clubs, "collections", "list").stdout
        assert "any number in Pupil" in run(clubs, "collections", "show", "clubs", "2026").stdout
        assert "Ends before it begins" in run(clubs, "collections", "rules", "clubs").stdout
        rules = json.loads(run(clubs, "collections", "rules", "clubs", "--json").stdout)
        assert rules[0]["code"] == "1"
        whole = run(clubs, "collections", "rules", "clubs", "--rule", "1").stdout
        assert "fails_when: " in whole
        assert "has no rule 99" in str(run(clubs, "collections", "rules", "clubs", "--rule", "99").exception)

    def test_a_mistake_in_one_collection_hides_no_other(self, clubs: Clubs) -> None:
        broken = clubs.folder / "broken" / "2026"
        broken.mkdir(parents=True)
        (broken / "collection.yaml").write_text("name: broken\nyear: soon\n")
        answer = run(clubs, "collections", "list")
        assert answer.exit_code == 1
        assert "clubs" in answer.stdout
        assert "broken" in answer.stderr

    def test_examples_that_do_not_come_out_are_told(self, clubs: Clubs) -> None:
        examples = [
            {"fails": "true", "Club": {"Start": "2025-09-10", "End": "2025-09-01"}},
            {"fails": "true", "Club": {"Start": "2025-09-10"}},
            {"fails": "false", "Club": {}},
            {"fails": "2", "Club": [{"Start": "2025-09-10", "End": "2025-09-01"}], "at": ["Club[2]"]},
            {"fails": "false", "Colour": {}},
        ]
        clubs.rules({**BACKWARDS, "examples": examples}, {**TWICE, "examples": []})
        done = run(clubs, "collections", "examples", "clubs")
        assert done.exit_code == 1
        assert [line.split(":")[0] for line in done.stdout.splitlines()[:-1]] == [
            "rule 1, example 2", "rule 1, example 4", "rule 1, example 5",
            "rule 2, example 0", "rule 2, example 0", "rule 2, example 0",
        ]  # fmt: skip

    def test_prove_makes_the_faults_too(self, clubs: Clubs) -> None:
        examples = [
            {"fails": "true", "Club": {"Start": "2025-09-10", "End": "2025-09-01"}},
            {"fails": "false", "Club": {}},
        ]
        right = {**BACKWARDS, "examples": examples, "mutate": {"Club": {"End": "2001-01-01"}}}
        clubs.rules(right)
        (clubs.own / "valid.yaml").write_text(
            "Header: {Collection: CLUB, Year: '2026'}\nPupil: [{Number: A1, Club: {Kind: ART, Start: 2025-09-10}}]\n"
        )
        assert run(clubs, "collections", "prove", "clubs").exit_code == 0
        clubs.rules({**right, "mutate": {"Club": {"Kind": "XXX"}}})
        done = run(clubs, "collections", "prove", "clubs")
        assert done.exit_code == 1
        assert "rule 1, mutate: not found: 1; found too: code" in done.stdout
