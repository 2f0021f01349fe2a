"""Local authorities and England: figures beside those of the region and the nation, and lists in the order of names."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from commonroom.portal import divided, figures
from commonroom.portal.divided import Unit
from commonroom.portal.figures import Comparison, Question
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, number_in, paths
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Column, Link, Table
from commonroom.problems import Problem
from commonroom.registers import providers
from commonroom.registers.providers import SchoolSummary
from commonroom.warehouse import Figure

AUTHORITIES = Link("Local authorities", "/authorities")
# The register gives at most so many schools at a time; a large authority has more.
BATCH = 500
NO_LEAGUE_TABLE = "Schools are in the order of their names. Pupils and places differ: the list is no ranking."


@get(paths("/authorities"))
async def authorities(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """Every authority of the register, with the figures of those whose schools send."""
    asked = await figures.question(request, conn)
    found = await providers.authorities(conn)
    roll = await figures.figures(house, conn, visit, asked, "authority", None, figures.HEADCOUNT)
    absence = await figures.figures(house, conn, visit, asked, "authority", None)
    pupils, missed = _newest_by_unit(roll), _newest_by_unit(absence)
    table = Table(
        name="authorities",
        title="Local authorities",
        columns=(
            Column("name", "Local authority"),
            Column("code", "Code"),
            Column("region", "Region"),
            Column("schools", "Open schools", "number"),
            Column("pupils", "Pupils on roll, from their schools", "number"),
            Column("absence", "Overall absence", "percent"),
        ),
        rows=tuple(
            (
                Link(one.name, f"/authorities/{one.la_code}"),
                one.la_code,
                one.region_name,
                one.schools,
                figures.newest(pupils.get(one.la_code, [])),
                figures.newest(missed.get(one.la_code, [])),
            )
            for one in sorted(found, key=lambda one: one.name)
        ),
        note="A blank means that no school of the authority sends data through Common Room yet.",
    )
    page = Page(
        template="tables.html",
        title="Local authorities",
        summary="Every local authority in the register, in the order of names.",
        tables=(table,),
        trail=(HOME,),
        section="authorities",
        stamp=figures.stamp(asked, roll, absence),
    )
    return house.answer(request, visit, page)


@get("/authorities/{code:str}")
async def authority(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    code: FromPath[str],
) -> Response[bytes]:
    """One authority by its three-digit code."""
    found = await providers.authority(conn, number_in(code))
    if found is None:
        raise Problem("CR-005", "The register has no local authority with that code.", status=404)
    asked = await figures.question(request, conn)
    roll = await figures.figures(house, conn, visit, asked, "authority", [found.la_code], figures.HEADCOUNT)
    own = await figures.figures(house, conn, visit, asked, "authority", [found.la_code])
    compared = [Comparison("This authority", own)]
    known = any(map(figures.is_known, own))
    if known and found.region_code and found.region_name:
        region = await figures.figures(house, conn, visit, asked, "region", [found.region_code])
        compared.append(Comparison(found.region_name, region))
    if known:
        compared.append(
            Comparison("England", await figures.figures(house, conn, visit, asked, "national", None))
        )
    units = [Unit("This authority", "authority", found.la_code)]
    if found.region_code and found.region_name:
        units.append(Unit(found.region_name, "region", found.region_code))
    units.append(Unit("England", "national"))
    division = await divided.division(request, house, conn, visit, asked, units)
    page = Page(
        template="unit.html",
        title=found.name,
        facts=(
            Fact("code", "Code", found.la_code),
            Fact("region", "Region", found.region_name),
            Fact("schools", "Open schools", found.schools),
        ),
        tables=(
            figures.absence_table(asked, found.name, compared, counted="Missed", base="Possible"),
            figures.headcount_table(found.name, asked, roll),
            *(division.tables if division else ()),
            await _schools(house, conn, visit, asked, found.la_code),
        ),
        charts=(
            figures.absence_chart(asked, found.name, compared),
            figures.headcount_chart(found.name, asked, roll),
        ),
        trail=(HOME, AUTHORITIES),
        section="authorities",
        stamp=figures.stamp(asked, roll, own),
        more={**divided.choosing(asked, division), "caption": f"Local authority {found.la_code}"},
    )
    return house.answer(request, visit, page)


@get(paths("/england"))
async def england(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """All schools that send, and each region."""
    asked = await figures.question(request, conn)
    roll = await figures.figures(house, conn, visit, asked, "national", None, figures.HEADCOUNT)
    own = await figures.figures(house, conn, visit, asked, "national", None)
    pupils = _newest_by_unit(
        await figures.figures(house, conn, visit, asked, "region", None, figures.HEADCOUNT)
    )
    missed = _newest_by_unit(await figures.figures(house, conn, visit, asked, "region", None))
    regions = Table(
        name="regions",
        title="Regions",
        columns=(
            Column("region", "Region"),
            Column("pupils", "Pupils on roll", "number"),
            Column("absence", asked.title, "percent"),
        ),
        rows=tuple(
            (one.name, figures.newest(pupils.get(one.code, [])), figures.newest(missed.get(one.code, [])))
            for one in await providers.regions(conn)
        ),
        note="The latest period. A blank means that no school of the region sends data through Common Room yet.",
    )
    division = await divided.division(request, house, conn, visit, asked, [Unit("England", "national")])
    page = Page(
        template="unit.html",
        title="England",
        summary="All schools that send their data through Common Room.",
        tables=(
            figures.absence_table(
                asked, "England", [Comparison("England", own)], counted="Missed", base="Possible"
            ),
            figures.headcount_table("England", asked, roll),
            *(division.tables if division else ()),
            regions,
        ),
        charts=(
            figures.absence_chart(asked, "England", [Comparison("England", own)]),
            figures.headcount_chart("England", asked, roll),
        ),
        trail=(HOME,),
        section="england",
        stamp=figures.stamp(asked, roll, own),
        more=divided.choosing(asked, division),
    )
    return house.answer(request, visit, page)


async def _schools(house: House, conn: Any, visit: Visit, asked: Question, code: str) -> Table:
    """The schools of an authority by name, with their newest figures."""
    found = await _all_open(conn, code)
    urns = [one.urn for one in found]
    asked = figures.lately(asked)
    pupils = _newest_by_unit(
        await figures.figures(house, conn, visit, asked, "school", urns, figures.HEADCOUNT)
    )
    missed = _newest_by_unit(await figures.figures(house, conn, visit, asked, "school", urns))
    return Table(
        name="schools",
        title="Schools",
        columns=(
            Column("name", "School"),
            Column("urn", "URN"),
            Column("phase", "Phase"),
            Column("pupils", "Pupils on roll", "number"),
            Column("absence", asked.title, "percent"),
        ),
        rows=tuple(
            (
                Link(one.name, f"/schools/{one.urn}"),
                one.urn,
                one.phase,
                figures.newest(pupils.get(one.urn, [])),
                figures.newest(missed.get(one.urn, [])),
            )
            for one in sorted(found, key=lambda one: one.name)
        ),
        note=NO_LEAGUE_TABLE,
    )


async def _all_open(conn: Any, code: str) -> list[SchoolSummary]:
    """Every open school of an authority."""
    total = await providers.count(conn, la=code, is_open=True)
    found: list[SchoolSummary] = []
    for offset in range(0, total, BATCH):
        found += await providers.find(conn, la=code, is_open=True, limit=BATCH, offset=offset)
    return found


def _newest_by_unit(found: list[Figure]) -> dict[str, list[Figure]]:
    """Figures by unit, oldest first."""
    by_unit: dict[str, list[Figure]] = {}
    for figure in found:
        by_unit.setdefault(figure.unit, []).append(figure)
    return by_unit


HANDLERS = [authorities, authority, england]
