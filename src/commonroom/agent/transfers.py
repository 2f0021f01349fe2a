"""Transfers: when a leaver's next school is known, the pupil's records are sent there."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from commonroom.agent import letters, recall
from commonroom.agent.findings import Finding
from commonroom.agent.judge import query_failed
from commonroom.agent.letters import Letter
from commonroom.agent.mapping import TRANSFER_COLUMNS
from commonroom.agent.recall import RowFinding
from commonroom.agent.source import Failure, Rows
from commonroom.standard import Standard, identifiers

PLACE = "transfers"

SENT = "SELECT upn, leaving_date, destination FROM transfer"
PUT = "INSERT INTO transfer (upn, leaving_date, destination, letter) VALUES (?, ?, ?, ?)"


class Transfers(msgspec.Struct, frozen=True):
    """What one look found among the leavers."""

    letters: list[Letter]
    findings: list[RowFinding]


def compose(
    connection: sqlite3.Connection, answer: Rows | Failure, standard: Standard, school: str, mapping: str
) -> Transfers:
    """The letters for leavers not yet told of, after the look's facts were remembered in the same transaction."""
    if isinstance(answer, Failure):
        return Transfers([], [query_failed("", mapping, answer.reason)])
    if missing := [column for column in TRANSFER_COLUMNS if column not in answer.columns]:
        return Transfers([], [_columns_missing(mapping, missing)])
    places = [answer.columns.index(column) for column in TRANSFER_COLUMNS]
    leavers = {tuple(_plain(row[place]) for place in places) for row in answer.rows}
    done = set(connection.execute(SENT))
    made, findings = [], []
    for upn, leaving_date, destination in sorted(leavers - done):
        if not destination:
            continue  # not known (yet) where the pupil went
        letter = _letter(connection, upn, destination, standard, school, mapping)
        if isinstance(letter, RowFinding):
            findings.append(letter)
            continue
        connection.execute(PUT, (upn, leaving_date, destination, letter.id))
        made.append(letter)
    return Transfers(made, findings)


def _letter(
    connection: sqlite3.Connection, upn: str, destination: str, standard: Standard, school: str, mapping: str
) -> Letter | RowFinding:
    if not identifiers.is_valid("URN", destination):
        remedy = "Give the URN of the next school, six digits, or leave it empty while it is not known."
        return _finding(mapping, upn, "destination", "the next school is not a URN", remedy, destination)
    key_start = msgspec.json.encode([school, upn]).decode().removesuffix("]")
    learner = recall.latest_records(connection, "learner", f"{key_start}]")
    if not learner:
        remedy = "Mend the pupil's own record first; the transfer then goes by itself."
        return _finding(
            mapping, upn, "", "the pupil's learner record was not sent, so it cannot go on", remedy
        )
    enrolments = recall.latest_records(connection, "enrolment", f"{key_start},")
    return letters.of_transfer(learner[0], enrolments, destination, standard)


def _finding(mapping: str, upn: str, item: str, message: str, remedy: str, value: str = "") -> RowFinding:
    found = Finding(
        mapping=mapping,
        entity=PLACE,
        key={"upn": upn},
        item=item,
        rule="transfer",
        message=message,
        remedy=remedy,
        value=value,
    )
    return RowFinding(found)


def _columns_missing(mapping: str, missing: Sequence[str]) -> RowFinding:
    message = f"the query has no column {', '.join(missing)}"
    remedy = f"Let it show {', '.join(TRANSFER_COLUMNS)}."
    return RowFinding(
        Finding(mapping=mapping, entity=PLACE, rule="column-missing", message=message, remedy=remedy)
    )


def _plain(value: Any) -> str:
    return "" if value is None else str(value).strip()
