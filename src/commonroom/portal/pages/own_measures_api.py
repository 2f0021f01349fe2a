"""/api/my/measures: the same for programs: list, define, show, delete. What changes something carries the form token."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from commonroom.portal import own_tables, security
from commonroom.portal.house import JSON_TYPE, NO_CACHE, AnyRequest, House, Visit
from commonroom.portal.pages.own_measures import LARGEST, answer_of, require
from commonroom.portal.returns_door import TOKEN_HEADER
from commonroom.problems import Problem
from commonroom.warehouse import own
from commonroom.warehouse.own import Own, Unusable

CREATED = 201


@get("/api/my/measures")
async def listed(
    house: NamedDependency[House], visit: NamedDependency[Visit], conn: NamedDependency[Any]
) -> Response[bytes]:
    """The organisation's measures with their declarations, examples to start from, and the token for what changes them."""
    require(visit)
    found = await own.known(conn, visit.principal)
    return _answer(
        {
            "form_token": security.form_token(house.form_key, visit.browser),
            "measures": [_told(one) for one in found],
            "unusable": [_told(one) for one in await own.unusable(conn, visit.principal)],
            "examples": own.examples(),
        }
    )


@post("/api/my/measures", request_max_body_size=LARGEST)
async def define(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """Keep the declaration that is the body (YAML), in the place of one of its name."""
    _check(request, house, visit)
    try:
        text = (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problem("CR-286", f"byte {error.start} is not UTF-8", status=422) from error
    return _answer(_told(await own.define(conn, visit.principal, text)), CREATED)


@get("/api/my/measures/{name:str}")
async def one(
    visit: NamedDependency[Visit], conn: NamedDependency[Any], name: FromPath[str]
) -> Response[bytes]:
    """One measure with its declaration."""
    require(visit)
    return _answer(_told(await own.kept(conn, visit.principal, name)))


@get("/api/my/measures/{name:str}/figures")
async def shown(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    name: FromPath[str],
) -> Response[bytes]:
    """Its figures for `grain`, `from` and `to`, whose records they count, and what is published beside; with a `purpose`."""
    require(visit)
    kept = await own.named(conn, visit.principal, name)
    asked = await own_tables.asked_of(request, conn, visit.principal, kept.measure)
    found = await answer_of(house, visit, conn, name, asked)
    beside = found.benchmark
    return _answer(
        {
            "measure": name,
            "grain": asked.grain,
            "from": asked.first,
            "to": asked.last,
            "figures": found.own.figures,
            "schools": found.own.schools,
            "left_out": found.own.left_out,
            "benchmark": beside.measure.name if beside else None,
            "published": beside.published if beside else (),
            "similar": beside.similar if beside else None,
        }
    )


@delete("/api/my/measures/{name:str}")
async def remove(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    name: FromPath[str],
) -> None:
    """Forget one."""
    _check(request, house, visit)
    await own.delete(conn, visit.principal, name)


def _check(request: AnyRequest, house: House, visit: Visit) -> None:
    token, site = request.headers.get(TOKEN_HEADER, ""), request.headers.get("Sec-Fetch-Site", "")
    require(visit)
    security.check_form(house.form_key, visit.browser, token, site)


def _told(one: Own | Unusable) -> dict[str, Any]:
    if isinstance(one, Unusable):
        return {
            "name": one.name,
            "fault": one.fault.as_json(),
            "defined_at": one.defined_at,
            "declaration": one.text,
        }
    return {
        "name": one.measure.name,
        "title": one.measure.title,
        "meaning": one.measure.meaning,
        "benchmark": one.measure.benchmark,
        "grains": one.measure.grains,
        "defined_at": one.defined_at,
        "declaration": one.text,
    }


def _answer(content: Any, status: int = 200) -> Response[bytes]:
    return Response(
        msgspec.json.encode(content),
        media_type=JSON_TYPE,
        status_code=status,
        headers={"Cache-Control": NO_CACHE, "Vary": "Cookie"},
    )


HANDLERS = [listed, define, one, shown, remove]
