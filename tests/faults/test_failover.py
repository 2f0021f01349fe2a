"""The primary is lost and its standby promoted, under load: what was answered is there, once, and every story ends.

The servers are set up, promoted and brought together again by the commands of docs/operate.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import asyncpg
import httpx2
import msgspec
import psycopg
import pytest

from commonroom.engines import jobs, primary
from commonroom.engines.database import connect, migrate
from commonroom.exchange import Receipt, Unreachable
from commonroom.hub.doorbell import CALM_SECONDS, Doorbell
from commonroom.hub.metrics import Metrics
from commonroom.hub.post import Post, Submission
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.faults.failover_traffic import Traffic, traffic
from tests.faults.standby_pair import StandbyPair, standby_pair
from tests.hub_server import HubProcess, SmallCounty, enrolled_client, message, publish_small_county
from tests.waiting import until_async

SEED = 11
SOAK_ROUNDS = 12
SECONDS = 60.0

Hubs = tuple[HubProcess, HubProcess]
Admin = psycopg.Connection[tuple[Any, ...]]
Way = Literal["postmaster", "machine", "disk", "standby"]
WAYS: tuple[Way, ...] = ("postmaster", "machine", "disk", "standby")
RESULTS = Path(__file__).parents[2] / "test-results"

_WAITS = "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %s"
_CANCEL_ALL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
_WORKERS = "SELECT max(id) FROM procrastinate_workers"
# Whether it lived through the failover or was started again: it works when it says so to the new primary.
_WORKS_SINCE = "SELECT max(last_heartbeat) > $1 FROM procrastinate_workers"
_STORED = "SELECT position FROM hub.message WHERE ce_id = $1"


@pytest.fixture(scope="module")
def pair() -> Iterator[StandbyPair]:
    """Both servers; each test leaves a primary with a standby that confirms, whichever is which."""
    with standby_pair() as pair:
        yield pair


@pytest.fixture(scope="module")
def settings(pair: StandbyPair, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings that lead to both servers."""
    settings = Settings(data=tmp_path_factory.mktemp("data"), database=pair.dsn, lease_seconds=3)
    migrate(settings)
    return settings


@pytest.fixture(scope="module")
def hubs(settings: Settings) -> Iterator[Hubs]:
    """Two processes that are started once: whatever happens, they come back by themselves."""
    both = (HubProcess(settings), HubProcess(settings))
    with ThreadPoolExecutor() as at_once:
        try:
            list(at_once.map(HubProcess.start, both))
            yield both
            assert all(hub.process is not None and hub.process.poll() is None for hub in both)
        finally:
            list(at_once.map(HubProcess.__exit__, both))


async def test_a_lost_primary_costs_nothing_that_was_answered(
    pair: StandbyPair, settings: Settings, hubs: Hubs, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    async with traffic(settings, hubs, tmp_path, SEED) as running:
        await running.until_answered(chance.randrange(150, 400))
        await _lose_the_primary(pair, running, "postmaster")
        await running.until_answered(50)
        await _bring_together(pair)
        await running.until_answered(50)
        await running.finish(settings)


@pytest.mark.soak
async def test_servers_are_lost_again_and_again(
    pair: StandbyPair, settings: Settings, hubs: Hubs, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    chance = random.Random(seed)
    losses = []
    async with traffic(settings, hubs, tmp_path, seed) as running:
        for number in range(SOAK_ROUNDS):
            await running.until_answered(chance.randrange(50, 800))
            way = WAYS[number % len(WAYS)]
            if way == "standby":
                losses.append(await _lose_the_standby(pair, running, hubs))
            else:
                losses.append(await _lose_the_primary(pair, running, way))
                await running.until_answered(chance.randrange(50, 200))
                await _bring_together(pair)
        await running.until_answered(100)
        await running.finish(settings)
        found = {"seed": seed, "messages": len(running.bodies), "heads": len(running.heads), "losses": losses}
    print(f"seed {seed}: {len(running.bodies)} messages, {len(running.heads)} signed heads that were shown")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "failover.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)))


class Loss(msgspec.Struct, frozen=True):
    """A server that was lost, and what was on its way then."""

    way: Way
    server: str
    in_flight: int
    answered: int  # before
    decided: float  # seconds until the standby was promoted, or until both hubs said what they lack
    served: float  # seconds until a message was answered, or until what only reads was


async def _lose_the_primary(pair: StandbyPair, running: Traffic, way: Way) -> Loss:
    """kill -9 of the postmaster or of every process, or everything hangs; then what the page says."""
    lost, moment = pair.primary, time.monotonic()
    in_flight, answered = running.in_flight, running.answered
    if way == "disk":
        pair.freeze(lost)
    else:
        await asyncio.to_thread(pair.kill, lost, all_at_once=way == "machine")
    await asyncio.to_thread(pair.fail_over)
    await asyncio.to_thread(pair.run, "alone")
    promoted = time.monotonic() - moment
    await running.until_answered(1)
    served = time.monotonic() - moment
    if way == "disk":
        pair.thaw(lost)
        await asyncio.to_thread(pair.kill, lost)
    print(
        f"seed {running.seed}, {way} of {lost}: {in_flight} messages in flight, {answered} answered before; "
        f"promoted after {promoted:.1f} s, first answer after {served:.1f} s"
    )
    return Loss(way, lost, in_flight, answered, promoted, served)


async def _bring_together(pair: StandbyPair) -> None:
    """The lost server becomes the standby of the other."""
    await asyncio.to_thread(pair.run, "rejoin")
    await asyncio.to_thread(pair.run, "two again")


async def _lose_the_standby(pair: StandbyPair, running: Traffic, hubs: Hubs) -> Loss:
    """kill -9 of it, until both hubs say so and let nobody who only reads wait; then one copy, then two again."""
    moment, in_flight, answered = time.monotonic(), running.in_flight, running.answered
    await asyncio.to_thread(pair.kill, pair.standby, all_at_once=True)
    async with httpx2.AsyncClient(timeout=5) as http:
        for hub in hubs:
            await until_async(lambda hub=hub: _unwell(http, hub), SECONDS, "the hub saying what it lacks")  # type: ignore[misc]
        told = time.monotonic() - moment
        for hub in hubs:
            await until_async(lambda hub=hub: _reads(http, hub), SECONDS, "reading going on")  # type: ignore[misc]
    read = time.monotonic() - moment
    await asyncio.to_thread(pair.run, "alone")
    await running.until_answered(50)
    await asyncio.to_thread(pair.start, pair.standby)
    await asyncio.to_thread(pair.run, "two again")
    print(
        f"seed {running.seed}, standby {pair.standby}: {in_flight} messages in flight, {answered} answered before; "
        f"said so after {told:.1f} s, reads after {read:.1f} s"
    )
    return Loss("standby", pair.standby, in_flight, answered, told, read)


async def _reads(http: httpx2.AsyncClient, hub: HubProcess) -> bool:
    try:
        return (await http.get(f"{hub.url}/ledger/keys")).status_code == 200
    except httpx2.TimeoutException:
        return False


async def test_without_its_standby_the_hub_promises_nothing_and_says_so(
    pair: StandbyPair, settings: Settings, hubs: Hubs, tmp_path: Path
) -> None:
    connection = await connect(settings)
    county = await publish_small_county(connection, tmp_path)
    sender = await enrolled_client(connection, hubs[0].url, county.school, tmp_path)
    warehouse = await enrolled_client(connection, hubs[1].url, county.warehouse, tmp_path)
    await connection.close()
    async with sender, warehouse, httpx2.AsyncClient() as http:
        waiting = await sender.post(*message(county))
        with pair.admin(pair.primary, "commonroom") as admin:
            shown = await until_async(lambda: _all_shown(admin, http, hubs), SECONDS, "all heads being shown")
            pair.kill(pair.standby)
            lonely = message(county)
            posting = asyncio.create_task(_reachable(sender.post(*lonely)))
            await until_async(lambda: _more_signed(admin, shown), SECONDS, "an unconfirmed head")
        assert [await _head(http, hub) for hub in hubs] == [shown, shown], "a head that may be lost is not"
        assert await posting is None
        for hub in hubs:
            await until_async(lambda hub=hub: _unwell(http, hub), SECONDS, "the hub saying what it lacks")  # type: ignore[misc]
        metrics = dict(
            line.rsplit(" ", 1)
            for line in (await http.get(f"{hubs[0].url}/metrics")).text.splitlines()
            if not line.startswith("#")
        )
        assert float(metrics["hub_standby_needed"]) == 1
        assert float(metrics["hub_standby_silent_seconds"]) > 5
        with pytest.raises(Unreachable):
            await sender.post(*lonely)
        with pytest.raises(Unreachable):
            await warehouse.pull(10, 0)
        assert (await sender.track(waiting.message)).message == waiting.message, "what only reads goes on"
        pair.run("alone")
        await until_async(lambda: _reachable(sender.post(*lonely)), SECONDS, "the hub accepting again")
        letters = await until_async(lambda: _reachable(warehouse.pull(10, 1)), SECONDS, "letters")
        assert {letter.envelope.id for letter in letters or []} == {waiting.id, lonely[0].id}
        pair.start(pair.standby)
        pair.run("two again")
        await sender.post(*message(county))
        for hub in hubs:
            assert (await http.get(f"{hub.url}/health")).status_code == 200


async def _all_shown(admin: Admin, http: httpx2.AsyncClient, hubs: Hubs) -> int:
    """The number of the ledger's entries when both hubs show a signed head over all of them."""
    row = admin.execute("SELECT count(*) FROM hub.ledger_entry").fetchone()
    return row[0] if row and {await _head(http, hub) for hub in hubs} == {row[0]} else 0


async def _more_signed(admin: Admin, size: int) -> bool:
    """Cancels whatever waits for the standby, until the primary alone has a larger head than this."""
    admin.execute(_CANCEL_ALL)
    return admin.execute("SELECT max(size) > %s FROM hub.ledger_head", [size]).fetchone() == (True,)


async def _head(http: httpx2.AsyncClient, hub: HubProcess) -> int:
    """The size of the newest signed head that the hub shows; 0 for none."""
    size: int = (await http.get(f"{hub.url}/ledger/head")).json().get("size", 0)
    return size


async def _unwell(http: httpx2.AsyncClient, hub: HubProcess) -> bool:
    answer = await http.get(f"{hub.url}/health")
    return answer.status_code == 503 and answer.json()["code"] == "CR-168"


async def _reachable(call: Any) -> Any:
    """What the call gives, None when there is nobody to answer it."""
    with suppress(Unreachable):
        return await call
    return None


@asynccontextmanager
async def _background(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """These run while the context lasts."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_a_commit_whose_wait_was_cancelled_is_not_answered_and_neither_is_its_repeat(
    pair: StandbyPair, settings: Settings, tmp_path: Path
) -> None:
    connection = await connect(settings)
    county = await publish_small_county(connection, tmp_path)
    first, letter = _submission(county), _submission(county)
    post = Post(settings, Doorbell(settings), Metrics())
    async with _background(post.run()):
        [outcome] = await post.submit([first])
        assert isinstance(outcome, Receipt)
        pair.kill(pair.standby)
        assert await _cancelled(pair, post, letter) == "CR-048"
        [row] = await connection.fetch(_STORED, letter.envelope.id)  # there, and on the primary alone
        assert await _cancelled(pair, post, letter) == "CR-048"
        pair.start(pair.standby)
        [outcome] = await post.submit([letter])
        assert isinstance(outcome, Receipt)
        assert (outcome.repeated, outcome.position) == (True, row["position"])
    await connection.close()


def _submission(county: SmallCounty) -> Submission:
    envelope, body = message(county)
    digest = hashlib.sha256(body).digest()
    return Submission(envelope=envelope, body=body, digest=digest, party=county.school, end_point="e")


async def _cancelled(pair: StandbyPair, post: Post, letter: Submission) -> str:
    """Submit it, cancel the wait of its commit as an operator may, and give what it is answered with."""
    posting = asyncio.create_task(post.submit([letter]))
    with pair.admin(pair.primary) as admin:

        async def cancelled() -> bool:
            process = post._connection.get_server_pid() if post._connection is not None else 0
            if posting.done() or admin.execute(_WAITS, [process]).fetchone() == (True,):
                admin.execute("SELECT pg_cancel_backend(%s)", [process])
                return True
            return False

        await until_async(cancelled, SECONDS, "the commit waiting for its standby")
    [outcome] = await posting
    return outcome.code if isinstance(outcome, Problem) else "202"


async def test_a_primary_that_hung_and_comes_back_is_left_alone(
    pair: StandbyPair, settings: Settings
) -> None:
    old = pair.primary
    doorbell = Doorbell(settings)
    async with _background(doorbell.run(), jobs.work(settings, [])):
        before = await connect(settings)
        await until_async(lambda: _hears(doorbell), SECONDS, "the doorbell hearing")
        await until_async(lambda: before.fetchval(_WORKERS), SECONDS, "the jobs' worker")
        pair.freeze(old)
        try:
            await asyncio.to_thread(pair.fail_over)
            await asyncio.to_thread(pair.run, "alone")
            assert await _port(settings) == pair.ports[pair.primary]
            assert before.is_closed(), "what was open at the old primary is ended"
            await until_async(lambda: _hears(doorbell), SECONDS, "the doorbell hearing again")
            pair.thaw(old)
            await _takes_no_writes(pair, old)
            for _ in range(10):  # whichever answers first
                assert await _port(settings) == pair.ports[pair.primary]
                primary._newest.clear()  # as in a process that begins now
        finally:
            await asyncio.to_thread(pair.kill, old, all_at_once=True)
        await _bring_together(pair)
        connection = await connect(settings)

        since = await connection.fetchval("SELECT clock_timestamp()")
        await until_async(
            lambda: connection.fetchval(_WORKS_SINCE, since), SECONDS, "the jobs' worker coming back"
        )
        assert await connection.fetchval("SELECT to_regclass('split_brain')") is None
        await connection.close()


async def _takes_no_writes(pair: StandbyPair, old: str) -> None:
    """It thinks that it is the primary, and cannot finish a commit."""
    stranger = await asyncpg.connect(primary.servers(pair.dsn)[sorted(pair.ports).index(old)])
    writing = asyncio.create_task(stranger.execute("CREATE TABLE split_brain ()"))
    with pair.admin(old) as admin:
        assert admin.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)

        async def waits() -> bool:
            return admin.execute(_WAITS, [stranger.get_server_pid()]).fetchone() == (True,)

        await until_async(waits, SECONDS, "the old primary waiting for a standby")
    assert not writing.done()
    stranger.terminate()
    with suppress(asyncpg.PostgresConnectionError):
        await writing


async def _hears(doorbell: Doorbell) -> bool:
    return doorbell.look_again_seconds == CALM_SECONDS


async def _port(settings: Settings) -> int:
    connection = await connect(settings)
    found: int = await connection.fetchval("SELECT inet_server_port()")
    await connection.close()
    return found
