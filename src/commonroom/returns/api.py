"""/api/returns: the same steps over HTTP, for people who have signed in to the portal. The portal mounts HANDLERS.

Nobody sees a return in which they have no part: to them it is not there. What changes something carries the form token
that `/api/returns/session` tells, in the header X-Form-Token, and may carry the `revision` it was decided on.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from commonroom import identity
from commonroom.engines import arrivals
from commonroom.problems import Problem
from commonroom.returns import codes, parties, steps, store, summaries, uploads
from commonroom.returns.parties import Actor
from commonroom.returns.steps import Asked
from commonroom.returns.store import Return
from commonroom.settings import Settings

# A file that comes by HTTP; larger ones come by the command line.
MAX_UPLOAD = 2 * 1024**3
MAX_JSON = 256 * 1024
MAX_FINDINGS = 5000
# Files that are checked at once by one process; the rest wait for their turn.
UPLOADS_AT_ONCE = 2
# Seconds that the whole of a file may take to arrive.
PATIENCE = 1800.0
ARRIVALS = arrivals.Arrivals()
_SLOTS = asyncio.Semaphore(UPLOADS_AT_ONCE)
_COUNT = Annotated[int, QueryParameter(ge=1, le=MAX_FINDINGS)]


class Caller(msgspec.Struct, frozen=True):
    """Who asks, and what the handlers work with; the portal provides it, with the form token already proved."""

    actor: Actor
    settings: Settings
    pool: Any
    form_token: str


class StepAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step to take."""

    step: Literal["submit", "approve", "reject", "authorise"]
    reason: str = ""
    revision: int | None = None


class NoteAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something to say of findings: by their keys, or of all open ones of a rule."""

    keys: tuple[str, ...] = ()
    rule: str | None = None
    text: str = ""
    ok: bool = False
    revision: int | None = None


def provide_caller(
    principal: identity.Principal,
    settings: Settings,
    pool: Any,
    form_token: str,
) -> Caller:
    """The caller that a signed-in person is. Raises Problem CR-006 for all who have no part in returns."""
    return Caller(parties.of_principal(principal), settings, pool, form_token)


@get("/api/returns/session")
async def session(caller: NamedDependency[Caller]) -> Response[bytes]:
    """The token that whatever changes something must carry."""
    return _json({"form_token": caller.form_token})


@get("/api/returns/{collection:str}/{year:int}")
async def list_all(
    caller: NamedDependency[Caller], collection: FromPath[str], year: FromPath[int]
) -> Response[bytes]:
    """The returns that the caller has a part in."""
    async with caller.pool.acquire() as connection:
        actor = caller.actor
        found = await store.listed(connection, collection, year, actor.party, every=actor.collector)
    return _json({"returns": found})


@get("/api/returns/{collection:str}/{year:int}/{party:str}")
async def show(
    caller: NamedDependency[Caller], collection: FromPath[str], year: FromPath[int], party: FromPath[str]
) -> Response[bytes]:
    """One return; `party` is a URN, an authority's number or the party's urn."""
    async with caller.pool.acquire() as connection:
        found = await _seen(connection, caller, collection, year, party)
        return _json(await summaries.of(connection, caller.actor, found))


@get("/api/returns/{collection:str}/{year:int}/{party:str}/findings")
async def findings(
    caller: NamedDependency[Caller],
    collection: FromPath[str],
    year: FromPath[int],
    party: FromPath[str],
    rule: FromQuery[str | None] = None,
    after: FromQuery[int] = 0,
    limit: _COUNT = 1000,
) -> Response[bytes]:
    """Findings of the current version, those behind number `after`."""
    async with caller.pool.acquire() as connection:
        found = await _seen(connection, caller, collection, year, party)
        listed = await store.findings(connection, found, rule=rule, after=after, limit=limit)
    return _json({"findings": listed, "revision": found.revision})


@get("/api/returns/{collection:str}/{year:int}/{party:str}/history")
async def history(
    caller: NamedDependency[Caller], collection: FromPath[str], year: FromPath[int], party: FromPath[str]
) -> Response[bytes]:
    """Every step, version and note."""
    async with caller.pool.acquire() as connection:
        found = await _seen(connection, caller, collection, year, party)
        return _json(
            {
                "steps": await store.steps(connection, found),
                "versions": await store.versions(connection, found),
                "notes": await store.notes(connection, found),
            }
        )


@post(
    "/api/returns/{collection:str}/{year:int}/{party:str}/steps",
    status_code=200,
    request_max_body_size=MAX_JSON,
)
async def take_step(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    collection: FromPath[str],
    year: FromPath[int],
    party: FromPath[str],
) -> Response[bytes]:
    """Submit, approve, reject or authorise."""
    asked = await _body(request, StepAsked)
    async with caller.pool.acquire() as connection:
        found = await _seen(connection, caller, collection, year, party)
        done = await steps.take(
            connection,
            caller.settings,
            found,
            caller.actor,
            asked.step,
            reason=asked.reason,
            revision=asked.revision,
        )
        return _json(await summaries.of(connection, caller.actor, done))


@post(
    "/api/returns/{collection:str}/{year:int}/{party:str}/notes",
    status_code=200,
    request_max_body_size=MAX_JSON,
)
async def write_note(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    collection: FromPath[str],
    year: FromPath[int],
    party: FromPath[str],
) -> Response[bytes]:
    """Answer or accept findings."""
    asked = await _body(request, NoteAsked)
    async with caller.pool.acquire() as connection:
        found = await _seen(connection, caller, collection, year, party)
        about = Asked((), asked.keys, asked.rule)
        count = await steps.note(
            connection, found, caller.actor, about, text=asked.text, ok=asked.ok, revision=asked.revision
        )
    return _json({"findings": count})


@post(
    "/api/returns/{collection:str}/{year:int}/{party:str}/upload",
    status_code=200,
    request_max_body_size=MAX_UPLOAD,
)
async def upload(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    collection: FromPath[str],
    year: FromPath[int],
    party: FromPath[str],
    revision: FromQuery[int | None] = None,
) -> Response[bytes]:
    """A file as the body (XML, or text/csv), its name in X-File-Name; it is checked and becomes the current version."""
    async with caller.pool.acquire() as connection:
        found = await _seen(connection, caller, collection, year, party)
    steps.decided(found, caller.actor, "load")
    with ARRIVALS.place(caller.actor.party or caller.actor.who):
        return await _uploaded(request, caller, found, revision)


async def _uploaded(
    request: Request[Any, Any, Any], caller: Caller, found: Return, revision: int | None
) -> Response[bytes]:
    folder = Path(tempfile.mkdtemp(prefix="upload-", dir=caller.settings.folder("returns-incoming")))
    try:
        suffix = ".csv" if request.headers.get("content-type", "").startswith("text/csv") else ".xml"
        path = folder / f"return{suffix}"
        async with asyncio.timeout(PATIENCE):
            await _receive(request, path, caller.settings.keep_free_bytes)
        name = request.headers.get("x-file-name", "")
        async with _SLOTS, caller.pool.acquire() as connection:
            done = await uploads.upload(
                caller.settings, connection, caller.actor, found, path, name=name, revision=revision
            )
            return _json(await summaries.of(connection, caller.actor, done))
    except TimeoutError as error:
        raise Problem(
            codes.UPLOAD, "The file took too long to arrive.", status=408, remedy="Send it again."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _receive(request: Request[Any, Any, Any], path: Path, keep_free: int) -> None:
    """The body into a file, as it comes."""
    with path.open("wb") as file:
        async for part in request.stream():
            if shutil.disk_usage(path.parent).free < keep_free + len(part):
                raise Problem(
                    codes.UPLOAD, "There is no room for the file now.", status=507, remedy="Try later."
                )
            await asyncio.to_thread(file.write, part)


async def _seen(connection: Any, caller: Caller, collection: str, year: int, party: str) -> Return:
    try:
        name = await parties.party_of(connection, party)
    except Problem as problem:
        # Nor does anybody learn which parties there are.
        raise store.no_return() from problem
    return await steps.seen(connection, caller.actor, collection, year, name)


async def _body(request: Request[Any, Any, Any], kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.DecodeError as error:
        raise Problem(
            codes.NOTE, f"The body is not what is asked for: {error}", remedy="See docs/returns.md."
        ) from error


def _json(value: Any) -> Response[bytes]:
    return Response(
        msgspec.json.encode(value, enc_hook=str),
        media_type="application/json",
        headers={"Cache-Control": "no-store", "Vary": "Cookie"},
    )


HANDLERS = [session, list_all, show, findings, history, take_step, write_note, upload]
