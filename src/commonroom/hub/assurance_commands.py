"""`commonroom hub evidence ...`: who protects data how well; `commonroom hub keys ...`: master keys of stored bodies."""

from __future__ import annotations

import getpass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings
from commonroom.problems import Problem

app = typer.Typer(help="Dated evidence of how well parties protect data.", no_args_is_help=True)
keys_app = typer.Typer(help="The master keys under which bodies are stored.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option("--data", help="The data folder; otherwise COMMONROOM_DATA.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])]
By = Annotated[str | None, typer.Option(help="Who says so; otherwise the user of this machine.")]


@app.command("add")
def add(
    party: str,
    level: str,
    kind: Annotated[
        str | None, typer.Option(help="What it is: a certificate, a self-assessment, an audit.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Where it can be read.")] = None,
    valid_from: Day = None,
    valid_to: Day = None,
    file: Annotated[
        Path | None, typer.Option(help="The signed file of a conformance run, instead of kind and reference.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="The public key of the sandbox that ran it; otherwise that of this folder's sandbox."
        ),
    ] = None,
    end_point: Annotated[
        str | None, typer.Option(help="UUID; otherwise all end points of the party.")
    ] = None,
    by: By = None,
    data: Data = None,
) -> None:
    """Record that PARTY (urn or alias) protects data at LEVEL: public, internal, confidential or restricted."""
    from commonroom.hub import assurance, conformance
    from commonroom.hub.commands import with_connection

    who = by or getpass.getuser()
    first, last = (day.date() if day else None for day in (valid_from, valid_to))

    async def of_run(connection: Any) -> None:
        assert file is not None
        await conformance.record_run(
            connection,
            await _party(connection, party),
            level,
            file,
            conformance.trusted_key(settings.load(data), key),
            by=who,
            end_point=end_point,
            valid_from=first,
            valid_to=last,
        )

    async def of_operator(connection: Any) -> None:
        assert kind is not None
        assert reference is not None
        assert first is not None
        assert last is not None
        await assurance.record(
            connection,
            [await _party(connection, party)],
            level,
            kind=kind,
            reference=reference,
            valid_from=first,
            valid_to=last,
            by=who,
            end_point=end_point,
        )

    if file is not None and (kind or reference):
        raise typer.BadParameter("--file says itself what it is: leave --kind and --reference out.")
    if file is None and not (kind and reference and first and last):
        raise typer.BadParameter("--kind, --reference, --valid-from and --valid-to are needed, or --file.")
    with_connection(data, of_operator if file is None else of_run)
    typer.echo("Recorded. Letters held for it go out from now on.")


@app.command("list")
def list_all(
    party: Annotated[str | None, typer.Argument(help="Urn or alias; otherwise everybody.")] = None,
    data: Data = None,
) -> None:
    """All evidence that was ever recorded."""
    from commonroom.hub import assurance
    from commonroom.hub.commands import with_connection

    async def work(connection: Any) -> list[assurance.Evidence]:
        return await assurance.list_evidence(connection, await _party(connection, party) if party else None)

    table = Table("id", "party", "end point", "level", "evidence", "from", "to", "recorded by", "ended")
    table.columns[0].no_wrap = True
    for one in with_connection(data, work):
        table.add_row(
            str(one.id),
            one.party,
            one.end_point or "all",
            one.level,
            f"{one.kind}: {one.reference}",
            str(one.valid_from),
            str(one.valid_to),
            one.recorded_by,
            f"{one.ended_on} by {one.ended_by}" if one.ended_on else "",
        )
    Console().print(table)


@app.command("end")
def end(evidence: UUID, by: By = None, data: Data = None) -> None:
    """EVIDENCE (its id) counts no more from today; it stays on record."""
    from commonroom.hub import assurance
    from commonroom.hub.commands import with_connection

    with_connection(data, lambda connection: assurance.end(connection, evidence, by or getpass.getuser()))
    typer.echo("Ended. What waits for it is held.")


@keys_app.command("rotate-master")
def rotate_master(data: Data = None) -> None:
    """Make a new master key and wrap the keys of all stored bodies with it; bodies stay as they are."""
    from commonroom.hub import master_keys
    from commonroom.hub.commands import with_connection

    done = with_connection(data, lambda connection: master_keys.rotate(settings.load(data), connection))
    typer.echo(f"{done.master}: {done.rewrapped:,} bodies; {len(done.forgotten)} old master keys removed")
    for message in done.unreadable:
        typer.echo(f"does not open: the key of message {message}", err=True)
    for file in done.unreadable_files:
        typer.echo(f"does not open: the key of the stored file {file}", err=True)
    raise typer.Exit(1 if done.unreadable or done.unreadable_files else 0)


async def _party(connection: Any, name: str) -> str:
    from commonroom.hub import resolve_alias

    urn = await resolve_alias(connection, name)
    if urn is None:
        raise Problem("CR-041", f"{name} is not in the directory.", status=404, where="PARTY")
    return urn
