"""`commonroom hub push-key ...` and `commonroom hub windows ...`: the key of pushes, and delivery windows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings
from commonroom.problems import Problem

T = TypeVar("T")

push_key_app = typer.Typer(help="The key that signs pushes.", no_args_is_help=True)
windows_app = typer.Typer(help="Delivery windows of movements.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option("--data", help="The data folder; otherwise COMMONROOM_DATA.")]


@push_key_app.command("show")
def show_keys(data: Data = None) -> None:
    """The public keys that sign pushes now, newest first."""
    from commonroom.hub.push_keys import load_push_keys

    _print_keys(_or_exit(lambda: load_push_keys(settings.load(data), datetime.now(UTC)).public()))


@push_key_app.command("rotate")
def rotate_key(data: Data = None) -> None:
    """Make a new key. The old one signs beside it for seven days: receivers fetch the new one in that time."""
    from commonroom.hub.push_keys import rotate

    _print_keys(_or_exit(lambda: rotate(settings.load(data), datetime.now(UTC)).public()))


@windows_app.command("set")
def set_movement_window(
    movement: str,
    cron: Annotated[str, typer.Argument(help="Five fields on England's clock: `0 18 * * mon-fri`.")],
    minutes: Annotated[int, typer.Option(help="How long it stays open.")] = 60,
    calendar: Annotated[str | None, typer.Option(help="Only on the days published under this name.")] = None,
    data: Data = None,
) -> None:
    """Deliver MOVEMENT in this window alone, pulled or pushed."""
    from commonroom.hub.schedule import Schedule
    from commonroom.hub.windows import set_window

    declared = {"cron": cron, "open_minutes": minutes, "calendar": calendar}
    try:
        schedule = msgspec.convert(declared, Schedule)
    except msgspec.ValidationError as error:
        typer.echo(str(Problem("CR-154", str(error), where="CRON")), err=True)
        raise typer.Exit(1) from error
    _with_connection(data, lambda connection: set_window(connection, movement, schedule))


@windows_app.command("clear")
def clear_movement_window(movement: str, data: Data = None) -> None:
    """Deliver MOVEMENT at any time again."""
    from commonroom.hub.windows import set_window

    _with_connection(data, lambda connection: set_window(connection, movement, None))


@windows_app.command("list")
def list_movement_windows(data: Data = None) -> None:
    """Windows of movements, whether they are open, and when they open next."""
    from commonroom.hub.windows import list_windows

    table = Table("movement", "cron", "minutes", "calendar", "open", "opens next (UTC)")
    for window in _with_connection(data, list_windows):
        table.add_row(
            window.movement,
            window.schedule.cron,
            str(window.schedule.open_minutes),
            window.schedule.calendar or "",
            "yes" if window.open else "no",
            f"{window.next_open:%Y-%m-%d %H:%M}" if window.next_open else "never",
        )
    Console().print(table)


def _print_keys(keys: list[Any]) -> None:
    for key in keys:
        typer.echo(key.key + (f"  until {key.signs_until:%Y-%m-%d %H:%M} UTC" if key.signs_until else ""))


def _or_exit(work: Callable[[], T]) -> T:
    try:
        return work()
    except Problem as problem:
        typer.echo(str(problem), err=True)
        raise typer.Exit(1) from problem


def _with_connection(data: Path | None, work: Callable[[Any], Awaitable[T]]) -> T:
    from commonroom.engines.database import connect

    async def run() -> T:
        connection = await connect(settings.load(data))
        try:
            return await work(connection)
        finally:
            await connection.close()

    return _or_exit(lambda: asyncio.run(run()))
