"""The hub's HTTP interface: thin handlers over post, mailbox, tracking, movements and identity.

Shapes are in `exchange.contract`; faults become problem JSON in `answers`. No handler looks into a body.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from litestar import Litestar, Response, get, post
from litestar.exceptions import HTTPException, InternalServerException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from commonroom.exchange import (
    AcknowledgeRequest,
    BatchResponse,
    BatchResult,
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
    check_digest,
    decode_batch,
)
from commonroom.exchange.contract import ASSERTION_TYPE, BATCH_TYPE, MAX_WAIT_SECONDS
from commonroom.exchange.envelope import MAX_BATCH_ITEMS
from commonroom.hub import (
    answers,
    bodies,
    governance_api,
    keys_api,
    ledger_api,
    mail,
    mailbox,
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
from commonroom.hub.mailbox import LeasedLetter
from commonroom.hub.movements import ListedMovement
from commonroom.hub.office import Office, open_office
from commonroom.hub.post import Outcome, Submission
from commonroom.identity import Principal, enrol
from commonroom.problems import Problem
from commonroom.settings import Settings

SMALL_BODY_BYTES = 128 * 1024  # requests that are not messages
HEALTH_SECONDS = 2.0
GRANT_TYPE = "client_credentials"


def create_app(settings: Settings) -> Litestar:
    """The hub as an ASGI application. Its parts open with the application's lifespan: `app.state.office`."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with open_office(settings) as office:
            app.state.office = office
            yield

    return Litestar(
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
        request_max_body_size=SMALL_BODY_BYTES,
        logging_config=None,
    )


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
    caller = _caller(request)
    envelope = Envelope.from_headers(request.scope["headers"])
    limit = _office(request).settings.max_body_bytes
    body, digest = await _read(request, limit, "Send fewer records in a message, or compress them.")
    [outcome] = await _office(request).submit([_submission(caller, envelope, body, digest)])
    if isinstance(outcome, Problem):
        raise outcome
    return _json(outcome, 202)


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
    caller = _caller(request)
    settings = _office(request).settings
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != BATCH_TYPE:
        raise Problem(
            "CR-022",
            f"A batch is {BATCH_TYPE}.",
            status=415,
            where="content-type",
            remedy="Set the content type.",
        )
    body, _ = await _read(request, settings.max_batch_bytes, "Send fewer messages in a batch.")
    outcomes: list[Outcome | None] = []
    submissions: list[Submission] = []
    for item in decode_batch(body):
        try:
            submissions.append(_batched(caller, item, settings.max_body_bytes))
            outcomes.append(None)
        except Problem as problem:
            outcomes.append(problem)
    answered = iter(await _office(request).submit(submissions) if submissions else [])
    return _json(BatchResponse([_result(outcome or next(answered)) for outcome in outcomes]), 200)


@get(
    "/mailbox",
    security=openapi.SIGNED_IN,
    responses={200: ResponseSpec(MailboxResponse, description="Leased letters; empty when nothing came.")},
)
async def get_mailbox(
    request: Call,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_BATCH_ITEMS)] = 100,
    wait: Annotated[float, QueryParameter(ge=0, le=MAX_WAIT_SECONDS)] = 0,
    kind: FromQuery[mail.Kind] = "all",
) -> Response[bytes]:
    """Collect up to `limit` letters and reports under a lease, waiting up to `wait` seconds for the first one."""
    caller, office = _caller(request), _office(request)
    party = caller.party or ""

    async def look() -> list[LeasedLetter]:
        _caller(request)  # whoever waits a minute may have been revoked meanwhile
        office.pulse.check_standby()  # a lease would wait for it, and keep a connection from everybody
        async with office.pool.acquire() as connection:
            return await mail.collect(
                connection,
                office.master_keys,
                party,
                caller.id,
                limit,
                office.settings.lease_seconds,
                kind=kind,
                closed=office.windows.closed,
            )

    gone = asyncio.ensure_future(_hung_up(request))
    try:
        with office.metrics.waiting.track_inprogress():
            letters = await mailbox.wait_for_mail(look, office.doorbell, party, wait, gone)
    finally:
        gone.cancel()
    office.metrics.leased.inc(len(letters))
    held = office.held_of(party)
    return _json(
        {"letters": [_letter(letter) for letter in letters], **({"held": held} if held else {})}, 200
    )


@post("/mailbox/acknowledge", status_code=200, security=openapi.SIGNED_IN)
async def acknowledge(request: Call, data: JSONBody[AcknowledgeRequest]) -> Settled:
    """Loaded and safe: never deliver these again."""
    caller, office = _caller(request), _office(request)
    async with office.pool.acquire() as connection:
        settled = await mailbox.acknowledge(connection, data.deliveries, caller.party or "", caller.id)
    return _counted(office, "acknowledge", settled)


@post("/mailbox/refuse", status_code=200, security=openapi.SIGNED_IN)
async def refuse(request: Call, data: JSONBody[RefuseRequest]) -> Settled:
    """These cannot be used; the sender is told the reason, which must hold no personal data."""
    caller, office = _caller(request), _office(request)
    async with office.pool.acquire() as connection:
        settled = await mailbox.refuse(
            connection, data.deliveries, caller.party or "", caller.id, data.reason
        )
    return _counted(office, "refuse", settled)


@post("/mailbox/extend", status_code=200, security=openapi.SIGNED_IN)
async def extend(request: Call, data: JSONBody[ExtendRequest]) -> Settled:
    """Keep the lease for so many more seconds from now."""
    caller, office = _caller(request), _office(request)
    async with office.pool.acquire() as connection:
        settled = await mailbox.extend(
            connection, data.deliveries, caller.party or "", caller.id, data.seconds
        )
    return _counted(office, "extend", settled)


@post("/mailbox/release", status_code=200, security=openapi.SIGNED_IN)
async def release(request: Call, data: JSONBody[ReleaseRequest]) -> Settled:
    """Give the lease back: the letters are offered again at once."""
    caller, office = _caller(request), _office(request)
    party = caller.party or ""
    async with office.pool.acquire() as connection:
        settled = await mailbox.release(connection, data.deliveries, party, caller.id)
    if settled.settled:
        office.doorbell.ring([party])
    return _counted(office, "release", settled)


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
    too_large = Problem(
        "CR-046", f"The body is over {limit:,} bytes.", status=413, where="the body", remedy=remedy
    )
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
        hung_up = Problem(
            "CR-050", "The body ended early.", where="the body", remedy="Send the message again."
        )
        raise hung_up from error
    return b"".join(chunks), digest.digest()


def _submission(caller: Principal, envelope: Envelope, body: bytes, digest: bytes) -> Submission:
    if envelope.bodyref is not None:
        digest = bodies.referred(envelope, body)
    else:
        check_digest(envelope, body)
    return Submission(
        envelope=envelope, body=body, digest=digest, party=caller.party or "", end_point=caller.id
    )


def _batched(caller: Principal, item: tuple[Envelope, bytes] | Problem, limit: int) -> Submission:
    if isinstance(item, Problem):
        raise item
    envelope, body = item
    if len(body) > limit:
        remedy = "Send fewer records in a message."
        raise Problem(
            "CR-046", f"The body is over {limit:,} bytes.", status=413, where="data_base64", remedy=remedy
        )
    return _submission(caller, envelope, body, hashlib.sha256(body).digest())


def _result(outcome: Outcome) -> BatchResult:
    if isinstance(outcome, Problem):
        return BatchResult(status=outcome.status, problem=outcome.as_json())
    return BatchResult(status=202, receipt=outcome)


def _letter(letter: LeasedLetter) -> dict[str, Any]:
    # The stored envelope goes out as it came in; it was checked at accept.
    return {
        "delivery": letter.delivery,
        "position": letter.position,
        "accepted_at": letter.accepted_at,
        "attempt": letter.attempt,
        "sequence": letter.sequence,
        "previous": letter.sequence - 1 if letter.sequence is not None else None,
        **bodies.enclosed(letter),
    }


def _counted(office: Office, verb: str, settled: Settled) -> Settled:
    office.metrics.settled.labels(verb).inc(len(settled.settled))
    return settled


async def _hung_up(request: Call) -> None:
    """Returns when the caller has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
