"""A post office of real processes, and kill -9 of any of them while letters are on their way.

A hub with a database of its own (fsync on), two senders and two recipients. `run` sends so many letters through it, kills
by the seed's dice, waits until every story has ended, and leaves everything in a folder for `post_office_check`.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Literal

import msgspec
import psutil
import psycopg

from commonroom import exchange
from commonroom.engines.database import connect, migrate
from commonroom.engines.postgres import LocalServer
from commonroom.hub.ledger_file import export
from commonroom.identity import issue_enrolment_code
from commonroom.settings import Settings
from tests.faults.post_office_check import CLIENTS, HUB, HUB_SCHEMA, KEYS, LEDGER, Count, check
from tests.faults.post_office_clients import ANSWERS, HANDS, MEMORY, ROLE, STORE, Hands, Role
from tests.hub_server import HubProcess, SmallCounty, publish_small_county
from tests.waiting import until

ROOT = Path(__file__).parents[2]
START_SECONDS = 120.0  # a hub that starts again, on a machine that has other things to do
LEASE_SECONDS = 3  # what a killed recipient held comes again after it
BUSY_SECONDS = 30.0  # how long a kill waits for something to be in flight
CHOOSY_SECONDS = 5.0
QUIET_SECONDS = 120.0  # without any headway for so long the trial ends, and the check says what is missing
SAY_SECONDS = 15.0
IN_BATCHES = 0.75  # of the letters; the others go one by one

Target = Literal["hub", "database", "client", "database session", "hub and database"]
# What `make test` kills, each once; the soak goes on with these and harder ones.
TARGETS: tuple[Target, ...] = ("hub", "database", "client")
HARD: tuple[Target, ...] = ("database session", "hub and database")

_HOUR = timedelta(hours=1)
_WAITING = "SELECT count(*) FROM outbox WHERE state <> 'accepted'"
_TOLD = "SELECT count(DISTINCT delivery) FROM report"
_MESSAGES = "SELECT id::text, position, source, ce_id FROM hub.message"
_DELIVERIES = "SELECT id::text, message, recipient, state, sequence FROM hub.delivery"
_COVERED = (
    "SELECT coalesce((SELECT max(size) FROM hub.ledger_head), 0) = (SELECT count(*) FROM hub.ledger_entry)"
)


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One kill -9 and what was on its way at that moment."""

    target: str
    seconds: float  # since the first letter was written
    sends_in_flight: int  # messages in open requests
    letters_in_hands: int  # handed out to recipients and not settled
    answered: int  # letters answered 202 before


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One run with its kills and what was found at its end."""

    seed: int
    letters: int
    seconds: float
    kills: list[Kill]
    count: Count
    faults: list[str]


class PostOffice:
    """Everything that can be killed, running."""

    def __init__(self, folder: Path, letters: int) -> None:
        self.folder = folder
        self.letters = letters
        self.clients: dict[str, subprocess.Popen[bytes]] = {}
        self._server = LocalServer(folder / "data" / "postgres")
        self._settings = Settings(data=folder / "data", lease_seconds=LEASE_SECONDS)
        self._hub = HubProcess(self._settings, start_seconds=START_SECONDS)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start everything; stop it at the end, whatever happens."""
        with ExitStack() as stack:
            self._server.start()
            stack.callback(self._server.stop)
            migrate(self._settings)
            stack.enter_context(self._hub)
            asyncio.run(self._enrol())
            stack.callback(self.stop_clients)
            for home in sorted((self.folder / CLIENTS).iterdir()):
                self._start_client(home.name)
            yield

    def stop_clients(self) -> None:
        """They are told nothing: what they know is on the disk."""
        for client in self.clients.values():
            client.kill()
            client.wait()

    def answered(self) -> int:
        """Answers that senders have written down, repeats included."""
        return sum(_rows(home / ANSWERS, "answer") for home in self._homes(ANSWERS))

    def loaded(self) -> int:
        """Effects at all recipients."""
        return sum(_rows(home / STORE, "effect") for home in self._homes(STORE))

    def told(self) -> int:
        """Reports that senders have written down, repeats included."""
        return sum(_rows(home / ANSWERS, "report") for home in self._homes(ANSWERS))

    def finished(self) -> bool:
        """Whether every letter has been answered, loaded everywhere and reported on."""
        if self.loaded() < 2 * self.letters or self.told() < 2 * self.letters:
            return False
        waiting = sum(_number(home / MEMORY, _WAITING) for home in self._homes(MEMORY))
        reports = sum(_number(home / ANSWERS, _TOLD) for home in self._homes(ANSWERS))
        return waiting == 0 and reports >= 2 * self.letters

    def in_flight(self) -> tuple[int, int]:
        """Messages in open requests of senders, letters in recipients' hands."""
        sends = sum(Hands(home / HANDS).full_of for home in self._homes(ANSWERS))
        letters = sum(Hands(home / HANDS).full_of for home in self._homes(STORE))
        return sends, letters

    def aim(self, target: Target, dice: random.Random) -> str:
        """Wait until a kill can hit something on its way, for one in silence says little; what to kill, by name.

        Of the clients it is the one that the dice say, or any other when that one has nothing in its hands for a while.
        """
        wanted, until_when = dice.choice(sorted(self.clients)), time.monotonic() + CHOOSY_SECONDS

        def found() -> str:
            busy = self._busy_clients()
            if target != "client":
                return target if self.in_flight()[0] else ""
            return wanted if wanted in busy else busy[0] if busy and time.monotonic() > until_when else ""

        return until(found, BUSY_SECONDS, f"something being in flight for the {target}")

    def kill(self, target: str, dice: random.Random) -> None:
        """kill -9, and start it again."""
        if target in self.clients:
            self.clients[target].kill()
            self.clients[target].wait()
            self._start_client(target)
        elif target == "database session":
            until(lambda: self._kill_session(dice), BUSY_SECONDS, "a session being there to be killed")
        else:
            self._kill_servers("hub" in target, "database" in target)

    def check_clients(self) -> None:
        """Fail when one has ended by itself."""
        for name, client in self.clients.items():
            if client.poll() is not None:
                said = (self.folder / CLIENTS / name / "log").read_text("utf-8", "replace")[-3_000:]
                raise AssertionError(f"client {name} ended with {client.returncode}: {said}")

    def keep_ledger_keys(self) -> None:
        """Save what the hub's ledger is signed with, as a sceptical outsider would at the very beginning."""

        def found() -> bytes:
            with urllib.request.urlopen(f"{self._hub.url}/ledger/keys", timeout=5) as answer:  # noqa: S310
                text: bytes = answer.read()
            return text if msgspec.json.decode(text)["keys"] else b""

        (self.folder / KEYS).write_bytes(until(found, 30, "the ledger's key being published"))

    def collect(self) -> None:
        """Take away what the hub holds: its ledger, once a signed head covers it all, and its rows."""
        with psycopg.connect(self._server.dsn, autocommit=True) as database:
            until(lambda: _one(database, _COVERED), 120, "a signed head covering the whole ledger")
            with closing(sqlite3.connect(self.folder / HUB)) as kept, kept:
                kept.executescript(HUB_SCHEMA)
                kept.executemany("INSERT INTO message VALUES (?, ?, ?, ?)", database.execute(_MESSAGES))
                kept.executemany("INSERT INTO delivery VALUES (?, ?, ?, ?, ?)", database.execute(_DELIVERIES))
        asyncio.run(self._export())

    async def _export(self) -> None:
        connection = await connect(self._settings)
        await export(connection, self.folder / LEDGER)
        await connection.close()

    @property
    def _database(self) -> int:
        assert self._server.process is not None
        return self._server.process.pid

    def _kill_session(self, dice: random.Random) -> bool:
        """One process of the server: it then ends all sessions and recovers by itself."""
        sessions = psutil.Process(self._database).children()
        try:
            dice.choice(sorted(sessions, key=lambda process: process.pid)).kill()
        except (psutil.NoSuchProcess, IndexError):
            return False
        return True

    def _kill_database(self) -> None:
        """The whole server: were the postmaster killed alone, its sessions might finish what they do."""
        postmaster = psutil.Process(self._database)
        for process in (postmaster, *postmaster.children()):
            with suppress(
                psutil.NoSuchProcess
            ):  # sessions end by themselves when they find the postmaster gone
                process.kill()
        assert self._server.process is not None
        self._server.process.wait()

    def _kill_servers(self, hub: bool, database: bool) -> None:
        if hub:
            self._hub.kill()
        if database:
            self._kill_database()
            self._server.start()
        if hub:
            self._hub.start()

    def _busy_clients(self) -> list[str]:
        return [home.name for home in self._homes(HANDS) if Hands(home / HANDS).full_of]

    def _homes(self, file: str) -> list[Path]:
        """Folders of the clients that have this file."""
        return sorted(path.parent for path in (self.folder / CLIENTS).glob(f"*/{file}"))

    def _start_client(self, name: str) -> None:
        home = self.folder / CLIENTS / name
        with (home / "log").open("ab") as log:
            self.clients[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.post_office_clients", str(home)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    async def _enrol(self) -> None:
        connection = await connect(self._settings)
        county = await publish_small_county(connection, self.folder)
        for name, role in _roles(county, self.letters, self._hub.url, self.folder / CLIENTS):
            role.key_file.parent.mkdir(parents=True)
            code = await issue_enrolment_code(connection, role.party, "trial", _HOUR)
            enrolment = await exchange.enrol(self._hub.url, code, role.key_file, name)
            known = msgspec.structs.replace(role, end_point=enrolment.end_point)
            (role.key_file.parent / ROLE).write_bytes(msgspec.json.encode(known, enc_hook=str))
        await connection.close()


def run(
    seed: int, folder: Path, letters: int, kills: int, say: Callable[[str], None], *, hard: bool = False
) -> Trial:
    """Send so many letters under so many kills, at moments and of targets by the seed's dice, and check what is left."""
    dice = random.Random(seed)
    office = PostOffice(folder, letters)
    plan = _plan(dice, letters, kills, hard)
    with office.running():
        progress = Progress(office, say)
        office.keep_ledger_keys()
        suffered: list[Kill] = []
        for point, target in plan:
            progress.until(lambda point=point: office.answered() >= point)  # type: ignore[misc]
            name = office.aim(target, dice)
            sends, hands = office.in_flight()
            suffered.append(
                Kill(
                    target=name,
                    seconds=progress.seconds,
                    sends_in_flight=sends,
                    letters_in_hands=hands,
                    answered=office.answered(),
                )
            )
            office.kill(name, dice)
            say(f"seed {seed}: {_in_words(len(suffered), suffered[-1])}")
        progress.until(office.finished)
        seconds = progress.seconds
        office.stop_clients()
        office.collect()
    faults, count = check(folder)
    return Trial(seed=seed, letters=letters, seconds=seconds, kills=suffered, count=count, faults=faults)


class Progress:
    """How far a trial is: waits for it, tells it, and gives up on one that makes no headway."""

    def __init__(self, office: PostOffice, say: Callable[[str], None]) -> None:
        self._office = office
        self._say = say
        self._began = self._said_at = self._moved_at = time.monotonic()
        self._seen = (0, 0, 0)

    @property
    def seconds(self) -> float:
        """Since the clients were started."""
        return round(time.monotonic() - self._began, 1)

    def until(self, condition: Callable[[], bool]) -> None:
        """Until it holds, or nothing has moved for so long that it never will: the check then says what is missing."""
        self._moved_at = time.monotonic()
        until(lambda: condition() or self._stuck(), 24 * 3600)

    def _stuck(self) -> bool:
        self._office.check_clients()
        now, found = time.monotonic(), (self._office.answered(), self._office.loaded(), self._office.told())
        if found != self._seen:
            self._seen, self._moved_at = found, now
        if now - self._said_at >= SAY_SECONDS:
            self._said_at = now
            answered, loaded, told = found
            self._say(f"{self.seconds:.0f} s: {answered:,} answers, {loaded:,} loaded, {told:,} reports")
        return now - self._moved_at > QUIET_SECONDS


def in_words(trial: Trial) -> str:
    """The trial in one paragraph."""
    count = trial.count
    return (
        f"seed {trial.seed}: {count.answered:,} of {trial.letters:,} letters answered 202 in {trial.seconds} s under "
        f"{len(trial.kills)} kills; {count.answered_again:,} answered again; {count.effects:,} effects "
        f"({count.refused:,} refusals), {count.handed_out_again:,} letters handed out again; {count.reports:,} reports; "
        f"{count.ledger_entries:,} ledger entries under {count.signed_heads:,} signed heads; {len(trial.faults)} faults"
    )


def _in_words(number: int, kill: Kill) -> str:
    return (
        f"kill {number} at {kill.seconds} s, {kill.target}: {kill.sends_in_flight} sends in flight, "
        f"{kill.letters_in_hands} letters in hands, {kill.answered:,} answered before"
    )


def _plan(dice: random.Random, letters: int, kills: int, hard: bool) -> list[tuple[int, Target]]:
    """After how many answers what is killed: every target once in an order of the dice, then whatever comes."""
    known = (*TARGETS, *HARD) if hard else TARGETS
    targets = dice.sample(known, len(known)) + dice.choices(known, k=max(0, kills - len(known)))
    points = sorted(dice.sample(range(letters // 20, letters * 9 // 10), kills))
    return list(zip(points, targets[:kills], strict=True))


def _roles(county: SmallCounty, letters: int, hub_url: str, folder: Path) -> Iterator[tuple[str, Role]]:
    in_batches = round(letters * IN_BATCHES)
    for name, kind, party, share in (
        ("school", "batches", county.school, in_batches),
        ("other-school", "singles", county.other_school, letters - in_batches),
        ("authority", "recipient", county.authority, 0),
        ("warehouse", "recipient", county.warehouse, 0),
    ):
        key_file = folder / name / "key.pem"
        yield (
            name,
            Role(kind=kind, hub_url=hub_url, party=party, end_point="", key_file=key_file, letters=share),  # type: ignore[arg-type]
        )


def _rows(file: Path, table: str) -> int:
    """How many rows a table has that nothing is ever deleted from; counting them all would take longer and longer."""
    return _number(file, f"SELECT coalesce(max(rowid), 0) FROM {table}")


def _number(file: Path, sql: str) -> int:
    """What a client has written down, read beside it; 0 before it has begun."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
            return int(connection.execute(sql).fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def _one(database: psycopg.Connection[tuple[object, ...]], sql: str) -> bool:
    row = database.execute(sql).fetchone()
    return bool(row and row[0])
