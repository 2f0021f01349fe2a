"""A faulty declaration names its file, line, key and remedy, and the standard is not used in part."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commonroom.problems import Problem
from commonroom.standard.loader import FOLDER, load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the standard that a test may spoil."""
    copy = tmp_path / "standard"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return copy


def test_the_copy_is_sound_before_it_is_spoilt(folder: Path) -> None:
    assert load(folder) == load()


# file, what stands there, what is written instead, (code, key, words of the problem)
SPOILT = [
    (
        "entities/learner.yaml",
        "codeset: sex",
        "codeset: sexes",
        ("CR-090", "items.5.codeset", "no codeset `sexes`"),
    ),
    (
        "entities/learner.yaml",
        "identifier: ULN",
        "identifier: UNL",
        ("CR-090", "items.13.identifier", "UPN, ULN"),
    ),
    (
        "entities/learner.yaml",
        "key: [school, upn]",
        "key: [school, uln]",
        ("CR-090", "key.1", "`uln` is not a req"),
    ),
    ("entities/learner.yaml", "key: [school, upn]", "key: []", ("CR-090", "key", "the key is empty")),
    (
        "entities/learner.yaml",
        "{name: town,",
        "{name: postcode,",
        ("CR-090", "items.12", "`postcode` stands twice"),
    ),
    (
        "entities/learner.yaml",
        "{name: town,",
        "{name: version,",
        ("CR-090", "items.11.name", "field of every record"),
    ),
    ("entities/learner.yaml", "{name: town,", "{name: Home town,", ("CR-090", "items.11.name", "lower case")),
    ("entities/learner.yaml", "max_length: 60, ", "", ("CR-090", "items.11", "only a string has a length")),
    ("entities/learner.yaml", "type: boolean,", "type: bool,", ("CR-001", "items[8].type", "bool")),
    ("entities/learner.yaml", "title: Town,", "titel: Town,", ("CR-001", "items[11]", "titel")),
    (
        "entities/learner.yaml",
        "name: learner",
        "name: pupil",
        ("CR-090", "name", "the file is called learner"),
    ),
    (
        "entities/attendance_mark.yaml",
        "valid_from_item: date",
        "valid_from_item: code",
        ("CR-090", "valid", "date of"),
    ),
    ("codesets/sex.yaml", '"F"', '"M"', ("CR-090", "codes.1", "`M` stands twice")),
    (
        "codesets/sex.yaml",
        '"F",',
        '"F", since: 2025-09-01, until: 2024-09-01,',
        ("CR-090", "codes.1", "ends before"),
    ),
    ("codesets/sex.yaml", '"F",', '"F", since: yesterday,', ("CR-001", "codes[1].since", "date")),
    (
        "codesets/enrolment_status.yaml",
        "counted: false",
        "count: false",
        ("CR-090", "codes.2", "Give each: counted"),
    ),
    (
        "events/commonroom.transfer.sent.yaml",
        "[learner, ",
        "[pupil, ",
        ("CR-090", "entities.0", "no entity `pupil`"),
    ),
    (
        "events/commonroom.transfer.sent.yaml",
        "sent\n",
        "SENT\n",
        ("CR-090", "type", "is called commonroom.transfer"),
    ),
    ("standard.yaml", "version:", "versions:", ("CR-001", "", "versions")),
]


@pytest.mark.parametrize(("file", "stands", "instead", "expected"), SPOILT)
def test_a_fault_names_file_line_key_and_remedy(
    folder: Path, file: str, stands: str, instead: str, expected: tuple[str, str, str]
) -> None:
    path = folder / file
    text = path.read_text("utf-8")
    assert stands in text
    path.write_text(text.replace(stands, instead, 1), "utf-8")
    code, key, words = expected
    with pytest.raises(Problem) as caught:
        load(folder)
    problem = caught.value
    assert problem.code == code
    assert problem.where.startswith(f"{path}, line ")
    assert key in problem.where
    assert words in str(problem)
    assert problem.remedy


def test_the_line_is_the_one_to_mend(folder: Path) -> None:
    path = folder / "codesets" / "sex.yaml"
    path.write_text(path.read_text("utf-8").replace('"F"', '"M"'), "utf-8")
    line = next(n for n, text in enumerate(path.read_text("utf-8").splitlines(), 1) if "Female" in text)
    with pytest.raises(Problem) as caught:
        load(folder)
    assert caught.value.extra["line"] == line


def test_a_new_code_needs_its_line_in_the_file_and_nothing_else(folder: Path) -> None:
    path = folder / "codesets" / "sen_provision.yaml"
    path.write_text(path.read_text("utf-8") + '  - {code: "Q", title: "New", since: 2027-09-01}\n', "utf-8")
    assert load(folder).codesets["sen_provision"].by_code["Q"].title == "New"
