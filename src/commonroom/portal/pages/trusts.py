"""An academy trust: the figures of its schools together, beside England, and its schools in the order of names."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from commonroom.portal import divided, figures
from commonroom.portal.divided import Unit
from commonroom.portal.figures import Comparison, Question
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, number_in
from commonroom.portal.pages.areas import NO_LEAGUE_TABLE
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Cell, Column, Link, Table
from commonroom.problems import Problem
from commonroom.registers import providers
from commonroom.registers.providers import Trust


@get("/trusts/{uid:str}")
async def trust(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    uid: FromPath[str],
) -> Response[bytes]:
    """One trust by the number that it has in the register of groups."""
    number = number_in(uid)
    found = await providers.trust(conn, number) if number else None
    if found is None:
        raise Problem(
            "CR-005",
            "The register has no trust with that number.",
            status=404,
            remedy="Search for it by name.",
        )
    asked = await figures.question(request, conn)
    roll = await figures.figures(house, conn, visit, asked, "trust", [found.uid], figures.HEADCOUNT)
    own = await figures.figures(house, conn, visit, asked, "trust", [found.uid])
    compared = [Comparison("This trust", own)]
    if any(map(figures.is_known, own)):
        nation = await figures.figures(house, conn, visit, asked, "national", None)
        compared.append(Comparison("England", nation))
    units = [Unit("This trust", "trust", found.uid), Unit("England", "national")]
    division = await divided.division(request, house, conn, visit, asked, units)
    page = Page(
        template="unit.html",
        title=found.name,
        facts=(
            Fact("uid", "Number in the register", Link(found.uid, f"/providers/group/{found.uid}"))
            if found.is_open is not None
            else Fact("uid", "Number in the register", found.uid),
            Fact("schools", "Open schools", len(found.schools)),
            Fact("pupils", figures.ON_ROLL, figures.newest(roll)),
        ),
        tables=(
            figures.absence_table(asked, found.name, compared, counted="Missed", base="Possible"),
            figures.headcount_table(found.name, asked, roll),
            *(division.tables if division else ()),
            await _schools(house, conn, visit, asked, found),
        ),
        charts=(
            figures.absence_chart(asked, found.name, compared),
            figures.headcount_chart(found.name, asked, roll),
        ),
        trail=(HOME, Link("Find a school", "/find")),
        section="find",
        stamp=figures.stamp(asked, roll, own),
        more={**divided.choosing(asked, division), "caption": "Academy trust"},
    )
    return house.answer(request, visit, page)


async def _schools(house: House, conn: Any, visit: Visit, asked: Question, found: Trust) -> Table:
    urns = [one.urn for one in found.schools]
    asked = figures.lately(asked)
    newest: list[dict[str, Cell]] = []
    for measure in (figures.HEADCOUNT, asked.measure):
        of = await figures.figures(house, conn, visit, asked, "school", urns, measure) if urns else []
        newest.append({urn: figures.newest([one for one in of if one.unit == urn]) for urn in urns})
    pupils, missed = newest
    return Table(
        name="schools",
        title="Schools",
        columns=(
            Column("name", "School"),
            Column("urn", "URN"),
            Column("authority", "Local authority"),
            Column("phase", "Phase"),
            Column("pupils", figures.ON_ROLL, "number"),
            Column("absence", asked.title, "percent"),
        ),
        rows=tuple(
            (
                Link(one.name, f"/schools/{one.urn}"),
                one.urn,
                one.la_name,
                one.phase,
                pupils[one.urn],
                missed[one.urn],
            )
            for one in found.schools
        ),
        note=NO_LEAGUE_TABLE,
        empty="The register names no open school of this trust.",
    )


HANDLERS = [trust]
