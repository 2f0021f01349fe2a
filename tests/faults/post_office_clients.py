"""The clients of the post office's trial, each a process of its own with a durable memory of its own.

`python -m tests.faults.post_office_clients FOLDER` is the client that FOLDER/role.json describes, until it is killed. A
sender works off the agent's outbox and writes down every answer and every report; a recipient writes down what it was
handed and its one effect, and acknowledges after. Started again in the same folder a client goes on where it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import random
import sqlite3
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from commonroom.agent import outbox
from commonroom.agent.letters import Letter as OutboxLetter
from commonroom.agent.memory import Memory
from commonroom.agent.post import envelope as outside_of
from commonroom.agent.post import post_waiting
from commonroom.exchange import Client, Envelope, Letter, Receipt, Refusal, Unreachable, read_report
from commonroom.ids import uuid7
from commonroom.problems import Problem

TYPE = "commonroom.attendance_mark.changed"
REFUSED_SHARE = 0.05
REASON = "Turned away by the trial's dice."
SINGLES_AT_ONCE = 16
LETTERS_AT_ONCE = 100
MOST_BYTES = 4_000_000
PAUSE = 0.1

ROLE, MEMORY, ANSWERS, STORE, HANDS = "role.json", "memory.sqlite", "answers.sqlite", "store.sqlite", "hands"

ANSWERS_SCHEMA = """
CREATE TABLE IF NOT EXISTS answer (
    ce_id TEXT NOT NULL, message TEXT NOT NULL, position INTEGER, repeated INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS report (
    delivery TEXT NOT NULL, ce_id TEXT NOT NULL, recipient TEXT NOT NULL, state TEXT NOT NULL
);
"""
STORE_SCHEMA = """
CREATE TABLE IF NOT EXISTS arrival (
    delivery TEXT NOT NULL, source TEXT NOT NULL, ce_id TEXT NOT NULL, position INTEGER NOT NULL,
    sequence INTEGER, attempt INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS inbox (source TEXT, ce_id TEXT, PRIMARY KEY (source, ce_id)) WITHOUT ROWID;
-- Nothing here keeps a second effect out: that is the recipient's own doing, by its inbox.
CREATE TABLE IF NOT EXISTS effect (
    source TEXT NOT NULL, ce_id TEXT NOT NULL, digest BLOB NOT NULL, state TEXT NOT NULL
);
"""
NOTE_ANSWER = "INSERT INTO answer VALUES (?, ?, ?, ?)"
NOTE_REPORT = "INSERT INTO report VALUES (?, ?, ?, ?)"
NOTE_ARRIVAL = "INSERT INTO arrival VALUES (?, ?, ?, ?, ?, ?)"
NOTE_INBOX = "INSERT INTO inbox VALUES (?, ?) ON CONFLICT DO NOTHING"
NOTE_EFFECT = "INSERT INTO effect VALUES (?, ?, ?, ?)"


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """Who a client is and what it has to do."""

    kind: Literal["batches", "singles", "recipient"]
    hub_url: str
    party: str
    end_point: str
    key_file: Path
    letters: int = 0  # a sender's


def body_of(ce_id: str) -> bytes:
    """The body of this letter: whoever knows the id can tell whether it is the right one."""
    dice = random.Random(ce_id)
    return dice.randbytes(dice.randrange(200, 1_600))


def ending(recipient: str, ce_id: str) -> str:
    """What this recipient does with this letter, however often it comes."""
    refused = random.Random(f"{recipient} {ce_id}").random() < REFUSED_SHARE
    return "refused" if refused else "acknowledged"


class Hands:
    """How many messages a client has in its hands, in a file: the kernel keeps it when the process is killed."""

    def __init__(self, path: Path) -> None:
        path.touch()
        with path.open("r+b") as file:
            file.truncate(8)
            self._map = mmap.mmap(file.fileno(), 8)

    @property
    def full_of(self) -> int:
        """How many there are."""
        number: int = struct.unpack("<q", self._map)[0]
        return number

    @full_of.setter
    def full_of(self, number: int) -> None:
        self._map[:] = struct.pack("<q", number)

    @contextmanager
    def holding(self, number: int) -> Iterator[None]:
        """So many more inside the block."""
        self.full_of += number
        try:
            yield
        finally:
            self.full_of -= number


def opened(path: Path, schema: str) -> sqlite3.Connection:
    """A database whose commits a kill -9 of its process does not undo. (Fsync is for power cuts, which are not tried.)"""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(schema)
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


class Correspondent(Client):
    """A client that writes down every receipt before anybody else learns of it."""

    def __init__(self, role: Role, answers: sqlite3.Connection, hands: Hands) -> None:
        super().__init__(role.hub_url, role.key_file, role.end_point)
        self._answers = answers
        self._hands = hands

    async def post(self, envelope: Envelope, body: bytes) -> Receipt:
        with self._hands.holding(1):
            receipt = await super().post(envelope, body)
        self._note([receipt])
        return receipt

    async def post_batch(self, messages: Sequence[tuple[Envelope, bytes]]) -> list[Receipt | Refusal]:
        with self._hands.holding(len(messages)):
            fates = await super().post_batch(messages)
        self._note([fate for fate in fates if isinstance(fate, Receipt)])
        return fates

    def _note(self, receipts: Sequence[Receipt]) -> None:
        rows = [(one.id, one.message, one.position, one.repeated) for one in receipts]
        with transaction(self._answers):
            self._answers.executemany(NOTE_ANSWER, rows)


class Sender:
    """Posts what waits in its outbox, in batches as the agent does or one by one, and takes its reports."""

    def __init__(self, role: Role, folder: Path) -> None:
        self._role = role
        self._memory = Memory.open(folder / MEMORY)
        self._answers = opened(folder / ANSWERS, ANSWERS_SCHEMA)
        self._client = Correspondent(role, self._answers, _empty_hands(folder))
        self._books = ThreadPoolExecutor(1)

    async def run(self) -> None:
        """For ever."""
        self._write_letters()
        post = self._post_batch if self._role.kind == "batches" else self._post_singles
        async with self._client, asyncio.TaskGroup() as tasks:
            tasks.create_task(_for_ever(post))
            tasks.create_task(_for_ever(self._take_reports))

    def _write_letters(self) -> None:
        """All letters into the outbox, in one transaction: a killed sender has written all or none."""
        if self._memory.note("written"):
            return
        made_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._memory.transaction() as connection:
            outbox.put(connection, [_letter(str(uuid7()), made_at) for _ in range(self._role.letters)])
            connection.execute("INSERT INTO note VALUES ('written', 'yes')")

    async def _post_batch(self) -> bool:
        posted = await post_waiting(self._client, self._memory, self._role.party, self._books)
        return posted.accepted > 0

    async def _post_singles(self) -> bool:
        found = outbox.waiting(self._memory, SINGLES_AT_ONCE, MOST_BYTES)
        party = self._role.party
        fates = await asyncio.gather(
            *(self._client.post(outside_of(letter, party), letter.body) for letter in found),
            return_exceptions=True,
        )
        told = list(zip(found, fates, strict=True))
        accepted = [letter.id for letter, fate in told if isinstance(fate, Receipt)]
        refused = [(letter.id, str(fate)) for letter, fate in told if isinstance(fate, Problem)]
        outbox.settle(self._memory, accepted=accepted, refused=refused)
        for fate in fates:
            if isinstance(fate, BaseException) and not isinstance(fate, Problem):
                raise fate
        return bool(found)

    async def _take_reports(self) -> bool:
        letters = await self._client.pull(500, 1, "reports")
        rows = [(letter.delivery, read_report(letter.body)) for letter in letters]
        with transaction(self._answers):
            self._answers.executemany(
                NOTE_REPORT, [(delivery, one.id, one.recipient, one.state) for delivery, one in rows]
            )
        if letters:
            await self._client.acknowledge([letter.delivery for letter in letters])
        return bool(letters)


class Recipient:
    """Takes letters, loads or turns away each by its dice, once, and then says so."""

    def __init__(self, role: Role, folder: Path) -> None:
        self._role = role
        self._store = opened(folder / STORE, STORE_SCHEMA)
        self._hands = _empty_hands(folder)
        self._client = Client(role.hub_url, role.key_file, role.end_point)

    async def run(self) -> None:
        """For ever."""
        async with self._client:
            await _for_ever(self._take)

    async def _take(self) -> bool:
        letters = await self._client.pull(LETTERS_AT_ONCE, 5, "letters")
        with self._hands.holding(len(letters)):
            ends = self._load(letters)
            for state, settle in (
                ("acknowledged", self._client.acknowledge),
                ("refused", partial(self._client.refuse, reason=REASON)),
            ):
                if named := [letter.delivery for letter, end in ends if end == state]:
                    await settle(named)
        return bool(letters)

    def _load(self, letters: Sequence[Letter]) -> list[tuple[Letter, str]]:
        """What was handed out and what became of it, on the disk; the end of each letter."""
        ends = [(letter, ending(self._role.party, letter.envelope.id)) for letter in letters]
        with transaction(self._store):
            for letter, end in ends:
                name = (letter.envelope.source, letter.envelope.id)
                row = (letter.delivery, *name, letter.position, letter.sequence, letter.attempt)
                self._store.execute(NOTE_ARRIVAL, row)
                if self._store.execute(NOTE_INBOX, name).rowcount:
                    self._store.execute(NOTE_EFFECT, (*name, hashlib.sha256(letter.body).digest(), end))
        return ends


def _letter(ce_id: str, made_at: str) -> OutboxLetter:
    return OutboxLetter(
        id=ce_id,
        type=TYPE,
        dataschema="urn:commonroom:standard:2026.1",
        datacontenttype="application/octet-stream",
        made_at=made_at,
        records=1,
        body=body_of(ce_id),
    )


def _empty_hands(folder: Path) -> Hands:
    """Those of a process that has just begun."""
    hands = Hands(folder / HANDS)
    hands.full_of = 0
    return hands


async def _for_ever(step: Callable[[], Awaitable[bool]]) -> None:
    """Again and again; after a while when the hub is away or there was nothing to do."""
    while True:
        try:
            if await step():
                continue
        except Unreachable as error:
            print(error, file=sys.stderr)
        await asyncio.sleep(PAUSE)


def main(folder: Path) -> None:
    """Be the client of this folder."""
    role = msgspec.json.decode((folder / ROLE).read_bytes(), type=Role, dec_hook=_decode)
    client: Any = Recipient(role, folder) if role.kind == "recipient" else Sender(role, folder)
    asyncio.run(client.run())


def _decode(kind: type, value: Any) -> Any:
    return Path(value) if kind is Path else value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
