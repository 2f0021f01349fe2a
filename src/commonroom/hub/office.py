"""The office: the parts of one running hub process, opened and closed together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from commonroom import log
from commonroom.engines.database import open_pool
from commonroom.exchange.contract import HeldLetters
from commonroom.hub import assurance, mailbox, sequencer
from commonroom.hub.assurance import Held
from commonroom.hub.backlog import Backlog
from commonroom.hub.body_store import open_store
from commonroom.hub.collector import Collector
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.faults import DATABASE_AWAY, log_fault
from commonroom.hub.lateness import Lateness
from commonroom.hub.master_keys import MasterKeys
from commonroom.hub.metrics import Metrics
from commonroom.hub.post import Outcome, Post, Submission
from commonroom.hub.presence import Presence
from commonroom.hub.pulse import Pulse
from commonroom.hub.push import Pusher
from commonroom.hub.quotas import Quotas
from commonroom.hub.settling import Settler
from commonroom.hub.signatures import Signatures
from commonroom.hub.uploads import Uploads
from commonroom.hub.windows import Windows
from commonroom.identity import EndedKeys, Tokens
from commonroom.settings import Settings

POOL_SIZE = 8
COMMAND_SECONDS = (
    30.0  # what takes longer waits for a standby, most likely, and keeps a connection from others
)
CHORES_SECONDS = 2.0
HELD_SECONDS = 5.0
RESTART_SECONDS = 1.0

_logger = log.get("hub")


class Office:
    """What request handlers need. Made by `open_office`."""

    def __init__(self, settings: Settings, pool: Any) -> None:
        self.settings = settings
        self.bodies = open_store(settings)
        self.master_keys = MasterKeys(settings)
        self.uploads = Uploads(settings, pool, self.bodies, self.master_keys)
        self.pool = pool
        self.metrics = Metrics()
        self.doorbell = Doorbell(settings)
        self.post = Post(settings, self.doorbell, self.metrics)
        self.pulse = Pulse(settings, self.metrics.registry)
        self.presence = Presence()
        self.quotas = Quotas(settings)
        self.backlog = Backlog(self.metrics, settings.unfinished_warning)
        self.lateness = Lateness(self.metrics)
        self.windows = Windows(self.doorbell)
        self.settler = Settler(settings)
        self.collector = Collector(settings, self.windows, self.doorbell, self.settler)
        self.pusher = Pusher(settings, pool, self.doorbell, self.windows, self.metrics)
        self.ended_keys = EndedKeys()
        self.tokens = Tokens(settings, self.ended_keys)
        self.held = Held({}, {})
        self.signatures = Signatures(pool, self.ended_keys, settings.require_signatures)

    async def submit(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """`Post.submit` for what came from outside: what is not rightly signed gets no further than here.

        Raises Problem CR-165 (429) when the end point has sent more than its quota, CR-168 (503) without a standby.
        """
        self.pulse.check_standby()
        size = sum(len(submission.body) for submission in submissions)
        self.quotas.spend(submissions[0].end_point, len(submissions), size)
        judged = await self.signatures.judge(submissions)
        signed = [one for one, problem in zip(submissions, judged, strict=True) if problem is None]
        outcomes = iter(await self.post.submit(signed) if signed else [])
        return [problem or next(outcomes) for problem in judged]

    def held_of(self, party: str) -> HeldLetters | None:
        """What waits for evidence, to or from this party, when the chores last looked; None for nothing."""
        mine, sent = self.held.as_recipient.get(party, 0), self.held.as_sender.get(party, 0)
        return HeldLetters(mine, sent) if mine or sent else None

    async def chores(self) -> None:
        """The small regular work: finish what has expired, write down who was here."""
        looked = -HELD_SECONDS
        while True:
            async with self.pool.acquire() as connection:
                await self.presence.write(connection)
                await self.quotas.load(connection)
                await self.backlog.look(connection)
                await self.lateness.look(connection)
                if time.monotonic() - looked >= HELD_SECONDS:
                    looked, self.held = time.monotonic(), await assurance.held(connection)
                while expired := await mailbox.expire(connection):
                    self.metrics.expired.inc(expired)
            await asyncio.sleep(CHORES_SECONDS)


@asynccontextmanager
async def open_office(settings: Settings) -> AsyncIterator[Office]:
    """A hub's parts, working until the context ends."""
    pool = await open_pool(settings, size=POOL_SIZE, seconds=COMMAND_SECONDS)
    office = Office(settings, pool)
    async with pool.acquire() as connection:
        await office.windows.look(connection)  # before the first letter is asked for
        await office.pulse.begin(connection)
    tasks = [
        asyncio.create_task(_keep_going("pulse", office.pulse.run)),
        asyncio.create_task(_keep_going("post", office.post.run)),
        asyncio.create_task(_keep_going("collector", office.collector.run)),
        asyncio.create_task(_keep_going("prober", office.collector.prober.run)),
        asyncio.create_task(_keep_going("settler", office.settler.run)),
        asyncio.create_task(_keep_going("doorbell", office.doorbell.run)),
        asyncio.create_task(_keep_going("chores", office.chores)),
        asyncio.create_task(_keep_going("windows", lambda: office.windows.run(pool))),
        asyncio.create_task(_keep_going("push", office.pusher.run)),
        asyncio.create_task(_keep_going("ended keys", lambda: office.ended_keys.run(settings))),
        asyncio.create_task(_keep_going("sequencer", lambda: sequencer.run(settings))),
    ]
    try:
        yield office
    finally:
        office.doorbell.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        pool.terminate()


async def _keep_going(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Start the work again when it fails: one fault must not silence a hub that goes on answering."""
    while True:
        try:
            await work()
        except DATABASE_AWAY as error:
            _logger.warning("the database is away", part=name, error=type(error).__name__)
        except Exception as error:
            log_fault(f"{name} failed", error)
        await asyncio.sleep(RESTART_SECONDS)
