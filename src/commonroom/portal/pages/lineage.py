"""Where a figure comes from: table versions, senders, messages with receipts, and facts for those who may see them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, get_args

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from commonroom.portal import figures
from commonroom.portal.figures import one_of
from commonroom.portal.house import JSON_TYPE, NO_CACHE, PUBLIC_CACHE, AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, Stamp, stem
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Cell, Column, Link, Table
from commonroom.problems import Problem
from commonroom.standard import terms
from commonroom.warehouse import Lineage, combinations
from commonroom.warehouse.model import Grain, Level
from commonroom.warehouse.sources import Part

LEVELS: dict[str, str] = {name: name for name in get_args(Level)}
GRAINS: dict[str, str] = {name: name for name in get_args(Grain)}
# What a look may be for; it goes into the trail of reads.
PURPOSES = {name: name for name in ("reading", "checking", "correcting", "audit", "research")}
LONGEST_UNIT = 20
ROWS_SHOWN = 50
MOST_ROWS = 1000
# A holiday is no longer than that.
LONGEST_BREAK = timedelta(days=60)
HOMES = {
    "school": "/schools/{unit}",
    "authority": "/authorities/{unit}",
    "trust": "/trusts/{unit}",
    "national": "/england",
}


class Asked(msgspec.Struct, frozen=True):
    """Which figure, and how many rows of facts with it."""

    measure: str
    level: str
    unit: str
    grain: str
    on: date
    rows: int
    purpose: str


@get("/figures/{measure:str}/{level:str}/{unit:str}")
async def lineage_page(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    measure: FromPath[str],
    level: FromPath[str],
    unit: FromPath[str],
) -> Response[bytes]:
    """Where one figure comes from, as a page."""
    asked = await _asked(request, house, conn, measure, level, stem(unit), ROWS_SHOWN)
    found = await _trace(house, visit, conn, asked)
    return house.answer(request, visit, _page(asked, found, is_live=house.settings.figures == "live"))


@get("/api/figures/{measure:str}/lineage")
async def lineage_api(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    measure: FromPath[str],
) -> Response[bytes]:
    """The same for programs: `level`, `unit`, `grain`, `on`, `purpose`, and `rows`, how many rows of facts to show."""
    query = request.query_params
    asked = await _asked(request, house, conn, measure, query.get("level", ""), query.get("unit", ""), 0)
    found = await _trace(house, visit, conn, asked)
    cache = NO_CACHE if visit.signed_in else PUBLIC_CACHE
    return Response(
        msgspec.json.encode(found),
        media_type=JSON_TYPE,
        headers={"Cache-Control": cache, "Vary": "Cookie"},
    )


async def _asked(
    request: AnyRequest, house: House, conn: Any, measure: str, level: str, unit: str, rows: int
) -> Asked:
    query = request.query_params
    if not unit.isascii() or not unit.isalnum() or len(unit) > LONGEST_UNIT:
        raise Problem(
            "CR-105", "The address names no unit.", status=404, remedy="Follow the link of a figure."
        )
    on = query.get("on", "")
    return Asked(
        combinations.measure(measure).name,
        one_of(level, LEVELS, "national", "level"),
        unit,
        one_of(query.get("grain", ""), GRAINS, "week", "grain"),
        figures.day(on, date.min, "on") if on else _last_school_day(await house.warehouse.newest_day(conn)),
        min(figures.whole(query.get("rows", ""), rows, "rows"), MOST_ROWS),
        one_of(query.get("purpose", ""), PURPOSES, "reading", "purpose"),
    )


def _last_school_day(today: date) -> date:
    return (terms.school_days(today - LONGEST_BREAK, today) or [today])[-1]


async def _trace(house: House, visit: Visit, conn: Any, asked: Asked) -> Lineage:
    return await house.warehouse.lineage(
        conn,
        visit.principal,
        measure=asked.measure,
        level=asked.level,
        grain=asked.grain,
        unit=asked.unit,
        on=asked.on,
        rows=asked.rows,
        purpose=f"lineage of a figure: {asked.purpose}",
    )


def _page(asked: Asked, found: Lineage, *, is_live: bool) -> Page:
    figure, measure = found.figure, combinations.measure(asked.measure)
    place = figure.unit_name if figure.unit_name == figure.unit else f"{figure.unit_name} ({figure.unit})"
    percent = measure.shown_as == "percent"
    home = HOMES.get(asked.level, "").format(unit=figure.unit)
    return Page(
        template="lineage.html",
        title="Where does this figure come from?",
        facts=(
            Fact("measure", "Measure", Link(measure.title, f"/measures#{measure.name}")),
            Fact("unit", "Of", Link(place, home) if home else place),
            Fact("period", "Period", figure.period_label),
            Fact("value", "Figure, per cent" if percent else "Figure", figures.value(figure)),
            Fact("numerator", "Numerator", figure.numerator if percent else None),
            Fact("denominator", "Denominator", figure.denominator),
            Fact("margin", "By chance so far to either side (95%)", figure.margin),
            Fact("as_of", "As of", figure.as_of),
            Fact("batch", "Warehouse batch", figure.batch),
            Fact("position", "Up to the hub's position", figure.position),
        ),
        tables=_tables(found),
        trail=(HOME, Link("How figures are made", "/measures")),
        section="measures",
        stamp=Stamp(figure.batch, figure.position, figure.as_of, figure.period_start, not is_live),
        private=any(part.shown for part in found.parts),
        more={
            "caption": f"{measure.title}, {figure.unit_name}, {figure.period_label}",
            "withheld": found.withheld,
        },
    )


def _tables(found: Lineage) -> tuple[Table, ...]:
    parts = Table(
        name="parts",
        title="What it is made of",
        columns=(
            Column("entity", "Records"),
            Column("version", "Table version", "number"),
            Column("senders", "Senders", "number"),
            Column("messages", "Messages", "number"),
            Column("facts", "Facts you may see", "number"),
        ),
        rows=tuple(
            (
                Link(part.title, f"/standard/{part.entity}"),
                part.version,
                None if part.senders is None else len(part.senders),
                _messages(part),
                part.facts,
            )
            for part in found.parts
        ),
        note="An empty cell is not told to you.",
    )
    senders = Table(
        name="senders",
        title="Who sent it",
        columns=(
            Column("sender", "Sender"),
            Column("entity", "Records"),
            Column("messages", "Messages", "number"),
            Column("first", "First accepted", "time"),
            Column("last", "Last accepted", "time"),
        ),
        rows=tuple(
            (one.name, part.title, one.messages, one.first, one.last)
            for part in found.parts
            for one in part.senders or ()
        ),
        empty="Who sent it, and how many messages, is not told where that would tell of a hidden figure.",
    )
    return (parts, senders, *_messages_table(found), *(_rows(part) for part in found.parts if part.shown))


def _messages(part: Part) -> int | None:
    if part.senders is not None:
        return sum(one.messages for one in part.senders)
    return part.all_messages


def _messages_table(found: Lineage) -> list[Table]:
    """The messages that the asker may see, with what the receipt of each said."""
    if all(part.messages is None for part in found.parts):
        return []
    rows: list[tuple[Cell, ...]] = [
        (
            one.message,
            one.name,
            part.title,
            one.receipt.accepted_at if one.receipt else one.known_from,
            one.receipt.position if one.receipt else None,
            one.receipt.ledger_position if one.receipt else None,
            one.facts,
        )
        for part in found.parts
        for one in part.messages or ()
    ]
    return [
        Table(
            name="messages",
            title="Messages",
            columns=(
                Column("message", "Message", "code"),
                Column("sender", "Sender"),
                Column("entity", "Records"),
                Column("accepted_at", "Accepted", "time"),
                Column("position", "Position", "number"),
                Column("ledger_position", "Place in the ledger", "number"),
                Column("facts", "Facts", "number"),
            ),
            rows=tuple(rows),
            note="The newest first. A message that takes back as much as it tells has 0 facts.",
            empty="None of these messages is yours to see.",
        )
    ]


def _rows(part: Part) -> Table:
    # What none of the rows has would only make the table wider.
    names = [name for name in part.shown[0] if any(row[name] is not None for row in part.shown)]
    return Table(
        name=f"rows_{part.entity}",
        title=f"{part.title}: the newest rows",
        columns=tuple(Column(name, name, "whole") for name in names),
        rows=tuple(tuple(row[name] for name in names) for row in part.shown),
        note="As they stand in the log: weight 1 tells, -1 ends what was told.",
    )


HANDLERS = [lineage_page, lineage_api]
