"""A small collection of after-school clubs, made anew for each test, to which tests add rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.findings import Report
from commonroom.collections.model import Collection
from commonroom.collections.records import arrange, load_records
from commonroom.collections.session import Session
from commonroom.collections.tables import LAST_RETURN, Limits

COVER = """
name: clubs
year: 2026
title: After-school clubs
description: Who goes to which club.
returned_by: [school]
reference_date: 2026-01-15
period: {start: 2025-09-01, end: 2026-07-31}
header: {Collection: CLUB, Year: "2026"}
codesets:
  - name: club_kind
    title: Kinds of club
    codes:
      - {code: ART, title: Art}
      - {code: SPT, title: Sport}
      - {code: OLD, title: Given up, until: 2020-07-31}
      - {code: NEW, title: Begun, since: 2026-01-01}
modules:
  - name: Header
    path: Message/Header
    many: false
    items:
      - {name: Collection, path: CollectionDetails/Collection}
      - {name: Year, path: CollectionDetails/Year}
  - name: Pupil
    path: Message/Pupils/Pupil
    items:
      - {name: Number, length: "6", pattern: "[A-Z][0-9]+"}
      - {name: Born, type: date, personal: true}
      - {name: Fees, type: decimal, minimum: "0", maximum: "100"}
      - {name: Coach, type: boolean}
  - name: Home
    parent: Pupil
    path: Home
    many: false
    items:
      - {name: Town}
      - {name: Moved, type: date}
  - name: Club
    parent: Pupil
    path: Clubs/Club
    items:
      - {name: Kind, type: code, codeset: club_kind}
      - {name: Start, type: date}
      - {name: End, type: date}
      - {name: Places, type: integer}
  - name: Visit
    parent: Club
    path: Visits/Visit
    items:
      - {name: Visit, type: date}
"""


class Clubs:
    """The folder of the small collection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = folder / "clubs" / "2026"
        self.own.mkdir(parents=True)
        self.cover(COVER)

    def cover(self, text: str) -> None:
        """Write collection.yaml anew."""
        (self.own / "collection.yaml").write_text(text, "utf-8")
        loader.forget()

    def rules(self, *rules: dict[str, Any]) -> Collection:
        """The collection with these rules; what a rule leaves out is filled in."""
        plain = {"code": "1", "severity": "error", "title": "A rule", "message": "It fails."}
        text = yaml.safe_dump({"rules": [{**plain, **rule} for rule in rules]}, sort_keys=False)
        (self.own / "rules.yaml").write_text(text, "utf-8")
        return self.load()

    def load(self) -> Collection:
        """The collection as it stands in the folder."""
        loader.forget()
        return loader.load("clubs", 2026, [self.folder])


@pytest.fixture
def clubs(tmp_path: Path) -> Clubs:
    return Clubs(tmp_path / "definitions")


Judge = Callable[..., Report]


@pytest.fixture
def judge() -> Iterator[Judge]:
    """A report on a return written as in an example; `last` is the previous return."""
    sessions: list[Session] = []

    def run(collection: Collection, content: dict[str, Any], last: dict[str, Any] | None = None) -> Report:
        session = Session(Engine(collection), Limits(memory_mb=256, threads=1))
        sessions.append(session)
        header = {"Header": {"Collection": "CLUB", "Year": "2026"}}
        session.load_records(_texts(arrange(collection, {**header, **content})))
        if last is not None:
            load_records(session.tables, _texts(arrange(collection, last)), LAST_RETURN)
            session.tables.has_last_return = True
        return session.check()

    yield run
    for session in sessions:
        session.close()


def _texts(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def places(report: Report, rule: str = "1") -> list[list[str]]:
    """Of each finding of a rule the paths of its places."""
    return [[place.path for place in one.locations] for one in report.findings if one.rule == rule]
