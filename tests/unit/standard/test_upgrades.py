"""Declared upgrades that do not fit are refused with file, line, key and remedy; those that fit are enough by themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commonroom.problems import Problem
from commonroom.standard.loader import FOLDER
from commonroom.standard.versions import load_version, upgrade_records, upgrades, versions

HEAD = 'older: "2025.1"\nnewer: "2026.1"\ndescription: A year.\nchanges:\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the standard with no upgrade."""
    copy = tmp_path / "standard"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__", "upgrades"))
    (copy / "upgrades").mkdir()
    return copy


def declare(folder: Path, change: str, name: str = "2025.1-to-2026.1", head: str = HEAD) -> Path:
    """Write an upgrade with one change."""
    path = folder / "upgrades" / f"{name}.yaml"
    path.write_text(f"{head}  - {{{change}, why: Because.}}\n", "utf-8")
    return path


def test_without_an_upgrade_there_is_one_version(folder: Path) -> None:
    assert versions(folder) == ("2026.1",)


# the change, words of the problem
MISFITS = [
    ("change: entity_added, entity: pupil", "pupil"),
    ("change: item_added, entity: learner, item: shoe_size", "shoe_size"),
    ("change: item_added, entity: learner, item: sex", "needs the `value`"),
    (
        "change: item_removed, entity: learner, item: {name: sex, title: S, type: boolean, description: D.}",
        "still an item",
    ),
    ("change: item_renamed, entity: learner, was: town, item: sex", "an item of its own"),
    ("change: item_renamed, entity: learner, was: gender, item: shoe_size", "shoe_size"),
    ("change: codeset_added, codeset: shoe_size", "shoe_size"),
    ("change: code_added, codeset: sex, codes: [M, X]", "no code X"),
    ("change: code_retitled, codeset: sex, code: X, was: Other", "X"),
    ("change: code_recoded, codeset: sex, was: [{code: '1', title: Male, becomes: X}]", "no code X"),
]


@pytest.mark.parametrize(("change", "words"), MISFITS)
def test_a_change_that_does_not_fit_names_file_line_key_and_remedy(
    folder: Path, change: str, words: str
) -> None:
    path = declare(folder, change)
    with pytest.raises(Problem, match="does not fit") as caught:
        load_version("2025.1", folder)
    assert caught.value.code == "CR-090"
    assert caught.value.where == f"{path}, line 5, key changes.0"
    assert words in caught.value.detail
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("change: item_moved, entity: learner", "item_moved"),
        ("change: entity_added, entity: learner, by: me", "by"),
    ],
)
def test_an_unknown_kind_of_change_or_key_is_refused(folder: Path, change: str, words: str) -> None:
    declare(folder, change)
    with pytest.raises(Problem, match=words) as caught:
        upgrades(folder)
    assert caught.value.code == "CR-001"


def test_an_upgrade_is_called_by_its_versions_and_leads_to_the_present_one(folder: Path) -> None:
    declare(folder, "change: entity_added, entity: role", "next")
    with pytest.raises(Problem, match="the file is called next"):
        upgrades(folder)
    (folder / "upgrades" / "next.yaml").unlink()
    head = HEAD.replace("2026.1", "2025.2")
    declare(folder, "change: entity_added, entity: role", "2025.1-to-2025.2", head)
    with pytest.raises(Problem, match="leads to no version"):
        upgrades(folder)


def test_a_renamed_item_of_the_key_is_renamed_everywhere(folder: Path) -> None:
    declare(folder, "change: item_renamed, entity: fsm_period, was: begins, item: start_date")
    older = load_version("2025.1", folder).entities["fsm_period"]
    assert (older.key, older.valid_from_item) == (("school", "upn", "begins"), "begins")
    keys = {"fsm_period": [{"from": {"begins": "2025-09-01"}, "to": {"begins": "2025-09-02"}}]}
    found = upgrade_records("2025.1", {}, {"fsm_period": [{"begins": "2025-09-01"}]}, keys, folder)
    assert found.withdrawn == {"fsm_period": [{"start_date": "2025-09-01"}]}
    assert found.rekeyed["fsm_period"][0]["to"] == {"start_date": "2025-09-02"}


def test_a_new_required_item_gets_its_value_in_older_records_but_not_in_keys(folder: Path) -> None:
    declare(folder, "change: item_added, entity: learner, item: sex, value: F")
    assert "sex" not in load_version("2025.1", folder).entities["learner"].by_name
    found = upgrade_records(
        "2025.1",
        {"learner": [{"upn": "1"}, {"upn": "2", "sex": "M"}]},
        {"learner": [{"upn": "3"}]},
        {},
        folder,
    )
    assert [one["sex"] for one in found.records["learner"]] == ["F", "M"]
    assert found.withdrawn == {"learner": [{"upn": "3"}]}


def test_a_changed_item_is_judged_by_what_it_is_now(folder: Path) -> None:
    was = "{name: town, title: Town, type: string, max_length: 30, description: Town.}"
    declare(folder, f"change: item_changed, entity: learner, was: {was}")
    town = load_version("2025.1", folder).entities["learner"].by_name["town"]
    assert town.max_length == 30
    record = {"town": "x" * 31}
    assert upgrade_records("2025.1", {"learner": [record]}, {}, {}, folder).records == {"learner": [record]}
