"""Measures that a school, trust or authority defines itself: its list, the form, figures beside published ones."""

from __future__ import annotations

import asyncio
from typing import Any, get_args, get_type_hints

from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from commonroom.portal import oversight, own_tables
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.own_tables import Asked
from commonroom.portal.page import Fact, Page, form_of, paths, stem
from commonroom.portal.pages.people import SEE_OTHER
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Link
from commonroom.problems import Problem
from commonroom.warehouse import Measure, own, own_answers

MEASURES = Link("Your own measures", "/my/measures")
ROLES = ("school", "authority")
# A form's field and the file beside it, with what comes around them.
LARGEST = 4 * own.MAX_TEXT
FIRST_PAGES = {
    "school": Link("Your school", "/my/school"),
    "authority": Link("Your authority", "/my/authority"),
}


@get(paths("/my/measures"))
async def listed(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """The organisation's measures and the form; `start` and `edit` fill it with an example or a measure of theirs."""
    require(visit)
    query = request.query_params
    text = ""
    if query.get("edit"):
        text = (await own.kept(conn, visit.principal, query["edit"])).text
    elif query.get("start"):
        text = example(query["start"])
    return house.answer(request, visit, await _list_page(conn, visit, text))


@post("/my/measures", status_code=SEE_OTHER, request_max_body_size=LARGEST)
async def define(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[Any]:
    """Check the declaration and keep it; one that cannot be used shows the form again, with what is wrong and where."""
    fields = await house.check_form(request, visit)
    require(visit)
    text, errors = await _written(request, fields)
    if not errors:
        try:
            kept = await own.define(conn, visit.principal, text)
            return Redirect(f"/my/measures/{kept.measure.name}", status_code=SEE_OTHER)
        except Problem as problem:
            if problem.status >= 500 or problem.status == 403:
                raise
            errors = {"declaration": said(problem)}
    return house.answer(request, visit, await _list_page(conn, visit, text, errors))


@get("/my/measures/{name:str}")
async def one(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    name: FromPath[str],
) -> Response[bytes]:
    """The figures of one measure, with the published ones of its benchmark beside."""
    require(visit)
    kept = await own.named(conn, visit.principal, stem(name))
    asked = await own_tables.asked_of(request, conn, visit.principal, kept.measure)
    found = await answer_of(house, visit, conn, kept.measure.name, asked)
    tables = own_tables.tables_of(found, asked)
    if form_of(request.url.path) == "html":
        tables = tuple(map(own_tables.cut, tables))
    page = Page(
        template="my_measure.html",
        title=kept.measure.title,
        summary=kept.measure.meaning,
        facts=_facts(found),
        tables=tables,
        charts=own_tables.charts_of(found, asked),
        trail=(HOME, FIRST_PAGES[visit.principal.role], MEASURES),
        section="my",
        has_form=True,
        private=True,
        more={
            "asked": asked,
            "grains": {grain: own_tables.GRAINS[grain] for grain in kept.measure.grains},
            "name": kept.measure.name,
            "text": kept.text,
            "sentences": own_tables.sentences(found),
            "left_out": found.own.left_out,
            "benchmark": found.benchmark,
        },
    )
    return house.answer(request, visit, page)


@post("/my/measures/{name:str}/delete", status_code=SEE_OTHER)
async def delete(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    name: FromPath[str],
) -> Response[Any]:
    """Forget a measure."""
    await house.check_form(request, visit)
    require(visit)
    await own.delete(conn, visit.principal, name)
    return Redirect("/my/measures", status_code=SEE_OTHER)


def require(visit: Visit) -> None:
    """Who may come here at all; whose measures and facts they see, the policies say."""
    if not visit.signed_in:
        raise Problem("CR-006", "This page is for people who have signed in.", status=401)
    if visit.principal.role not in ROLES:
        raise Problem(
            "CR-006", "Measures of their own have schools, trusts and local authorities.", status=403
        )


async def answer_of(house: House, visit: Visit, conn: Any, name: str, asked: Asked) -> own_answers.Answer:
    """The figures that the address asks for, with their benchmark."""
    return await own_answers.answer(
        house.settings, house.warehouse, conn, visit.principal, name,
        grain=asked.grain, first=asked.first, last=asked.last, purpose=f"own measure: {asked.purpose}",
    )  # fmt: skip


def example(name: str) -> str:
    """The text of an example; a 404 problem where there is none of that name."""
    found = own.examples().get(name)
    if found is None:
        remedy = f"There are {', '.join(own.examples())}."
        raise Problem("CR-105", "There is no example of that name.", status=404, remedy=remedy)
    return found


def said(problem: Problem) -> str:
    """What is wrong with a declaration: the line and key first, where they are known."""
    line, key = problem.extra.get("line"), problem.extra.get("key")
    where = f"Line {line}" + (f", `{key}`" if key else "") if line else ""
    detail = problem.detail if where else problem.detail[:1].upper() + problem.detail[1:]
    known = _choices(str(key or "")) if "enum" in detail else ()
    return ": ".join(part for part in (where, detail) if part) + (
        f". Use one of: {', '.join(known)}." if known else ""
    )


def _choices(key: str) -> tuple[str, ...]:
    """The words that a key of a declaration takes, where it takes only some."""
    hint = get_type_hints(Measure).get(key.partition("[")[0])
    arguments = get_args(get_args(hint)[0]) or get_args(hint) if get_args(hint) else ()
    return tuple(one for one in arguments if isinstance(one, str))


async def _written(request: AnyRequest, fields: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The declaration of the form, or that of the file beside it, and what is wrong before it is read."""
    given = (await request.form()).get("file")
    if not isinstance(given, UploadFile) or not given.filename:
        text = fields.get("declaration", "")
        return text, {} if text.strip() else {"declaration": "Write a declaration, or choose a file"}
    content = await given.read()
    if len(content) > own.MAX_TEXT:
        return "", {"file": f"The file is larger than {own.MAX_TEXT:,} bytes"}
    try:
        return content.decode("utf-8-sig"), {}
    except UnicodeDecodeError as error:
        return "", {"file": f"Byte {error.start:,} of the file is not UTF-8; save it as UTF-8"}


async def _list_page(conn: Any, visit: Visit, text: str, errors: dict[str, str] | None = None) -> Page:
    found = await own.known(conn, visit.principal)
    name = await oversight.name_of(conn, visit.principal.party or "")
    return Page(
        template="my_measures.html",
        title="Your own measures",
        summary=f"Measures that {name} defines itself. Nobody else sees them or their figures.",
        tables=(own_tables.measures_table(found),),
        trail=(HOME, FIRST_PAGES[visit.principal.role]),
        section="my",
        has_form=True,
        private=True,
        status=400 if errors else 200,
        more={
            "text": text,
            "examples": await asyncio.to_thread(own.titles_of_examples),
            "unusable": {one.name: said(one.fault) for one in await own.unusable(conn, visit.principal)},
            "error_summary": errors or {},
        },
    )


def _facts(found: own_answers.Answer) -> tuple[Fact, ...]:
    beside = found.benchmark
    left_out = "; ".join(one.title for one in found.own.left_out)
    return (
        Fact("schools", "Schools counted", len(found.own.schools)),
        *((Fact("left_out", "Not counted", left_out),) if left_out else ()),
        *(
            (
                Fact(
                    "benchmark",
                    "Published beside it",
                    Link(beside.measure.title, f"/measures#{beside.measure.name}"),
                ),
            )
            if beside
            else ()
        ),
    )


HANDLERS = [listed, define, one, delete]
