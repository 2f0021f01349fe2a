"""A real receiver of pushes: an HTTP server on the loopback address that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

CONSENT = {"WebHook-Allowed-Origin": "*"}


class Got(msgspec.Struct, frozen=True):
    """One request; `headers` by names in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """What came in, and what is answered: `consent` to OPTIONS, `answers` in turn to POST and then `status`."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[Got] = []
        self.consent: tuple[int, dict[str, str]] = (200, CONSENT)
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.status = 204
        self.at_once = self.most_at_once = 0

    @property
    def pushes(self) -> list[Got]:
        """The letters that came."""
        return [got for got in self.got if got.method == "POST"]

    async def answer(self, request: web.Request) -> web.Response:
        """The aiohttp handler."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append(Got(request.method, request.path_qs, headers, await request.read()))
        if request.method == "OPTIONS":
            status, given = self.consent
        else:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            await asyncio.sleep(0.01)  # some work, so that two can meet
            self.at_once -= 1
            status, given = self.answers.pop(0) if self.answers else (self.status, {})
        return web.Response(status=status, headers=given)


@asynccontextmanager
async def receiver_here(port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver in this event loop; `.url` says where."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/in?a=%7Eb"
    try:
        yield receiver
    finally:
        await runner.cleanup()
