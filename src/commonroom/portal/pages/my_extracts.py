"""Extracts for those who asked for them, decide about them or make them: where each stands, and the next step.

What a step needs is the business of `warehouse.extracts.office`: here a form becomes one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import File, Redirect

from commonroom.engines import clock
from commonroom.engines.duck import Duck
from commonroom.exchange import keys
from commonroom.hub import assurance
from commonroom.portal import extract_form, extract_story, oversight
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, paths, stem
from commonroom.portal.pages.extract_request import MINE, REQUESTERS
from commonroom.portal.pages.people import SEE_OTHER
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Column, Link, Table
from commonroom.problems import Problem
from commonroom.warehouse.extracts import office, packing, rights
from commonroom.warehouse.extracts.office import Extract

SHORTEST_REASON, LONGEST_REASON = 3, office.MOST_WHY
# What a copy may be taken for: the trail of reads has words of ours, never of others.
PURPOSES = {
    "research": "Work that the extract was approved for",
    "checking": "Checking what has come",
    "audit": "An audit",
}
# One copy is made or tried at a time in a process: each has an engine with its own memory.
_MAKING = asyncio.Semaphore(1)
_PROBLEMS_SHOWN = ("CR-265", "CR-267", "CR-269", "CR-335", "CR-336")


@get(paths("/my/extracts"))
async def my_extracts(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """Every extract that the visitor may know of; what waits for a step of theirs first."""
    _signed_in(visit)
    found = await office.listed(conn, visit.principal)
    today = await clock.today(conn)
    names = {one.requester: await oversight.name_of(conn, one.requester) for one in found}
    table = Table(
        name="extracts",
        title="Extracts",
        columns=(
            Column("title", "Extract"),
            Column("state", "Where it stands"),
            Column("requester", "For"),
            Column("freeze_on", "Made on", "date"),
            Column("expires_on", "Kept until", "date"),
            Column("name", "Name", "code"),
        ),
        rows=tuple(
            (
                Link(one.declaration.title, f"/my/extracts/{one.name}"),
                extract_story.STATES[one.state],
                names[one.requester],
                one.declaration.freeze_on,
                one.declaration.expires_on,
                one.name,
            )
            for one in sorted(found, key=lambda one: (not _waits_for(visit, one, today), one.name))
        ),
        empty="No extract has been asked for.",
    )
    page = Page(
        template="my_extracts.html",
        title="Extracts",
        summary="Frozen copies of records for those whose request was approved.",
        tables=(table,),
        trail=(HOME,),
        section="extracts",
        private=True,
        more={
            "may_ask": visit.principal.role in REQUESTERS,
            "waiting": sum(_waits_for(visit, one, today) for one in found),
        },
    )
    return house.answer(request, visit, page)


@get("/my/extracts/{name:str}")
async def my_extract(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    name: FromPath[str],
) -> Response[bytes]:
    """One extract: the request, the evidence, every step, the manifest; and the form of the visitor's next step."""
    return house.answer(request, visit, await _page(conn, visit, stem(name)))


@post("/my/extracts/{name:str}", status_code=SEE_OTHER)
async def step(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    name: FromPath[str],
) -> Response[Any]:
    """Approve or refuse it, try it, or make it for good."""
    fields = await house.check_form(request, visit)
    _signed_in(visit)
    chosen, why = fields.get("step", ""), fields.get("why", "").strip()
    wrong = _mistakes(chosen, why)
    tried: list[packing.File] = []
    status = 400
    if not wrong:
        try:
            tried = await _take(house, conn, visit, name, chosen, why)
        except Problem as problem:
            if problem.code not in _PROBLEMS_SHOWN:
                raise
            said = " ".join(
                part for part in (f"{problem.detail[0].upper()}{problem.detail[1:]}.", problem.remedy) if part
            )
            wrong, status = {"step": said}, problem.status
    if wrong or tried:
        given = {"step": chosen, "why": why}
        return house.answer(request, visit, await _page(conn, visit, name, given, wrong, tried, status))
    return Redirect(f"/my/extracts/{name}", status_code=SEE_OTHER)


@post("/my/extracts/{name:str}/files", status_code=200)
async def take_file(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    name: FromPath[str],
) -> Response[Any]:
    """Hand out one of its files while it lasts. Each is a read that enters the trail."""
    fields = await house.check_form(request, visit)
    _signed_in(visit)
    purpose, wanted = fields.get("purpose", ""), fields.get("file", "")
    if purpose not in PURPOSES:
        wrong = {"purpose": "Choose what it is for"}
        return house.answer(request, visit, await _page(conn, visit, name, {}, wrong))
    found = await office.visible(conn, name, visit.principal)
    if wanted not in _files(found):
        raise Problem("CR-338", "the extract has no such file", status=404, where=found.name)
    folder = await office.folder_of(
        house.settings, conn, found.name, visit.principal, f"extract {found.name}: {purpose}"
    )
    return File(
        folder / wanted,
        filename=f"{found.name}-{wanted}",
        media_type="text/csv" if wanted.endswith(".csv") else "application/octet-stream",
        headers={"Cache-Control": "no-store"},
    )


@get("/extracts/key.json")
async def public_key(house: NamedDependency[House]) -> dict[str, Any]:
    """The public key by which manifests of extracts are verified, as a JWK."""
    found: dict[str, Any] = keys.public_jwk(packing.signing_key(house.settings))
    return found


async def _take(
    house: House, conn: Any, visit: Visit, name: str, chosen: str, why: str
) -> list[packing.File]:
    match chosen:
        case "approve" | "refuse":
            await office.visible(conn, name, visit.principal)
            await office.decide(conn, name, chosen == "approve", visit.principal, why)
        case "try":
            async with _engine(house) as duck:
                return await office.trial(house.settings, conn, duck, name, visit.principal)
        case "freeze":
            async with _engine(house) as duck:
                await office.freeze(house.settings, conn, duck, name, visit.principal)
    return []


@asynccontextmanager
async def _engine(house: House) -> AsyncIterator[Duck]:
    """An engine for one copy. Raises Problem CR-335 while another is being made."""
    if _MAKING.locked():
        raise Problem("CR-335", "another copy is being made", status=503, remedy="Try again in a moment.")
    async with _MAKING:
        duck = Duck(house.settings, [house.settings.folder("warehouse")])
        try:
            yield duck
        finally:
            duck.close()


async def _page(
    conn: Any,
    visit: Visit,
    name: str,
    given: dict[str, str] | None = None,
    wrong: dict[str, str] | None = None,
    tried: list[packing.File] | None = None,
    status: int = 400,
) -> Page:
    _signed_in(visit)
    found = await office.visible(conn, name, visit.principal)
    asked, today = found.declaration, await clock.today(conn)
    level = await rights.level_of(conn, found.requester)
    evidence = await assurance.list_evidence(conn, found.requester)
    tables = [
        extract_story.contents(asked),
        extract_story.evidence(evidence),
        extract_story.steps(await office.history(conn, found.name)),
    ]
    if found.manifest is not None:
        tables.insert(0, extract_story.files("files", "Files", found.manifest.files))
    if tried:
        tables.insert(0, extract_story.files("trial", "What would be made now", tried))
    needs = assurance.NAMES[rights.NEEDS[asked.form]]
    return Page(
        template="my_extract.html",
        title=asked.title,
        summary=extract_story.in_words(found, today),
        facts=(
            Fact("state", "Where it stands", extract_story.STATES[found.state]),
            Fact("requester", "For", await oversight.name_of(conn, found.requester)),
            Fact("purpose", "Purpose", asked.purpose),
            Fact("legal_basis", "Legal basis", asked.legal_basis),
            Fact("form", "Pupils", extract_form.FORMS[asked.form]),
            Fact("schools", "Schools", ", ".join(asked.schools) if asked.schools else "All"),
            Fact("evidence", "Evidence, as the requester says", asked.evidence),
            Fact("evidence_on", "Evidence of", asked.evidence_on),
            Fact("protection", "Protection today, by the hub's evidence", assurance.NAMES[level]),
            Fact("needs", "Protection that it needs", needs),
            Fact("checking_from", "Checked from", asked.checking_from),
            Fact("freeze_on", "Made on", asked.freeze_on),
            Fact("expires_on", "Kept until", asked.expires_on),
            *extract_story.proof(found),
            Fact("name", "Name", found.name),
        ),
        tables=tuple(tables),
        trail=(HOME, MINE),
        section="extracts",
        has_form=True,
        private=True,
        status=status if wrong else 200,
        more={
            "given": given or {},
            "error_summary": wrong or {},
            "tried": bool(tried),
            "may_decide": found.state == "requested"
            and _has_role(visit, "decide")
            and found.requester != visit.principal.party,
            "protected": level >= rights.NEEDS[asked.form],
            "may_try": found.state == "approved"
            and today >= asked.checking_from
            and visit.principal.role != "governance",
            "may_freeze": found.state == "approved"
            and today >= asked.freeze_on
            and _has_role(visit, "freeze"),
            "may_take": found.state == "frozen"
            and today <= asked.expires_on
            and found.requester == visit.principal.party,
            "file_names": _files(found),
            "purposes": PURPOSES,
        },
    )


def _files(found: Extract) -> list[str]:
    """The names of what can be taken: its files, the manifest and its signature."""
    if found.manifest is None:
        return []
    return [*(file.name for file in found.manifest.files), packing.MANIFEST, packing.SIGNATURE]


def _waits_for(visit: Visit, found: Extract, today: date) -> bool:
    if found.state == "requested":
        return _has_role(visit, "decide")
    return found.state == "approved" and found.declaration.freeze_on <= today and _has_role(visit, "freeze")


def _has_role(visit: Visit, step: rights.Step) -> bool:
    return visit.principal.role in rights.ROLES[step]


def _mistakes(chosen: str, why: str) -> dict[str, str]:
    if chosen not in ("approve", "refuse", "try", "freeze"):
        return {"step": "Choose what to do"}
    if chosen in ("approve", "refuse") and not (
        SHORTEST_REASON <= len(why) <= LONGEST_REASON
        and why.replace("\r", "").replace("\n", "").isprintable()
    ):
        return {"why": f"Give a reason of {SHORTEST_REASON} to {LONGEST_REASON:,} characters"}
    return {}


def _signed_in(visit: Visit) -> None:
    if not visit.signed_in:
        raise Problem("CR-006", "This page is for people who have signed in.", status=401)


HANDLERS = [my_extracts, my_extract, step, take_file, public_key]
