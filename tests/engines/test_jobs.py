"""Recurring jobs: run when due by the domain clock, once among several workers, again after a failure."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from commonroom.engines import clock
from commonroom.engines.jobs import Job, run_due, work
from commonroom.settings import Settings
from tests.waiting import until_async


async def _note(settings: Settings, connection: asyncpg.Connection) -> None:
    await connection.execute("INSERT INTO note DEFAULT VALUES")


@pytest.fixture
async def daily(pool: asyncpg.Pool) -> Job:
    await pool.execute("CREATE TABLE note (id int GENERATED ALWAYS AS IDENTITY)")
    return Job("daily", timedelta(days=1), _note)


async def test_a_job_runs_once_a_period_of_the_domain_clock(
    settings: Settings, pool: asyncpg.Pool, daily: Job
) -> None:
    assert await run_due(settings, [daily]) == ["daily"]
    assert await run_due(settings, [daily]) == []
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.now(UTC) + timedelta(days=1, minutes=1))
    assert await run_due(settings, [daily]) == ["daily"]
    assert await pool.fetchval("SELECT count(*) FROM note") == 2


async def test_two_workers_at_once_run_it_once(settings: Settings, pool: asyncpg.Pool, daily: Job) -> None:
    done = await asyncio.gather(*(run_due(settings, [daily]) for _ in range(4)))
    assert sorted(done) == [[], [], [], ["daily"]]
    assert await pool.fetchval("SELECT count(*) FROM note") == 1


async def test_a_job_that_failed_is_still_due(settings: Settings, pool: asyncpg.Pool) -> None:
    async def fail(settings: Settings, connection: asyncpg.Connection) -> None:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError):
        await run_due(settings, [Job("luckless", timedelta(days=1), fail)])
    assert await pool.fetchval("SELECT count(*) FROM engines.job_run WHERE job = 'luckless'") == 0


async def test_the_worker_triggers_what_is_due(settings: Settings, pool: asyncpg.Pool, daily: Job) -> None:
    worker = asyncio.create_task(work(settings, [daily]))
    try:
        await until_async(lambda: pool.fetchval("SELECT count(*) = 1 FROM note"), 90, "the job's run")
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
