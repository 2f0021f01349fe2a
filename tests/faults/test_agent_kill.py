"""kill -9 of a real agent process at random moments, against a real hub: nothing is lost and nothing is doubled."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import asyncpg
import msgspec
import pytest

from commonroom.agent import Status
from commonroom.settings import Settings
from tests.hub_server import hub_here, publish_small_county
from tests.unit.agent.hub_side import MOVEMENTS, Accepted, accepted, code_for
from tests.unit.agent.school_system import Receiver, SchoolSystem, upn
from tests.unit.agent.store_system import StoreSystem
from tests.waiting import until_async

SEEDS = (1, 2)
KILLS = 3
PUPILS = 30
SECONDS = 60.0


class AgentProcess:
    """`commonroom agent run` of one configuration, killed and started at will."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "commonroom", "agent", "run", str(self._config)]
        self._process = subprocess.Popen(
            command, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stderr=subprocess.DEVNULL
        )

    def end(self, how: signal.Signals) -> int:
        """End it; the exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(SECONDS)

    def status(self) -> Status | None:
        """Its status file, once there is one."""
        file = self._config.parent / "state" / "status.json"
        return msgspec.json.decode(file.read_bytes(), type=Status) if file.exists() else None


@contextmanager
def running(agent: AgentProcess) -> Iterator[AgentProcess]:
    """Start; at the end a polite stop, which must be a clean one."""
    agent.start()
    try:
        yield agent
    finally:
        code = agent.end(signal.SIGTERM)
    assert code == 0


class Office:
    """A school office that never rests: each call is one transaction of marks, corrections, deletions or moves."""

    def __init__(self, school: SchoolSystem, chance: random.Random) -> None:
        self._school = school
        self._chance = chance
        self._day = date(2025, 9, 1)

    def work(self) -> None:
        """One transaction."""
        kind = self._chance.choice(("register", "correct", "correct", "delete", "move"))
        pupil, day = upn(self._chance.randint(1, PUPILS)), self._day.isoformat()
        if kind == "register":
            self._day += timedelta(days=1)
            self._school.add_marks(self._day.isoformat(), "/", *range(1, PUPILS + 1))
        elif kind == "correct":
            self._school.do("UPDATE mark SET code = ? WHERE upn = ?", [(self._chance.choice("ILM"), pupil)])
        elif kind == "delete":
            self._school.do("DELETE FROM mark WHERE upn = ? AND day = ?", [(pupil, day)])
        else:
            moved = (f"Town {self._chance.randint(1, 99)}", day, pupil)
            self._school.do("UPDATE pupil SET town = ?, since = ? WHERE upn = ?", [moved])


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_killed_agent_loses_and_doubles_nothing(
    settings: Settings, pool: asyncpg.Pool, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    async with pool.acquire() as connection:
        county = await publish_small_county(connection, tmp_path, MOVEMENTS)
        code = await code_for(connection, county.school)
    async with hub_here(settings) as served:
        school = SchoolSystem(tmp_path / "school", hub=served.hub_url, code=code)
        school.add_pupils(*range(1, PUPILS + 1))
        agent = AgentProcess(school.config_file)
        office = Office(school, chance)
        in_flight = 0
        for _ in range(KILLS):
            target = _letters(school) + chance.randint(1, 6)
            agent.start()
            await until_async(
                partial(_reached, office, school, _letters, target), SECONDS, f"letter {target} being written"
            )
            agent.end(signal.SIGKILL)
            in_flight += _waiting(school)
        with running(agent):
            quiet_since = datetime.now(UTC)
            await until_async(lambda: _settled(agent, quiet_since), SECONDS, "the outbox being empty")
        messages = await accepted(pool, settings)
        deliveries = await pool.fetchval(
            "SELECT count(*) FROM hub.delivery WHERE recipient = $1", county.warehouse
        )
    print(f"seed {seed}: {len(messages)} messages, {in_flight} letters in flight at the kills")
    told = Counter(
        (
            entity,
            msgspec.json.encode([record["upn"], record.get("date"), record["valid_from"], record["version"]]),
        )
        for message in messages
        for part in (message.records.records, message.records.withdrawn)
        for entity, records in part.items()
        for record in records
    )
    assert in_flight, "no kill found a letter on its way: the trial proves nothing"
    assert max(told.values()) == 1, "the same version of a record was told twice"
    assert deliveries == len(messages)
    _assert_same(school, messages)


async def _reached(
    office: Office, school: SchoolSystem, measure: Callable[[SchoolSystem], int], target: int
) -> bool:
    office.work()
    return measure(school) >= target


def _posted(school: SchoolSystem) -> int:
    return _count(school, "SELECT count(*) FROM outbox WHERE state = 'accepted'")


def _letters(school: SchoolSystem) -> int:
    return _count(school, "SELECT coalesce(max(number), 0) FROM outbox")


def _waiting(school: SchoolSystem) -> int:
    return _count(school, "SELECT count(*) FROM outbox WHERE state = 'waiting'")


def _count(school: SchoolSystem, sql: str) -> int:
    if not school.config.memory_file.exists():
        return 0
    with closing(sqlite3.connect(school.config.memory_file)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'outbox'").fetchone():
            return 0
        return int(connection.execute(sql).fetchone()[0])


async def _settled(agent: AgentProcess, since: datetime) -> bool:
    found = agent.status()
    if found is None or found.looked_at is None or found.outbox_waiting:
        return False
    return datetime.fromisoformat(found.looked_at) > since


def _assert_same(school: SchoolSystem, messages: list[Accepted]) -> None:
    receiver = Receiver()
    for message in messages:
        receiver.receive(message.records)
    with closing(sqlite3.connect(school.database)) as connection:
        marks = connection.execute("SELECT upn, day, half, code FROM mark ORDER BY 1, 2").fetchall()
        pupils = connection.execute("SELECT upn, since, town FROM pupil ORDER BY 1").fetchall()
    arrived = sorted((r["upn"], r["date"], r["session"], r["code"]) for r in receiver.live("attendance_mark"))
    assert arrived == marks
    assert len(marks) > 20
    latest = {r["upn"]: r for r in sorted(receiver.live("learner"), key=lambda r: str(r["valid_from"]))}
    assert sorted((r["upn"], r["valid_from"], r["town"]) for r in latest.values()) == pupils


async def test_a_killed_receiver_loads_every_message_once(
    settings: Settings, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    chance = random.Random(3)
    async with pool.acquire() as connection:
        county = await publish_small_county(connection, tmp_path, MOVEMENTS)
        from_school, to_authority = (
            await code_for(connection, county.school),
            await code_for(connection, county.authority),
        )
    # A short lease: what a killed receiver held is offered again soon.
    async with hub_here(msgspec.structs.replace(settings, lease_seconds=1)) as served:
        school = SchoolSystem(tmp_path / "school", hub=served.hub_url, code=from_school)
        authority = StoreSystem(tmp_path / "authority", hub=served.hub_url, code=to_authority)
        receiver = AgentProcess(authority.config_file)
        office = Office(school, chance)
        with running(AgentProcess(school.config_file)) as sender:
            for _ in range(2):
                target = authority.messages() + chance.randint(1, 4)
                receiver.start()
                await until_async(
                    partial(_loaded, office, authority, target), SECONDS, "messages being loaded"
                )
                receiver.end(signal.SIGKILL)
            quiet_since = datetime.now(UTC)
            with running(receiver):
                await until_async(lambda: _settled(sender, quiet_since), SECONDS, "the outbox being empty")
                acknowledged = partial(_all_acknowledged, pool, county.authority)
                await until_async(acknowledged, SECONDS, "all being acknowledged")
        messages = await accepted(pool, settings)
    assert authority.messages() == len(messages)
    with closing(sqlite3.connect(school.database)) as connection:
        marks = connection.execute("SELECT upn, day, half, code FROM mark ORDER BY 1, 2").fetchall()
    assert authority.marks() == marks
    assert len(marks) > 20


async def _loaded(office: Office, authority: StoreSystem, target: int) -> bool:
    office.work()
    return authority.messages() >= target


async def _all_acknowledged(pool: asyncpg.Pool, party: str) -> bool:
    sql = "SELECT bool_and(state = 'acknowledged') FROM hub.delivery WHERE recipient = $1"
    return bool(await pool.fetchval(sql, party))
