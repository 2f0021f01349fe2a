"""The portal's web application: its routes, what every answer carries, and what happens when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders, State
from litestar.di import Provide
from litestar.static_files import create_static_files_router
from litestar.types import Message, Scope

from commonroom.engines.database import open_pool
from commonroom.portal import figures, rendering, security
from commonroom.portal.errors import ERRORS
from commonroom.portal.house import House, provide_connection, provide_house, provide_visit
from commonroom.portal.learners_door import LearnersDoor, provide_learners
from commonroom.portal.pages import HANDLERS
from commonroom.portal.providers_door import provide_keeper
from commonroom.portal.returns_door import provide_caller
from commonroom.problems import Problem, add_codes
from commonroom.registers.learners import api as learners_api
from commonroom.registers.learners import sif
from commonroom.registers.learners.flow import api as learner_numbers_api
from commonroom.registers.providers import api as providers_api
from commonroom.returns import api as returns_api
from commonroom.settings import Settings
from commonroom.warehouse import compile_measures, open_reader
from commonroom.warehouse.warming import end, keep_warm

add_codes({"CR-103": "The style sheet of the portal is missing"})

HERE = Path(__file__).parent
# The largest form is the sign-in form; what takes more (an upload of a return) says so itself.
LARGEST_FORM = 64 * 1024
# Seconds that a page waits for figures that take long; then it says so, and they are worked out meanwhile.
PATIENCE = 8.0


def create_app(settings: Settings) -> Litestar:
    """The portal as an ASGI app. It opens its database pool and warehouse reader when it starts.

    Raises Problem CR-103 when `make setup` has not put the style sheet in place.
    """
    _require_style()
    house = House(settings, rendering.environment(), security.form_key(settings.folder("keys")))
    answer_headers = security.headers(settings)

    @asynccontextmanager
    async def open_house(_: Litestar) -> AsyncIterator[None]:
        house.pool = await open_pool(settings)
        house.reader = reader = open_reader(settings, patience=PATIENCE)
        compile_measures()  # nobody's page waits for it
        stop = asyncio.Event()
        ahead = asyncio.create_task(
            keep_warm(reader, house.pool, stop, lambda connection: figures.expect_usual(reader, connection))
        )
        try:
            yield
        finally:
            stop.set()
            await end(ahead)
            house.warehouse.close()
            await house.pool.close()

    async def add_headers(message: Message, _: Scope) -> None:
        if message["type"] == "http.response.start":
            MutableScopeHeaders.from_message(message).update(answer_headers)

    return Litestar(
        route_handlers=[
            *HANDLERS,
            *returns_api.HANDLERS,
            *providers_api.HANDLERS,
            *learners_api.HANDLERS,
            *learner_numbers_api.HANDLERS,
            *sif.HANDLERS,
            _static(),
        ],
        lifespan=[open_house],
        state=State({"house": house, "learners": LearnersDoor(settings)}),
        dependencies={
            "house": Provide(provide_house),
            "conn": Provide(provide_connection),
            "visit": Provide(provide_visit),
            "caller": Provide(provide_caller),
            "keeper": Provide(provide_keeper),
            "learners": Provide(provide_learners),
        },
        exception_handlers=ERRORS,
        before_send=[add_headers],
        request_max_body_size=LARGEST_FORM,
        openapi_config=None,
    )


def _static() -> Any:
    """Our style sheet and GOV.UK's, the icon, the script: the only files a page loads."""
    return create_static_files_router(path="/static", directories=[HERE / "static", HERE / "style"])


def _require_style() -> None:
    if not (HERE / "static" / "govuk-frontend.min.css").exists():
        raise Problem(
            "CR-103",
            "govuk-frontend.min.css has not been put in place",
            where=str(HERE / "static"),
            remedy="Run `make setup` (or `python scripts/front_end.py`).",
        )
