"""`commonroom measure define|list|show|delete`: measures of an organisation's own. Parse, call, print."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings
from commonroom.engines import database
from commonroom.hub.directory import resolve_alias
from commonroom.identity import Principal, Role
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import combinations, measures, own, own_answers
from commonroom.warehouse.reader import open_reader
from commonroom.warehouse.spans import ON_A_DAY

app = typer.Typer(no_args_is_help=True, help="Measures of your organisation's own.")


class Format(StrEnum):
    """How figures are printed."""

    TABLE = "table"
    JSON = "json"


Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder.", envvar="COMMONROOM_DATA", show_default=False)
]
As = Annotated[str, typer.Option("--as", help="Whose rights: school (also of a trust) or authority.")]
Party = Annotated[str, typer.Option(help="The organisation that asks: its urn or an alias.")]
_WIDTH = 160
Ask = Callable[[Settings, Any, Principal], Awaitable[Any]]


@app.command("define")
def define(
    file: Annotated[
        Path,
        typer.Argument(
            help="The declaration, as those of the published measures.", exists=True, dir_okay=False
        ),
    ],
    party: Party,
    role: As = "school",
    data: Data = None,
) -> None:
    """Check a measure and keep it for the organisation."""
    if file.stat().st_size > own.MAX_TEXT:
        raise Problem("CR-286", "the file is too long", status=422, remedy="Write less.")
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise Problem("CR-286", "the file is not UTF-8", status=422, remedy="Save it as UTF-8.") from error
    kept = _run(data, role, party, lambda _, connection, who: own.define(connection, who, text, file))
    typer.echo(f"{kept.measure.name}: {kept.measure.title}")


@app.command("list")
def list_all(
    party: Annotated[
        str | None,
        typer.Option(
            help="The organisation whose own are asked for: its urn or an alias. None: the published ones."
        ),
    ] = None,
    role: As = "school",
    data: Data = None,
) -> None:
    """Print the organisation's own measures, or the published ones."""
    if party is None:
        _print_published()
        return
    for one in _run(data, role, party, lambda _, connection, who: own.known(connection, who)):
        typer.echo(f"{one.measure.name}: {one.measure.title}. {one.measure.meaning}")
    for one in _run(data, role, party, lambda _, connection, who: own.unusable(connection, who)):
        typer.echo(
            f"{one.name}: it cannot be used any more, define it again or delete it. {one.fault.detail}"
        )


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="The measure's name.")],
    party: Party,
    on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="A day of the first period asked for.")],
    until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="A day of the last one; none: of one period alone."),
    ] = None,
    grain: Annotated[
        str | None,
        typer.Option(
            help="day, week, term or year. None: of a state on one day that day, else term.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    role: As = "school",
    data: Data = None,
) -> None:
    """Print its figures, whose records they count, and the published ones of its benchmark beside."""
    last = (until or on).date()
    shown: own_answers.Answer = _run(
        data,
        role,
        party,
        lambda chosen, connection, who: _shown(chosen, connection, who, name, grain, on.date(), last),
    )
    if form is Format.TABLE:
        _print_answer(shown)
        return
    beside = shown.benchmark
    told = {
        "own": shown.own.figures,
        "schools": shown.own.schools,
        "left_out": shown.own.left_out,
        "published": beside.published if beside else (),
        "similar": beside.similar if beside else None,
    }
    typer.echo(msgspec.json.encode(told).decode())


@app.command("delete")
def delete(
    name: Annotated[str, typer.Argument(help="The measure's name.")],
    party: Party,
    role: As = "school",
    data: Data = None,
) -> None:
    """Forget one of the organisation's own measures."""
    _run(data, role, party, lambda _, connection, who: own.delete(connection, who, name))
    typer.echo(f"{name} is deleted.")


def _print_published() -> None:
    table = Table("name", "title", "levels", "grains")
    for name in sorted([*measures.load(), *combinations.load()]):
        one = combinations.measure(name)
        table.add_row(name, one.title, ", ".join(one.levels), ", ".join(one.grains))
    _console().print(table)


def _print_answer(shown: own_answers.Answer) -> None:
    """The figures of one's own, then the published ones, then what was not counted."""
    published = shown.benchmark.published if shown.benchmark else ()
    columns = [
        "measure", "unit", "unit_name", "grain", "period_label", "numerator", "denominator", "value",
    ]  # fmt: skip
    table = Table(*columns)
    for fields in map(msgspec.structs.asdict, (*shown.own.figures, *published)):
        fields["value"] = fields.get("symbol") or fields["value"]
        table.add_row(*("" if fields[name] is None else str(fields[name]) for name in columns))
    _console().print(table)
    typer.echo(f"Of the records of: {', '.join(shown.own.schools) or 'nobody'}")
    for one in shown.own.left_out:
        typer.echo(f"Not counted: {one.title}, because {one.because}")


def _console() -> Console:
    """As wide as the terminal; in a file or pipe nothing is cut."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


async def _shown(
    chosen: Settings, connection: Any, who: Principal, name: str, grain: str | None, first: date, last: date
) -> own_answers.Answer:
    if grain is None:
        asked = (await own.named(connection, who, name)).measure
        is_day = first == last and asked.taken == ON_A_DAY and "day" in asked.grains
        grain = "day" if is_day else "term"
    reader = open_reader(chosen)
    try:
        return await own_answers.answer(
            chosen, reader, connection, who, name, grain=grain, first=first, last=last,
            purpose="own measure: command line",
        )  # fmt: skip
    finally:
        reader.close()


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
            urn = await resolve_alias(connection, party)
            if urn is None:
                raise Problem("CR-041", f"{party[:200]} is not in the directory", status=404, where="--party")
            return await ask(chosen, connection, Principal(kind="person", id="", role=roles[role], party=urn))
        finally:
            await connection.close()

    return asyncio.run(asked())
