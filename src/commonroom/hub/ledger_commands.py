"""`commonroom ledger ...`: take the tamper-evident ledger away as a file, and verify it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from commonroom import settings

T = TypeVar("T")

app = typer.Typer(help="The tamper-evident ledger: export, verify.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option("--data", help="The data folder; otherwise COMMONROOM_DATA.")]


@app.command("export")
def export_file(file: Path, data: Data = None) -> None:
    """Write the ledger up to its newest signed head into FILE: digests, no bodies, no personal data."""
    from commonroom.hub.ledger_file import export

    about = _with_connection(data, lambda connection: export(connection, file))
    typer.echo(f"{about.size:,} entries and {about.heads:,} signed heads")


@app.command("verify")
def verify_ledger(
    file: Annotated[Path | None, typer.Argument(help="An exported file.", show_default=False)] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="Keys you trust: a saved answer of GET /ledger/keys.")
    ] = None,
    database: Annotated[bool, typer.Option("--database", help="Check what the database holds.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Data = None,
) -> None:
    """Check a ledger against its signed heads; status 1 and the places when anything was changed."""
    from commonroom.hub.body_store import open_store
    from commonroom.hub.ledger_check import verify_database
    from commonroom.hub.ledger_file import load_keys, verify
    from commonroom.hub.master_keys import MasterKeys

    if (file is None) is not database:
        raise typer.BadParameter("Give a FILE, or --database.")
    keys = load_keys(public_key) if public_key else None
    if file is not None:
        verdict = verify(file, keys)
    else:
        store = open_store(settings.load(data))
        master_keys = MasterKeys(settings.load(data))
        verdict = _with_connection(
            data, lambda connection: verify_database(connection, keys, store, master_keys=master_keys)
        )
    if json_output:
        typer.echo(msgspec.json.encode(verdict).decode())
    else:
        for fault in verdict.faults:
            typer.echo(fault)
        typer.echo(_summary(verdict))
    raise typer.Exit(1 if verdict.faults else 0)


def _summary(verdict: Any) -> str:
    parts = [f"{verdict.entries:,} entries", f"{verdict.heads:,} signed heads"]
    if verdict.bodies or verdict.purged:
        parts += [f"{verdict.bodies:,} bodies", f"{verdict.purged:,} bodies purged, digest kept"]
    outcome = f"{len(verdict.faults):,} faults" if verdict.faults else "all as signed"
    trust = (
        "" if verdict.pinned else " (signed with the keys that came along: compare them with --public-key)"
    )
    return f"{', '.join(parts)}: {outcome}{trust}"


def _with_connection(data: Path | None, work: Callable[[Any], Awaitable[T]]) -> T:
    from commonroom.engines.database import connect

    async def run() -> T:
        connection = await connect(settings.load(data))
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())
