"""Running agents: each looks, posts and pulls in its own tasks; hundreds of them share one process and one HTTP pool.

A fault of one agent is written into its status and its log, waits and is tried again; the others never notice.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import httpx2
import msgspec

from commonroom import log, standard
from commonroom.agent import config as configuration
from commonroom.agent import recall, reports, status
from commonroom.agent.config import Config
from commonroom.agent.enrolment import remembered_or_new
from commonroom.agent.load import Loaded, Store
from commonroom.agent.look import Looker, Outcome
from commonroom.agent.mapping import load_store
from commonroom.agent.memory import Memory, Occupied, add_to_note
from commonroom.agent.post import Posted, post_waiting
from commonroom.agent.recall import RowFinding
from commonroom.agent.waiting import LONGEST_PAUSE, back_off, either, is_expected, loggable
from commonroom.exchange import LARGEST, Client, Letter, is_report, make_http_client
from commonroom.problems import Problem
from commonroom.stopping import until_stopped

T = TypeVar("T")

LOOKING_THREADS = 2
BOOKING_THREADS = 4
STAGGER_SECONDS = 5.0  # at most so long after the start until the last agent's first look
PULL_LIMIT = 50
PULL_WAIT = 25.0
POST_ANYWAY_SECONDS = 30.0  # the outbox is looked into at least so often
# Faults that no letter is to blame for: the store or the memory cannot be written, or the process has no room.
STORE_FAULTS = (Problem, OSError, sqlite3.Error, MemoryError)


class Shared(msgspec.Struct, frozen=True):
    """What all agents of a process use together."""

    http: httpx2.AsyncClient
    looks: ThreadPoolExecutor  # reading sources
    books: ThreadPoolExecutor  # memory and stores
    stop: asyncio.Event


class Agent:
    """One running agent. Raises Problem when its configuration, mapping or memory cannot be used."""

    def __init__(self, config: Config, shared: Shared) -> None:
        self._config = config
        self._shared = shared
        self._log = log.get("agent").bind(agent=config.name)
        language = standard.load()
        self._looker = Looker(config, language) if config.source else None
        self._store = _store(config, language)
        self._claim = Occupied(config.folder)
        try:
            self._memory = Memory.open(config.memory_file)
        except BaseException:
            self._claim.release()
            raise
        self._client: Client | None = None
        self._party = ""
        self._enrolled = asyncio.Event()
        self._to_post = asyncio.Event()
        self._looked_at: datetime | None = None
        self._errors: dict[str, str] = {}
        self._reporting = asyncio.Lock()

    async def run(self, first_look_after: float = 0.0) -> None:
        """Look, post and pull until asked to stop."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._repeat("enrol", self._enrol, once=True))
                tasks.create_task(self._repeat("post", self._post))
                if self._looker is not None:
                    tasks.create_task(self._repeat("look", self._look, first_look_after))
                tasks.create_task(self._repeat("pull", self._pull))
        finally:
            self._close()

    def _close(self) -> None:
        for held in (self._looker, self._store, self._memory):
            if held is not None:
                held.close()
        self._claim.release()

    async def _repeat(
        self, what: str, step: Callable[[], Awaitable[float]], first_after: float = 0.0, once: bool = False
    ) -> None:
        """Do a step again and again, each after as many seconds as it asks; after a failure longer each time."""
        failures = 0
        pause = first_after
        while not await self._stopped_within(pause):
            try:
                pause = await step()
                failures = 0
                await self._report(what, "")
            except (
                Exception
            ) as error:  # one agent's fault must not end the others; it is told in log and status
                failures += 1
                pause = back_off(failures, error)
                self._log.warning(f"{what}-failed", reason=loggable(error), again_in=round(pause, 1))
                await self._report(what, str(error) if is_expected(error) else f"{what}: {loggable(error)}")
            else:
                if once:
                    return

    async def _stopped_within(self, seconds: float) -> bool:
        """Wait; True at once when the process is to stop."""
        return await _stopped_within(self._shared.stop, seconds)

    async def _enrol(self) -> float:
        """Become known to the hub: from the memory, or with the one-time code."""
        enrolment = await remembered_or_new(self._config, self._memory, self._shared.http)
        self._party = enrolment.party
        self._client = Client(
            self._config.hub,
            self._config.key_file,
            enrolment.end_point,
            http=self._shared.http,
            verify=self._config.verify or False,
        )
        if self._store is not None:
            await self._client.publish_encryption_key()
        self._enrolled.set()
        return 0.0

    async def _look(self) -> float:
        assert self._looker is not None
        begun = asyncio.get_running_loop().time()
        outcome: Outcome = await self._in(self._shared.looks, partial(self._looker.look, self._memory))
        self._looked_at = outcome.began
        if outcome.letters:
            self._to_post.set()
        if outcome.changes or outcome.findings:
            self._log.info(
                "looked",
                changes=outcome.changes,
                letters=len(outcome.letters),
                findings=len(outcome.findings),
                full=outcome.full,
            )
        taken = asyncio.get_running_loop().time() - begun
        return max(self._config.look_every_seconds - taken, 0.01)

    async def _post(self) -> float:
        client = await self._signed_in()
        if client is None:
            return 0.0
        self._to_post.clear()
        posted = await post_waiting(
            client, self._memory, self._party, self._shared.books, encrypt=self._config.encrypt is not None
        )
        if posted.refused:
            self._log.warning("letters-refused", count=posted.refused)
        if posted.held:
            self._log.warning("letters-held", count=posted.held)
        if posted == Posted():
            await self._wait_for(self._to_post, POST_ANYWAY_SECONDS)
        return 0.0

    async def _pull(self) -> float:
        client = await self._signed_in()
        if client is None:
            return 0.0
        # Without a store nothing but the reports is ours to take.
        kind: Literal["all", "reports"] = "reports" if self._store is None else "all"
        mail = (
            await until_stopped(client.pull(PULL_LIMIT, PULL_WAIT, kind, bodies=LARGEST), self._shared.stop)
            or []
        )
        told = [letter for letter in mail if is_report(letter.envelope)]
        if told:
            await self._in(self._shared.books, partial(reports.keep, self._memory, told))
            await client.acknowledge([letter.delivery for letter in told])
        if found := [letter for letter in mail if not is_report(letter.envelope)]:
            await self._take(client, found)
        return 0.0

    async def _take(self, client: Client, found: Sequence[Letter]) -> None:
        """Load letters and tell the hub what became of each."""
        assert self._store is not None
        try:
            fates = await self._load(self._store, found)
        except STORE_FAULTS:
            # Not the letters' fault: others may be able to take them, or we may, later.
            await client.release([letter.delivery for letter in found])
            raise
        except Exception as error:
            self._log.error("load-failed", reason=loggable(error), letters=len(found))
            await self._take_one_by_one(client, self._store, found)
        else:
            await self._answer(client, found, fates)

    async def _take_one_by_one(self, client: Client, store: Store, found: Sequence[Letter]) -> None:
        """Load each letter alone, so that the one that fails cannot hold up the others; raises the last such fault."""
        failed: list[str] = []
        fault: Exception | None = None
        for place, letter in enumerate(found):
            try:
                fates = await self._load(store, [letter])
            except STORE_FAULTS:
                await client.release([*failed, *(one.delivery for one in found[place:])])
                raise
            except Exception as error:
                failed.append(letter.delivery)
                fault = error
            else:
                await self._answer(client, [letter], fates)
        if fault is not None:
            await client.release(failed)
            raise fault

    async def _load(self, store: Store, found: Sequence[Letter]) -> list[Loaded]:
        """Letters into the store, and what is to be remembered of them into the memory."""
        fates = await self._in(self._shared.books, partial(store.load, found))
        await self._in(self._shared.books, partial(_keep_loaded, self._memory, fates))
        return fates

    async def _answer(self, client: Client, found: Sequence[Letter], fates: Sequence[Loaded]) -> None:
        await _answer(client, found, fates)
        refused = sum(bool(fate.refused) for fate in fates)
        self._log.info("loaded", letters=len(found) - refused, refused=refused)

    async def _signed_in(self) -> Client | None:
        """The client, once enrolled; None when the process stops before."""
        await self._wait_for(self._enrolled, None)
        return None if self._shared.stop.is_set() else self._client

    async def _wait_for(self, event: asyncio.Event, seconds: float | None) -> None:
        await either(event.wait(), self._shared.stop.wait(), seconds=seconds)

    async def _report(self, what: str, error: str) -> None:
        self._errors[what] = error
        error = next((text for text in self._errors.values() if text), "")
        try:
            async with self._reporting:
                await self._in(self._shared.books, partial(self._write_status, self._looked_at, error))
        except (OSError, sqlite3.Error) as fault:
            # The work goes on without a status, as on a full disk; a monitor sees that the file grows old.
            self._log.warning("status-not-written", reason=loggable(fault))

    def _write_status(self, looked_at: datetime | None, error: str) -> None:
        status.write(self._config.folder, status.read(self._memory, self._config.name, looked_at, error))

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        """The work in a thread. A thread cannot be cancelled: whoever is cancelled waits for its end all the same, so
        that nobody closes the memory under its feet."""
        working = asyncio.get_running_loop().run_in_executor(pool, work)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait([working])
            raise


def run(paths: Sequence[Path]) -> list[Problem]:
    """Run the agents of these configurations until SIGTERM or SIGINT; the problems of those that could not start."""
    return asyncio.run(_run(paths))


async def _run(paths: Sequence[Path]) -> list[Problem]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(name, stop.set)
        except NotImplementedError:
            # Windows has no such handlers in the loop; there a kill is a safe stop too.
            break
    # Each agent may hold one long poll and one post.
    http = make_http_client(2 * len(paths) + 10)
    with (
        ThreadPoolExecutor(LOOKING_THREADS, "look") as looks,
        ThreadPoolExecutor(BOOKING_THREADS, "book") as books,
    ):
        shared = Shared(http, looks, books, stop)
        try:
            return await _run_all(paths, shared)
        finally:
            await http.aclose()


async def _run_all(paths: Sequence[Path], shared: Shared) -> list[Problem]:
    agents: list[tuple[Path, Agent | None]] = []
    problems = []
    for path in paths:
        try:
            agents.append((path, Agent(configuration.load(path), shared)))
        except Problem as problem:
            log.get("agent").error("agent-not-started", reason=loggable(problem))
            problems.append(problem)
        except (OSError, sqlite3.Error) as error:
            log.get("agent").error("agent-not-started", reason=loggable(error))
            agents.append((path, None))
    step = STAGGER_SECONDS / max(len(agents), 10)
    await asyncio.gather(
        *(_keep_running(path, agent, shared, place * step) for place, (path, agent) in enumerate(agents))
    )
    return problems


async def _keep_running(path: Path, agent: Agent | None, shared: Shared, first_look_after: float) -> None:
    """Run one agent until the process is to stop; when a fault ends it, begin anew, after longer and longer pauses."""
    failures = 0
    pause = 0.0
    while not await _stopped_within(shared.stop, pause):
        begun = asyncio.get_running_loop().time()
        try:
            agent = agent or Agent(configuration.load(path), shared)
            await agent.run(first_look_after)
        except Exception as error:
            ran = asyncio.get_running_loop().time() - begun
            failures = 1 if ran > LONGEST_PAUSE else failures + 1
            pause = back_off(failures, error)
            with suppress(OSError):  # a full disk may be the log's too
                log.get("agent").error("agent-ended", reason=loggable(error), again_in=round(pause, 1))
        agent = None


async def _stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    if seconds > 0:
        await either(stop.wait(), seconds=seconds)
    return stop.is_set()


def _store(config: Config, language: standard.Standard) -> Store | None:
    if config.store is None:
        return None
    mapping = load_store(config.store.mapping, language)
    return Store(config.store.url, mapping, config.store.mapping.name, language)


def _keep_loaded(memory: Memory, fates: Sequence[Loaded]) -> None:
    found = [RowFinding(finding) for fate in fates for finding in fate.findings]
    loaded = sum(not fate.refused and not fate.repeated for fate in fates)
    with memory.transaction() as connection:
        add_to_note(connection, "loaded", loaded)
        if found:
            recall.keep_received(connection, found, datetime.now(UTC).isoformat(timespec="seconds"))


async def _answer(client: Client, found: Sequence[Letter], fates: Sequence[Loaded]) -> None:
    good = [letter.delivery for letter, fate in zip(found, fates, strict=True) if not fate.refused]
    if good:
        await client.acknowledge(good)
    for letter, fate in zip(found, fates, strict=True):
        if fate.refused:
            await client.refuse(letter.delivery, fate.refused)
