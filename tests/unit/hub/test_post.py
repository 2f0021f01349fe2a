"""The post: groups share a commit, a bad row fails alone, and a database that is away means "try again"."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec
import pytest

from commonroom.exchange import Envelope, Receipt
from commonroom.hub import post as post_module
from commonroom.hub import storing
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.metrics import Metrics
from commonroom.hub.post import Post, Submission
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import SmallCounty, message, publish_small_county


def submission(county: SmallCounty, body: bytes = b"letter", **changes: Any) -> Submission:
    """What the api hands to the post; changes are not checked, as if the check had a hole."""
    envelope, _ = message(county, body, **changes)
    digest = hashlib.sha256(body).digest()
    return Submission(envelope=envelope, body=body, digest=digest, party=county.school, end_point="e")


class Desk(msgspec.Struct, frozen=True):
    """A post whose writer runs."""

    post: Post
    county: SmallCounty
    pool: Any


@pytest.fixture
async def desk(settings: Settings, pool: Any, tmp_path: Any) -> Any:
    async with pool.acquire() as connection:
        county = await publish_small_county(connection, tmp_path)
    post = Post(settings, Doorbell(settings), Metrics())
    writer = asyncio.create_task(post.run())
    yield Desk(post, county, pool)
    writer.cancel()
    await asyncio.wait([writer])


@pytest.mark.parametrize("bad", ["id", "subject", "type"])
async def test_a_value_the_database_refuses_never_fails_its_neighbours(desk: Desk, bad: str) -> None:
    value = "commonroom.attendance_mark.changed" if bad == "type" else "value"
    group = [submission(desk.county) for _ in range(7)]
    changes: dict[str, Any] = {bad: f"{value}\x00"}
    group[3] = submission(desk.county, **changes)
    group[5] = submission(desk.county, subject="\ud800")
    outcomes = await desk.post.submit(group)
    codes = [outcome.code if isinstance(outcome, Problem) else "stored" for outcome in outcomes]
    # A type with a NUL in it belongs to no movement; the database never sees it.
    expected = "CR-042" if bad == "type" else "CR-052"
    assert codes == ["stored", "stored", "stored", expected, "stored", "CR-052", "stored"]
    assert await desk.pool.fetchval("SELECT count(*) FROM hub.message") == 5


async def test_what_arrives_during_a_commit_shares_the_next_one(desk: Desk) -> None:
    tasks = [asyncio.create_task(desk.post.submit([submission(desk.county)])) for _ in range(50)]
    answers = await asyncio.gather(*tasks)
    assert all(isinstance(answer[0], Receipt) for answer in answers)
    transactions = await desk.pool.fetchval("SELECT count(DISTINCT xmin::text) FROM hub.message")
    assert transactions <= 3


async def test_receipts_come_in_the_order_of_what_was_sent_and_positions_rise(desk: Desk) -> None:
    group = [submission(desk.county) for _ in range(30)]
    outcomes = await desk.post.submit(group)
    receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    assert [receipt.id for receipt in receipts] == [each.envelope.id for each in group]
    positions = [receipt.position for receipt in receipts]
    assert positions == sorted(positions)


async def test_what_stands_twice_in_a_group_is_stored_once(desk: Desk) -> None:
    first, other = submission(desk.county), submission(desk.county)
    changed = msgspec.structs.replace(first, body=b"other", digest=hashlib.sha256(b"other").digest())
    stored, again, conflict, neighbour = await desk.post.submit([first, first, changed, other])
    assert isinstance(stored, Receipt)
    assert isinstance(again, Receipt)
    assert isinstance(conflict, Problem)
    assert (stored.repeated, again.repeated, conflict.code) == (False, True, "CR-045")
    assert (stored.message, stored.position) == (again.message, again.position)
    assert isinstance(neighbour, Receipt)
    assert await desk.pool.fetchval("SELECT count(*) FROM hub.message") == 2


async def test_two_hubs_storing_the_same_messages_at_once_store_each_once(
    desk: Desk, settings: Settings
) -> None:
    second = Post(settings, Doorbell(settings), Metrics())
    writer = asyncio.create_task(second.run())
    try:
        for _ in range(5):
            group = [submission(desk.county) for _ in range(40)]
            ours, theirs = await asyncio.gather(desk.post.submit(group), second.submit(group[::-1]))
            for mine, other in zip(ours, theirs[::-1], strict=True):
                assert isinstance(mine, Receipt)
                assert isinstance(other, Receipt)
                assert (mine.message, mine.position) == (other.message, other.position)
                assert {mine.repeated, other.repeated} == {False, True}
    finally:
        writer.cancel()
        await asyncio.wait([writer])
    counts = [await desk.pool.fetchval(f"SELECT count(*) FROM hub.{table}") for table in ("message", "body")]
    assert counts == [200, 200]


async def test_looking_for_stored_messages_reads_the_index_of_their_keys_alone(
    desk: Desk, settings: Settings
) -> None:
    connection = await storing.open_connection(settings)
    try:
        for table in ("nothing", "analysed"):
            if table == "analysed":
                await desk.post.submit([submission(desk.county)])
                await connection.execute("ANALYZE hub.message")
            rows = await connection.fetch(f"EXPLAIN {storing.LOOK}", "a", "b")
            plan = "\n".join(row[0] for row in rows)
            assert "message_source_ce_id_key" in plan
            assert "Seq Scan on message" not in plan
    finally:
        await connection.close()


async def test_deleting_a_message_takes_its_body_and_its_deliveries_along(desk: Desk) -> None:
    await desk.post.submit([submission(desk.county) for _ in range(3)])
    await desk.pool.execute(
        "DELETE FROM hub.message WHERE position = (SELECT min(position) FROM hub.message)"
    )
    tables = {"body": "message", "delivery": "DISTINCT message"}
    for table, what in tables.items():
        assert await desk.pool.fetchval(f"SELECT count({what}) FROM hub.{table}") == 2


async def test_a_senders_ids_are_not_revealed_to_somebody_who_names_it_as_source(desk: Desk) -> None:
    known = submission(desk.county)
    await desk.post.submit([known])
    stranger = msgspec.structs.replace(known, party=desk.county.other_school)
    [outcome] = await desk.post.submit([stranger])
    assert isinstance(outcome, Problem)
    assert (outcome.code, outcome.extra) == ("CR-040", {})


async def test_with_the_database_away_senders_are_told_to_come_back(desk: Desk, settings: Settings) -> None:
    away = settings_with(settings, database="postgresql://nobody:x@127.0.0.1:1/none")
    post = Post(away, Doorbell(away), Metrics())
    writer = asyncio.create_task(post.run())
    [outcome] = await post.submit([submission(desk.county)])
    assert isinstance(outcome, Problem)
    assert (outcome.code, outcome.status) == ("CR-048", 503)
    assert outcome.extra["retry_after"] > 0
    writer.cancel()
    await asyncio.wait([writer])


async def test_a_lost_connection_costs_one_try(desk: Desk) -> None:
    first = submission(desk.county)
    await desk.post.submit([first])
    await desk.pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE '%INSERT INTO hub.message%' AND pid <> pg_backend_pid()"
    )
    second = submission(desk.county)
    outcomes = [(await desk.post.submit([second]))[0] for _ in range(2)]
    assert isinstance(outcomes[1], Receipt)
    [again] = await desk.post.submit([first])
    assert isinstance(again, Receipt)
    assert again.repeated


async def test_when_more_waits_than_may_it_is_sent_back_and_not_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_module, "MAX_WAITING_BYTES", 1_000)
    big = [submission(desk.county, b"x" * 600) for _ in range(2)]
    first, second = await asyncio.gather(*(desk.post.submit([each]) for each in big))
    assert isinstance(first[0], Receipt)
    assert isinstance(second[0], Problem)
    assert second[0].code == "CR-048"
    [later] = await desk.post.submit([big[1]])
    assert isinstance(later, Receipt)
    assert not later.repeated


async def test_the_stored_envelope_is_what_was_sent(desk: Desk) -> None:
    sent = submission(desk.county, subject="Größe 1/2 \U0001f600", partitionkey="a%b")
    await desk.post.submit([sent])
    stored = await desk.pool.fetchval("SELECT envelope FROM hub.message")
    assert msgspec.convert(stored, Envelope) == sent.envelope
