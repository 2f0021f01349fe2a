"""Sends under kill -9 of hub, database and clients: nothing answered 202 is lost, nothing happens twice, every end is told.

The trial runs once; then its evidence is spoilt, once for each rule of the check, to show that the check would see it.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from tests.faults.post_office import TARGETS, Trial, in_words, run
from tests.faults.post_office_check import CLIENTS, HUB, LEDGER, LEDGER_FAULT, RULES, check
from tests.faults.post_office_clients import ANSWERS, MEMORY, STORE

RESULTS = Path(__file__).parents[2] / "test-results"
SEED, LETTERS = 11, 2_000
SOAK_SEED, SOAK_LETTERS, SOAK_KILLS = 2_026, 100_000, 100


class Left(msgspec.Struct, frozen=True):
    """A trial and the folder with what it has left behind."""

    trial: Trial
    folder: Path


@pytest.fixture(scope="module")
def left() -> Iterator[Left]:
    """One trial for all tests here. Not in pytest's folder: the database may run as another user."""
    with TemporaryDirectory(prefix="commonroom-post-office-") as folder:
        yield Left(run(SEED, Path(folder), LETTERS, len(TARGETS), print), Path(folder))


def test_two_thousand_sends_under_three_kills_arrive_once_and_every_end_is_told_once(
    left: Left, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\n{in_words(left.trial)}; {msgspec.json.encode(left.trial.kills).decode()}")
    assert left.trial.faults == []
    assert (left.trial.count.answered, left.trial.count.effects) == (LETTERS, 2 * LETTERS)
    assert left.trial.count.reports == 2 * LETTERS
    assert len(left.trial.kills) == len(TARGETS)
    assert all(kill.sends_in_flight + kill.letters_in_hands for kill in left.trial.kills)


@pytest.mark.soak
def test_a_hundred_thousand_sends_under_a_hundred_kills(capsys: pytest.CaptureFixture[str]) -> None:
    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", end="", flush=True)

    with TemporaryDirectory(prefix="commonroom-post-office-") as folder:
        trial = run(SOAK_SEED, Path(folder), SOAK_LETTERS, SOAK_KILLS, say, hard=True)
    say(in_words(trial))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "post_office_survives.json").write_bytes(msgspec.json.format(msgspec.json.encode(trial)))
    assert trial.faults == []
    assert (trial.count.answered, trial.count.effects) == (SOAK_LETTERS, 2 * SOAK_LETTERS)
    assert trial.count.reports == 2 * SOAK_LETTERS


# What is planted: the client (or none: the hub's rows), its file, and the statement; then the rule that must see it.
FIRST = "(SELECT ce_id FROM {} ORDER BY rowid LIMIT 1)"
PLANTS: list[tuple[str, str, str, str]] = [
    (
        "a letter was never answered 202",
        "school",
        ANSWERS,
        f"DELETE FROM answer WHERE ce_id = {FIRST.format('answer')}",
    ),
    (
        "a letter was answered as two messages",
        "school",
        ANSWERS,
        "INSERT INTO answer SELECT ce_id, 'another', position, 1 FROM answer LIMIT 1",
    ),
    ("the hub does not hold what it answered for", "", HUB, "DELETE FROM message WHERE rowid = 7"),
    ("the hub holds what nobody sent", "school", MEMORY, "DELETE FROM outbox WHERE number = 7"),
    (
        "the hub holds a message twice",
        "",
        HUB,
        "INSERT INTO message SELECT message, position + 1000000, source, ce_id FROM message LIMIT 1",
    ),
    (
        "a message was lost: answered 202, and no effect at a recipient",
        "warehouse",
        STORE,
        "DELETE FROM effect WHERE rowid = 7",
    ),
    ("a message had a second effect", "authority", STORE, "INSERT INTO effect SELECT * FROM effect LIMIT 1"),
    (
        "a recipient loaded what nobody sent",
        "authority",
        STORE,
        "INSERT INTO effect SELECT source, 'invented', digest, state FROM effect LIMIT 1",
    ),
    (
        "a body came out other than it went in",
        "warehouse",
        STORE,
        "UPDATE effect SET digest = zeroblob(32) WHERE rowid = 7",
    ),
    (
        "a message came to a recipient as two deliveries",
        "warehouse",
        STORE,
        "INSERT INTO arrival SELECT 'another', source, ce_id, position, sequence, attempt FROM arrival LIMIT 1",
    ),
    (
        "a story without a report",
        "other-school",
        ANSWERS,
        "DELETE FROM report WHERE delivery = (SELECT delivery FROM report LIMIT 1)",
    ),
    (
        "a story with a second report",
        "other-school",
        ANSWERS,
        "INSERT INTO report SELECT 'another', ce_id, recipient, state FROM report LIMIT 1",
    ),
    (
        "a report is not what the recipient did",
        "school",
        ANSWERS,
        "UPDATE report SET state = 'expired' WHERE delivery = (SELECT delivery FROM report LIMIT 1)",
    ),
    (
        "the hub's end of a delivery is not what the recipient did",
        "",
        HUB,
        "UPDATE delivery SET state = 'undeliverable' WHERE rowid = 7",
    ),
    ("a gap in the numbers of a mailbox", "warehouse", STORE, "DELETE FROM arrival WHERE sequence = 7"),
    (
        "a number of a mailbox stands for two messages",
        "warehouse",
        STORE,
        "UPDATE arrival SET sequence = 8 WHERE sequence = 7",
    ),
    (
        "a message has two numbers in a mailbox",
        "warehouse",
        STORE,
        "INSERT INTO arrival SELECT delivery, source, ce_id, position, sequence + 1, attempt FROM arrival LIMIT 1",
    ),
]


@pytest.mark.parametrize(("rule", "client", "file", "statement"), PLANTS, ids=[plant[0] for plant in PLANTS])
def test_a_fault_planted_into_what_the_trial_left_is_seen(
    left: Left, tmp_path: Path, rule: str, client: str, file: str, statement: str
) -> None:
    spoilt = _copy_of(left, tmp_path)
    path = spoilt / CLIENTS / client / file if client else spoilt / file
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement).rowcount > 0
    assert _names(spoilt, rule)


def _without_an_accept(lines: list[bytes]) -> list[bytes]:
    gone = next(line for line in lines if b'"event":"accepted"' in line)
    return [line for line in lines if line != gone]


def _with_an_accept_twice(lines: list[bytes]) -> list[bytes]:
    return [*lines, next(line for line in lines if b'"event":"accepted"' in line)]


def _with_an_accept_of_nothing(lines: list[bytes]) -> list[bytes]:
    known = next(line for line in lines if b'"event":"accepted"' in line)
    message = msgspec.json.decode(known)["entry"]["message"].encode()
    return [*lines, known.replace(message, b"00000000-0000-7000-8000-000000000000")]


def _with_another_digest(lines: list[bytes]) -> list[bytes]:
    place = next(n for n, line in enumerate(lines) if b'"event":"accepted"' in line)
    body = msgspec.json.decode(lines[place])["entry"]["body"].encode()
    return [*lines[:place], lines[place].replace(body, b"0" * 64), *lines[place + 1 :]]


def _without_an_end(lines: list[bytes]) -> list[bytes]:
    gone = next(line for line in lines if b'"event":"acknowledged"' in line)
    return [line for line in lines if line != gone]


LEDGER_PLANTS: list[tuple[str, Callable[[list[bytes]], list[bytes]]]] = [
    ("an accept is not in the ledger once", _without_an_accept),
    ("an accept is not in the ledger once", _with_an_accept_twice),
    ("the ledger tells of an accept that nobody was answered", _with_an_accept_of_nothing),
    ("the ledger has the digest of another body", _with_another_digest),
    ("an end is not in the ledger once", _without_an_end),
]


@pytest.mark.parametrize(("rule", "spoil"), LEDGER_PLANTS, ids=[plant[1].__name__ for plant in LEDGER_PLANTS])
def test_a_fault_planted_into_the_ledger_is_seen_by_the_verifier_and_by_the_rule(
    left: Left, tmp_path: Path, rule: str, spoil: Callable[[list[bytes]], list[bytes]]
) -> None:
    spoilt = _copy_of(left, tmp_path)
    lines = (spoilt / LEDGER).read_bytes().splitlines(keepends=True)
    (spoilt / LEDGER).write_bytes(b"".join(spoil(lines)))
    assert _names(spoilt, rule)
    assert _names(spoilt, LEDGER_FAULT)


def test_every_rule_has_a_plant() -> None:
    assert {rule.fault for rule in RULES} == {plant[0] for plant in [*PLANTS, *LEDGER_PLANTS]}


def _copy_of(left: Left, folder: Path) -> Path:
    """The evidence without the database's own files."""
    return Path(shutil.copytree(left.folder, folder / "spoilt", ignore=shutil.ignore_patterns("data")))


def _names(folder: Path, fault: str) -> bool:
    return any(found.startswith(fault) for found in check(folder)[0])
