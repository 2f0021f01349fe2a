"""The check of the post office's trial: what clients, hub and ledger say at its end is laid side by side, in SQL.

A trial leaves a folder with the databases of its clients, what the hub holds of messages and deliveries, and the exported
ledger with the keys it must be signed by. Nothing here asks the hub: what it tells a client is compared, never believed.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import msgspec

from commonroom.hub.ledger_file import load_keys, verify
from tests.faults.post_office_clients import ANSWERS, MEMORY, ROLE, STORE, Role, body_of, ending

CLIENTS, HUB, LEDGER, KEYS = "clients", "hub.sqlite", "ledger.jsonl", "keys.json"
EXAMPLES = 3

HUB_SCHEMA = """
CREATE TABLE message (message TEXT, position INTEGER, source TEXT, ce_id TEXT);
CREATE TABLE delivery (delivery TEXT, position INTEGER, recipient TEXT, state TEXT, sequence INTEGER);
"""

SCHEMA = """
CREATE TABLE recipient (party TEXT);
CREATE TABLE outbox (sender TEXT, ce_id TEXT, state TEXT);
CREATE TABLE answer (sender TEXT, ce_id TEXT, message TEXT, position INTEGER, repeated INTEGER);
CREATE TABLE report (sender TEXT, delivery TEXT, ce_id TEXT, recipient TEXT, state TEXT);
CREATE TABLE arrival (
    recipient TEXT, delivery TEXT, source TEXT, ce_id TEXT, position INTEGER, sequence INTEGER, attempt INTEGER
);
CREATE TABLE effect (recipient TEXT, source TEXT, ce_id TEXT, digest BLOB, state TEXT);
CREATE TABLE message (message TEXT, position INTEGER, source TEXT, ce_id TEXT);
CREATE TABLE delivery (delivery TEXT, position INTEGER, recipient TEXT, state TEXT, sequence INTEGER);
CREATE TABLE entry (event TEXT, message TEXT, party TEXT, body TEXT);
"""

# Made when everything is in. A story is one letter that was answered 202, and one of its recipients.
READY = """
CREATE TABLE answered AS SELECT sender, ce_id, min(message) AS message FROM answer GROUP BY sender, ce_id;
CREATE TABLE story AS SELECT a.sender, a.ce_id, a.message, r.party AS recipient FROM answered a CROSS JOIN recipient r;
CREATE INDEX answered_letter ON answered (ce_id, sender);
CREATE INDEX answered_message ON answered (message);
CREATE INDEX story_letter ON story (ce_id, recipient);
CREATE INDEX outbox_letter ON outbox (ce_id, sender);
CREATE INDEX effect_letter ON effect (ce_id, recipient);
CREATE INDEX report_letter ON report (ce_id, recipient);
CREATE INDEX message_letter ON message (ce_id, source);
CREATE INDEX entry_message ON entry (message, event);
"""


class Rule(msgspec.Struct, frozen=True):
    """What must not be; each row of `sql` is one case of it, in words."""

    fault: str
    sql: str


RULES = (
    Rule(
        "a letter was never answered 202",
        """
        SELECT o.ce_id || ' is ' || o.state FROM outbox o
        LEFT JOIN answered a ON a.ce_id = o.ce_id AND a.sender = o.sender
        WHERE o.state <> 'accepted' OR a.ce_id IS NULL
        """,
    ),
    Rule(
        "a letter was answered as two messages",
        """
        SELECT ce_id FROM answer
        GROUP BY sender, ce_id HAVING count(DISTINCT message || ' ' || position) > 1
        """,
    ),
    Rule(
        "the hub does not hold what it answered for",
        """
        SELECT a.ce_id FROM answer a
        LEFT JOIN message m ON m.ce_id = a.ce_id AND m.source = a.sender
            AND m.message = a.message AND m.position = a.position
        WHERE m.message IS NULL
        """,
    ),
    Rule(
        "the hub holds what nobody sent",
        """
        SELECT m.ce_id FROM message m
        LEFT JOIN outbox o ON o.ce_id = m.ce_id AND o.sender = m.source
        WHERE o.ce_id IS NULL
        """,
    ),
    Rule(
        "the hub holds a message twice",
        "SELECT ce_id FROM message GROUP BY source, ce_id HAVING count(*) > 1",
    ),
    Rule(
        "a message was lost: answered 202, and no effect at a recipient",
        """
        SELECT s.ce_id || ' at ' || s.recipient FROM story s
        LEFT JOIN effect e ON e.ce_id = s.ce_id AND e.recipient = s.recipient AND e.source = s.sender
        WHERE e.ce_id IS NULL
        """,
    ),
    Rule(
        "a message had a second effect",
        """
        SELECT ce_id || ' at ' || recipient FROM effect
        GROUP BY recipient, source, ce_id HAVING count(*) > 1
        """,
    ),
    Rule(
        "a recipient loaded what nobody sent",
        """
        SELECT e.ce_id || ' at ' || e.recipient FROM effect e
        LEFT JOIN outbox o ON o.ce_id = e.ce_id AND o.sender = e.source
        WHERE o.ce_id IS NULL
        """,
    ),
    Rule(
        "a body came out other than it went in",
        "SELECT ce_id || ' at ' || recipient FROM effect WHERE digest <> digest_of(ce_id)",
    ),
    Rule(
        "a message came to a recipient as two deliveries",
        """
        SELECT ce_id || ' at ' || recipient FROM arrival
        GROUP BY recipient, source, ce_id HAVING count(DISTINCT delivery || ' ' || position) > 1
        """,
    ),
    Rule(
        "a story without a report",
        """
        SELECT s.ce_id || ' at ' || s.recipient FROM story s
        LEFT JOIN report r ON r.ce_id = s.ce_id AND r.recipient = s.recipient AND r.sender = s.sender
        WHERE r.ce_id IS NULL
        """,
    ),
    Rule(
        "a story with a second report",
        """
        SELECT ce_id || ' at ' || recipient FROM report
        GROUP BY sender, ce_id, recipient HAVING count(DISTINCT delivery || ' ' || state) > 1
        """,
    ),
    Rule(
        "a report is not what the recipient did",
        """
        SELECT ce_id || ' at ' || recipient || ': ' || state FROM report
        WHERE state <> ending(recipient, ce_id)
        """,
    ),
    Rule(
        "the hub's end of a delivery is not what the recipient did",
        """
        SELECT m.ce_id || ' at ' || d.recipient || ': ' || d.state
        FROM delivery d JOIN message m USING (position)
        WHERE d.state <> ending(d.recipient, m.ce_id)
        """,
    ),
    Rule(
        "a gap in the numbers of a mailbox",
        """
        SELECT recipient || ': ' || count(DISTINCT sequence) || ' numbers up to ' || max(sequence)
        FROM arrival GROUP BY recipient
        HAVING min(sequence) <> 1 OR max(sequence) <> count(DISTINCT sequence) OR count(sequence) <> count(*)
        """,
    ),
    Rule(
        "a number of a mailbox stands for two messages",
        """
        SELECT recipient || ': ' || sequence FROM arrival
        GROUP BY recipient, sequence HAVING count(DISTINCT ce_id) > 1
        """,
    ),
    Rule(
        "a message has two numbers in a mailbox",
        """
        SELECT recipient || ': ' || ce_id FROM arrival
        GROUP BY recipient, ce_id HAVING count(DISTINCT sequence) > 1
        """,
    ),
    Rule(
        "an accept is not in the ledger once",
        """
        SELECT a.ce_id || ': ' || count(e.event) FROM answered a
        LEFT JOIN entry e ON e.message = a.message AND e.event = 'accepted' AND e.party = a.sender
        GROUP BY a.sender, a.ce_id HAVING count(e.event) <> 1
        """,
    ),
    Rule(
        "the ledger tells of an accept that nobody was answered",
        """
        SELECT e.message FROM entry e LEFT JOIN answered a USING (message)
        WHERE e.event = 'accepted' AND a.message IS NULL
        """,
    ),
    Rule(
        "the ledger has the digest of another body",
        """
        SELECT a.ce_id FROM entry e JOIN answered a USING (message)
        WHERE e.event = 'accepted' AND e.body <> lower(hex(digest_of(a.ce_id)))
        """,
    ),
    Rule(
        "an end is not in the ledger once",
        """
        SELECT s.ce_id || ' at ' || s.recipient || ': ' || count(e.event) FROM story s
        LEFT JOIN entry e ON e.message = s.message AND e.party = s.recipient
            AND e.event IN ('acknowledged', 'refused', 'expired', 'undeliverable')
        GROUP BY s.sender, s.ce_id, s.recipient HAVING count(e.event) <> 1
        """,
    ),
)
LEDGER_FAULT = "the ledger does not verify"


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How much there was to check."""

    answered: int
    answered_again: int  # receipts for a letter the hub had already
    effects: int
    refused: int
    handed_out_again: int  # arrivals beyond the first of a letter
    reports: int
    ledger_entries: int
    signed_heads: int


_COUNT = """
SELECT (SELECT count(*) FROM answered), (SELECT count(*) FROM answer WHERE repeated), (SELECT count(*) FROM effect),
    (SELECT count(*) FROM effect WHERE state = 'refused'),
    (SELECT count(*) FROM arrival) - (SELECT count(*) FROM (SELECT DISTINCT recipient, delivery FROM arrival)),
    (SELECT count(*) FROM (SELECT DISTINCT sender, delivery FROM report)), (SELECT count(*) FROM entry)
"""


def roles(folder: Path) -> list[tuple[Path, Role]]:
    """The clients of a trial, each with its folder."""
    found = sorted((folder / CLIENTS).glob(f"*/{ROLE}"))
    return [
        (
            path.parent,
            msgspec.json.decode(path.read_bytes(), type=Role, dec_hook=lambda kind, text: kind(text)),
        )
        for path in found
    ]


def check(folder: Path) -> tuple[list[str], Count]:
    """Every fault in what a trial has left behind, at most a few examples of each; and how much was looked at."""
    verdict = verify(folder / LEDGER, load_keys(folder / KEYS))
    faults = [f"{LEDGER_FAULT}: {fault}" for fault in verdict.faults[:EXAMPLES]]
    evidence = _laid_out(folder)
    for rule in RULES:
        cases = [str(case) for (case,) in evidence.execute(rule.sql)]
        if cases:
            faults.append(f"{rule.fault}: {', '.join(cases[:EXAMPLES])} ({len(cases)} in all)")
    count = Count(
        **dict(zip(Count.__struct_fields__, evidence.execute(_COUNT).fetchone(), strict=False)),
        signed_heads=verdict.heads,
    )
    return faults, count


def _laid_out(folder: Path) -> sqlite3.Connection:
    """Everything in one database in memory."""
    evidence = sqlite3.connect(":memory:", isolation_level=None)
    evidence.create_function("digest_of", 1, _digest_of, deterministic=True)
    evidence.create_function("ending", 2, cache(ending), deterministic=True)
    evidence.executescript(SCHEMA)
    for home, role in roles(folder):
        if role.kind == "recipient":
            evidence.execute("INSERT INTO recipient VALUES (?)", [role.party])
            _copy(evidence, home / STORE, role.party, ("arrival", "*"), ("effect", "*"))
        else:
            _copy(evidence, home / MEMORY, role.party, ("outbox", "id, state"))
            _copy(evidence, home / ANSWERS, role.party, ("answer", "*"), ("report", "*"))
    _copy(evidence, folder / HUB, None, ("message", "*"), ("delivery", "*"))
    evidence.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)", _entries(folder / LEDGER))
    evidence.executescript(READY)
    return evidence


def _copy(evidence: sqlite3.Connection, file: Path, party: str | None, *tables: Sequence[str]) -> None:
    """Rows of these tables, with the party whose they are before each."""
    if not file.exists():
        raise AssertionError(f"the trial left no {file}")
    evidence.execute("ATTACH ? AS other", [str(file)])
    for table, columns in tables:
        whose = "" if party is None else f"'{party}', "
        evidence.execute(f"INSERT INTO main.{table} SELECT {whose}{columns} FROM other.{table}")
    evidence.execute("DETACH other")


@cache
def _digest_of(ce_id: str) -> bytes:
    return hashlib.sha256(body_of(ce_id)).digest()


def _entries(file: Path) -> Iterator[tuple[str, str, str, str | None]]:
    """What the exported ledger says happened."""
    with file.open("rb") as lines:
        for line in lines:
            try:
                found = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue  # the verifier has named this line
            if found["kind"] == "entry":
                entry = found["entry"]
                yield entry["event"], entry["message"], entry["party"], entry["body"]
