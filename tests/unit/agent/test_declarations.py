"""Configurations and mappings: what is wrong is said with file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonroom import standard
from commonroom.agent import load_config, load_source, load_store
from commonroom.agent.config import find_all
from commonroom.problems import Problem
from tests.unit.agent.school_system import CONFIG, MAPPING, SchoolSystem
from tests.unit.agent.store_system import MAPPING as STORE_MAPPING

BAD_MAPPINGS = [
    ("- entity: learner", "- entity: lerner", "reads[0].entity", 4),
    ("history: current", "history: some", "reads[0].history", 5),
    ("sex: {boy: M", "gender: {boy: M", "reads[0].codes.gender", 12),
    ("WHERE leaving IS NOT NULL", "WHERE leaving > :today", "transfers.query", None),
    ("FROM mark", "FROM mark WHERE day > :window_start", "reads[2].query", None),
    ("- entity: enrolment", "- entity: learner", "reads[1].entity", None),
    ("mapping: test vendor", "mapping: test vendor\nspeed: fast", "", None),
]


@pytest.mark.parametrize(
    ("right", "wrong", "key", "line"), BAD_MAPPINGS, ids=[wrong for _, wrong, _, _ in BAD_MAPPINGS]
)
def test_a_faulty_mapping_names_file_line_and_key(
    tmp_path: Path, right: str, wrong: str, key: str, line: int | None
) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(MAPPING.replace(right, wrong, 1), "utf-8")
    with pytest.raises(Problem) as caught:
        load_source(file, standard.load())
    assert caught.value.code == "CR-001"
    assert str(file) in caught.value.where
    assert key in caught.value.where
    if line is not None:
        assert caught.value.extra["line"] == line


def test_a_window_is_only_for_records_of_one_day(tmp_path: Path) -> None:
    file = tmp_path / "mapping.yaml"
    file.write_text(MAPPING.replace("history: full", "history: full\n    window_days: 14", 1), "utf-8")
    with pytest.raises(Problem, match="window_days cannot be used for enrolment"):
        load_source(file, standard.load())


@pytest.mark.parametrize("item", ["upn: upn, ", "fsm: meals"])
def test_a_store_mapping_needs_the_key_and_nothing_else(tmp_path: Path, item: str) -> None:
    file = tmp_path / "store.yaml"
    file.write_text(STORE_MAPPING.replace(item, "", 1).replace("surname, }", "surname}"), "utf-8")
    if item.startswith("upn"):
        with pytest.raises(Problem, match="key items without a column: upn"):
            load_store(file, standard.load())
    else:
        assert len(load_store(file, standard.load()).loads) == 2


@pytest.mark.parametrize("table", ["child; DROP TABLE child", "child--", '"child"'])
def test_a_table_name_is_a_name(tmp_path: Path, table: str) -> None:
    file = tmp_path / "store.yaml"
    file.write_text(STORE_MAPPING.replace("table: child", f"table: '{table}'"), "utf-8")
    with pytest.raises(Problem) as caught:
        load_store(file, standard.load())
    assert "loads[0].table" in caught.value.where


def test_paths_are_relative_to_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    school = SchoolSystem(tmp_path / "oak")
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("oak/agent.yaml"))
    assert config.folder == tmp_path / "oak" / "state"
    assert config.source is not None
    assert Path(str(config.source.url.database)) == school.database
    assert config.source.mapping == tmp_path / "oak" / "mapping.yaml"


def test_a_password_may_stand_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CONFIG.format(hub="https://hub.example", school="990001", code="c", every=60)
    file = tmp_path / "agent.yaml"
    file.write_text(
        text.replace("sqlite:///mis.db", "postgresql://agent:${MIS_PASSWORD}@mis/school"), "utf-8"
    )
    with pytest.raises(Problem, match="MIS_PASSWORD is not set"):
        load_config(file)
    monkeypatch.setenv("MIS_PASSWORD", "a secret")
    found = load_config(file).source
    assert found is not None
    assert found.url.password == "a secret"


@pytest.mark.parametrize(
    ("right", "wrong", "key"),
    [
        ("hub: https", "hub: ftp", "hub"),
        ('"990001"', "Oak Primary", "school"),
        ("look_every_seconds: 60", "look_every_seconds: often", "look_every_seconds"),
        ("folder: state", "folders: state", ""),
    ],
)
def test_a_faulty_configuration_names_its_key(tmp_path: Path, right: str, wrong: str, key: str) -> None:
    text = CONFIG.format(hub="https://hub.example", school="990001", code="c", every=60)
    file = tmp_path / "agent.yaml"
    file.write_text(text.replace(right, wrong), "utf-8")
    with pytest.raises(Problem) as caught:
        load_config(file)
    assert (caught.value.code, str(file) in caught.value.where) == ("CR-001", True)
    assert key in caught.value.where


def test_all_takes_agent_files_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b/agent.yaml", "a/agent.yaml", "a/other.yaml", "agent.yaml", "a/deep/agent.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_all(tmp_path) == [tmp_path / "a/agent.yaml", tmp_path / "b/agent.yaml"]
