"""A local authority's database of an invented kind, with its store mapping and an agent's configuration."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from commonroom import standard
from commonroom.agent import Config, load_config, load_store
from commonroom.agent.load import Store

SCHEMA = """
CREATE TABLE IF NOT EXISTS child (
    school TEXT NOT NULL, upn TEXT NOT NULL, forename TEXT, surname TEXT, meals INTEGER,
    valid_from TEXT NOT NULL, record_version INTEGER NOT NULL, withdrawn INTEGER NOT NULL, sender TEXT NOT NULL,
    UNIQUE (school, upn, valid_from)
);
CREATE TABLE IF NOT EXISTS session_mark (
    school TEXT NOT NULL, upn TEXT NOT NULL, day TEXT NOT NULL, half TEXT NOT NULL, mark TEXT,
    valid_from TEXT NOT NULL, record_version INTEGER NOT NULL, withdrawn INTEGER NOT NULL, sender TEXT NOT NULL,
    UNIQUE (school, upn, day, half, valid_from)
);
"""

MAPPING = """
mapping: test authority
loads:
  - entity: learner
    table: child
    columns: {school: school, upn: upn, given_name: forename, family_name: surname, fsm: meals}
  - entity: attendance_mark
    table: session_mark
    columns: {school: school, upn: upn, date: day, session: half, code: mark}
"""

CONFIG = """
name: Westmarch
hub: {hub}
folder: state
enrolment_code: {code}
store: {{url: "sqlite:///authority.db", mapping: store.yaml}}
"""


class StoreSystem:
    """The authority's database."""

    def __init__(
        self, folder: Path, mapping: str = MAPPING, hub: str = "http://127.0.0.1:9", **given: Any
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.database = folder / "authority.db"
        self.config_file = folder / "agent.yaml"
        (folder / "store.yaml").write_text(mapping, "utf-8")
        self.config_file.write_text(CONFIG.format(**{"hub": hub, "code": "none", **given}), "utf-8")
        with closing(sqlite3.connect(self.database)) as connection:
            connection.executescript(SCHEMA)

    @property
    def config(self) -> Config:
        """The agent's configuration."""
        return load_config(self.config_file)

    def store(self) -> Store:
        """The database as the agent writes to it."""
        link = self.config.store
        assert link is not None
        language = standard.load()
        return Store(link.url, load_store(link.mapping, language), link.mapping.name, language)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The answer to a SELECT."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(sql).fetchall()

    def marks(self) -> list[tuple[Any, ...]]:
        """(upn, day, half, mark) of all marks that hold."""
        return self.rows("SELECT upn, day, half, mark FROM session_mark WHERE NOT withdrawn ORDER BY 1, 2")

    def messages(self) -> int:
        """How many messages were loaded."""
        if not self.rows("SELECT 1 FROM sqlite_master WHERE name = 'commonroom_inbox'"):
            return 0
        return int(self.rows("SELECT count(*) FROM commonroom_inbox")[0][0])
