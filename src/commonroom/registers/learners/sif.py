"""/api/sif: the register as a SIF Infrastructure 3 service of LearnerPersonal objects: create, query, events.

Direct environment, XML, an end point's bearer token. What is taken from the specification and what is derived stands in
docs/learners.md. The numbers are those of every other route: create registers, query by example finds.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from lxml import etree

from commonroom.problems import Problem
from commonroom.registers.learners import answers, sif_xml, store
from commonroom.registers.learners.api import MAX_JSON, PURPOSE, AnyRequest, Counter
from commonroom.registers.learners.store import Caller, Learner, Registered

XML = "application/xml"
# A SIF consumer that says no purpose enrols its pupils.
USUAL_PURPOSE = "enrolment"
_REF = """
INSERT INTO learners.sif_object (ref, party, uln, local_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (party, uln) DO UPDATE SET local_id = coalesce(excluded.local_id, sif_object.local_id)
RETURNING ref, local_id
"""
_BY_REF = "SELECT uln FROM learners.sif_object WHERE ref = $1 AND party = $2"
_NAMES = """
SELECT p.known -> 'details' ->> 'given_name' AS given, p.known -> 'details' ->> 'family_name' AS family
FROM learners.uln u JOIN learners.person p ON p.id = u.person WHERE u.number = $1
"""
_NEW_QUEUE = """
INSERT INTO learners.sif_queue (id, party, after_tx, after_person)
VALUES ($1, $2, pg_snapshot_xmin(pg_current_snapshot()), '00000000-0000-0000-0000-000000000000')
"""
_DELETE = """
UPDATE learners.sif_queue SET after_tx = offered_tx, after_person = offered_person, offered = NULL
WHERE id = $1 AND party = $2 AND offered = $3
"""
# In a database that was restored into another server the transactions of before may have higher numbers.
_QUEUE = """
SELECT least(after_tx, pg_snapshot_xmin(pg_current_snapshot()))::text AS after_tx, after_person
FROM learners.sif_queue WHERE id = $1 AND party = $2 FOR UPDATE
"""
# Nothing is read past a transaction that is still open: what it commits would never be told.
_NEXT = """
SELECT p.id, p.uln, p.changed_in::text AS tx, p.created_at = p.updated_at AND u.person = p.id AS is_new
FROM learners.person p JOIN learners.uln u ON u.number = p.uln
WHERE p.registered_by @> ARRAY[$1::text] AND (p.changed_in, p.id) > ($2::text::xid8, $3)
    AND p.changed_in < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY p.changed_in, p.id LIMIT 1
"""
_OFFER = """
UPDATE learners.sif_queue SET offered = $2, offered_tx = $3::text::xid8, offered_person = $4 WHERE id = $1
"""


@post("/api/sif/environments/environment", status_code=201, request_max_body_size=MAX_JSON)
async def environment(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """Where the services are."""
    async with learners.pool.acquire() as conn:
        who = await _caller(conn, request, learners)
    return _xml(sif_xml.environment(learners.settings.portal_url, str(uuid4()), who.party), 201)


@post("/api/sif/requests/{service:str}/{name:str}", status_code=201, request_max_body_size=MAX_JSON)
async def create_one(
    request: AnyRequest, learners: NamedDependency[Counter], service: FromPath[str], name: FromPath[str]
) -> Response[bytes]:
    """Create: the object with its number; 202 where a clerk will decide first."""
    _require(service, name)
    (sent,) = sif_xml.read(await request.body())[:1]
    numbers = await asyncio.to_thread(learners.numbers)
    async with learners.pool.acquire() as conn:
        who = await _caller(conn, request, learners)
        done = await store.register(conn, who, sent.registration, numbers)
        if done.uln is None:
            return _without_number(done)
        made = await _by_number(conn, who, done.uln, sent.local_id)
    return _xml(sif_xml.whole(made), 201, done.code)


@post("/api/sif/requests/{service:str}", status_code=200, request_max_body_size=MAX_JSON)
async def create_or_query(
    request: AnyRequest, learners: NamedDependency[Counter], service: FromPath[str]
) -> Response[bytes]:
    """Several objects are created; with `methodOverride: GET` the one object is an example to find."""
    _require(service)
    sent = sif_xml.read(await request.body())
    if request.headers.get("methodOverride", "").upper() == "GET":
        return await _query(request, learners, sent[0])
    return await _create_many(request, learners, sent)


@get("/api/sif/requests/{service:str}/{ref:str}")
async def read_one(
    request: AnyRequest, learners: NamedDependency[Counter], service: FromPath[str], ref: FromPath[str]
) -> Response[bytes]:
    """An object by the RefId that this party was told."""
    _require(service)
    async with learners.pool.acquire() as conn:
        who = await _caller(conn, request, learners)
        uln = await conn.fetchval(_BY_REF, _uuid(ref), who.party)
        if uln is None:
            raise _unknown()
        return _xml(sif_xml.whole(await _by_number(conn, who, uln, None)))


@post("/api/sif/events/{service:str}", status_code=202, request_max_body_size=MAX_JSON)
async def take_event(
    request: AnyRequest, learners: NamedDependency[Counter], service: FromPath[str]
) -> Response[bytes]:
    """A CREATE or UPDATE event of a school's system: who it is about is registered."""
    _require(service)
    action = request.headers.get("eventAction", "").upper()
    if action not in ("CREATE", "UPDATE"):
        raise Problem("CR-247", "the header eventAction says neither CREATE nor UPDATE")
    return await _create_many(request, learners, sif_xml.read(await request.body()), status=202)


@post("/api/sif/queues/queue", status_code=201, request_max_body_size=MAX_JSON)
async def make_queue(request: AnyRequest, learners: NamedDependency[Counter]) -> Response[bytes]:
    """A queue for the events of LearnerPersonal objects from now on."""
    async with learners.pool.acquire() as conn:
        who = await _caller(conn, request, learners)
        name = uuid4()
        await conn.execute(_NEW_QUEUE, name, who.party)
    return _xml(sif_xml.queue(str(name), learners.settings.portal_url), 201)


@get("/api/sif/queues/{queue:uuid}/{messages:str}")
async def next_event(
    request: AnyRequest, learners: NamedDependency[Counter], queue: FromPath[UUID], messages: FromPath[str]
) -> Response[bytes]:
    """The next event, 204 when there is none. `messages;deleteMessageId=<id>` deletes the last one first."""
    service, _, parameter = messages.partition(";")
    if service != "messages":
        raise _unknown()
    async with learners.pool.acquire() as conn:
        who = await _caller(conn, request, learners)
        if parameter.startswith("deleteMessageId="):
            await conn.execute(_DELETE, queue, who.party, _uuid(parameter.partition("=")[2]))
        async with conn.transaction():
            held = await conn.fetchrow(_QUEUE, queue, who.party)
            if held is None:
                raise _unknown()
            row = await conn.fetchrow(_NEXT, who.party, held["after_tx"], held["after_person"])
            if row is None:
                return Response(b"", status_code=204)
            message = uuid4()
            await conn.execute(_OFFER, queue, message, row["tx"], row["id"])
        made = await _by_number(conn, who, row["uln"], None)
    answer = _xml(sif_xml.collection([made]))
    action = "CREATE" if row["is_new"] else "UPDATE"
    answer.headers.update(
        {
            "messageId": str(message),
            "messageType": "EVENT",
            "eventAction": action,
            "serviceName": sif_xml.COLLECTION,
        }
    )
    return answer


async def _query(request: AnyRequest, learners: Counter, sent: sif_xml.Object) -> Response[bytes]:
    async with learners.pool.acquire() as conn:
        who = await _caller(conn, request, learners)
        found = await store.find(conn, who, sent.registration.details)
        objects = [await _written(conn, who, one, sent.local_id) for one in found.learners]
    return _xml(sif_xml.collection(objects), 200, found.code)


async def _create_many(
    request: AnyRequest, learners: Counter, sent: list[sif_xml.Object], status: int = 200
) -> Response[bytes]:
    numbers = await asyncio.to_thread(learners.numbers)
    told = []
    async with learners.pool.acquire() as conn:
        who = await _caller(conn, request, learners, len(sent))
        done = await store.register_many(conn, who, [one.registration for one in sent], numbers)
        for one, answer in zip(sent, done, strict=True):
            if answer.uln is None:
                told.append(("", one.ref, 202 if answer.case else 400, _meaning(answer)))
            else:
                ref, _ = await _ref(conn, who, answer.uln, one.local_id)
                told.append((ref.hex.upper(), one.ref, 201, ""))
    return _xml(sif_xml.create_response(told), status)


async def _by_number(conn: Any, who: Caller, uln: str, local_id: str | None) -> etree._Element:
    """The learner of a number, by the rules of a look-up: with the names we hold, so that the caller's rights decide."""
    names = await conn.fetchrow(_NAMES, uln)
    found = await store.find_by_uln(conn, who, uln, names["given"] or "", names["family"] or "")
    learner = found.learners[0] if found.learners else Learner(uln=found.uln or uln, version=0)
    return await _written(conn, who, learner, local_id)


async def _written(conn: Any, who: Caller, learner: Learner, local_id: str | None) -> etree._Element:
    """As an object. One of several possible learners has no number here, so no RefId by which the rest could be read."""
    if learner.uln is None:
        return sif_xml.write(learner, None, None)
    ref, local = await _ref(conn, who, learner.uln, local_id)
    return sif_xml.write(learner, ref, local)


async def _ref(conn: Any, who: Caller, uln: str, local_id: str | None) -> tuple[UUID, str | None]:
    row = await conn.fetchrow(_REF, uuid4(), who.party, uln, local_id)
    return row["ref"], row["local_id"]


def _without_number(done: Registered) -> Response[bytes]:
    status = 202 if done.case else 400
    return _xml(sif_xml.create_response([("", "", status, _meaning(done))]), status, done.code)


def _meaning(done: Registered) -> str:
    """The answer in words, with the items that are missing or wrong; never a value."""
    faults = [*(f"{item} is missing" for item in done.missing)]
    faults += [f"{one.item} {one.reason}" for one in done.wrong]
    said = f"{done.code} {answers.answers()[done.code].meaning}"
    return f"{said}: {', '.join(faults)}" if faults else said


async def _caller(conn: Any, request: AnyRequest, learners: Counter, count: int = 1) -> Caller:
    purpose = request.headers.get(PURPOSE, "") or USUAL_PURPOSE
    return await learners.caller_for(conn, purpose, count=count)


def _require(service: str, name: str | None = None) -> None:
    """The one service there is; zone and context (`;zoneId=...`) may be named and change nothing."""
    if service.partition(";")[0] != sif_xml.COLLECTION or (
        name is not None and name.partition(";")[0] != sif_xml.OBJECT
    ):
        raise _unknown()


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise _unknown() from error


def _unknown() -> Problem:
    return Problem("CR-005", "There is no such service, object or queue.", status=404)


def _xml(content: bytes, status: int = 200, code: str = "") -> Response[bytes]:
    headers = {"Cache-Control": "no-store"} | ({"X-Answer": code} if code else {})
    return Response(content, status_code=status, media_type=XML, headers=headers)


HANDLERS = [environment, create_one, create_or_query, read_one, take_event, make_queue, next_event]
