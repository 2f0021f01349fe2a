"""/api/learners: the register over HTTP, for machines with an end point's token and people signed in to the portal.

The operations are those of the Learning Records Service; what they answer are its codes (answers.yaml), with status 200:
"no match" is an answer. Problems are for requests that cannot be taken. Every request names its purpose in X-Purpose.
Numbers and names stand in bodies alone, never in addresses. The portal mounts HANDLERS and proves who asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from commonroom.engines import arrivals
from commonroom.identity import Principal
from commonroom.problems import Problem, add_codes
from commonroom.registers.learners import answers, batches, callers, history, openapi, store
from commonroom.registers.learners.callers import Rates
from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.shapes import (
    ChallengeAsked,
    DecideAsked,
    FindAsked,
    FindUlnAsked,
    MergeAsked,
    RegisterAsked,
    SharingAsked,
    UlnAsked,
    UlnsAsked,
    UnmergeAsked,
    UpdateAsked,
    VerifyAsked,
)
from commonroom.registers.learners.store import Caller, Registration, permissions
from commonroom.settings import Settings

add_codes({"CR-245": "The request to the learner register cannot be read"})

MAX_JSON = 2 * 1024 * 1024
MAX_FILE = 128 * 1024 * 1024
PURPOSE = "X-Purpose"
# Seconds that the whole of a file may take to arrive.
PATIENCE = 600.0
# Files that arrive at once, and those of them that are in memory to be read.
ARRIVALS = arrivals.Arrivals()
TURNS = asyncio.Semaphore(batches.READ_AT_ONCE)

AnyRequest = Request[Any, Any, Any]


class Counter(msgspec.Struct, frozen=True):
    """What the handlers work with; the portal provides it, with who asks already proved."""

    principal: Principal
    settings: Settings
    pool: Any
    rates: Rates
    # Opened when the first number is wanted: its key lies in the data folder.
    numbers: Callable[[], Numbers]
    form_token: str = ""

    async def caller(self, conn: Any, request: AnyRequest, count: int = 1) -> Caller:
        """The caller with the purpose of its request. Raises Problem CR-006 and CR-246."""
        return await self.caller_for(conn, request.headers.get(PURPOSE, ""), count)

    async def caller_for(self, conn: Any, purpose: str, count: int = 1) -> Caller:
        """The caller, within its rate. Raises Problem CR-006 and CR-246."""
        who = await callers.of_principal(conn, self.principal, purpose)
        self.rates.spend(who.party, count)
        return who


@get("/api/learners/openapi.json")
async def describe() -> Response[bytes]:
    """This interface, in OpenAPI."""
    return Response(openapi.document(), media_type="application/json")


@get("/api/learners/session")
async def session(learners: NamedDependency[Counter]) -> Response[bytes]:
    """The token that people's changing requests carry in X-Form-Token; machines need none."""
    return _json({"form_token": learners.form_token})


@post("/api/learners/find", status_code=200, request_max_body_size=MAX_JSON)
async def find(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """Find a learner by details: `kind` full gives the learner, check the code alone."""
    asked = await _body(request, FindAsked)
    details = _part(asked, Details)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _answered(await store.find(conn, who, details, asked.kind))


@post("/api/learners/find-by-uln", status_code=200, request_max_body_size=MAX_JSON)
async def find_by_uln(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """Find a learner by number and names."""
    asked = await _body(request, FindUlnAsked)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        found = await store.find_by_uln(conn, who, asked.uln, asked.given_name, asked.family_name)
    return _answered(found)


@post("/api/learners/register", status_code=200, request_max_body_size=MAX_JSON)
async def register(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """Register a learner, or get the number the learner has."""
    asked = await _body(request, RegisterAsked)
    others = {
        name: getattr(asked, name)
        for name in Registration.__struct_fields__
        if name in asked.__struct_fields__
    }
    registration = Registration(details=_part(asked, Details), source="rest", **others)
    numbers = await asyncio.to_thread(learners.numbers)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _answered(await store.register(conn, who, registration, numbers))


@post("/api/learners/update", status_code=200, request_max_body_size=MAX_JSON)
async def update(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """Change items of a learner, on the version that was read."""
    asked = await _body(request, UpdateAsked)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _answered(await store.update(conn, who, asked.uln, asked.changes, asked.version))


@post("/api/learners/sharing", status_code=200, request_max_body_size=MAX_JSON)
async def set_sharing(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """Set the ability to share; it counts at once."""
    asked = await _body(request, SharingAsked)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _answered(await store.set_sharing(conn, who, asked.uln, asked.ability_to_share))


@post("/api/learners/challenge", status_code=200, request_max_body_size=MAX_JSON)
async def challenge(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """Say that an item of a learner is wrong; a clerk will decide."""
    asked = await _body(request, ChallengeAsked)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        case = await store.challenge(conn, who, asked.uln, asked.item, asked.note)
    return _json({"code": answers.UPDATED if case else answers.NOT_FOUND, "case": case})


@post("/api/learners/verify", status_code=200, request_max_body_size=MAX_JSON)
async def verify(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """Whether numbers and persons belong together; answers in the order of the request."""
    asked = await _body(request, VerifyAsked)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request, count=max(1, len(asked.learners)))
        found = await store.verify_many(conn, who, asked.learners)
    return _json(
        {
            "learners": [
                _told(one) | {"reference": two.reference}
                for one, two in zip(found, asked.learners, strict=True)
            ]
        }
    )


@post("/api/learners/ulns", status_code=200, request_max_body_size=MAX_JSON)
async def retrieve_ulns(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """The number that now stands for each number: itself, or the master it was merged into."""
    asked = await _body(request, UlnsAsked)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request, count=max(1, len(asked.ulns)))
        masters = await store.retrieve(conn, who, asked.ulns)
    return _json({"ulns": [_resolved(uln, masters.get(uln)) for uln in asked.ulns]})


@post("/api/learners/history", status_code=200, request_max_body_size=MAX_JSON)
async def look_ups(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """Who has looked at a learner, when and why."""
    asked = await _body(request, UlnAsked)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _json({"look_ups": await history.of_uln(conn, who, asked.uln)})


@post("/api/learners/batches", status_code=202, request_max_body_size=MAX_FILE)
async def submit(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """Hand in a batch: the file as the body, its name in X-File-Name."""
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        permissions.require(who, "register")
    with ARRIVALS.place(who.party):
        async with arrivals.spooled(request.stream(), PATIENCE) as file, TURNS:
            content = await asyncio.to_thread(file.read)
            async with learners.pool.acquire() as conn:
                job = await batches.submit(conn, who, content, request.headers.get("X-File-Name", "batch"))
    return _json(_job(job), 202)


@get("/api/learners/batches")
async def list_batches(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """The caller's batches, newest first."""
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _json({"batches": [_job(job) for job in await batches.listed(conn, who)]})


@get("/api/learners/batches/{job:uuid}")
async def status(
    request: AnyRequest, learners: NamedDependency[Counter], job: FromPath[UUID]
) -> Response[bytes]:
    """How far a batch is."""
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _json(_job(await batches.get(conn, who, job)))


@get("/api/learners/batches/{job:uuid}/result")
async def result(
    request: AnyRequest, learners: NamedDependency[Counter], job: FromPath[UUID]
) -> Response[bytes]:
    """The result file of a finished batch."""
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        name, content = await batches.result(conn, who, job)
    return as_file(name, content)


@get("/api/learners/review")
async def review_list(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """Cases that wait for this clerk, the oldest first."""
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _json({"cases": await store.review_list(conn, who)})


@get("/api/learners/review/{case:uuid}")
async def review_case(
    request: AnyRequest, learners: NamedDependency[Counter], case: FromPath[UUID]
) -> Response[bytes]:
    """One case, with the candidates and the waterfall of weights."""
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _json(await store.review_case(conn, who, case))


@post("/api/learners/review/{case:uuid}", status_code=200, request_max_body_size=MAX_JSON)
async def decide(
    request: AnyRequest, learners: NamedDependency[Counter], case: FromPath[UUID]
) -> Response[bytes]:
    """A clerk's verdict."""
    asked = await _body(request, DecideAsked)
    numbers = await asyncio.to_thread(learners.numbers)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _json(await store.decide_case(conn, who, case, asked.verdict, numbers, asked.person))


@post("/api/learners/merge", status_code=200, request_max_body_size=MAX_JSON)
async def merge(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """A clerk makes two numbers one, or asks another clerk to agree."""
    asked = await _body(request, MergeAsked)
    numbers = await asyncio.to_thread(learners.numbers)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _json(await store.join(conn, who, asked.master, asked.linked, numbers))


@post("/api/learners/unmerge", status_code=200, request_max_body_size=MAX_JSON)
async def unmerge(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """A clerk undoes a merge."""
    asked = await _body(request, UnmergeAsked)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _json(await store.unmerge(conn, who, asked.merge))


@post("/api/learners/merges", status_code=200, request_max_body_size=MAX_JSON)
async def merges(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """The merges that a number had part in, for a clerk."""
    asked = await _body(request, UlnAsked)
    async with learners.pool.acquire() as conn:
        who = await learners.caller(conn, request)
        return _json({"merges": await store.merges(conn, who, asked.uln)})


def as_file(name: str, content: bytes) -> Response[bytes]:
    """A result file to be kept."""
    kind = "application/xml" if name.endswith("XML") else "text/csv; charset=utf-8"
    shown = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(content, media_type=kind, headers=shown)


def _job(job: batches.Job) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(job)
    for name in ("party", "person", "role"):
        del told[name]
    return told


def _resolved(uln: str, master: str | None) -> dict[str, Any]:
    code = answers.NONE if master is None else answers.EXACT if master == uln else answers.MASTER
    return {"code": code, "uln": uln, "master": master}


def _told(answer: Any) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(answer)
    code = told["code"]
    return {"code": code, "meaning": answers.answers()[code].meaning, **told}


def _answered(answer: Any) -> Response[bytes]:
    return _json(_told(answer))


def _part(asked: Any, kind: type[Any]) -> Any:
    """The items of a request that make a value of the register."""
    return kind(**{name: getattr(asked, name) for name in kind.__struct_fields__})


async def _body(request: AnyRequest, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.DecodeError as error:
        # msgspec names the item and the expected form, never the value.
        raise Problem(
            "CR-245", str(error), where="the body", remedy="See /api/learners/openapi.json."
        ) from error


def _json(value: Any, status_code: int = 200) -> Response[bytes]:
    return Response(
        msgspec.json.encode(value, enc_hook=str),
        status_code=status_code,
        media_type="application/json",
        headers={"Cache-Control": "no-store", "Vary": "Cookie, Authorization"},
    )


HANDLERS = [
    describe, session, find, find_by_uln, register, update, set_sharing, challenge, verify, retrieve_ulns, look_ups,
    submit, list_batches, status, result, review_list, review_case, decide,
    merge, unmerge, merges,
]  # fmt: skip
