"""`commonroom hub quota ...`: quotas of single end points."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from commonroom.problems import Problem

app = typer.Typer(help="What single end points may send in a minute.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option("--data", help="The data folder; otherwise COMMONROOM_DATA.")]


_KNOWN = "SELECT EXISTS (SELECT FROM identity.end_point WHERE id::text = $1)"


@app.command("set")
def set_one(
    end_point: str,
    messages: Annotated[int | None, typer.Option(min=0, help="Messages a minute; 0 for none.")] = None,
    size: Annotated[int | None, typer.Option("--bytes", min=0, help="Bytes of bodies a minute.")] = None,
    data: Data = None,
) -> None:
    """Give END_POINT (its UUID) a quota of its own; without options it has the usual one again."""
    from commonroom.hub.commands import with_connection
    from commonroom.hub.quotas import set_quota

    async def give(connection: Any) -> None:
        if not await connection.fetchval(_KNOWN, end_point):
            remedy = "`commonroom hub traffic --json` lists the end points that have called."
            raise Problem("CR-037", "There is no end point of this id.", where=end_point, remedy=remedy)
        await set_quota(connection, end_point, messages, size, "command line")

    with_connection(data, give)
    typer.echo("Hubs follow within a few seconds.")


@app.command("list")
def list_all(data: Data = None) -> None:
    """The end points with a quota of their own."""
    from commonroom.hub.commands import with_connection
    from commonroom.hub.quotas import list_quotas

    table = Table("end point", "messages a minute", "bytes a minute", "set by")
    table.columns[0].no_wrap = True
    for one in with_connection(data, list_quotas):
        numbers = (
            "the usual" if n is None else f"{n:,}" for n in (one.messages_a_minute, one.bytes_a_minute)
        )
        table.add_row(one.end_point, *numbers, one.set_by)
    Console().print(table)
