"""A small school system of an invented vendor, with its mapping and an agent's configuration, in a folder."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from commonroom import standard
from commonroom.agent import Config, Looker, Memory, Outcome, load_config
from commonroom.agent.memory import VERSIONS_FROM
from commonroom.exchange import RecordSet, decode
from commonroom.standard.identifiers import make_upn

SCHOOL = "990001"

SCHEMA = """
CREATE TABLE pupil (upn TEXT, given TEXT, family TEXT, born TEXT, sex TEXT, meals TEXT, town TEXT, since TEXT);
CREATE TABLE stay (upn TEXT, entry TEXT, year TEXT, leaving TEXT, next_school TEXT);
CREATE TABLE mark (upn TEXT, day TEXT, half TEXT, code TEXT);
"""

MAPPING = """
mapping: test vendor
reads:
  - entity: learner
    history: current
    query: |
      SELECT :school AS school, upn, given AS given_name, family AS family_name, born AS date_of_birth,
             sex, meals AS fsm, town, since AS valid_from
      FROM pupil
    dates: {date_of_birth: "%d/%m/%Y"}
    codes:
      sex: {boy: M, girl: F}
    booleans:
      fsm: {"true": ["yes"], "false": ["no"]}
  - entity: enrolment
    history: full
    query: |
      SELECT :school AS school, upn, entry AS entry_date, 'C' AS enrolment_status, year AS nc_year,
             leaving AS leaving_date, next_school AS destination, entry AS valid_from
      FROM stay
  - entity: attendance_mark
    history: full
    query: SELECT :school AS school, upn, day AS date, half AS session, code FROM mark
transfers:
  query: SELECT upn, leaving AS leaving_date, next_school AS destination FROM stay WHERE leaving IS NOT NULL
"""

CONFIG = """
name: First School
hub: {hub}
folder: state
school: "{school}"
enrolment_code: {code}
look_every_seconds: {every}
source: {{url: "sqlite:///mis.db", mapping: mapping.yaml}}
"""


def upn(serial: int) -> str:
    """The pupil's number: valid, invented."""
    return make_upn(873, 2000 + serial // 1000, 2020, serial % 1000)


class SchoolSystem:
    """The vendor's database: what a clerk does to it, and what an agent sees of it."""

    def __init__(
        self, folder: Path, mapping: str = MAPPING, hub: str = "http://127.0.0.1:9", **given: Any
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.database = folder / "mis.db"
        self.config_file = folder / "agent.yaml"
        values = {"hub": hub, "school": SCHOOL, "code": "none", "every": "0.1", **given}
        (folder / "mapping.yaml").write_text(mapping, "utf-8")
        self.config_file.write_text(CONFIG.format(**values), "utf-8")
        with closing(sqlite3.connect(self.database)) as connection:
            connection.executescript(SCHEMA)
        memory = self.memory()
        memory.write_note(VERSIONS_FROM, "0")  # small versions are read more easily
        memory.close()

    def do(self, sql: str, rows: Iterable[Sequence[Any]] = ((),)) -> None:
        """One transaction of the school's own program."""
        with closing(sqlite3.connect(self.database, timeout=30)) as connection, connection:
            connection.executemany(sql, rows)

    def add_pupils(self, *serials: int, since: str = "2025-09-01") -> None:
        """Pupils with a stay that began on their first day."""
        people = [
            (upn(n), f"Given{n}", f"Family{n}", "04/03/2014", "girl", "no", "Westmarch", since)
            for n in serials
        ]
        self.do("INSERT INTO pupil VALUES (?, ?, ?, ?, ?, ?, ?, ?)", people)
        self.do("INSERT INTO stay VALUES (?, ?, '6', NULL, NULL)", [(upn(n), since) for n in serials])

    def add_marks(self, day: str, code: str, *serials: int, half: str = "AM") -> None:
        """Marks of one session."""
        self.do("INSERT INTO mark VALUES (?, ?, ?, ?)", [(upn(n), day, half, code) for n in serials])

    @property
    def config(self) -> Config:
        """The agent's configuration as the agent reads it."""
        return load_config(self.config_file)

    def looker(self) -> Looker:
        """A fresh agent's eye on this system, as after a restart."""
        return Looker(self.config, standard.load())

    def memory(self) -> Memory:
        """The agent's memory."""
        return Memory.open(self.config.memory_file)

    def look(self) -> Outcome:
        """One look of an agent that was just started."""
        looker, memory = self.looker(), self.memory()
        try:
            return looker.look(memory)
        finally:
            looker.close()
            memory.close()


def sets(outcome: Outcome, kind: str = "") -> list[RecordSet]:
    """The record sets of a look's letters of one type."""
    return [
        decode(letter.body, letter.datacontenttype) for letter in outcome.letters if kind in ("", letter.type)
    ]


def told(outcome: Outcome) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """(entity, upn, valid_from, version) of everything sent, and of everything withdrawn, sorted."""
    sent, gone = [], []
    for found in sets(outcome):
        sent += [_place(entity, record) for entity, records in found.records.items() for record in records]
        gone += [_place(entity, record) for entity, records in found.withdrawn.items() for record in records]
    return sorted(sent), sorted(gone)


def _place(entity: str, record: dict[str, Any]) -> tuple[Any, ...]:
    return entity, record["upn"], record["valid_from"], record["version"]


class Receiver:
    """A loader of the contract's rules: per fact the highest version wins, whatever the order of arrival."""

    def __init__(self) -> None:
        self._facts: dict[tuple[str, bytes, str], tuple[int, dict[str, Any] | None]] = {}

    def receive(self, found: RecordSet) -> None:
        """Load one message."""
        for entity, records in found.records.items():
            for record in records:
                self._put(entity, record, {k: v for k, v in record.items() if k != "version"})
        for entity, records in found.withdrawn.items():
            for record in records:
                self._put(entity, record, None)

    def live(self, entity: str) -> list[dict[str, Any]]:
        """The facts that hold, in a fixed order."""
        found = [
            record
            for (name, _, _), (_, record) in self._facts.items()
            if name == entity and record is not None
        ]
        return sorted(found, key=msgspec.json.encode)

    def _put(self, entity: str, record: dict[str, Any], held: dict[str, Any] | None) -> None:
        key = msgspec.json.encode([record[item] for item in standard.load().entities[entity].key])
        place = (entity, key, record["valid_from"])
        if self._facts.get(place, (0, None))[0] < record["version"]:
            self._facts[place] = (record["version"], held)
