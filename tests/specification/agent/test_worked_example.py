"""The worked example of docs/agent.md is true: its blocks are taken from the page and run."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from commonroom import standard
from commonroom.agent import Looker, Memory, load_config, load_store
from commonroom.agent.load import Store

PAGE = Path(__file__).parents[3] / "docs" / "agent.md"
BLOCK = re.compile(r"^```(yaml|sql)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _folder(tmp_path: Path) -> Path:
    config, tables, mapping, store_config, store, store_tables = [
        text for _, text in BLOCK.findall(PAGE.read_text())
    ]
    folder = tmp_path / "oak"
    folder.mkdir()
    (folder / "agent.yaml").write_text(config + store_config)
    (folder / "mapping.yaml").write_text(mapping)
    (folder / "store.yaml").write_text(store)
    for name, sql in (("mis.db", tables), ("received.db", store_tables)):
        with closing(sqlite3.connect(folder / name)) as connection:
            connection.executescript(sql)
    return folder


def test_the_example_finds_what_the_page_says(tmp_path: Path) -> None:
    config = load_config(_folder(tmp_path) / "agent.yaml")
    looker = Looker(config, standard.load())
    outcome = looker.look(Memory.copy_of(config.memory_file))
    looker.close()
    assert [(one.entity, one.new) for one in outcome.entities] == [("learner", 1), ("attendance_mark", 1)]
    assert len(outcome.letters) == 2
    (finding,) = outcome.findings
    start = next(
        line for line in PAGE.read_text().splitlines() if line.startswith("mapping.yaml, attendance_mark")
    )
    assert finding.line().startswith(start.removesuffix(" ..."))


def test_the_example_store_can_be_loaded(tmp_path: Path) -> None:
    config = load_config(_folder(tmp_path) / "agent.yaml")
    assert config.store is not None
    language = standard.load()
    mapping = load_store(config.store.mapping, language)
    assert Store(config.store.url, mapping, "store.yaml", language).load([]) == []
