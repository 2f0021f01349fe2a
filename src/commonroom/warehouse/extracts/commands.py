"""`commonroom extracts`: requests, decisions, frozen copies and their proof. Parse, call, print."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from commonroom import settings
from commonroom.engines import database
from commonroom.engines.duck import Duck
from commonroom.exchange import keys
from commonroom.hub import resolve_alias
from commonroom.identity import Principal
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse.extracts import model, office, packing
from commonroom.warehouse.extracts.office import Extract

app = typer.Typer(no_args_is_help=True, help="Extracts: frozen copies for those whose request was approved.")
T = TypeVar("T")

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder.", envvar="COMMONROOM_DATA", show_default=False)
]
Name = Annotated[str, typer.Argument(help="The extract's name.")]
Why = Annotated[str, typer.Option(help="The reason, for the record.")]
By = Annotated[str, typer.Option(help="Who decides, for the record.")]


@app.command("request")
def request(
    file: Annotated[Path, typer.Argument(help="The request, as docs/extracts.md says.")],
    by: By,
    data: Data = None,
) -> None:
    """Put a request on record, in the name of its requester."""

    async def work(_: Settings, connection: Any) -> Extract:
        asked = model.load(file)
        return await office.request(connection, asked, await _of_party(connection, asked.requester, by))

    _print(_run(data, work))


@app.command("approve")
def approve(name: Name, why: Why, by: By, data: Data = None) -> None:
    """Approve a request; the requester's dated evidence must hold today."""
    _print(_run(data, lambda _, connection: office.decide(connection, name, True, _governance(by), why)))


@app.command("refuse")
def refuse(name: Name, why: Why, by: By, data: Data = None) -> None:
    """Refuse a request."""
    _print(_run(data, lambda _, connection: office.decide(connection, name, False, _governance(by), why)))


@app.command("try")
def try_out(name: Name, data: Data = None) -> None:
    """Within the checking window: what would be frozen now, counted and hashed, and thrown away."""
    for file in _run(data, _with_duck(office.trial, name, _operator())):
        typer.echo(f"{file.name}: {file.rows:,} rows, SHA-256 {file.sha256}")


@app.command("freeze")
def freeze(name: Name, data: Data = None) -> None:
    """Make the copy for good, on or after its day."""
    _print(_run(data, _with_duck(office.freeze, name, _operator())))


@app.command("again")
def again(name: Name, data: Data = None) -> None:
    """Make a frozen extract again from its time and compare; status 1 when a file is not the same."""

    async def work(chosen: Settings, connection: Any) -> list[str]:
        duck = Duck(chosen, [chosen.folder("warehouse")])
        try:
            return await office.made_again(chosen, connection, duck, name)
        finally:
            duck.close()

    different = _run(data, work)
    typer.echo(f"not the same: {', '.join(different)}" if different else "the same, file for file")
    raise typer.Exit(1 if different else 0)


@app.command("get")
def get(
    name: Name,
    party: Annotated[str, typer.Option(help="Whose copy it is: the requester's alias or urn.")],
    purpose: Annotated[str, typer.Option(help="What for; it enters the trail of reads.")],
    out: Annotated[Path, typer.Option(help="A new folder for the copy.")],
    data: Data = None,
) -> None:
    """Hand a frozen extract to its requester while it lasts."""

    async def work(chosen: Settings, connection: Any) -> Path:
        who = await _of_party(connection, party, "commonroom extracts get")
        return await office.folder_of(chosen, connection, name, who, purpose)

    shutil.copytree(_run(data, work), out)
    typer.echo(str(out))


@app.command("list")
def list_extracts(data: Data = None) -> None:
    """All extracts and where they stand."""
    for one in _run(data, lambda _, connection: office.listed(connection, _operator())):
        typer.echo(f"{one.name}: {one.state}, {one.declaration.title}, expires {one.declaration.expires_on}")


@app.command("show")
def show(name: Name, data: Data = None) -> None:
    """One extract with its request, its steps and its manifest, as JSON."""

    async def work(_: Settings, connection: Any) -> dict[str, Any]:
        found = await office.visible(connection, name, _operator())
        return {"extract": found, "steps": await office.history(connection, name)}

    typer.echo(msgspec.json.format(msgspec.json.encode(_run(data, work)), indent=2).decode())


@app.command("key")
def key(data: Data = None) -> None:
    """Print the public key by which manifests are verified."""
    typer.echo(msgspec.json.encode(keys.public_jwk(packing.signing_key(settings.load(data)))).decode())


@app.command("verify")
def verify(
    folder: Annotated[Path, typer.Argument(help="The folder of an extract.")],
    public_key: Annotated[Path, typer.Option(help="The key that `extracts key` printed.")],
) -> None:
    """Check a folder's signature and files, with nothing else at hand."""
    manifest = packing.verify(folder, packing.public_key(public_key.read_bytes()))
    rows = sum(file.rows for file in manifest.files)
    typer.echo(
        f"{manifest.name}: {len(manifest.files)} files, {rows:,} rows, as signed; known at {manifest.known_at}"
    )


def _with_duck(
    step: Callable[[Settings, Any, Duck, str, Principal], Awaitable[T]], name: str, who: Principal
) -> Callable[[Settings, Any], Awaitable[T]]:
    async def work(chosen: Settings, connection: Any) -> T:
        duck = Duck(chosen, [chosen.folder("warehouse")])
        try:
            return await step(chosen, connection, duck, name, who)
        finally:
            duck.close()

    return work


def _run(data: Path | None, work: Callable[[Settings, Any], Awaitable[T]]) -> T:
    async def run() -> T:
        chosen = settings.load(data)
        connection = await database.connect(chosen)
        try:
            return await work(chosen, connection)
        finally:
            await connection.close()

    return asyncio.run(run())


async def _of_party(connection: Any, party: str, by: str) -> Principal:
    urn = await resolve_alias(connection, party)
    if urn is None:
        raise Problem("CR-041", f"{party} is not in the directory.", status=404, where="the party")
    return Principal(kind="person", id=by, role="researcher", party=urn)


def _governance(by: str) -> Principal:
    return Principal(kind="person", id=by, role="governance")


def _operator() -> Principal:
    return Principal(kind="person", id="command line", role="operator")


def _print(found: Extract) -> None:
    typer.echo(f"{found.name}: {found.state}")
    for file in found.manifest.files if found.manifest else ():
        typer.echo(f"  {file.name}: {file.rows:,} rows, SHA-256 {file.sha256}")
