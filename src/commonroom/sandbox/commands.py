"""`commonroom sandbox`: a hub to try on, until Ctrl-C; its clock, its faults and its codes from a second terminal."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

import typer

from commonroom import log
from commonroom.engines import clock
from commonroom.engines.database import connect
from commonroom.problems import Problem
from commonroom.sandbox import faults, partners, stage
from commonroom.settings import Settings
from commonroom.supervisor import (
    HUB,
    WORKER,
    Child,
    Supervisor,
    follow_parent,
    stop_on_signals,
    write_settings,
)

T = TypeVar("T")

ENGLAND = ZoneInfo("Europe/London")
PARTNERS = Child("partners", ("sandbox", "partners"))
UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}

app = typer.Typer(help="A hub to try on.", invoke_without_command=True)
clock_app = typer.Typer(help="The domain clock of the sandbox.", no_args_is_help=True)
app.add_typer(clock_app, name="clock")

Data = Annotated[Path, typer.Option("--data", help="The folder of the sandbox.")]


@app.callback()
def start(
    context: typer.Context,
    data: Data = stage.DEFAULT_DATA,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Where the hub listens.")] = None,
) -> None:
    """Run a sandbox until Ctrl-C: hub, warehouse, partners; prints what a newcomer needs."""
    if context.invoked_subcommand is not None:
        return
    stop_on_signals()
    chosen = stage.new_folder(data, port)
    log.configure("sandbox", "error")
    try:
        with Supervisor(chosen) as supervisor:
            write_settings(chosen)  # not before: the supervisor has made sure that no other one runs here
            with_connection(chosen, lambda connection: stage.prepare(connection, chosen))
            for child in (HUB, WORKER, PARTNERS):
                supervisor.start(child)
            faults.until_healthy(chosen)
            typer.echo(
                _welcome(with_connection(chosen, lambda connection: stage.newcomer(connection, chosen)))
            )
            supervisor.wait()
    except KeyboardInterrupt:
        typer.echo("stopped; `commonroom sandbox` goes on from here")


@app.command("newcomer")
def show_newcomer(
    party: Annotated[str, typer.Option(help="Urn or alias of the party to be.")] = stage.NEWCOMER,
    data: Data = stage.DEFAULT_DATA,
) -> None:
    """A new one-time code, as lines for the shell: eval "$(commonroom sandbox newcomer)"."""
    chosen = stage.open_folder(data)
    typer.echo(
        _exports(with_connection(chosen, lambda connection: stage.newcomer(connection, chosen, party)))
    )


@app.command("partners", hidden=True)
def run_partners(data: Data = stage.DEFAULT_DATA) -> None:
    """The partners' process; `commonroom sandbox` starts it."""
    chosen = stage.open_folder(data)
    log.configure("partners", chosen.log_level)
    follow_parent()
    os.umask(0o077)
    asyncio.run(partners.run(chosen))


@app.command("fault")
def make_fault(
    which: Annotated[Literal["hub-restart", "lose-leases", "lose-tokens"], typer.Argument()],
    data: Data = stage.DEFAULT_DATA,
) -> None:
    """Make a real fault: kill -9 the hub, let every lease run out now, or make every access token worthless."""
    chosen = stage.open_folder(data)
    if which == "hub-restart":
        typer.echo(f"the hub was killed; healthy again after {faults.restart_hub(chosen):.1f} s")
    elif which == "lose-tokens":
        typer.echo(f"every token is refused now; healthy again after {faults.change_token_key(chosen):.1f} s")
    else:
        typer.echo(f"{with_connection(chosen, faults.lose_leases)} letters are offered again")


@clock_app.command("show")
def show_clock(data: Data = stage.DEFAULT_DATA) -> None:
    """What time it is in the sandbox."""
    _tell(with_connection(stage.open_folder(data), clock.now))


@clock_app.command("set")
def set_clock(moment: datetime, data: Data = stage.DEFAULT_DATA) -> None:
    """Set the clock; it runs on from MOMENT, which is English time."""
    chosen = stage.open_folder(data)
    _tell(
        with_connection(chosen, lambda connection: _set(connection, chosen, moment.replace(tzinfo=ENGLAND)))
    )


@clock_app.command("advance")
def advance_clock(
    by: Annotated[str, typer.Argument(help="Such as 2d, 3h, 10m or 30s.")], data: Data = stage.DEFAULT_DATA
) -> None:
    """Move the clock on. Leases and tokens use the real clock and are not touched."""
    chosen, step = stage.open_folder(data), _duration(by)

    async def move(connection: Any) -> datetime:
        return await _set(connection, chosen, await clock.now(connection) + step)

    _tell(with_connection(chosen, move))


async def _set(connection: Any, chosen: Settings, moment: datetime) -> datetime:
    await clock.set_to(connection, chosen, moment)
    return await clock.now(connection)


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d{0,5})([dhms])", text)
    if found is None:
        raise Problem("CR-002", f"{text} is no length of time", where="BY", remedy="Write 2d, 3h, 10m, 30s.")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _tell(moment: datetime) -> None:
    typer.echo(moment.astimezone(ENGLAND).isoformat(timespec="seconds"))


def _exports(who: stage.Newcomer) -> str:
    return f"export HUB={who.hub}\nexport PARTY={who.party}\nexport CODE={who.code}"


def _welcome(who: stage.Newcomer) -> str:
    others = "\n".join(f"  {one.party}   {one.name}" for one in partners.PARTNERS)
    return (
        f"The sandbox is up.\n\n"
        f"You are {who.name}, {who.alias}. To enrol an end point (the code works once):\n\n{_exports(who)}\n\n"
        f"Partners that take your letters:\n{others}\n\n"
        f"A new code: commonroom sandbox newcomer. Ctrl-C stops."
    )


def with_connection(chosen: Settings, work: Callable[[Any], Awaitable[T]]) -> T:
    async def run() -> T:
        connection = await connect(chosen)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())
