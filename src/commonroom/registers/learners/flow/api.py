"""/api/learners/numbers: the look-up list of the caller's own school. The portal mounts HANDLERS and proves who asks."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency

from commonroom.registers.learners.api import Counter
from commonroom.registers.learners.flow.lookup import PupilNumber, as_csv, as_json, numbers_of_school

_HEADERS = {"Cache-Control": "no-store", "Vary": "Cookie, Authorization"}
CSV_TYPE = "text/csv; charset=utf-8; header=present"
FILE_NAME = "learner-numbers.csv"

AnyRequest = Request[Any, Any, Any]


@get("/api/learners/numbers")
async def list_numbers(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """The numbers of the caller's own pupils, as JSON."""
    body = as_json(await _listed(request, learners))
    return Response(body, media_type="application/json", headers=_HEADERS)


@get("/api/learners/numbers.csv")
async def list_numbers_csv(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """The same as a file."""
    body = as_csv(await _listed(request, learners)).encode()
    shown = {"Content-Disposition": f'attachment; filename="{FILE_NAME}"'}
    return Response(body, media_type=CSV_TYPE, headers=_HEADERS | shown)


async def _listed(request: AnyRequest, learners: Counter) -> list[PupilNumber]:
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return await numbers_of_school(conn, who, "API")


HANDLERS = [list_numbers, list_numbers_csv]
