"""Find a school in the register: by name, town, postcode, URN or LAESTAB."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from litestar import Response, get
from litestar.di import NamedDependency

from commonroom.portal import words
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Page, paths
from commonroom.portal.pages.providers import address
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Cell, Column, Link, Table
from commonroom.problems import Problem
from commonroom.registers import providers
from commonroom.registers.providers import SchoolSummary

PAGE_SIZE = 20
LAST_PAGE = 5000
LONGEST_TEXT = 100
PHASES = (
    "Nursery",
    "Primary",
    "Middle deemed primary",
    "Secondary",
    "Middle deemed secondary",
    "All-through",
    "16 plus",
    "Not applicable",
)
COLUMNS = (
    Column("name", "School"),
    Column("urn", "URN"),
    Column("phase", "Phase"),
    Column("town", "Town"),
    Column("postcode", "Postcode", "whole"),
    Column("authority", "Local authority"),
    Column("status", "Status"),
)


@get(paths("/find"))
async def find(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """The search form and, when something is asked, a page of results by name."""
    asked = request.query_params
    text, la, phase = (typed(asked.get(name, "")) for name in ("q", "la", "phase"))
    number = page_number(asked.get("page", "1"))
    searching = bool(text or la or phase)
    offset = (number - 1) * PAGE_SIZE
    # Who types words means anybody; who goes through an authority or a phase means schools.
    kinds = providers.EVERYBODY if text else providers.SCHOOLS
    total = (
        await providers.count(conn, text, la=la or None, phase=phase or None, kinds=kinds) if searching else 0
    )
    found = await providers.find(
        conn,
        text,
        la=la or None,
        phase=phase or None,
        kinds=kinds,
        limit=PAGE_SIZE if searching else 0,
        offset=offset,
    )
    table = Table(
        name="schools",
        title=_title(total, offset, len(found)),
        columns=COLUMNS,
        rows=tuple(_row(school) for school in found),
    )
    authorities = await providers.authorities(conn)
    page = Page(
        template="find.html",
        title="Find a school",
        tables=(table,) if searching else (),
        trail=(HOME,),
        section="find",
        more={
            "text": text,
            "la": la,
            "phase": phase,
            "searching": searching,
            "phases": [{"value": "", "text": "All phases"}, *({"value": one, "text": one} for one in PHASES)],
            "authorities": [
                {"value": "", "text": "All local authorities"},
                *({"value": one.la_code, "text": one.name} for one in authorities),
            ],
            "previous": _address(text, la, phase, number - 1) if number > 1 else "",
            "next": _address(text, la, phase, number + 1) if offset + len(found) < total else "",
        },
    )
    return house.answer(request, visit, page)


def typed(text: str) -> str:
    """What a person can have typed: trimmed, without control characters, no longer than a name."""
    return "".join(sign for sign in text if sign.isprintable()).strip()[:LONGEST_TEXT]


def page_number(text: str) -> int:
    """A page's number from the address; a 400 problem when it is not one."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= LAST_PAGE:
        raise Problem("CR-105", "`page` in the address is not the number of a page.", status=400)
    return int(text)


def _title(total: int, offset: int, shown: int) -> str:
    if not shown:
        return "No schools found"
    if shown == total:
        return f"{words.count(total, 'school')} found"
    return f"{words.number(total)} schools found, {offset + 1} to {offset + shown}"


def _address(text: str, la: str, phase: str, number: int) -> str:
    asked = {"q": text, "la": la, "phase": phase, "page": str(number)}
    return f"/find?{urlencode({name: value for name, value in asked.items() if value})}"


def _row(school: SchoolSummary) -> tuple[Cell, ...]:
    return (
        Link(school.name, address(school)),
        school.urn,
        school.phase,
        school.town,
        school.postcode,
        school.la_name,
        school.status,
    )


HANDLERS = [find]
