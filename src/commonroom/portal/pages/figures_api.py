"""Every published figure for programs: `/api/figures/{measure}`, also by characteristic and as known at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from commonroom.engines import clock
from commonroom.portal import figures, sizes
from commonroom.portal.figures import one_of
from commonroom.portal.house import CSV_TYPE, JSON_TYPE, NO_CACHE, PUBLIC_CACHE, AnyRequest, House, Visit
from commonroom.portal.page import form_of, stem
from commonroom.portal.tables import SYMBOLS, Cell, Column, Table, as_csv
from commonroom.problems import Problem
from commonroom.warehouse import Figure, characteristics, combinations, questions
from commonroom.warehouse.model import Grain, Level

LEVELS: dict[str, str] = {name: name for name in get_args(Level)}
GRAINS: dict[str, str] = {name: name for name in get_args(Grain)}
MOST_UNITS = 100
LONGEST_UNIT = 20


@get("/api/figures/{measure:str}")
async def figures_of(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    measure: FromPath[str],
) -> Response[bytes]:
    """Figures of a measure: `level`, `unit` (several with commas), `grain`, `from`, `to`, `by`, `for`, `known_at`.

    JSON; `.csv` after the measure's name gives CSV.
    """
    query = request.query_params
    declared = combinations.measure(stem(measure))
    by = one_of(query.get("by", ""), characteristics.load(), "", "by")
    level = one_of(query.get("level", ""), LEVELS, "national", "level")
    today = await clock.today(conn)
    last = figures.day(query.get("to", ""), today, "to")
    grain = one_of(query.get("grain", ""), GRAINS, "term" if by else declared.grains[-1], "grain")
    units = _units(query.get("unit", ""), level)
    first = figures.day(query.get("from", ""), figures.school_year(last), "from")
    known_at = _moment(query.get("known_at", ""), await clock.now(conn))
    groups = query["for"].split(",") if query.get("for") else None
    asked = questions.checked(declared.name, level, grain, units, first, last, known_at)
    await sizes.check(house, conn, questions.divided(asked, by, groups) if by else asked)
    await sizes.check_known(house, conn, asked)
    found = await house.warehouse.figures(
        conn,
        visit.principal,
        measure=declared.name,
        level=level,
        grain=grain,
        units=units,
        first=first,
        last=last,
        known_at=known_at,
        characteristic=by or None,
        groups=groups,
    )
    cache = NO_CACHE if visit.signed_in else PUBLIC_CACHE
    headers = {"Cache-Control": cache, "Vary": "Cookie"}
    if form_of(request.url.path) == "csv":
        return Response(_csv(found).encode(), media_type=CSV_TYPE, headers=headers)
    answer = {
        "measure": declared.name,
        "title": declared.title,
        "meaning": declared.meaning,
        "shown_as": declared.shown_as,
        "characteristic": by,
        "groups": characteristics.named(by).titles() if by else {},
        "symbols": {
            name: words for name, (_, words) in SYMBOLS.items() if any(one.symbol == name for one in found)
        },
        "figures": found,
    }
    return Response(msgspec.json.encode(answer), media_type=JSON_TYPE, headers=headers)


def _units(text: str, level: str) -> list[str] | None:
    """The units of the address; without any every one of the level, but of schools, who are too many for one answer."""
    units = text.split(",") if text else []
    if any(not one.isascii() or not one.isalnum() or len(one) > LONGEST_UNIT for one in units):
        raise Problem("CR-105", "`unit` in the address is no code of a unit.", status=400)
    if len(units) > MOST_UNITS or (level == "school" and not units):
        raise Problem(
            "CR-105",
            f"Name the units, at most {MOST_UNITS} at a time.",
            status=400,
            remedy="Write `unit=990001,990002`.",
        )
    return units or None


def _moment(text: str, now: datetime) -> datetime | None:
    """The time of `known_at`, which has come."""
    if not text:
        return None
    try:
        return questions.known_time(text, now)
    except Problem as problem:
        raise Problem("CR-105", f"{problem.detail}.", status=400, remedy=problem.remedy) from None


def _csv(found: list[Figure]) -> str:
    """One row a figure; a hidden one has its symbol and empty cells. `commonroom measure` prints the same."""
    rows: list[tuple[Cell, ...]] = [tuple(questions.row(one).values()) for one in found]
    columns = tuple(Column(name, name) for name in questions.COLUMNS)
    return as_csv(Table("figures", "Figures", columns, tuple(rows)))


HANDLERS = [figures_of]
