"""The whole way through a real hub: an authority uploads, its own end point posts, the Department takes or refuses."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom import exchange, returns, standard
from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.mutators import Mutators
from commonroom.collections.session import Session
from commonroom.collections.xml_out import write_tables
from commonroom.hub import Alias, Party, load_movements, publish
from commonroom.hub.own_end_points import own_end_point
from commonroom.ids import alias_urn, org_urn, uuid7
from commonroom.problems import Problem
from commonroom.returns import (
    checking,
    content,
    freeze,
    local_rules,
    parties,
    posting,
    steps,
    store,
    taking,
    telling,
)
from commonroom.returns.parties import Actor
from commonroom.settings import Settings
from tests.hub_server import assure_everybody, enrolled_client, hub_here
from tests.returns_world import COLLECTOR

MOVEMENT = """
movements:
  - id: children-return
    title: Returns
    from: {kind: local authority}
    to: ["urn:commonroom:alias:platform:department"]
    types: [commonroom.children-return.sent]
    purpose: Test
    legal_basis: Invented
    content: Children
    frequency: {how: on_change}
    classification: restricted
    retention_days: "30"
    active_from: 2020-01-01
"""


class Desk(msgspec.Struct, frozen=True):
    settings: Settings
    connection: Any
    authority: str
    folder: Path

    @property
    def actor(self) -> Actor:
        return Actor(who="somebody of the authority", party=self.authority)

    async def load(self, records: Any) -> store.Return:
        """A version of these records, the way that an upload goes."""
        found = await store.one(self.connection, "cin", 2026, self.authority)
        ruleset = await local_rules.ruleset_of(self.settings, self.connection, found)
        checked = checking.check_tables(self.settings, ruleset, records)
        fate = await posting.at_start(self.connection, found, self.actor, ruleset.load())
        return await steps.add_version(
            self.connection, found, self.actor, checked, steps.Source(kind="file"), revision=None, fate=fate
        )

    @asynccontextmanager
    async def department(self) -> AsyncIterator[exchange.Client]:
        me = await own_end_point(self.settings, self.connection, "returns", parties.DEPARTMENT)
        async with exchange.Client(self.settings.hub_url, me.key_file, me.end_point, verify=True) as client:
            yield client

    async def taken(self) -> int:
        async with self.department() as client:
            return await taking.take_letters(self.settings, self.connection, client)


@pytest.fixture
async def at_the_desk(settings: Settings, pool: Any, tmp_path: Path) -> AsyncIterator[Desk]:
    async with hub_here(settings) as served, pool.acquire() as connection:
        authority, department = org_urn(uuid7()), org_urn(uuid7())
        await publish(
            connection,
            [
                Party(authority, "Westmarch", ("local authority",)),
                Party(department, "The Department", ("department",)),
            ],
            [Alias(alias_urn("la", "823"), authority), Alias(parties.DEPARTMENT, department)],
            [],
        )
        await assure_everybody(connection)
        (tmp_path / "movements.yaml").write_text(MOVEMENT, "utf-8")
        await load_movements(connection, tmp_path / "movements.yaml")
        await returns.open_collection(connection, "cin", 2026)
        yield Desk(served, connection, authority, tmp_path)


def valid() -> Any:
    return Mutators(Engine(loader.load("cin", 2026))).valid_return()


def valid_but_for_a_name() -> Any:
    other = valid()
    other["Child"][0]["ChildIdentifiers"][0]["LAchildID"] = "ANOTHER1"
    return other


async def test_from_the_authoritys_file_to_the_frozen_return(at_the_desk: Desk) -> None:
    world = at_the_desk
    path = world.folder / "cin.xml"
    with Session(Engine(loader.load("cin", 2026))) as session:
        session.load_records(valid())
        with path.open("wb") as out:
            write_tables(session.tables, out.write)
    found = await store.one(world.connection, "cin", 2026, world.authority)
    done = await returns.upload(world.settings, world.connection, world.actor, found, path)
    assert (await store.version(world.connection, done)).told == "waiting"
    assert await posting.post_waiting(world.settings, world.connection) == 1
    assert (await store.version(world.connection, done)).told == "posted"
    assert await world.taken() == 1
    version = await store.version(world.connection, done)
    assert (version.told, version.told_reason) == ("taken", "")
    (part,) = (world.settings.folder(taking.FOLDER) / str(version.message)).iterdir()
    kept = exchange.decode(part.read_bytes(), exchange.RECORDS_ZSTD_TYPE)
    assert len(kept.records["child"]) == version.records
    for step, actor in (("submit", world.actor), ("approve", world.actor), ("authorise", COLLECTOR)):
        done = await returns.take(world.connection, world.settings, done, actor, step)
    assert done.state == "authorised"
    assert (await freeze.prove(world.settings, world.connection, done)).content == version.content


async def test_what_the_centre_does_not_have_cannot_be_authorised(at_the_desk: Desk) -> None:
    world = at_the_desk
    done = await world.load(valid())
    for step in ("submit", "approve"):
        done = await returns.take(world.connection, world.settings, done, world.actor, step)
    with pytest.raises(Problem) as early:
        await returns.take(world.connection, world.settings, done, COLLECTOR, "authorise")
    assert early.value.extra["missing"] == ["the centre has not taken in all of its records yet"]
    await posting.post_waiting(world.settings, world.connection)
    await world.taken()
    assert (
        await returns.take(world.connection, world.settings, done, COLLECTOR, "authorise")
    ).state == "authorised"


async def test_posting_again_after_a_kill_changes_nothing(at_the_desk: Desk) -> None:
    world = at_the_desk
    done = await world.load(valid())
    assert await posting.post_waiting(world.settings, world.connection) == 1
    # Killed after the hub had it and before we had written so.
    await world.connection.execute("UPDATE returns.version SET told = 'waiting'")
    assert await posting.post_waiting(world.settings, world.connection) == 1
    assert await world.taken() == 1
    assert (await store.version(world.connection, done)).told == "taken"


async def test_a_return_in_several_parts_is_taken_when_all_are_there(
    at_the_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = at_the_desk
    monkeypatch.setattr(telling, "RECORDS_A_PART", 2)
    done = await world.load(valid())
    await posting.post_waiting(world.settings, world.connection)
    monkeypatch.setattr(taking, "LETTERS_A_PULL", 1)
    parts = -(-(await store.version(world.connection, done)).records // 2)
    assert parts > 2
    for place in range(parts):
        assert (await store.version(world.connection, done)).told == "posted", place
        assert await world.taken() == 1
    assert (await store.version(world.connection, done)).told == "taken"


async def test_what_cannot_be_told_is_said_and_nothing_is_posted(at_the_desk: Desk) -> None:
    world = at_the_desk
    twice = valid()
    twice["Child"] = [*twice["Child"], twice["Child"][0]]
    done = await world.load(twice)
    assert await posting.post_waiting(world.settings, world.connection) == 0
    version = await store.version(world.connection, done)
    assert version.told == "refused"
    assert version.told_reason == "Child[12] and Child[1] have the same key"
    assert await world.taken() == 0


async def test_the_centre_refuses_what_is_no_record_of_the_standard(at_the_desk: Desk) -> None:
    world = at_the_desk
    done = await world.load(valid())
    version = await store.version(world.connection, done)
    client = await enrolled_client(world.connection, world.settings.hub_url, world.authority, world.folder)
    good = {"la": "823", "child": "A1", "version": 1, "valid_from": "2025-04-01"}
    cases: dict[str, dict[str, list[dict[str, Any]]]] = {
        "nothing else": {"learner": [{"school": "990001"}]},
        "standard-item-unknown": {"child": [{**good, "hobby": "x"}]},
        "speak for everybody": {"child": [{**good, "la": "825"}]},
    }
    async with client:
        for said, records in cases.items():
            envelope = exchange.Envelope(
                id=str(uuid7()), source=world.authority, type="commonroom.children-return.sent",
                dataschema=f"urn:commonroom:standard:{standard.load().version}",
                datacontenttype=exchange.RECORDS_TYPE, correlationid=str(version.message), sequence="1/1",
            )  # fmt: skip
            body = exchange.encode(exchange.RecordSet(standard=standard.load().version, records=records))
            await client.post(envelope, body)
            assert await world.taken() == 1
            now = await store.version(world.connection, done)
            assert (now.told, said in now.told_reason) == ("refused", True), now.told_reason
            # The sender is told by the hub as well.
            (letter,) = await client.pull(10, 5, "reports")
            report = exchange.read_report(letter.body)
            assert (report.state, said in (report.reason or "")) == ("refused", True)
            await client.acknowledge([letter.delivery])
        stray = exchange.Envelope(
            id=str(uuid7()), source=world.authority, type="commonroom.children-return.sent",
            datacontenttype=exchange.RECORDS_TYPE,
        )  # fmt: skip
        await client.post(stray, b"{}")
        assert await world.taken() == 1
    assert await world.connection.fetchval("SELECT count(*) FROM returns.part") == 0


async def test_a_version_that_cannot_be_opened_keeps_nobody_else_waiting(at_the_desk: Desk) -> None:
    world = at_the_desk
    done = await world.load(valid())
    lost = (await store.version(world.connection, done)).content
    folder = world.settings.folder(content.FOLDER) / lost
    away = folder.rename(world.folder / "away")
    later = await world.load(valid_but_for_a_name())
    assert await posting.post_waiting(world.settings, world.connection) == 1
    assert (await store.version(world.connection, later)).told == "posted"
    first = next(one for one in await store.versions(world.connection, later) if one.number == done.version)
    assert (first.told, first.told_reason.split(":")[0]) == ("waiting", "it cannot be posted now")
    assert "CR-203" in first.told_reason
    # A file of it that is no file of ours; then all is in its place again.
    folder.mkdir()
    (folder / "Child.parquet").write_bytes(b"spoilt")
    assert await posting.post_waiting(world.settings, world.connection) == 0
    shutil.rmtree(folder)
    away.rename(folder)
    assert await posting.post_waiting(world.settings, world.connection) == 1
    assert await world.taken() == 2


async def test_a_version_that_is_taken_is_changed_by_no_letter(at_the_desk: Desk) -> None:
    world = at_the_desk
    done = await world.load(valid())
    await posting.post_waiting(world.settings, world.connection)
    await world.taken()
    version = await store.version(world.connection, done)
    (part,) = (world.settings.folder(taking.FOLDER) / str(version.message)).iterdir()
    kept = part.read_bytes()
    client = await enrolled_client(world.connection, world.settings.hub_url, world.authority, world.folder)
    good = {"la": "823", "child": "A1", "version": 1, "valid_from": "2025-04-01"}
    async with client:
        # Other records for the part that is there, another part, and one that is no record at all.
        for sequence, record in (("1/1", good), ("2/2", good), ("1/1", {**good, "hobby": "x"})):
            await client.post(*children(world, version.message, [record], sequence))
            assert await world.taken() == 1
            now = await store.version(world.connection, done)
            assert (now.told, now.told_reason, part.read_bytes()) == ("taken", "", kept)
            assert list(part.parent.iterdir()) == [part]
            (letter,) = await client.pull(10, 5, "reports")
            report = exchange.read_report(letter.body)
            assert (report.state, report.reason) == ("refused", taking.CLOSED)
            await client.acknowledge([letter.delivery])
    for step, actor in (("submit", world.actor), ("approve", world.actor), ("authorise", COLLECTOR)):
        done = await returns.take(world.connection, world.settings, done, actor, step)
    assert done.state == "authorised"


async def test_a_part_that_is_there_is_not_written_over_and_comes_once_more_without_harm(
    at_the_desk: Desk,
) -> None:
    world = at_the_desk
    done = await world.load(valid())
    message = (await store.version(world.connection, done)).message
    client = await enrolled_client(world.connection, world.settings.hub_url, world.authority, world.folder)
    good = {"la": "823", "child": "A1", "version": 1, "valid_from": "2025-04-01"}
    first = children(world, message, [good], "1/2")
    async with client, world.department() as department:
        await client.post(*first)
        (letter,) = await department.pull(1, 5, bodies=exchange.LARGEST)
        # Killed after the part was written and before the hub heard so: the same letter is there again.
        for _ in range(2):
            assert await taking._taken(world.settings, world.connection, letter) is None
        await department.acknowledge([letter.delivery])
        part = world.settings.folder(taking.FOLDER) / str(message) / "1.json.zst"
        kept = part.read_bytes()
        await client.post(*children(world, message, [{**good, "child": "A2"}], "1/2"))
        assert await world.taken() == 1
        assert part.read_bytes() == kept
        assert (await store.version(world.connection, done)).told == "waiting"
        await client.post(*children(world, message, [{**good, "child": "A2"}], "2/2"))
        assert await world.taken() == 1
    assert (await store.version(world.connection, done)).told == "taken"


def children(
    world: Desk, message: Any, records: list[dict[str, Any]], sequence: str
) -> tuple[exchange.Envelope, bytes]:
    """A letter of the authority that says it is a part of the return of this message."""
    envelope = exchange.Envelope(
        id=str(uuid7()), source=world.authority, type="commonroom.children-return.sent",
        dataschema=f"urn:commonroom:standard:{standard.load().version}",
        datacontenttype=exchange.RECORDS_TYPE, correlationid=str(message), sequence=sequence,
    )  # fmt: skip
    return envelope, exchange.encode(
        exchange.RecordSet(standard=standard.load().version, records={"child": records})
    )
