"""`commonroom measure define|list|show`: measures of an organisation's own. Parse, call, print."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import typer

from commonroom import settings
from commonroom.engines import database
from commonroom.engines.duck import Duck
from commonroom.identity import Principal, Role
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import own, own_figures
from commonroom.warehouse.reader import open_reader

app = typer.Typer(no_args_is_help=True, help="Measures of your organisation's own.")
NAMES = ("define", "list", "show")

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder.", envvar="COMMONROOM_DATA", show_default=False)
]
As = Annotated[str, typer.Option("--as", help="Whose rights: school or authority.")]
Party = Annotated[str, typer.Option(help="The organisation (urn:commonroom:org:...) that asks.")]
Ask = Callable[[Settings, Any, Principal], Awaitable[Any]]


@app.command("define")
def define(
    file: Annotated[
        Path, typer.Argument(help="The declaration, as those of the published measures.", exists=True)
    ],
    party: Party,
    role: As = "school",
    data: Data = None,
) -> None:
    """Check a measure and keep it for the organisation."""
    if file.stat().st_size > own.MAX_TEXT:
        raise Problem("CR-286", "the file is too long", status=422, remedy="Write less.")
    text = file.read_text("utf-8")
    kept = _run(data, role, party, lambda _, connection, who: own.define(connection, who, text))
    typer.echo(f"{kept.measure.name}: {kept.measure.title}")


@app.command("list")
def list_all(party: Party, role: As = "school", data: Data = None) -> None:
    """Print the organisation's own measures."""
    for one in _run(data, role, party, lambda _, connection, who: own.known(connection, who)):
        typer.echo(f"{one.measure.name}: {one.measure.title}. {one.measure.meaning}")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="The measure's name.")],
    party: Party,
    on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="A day of the period asked for.")],
    grain: Annotated[str, typer.Option(help="day, week, term or year.")] = "term",
    role: As = "school",
    data: Data = None,
) -> None:
    """Print its figures of the organisation's own facts, and the published ones of its benchmark beside, as JSON."""
    shown = _run(
        data,
        role,
        party,
        lambda chosen, connection, who: _shown(chosen, connection, who, name, grain, on.date()),
    )
    typer.echo(msgspec.json.encode(shown).decode())


async def _shown(
    chosen: Settings, connection: Any, who: Principal, name: str, grain: str, day: date
) -> dict[str, Any]:
    duck = Duck(chosen, [chosen.folder("warehouse")])
    try:
        found = await own_figures.figures(
            chosen, duck, connection, who, name, grain=grain, first=day, last=day, purpose="own measure"
        )
        mine = await own.named(connection, who, name)
    finally:
        duck.close()
    beside: list[Any] = []
    if mine.measure.benchmark is not None:
        reader = open_reader(chosen)
        try:
            beside = await reader.beside(connection, who, mine.measure.benchmark, found.schools, grain, day)
        finally:
            reader.close()
    return {
        "own": found.figures,
        "schools": found.schools,
        "left_out": found.left_out,
        "published": beside,
    }


def _run(data: Path | None, role: str, party: str, ask: Ask) -> Any:
    roles: dict[str, Role] = {name: name for name in get_args(Role)}
    if role not in roles:
        raise Problem(
            "CR-286", "there is no such role", status=422, remedy=f"Use one of: {', '.join(roles)}."
        )

    async def asked() -> Any:
        chosen = settings.load(data)
        connection = await database.connect(chosen)
        try:
            return await ask(
                chosen, connection, Principal(kind="person", id="", role=roles[role], party=party)
            )
        finally:
            await connection.close()

    return asyncio.run(asked())
