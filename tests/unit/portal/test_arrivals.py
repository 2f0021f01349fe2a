"""Files on their way to the portal: nobody who sends slowly, or may not send, holds anything that others need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from commonroom.engines import arrivals
from commonroom.engines.arrivals import Arrivals
from commonroom.portal.app import create_app
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.unit.registers.learners.counter import AtTheCounter, Visitor, counter
from tests.unit.registers.learners.test_files import GOOD, NAME, csv_of
from tests.waiting import until_async

PAGE, API = "/learners/batches", "/api/learners/batches"
FORM = {"Content-Type": "multipart/form-data; boundary=cut", "Content-Length": "1000000"}
POOL = 8


class Sending(msgspec.Struct):
    """A request whose head is there; its body comes when the test says so."""

    task: asyncio.Task[None]
    body: asyncio.Queue[bytes]
    answers: list[Any]
    asked: int = 0

    async def answer(self) -> tuple[int, dict[str, str]]:
        """Status and headers, once the application has answered."""
        await asyncio.wait_for(self.task, 10)
        start = self.answers[0]
        return start["status"], {name.decode().lower(): value.decode() for name, value in start["headers"]}


class Portal(msgspec.Struct, frozen=True):
    """The application, running in the test's own loop, and those who come to it."""

    app: Any
    at: AtTheCounter

    @asynccontextmanager
    async def sending(
        self, visitor: Visitor, path: str, headers: dict[str, str], method: str = "POST"
    ) -> AsyncIterator[Sending]:
        """Open a request; end it whatever comes."""
        async with _sending(self.app, {**visitor.headers, **headers}, path, method) as one:
            yield one


@asynccontextmanager
async def portal(settings: Settings, pool: Any) -> AsyncIterator[Portal]:
    async with counter(settings, pool) as at:
        app = create_app(settings)
        async with app.lifespan():
            yield Portal(app, at)


@asynccontextmanager
async def _sending(app: Any, heads: dict[str, str], path: str, method: str) -> AsyncIterator[Sending]:
    body: asyncio.Queue[bytes] = asyncio.Queue()
    one = Sending(None, body, [])  # type: ignore[arg-type]

    async def receive() -> dict[str, Any]:
        one.asked += 1
        piece = await body.get()
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    async def send(message: dict[str, Any]) -> None:
        one.answers.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in heads.items()],
        "server": ("testserver.local", 80), "client": ("testclient", 50000), "state": {},
    }  # fmt: skip
    one.task = asyncio.create_task(app(scope, receive, send))
    try:
        yield one
    finally:
        one.task.cancel()
        await asyncio.gather(one.task, return_exceptions=True)


async def begun(*requests: Sending) -> None:
    """Wait until the application asks for the bodies of all these."""

    async def asked() -> bool:
        return all(one.asked for one in requests)

    await until_async(asked, 10, "every body being asked for")


async def test_nothing_is_read_of_a_file_whose_sender_may_not_send_it(settings: Settings, pool: Any) -> None:
    async with portal(settings, pool) as here:
        cases = (
            (here.at.public, FORM, 401),
            (here.at.analyst, FORM, 403),
            (here.at.school, {**FORM, "Sec-Fetch-Site": "cross-site"}, 403),
            (here.at.school, {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        )
        for visitor, headers, status in cases:
            async with here.sending(visitor, PAGE, headers) as one:
                assert ((await one.answer())[0], one.asked) == (status, 0)


async def test_who_sends_slowly_holds_no_connection_of_the_database(settings: Settings, pool: Any) -> None:
    async with portal(settings, pool) as here, AsyncExitStack() as stack:
        ways = [(here.at.school, PAGE, FORM), (here.at.machine, API, {"X-File-Name": NAME})]
        ways += [(here.at.public, "/sign-in", {"Content-Type": "application/x-www-form-urlencoded"})] * POOL
        slow = [await stack.enter_async_context(here.sending(*way)) for way in ways]
        await begun(*slow)
        async with here.sending(here.at.school, PAGE, {}, "GET") as page:
            assert (await page.answer())[0] == 200
        # A machine's file that comes in the end is taken.
        content = csv_of(GOOD)
        for piece in (content[:100], content[100:], b""):
            await slow[1].body.put(piece)
        assert (await slow[1].answer())[0] == 202


async def test_a_party_sends_two_files_at_once(settings: Settings, pool: Any) -> None:
    async with portal(settings, pool) as here:
        async with AsyncExitStack() as stack:
            for way in ((here.at.school, PAGE, FORM), (here.at.machine, API, {})):
                await begun(await stack.enter_async_context(here.sending(*way)))
            for visitor, path in ((here.at.school, PAGE), (here.at.machine, API)):
                async with here.sending(visitor, path, FORM) as third:
                    status, headers = await third.answer()
                    assert (status, headers["retry-after"], third.asked) == (429, "30", 0)
            async with here.sending(here.at.other_school, PAGE, FORM) as other:
                await begun(other)
        # Those have gone, and so is what they held.
        async with here.sending(here.at.machine, API, {}) as again:
            await begun(again)


def test_places_are_few_and_come_back() -> None:
    few = Arrivals(at_once=3, of_one=2)
    with few.place("a"), few.place("a"), few.place("b"):
        for party, status in (("a", 429), ("b", 503), ("c", 503)):
            with pytest.raises(Problem) as full, few.place(party):
                pass
            assert (full.value.code, full.value.status) == (arrivals.TOO_MANY, status)
    with few.place("a"), few.place("a"), few.place("c"):
        pass


async def test_a_body_that_does_not_come_in_time_is_let_go() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    with pytest.raises(Problem) as slow:
        async with arrivals.spooled(never(), 0.05):
            pass
    assert (slow.value.code, slow.value.status) == (arrivals.TOO_SLOW, 408)


async def test_a_large_body_lies_on_disk_and_is_whole() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield bytes([number]) * arrivals.IN_MEMORY

    async with arrivals.spooled(pieces(), 10) as file:
        assert file._rolled is True  # type: ignore[attr-defined]
        assert file.read() == b"".join([piece async for piece in pieces()])
