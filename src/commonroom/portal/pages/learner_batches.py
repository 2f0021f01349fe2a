"""Batches of learners: hand in a file, see how far it is and what was wrong with it, take the result."""

from __future__ import annotations

import uuid
from typing import Any

from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from commonroom.engines import arrivals
from commonroom.portal import security
from commonroom.portal.house import MULTIPART, AnyRequest, House, Visit, provide_visit
from commonroom.portal.page import Fact, Page, paths, stem
from commonroom.portal.pages.learners import LEARNERS, caller_of, choices, first_purpose
from commonroom.portal.pages.people import SEE_OTHER
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Column, Link, Table
from commonroom.problems import Problem
from commonroom.registers.learners import batches
from commonroom.registers.learners.api import ARRIVALS, MAX_FILE, PATIENCE, TURNS, as_file
from commonroom.registers.learners.batches import Job
from commonroom.registers.learners.store import permissions
from commonroom.registers.learners.store.watch import rules

BATCHES = Link("Batches", "/learners/batches")
STATES = {
    "waiting": "Waiting",
    "running": "Being worked on",
    "finished": "Finished",
    "failed": "Could not be done",
}
KINDS = {
    "NewLearnersCount": "New numbers",
    "ExistsUpdatedLearnersCount": "Had a number",
    "PossibleMatchLearnersCount": "Wait for a clerk",
    "RejectedLearnersCount": "Refused",
}
JOB_COLUMNS = (
    Column("file", "File"),
    Column("submitted_at", "Handed in", "time"),
    Column("state", "State"),
    Column("answered", "Done", "number"),
    Column("records", "Records", "number"),
)
REFUSED_COLUMNS = (
    Column("line", "Line", "number"),
    Column("code", "Code", "code"),
    Column("reason", "Reason"),
)


@get(paths("/learners/batches"))
async def listed(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """The form, and the batches of the organisation."""
    who = await caller_of(request, visit, conn, first_purpose())
    return house.answer(request, visit, _list_page(await batches.listed(conn, who), {}))


@post("/learners/batches", status_code=SEE_OTHER, request_max_body_size=MAX_FILE)
async def submit(request: AnyRequest, house: NamedDependency[House]) -> Response[Any]:
    """Take the file and go on to its page; a file that cannot be used shows the form again.

    Who sends it is known and may send it before any of it is read, and no database connection waits for it.
    """
    security.check_site(request.headers.get("Sec-Fetch-Site", ""))
    async with house.pool.acquire() as conn:
        visit = await provide_visit(request, conn)
        who = await caller_of(request, visit, conn, first_purpose())
    permissions.require(who, "register")
    if request.content_type[0] != MULTIPART:
        raise Problem("CR-240", f"a file comes as {MULTIPART}", status=415)
    with ARRIVALS.place(who.party):
        async with arrivals.within(PATIENCE):
            fields = await house.check_form(request, visit)
        return await _taken(request, house, visit, fields.get("purpose", ""))


async def _taken(request: AnyRequest, house: House, visit: Visit, purpose: str) -> Response[Any]:
    """A file that has arrived becomes a batch; the web framework keeps all but its first megabyte on disk."""
    given = (await request.form()).get("file")
    async with TURNS, house.pool.acquire() as conn:
        who = await caller_of(request, visit, conn, purpose or first_purpose())
        errors: dict[str, str] = {}
        try:
            if not isinstance(given, UploadFile) or not given.filename:
                raise Problem("CR-240", "Choose a file")
            if purpose:
                job = await batches.submit(conn, who, await given.read(), given.filename)
                return Redirect(f"/learners/batches/{job.id}", status_code=SEE_OTHER)
            errors["purpose"] = "Choose why you look"
        except Problem as problem:
            if problem.status >= 500 or problem.status == 403:
                raise
            errors["file"] = " ".join(
                part for part in (problem.detail[:1].upper() + problem.detail[1:], problem.remedy) if part
            )
        return house.answer(request, visit, _list_page(await batches.listed(conn, who), errors))


@get("/learners/batches/{job:str}")
async def one(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    job: FromPath[str],
) -> Response[bytes]:
    """How far a batch is, what came of it, and what was refused."""
    who = await caller_of(request, visit, conn, first_purpose())
    number = _number(job)
    found = await batches.get(conn, who, number)
    refused = await batches.refused(conn, who, number)
    return house.answer(request, visit, _job_page(found, refused))


@get("/learners/batches/{job:str}/result")
async def result(
    request: AnyRequest, visit: NamedDependency[Visit], conn: NamedDependency[Any], job: FromPath[str]
) -> Response[bytes]:
    """The result file."""
    who = await caller_of(request, visit, conn, first_purpose())
    name, content = await batches.result(conn, who, _number(job))
    return as_file(name, content)


def _number(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(stem(text))
    except ValueError as error:
        raise Problem("CR-243", "there is no such batch", status=404) from error


def _list_page(jobs: list[Job], errors: dict[str, str]) -> Page:
    table = Table(
        name="batches",
        title="Your batches",
        columns=JOB_COLUMNS,
        rows=tuple(
            (
                Link(job.file_name, f"/learners/batches/{job.id}"),
                job.submitted_at,
                STATES[job.state],
                job.answered,
                job.records,
            )
            for job in jobs
        ),
        empty="No file has been handed in yet.",
    )
    return Page(
        template="learner_batches.html",
        title="Numbers for many learners",
        summary="Hand in a batch file, a common transfer file or a school census; take the numbers back as a file.",
        tables=(table,),
        trail=(HOME, LEARNERS),
        section="learners",
        private=True,
        has_form=True,
        status=400 if errors else 200,
        more={"error_summary": errors, "purposes": choices({"": "Choose", **rules().purposes}, "")},
    )


def _job_page(job: Job, refused: list[tuple[int, str, str]]) -> Page:
    table = Table(
        name="refused",
        title="Records without a number",
        columns=REFUSED_COLUMNS,
        rows=tuple(refused),
        note="The first hundred; the result file has all of them.",
        empty="Every record that was worked on has a number.",
    )
    return Page(
        template="learner_batch.html",
        title=job.file_name,
        facts=(
            Fact("state", "State", STATES[job.state]),
            Fact("answered", "Records done", job.answered),
            Fact("records", "Records in the file", job.records),
            *(Fact(name, words, job.counts.get(name, 0)) for name, words in KINDS.items()),
            Fact("submitted_at", "Handed in", job.submitted_at),
            Fact("finished_at", "Finished", job.finished_at),
        ),
        tables=(table,),
        trail=(HOME, LEARNERS, BATCHES),
        section="learners",
        private=True,
        more={"job": job, "share": 100 * job.answered // max(1, job.records)},
    )


HANDLERS = [listed, submit, one, result]
