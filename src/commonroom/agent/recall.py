"""What the agent remembers of facts and findings: the statements on those two tables of the memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from commonroom.agent.changes import Changes, Known
from commonroom.agent.findings import Finding
from commonroom.agent.memory import Memory

# Transfers are made of these, so their records are kept as well as their digests.
KEPT_WHOLE = ("learner", "enrolment")
RECEIVED = "received"
MOST_RECEIVED = 1000

SHOWN = "SELECT row, key FROM fact WHERE entity = ? AND valid_from >= ? AND row IS NOT NULL"
# CROSS JOIN holds SQLite to this order: few keys first, then the facts of each by the primary key.
FACTS = """
SELECT fact.key, valid_from, version, live, row, content FROM json_each(?1) AS asked
CROSS JOIN fact ON fact.entity = ?2 AND fact.key = asked.value AND fact.valid_from >= ?3
"""
NEWEST = "SELECT max(valid_from) FROM fact WHERE entity = ?"
PUT_FACT = """
INSERT INTO fact (entity, key, valid_from, version, live, row, content, record) VALUES (?, ?, ?, ?, 1, ?, ?, ?)
ON CONFLICT (entity, key, valid_from) DO UPDATE SET
    version = excluded.version, live = 1, row = excluded.row, content = excluded.content, record = excluded.record
"""
REREAD = "UPDATE fact SET row = ? WHERE entity = ? AND key = ? AND valid_from = ?"
HIDE = "UPDATE fact SET row = NULL WHERE entity = ? AND key = ? AND valid_from = ?"
WITHDRAW = """
UPDATE fact SET live = 0, row = NULL, record = NULL, version = ? WHERE entity = ? AND key = ? AND valid_from = ?
"""
# Keys are JSON arrays: those that begin alike sort together.
LATEST = """
SELECT key, max(valid_from), version, record FROM fact
WHERE entity = ?1 AND live = 1 AND key >= ?2 AND key < ?2 || char(1114111) GROUP BY key ORDER BY key
"""
REJECTED = "SELECT row, key FROM finding WHERE place = ? AND severity = 'error' AND rule <> ? AND row <> x''"
PUT_FINDING = """
INSERT INTO finding (place, row, key, valid_from, rule, severity, finding, found_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
FOUND = "SELECT finding FROM finding ORDER BY place, number LIMIT ?"
COUNT_FINDINGS = "SELECT count(*) FROM finding"


class RowFinding(msgspec.Struct, frozen=True):
    """A finding with the source row it speaks of."""

    finding: Finding
    row: bytes = b""  # digest; empty: the query as a whole
    key: str = ""  # the natural key where it could be read
    valid_from: str = ""

    @property
    def is_error(self) -> bool:
        """True: the record was not sent."""
        return self.finding.severity == "error"


def shown_rows(memory: Memory, entity: str, since: str) -> dict[bytes, str]:
    """Digest of every source row that showed a fact from this day on at the last look, with the fact's key."""
    return dict(memory.rows(SHOWN, (entity, since)))


def facts(memory: Memory, entity: str, since: str, keys: Collection[str]) -> list[Known]:
    """Every fact of these keys from this day on, withdrawn ones too."""
    asked = msgspec.json.encode(list(keys)).decode()
    return [Known._make(row) for row in memory.rows(FACTS, (asked, entity, since))] if keys else []


def newest(memory: Memory, entity: str) -> str | None:
    """The latest valid_from of an entity."""
    found = memory.rows(NEWEST, (entity,))[0][0]
    return None if found is None else str(found)


def rejected(memory: Memory, entity: str, but_for: str) -> list[tuple[bytes, str]]:
    """Rows that were found unusable, with their keys; those of the rule `but_for` are judged anew each time."""
    return msgspec.convert(memory.rows(REJECTED, (entity, but_for)), list[tuple[bytes, str]])


def latest_records(connection: sqlite3.Connection, entity: str, key_start: str) -> list[dict[str, Any]]:
    """The present record of every key that begins so, with its version."""
    return [
        {**msgspec.json.decode(record), "version": version}
        for _, _, version, record in connection.execute(LATEST, (entity, key_start))
        if record is not None
    ]


def keep_changes(connection: sqlite3.Connection, entity: str, changes: Changes) -> None:
    """Remember what a look found, inside its transaction."""
    whole = entity in KEPT_WHOLE
    connection.executemany(
        PUT_FACT,
        [
            (
                entity,
                sent.fresh.key,
                sent.fresh.valid_from,
                sent.version,
                sent.fresh.row,
                sent.fresh.content,
                msgspec.json.encode(sent.fresh.record) if whole else None,
            )
            for sent in changes.sent
        ],
    )
    connection.executemany(REREAD, [(one.row, entity, one.key, one.valid_from) for one in changes.reread])
    connection.executemany(HIDE, [(entity, one.key, one.valid_from) for one in changes.hidden])
    connection.executemany(
        WITHDRAW, [(one.version, entity, one.key, one.valid_from) for one in changes.withdrawn]
    )


def keep_findings(
    connection: sqlite3.Connection,
    entity: str,
    findings: Sequence[RowFinding],
    shown: Collection[bytes] | None,
    since: str,
    clash: str,
    found_at: str,
) -> None:
    """Add new findings; forget those of rows that the source shows no longer, and those that are judged anew.

    `shown` is None when the query could not be used: then the findings about rows stay.
    """
    remembered = connection.execute(
        "SELECT number, row, valid_from, rule FROM finding WHERE place = ?", (entity,)
    )
    over = [
        (number,)
        for number, row, valid_from, rule in remembered
        if row == b"" or (shown is not None and (rule == clash or (row not in shown and valid_from >= since)))
    ]
    connection.executemany("DELETE FROM finding WHERE number = ?", over)
    _put(connection, entity, findings, found_at)


def replace_findings(
    connection: sqlite3.Connection, place: str, findings: Sequence[RowFinding], found_at: str
) -> None:
    """Put these in the place of all findings there."""
    connection.execute("DELETE FROM finding WHERE place = ?", (place,))
    _put(connection, place, findings, found_at)


def keep_received(connection: sqlite3.Connection, findings: Sequence[RowFinding], found_at: str) -> None:
    """Add findings about received records; only the newest MOST_RECEIVED are kept."""
    _put(connection, RECEIVED, findings, found_at)
    connection.execute(
        """
        DELETE FROM finding WHERE place = ?1 AND number NOT IN
            (SELECT number FROM finding WHERE place = ?1 ORDER BY number DESC LIMIT ?2)
        """,
        (RECEIVED, MOST_RECEIVED),
    )


def findings(memory: Memory, most: int = 1000) -> list[Finding]:
    """What could not be used and is not mended yet."""
    return [
        msgspec.json.decode(msgspec.convert(row[0], bytes), type=Finding)
        for row in memory.rows(FOUND, (most,))
    ]


def count_findings(memory: Memory) -> int:
    """How many findings there are."""
    return msgspec.convert(memory.rows(COUNT_FINDINGS)[0][0], int)


def _put(connection: sqlite3.Connection, place: str, findings: Sequence[RowFinding], found_at: str) -> None:
    connection.executemany(
        PUT_FINDING,
        [
            (
                place,
                one.row,
                one.key,
                one.valid_from,
                one.finding.rule,
                one.finding.severity,
                msgspec.json.encode(one.finding),
                found_at,
            )
            for one in findings
        ],
    )
