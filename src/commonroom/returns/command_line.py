"""What the commands of returns share: their options, who acts on which return, and how things are printed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings
from commonroom.registers.database import opened
from commonroom.returns import parties, steps
from commonroom.returns.parties import Actor
from commonroom.returns.store import Return
from commonroom.settings import Settings

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True, help="Returns: who owes what, its versions, its way to being authorised."
)
Data = Annotated[Path | None, typer.Option("--data", help="The data folder; otherwise COMMONROOM_DATA.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
As = Annotated[str, typer.Option("--as", help="Who acts: a URN, an authority's number, or `collector`.")]
Of = Annotated[
    str | None, typer.Option("--of", help="Whose return it is, where that is another than who acts.")
]
Why = Annotated[str, typer.Option("--reason", help="Why; it is kept with the step.")]
Revision = Annotated[
    int | None, typer.Option("--revision", help="Act only if nobody has done anything since this revision.")
]


async def seen(connection: Any, collection: str, year: int, who: str, of: str | None) -> tuple[Actor, Return]:
    """Who acts, and the return it is about. Raises Problem CR-005 and CR-196."""
    actor = await parties.named(connection, who)
    party = await parties.party_of(connection, of) if of else actor.party
    if party is None:
        raise typer.BadParameter("say whose return it is", param_hint="--of")
    return actor, await steps.seen(connection, actor, collection, year, party)


def run(data: Path | None, ask: Callable[[Settings, Any], Awaitable[T]]) -> T:
    """Ask something of the database of an installation."""

    async def asked() -> T:
        chosen = settings.load(data)
        async with opened(chosen, new=False) as connection:
            return await ask(chosen, connection)

    return asyncio.run(asked())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table for people."""
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False).print(table)


def print_json(value: Any) -> None:
    """JSON for programs."""
    sys.stdout.buffer.write(msgspec.json.encode(value, enc_hook=str) + b"\n")
