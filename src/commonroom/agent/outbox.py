"""The outbox: letters that wait, those the hub has, those it refused. Statements on one table of the memory."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from commonroom.agent.letters import Letter
from commonroom.agent.memory import Memory

FIRST_PAUSE = 15  # seconds until a letter that the hub will not take yet is posted again; doubled each time
LONGEST_PAUSE = 900
KEEP_ACCEPTED = timedelta(days=30)  # how long it can be seen what was sent; the bodies go at once

PUT = """
INSERT INTO outbox (id, type, recipient, dataschema, datacontenttype, made_at, records, size, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
WAITING = """
SELECT id, type, recipient, dataschema, datacontenttype, made_at, records, body, sealed FROM outbox
WHERE state = 'waiting' AND again_at <= ? ORDER BY number LIMIT ?
"""
ACCEPT = "UPDATE outbox SET state = 'accepted', settled_at = ?, body = NULL, sealed = NULL, problem = NULL WHERE id = ?"
# What the hub did not take is encrypted anew, for whoever is to have it by then.
REFUSE = "UPDATE outbox SET state = 'refused', sealed = NULL, settled_at = ?, problem = ? WHERE id = ?"
SEAL = "UPDATE outbox SET sealed = ? WHERE id = ?"
HOLD = """
UPDATE outbox SET problem = ?1, sealed = NULL, tries = tries + 1, again_at = ?2 + min(?3 << min(tries, 10), ?4) WHERE id = ?5
"""
SEND_AGAIN = """
UPDATE outbox SET state = 'waiting', settled_at = NULL, problem = NULL, tries = 0, again_at = 0
WHERE state = 'refused' OR (state = 'waiting' AND tries > 0)
"""
COUNTS = "SELECT state, count(*) FROM outbox WHERE state <> 'accepted' GROUP BY state"
HELD = "SELECT count(*) FROM outbox WHERE state = 'waiting' AND tries > 0"
LISTED = """
SELECT id, type, recipient, made_at, records, size, state, settled_at, problem, (
    SELECT json_group_array(json_object('recipient', recipient, 'state', state, 'reason', reason, 'at', at))
    FROM fate WHERE letter = outbox.id
) AS fates
FROM outbox WHERE ?1 = '' OR state = ?1 ORDER BY number DESC LIMIT ?2
"""


class Fate(msgspec.Struct, frozen=True):
    """How the story of a letter ended at one recipient, as the hub reported it."""

    recipient: str  # party urn
    state: str  # acknowledged, refused, expired or undeliverable
    reason: str | None
    at: str


class Line(msgspec.Struct, frozen=True):
    """One letter as the operator sees it."""

    id: str
    type: str
    recipient: str | None
    made_at: str
    records: int
    size: int
    state: str
    settled_at: str | None
    problem: str | None
    fates: list[Fate]


def put(connection: sqlite3.Connection, letters: Sequence[Letter]) -> None:
    """Add letters, inside a transaction."""
    connection.executemany(
        PUT,
        [
            (
                letter.id,
                letter.type,
                letter.recipient,
                letter.dataschema,
                letter.datacontenttype,
                letter.made_at,
                letter.records,
                len(letter.body),
                letter.body,
            )
            for letter in letters
        ],
    )


def waiting(memory: Memory, most: int, most_bytes: int) -> list[Letter]:
    """The oldest letters whose time has come: at most so many, and so many bytes (but always one)."""
    found: list[Letter] = []
    size = 0
    for row in memory.rows(WAITING, (int(time.time()), most)):
        letter = msgspec.convert(dict(zip(Letter.__struct_fields__, row, strict=True)), Letter)
        size += len(letter.body)
        if found and size > most_bytes:
            break
        found.append(letter)
    return found


def keep_sealed(memory: Memory, sealed: Sequence[tuple[str, bytes]]) -> None:
    """Write down how letters (id, body) were encrypted, before they are posted: a repeated post must be the same bytes."""
    with memory.transaction() as connection:
        connection.executemany(SEAL, [(body, id) for id, body in sealed])


def settle(
    memory: Memory,
    accepted: Sequence[str] = (),
    refused: Sequence[tuple[str, str]] = (),
    split: Sequence[tuple[str, Sequence[Letter]]] = (),
    held: Sequence[tuple[str, str]] = (),
) -> None:
    """Write down the fate of posted letters; `refused` are (id, problem), `split` are (id, what takes its place).

    `held` are (id, problem) of letters the hub cannot take yet: they wait, each time longer.
    """
    now = _now()
    with memory.transaction() as connection:
        connection.executemany(ACCEPT, [(now, id) for id in accepted])
        connection.executemany(REFUSE, [(now, problem, id) for id, problem in refused])
        pauses = int(time.time()), FIRST_PAUSE, LONGEST_PAUSE
        connection.executemany(HOLD, [(problem, *pauses, id) for id, problem in held])
        for id, parts in split:
            put(connection, parts)
            connection.execute("UPDATE transfer SET letter = ? WHERE letter = ?", (parts[0].id, id))
            connection.execute("DELETE FROM outbox WHERE id = ?", (id,))


def send_again(memory: Memory) -> int:
    """Let every letter that was refused or held back go now; how many there were. Repeating a post is always harmless."""
    with memory.transaction() as connection:
        return connection.execute(SEND_AGAIN).rowcount


def counts(memory: Memory) -> dict[str, int]:
    """How many letters are waiting and refused."""
    found: dict[str, int] = dict(memory.rows(COUNTS))
    return {state: found.get(state, 0) for state in ("waiting", "refused")}


def count_held(memory: Memory) -> int:
    """How many of the waiting letters the hub would not take yet."""
    return int(memory.rows(HELD)[0][0])


def listed(memory: Memory, state: str = "", most: int = 100) -> list[Line]:
    """The newest letters, of one state or of all."""
    names = Line.__struct_fields__
    rows = [dict(zip(names, row, strict=True)) for row in memory.rows(LISTED, (state, most))]
    return [msgspec.convert({**row, "fates": msgspec.json.decode(row["fates"])}, Line) for row in rows]


def forget_old(connection: sqlite3.Connection) -> None:
    """Remove what was accepted long ago, inside a transaction."""
    before = (datetime.now(UTC) - KEEP_ACCEPTED).isoformat()
    connection.execute("DELETE FROM outbox WHERE state = 'accepted' AND settled_at < ?", (before,))
    connection.execute("DELETE FROM fate WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE id = letter)")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
