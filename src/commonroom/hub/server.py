"""The hub as a process: uvicorn around the application, with a drain that lets nobody wait in vain."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from commonroom import log
from commonroom.hub.api import create_app
from commonroom.settings import Settings

DRAIN_SECONDS = 10
KEEP_ALIVE_SECONDS = (
    75  # longer than our client keeps an idle connection, so that it never uses one just closed
)
BACKLOG = 2048  # connections that wait to be taken

GARBAGE = (
    20_000,
    20,
    20,
)  # requests leave hardly any cycles behind; looking for them took a twentieth of the time

_HEAD = b"HTTP/1.1 "


class OneWrite:
    """A transport that sends the head of an answer with what follows it, as one packet.

    The server writes them apart, and a system call costs as much as all the rest of a small answer.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self._soon: asyncio.Handle | None = None

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write now; a head, when more comes or before anything else happens."""
        if self._head:
            self._transport.write(self._taken() + data)
        elif data.startswith(_HEAD):
            self._head = data
            self._soon = self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close when all is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            self._transport.write(self._taken())

    def _taken(self) -> bytes:
        head, self._head = self._head, b""
        if self._soon is not None:
            self._soon.cancel()
        return head


class HubProtocol(HttpToolsProtocol):
    """HTTP/1.1 with answers in one write."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has connected."""
        super().connection_made(OneWrite(transport, self.loop))  # type: ignore[arg-type]


class HubServer(uvicorn.Server):
    """Ends long polls first when it is told to stop; what was being posted is still committed and answered."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop taking connections, finish requests, close the parts."""
        office = getattr(getattr(self.config.app, "state", None), "office", None)
        if office is not None:
            office.doorbell.close()
        await super().shutdown(sockets)


def make_server(settings: Settings) -> HubServer:
    """A server that is ready to `run()` or to be awaited with `serve()`."""
    return HubServer(
        uvicorn.Config(
            create_app(settings),
            host=settings.bind,
            port=settings.hub_port,
            loop="uvloop",
            http=HubProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here asks where a request came from
            ws="none",
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )


def listeners(settings: Settings) -> list[socket.socket] | None:
    """The socket of one of several processes on one port, among which the kernel spreads connections.

    It is bound and does not listen yet: the server listens when its parts are ready, and until then the kernel gives new
    connections to the others. None for a process that has its port to itself: it must not start beside another one
    unnoticed.
    """
    if settings.hub_processes == 1:
        return None
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        bound.bind((settings.bind, settings.hub_port))
    except OSError:
        bound.close()
        raise
    return [bound]


def run(settings: Settings) -> None:
    """Serve the hub on `settings.hub_port` until SIGTERM or SIGINT."""
    log.configure("hub", settings.log_level)
    server = make_server(settings)
    gc.freeze()  # what is here now stays
    gc.set_threshold(*GARBAGE)
    server.run(listeners(settings))
