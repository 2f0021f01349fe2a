"""The portal as a process."""

from __future__ import annotations

import uvicorn

from commonroom.portal.app import create_app
from commonroom.settings import Settings


def run(settings: Settings) -> None:
    """Serve until told to stop. Access is not logged: addresses may say what a person looked for."""
    uvicorn.run(
        create_app(settings),
        host=settings.bind,
        port=settings.portal_port,
        access_log=False,
        log_config=None,
        server_header=False,
    )
