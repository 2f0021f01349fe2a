"""The day runs: schools send by the clock, authorities and the warehouse collect by long poll, schools ask for reports.

The day goes so many times faster than the real one. Requests are signed before it begins, as in the hub's benchmark.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import msgspec
from hub_bench import meters

from commonroom.exchange import Envelope
from commonroom.exchange.signatures import sign
from commonroom.ids import uuid7
from national.pattern import DAY_BEGINS, DAY_ENDS, HOUR, Sending
from national.town import REGISTERS, Station, Town

LIMIT = 500  # letters in one look
POLL_SECONDS = 20
SAMPLE_SECONDS = 0.5
REPORTS_EVERY = HOUR  # of the day: how often a school asks for its reports
LAST_LETTER_SECONDS = 120

_UNFINISHED = """
SELECT (SELECT count(*) FROM hub.delivery WHERE finished_at IS NULL) AS letters,
    (SELECT count(*) FROM hub.report) AS reports
"""


class _Id(msgspec.Struct, frozen=True):
    id: str


class _Letter(msgspec.Struct, frozen=True):
    delivery: str
    message: _Id


class _Mail(msgspec.Struct, frozen=True):
    letters: list[_Letter]


_MAIL = msgspec.json.Decoder(_Mail)


class Ready(msgspec.Struct, frozen=True):
    """One message as it will be sent."""

    sending: Sending
    id: str
    headers: dict[str, str]
    body: bytes


class Sample(msgspec.Struct, frozen=True):
    """What stood at one moment."""

    at: float  # second of the day
    unfinished: int  # deliveries
    reports: int
    cores: float  # of hub and database, since the sample before


class Day(msgspec.Struct):
    """What happened, by message id; times of one monotonic clock."""

    sendings: dict[str, Sending] = {}
    sent: dict[str, float] = {}
    answered: dict[str, float] = {}
    received: dict[tuple[str, str], float] = {}  # by message and recipient
    reports: int = 0
    late: int = 0  # sends more than 50 ms behind the plan: the load generator's own fault
    samples: list[Sample] = []
    began: float = 0.0

    def receivable(self, ids: Sequence[str] | None = None) -> list[float]:
        """Milliseconds from the sender's 202 until each recipient had the letter in its hands."""
        wanted = None if ids is None else set(ids)
        return [
            1000 * max(0.0, moment - self.answered[name])
            for (name, _), moment in self.received.items()
            if wanted is None or name in wanted
        ]

    def most_in_a_second(self, ids: Sequence[str] | None = None) -> int:
        """The most that were sent within one second of the run."""
        moments = self.sent.values() if ids is None else [self.sent[name] for name in ids]
        return max(Counter(int(moment - self.began) for moment in moments).values())

    def accepts(self) -> list[float]:
        """Milliseconds from each send to its 202."""
        return [1000 * (self.answered[name] - self.sent[name]) for name in self.sent]


def make_ready(town: Town, sendings: Sequence[Sending]) -> list[Ready]:
    """Sign everything."""
    return [_ready(town.schools[sending.school], sending) for sending in sendings]


async def run(town: Town, ready: Sequence[Ready], faster: float, say: Callable[[str], None]) -> Day:
    """The whole day, `faster` times as fast; returns when every letter has been collected and every report taken."""
    day = Day(sendings={one.id: one.sending for one in ready})
    async with _connections(town.url, 500) as http:
        collectors = [asyncio.create_task(_collect(http, one, day)) for one in town.recipients]
        day.began = time.perf_counter() + 0.5
        clock = _Clock(day.began, faster)
        watching = asyncio.create_task(_watch(town, clock, day, say))
        asking = [
            asyncio.create_task(_ask_for_reports(http, school, number / len(town.schools), clock, day))
            for number, school in enumerate(town.schools)
        ]
        await _send_by_the_clock(http, town, ready, clock, day)
        await _all_received(day, 2 * len(ready))
        for task in (*collectors, watching, *asking):
            task.cancel()
        await asyncio.gather(*collectors, watching, *asking, return_exceptions=True)
    day.reports += await drain_reports(town)
    return day


async def idle_cores(town: Town, seconds: float) -> float:
    """What hub and database use of a core while everybody waits and nothing is sent."""
    async with _connections(town.url, len(town.recipients)) as http:
        collectors = [asyncio.create_task(_collect(http, one, Day())) for one in town.recipients]
        await asyncio.sleep(1)  # the polls are waiting
        used, moment = meters.cpu_of(town.processes), time.perf_counter()
        await asyncio.sleep(seconds)
        cores = (meters.cpu_of(town.processes) - used) / (time.perf_counter() - moment)
        for task in collectors:
            task.cancel()
        await asyncio.gather(*collectors, return_exceptions=True)
    return cores


async def all_at_once(town: Town, ready: Sequence[Ready], seconds: float) -> Day:
    """These messages spread evenly over so many seconds, and nothing else."""
    spread = [
        msgspec.structs.replace(
            one, sending=msgspec.structs.replace(one.sending, at=n * seconds / len(ready))
        )
        for n, one in enumerate(ready)
    ]
    day = Day(sendings={one.id: one.sending for one in spread})
    async with _connections(town.url, 1_000) as http:
        collectors = [asyncio.create_task(_collect(http, one, day)) for one in town.recipients]
        await asyncio.sleep(0.5)  # the polls are waiting
        day.began = time.perf_counter()
        await _send_by_the_clock(http, town, spread, _Clock(day.began, 1.0, 0.0), day)
        await _all_received(day, 2 * len(ready))
        for task in collectors:
            task.cancel()
        await asyncio.gather(*collectors, return_exceptions=True)
    return day


async def drain_reports(town: Town) -> int:
    """Every school takes all its reports; how many there were."""
    found = 0
    async with _connections(town.url, 1) as http:
        for school in town.schools:
            while taken := await _take_reports(http, school):
                found += taken
    return found


async def idle_looks(town: Town, looks: int, connections: int) -> int:
    """So many looks for reports where there are none: what an end point in a long poll costs while nothing happens."""
    async with _connections(town.url, connections) as http:

        async def look(number: int) -> None:
            school = town.schools[number % len(town.schools)]
            if await _mail(http, school, "reports", 0):
                raise RuntimeError("there are reports left")

        for first in range(0, looks, connections):
            await asyncio.gather(*(look(n) for n in range(first, min(looks, first + connections))))
    return looks


class _Clock:
    """The day's time, and the real moments of it."""

    def __init__(self, began: float, faster: float, begins: float = DAY_BEGINS) -> None:
        self._began, self._faster, self._begins = began, faster, begins

    def now(self) -> float:
        """Second of the day."""
        return self._begins + (time.perf_counter() - self._began) * self._faster

    def due(self, at: float) -> float:
        """When it is so late."""
        return self._began + (at - self._begins) / self._faster

    async def wait_for(self, at: float) -> None:
        """Until it is so late."""
        if (pause := self.due(at) - time.perf_counter()) > 0:
            await asyncio.sleep(pause)


async def _send_by_the_clock(
    http: aiohttp.ClientSession, town: Town, ready: Sequence[Ready], clock: _Clock, day: Day
) -> None:
    sends = []
    for one in ready:
        await clock.wait_for(one.sending.at)
        late = time.perf_counter() - clock.due(one.sending.at) > 0.05
        day.late += late
        sends.append(asyncio.create_task(_post(http, town.schools[one.sending.school], one, day)))
    await asyncio.gather(*sends)


async def _post(http: aiohttp.ClientSession, school: Station, one: Ready, day: Day) -> None:
    day.sent[one.id] = time.perf_counter()
    async with http.post("/messages", headers={**one.headers, **school.headers}, data=one.body) as answer:
        text = await answer.read()
        if answer.status != 202:
            raise RuntimeError(f"{answer.status}: {text[:300]!r}")
    day.answered[one.id] = time.perf_counter()


async def _collect(http: aiohttp.ClientSession, station: Station, day: Day) -> None:
    while True:
        letters = await _mail(http, station, "letters", POLL_SECONDS)
        now = time.perf_counter()
        for letter in letters:
            day.received.setdefault((letter.message.id, station.party), now)
        if letters:
            await _acknowledge(http, station, letters)


async def _ask_for_reports(
    http: aiohttp.ClientSession, school: Station, share: float, clock: _Clock, day: Day
) -> None:
    """Now and then, each school at another moment."""
    at = DAY_BEGINS + share * REPORTS_EVERY
    while at < DAY_ENDS:
        await clock.wait_for(at)
        day.reports += await _take_reports(http, school)
        at += REPORTS_EVERY


async def _take_reports(http: aiohttp.ClientSession, school: Station) -> int:
    reports = await _mail(http, school, "reports", 0)
    if reports:
        await _acknowledge(http, school, reports)
    return len(reports)


async def _mail(http: aiohttp.ClientSession, station: Station, kind: str, wait: float) -> list[_Letter]:
    query = f"/mailbox?kind={kind}&limit={LIMIT}&wait={wait:g}"
    async with http.get(query, headers=station.headers) as answer:
        text = await answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {text[:300]!r}")
    return _MAIL.decode(text).letters


async def _acknowledge(http: aiohttp.ClientSession, station: Station, letters: Sequence[_Letter]) -> None:
    body = msgspec.json.encode({"deliveries": [letter.delivery for letter in letters]})
    headers = {**station.headers, "content-type": "application/json"}
    async with http.post("/mailbox/acknowledge", headers=headers, data=body) as answer:
        text = await answer.read()
        if answer.status != 200 or msgspec.json.decode(text)["ignored"]:
            raise RuntimeError(f"{answer.status}: {text[:300]!r}")


async def _all_received(day: Day, deliveries: int) -> None:
    async with asyncio.timeout(LAST_LETTER_SECONDS):
        while len(day.received) < deliveries:  # noqa: ASYNC110 - a plain count is watched
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # the last acknowledgements


async def _watch(town: Town, clock: _Clock, day: Day, say: Callable[[str], None]) -> None:
    """Backlog and CPU, sample by sample, and a word every hour of the day."""
    used, moment, hour = meters.cpu_of(town.processes), time.perf_counter(), 0
    while True:
        await asyncio.sleep(SAMPLE_SECONDS)
        row = await town.database.fetchrow(_UNFINISHED)
        cpu, now = meters.cpu_of(town.processes), time.perf_counter()
        cores = (cpu - used) / (now - moment)
        day.samples.append(Sample(clock.now(), row["letters"], row["reports"], round(cores, 3)))
        used, moment = cpu, now
        if int(clock.now() // HOUR) != hour:
            hour = int(clock.now() // HOUR)
            say(f"{hour:02d}:00  {len(day.answered):,} sent, {len(day.received):,} received")


def _connections(url: str, number: int) -> Any:
    return aiohttp.ClientSession(
        url, connector=aiohttp.TCPConnector(limit=number), timeout=aiohttp.ClientTimeout(total=120)
    )


def _ready(school: Station, sending: Sending) -> Ready:
    body = os.urandom(sending.size)  # what is compressed or encrypted looks like this
    envelope = Envelope(
        id=str(uuid7()),
        source=school.party,
        type=REGISTERS,
        datacontenttype="application/octet-stream",
        contentmode="changes",
    )
    signed = sign(envelope, hashlib.sha256(body).digest(), school.key)
    return Ready(sending, envelope.id, signed.to_headers(), body)
