"""The hub as a process: uvicorn around the application, with a drain that lets nobody wait in vain."""

from __future__ import annotations

import socket

import uvicorn

from commonroom import log
from commonroom.hub.api import create_app
from commonroom.settings import Settings

DRAIN_SECONDS = 10
KEEP_ALIVE_SECONDS = (
    75  # longer than our client keeps an idle connection, so that it never uses one just closed
)


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
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here asks where a request came from
            ws="none",
            backlog=2048,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )


def run(settings: Settings) -> None:
    """Serve the hub on `settings.hub_port` until SIGTERM or SIGINT."""
    log.configure("hub", settings.log_level)
    make_server(settings).run()
