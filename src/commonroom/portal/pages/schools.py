"""A school's page: what the register says, pupils on roll, and absence beside its authority and England."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from commonroom.portal import divided, figures
from commonroom.portal.divided import Unit
from commonroom.portal.figures import Comparison
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, number_in
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Link
from commonroom.problems import Problem
from commonroom.registers import providers
from commonroom.registers.providers import School
from commonroom.registers.providers.own import Own

COURSES_SHOWN = 20
FIND = Link("Find a school", "/find")


@get("/schools/{urn:str}")
async def school(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    urn: FromPath[str],
) -> Response[bytes]:
    """The page of one school by URN."""
    found = await providers.school(conn, number_in(urn))
    if found is None:
        raise Problem(
            "CR-005", "The register has no school with that URN.", status=404, remedy="Search for it by name."
        )
    asked = await figures.question(request, conn)
    roll = await figures.figures(house, conn, visit, asked, "school", [found.urn], figures.HEADCOUNT)
    own = await figures.figures(house, conn, visit, asked, "school", [found.urn])
    near = await figures.figures(house, conn, visit, asked, "authority", [found.la_code])
    nation = await figures.figures(house, conn, visit, asked, "national", None)
    compared = [Comparison("This school", own)]
    if any(map(figures.is_known, own)):
        compared += [Comparison(found.la_name, near), Comparison("England", nation)]
    units = [
        Unit("This school", "school", found.urn),
        Unit(found.la_name, "authority", found.la_code),
        Unit("England", "national"),
    ]
    division = await divided.division(request, house, conn, visit, asked, units)
    page = Page(
        template="unit.html",
        title=found.name,
        facts=(
            Fact("pupils", "Pupils on roll", figures.newest(roll)),
            *school_facts(found),
            *own_facts((await providers.own.kept(conn, found.party)).own),
        ),
        tables=(
            figures.absence_table(asked, found.name, compared, counted="Missed", base="Possible"),
            figures.headcount_table(found.name, asked, roll),
            *(division.tables if division else ()),
        ),
        charts=(
            figures.absence_chart(asked, found.name, compared),
            figures.headcount_chart(found.name, asked, roll),
        ),
        trail=(HOME, FIND),
        section="find",
        stamp=figures.stamp(asked, roll, own),
        more={**divided.choosing(asked, division), "caption": f"URN {found.urn}"},
    )
    return house.answer(request, visit, page)


def school_facts(found: School) -> tuple[Fact, ...]:
    """What the register says of a school, in the order people ask for it."""
    ages = (
        f"{found.low_age} to {found.high_age}"
        if found.low_age is not None and found.high_age is not None
        else None
    )
    return (
        Fact("phase", "Phase", found.phase),
        Fact("type", "Type", found.type),
        Fact("status", "Status", found.status),
        Fact("ages", "Ages", ages),
        Fact("capacity", "Places", found.capacity),
        Fact("religious_character", "Religious character", found.religious_character),
        Fact("trust", "Trust", _trust(found)),
        Fact("authority", "Local authority", Link(found.la_name, f"/authorities/{found.la_code}")),
        Fact("region", "Region", found.region_name),
        Fact("address", "Address", ", ".join((*found.address, found.postcode or "")).removesuffix(", ")),
        Fact("urn", "URN", found.urn),
        Fact("laestab", "LAESTAB", found.laestab and f"{found.laestab[:3]}/{found.laestab[3:]}"),
        Fact("ukprn", "UKPRN", found.ukprn),
        Fact("open_date", "Opened", found.open_date),
        Fact("close_date", "Closed", found.close_date),
        Fact("as_at", "Register as at", found.as_at),
    )


def _trust(found: School) -> Link | None:
    """The page of the trust: of the directory of groups, else the one that the school's own row names."""
    if found.trust is not None:
        return Link(found.trust.name, f"/trusts/{found.trust.uid}")
    uid = found.facts.get("trust_uid")
    return None if uid is None else Link(str(found.facts.get("trust_name", uid)), f"/trusts/{uid}")


def own_facts(kept: Own) -> tuple[Fact, ...]:
    """What the school itself keeps in the register: how to reach it, and courses on offer."""
    contacts = "; ".join(
        ", ".join(part for part in (one.role, one.telephone, one.email, one.website) if part)
        for one in kept.contacts
    )
    courses = "; ".join(course.title for course in kept.courses[:COURSES_SHOWN])
    return (
        *((Fact("contacts", "Contacts", contacts),) if contacts else ()),
        *((Fact("courses", "Courses", courses),) if courses else ()),
    )


HANDLERS = [school]
