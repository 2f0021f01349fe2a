"""Jobs that recur: declared by the rooms, run when due by the domain clock.

Procrastinate brings the schedule, the single run among many workers and the retries; it only ever triggers `run_due`.
Every job is idempotent: a killed run is simply run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import asyncpg
import msgspec
import procrastinate

from commonroom import log
from commonroom.engines import primary
from commonroom.engines.database import connect, dsn
from commonroom.settings import Settings

# The look at what is due, once a minute of the real clock.
EVERY_MINUTE = "* * * * *"
RESTART_SECONDS = 1.0

_DUE = """
INSERT INTO engines.job_run AS run (job, ran_at)
VALUES ($1, engines.domain_now())
ON CONFLICT (job) DO UPDATE
SET ran_at = excluded.ran_at
WHERE run.ran_at <= excluded.ran_at - $2::interval
   -- The clock was set back; by less than that, another worker was quicker.
   OR run.ran_at > excluded.ran_at + interval '1 minute'
RETURNING ran_at
"""


class Job(msgspec.Struct, frozen=True):
    """One recurring piece of work: at most once in `every` of the domain clock."""

    name: str
    every: timedelta
    run: Callable[[Settings, asyncpg.Connection], Awaitable[None]]


async def run_due(settings: Settings, jobs: Sequence[Job]) -> list[str]:
    """Run the jobs that are due, each in a transaction with the note that it ran; gives their names."""
    connection = await connect(settings)
    done = []
    try:
        for job in jobs:
            async with connection.transaction():
                ran_at: datetime | None = await connection.fetchval(_DUE, job.name, job.every)
                if ran_at is not None:
                    await job.run(settings, connection)
                    done.append(job.name)
    finally:
        await connection.close()
    return done


async def work(settings: Settings, jobs: Sequence[Job]) -> None:
    """Run the schedule until cancelled; comes back by itself after the database was away."""
    while True:
        # Procrastinate's worker ends when it has lost the database, now with an exception and now without.
        with suppress(procrastinate.exceptions.ConnectorException):
            await _work(settings, jobs)
        log.get("jobs").warning("the schedule lost the database")
        await asyncio.sleep(RESTART_SECONDS)


async def _work(settings: Settings, jobs: Sequence[Job]) -> None:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=primary.libpq(dsn(settings))))

    @app.periodic(cron=EVERY_MINUTE)
    # No `lock`: a worker killed in a job would hold it for ever. The row that `_DUE` locks lets one run at a time.
    @app.task(queueing_lock="run-due", retry=procrastinate.RetryStrategy(max_attempts=5, wait=10))
    async def run_due_jobs(timestamp: int) -> None:
        done = await run_due(settings, jobs)
        if done:
            log.get("jobs").info("jobs ran", jobs=done)

    async with app.open_async():
        await app.run_worker_async(
            wait=True,
            install_signal_handlers=False,
            delete_jobs=procrastinate.jobs.DeleteJobCondition.SUCCESSFUL,
        )
