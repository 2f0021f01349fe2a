"""What becomes of letters: accepted, refused with a reason, split, or kept until the hub is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import msgspec
import pytest

from commonroom.agent import Memory, outbox, status
from commonroom.agent.enrolment import remembered_or_new
from commonroom.agent.post import Posted, post_waiting
from commonroom.exchange import Client, Unreachable, keys
from commonroom.settings import Settings
from tests.hub_server import hub_here, publish_small_county
from tests.unit.agent.hub_side import MOVEMENTS, accepted, code_for
from tests.unit.agent.school_system import Receiver, SchoolSystem, upn


class Desk(msgspec.Struct, frozen=True):
    """A school with an enrolled agent and the hub it posts to."""

    school: SchoolSystem
    memory: Memory
    client: Client
    party: str
    pool: asyncpg.Pool
    settings: Settings
    books: ThreadPoolExecutor

    async def post_all(self) -> dict[str, int]:
        """Post until there is nothing to post now; what then waits and is refused."""
        while await post_waiting(self.client, self.memory, self.party, self.books) != Posted():
            pass
        return outbox.counts(self.memory)


@pytest.fixture
def limit() -> int:
    """The largest body the hub takes."""
    return 1_048_576


@pytest.fixture
async def desk(settings: Settings, pool: asyncpg.Pool, tmp_path: Path, limit: int) -> AsyncIterator[Desk]:
    async with pool.acquire() as connection:
        county = await publish_small_county(connection, tmp_path, MOVEMENTS)
        code = await code_for(connection, county.school)
    async with hub_here(msgspec.structs.replace(settings, max_body_bytes=limit)) as served:
        school = SchoolSystem(tmp_path / "school", hub=served.hub_url, code=code)
        memory = school.memory()
        enrolment = await remembered_or_new(school.config, memory)
        async with Client(served.hub_url, school.config.key_file, enrolment.end_point) as client:
            with ThreadPoolExecutor(2) as books:
                yield Desk(school, memory, client, enrolment.party, pool, settings, books)
        memory.close()


async def test_what_a_look_finds_arrives_and_the_letter_says_what_it_is(desk: Desk) -> None:
    desk.school.add_pupils(1)
    desk.school.look()
    assert await desk.post_all() == {"waiting": 0, "refused": 0}
    learner, enrolment = await accepted(desk.pool, desk.settings)
    assert (learner.type, enrolment.type) == ("commonroom.learner.changed", "commonroom.enrolment.changed")
    assert learner.envelope["dataschema"] == "urn:commonroom:standard:2026.1"
    assert learner.envelope["dataclassification"] == "confidential"
    assert learner.envelope["source"] == desk.party
    assert learner.envelope["bodydigest"].startswith("sha-256=:")
    assert upn(1) not in str(learner.envelope)


async def test_posting_twice_after_a_lost_answer_doubles_nothing(desk: Desk) -> None:
    desk.school.add_pupils(1)
    desk.school.look()
    found = outbox.waiting(desk.memory, 10, 1_000_000)
    await desk.post_all()
    with desk.memory.transaction() as connection:
        connection.execute("DELETE FROM outbox")
        outbox.put(connection, found)
    assert await desk.post_all() == {"waiting": 0, "refused": 0}
    assert len(await accepted(desk.pool, desk.settings)) == len(found)


async def test_a_refused_letter_stays_with_the_reason_and_holds_up_nothing(desk: Desk) -> None:
    desk.school.add_pupils(1, 2)
    desk.school.look()
    # The agreement lets nothing confidential travel: nobody but the governance group can mend that.
    await desk.pool.execute("UPDATE hub.movement SET classification = 'public' WHERE id = 'transfers'")
    desk.school.do(
        "UPDATE stay SET leaving = '2025-10-24', next_school = '990002' WHERE upn = ?", [(upn(1),)]
    )
    desk.school.look()
    assert await desk.post_all() == {"waiting": 0, "refused": 1}
    (line,) = outbox.listed(desk.memory, "refused")
    assert (line.type, line.recipient) == ("commonroom.transfer.sent", "urn:commonroom:alias:urn:990002")
    assert line.problem
    assert "CR-044" in line.problem
    assert len(await accepted(desk.pool, desk.settings)) == 3


async def test_a_letter_to_a_school_the_hub_does_not_know_waits_and_says_why(desk: Desk) -> None:
    desk.school.add_pupils(1, 2)
    desk.school.do(
        "UPDATE stay SET leaving = '2025-10-24', next_school = '123456' WHERE upn = ?", [(upn(1),)]
    )
    desk.school.look()
    assert await desk.post_all() == {"waiting": 1, "refused": 0}
    (line,) = outbox.listed(desk.memory, "waiting")
    assert (line.type, line.recipient) == ("commonroom.transfer.sent", "urn:commonroom:alias:urn:123456")
    assert line.problem
    assert "CR-041" in line.problem
    assert len(await accepted(desk.pool, desk.settings)) == 2
    desk.school.do("UPDATE stay SET next_school = '990002' WHERE upn = ?", [(upn(1),)])
    desk.school.look()
    assert await desk.post_all() == {"waiting": 1, "refused": 0}
    assert [one.type for one in await accepted(desk.pool, desk.settings)][-1] == "commonroom.transfer.sent"


async def test_letters_without_an_agreement_go_by_themselves_once_it_is_there(desk: Desk) -> None:
    await desk.pool.execute("UPDATE hub.movement SET active_to = '2021-01-01'")
    desk.school.add_pupils(1)
    desk.school.look()
    assert await desk.post_all() == {"waiting": 2, "refused": 0}
    assert status.read(desk.memory, "First School", None, "").outbox_held == 2
    await desk.pool.execute("UPDATE hub.movement SET active_to = NULL")
    async with asyncio.timeout(20):  # the hub learns of changed movements by and by
        while (await desk.post_all())["waiting"]:
            _let_time_pass(desk.memory)
    assert len(await accepted(desk.pool, desk.settings)) == 2
    assert status.read(desk.memory, "First School", None, "").outbox_held == 0


def _let_time_pass(memory: Memory) -> None:
    with memory.transaction() as connection:
        connection.execute("UPDATE outbox SET again_at = 0")


def test_a_letter_held_back_is_tried_again_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    school.look()
    memory = school.memory()
    held, free = outbox.waiting(memory, 10, 1_000_000)
    pauses = []
    for _ in range(9):
        begun = int(time.time())
        outbox.settle(memory, held=[(held.id, "CR-042 not today")])
        assert [letter.id for letter in outbox.waiting(memory, 10, 1_000_000)] == [free.id]
        ((again_at,),) = memory.rows("SELECT again_at FROM outbox WHERE id = ?", (held.id,))
        pauses.append(round((again_at - begun) / 15) * 15)
    assert pauses == [15, 30, 60, 120, 240, 480, 900, 900, 900]
    assert outbox.send_again(memory) == 1
    assert len(outbox.waiting(memory, 10, 1_000_000)) == 2
    memory.close()


@pytest.mark.parametrize("limit", [800])
async def test_a_letter_too_large_for_the_hub_goes_in_parts(desk: Desk) -> None:
    desk.school.add_pupils(*range(1, 200))
    desk.school.look()
    assert await desk.post_all() == {"waiting": 0, "refused": 0}
    messages = await accepted(desk.pool, desk.settings)
    assert len(messages) > 4
    receiver = Receiver()
    for message in messages:
        receiver.receive(message.records)
    assert len(receiver.live("learner")) == 199
    assert len(receiver.live("enrolment")) == 199


async def test_letters_wait_while_the_hub_is_away(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    school.look()
    memory = school.memory()
    keys.load_or_create(school.config.key_file)
    # Nothing listens on the discard port.
    async with Client("http://127.0.0.1:9", school.config.key_file, "nobody") as client:
        with ThreadPoolExecutor(1) as books, pytest.raises(Unreachable):
            await post_waiting(client, memory, "urn:commonroom:org:nobody", books)
    assert outbox.counts(memory) == {"waiting": 2, "refused": 0}
