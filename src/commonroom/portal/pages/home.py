"""The first page: what this is, how many take part, and the ways in."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from commonroom.portal import figures
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, paths

PUPILS = "pupils on roll"


@get(paths("/"))
async def home(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """Live figures of the schools that send."""
    # Not the address's own question: asked for every school and day of years, it would keep the portal busy.
    asked = await figures.usual_question(conn, is_live=house.settings.figures == "live")
    pupils = await figures.figures(house, conn, visit, asked, "national", None, figures.HEADCOUNT)
    absence = await figures.figures(house, conn, visit, asked, "national", None)
    newest = figures.latest(asked)
    # Every school's, at once: they are counted here, and not sent.
    sending = await house.warehouse.figures(
        conn,
        visit.principal,
        measure=figures.HEADCOUNT,
        level="school",
        grain=newest.grain,
        first=newest.first,
        last=newest.last,
        now=newest.now,
    )
    missed = [figure for figure in absence if figures.is_known(figure)]
    so_far = " so far" if missed and figures.is_so_far(asked, missed[-1]) else ""
    schools = len({figure.unit for figure in sending if figures.is_known(figure)})
    page = Page(
        template="home.html",
        title="Common Room",
        facts=(
            Fact("schools", "schools sending data", schools),
            Fact("pupils", PUPILS, figures.newest(pupils)),
            Fact("absence", f"of sessions missed, latest week{so_far}", figures.newest(absence)),
        ),
        stamp=figures.stamp(asked, pupils, absence),
        section="home",
    )
    return house.answer(request, visit, page)


HANDLERS = [home]
