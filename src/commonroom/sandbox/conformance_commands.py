"""`commonroom conformance ...`: try an end point against a running sandbox, and check the file that says how it went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom.exchange import keys
from commonroom.exchange.conformance import Result
from commonroom.sandbox import evidence, examination, stage
from commonroom.sandbox.commands import Data, with_connection

app = typer.Typer(help="Try an end point against a sandbox.", no_args_is_help=True)


@app.command("run")
def run(
    party: Annotated[
        str, typer.Option(help="Urn or alias; its newest end point is examined.")
    ] = stage.NEWCOMER,
    out: Annotated[Path | None, typer.Option(help="Write the signed result to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: Data = stage.DEFAULT_DATA,
) -> None:
    """Examine an end point that is connected to the running sandbox; status 1 when it fails anywhere."""
    chosen = stage.open_folder(data)
    result = with_connection(chosen, lambda connection: examination.examine(connection, chosen, party))
    if as_json:
        typer.echo(msgspec.json.encode(result).decode())
    else:
        _show(result)
    if out is not None:
        digest = evidence.write(chosen, result, out)
        typer.echo(f"signed: {out}, sha-256 {digest}", err=True)
    raise typer.Exit(0 if result.passed else 1)


@app.command("check")
def check(
    file: Path,
    key: Annotated[
        Path | None, typer.Option(help="The sandbox's key file; otherwise the key in the file is believed.")
    ] = None,
) -> None:
    """Check the signature of a result and show it."""
    trusted = keys.public_jwk(keys.load(key)) if key is not None else None
    statement = evidence.read(file, trusted or "any")
    _show(statement.result)
    if trusted is None:
        typer.echo("Rightly signed by the key it names; who holds that key is not known.", err=True)


def _show(result: Result) -> None:
    table = Table("", "check", "what was seen", "seconds")
    for one in result.checks:
        table.add_row("passed" if one.passed else "FAILED", one.name, one.detail, f"{one.seconds:.1f}")
    Console(soft_wrap=True).print(table)
    typer.echo(f"{'passed' if result.passed else 'FAILED'}: {result.end_point_name or result.party}")
