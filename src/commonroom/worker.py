"""The worker: what goes on by itself. The loader, the registers' own end points, the returns desk, the recurring jobs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from datetime import timedelta

from commonroom import log
from commonroom.engines import jobs
from commonroom.hub import endings, retention
from commonroom.registers import providers
from commonroom.registers.learners import batches, flow, upkeep
from commonroom.returns import desk, reminders
from commonroom.settings import Settings
from commonroom.warehouse import loader
from commonroom.warehouse.extracts import office as extracts

RECURRING = (
    jobs.Job("hub-retention", timedelta(days=1), retention.purge),
    jobs.Job("hub-endings", timedelta(minutes=5), endings.end_hopeless),
    jobs.Job("return-reminders", timedelta(hours=1), reminders.remind),
    jobs.Job("returns-sweep", timedelta(days=1), desk.sweep),
    jobs.Job("extracts", timedelta(days=1), extracts.expire),
    jobs.Job("learner-batches", timedelta(days=1), batches.purge),
    jobs.Job("learner-numbers", timedelta(days=1), flow.purge),
    *upkeep.JOBS,
)


def run(settings: Settings) -> None:
    """Work until told to stop."""
    asyncio.run(_until_stopped(_work(settings)))


async def _work(settings: Settings) -> None:
    """Together: when one of them fails the process ends, and the supervisor starts all of them again."""
    async with asyncio.TaskGroup() as together:
        together.create_task(loader.run(settings))
        together.create_task(providers.announce.run(settings))
        together.create_task(desk.run(settings))
        together.create_task(batches.run(settings))
        together.create_task(flow.run(settings))
        together.create_task(jobs.work(settings, RECURRING))


async def _until_stopped(work: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.get("worker").info("stopped")
