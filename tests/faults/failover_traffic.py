"""Clients of two hub processes: they send, collect, settle, take reports, watch the ledger, and come back by themselves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from commonroom.engines.database import connect
from commonroom.exchange import Client, Receipt, Unreachable, read_report
from commonroom.hub.ledger_check import verify_database
from commonroom.hub.ledger_form import SignedHead
from commonroom.settings import Settings
from tests.hub_server import HubProcess, SmallCounty, enrolled_client, message, publish_small_county
from tests.waiting import until_async

SENDERS = 4
PATIENCE = 60.0
PAUSE = 0.05

_MESSAGES = "SELECT ce_id, id::text, position FROM hub.message"
_DELIVERIES = """
SELECT m.ce_id, d.recipient, d.state, d.sequence
FROM hub.delivery d JOIN hub.message m ON m.position = d.message
"""
_COVERED = "SELECT (SELECT count(*) FROM hub.ledger_entry) = (SELECT max(size) FROM hub.ledger_head)"
_HEADS = "SELECT size, root, signature FROM hub.ledger_head"


class Traffic:
    """What was sent, answered, loaded, told and shown."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.bodies: dict[str, bytes] = {}  # by ce-id: everything that was ever tried
        self.receipts: dict[str, set[tuple[str, int]]] = {}
        self.loaded: dict[tuple[str, str], set[bytes]] = {}  # by ce-id and recipient
        self.told: dict[tuple[str, str], set[tuple[str, str]]] = {}  # to them, report and state
        self.heads: dict[int, SignedHead] = {}
        self.in_flight = 0
        self.sending = self.running = True

    @property
    def answered(self) -> int:
        """Messages that were answered 202."""
        return len(self.receipts)

    async def until_answered(self, more: int) -> None:
        """Wait until so many more messages have been answered."""
        goal = self.answered + more

        async def reached() -> bool:
            return self.answered >= goal

        await until_async(reached, PATIENCE, f"{more} more messages being answered")

    async def send(self, client: Client, county: SmallCounty) -> None:
        """One small group after the other, each until all of it is accepted."""
        while self.sending:
            group = [message(county, self.chance.randbytes(500)) for _ in range(self.chance.randint(1, 10))]
            self.bodies |= {envelope.id: body for envelope, body in group}
            while group:
                self.in_flight += len(group)
                async with _patience():
                    for result in await client.post_batch(group):
                        assert isinstance(result, Receipt)
                        self.receipts.setdefault(result.id, set()).add((result.message, result.position))
                self.in_flight -= len(group)
                group = [one for one in group if one[0].id not in self.receipts]

    async def receive(self, client: Client, party: str) -> None:
        """Collect and settle, refusing some; what was lost on the way comes again."""
        while self.running:
            async with _patience():
                letters = await client.pull(50, 1, "letters")
                for letter in letters:
                    self.loaded.setdefault((letter.envelope.id, party), set()).add(letter.body)
                refused = [letter.delivery for letter in letters if self.chance.random() < 0.1]
                taken = [letter.delivery for letter in letters if letter.delivery not in refused]
                if taken:
                    await client.acknowledge(taken)
                if refused:
                    await client.refuse(refused, "By chance.")

    async def listen(self, client: Client) -> None:
        """Take reports."""
        while self.running:
            async with _patience():
                letters = await client.pull(100, 1, "reports")
                for letter, report in ((letter, read_report(letter.body)) for letter in letters):
                    told = self.told.setdefault((report.id, report.recipient), set())
                    told.add((letter.delivery, report.state))
                if letters:
                    await client.acknowledge([letter.delivery for letter in letters])

    async def witness(self, hub_url: str) -> None:
        """Keep every signed head that the hub shows to the world."""
        async with httpx2.AsyncClient(base_url=hub_url) as http:
            while self.running:
                answer = await http.get("/ledger/head")
                if answer.status_code == 200:
                    head = msgspec.json.decode(answer.content, type=SignedHead)
                    assert self.heads.setdefault(head.size, head) == head
                await asyncio.sleep(4 * PAUSE)

    async def finish(self, settings: Settings) -> None:
        """Send no more, wait until every story has been told to its end, and check everything."""
        self.sending = False

        async def all_told() -> bool:
            return self.answered == len(self.bodies) and len(self.told) == 2 * len(self.bodies)

        await until_async(all_told, PATIENCE, "the end of every story being told")
        connection = await connect(settings)

        async def covered() -> bool:
            return bool(await connection.fetchval(_COVERED))

        await until_async(covered, PATIENCE, "a signed head covering the whole ledger")
        self.running = False
        await self._check(connection)
        await connection.close()

    async def _check(self, connection: Any) -> None:
        stored = {row["ce_id"]: {(row["id"], row["position"])} for row in await connection.fetch(_MESSAGES)}
        assert stored == self.receipts, "each message once, where each of its receipts says"
        assert self.receipts.keys() == self.bodies.keys()
        assert all(bodies == {self.bodies[ce_id]} for (ce_id, _), bodies in self.loaded.items())
        rows = await connection.fetch(_DELIVERIES)
        assert len(rows) == 2 * len(self.bodies)
        ends = {(row["ce_id"], row["recipient"]): row["state"] for row in rows}
        assert {key: [state for _, state in told] for key, told in self.told.items()} == {
            key: [state] for key, state in ends.items()
        }, "one report of each end, which says what the hub has"
        assert self.loaded.keys() == ends.keys()
        for party in {row["recipient"] for row in rows}:
            numbers = sorted(row["sequence"] for row in rows if row["recipient"] == party)
            assert numbers == list(range(1, len(self.bodies) + 1))
        heads = {row["size"]: row for row in await connection.fetch(_HEADS)}
        for size, head in self.heads.items():
            assert (heads[size]["root"].hex(), heads[size]["signature"].hex()) == (head.root, head.signature)
        verdict = await verify_database(connection)
        assert (verdict.faults, verdict.entries > len(self.bodies)) == ([], True)


@asynccontextmanager
async def traffic(
    settings: Settings, hubs: tuple[HubProcess, HubProcess], folder: Path, seed: int
) -> AsyncIterator[Traffic]:
    """Senders, recipients and their reports, spread over both hubs, until the context ends."""
    running = Traffic(seed)
    urls = [hub.url for hub in hubs]
    connection = await connect(settings)
    county = await publish_small_county(connection, folder)
    async with AsyncExitStack() as stack:

        async def client(party: str, number: int) -> Client:
            enrolled = await enrolled_client(connection, urls[number % 2], party, folder)
            return await stack.enter_async_context(enrolled)

        senders = [await client(county.school, number) for number in range(SENDERS)]
        recipients = [(await client(party, n), party) for n, party in enumerate(county_recipients(county))]
        await connection.close()
        async with asyncio.TaskGroup() as tasks:
            for sender in senders:
                tasks.create_task(running.send(sender, county))
                tasks.create_task(running.listen(sender))
            for recipient, party in recipients:
                tasks.create_task(running.receive(recipient, party))
            for url in urls:
                tasks.create_task(running.witness(url))
            yield running
            running.sending = running.running = False


def county_recipients(county: SmallCounty) -> tuple[str, str]:
    """To whom the school's messages go."""
    return county.authority, county.warehouse


@asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    """What fails because the hub or its database is away is tried again a little later."""
    try:
        yield
    except Unreachable:
        await asyncio.sleep(PAUSE)
