"""The hub's HTTP interface: thin handlers over post, mailbox, tracking, movements and identity.

Shapes are in `exchange.contract`; faults become problem JSON in `answers`. No handler looks into a body.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from litestar import Litestar, Response, get, post
from litestar.exceptions import HTTPException, InternalServerException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from commonroom.exchange import (
    AcknowledgeRequest,
    BatchResponse,
    Enrolment,
    EnrolRequest,
    Envelope,
    ExtendRequest,
    MailboxResponse,
    Receipt,
    RefuseRequest,
    ReleaseRequest,
    Settled,
    TokenResponse,
    Tracking,
)
from commonroom.exchange.contract import ASSERTION_TYPE, MAX_WAIT_SECONDS
from commonroom.exchange.envelope import MAX_BATCH_ITEMS
from commonroom.hub import (
    answers,
    governance_api,
    hot,
    keys_api,
    ledger,
    ledger_api,
    movements,
    openapi,
    push_api,
    replay_api,
    tracking,
)
from commonroom.hub.bodies_api import HANDLERS as BODY_HANDLERS
from commonroom.hub.callers import Call
from commonroom.hub.callers import caller_of as _caller
from commonroom.hub.callers import json_answer as _json
from commonroom.hub.callers import office_of as _office
from commonroom.hub.collector import Errand, Kind
from commonroom.hub.fast_paths import FastPaths
from commonroom.hub.movements import ListedMovement
from commonroom.hub.office import open_office
from commonroom.hub.settling import wish
from commonroom.identity import enrol
from commonroom.problems import Problem
from commonroom.settings import Settings

HEALTH_SECONDS = 2.0
GRANT_TYPE = "client_credentials"


def create_app(settings: Settings) -> FastPaths:
    """The hub as an ASGI application. Its parts open with the application's lifespan: `app.state.office`."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with open_office(settings) as office:
            app.state.office = office
            yield

    app = Litestar(
        route_handlers=[
            post_message,
            post_batch,
            get_mailbox,
            acknowledge,
            refuse,
            extend,
            release,
            get_message,
            get_movements,
            enrol_end_point,
            give_token,
            health,
            metrics,
            *BODY_HANDLERS,
            *replay_api.HANDLERS,
            *keys_api.HANDLERS,
            *ledger_api.HANDLERS,
            *push_api.HANDLERS,
            *governance_api.HANDLERS,
        ],
        lifespan=[lifespan],
        before_request=_need_a_standby,
        exception_handlers={
            Problem: answers.on_problem,
            HTTPException: answers.on_http_exception,
            Exception: answers.on_fault,
        },
        openapi_config=openapi.config(),
        request_max_body_size=hot.SMALL_BODY_BYTES,
        logging_config=None,
    )
    return FastPaths(app)


@post(
    "/messages",
    status_code=202,
    request_max_body_size=None,  # limited while it streams, below
    operation_class=openapi.PostOperation,
    security=openapi.SIGNED_IN,
    responses={202: ResponseSpec(Receipt, description="On disk; it will be delivered.")},
)
async def post_message(request: Call) -> Response[bytes]:
    """Post one message: the envelope in ce- headers, the body as it is."""
    caller, office = _caller(request), _office(request)
    envelope = Envelope.from_headers(request.scope["headers"])
    limit = office.settings.max_body_bytes
    body, digest = await _read(
        request,
        limit,
        "Send fewer records in a message, compress them, or upload the body first (`POST /uploads`).",
    )
    return _json(await hot.post(office, caller, envelope, body, digest), 202)


@post(
    "/messages:batch",
    status_code=200,
    request_max_body_size=None,
    operation_class=openapi.BatchOperation,
    security=openapi.SIGNED_IN,
    responses={200: ResponseSpec(BatchResponse, description="One result for each message, in their order.")},
)
async def post_batch(request: Call) -> Response[bytes]:
    """Post 1 to 500 messages in one transaction. Each has its own result: a bad one does not stop the others."""
    caller, office = _caller(request), _office(request)
    hot.check_batch_type(request.headers.get("content-type", ""))
    body, _ = await _read(request, office.settings.max_batch_bytes, "Send fewer messages in a batch.")
    return _json(await hot.post_batch(office, caller, body), 200)


@get(
    "/mailbox",
    security=openapi.SIGNED_IN,
    responses={200: ResponseSpec(MailboxResponse, description="Leased letters; empty when nothing came.")},
)
async def get_mailbox(
    request: Call,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_BATCH_ITEMS)] = hot.DEFAULT_LIMIT,
    wait: Annotated[float, QueryParameter(ge=0, le=MAX_WAIT_SECONDS)] = 0,
    kind: FromQuery[Kind] = "all",
) -> Response[bytes]:
    """Collect up to `limit` letters and reports under a lease, waiting up to `wait` seconds for the first one."""
    caller, office = _caller(request), _office(request)
    errand = Errand(caller.party or "", caller.id, limit, kind)
    answer = await hot.collect(office, errand, wait, lambda: _caller(request), request.receive)
    return _json(msgspec.Raw(answer), 200)


@post("/mailbox/acknowledge", status_code=200, security=openapi.SIGNED_IN)
async def acknowledge(request: Call, data: JSONBody[AcknowledgeRequest]) -> Settled:
    """Loaded and safe: never deliver these again."""
    return await hot.acknowledge(_office(request), _caller(request), data.deliveries)


@post("/mailbox/refuse", status_code=200, security=openapi.SIGNED_IN)
async def refuse(request: Call, data: JSONBody[RefuseRequest]) -> Settled:
    """These cannot be used; the sender is told the reason, which must hold no personal data."""
    caller, office = _caller(request), _office(request)
    refused = wish(
        "finish", data.deliveries, caller.party or "", caller.id, state=ledger.REFUSED, reason=data.reason
    )
    return hot.counted(office, "refuse", await office.settler.ask(refused))


@post("/mailbox/extend", status_code=200, security=openapi.SIGNED_IN)
async def extend(request: Call, data: JSONBody[ExtendRequest]) -> Settled:
    """Keep the lease for so many more seconds from now."""
    caller, office = _caller(request), _office(request)
    longer = wish("extend", data.deliveries, caller.party or "", caller.id, seconds=float(data.seconds))
    return hot.counted(office, "extend", await office.settler.ask(longer))


@post("/mailbox/release", status_code=200, security=openapi.SIGNED_IN)
async def release(request: Call, data: JSONBody[ReleaseRequest]) -> Settled:
    """Give the lease back: the letters are offered again at once."""
    caller, office = _caller(request), _office(request)
    party = caller.party or ""
    settled = await office.settler.ask(wish("release", data.deliveries, party, caller.id))
    if settled.settled:
        office.doorbell.ring([party])
    return hot.counted(office, "release", settled)


@get("/messages/{message:str}", security=openapi.SIGNED_IN)
async def get_message(request: Call, message: FromPath[str]) -> Tracking:
    """What became of a message, for its sender and its recipients."""
    caller, office = _caller(request), _office(request)
    async with office.pool.acquire() as connection:
        found = await tracking.track(connection, message, caller.party or "")
    if found is None:
        remedy = "Use the `message` of the receipt; only the sender and the recipients can see a message."
        raise Problem(
            "CR-005", "There is no such message for you.", status=404, where="message", remedy=remedy
        )
    return found


@get("/movements", security=openapi.SIGNED_IN)
async def get_movements(request: Call) -> list[ListedMovement]:
    """The movements under which the caller sends or receives; nobody else's."""
    caller, office = _caller(request), _office(request)
    async with office.pool.acquire() as connection:
        return await movements.list_movements(connection, caller.party)


@post("/end-points", status_code=201)
async def enrol_end_point(request: Call, data: JSONBody[EnrolRequest]) -> Enrolment:
    """Enrol with a one-time code and your own public key."""
    async with _office(request).pool.acquire() as connection:
        end_point = await enrol(connection, data.code, data.jwk, data.name)
    return Enrolment(end_point=end_point.id, party=end_point.party)


@post(
    "/token",
    status_code=200,
    operation_class=openapi.TokenOperation,
    responses={200: ResponseSpec(TokenResponse, description="Send it as `Authorization: Bearer`.")},
)
async def give_token(request: Call) -> Response[bytes]:
    """An access token for an assertion signed with the end point's key (private_key_jwt)."""
    form = await request.form()
    office = _office(request)
    if form.get("grant_type") != GRANT_TYPE or form.get("client_assertion_type") != ASSERTION_TYPE:
        raise Problem(
            "CR-050",
            "Tokens are given for client credentials with a signed assertion alone.",
            where="grant_type, client_assertion_type",
            remedy=f"Send {GRANT_TYPE} and {ASSERTION_TYPE}.",
            extra={"error": "unsupported_grant_type"},
        )
    address = office.settings.hub_url
    async with office.pool.acquire() as connection:
        token = await office.tokens.exchange_assertion(
            connection, str(form.get("client_assertion") or ""), (address, f"{address}/token")
        )
    return _json(token, 200)


@get("/health")
async def health(request: Call) -> dict[str, str]:
    """Well when the database answers and its standby, where it must have one, confirms; 503 otherwise."""
    _office(request).pulse.check()
    async with asyncio.timeout(HEALTH_SECONDS), _office(request).pool.acquire() as connection:
        await connection.fetchval("SELECT 1")
    return {"status": "ok"}


@get("/metrics", media_type="text/plain", include_in_schema=False)
async def metrics(request: Call) -> Response[bytes]:
    """Counters for Prometheus; no names of parties in them."""
    return Response(_office(request).metrics.page(), media_type="text/plain; version=0.0.4")


async def _need_a_standby(request: Call) -> None:
    """What writes would wait for the standby, and keep a connection of the pool from what only reads."""
    if request.method != "GET":
        _office(request).pulse.check_standby()


async def _read(request: Call, limit: int, remedy: str) -> tuple[bytes, bytes]:
    """The body and its SHA-256, hashed as it comes in. Raises Problem CR-046 (413) as soon as it is over the limit."""
    too_large = hot.too_large(limit, remedy)
    if (request.content_length or 0) > limit:
        raise too_large
    digest = hashlib.sha256()
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise too_large
            digest.update(chunk)
            chunks.append(chunk)
    except InternalServerException as error:  # the framework's word for a caller that hung up
        raise hot.ended_early() from error
    return b"".join(chunks), digest.digest()
