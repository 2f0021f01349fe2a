"""A plain HTTP/1.1 client for the load: its CPU comes from the same cores as what is measured, so it does little.

Used for the hub and for its peer alike. Connections stay open; an answer that is not read to its end is a fault.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

import httptools

ANSWER_SECONDS = 120.0


def encoded(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request as it travels."""
    length = {"content-length": str(len(body))} if body or method != "GET" else {}
    lines = [f"{method} {path} HTTP/1.1", "host: bench"]
    lines += [f"{name}: {value}" for name, value in {**headers, **length}.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Http:
    """At most so many connections to one server. Made by `connections`."""

    def __init__(self, host: str, port: int, most: int) -> None:
        self._address = host, port
        self._most = most
        self._open = 0
        self._idle: list[_Connection] = []
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send an encoded request; status and body of the answer. Raises OSError when the connection breaks."""
        connection = await self._take()
        try:
            return await connection.ask(request)
        finally:
            if connection.usable:
                self._idle.append(connection)
            else:
                connection.close()
                self._open -= 1
            while self._waiting:
                if not (waiting := self._waiting.popleft()).done():
                    waiting.set_result(None)
                    break

    def close(self) -> None:
        """Close all connections."""
        for connection in self._idle:
            connection.close()

    async def _take(self) -> _Connection:
        while True:
            while self._idle:
                if (connection := self._idle.pop()).usable:
                    return connection
                self._open -= 1
            if self._open < self._most:
                self._open += 1
                loop = asyncio.get_running_loop()
                try:
                    _, made = await loop.create_connection(_Connection, *self._address)
                except OSError:
                    self._open -= 1
                    raise
                return made
            self._waiting.append(waiting := asyncio.get_running_loop().create_future())
            await waiting


class _Connection(asyncio.Protocol):
    """One connection: a request, then its answer, then the next request."""

    def __init__(self) -> None:
        self.usable = False
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._chunks: list[bytes] = []

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self.usable = False  # until the answer has been read
        timer = loop.call_later(ANSWER_SECONDS, self._lost, TimeoutError("no answer"))
        try:
            self._transport.write(request)
            return await self._answer
        finally:
            timer.cancel()
            self._answer = None

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name
        self._parser = httptools.HttpResponseParser(self)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._lost(OSError(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc or ConnectionResetError("the server closed the connection"))

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        body, self._chunks = b"".join(self._chunks), []
        self.usable = self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), body))

    def _lost(self, error: Exception) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


@asynccontextmanager
async def connections(url: str, number: int) -> AsyncIterator[Http]:
    """A client with at most so many connections."""
    parts = urlsplit(url)
    http = Http(parts.hostname or "127.0.0.1", parts.port or 80, number)
    try:
        yield http
    finally:
        http.close()
