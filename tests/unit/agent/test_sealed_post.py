"""What an agent sends goes encrypted, and what it loads is looked at for its sender's signature, when it is set up so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest

from commonroom.agent import Config, Memory, outbox
from commonroom.agent.enrolment import remembered_or_new
from commonroom.agent.post import Posted, _sealed, message, post_waiting
from commonroom.agent.runner import Agent, Shared
from commonroom.exchange import Client, Letter, decode, make_http_client
from commonroom.exchange.sealing import SEALED_TYPE
from commonroom.hub.bodies import open_body
from commonroom.hub.master_keys import MasterKeys
from commonroom.settings import Settings
from tests.hub_server import SmallCounty, enrolled_client, hub_here, publish_small_county
from tests.unit.agent.hub_side import ACCEPTED, MOVEMENTS, code_for
from tests.unit.agent.school_system import SchoolSystem, upn
from tests.unit.agent.store_system import StoreSystem
from tests.waiting import until_async


class Desk(msgspec.Struct, frozen=True):
    """A school whose agent encrypts, and those it sends to."""

    school: SchoolSystem
    memory: Memory
    client: Client
    county: SmallCounty
    authority: Client
    warehouse: Client
    pool: asyncpg.Pool
    settings: Settings
    books: ThreadPoolExecutor

    async def post_all(self) -> dict[str, int]:
        """Post until there is nothing to post now; what then waits and is refused."""
        while await self._post() != Posted():
            pass
        return outbox.counts(self.memory)

    async def _post(self) -> Posted:
        return await post_waiting(self.client, self.memory, self.county.school, self.books, encrypt=True)


@pytest.fixture
async def desk(settings: Settings, pool: asyncpg.Pool, tmp_path: Path) -> AsyncIterator[Desk]:
    async with hub_here(settings) as served:
        async with pool.acquire() as connection:
            county = await publish_small_county(connection, tmp_path, MOVEMENTS)
            code = await code_for(connection, county.school)
            authority = await enrolled_client(connection, served.hub_url, county.authority, tmp_path)
            warehouse = await enrolled_client(connection, served.hub_url, county.warehouse, tmp_path)
        school = SchoolSystem(tmp_path / "school", hub=served.hub_url, code=code)
        school.add_pupils(1)
        school.look()
        memory = school.memory()
        enrolment = await remembered_or_new(school.config, memory)
        async with authority, warehouse:
            await authority.publish_encryption_key()
            async with Client(served.hub_url, school.config.key_file, enrolment.end_point) as client:
                with ThreadPoolExecutor(2) as books:
                    yield Desk(school, memory, client, county, authority, warehouse, pool, settings, books)
        memory.close()


def _tells_of(letters: list[Letter], what: str) -> bool:
    return any(what in str(decode(letter.body, letter.envelope.datacontenttype or "")) for letter in letters)


async def test_what_an_agent_sends_is_read_by_its_recipients_alone_and_never_goes_plain(desk: Desk) -> None:
    # One recipient has no key yet: the letters wait, and say why.
    assert await desk.post_all() == {"waiting": 2, "refused": 0}
    assert all("CR-159" in (line.problem or "") for line in outbox.listed(desk.memory))
    assert await desk.pool.fetch(ACCEPTED) == []
    await desk.warehouse.publish_encryption_key()
    outbox.send_again(desk.memory)
    assert await desk.post_all() == {"waiting": 0, "refused": 0}
    rows = await desk.pool.fetch(ACCEPTED)
    assert [row["envelope"]["datacontenttype"] for row in rows] == [SEALED_TYPE] * 2
    stored = [open_body(MasterKeys(desk.settings), row) or b"" for row in rows]
    assert all(b"ciphertext" in body and upn(1).encode() not in body for body in stored)
    for client in (desk.authority, desk.warehouse):
        letters = await client.pull()
        assert len(letters) == 2
        assert _tells_of(letters, upn(1))


async def test_an_encrypted_letter_posted_again_after_a_lost_answer_is_the_same(desk: Desk) -> None:
    await desk.warehouse.publish_encryption_key()
    found = outbox.waiting(desk.memory, 10, 1_000_000)
    ready, unsealed = await _sealed(desk.client, desk.memory, desk.county.school, desk.books, found)
    assert unsealed == []
    # The hub takes them and the answer is lost: nothing of it is written down.
    await desk.client.post_batch([message(letter, desk.county.school) for letter in ready])
    assert await desk.post_all() == {"waiting": 0, "refused": 0}
    assert len(await desk.pool.fetch(ACCEPTED)) == len(found) == 2


ENDS = """
SELECT d.message, d.state, d.reason FROM hub.delivery d
WHERE d.recipient = $1 AND d.message = ANY($2::bigint[]) AND d.finished_at IS NOT NULL
ORDER BY d.message
"""


@pytest.mark.parametrize(
    ("verify", "ends"),
    [
        ("required", ["acknowledged", "refused", "refused"]),
        ("when_signed", ["acknowledged", "acknowledged", "refused"]),
        (None, ["acknowledged", "acknowledged", "acknowledged"]),
    ],
)
async def test_an_agent_loads_what_is_signed_as_it_was_told_to_ask(
    desk: Desk, tmp_path: Path, verify: str | None, ends: list[str]
) -> None:
    """Of three letters one loses its signature in the hub's database, and one gets a word that nobody signed."""
    for serial in (2, 3):
        desk.school.add_pupils(serial)
        desk.school.look()
    while await post_waiting(desk.client, desk.memory, desk.county.school, desk.books) != Posted():
        pass
    async with desk.pool.acquire() as connection:
        rows = await connection.fetch(
            "SELECT position FROM hub.message WHERE type = 'commonroom.learner.changed' ORDER BY position"
        )
        letters = [row["position"] for row in rows]
        _, unsigned, altered = letters
        strip = "UPDATE hub.message SET envelope = envelope - 'signature' WHERE position = $1"
        await connection.execute(strip, unsigned)
        add = 'UPDATE hub.message SET envelope = envelope || \'{"subject": "x"}\' WHERE position = $1'
        await connection.execute(add, altered)
        code = await code_for(connection, desk.county.authority)
    store = StoreSystem(tmp_path / "authority", hub=desk.client.hub_url, code=code)
    if verify is not None:
        with store.config_file.open("a", encoding="utf-8") as file:
            file.write(f"verify: {verify}\n")

    async def ended() -> bool:
        return len(await desk.pool.fetch(ENDS, desk.county.authority, letters)) == len(letters)

    async with _running(store.config):
        await until_async(ended, 30, "an end of each letter at the authority")
    found = await desk.pool.fetch(ENDS, desk.county.authority, letters)
    assert [row["state"] for row in found] == ends
    assert all("ignature" in row["reason"] for row in found if row["state"] == "refused")
    assert store.rows("SELECT count(*) FROM child") == [(ends.count("acknowledged"),)]


@asynccontextmanager
async def _running(config: Config) -> AsyncIterator[None]:
    """An agent of this configuration, running while the context lasts."""
    stop, http = asyncio.Event(), make_http_client(10)
    with ThreadPoolExecutor(1) as looks, ThreadPoolExecutor(1) as books:
        task = asyncio.create_task(Agent(config, Shared(http, looks, books, stop)).run())
        try:
            yield
        finally:
            stop.set()
            await task
            await http.aclose()


def test_what_an_agent_may_be_set_up_to_do(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    assert (school.config.encrypt, school.config.verify) == (None, None)
    with school.config_file.open("a", encoding="utf-8") as file:
        file.write("encrypt: end-to-end\nverify: when_signed\n")
    assert (school.config.encrypt, school.config.verify) == ("end-to-end", "when_signed")
