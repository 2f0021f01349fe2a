"""A faulty declaration names its file, line, key and remedy, and the standard is not used in part."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commonroom.problems import Problem
from commonroom.standard.loader import FOLDER, load, load_anew


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
        "- learner\n",
        "- pupil\n",
        ("CR-090", "entities.0", "no entity `pupil`"),
    ),
    (
        "events/commonroom.transfer.sent.yaml",
        "sent\n",
        "SENT\n",
        ("CR-090", "type", "is called commonroom.transfer"),
    ),
    (
        "events/commonroom.transfer.sent.yaml",
        "entities:",
        "areas: [people]\nentities:",
        ("CR-090", "areas.0", "no area `people`"),
    ),
    (
        "events/commonroom.finance-return.sent.yaml",
        "areas: [finance]",
        "areas: []",
        ("CR-090", "entities", "what the message carries"),
    ),
    (
        "events/commonroom.document.sent.yaml",
        "media_types:",
        "areas: [needs]\nmedia_types:",
        ("CR-090", "entities", "what the message carries"),
    ),
    ("entities/role.yaml", "area: workforce", "area: work", ("CR-090", "area", "no area `work`")),
    (
        "entities/role.yaml",
        "holder: employer",
        "holder: contract",
        ("CR-090", "holder", "whose record it is"),
    ),
    (
        "entities/role.yaml",
        "holder: employer",
        "holder: base_pay",
        ("CR-090", "holder", "whose record it is"),
    ),
    ("entities/role.yaml", "digits: 9, ", "", ("CR-090", "items.9", "a decimal needs its digits")),
    ("entities/role.yaml", "digits: 9, ", "digits: 2, ", ("CR-090", "items.9", "a decimal needs its digits")),
    (
        "entities/role.yaml",
        "type: boolean",
        "type: boolean, digits: 2",
        ("CR-090", "items.10", "only a decimal"),
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


def test_an_entity_and_a_code_set_may_not_share_a_name(folder: Path) -> None:
    codeset = (folder / "codesets" / "sex.yaml").read_text("utf-8").replace("name: sex", "name: learner")
    (folder / "codesets" / "learner.yaml").write_text(codeset, "utf-8")
    with pytest.raises(Problem, match="a code set has this name"):
        load(folder)


def test_an_event_that_an_entity_has_by_itself_is_not_declared_again(folder: Path) -> None:
    event = "type: commonroom.learner.changed\ntitle: Changed\ndescription: Changed.\nentities: [learner]\n"
    (folder / "events" / "commonroom.learner.changed.yaml").write_text(event, "utf-8")
    with pytest.raises(Problem, match="has this event by itself"):
        load(folder)


def test_what_was_read_is_remembered_until_a_file_changes(folder: Path) -> None:
    first = load_anew(folder)
    (memory,) = (folder / "__pycache__").glob("standard-*.msgpack")
    assert load_anew(folder) == first
    path = folder / "codesets" / "sex.yaml"
    path.write_text(path.read_text("utf-8").replace("Female", "Girl"), "utf-8")
    assert load_anew(folder).codesets["sex"].by_code["F"].title == "Girl"
    assert not memory.exists()


def test_a_damaged_memory_is_read_anew(folder: Path) -> None:
    first = load_anew(folder)
    (memory,) = (folder / "__pycache__").glob("standard-*.msgpack")
    memory.write_bytes(memory.read_bytes()[:1000])
    assert load_anew(folder) == first


def test_a_folder_that_cannot_be_written_is_read_each_time(folder: Path) -> None:
    # A file where the folder of the memory should be: no program, whatever its rights, can write there.
    (folder / "__pycache__").write_text("", "utf-8")
    assert len(load_anew(folder).entities) > 80


def test_the_standard_is_there_in_less_than_three_tenths_of_a_second() -> None:
    load()
    program = (
        "import time; b = time.process_time(); from commonroom import standard; i = time.process_time(); "
    )
    program += "standard.load(); print(time.process_time() - i)"
    done = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True) for _ in range(3)
    ]
    assert min(float(one.stdout) for one in done) < 0.3


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
