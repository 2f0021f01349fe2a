"""Asking for an extract: first which records, then which of their items, what for, and until when."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.response import Redirect

from commonroom.portal import extract_form
from commonroom.portal.extract_form import DATES, FORMS, ROWS, Choice
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Page
from commonroom.portal.pages.people import SEE_OTHER
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Link
from commonroom.problems import Problem
from commonroom.warehouse.extracts import office

PATH = "/my/extracts/new"
MINE = Link("Extracts", "/my/extracts")
# Who may ask in the name of an organisation.
REQUESTERS = ("school", "authority", "researcher")
MOST_OF_ONE_TITLE = 50


@get(PATH)
async def ask(
    request: AnyRequest, house: NamedDependency[House], visit: NamedDependency[Visit]
) -> Response[bytes]:
    """The first step without an address's choice, the second with it."""
    party_of(visit)
    query = request.query_params
    form, names = query.get("form", ""), query.getall("entity", [])
    choice = extract_form.chosen(form, names)
    if choice is not None:
        return house.answer(request, visit, _second(choice, {}, {}))
    wrong = {}
    if form or names:
        wrong["entity"] = f"Choose how pupils appear, and 1 to {extract_form.MOST_TABLES} kinds of record"
    return house.answer(request, visit, _first(form, names, wrong))


@post(PATH, status_code=SEE_OTHER)
async def send(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[Any]:
    """Put the request on record, or show what is wrong with it."""
    fields = await house.check_form(request, visit)
    party = party_of(visit)
    choice = extract_form.chosen(fields.get("form", ""), fields.get("entities", "").split())
    if choice is None:
        return house.answer(request, visit, _first("", [], {"entity": "Choose the records again"}))
    asked, wrong = extract_form.read(choice, fields, party)
    if asked is None:
        return house.answer(request, visit, _second(choice, fields, wrong))
    for number in range(1, MOST_OF_ONE_TITLE):
        named = msgspec.structs.replace(asked, name=extract_form.name_of(asked.title, number))
        try:
            made = await office.request(conn, named, visit.principal)
        except Problem as problem:
            if problem.code == "CR-265" and problem.status == 409:  # the name is another's
                continue
            if problem.code not in ("CR-265", "CR-336"):
                raise
            said = f"{_named(problem.where)}: {problem.detail}" if problem.where else problem.detail
            field = f"{problem.where}-day" if problem.where in DATES else "title"
            return house.answer(request, visit, _second(choice, fields, {field: said}))
        return Redirect(f"/my/extracts/{made.name}", status_code=SEE_OTHER)
    wrong = {"title": "Choose another title: many extracts have this one"}
    return house.answer(request, visit, _second(choice, fields, wrong))


def _named(where: str) -> str:
    """What the form calls it."""
    words = extract_form.DATES_SHORT.get(where, where)
    return words[:1].upper() + words[1:]


def party_of(visit: Visit) -> str:
    """The organisation in whose name somebody asks; 401 or 403 for those who ask in nobody's."""
    if not visit.signed_in:
        raise Problem("CR-006", "This page is for people who have signed in.", status=401)
    if visit.principal.role not in REQUESTERS or visit.principal.party is None:
        raise Problem("CR-006", "Extracts are asked for in the name of an organisation.", status=403)
    return visit.principal.party


def _first(form: str, names: list[str], wrong: dict[str, str]) -> Page:
    return Page(
        template="extract_choose.html",
        title="Ask for an extract",
        summary="A frozen copy of records for one purpose, for so long as it needs. Somebody else decides about it.",
        trail=(HOME, MINE),
        section="extracts",
        private=True,
        status=400 if wrong else 200,
        more={
            "forms": FORMS,
            "areas": extract_form.areas(),
            "form": form,
            "names": set(names),
            "error_summary": wrong,
        },
    )


def _second(choice: Choice, typed: dict[str, str], wrong: dict[str, str]) -> Page:
    return Page(
        template="extract_request.html",
        title="Your request",
        summary="Everybody can read it in the register of extracts once it is approved.",
        trail=(HOME, MINE, Link("Ask for an extract", PATH)),
        section="extracts",
        has_form=True,
        private=True,
        status=400 if wrong else 200,
        more={
            "choice": choice,
            "form_words": FORMS[choice.form],
            "dates": DATES,
            "rows": ROWS,
            "typed": typed,
            "error_summary": wrong,
        },
    )


HANDLERS = [ask, send]
