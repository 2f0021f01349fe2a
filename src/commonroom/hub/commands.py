"""`commonroom hub ...`: movements, enrolment codes and traffic from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings
from commonroom.hub import assurance_commands, governance_commands, push_commands, quota_commands
from commonroom.problems import Problem

T = TypeVar("T")

app = typer.Typer(help="The hub: movements, enrolment codes, traffic.", no_args_is_help=True)
movements_app = typer.Typer(help="The agreements under which messages travel.", no_args_is_help=True)
app.add_typer(movements_app, name="movements")
movements_app.add_typer(governance_commands.app)  # without a name: its commands stand among those here
app.add_typer(quota_commands.app, name="quota")
app.add_typer(assurance_commands.app, name="evidence")
app.add_typer(assurance_commands.keys_app, name="keys")
app.add_typer(push_commands.push_key_app, name="push-key")
app.add_typer(push_commands.windows_app, name="windows")

Data = Annotated[Path | None, typer.Option("--data", help="The data folder; otherwise COMMONROOM_DATA.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@movements_app.command("load")
def load_file(file: Path, data: Data = None) -> None:
    """Load a file of movements: new ones are added, changed ones get a new version."""
    from commonroom.hub import load_movements

    done = with_connection(data, lambda connection: load_movements(connection, file))
    typer.echo(f"{len(done.new)} new, {len(done.changed)} changed, {len(done.unchanged)} unchanged")
    if done.kept:
        typer.echo(f"left as the governance group has them: {', '.join(done.kept)}")


@app.command("enrolment-code")
def enrolment_code(
    party: str,
    days: Annotated[int, typer.Option(min=1, max=90, help="How long it may be used.")] = 7,
    data: Data = None,
) -> None:
    """A one-time code with which an end point of PARTY (urn or alias) may enrol. It is shown once."""
    typer.echo(with_connection(data, lambda connection: _issue(connection, party, days)))


@app.command("traffic")
def show_traffic(data: Data = None, as_json: AsJson = False) -> None:
    """Deliveries by state, messages by type, what waits longest, who was here last."""
    from commonroom.hub import traffic

    found = with_connection(data, traffic)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    table = Table("what", "number")
    table.add_row("messages", f"{found.messages:,}")
    for state, number in found.deliveries.items():
        table.add_row(f"deliveries {state}", f"{number:,}")
    for message_type, number in found.types.items():
        table.add_row(message_type, f"{number:,}")
    table.add_row("oldest waiting since", str(found.oldest_waiting or "nothing waits"))
    table.add_row("reports waiting for senders", f"{found.reports:,}")
    table.add_row("end points seen", f"{len(found.end_points):,}")
    Console().print(table)


async def _issue(connection: Any, party: str, days: int) -> str:
    from commonroom.hub import resolve_alias
    from commonroom.identity import issue_enrolment_code

    urn = await resolve_alias(connection, party)
    if urn is None:
        remedy = "Load the provider register first, or check the identifier."
        raise Problem("CR-041", f"{party} is not in the directory.", status=404, where="PARTY", remedy=remedy)
    return await issue_enrolment_code(connection, urn, "command line", timedelta(days=days))


def with_connection(data: Path | None, work: Callable[[Any], Awaitable[T]]) -> T:
    """Run the work on one connection; a Problem ends the command with its text and status 1."""
    from commonroom.engines.database import connect

    async def run() -> T:
        connection = await connect(settings.load(data))
        try:
            return await work(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(run())
    except Problem as problem:
        typer.echo(str(problem), err=True)
        raise typer.Exit(1) from problem
