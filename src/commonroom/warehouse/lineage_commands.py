"""`commonroom warehouse lineage`: where a figure comes from, for whom it may be told. Parse, call, print."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings
from commonroom.engines import clock, database
from commonroom.identity import PUBLIC, Principal, Role
from commonroom.problems import Problem
from commonroom.warehouse import questions
from commonroom.warehouse.reader import Lineage, open_reader
from commonroom.warehouse.sources import Part

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder.", envvar="COMMONROOM_DATA", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Give a group this command."""
    app.command("lineage")(lineage)


def lineage(
    measure: Annotated[str, typer.Argument(help="headcount, absence_overall, persistent_absence, ...")],
    unit: Annotated[str, typer.Option(help="Code of the unit, such as a URN.")],
    on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="A day of the figure's period.")],
    level: Annotated[
        str, typer.Option("--level", "--by", help="school, authority, region, national.")
    ] = "school",
    grain: Annotated[str, typer.Option(help="day, week or term.")] = "term",
    known_at: Annotated[str | None, typer.Option(help="As known then, such as 2026-09-13T00:00Z.")] = None,
    role: Annotated[str, typer.Option("--as", help="Whose rights: public, school, analyst, ...")] = "public",
    party: Annotated[
        str | None, typer.Option(help="The organisation (urn:commonroom:org:...) that asks.")
    ] = None,
    purpose: Annotated[
        str, typer.Option(help="Why; it goes into the trail of reads. No names.")
    ] = "lineage of a figure",
    rows: Annotated[int, typer.Option(help="So many rows of facts of each entity.", min=0, max=1000)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    data: Data = None,
) -> None:
    """Print where a figure comes from: tables, senders, and where there is a right to them messages and facts."""
    who = _principal(role, party)
    asked = {"measure": measure, "level": level, "grain": grain, "unit": unit, "on": on.date(), "rows": rows}
    found = asyncio.run(_trace(data, who, purpose, {**asked, "known_at": known_at}))
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    _print(found)


def _principal(role: str, party: str | None) -> Principal:
    roles: dict[str, Role] = {name: name for name in get_args(Role)}
    if role not in roles:
        raise Problem("CR-063", f"there is no role {role[:40]!r}", remedy=f"Use one of: {', '.join(roles)}.")
    if role == "public":
        return PUBLIC
    return Principal(kind="person", id="command line", role=roles[role], party=party)


async def _trace(data: Path | None, who: Principal, purpose: str, asked: dict[str, Any]) -> Lineage:
    chosen = settings.load(data)
    connection = await database.connect(chosen)
    reader = open_reader(chosen)
    try:
        if asked["known_at"] is not None:
            now = await clock.now(connection)
            asked |= {"known_at": questions.known_time(asked["known_at"], now)}
        return await reader.lineage(connection, who, purpose=purpose, **asked)
    finally:
        reader.close()
        await connection.close()


def _print(found: Lineage) -> None:
    figure = found.figure
    value = figure.symbol or figure.value
    margin = "" if figure.margin is None else f" (95%: {figure.margin} to either side)"
    typer.echo(f"{figure.measure}, {figure.unit_name}, {figure.period_label}: {value}{margin}")
    typer.echo(f"as of {figure.as_of}, batch {figure.batch}, position {figure.position} of the hub")
    if found.withheld:
        typer.echo(found.withheld)
    for part in found.parts:
        version = "nothing loaded" if part.version is None else f"table version {part.version}"
        typer.echo(f"\n{part.title}: {version}{_counted(part)}")
        _print_senders(part)
        _print_messages(part)
        for row in part.shown:
            typer.echo(msgspec.json.encode(row).decode())


def _counted(part: Part) -> str:
    if part.rows is None:
        return ""
    return f"; {part.facts:,} facts in {part.rows:,} rows and {part.all_messages:,} messages"


def _print_senders(part: Part) -> None:
    if part.senders:
        rows = [(one.name, one.messages, one.first, one.last) for one in part.senders]
        _table(("sender", "messages", "first accepted", "last accepted"), rows)


def _print_messages(part: Part) -> None:
    if not part.messages:
        return
    rows = [
        (
            one.message,
            one.name,
            one.receipt.accepted_at if one.receipt else one.known_from,
            one.receipt.position if one.receipt else "",
            one.receipt.ledger_position if one.receipt else "",
            one.facts,
        )
        for one in part.messages
    ]
    _table(("message", "sender", "accepted", "position", "in the ledger", "facts"), rows)


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(table)
