"""The look-up list of a school: the numbers for life of its own pupils."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from commonroom.portal import oversight
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, paths
from commonroom.portal.pages.own import require
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Column, Link, Table
from commonroom.registers.learners import callers
from commonroom.registers.learners.flow import numbers_of_school

# What such lists are used for; programs that read it by the API name their own.
PURPOSE = "examinations"
COLUMNS = (
    Column("upn", "UPN", "code"),
    Column("family_name", "Family name"),
    Column("given_name", "Given name"),
    Column("uln", "Learner number (ULN)", "code"),
    Column("since", "Since", "whole"),
    Column("state", "State"),
)


@get(paths("/my/school/numbers"))
async def my_numbers(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """The numbers of a school's own pupils, which came without anybody asking for them."""
    party = require(visit, "school")
    who = await callers.of_principal(conn, visit.principal, PURPOSE)
    pupils = await numbers_of_school(conn, who, "page")
    table = Table(
        name="numbers",
        title="Numbers of your pupils",
        columns=COLUMNS,
        rows=tuple(
            (one.upn, one.family_name, one.given_name, one.uln, one.since, one.state) for one in pupils
        ),
        empty="No pupil of yours has a number yet: pupils get it in the school year in which they become 14.",
    )
    given = sum(one.uln is not None for one in pupils)
    page = Page(
        template="my_numbers.html",
        title=f"Learner numbers, {await oversight.name_of(conn, party)}",
        facts=(Fact("given", "Numbers given", given), Fact("waiting", "Waiting", len(pupils) - given)),
        tables=(table,),
        trail=(HOME, Link("Your school", "/my/school")),
        section="my",
        private=True,
    )
    return house.answer(request, visit, page)


HANDLERS = [my_numbers]
