"""The two ways to run the demo: watched, with a portal and no end, and headless, ending with a reconciliation."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from rich.console import Console

from commonroom import log, simulation
from commonroom.demo import setting
from commonroom.demo.days import end_of, eve, pass_next, while_database_returns
from commonroom.demo.plan import Plan, choose_settings, keep_plan, settled_plan
from commonroom.demo.quiet import agent_statuses, until_quiet
from commonroom.engines import clock
from commonroom.engines.database import open_pool
from commonroom.hub import tracking
from commonroom.settings import Settings
from commonroom.simulation import DayReport, World
from commonroom.supervisor import (
    AGENTS,
    HUB,
    PORTAL,
    WORKER,
    Child,
    Supervisor,
    stop_on_signals,
)

Say = Callable[[str], None]

# Watched, the first days pass without a pause, so that the charts have something to show.
DAYS_BEFORE_WATCHING = 8
DAYS_HEADLESS = 5


class Stage(msgspec.Struct, frozen=True):
    """A county that is up: its processes run, its schools are built."""

    settings: Settings
    supervisor: Supervisor
    pool: asyncpg.Pool
    world: World


def run_headless(plan: Plan, data: Path | None, *, as_json: bool) -> int:
    """Let the days pass without waiting, reconcile, print the result; 1 when anything differs."""
    folder = data or Path(tempfile.mkdtemp(prefix="commonroom-"))
    console = Console(stderr=True, soft_wrap=True)
    started = time.monotonic()
    try:
        settings = _prepare(plan, folder, console.print, any_port=True)
        with Supervisor(settings) as supervisor:
            result = asyncio.run(_headless(supervisor, settings, plan, console.print))
    finally:
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)
    result["seconds"] = round(time.monotonic() - started, 1)
    Console().print_json(json.dumps(result)) if not as_json else print(json.dumps(result))
    return 1 if result["differences"] else 0


def run_watched(plan: Plan, data: Path | None) -> None:
    """Show the portal with live data and let days pass until Ctrl-C."""
    console = Console(soft_wrap=True)
    started = time.monotonic()
    settings = _prepare(plan, data, console.print, any_port=False)
    try:
        with console.status("starting"), Supervisor(settings) as supervisor:
            console.print(f"Common Room keeps everything of this demo in {settings.data}")
            asyncio.run(_watched(supervisor, settings, plan, console, started))
    except KeyboardInterrupt:
        console.print("stopped; `make demo` goes on from here")


def _prepare(plan: Plan, data: Path | None, say: Say, *, any_port: bool) -> Settings:
    plan.checked()
    stop_on_signals()
    settings = choose_settings(data, say, any_port=any_port)
    log.configure("demo", "error")
    return settings


async def _headless(supervisor: Supervisor, settings: Settings, plan: Plan, say: Say) -> dict[str, Any]:
    pool = await open_pool(settings, size=4)
    try:
        stage = await _set_stage(supervisor, pool, settings, plan, (HUB, WORKER), say)
        passed: list[DayReport] = []
        async for report in _days(stage, plan.days or DAYS_HEADLESS):
            passed.append(report)
            say(_in_words(report))
            if plan.late:
                # Else a day's marks and what becomes of them would be read by the agents as one.
                await until_quiet(pool, settings)
        await until_quiet(pool, settings)
        if passed:
            await end_of(pool, settings, passed[-1].day)
        return await while_database_returns(lambda: _reconciled(stage, passed))
    finally:
        pool.terminate()


async def _watched(
    supervisor: Supervisor, settings: Settings, plan: Plan, console: Console, started: float
) -> None:
    pool = await open_pool(settings, size=4)
    try:
        stage = await _set_stage(supervisor, pool, settings, plan, (HUB, PORTAL, WORKER), console.print)
        passed = 0
        async for report in _days(stage, plan.days):
            began = time.monotonic()
            await until_quiet(pool, settings)
            await end_of(pool, settings, report.day)
            console.print(f"{_in_words(report)}; all arrived after {time.monotonic() - began:.1f} s")
            passed += 1
            if passed == 1:
                console.print(_invitation(settings, time.monotonic() - started))
            await asyncio.sleep(0 if passed < DAYS_BEFORE_WATCHING else plan.pause)
        console.print("No more days to pass. The portal stays up until Ctrl-C.")
        await asyncio.Event().wait()
    finally:
        pool.terminate()


async def _set_stage(
    supervisor: Supervisor,
    pool: asyncpg.Pool,
    settings: Settings,
    wished: Plan,
    children: Sequence[Child],
    say: Say,
) -> Stage:
    """Register, movements, people, school systems, agents; what an earlier start did is found, not done again."""
    plan = settled_plan(settings, wished)
    if not (settings.folder("schools") / simulation.WORLD_FILE).exists():
        await clock.set_to(pool, settings, eve())
    if plan != wished:
        say("This folder holds a county already, which goes on; name another with --data for a new one.")
    files = [plan.register] if plan.register else [simulation.REGISTER, simulation.GROUP_LINKS]
    await setting.load_register(pool, files, say)
    for child in children:
        supervisor.start(child)
    if plan.la:
        schools = await setting.real_schools(pool, plan.la, plan.pupils)
    else:
        schools = simulation.schools_of_county(plan.pupils)
    world = World(plan.seed, schools, late=plan.late)
    built = await asyncio.to_thread(simulation.build, world, settings.folder("schools"))
    keep_plan(settings, plan)
    say(f"{built.schools} schools with {built.pupils:,} pupils, each school with a database of its own")
    await setting.add_sample_people(pool, settings, schools)
    agents = await setting.write_agents(pool, settings, schools)
    supervisor.start(AGENTS)
    say(f"{agents} agents begin their work")
    return Stage(settings, supervisor, pool, world)


async def _days(stage: Stage, most: int | None) -> AsyncIterator[DayReport]:
    for _ in itertools.count() if most is None else range(most):
        report = await pass_next(stage.pool, stage.settings, stage.world)
        if report is None:
            return
        yield report


def _in_words(report: DayReport) -> str:
    return (
        f"{report.day:%a %d %b %Y}: {report.marks:,} marks, {report.admitted} pupils joined, {report.left} left"
        f" ({report.moved} to another school here)"
    )


def _invitation(settings: Settings, seconds: float) -> str:
    return (
        f"\n  The portal: {settings.portal_url}   (live data {seconds:.0f} seconds after the start)\n"
        "  Sign in as school, authority, operator, clerk, governance, analyst or researcher; "
        f"the password is {setting.PASSWORD}\n"
        f"  The hub: {settings.hub_url}/schema   Days pass while you watch; Ctrl-C stops.\n"
    )


async def _reconciled(stage: Stage, passed: Sequence[DayReport]) -> dict[str, Any]:
    """The final account: what stands in the schools' own databases against what arrived."""
    statuses = agent_statuses(stage.settings).values()
    async with stage.pool.acquire() as connection:
        traffic = await tracking.traffic(connection)
    account = await asyncio.to_thread(
        simulation.reconcile,
        stage.settings,
        minimum_schools=len(stage.world.schools),
        # Pupils come and go; a tenth fewer would be a loss and no move.
        minimum_pupils=stage.world.pupils * 9 // 10,
        minimum_marks=stage.world.pupils * 2 * len(passed) * (90 - stage.world.late) // 100,
        # Whom the register could take for somebody else waits for a clerk; most do not.
        minimum_of_due=0.8,
    )
    return {
        **msgspec.to_builtins(account),
        "messages_accepted": traffic.messages,
        "messages_acknowledged": traffic.acknowledged,
        "messages_refused": sum(status.outbox_refused for status in statuses),
        "corrected": sum(day.corrections for day in passed),
        "late": sum(day.late for day in passed),
        "struck": sum(day.struck for day in passed),
        "findings": sum(status.findings for status in statuses),
        "restarts": stage.supervisor.restarts(),
        "differences": msgspec.to_builtins(account.differences),
    }
