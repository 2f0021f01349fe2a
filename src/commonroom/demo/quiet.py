"""Knowing when everything has arrived: every agent has looked since, nothing waits in an outbox or a mailbox."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import msgspec

from commonroom.demo.days import while_database_returns
from commonroom.engines.database import DATABASE_AWAY
from commonroom.hub import tracking
from commonroom.problems import Problem
from commonroom.settings import Settings

PAUSE = 0.2
# Without any progress for this long something is stuck, and waiting longer would hide it.
PATIENCE_SECONDS = 120


class AgentStatus(msgspec.Struct, frozen=True):
    """What an agent says of itself in status.json; fields unknown here are its own affair."""

    name: str
    looked_at: datetime | None = None
    outbox_waiting: int = 0
    outbox_refused: int = 0
    findings: int = 0
    loaded: int = 0
    error: str = ""


class Standing(msgspec.Struct, frozen=True):
    """How much is still on its way."""

    agents: int
    not_looked: int  # agents whose last look began before the moment asked for
    outboxes: int  # letters waiting in agents' outboxes
    deliveries: int  # deliveries the hub has not ended

    @property
    def quiet(self) -> bool:
        """Nothing is on its way."""
        return not (self.not_looked or self.outboxes or self.deliveries)


def agent_statuses(settings: Settings) -> dict[str, AgentStatus]:
    """Each agent's own word, by folder name; an agent that has not spoken yet is missing."""
    found = {}
    for path in sorted(settings.folder("agents").glob("*/status.json")):
        found[path.parent.name] = msgspec.json.decode(path.read_bytes(), type=AgentStatus)
    return found


def watchers(settings: Settings) -> set[str]:
    """The agents that watch a school system, by folder name."""
    configs = settings.folder("agents").glob("*/agent.yaml")
    return {path.parent.name for path in configs if _has_source(path)}


def _has_source(config: Path) -> bool:
    return "\nsource:" in config.read_text("utf-8")


async def standing(pool: asyncpg.Pool, settings: Settings, since: datetime) -> Standing:
    """What is on its way now. Outboxes are read before mailboxes: a letter between the two counts in one of them."""
    statuses = await asyncio.to_thread(agent_statuses, settings)
    waiting = await asyncio.to_thread(watchers, settings)
    looked = {name for name, status in statuses.items() if status.looked_at and status.looked_at >= since}
    async with pool.acquire() as connection:
        deliveries = await tracking.unfinished(connection)
    return Standing(
        agents=len(statuses),
        not_looked=len(waiting - looked),
        outboxes=sum(status.outbox_waiting for status in statuses.values()),
        deliveries=deliveries,
    )


async def until_quiet(pool: asyncpg.Pool, settings: Settings, since: datetime | None = None) -> None:
    """Wait until all that stood in the schools' systems at `since` (now) has arrived, and all that came of it.

    What arrives changes a school's own tables: a pupil's number goes on to the authority with the pupil's record. So it
    is quiet when, after all was still, everybody has looked once more, and nobody has sent anything since before.

    Raises Problem CR-007 saying what is still on its way when nothing moves for two minutes.
    """
    moment = since or datetime.now(UTC)
    while True:
        before = await while_database_returns(lambda: _messages(pool))
        await _until_still(pool, settings, moment)
        moment = datetime.now(UTC)
        await _until_still(pool, settings, moment)
        if await while_database_returns(lambda: _messages(pool)) == before:
            return


async def _messages(pool: asyncpg.Pool) -> int:
    async with pool.acquire() as connection:
        return await tracking.messages(connection)


async def _until_still(pool: asyncpg.Pool, settings: Settings, moment: datetime) -> None:
    """Wait until everybody has looked since `moment` and nothing is on its way."""
    last, moved = None, time.monotonic()
    while True:
        try:
            now = await standing(pool, settings, moment)
        except DATABASE_AWAY:
            now = None  # the database is being started again
        if now is not None and now.quiet:
            return
        if now != last:
            last, moved = now, time.monotonic()
        if time.monotonic() - moved > PATIENCE_SECONDS:
            raise Problem(
                "CR-007",
                f"nothing has moved for {PATIENCE_SECONDS} seconds; still on its way: {now}",
                status=500,
                where=str(settings.data),
                remedy=f"Read the logs in {settings.data / 'logs'} and the agents' status.json.",
            )
        await asyncio.sleep(PAUSE)
