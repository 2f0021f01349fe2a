"""The XML Schema that is made of a collection's declarations, and what holding a file against it finds."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from lxml import etree

from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.model import Collection
from commonroom.collections.mutators import Mutators, valid_file
from commonroom.collections.session import Session
from commonroom.collections.xml_out import write_records
from commonroom.collections.xsd import MOST_FINDINGS, against_schema, schema_of
from commonroom.problems import Problem

EVERY = [(name, year) for name in loader.names() for year in loader.years(name)]


@cache
def cin() -> Collection:
    return loader.load("cin", 2026)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The valid CIN return as a file."""
    path = tmp_path_factory.mktemp("cin") / "valid.xml"
    _write(cin(), path)
    return path


def _write(collection: Collection, path: Path) -> None:
    mutators = Mutators(Engine(collection))
    with path.open("wb") as file:
        write_records(collection, mutators.valid, file.write)
    mutators.close()


def commonroom(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "commonroom", *words], capture_output=True, timeout=120, check=False
    )


@pytest.mark.parametrize(("name", "year"), EVERY)
def test_every_collection_makes_a_schema_that_its_valid_return_fits(
    name: str, year: int, tmp_path: Path
) -> None:
    collection = loader.load(name, year)
    etree.XMLSchema(etree.fromstring(schema_of(collection)))
    if valid_file(collection) is not None:
        _write(collection, tmp_path / "valid.xml")
        assert list(against_schema(collection, tmp_path / "valid.xml")) == []


def test_elements_in_another_order_are_found_by_the_schema_alone(written: Path, tmp_path: Path) -> None:
    text = written.read_text("utf-8")
    first = text.index("<ReferralSource>2A</ReferralSource>")
    moved = (
        text[:first]
        + "<PrimaryNeedCode>N1</PrimaryNeedCode>"
        + text[first:].replace("<PrimaryNeedCode>N1</PrimaryNeedCode>", "", 1)
    )
    path = tmp_path / "moved.xml"
    path.write_text(moved, "utf-8")
    with Session(Engine(cin())) as session:
        session.load(path)
        assert session.check().findings == []
        session.hold_against_schema(path)
        report = session.check()
    assert [(one.rule, one.severity, one.locations[0].path) for one in report.findings] == [
        ("schema", "error", "Child[1]")
    ]
    assert "'ReferralSource'" in report.findings[0].message
    assert report.outcomes["schema"] == "failed"


def test_a_file_full_of_faults_gives_a_bounded_list_and_the_number_of_the_rest(tmp_path: Path) -> None:
    child = "<Child><ChildIdentifiers/><ChildCharacteristics/></Child>"
    path = tmp_path / "many.xml"
    path.write_text(f"<Message><Children>{child * MOST_FINDINGS}</Children></Message>", "utf-8")
    found = list(against_schema(cin(), path))
    assert len(found) == MOST_FINDINGS + 1
    assert found[0].places[0].path == "Child[1]"
    assert found[-1].message == f"The schema finds {MOST_FINDINGS:,} more faults."


def test_csv_has_no_schema(tmp_path: Path) -> None:
    with Session(Engine(cin())) as session, pytest.raises(Problem, match="judges XML files only"):
        session.hold_against_schema(tmp_path)


def test_the_command_prints_the_schema_and_holds_a_file_against_it(written: Path) -> None:
    printed = commonroom("collections", "schema", "cin", "2026")
    assert printed.stdout == schema_of(cin())
    checked = commonroom(
        "check", str(written), "--collection", "cin", "--year", "2026", "--schema", "--format", "json"
    )
    assert checked.returncode == 0
    answer = json.loads(checked.stdout)
    assert (answer["outcomes"]["schema"], answer["findings"]) == ("passed", [])
    assert (
        "schema"
        not in json.loads(
            commonroom(
                "check", str(written), "--collection", "cin", "--year", "2026", "--format", "json"
            ).stdout
        )["outcomes"]
    )
