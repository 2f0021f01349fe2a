"""`commonroom learners`: what it prints and how it ends."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from commonroom.problems import Problem
from commonroom.registers.learners import files
from commonroom.registers.learners.commands import app
from commonroom.settings import Settings
from tests.unit.registers.learners.test_batches import PEOPLE
from tests.unit.registers.learners.test_files import GOOD, NAME, TODAY, csv_of

Run = Callable[..., Result]
KEYS = {
    "registered", "incoming", "automatic", "review", "new", "wrong_merges_per_100k", "false_new_pct", "precision",
    "recall", "f1", "automatic_precision", "automatic_recall", "seconds", "lookups_per_s", "ignored",
}  # fmt: skip
MAP = "id=id,given=first,family=last,dob=born,postcode=home"


@pytest.fixture
def run() -> Run:
    """Run a command; `status` is how it must end."""

    def ran(*words: Any, status: int = 0) -> Result:
        result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result

    return ran


def test_from_a_file_to_a_decided_case(
    run: Run, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMONROOM_DATABASE", str(settings.database))
    monkeypatch.setenv("COMMONROOM_DATA", str(tmp_path / "data"))
    batch, out = tmp_path / NAME, tmp_path / "result.csv"
    batch.write_bytes(csv_of(*PEOPLE, GOOD | {"Gender": "M"}))
    said = run("register", "--batch", batch, "--out", out, status=1).output
    assert "6 records: 5 new numbers, 0 had one, 0 wait for a clerk, 1 refused" in said
    rows = list(csv.reader(out.read_text().splitlines()))[3:]
    assert [row[0] for row in rows] == ["WSRC0005"] * 5 + ["RC011"]
    assert out.stat().st_mode & 0o077 == 0

    batch.write_bytes(csv_of(GOOD | {"GivenName": "Amelia"}))
    again = json.loads(run("register", "--batch", batch, "--json").output)
    assert again["counts"] == {"PossibleMatchLearnersCount": 1, "WSRC0003": 1}
    asked = ("--family", "Ashdown", "--born", "2009-03-14", "--gender", "2", "--postcode", "LS1 4AP")
    assert "date_of_birth is not a date" in run("find", "--family", "Ashdown", "--born", "30/11/2009").output
    found = json.loads(run("find", "--given", "Amara", *asked, "--json").output)
    assert (found["code"], len(found["uln"])) == ("WSRC0004", 10)
    assert run("find", "--given", "Amara", *asked, "--check").output.startswith("WSRC0004 Exact match")

    (case,) = json.loads(run("review", "list", "--json").output)
    decide = ("review", "decide", case["id"], "different", "--clerk")
    assert "Another clerk must agree." in run(*decide, "one").output
    assert run("review", "list", "--clerk", "one").output == ""
    assert "Closed: " in run(*decide, "two").output
    assert json.loads(run("dedupe", "--json").output)["merged"] == 0

    ulns = [row["uln"] for row in csv.DictReader(_ulns_of(out).splitlines())]
    asked_for = ("merge", ulns[0], ulns[1], "--clerk")
    done = json.loads(run(*asked_for, "one", "--json").output)
    if done["merge"] is None:
        done = json.loads(run(*asked_for, "two", "--json").output)
    assert (done["master"], done["linked"]) == (ulns[0], ulns[1])
    assert done["merge"] in run("merges", ulns[1]).output
    assert "are two again" in run("unmerge", done["merge"], "--clerk", "two").output
    (made,) = json.loads(run("merges", ulns[1], "--json").output)
    assert (made["decided_by"] in ("one", "two"), made["undone_by"]) == (True, "two")
    assert run("count-names").output.startswith("6 persons: ")


def _ulns_of(result: Path) -> str:
    """The column of numbers of a result file."""
    rows = list(csv.reader(result.read_text().splitlines()))
    place = rows[2].index("ULN")
    return "\n".join(["uln", *(row[place] for row in rows[3:] if row[place])])


def test_a_census_is_a_census_and_has_pupils(run: Run, tmp_path: Path) -> None:
    head = "<Collection>SC</Collection><Term>SPR</Term><Year>2026</Year><LEA>382</LEA><Estab>4001</Estab>"
    (tmp_path / "a.xml").write_text(f"<Message><Header>{head}</Header><Pupils/></Message>")
    (tmp_path / "a.csv").write_bytes(csv_of(GOOD))
    with pytest.raises(Problem, match="no school census"):
        run("load-census", tmp_path / "a.csv")
    with pytest.raises(Problem, match="no pupils"):
        files.read(tmp_path / "a.xml", TODAY)


def test_evaluate_two_files(run: Run, tmp_path: Path) -> None:
    _write(
        tmp_path / "a.csv",
        [
            ("1", "Amara", "Ashdown", "14/03/2009", "LS1 4AP"),
            ("2", "Chidi", "Okonkwo", "2007-11-02", "BS2 8QJ"),
        ],
    )
    _write(
        tmp_path / "b.csv",
        [
            ("x", "Amara", "Ashdown", "20090314", "LS1 4AP"),
            ("y", "Maja", "Zielinski", "2006-05-21", "CV4 9EE"),
        ],
    )
    (tmp_path / "t.csv").write_text("a,b\n1,x\n")
    files = (
        "--register",
        tmp_path / "a.csv",
        "--incoming",
        tmp_path / "b.csv",
        "--truth",
        tmp_path / "t.csv",
    )
    told = json.loads(run("evaluate", *files, "--map", MAP, "--json").output)
    assert set(told) == KEYS
    assert (told["registered"], told["incoming"], told["automatic"], told["new"]) == (2, 2, 1, 1)
    assert (told["precision"], told["recall"], told["f1"]) == (1, 1, 1)
    assert "lookups_per_s" in run("evaluate", *files, "--map", MAP).output


def test_evaluate_reads_other_encodings_and_says_what_did_not_count(run: Run, tmp_path: Path) -> None:
    head = "id,first,last,born,home\n"
    one, two = "1,José,Ashdown,14/03/2009,LS1 4AP\n", "1,Chidi,Okonkwo,31/31/2009,BS2 8QJ\n"
    (tmp_path / "a.csv").write_text(head + one + two, "cp1252")
    (tmp_path / "b.csv").write_text(head + one.replace("1,", "x,", 1), "utf-16")
    (tmp_path / "t.csv").write_text("a,b\n1,x\n7,y\n", "utf-8")
    files = (
        "--register",
        tmp_path / "a.csv",
        "--incoming",
        tmp_path / "b.csv",
        "--truth",
        tmp_path / "t.csv",
    )
    done = run("evaluate", *files, "--map", MAP, "--json")
    told = json.loads(done.stdout)
    assert (told["automatic"], told["precision"]) == (1, 1)
    assert told["ignored"] == {"truth_ids_unknown": 2, "duplicate_ids": 1, "unreadable_dates": 1}
    assert "2 ids in the truth are in neither file" in done.stderr
    for content in (b"id,first\n\x81\xff\n", b"\xff\xfei", b'id,first,last,born,home\n1,"' + b"a" * 200_000):
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(Problem, match="CR-004"):
            run("evaluate", "--register", tmp_path / "a.csv", "--map", MAP)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--register", "none.csv", "--map", MAP), "there is no such file"),
        (("--register", __file__, "--map", "colour=red"), "is not FIELD=COLUMN"),
        (("--register", __file__, "--map", "given=nothing"), "there is no column"),
    ],
)
def test_evaluate_says_what_is_wrong(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(Problem, match=said):
        CliRunner().invoke(app, ["evaluate", *words], catch_exceptions=False)


def test_evaluate_repeats_of_one_file(run: Run, shared: Path) -> None:
    columns = "given=given_name,family=surname,dob=date_of_birth,postcode=postcode,house=street_number+address_1,town=suburb"
    file = shared / "data" / "linkage" / "febrl_dataset1.csv"
    told = json.loads(run("evaluate", "--register", file, "--map", columns, "--json").output)
    assert set(told) == KEYS
    assert told["f1"] > 0.95


def _write(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "first", "last", "born", "home"), *rows])
