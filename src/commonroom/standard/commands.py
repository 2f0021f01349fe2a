"""`commonroom standard`: look up the common language, export it, check a file of records against it.

Thin: parse, call, print. `check` prints no values: what is on a screen or in a job's output may be read by anyone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom.standard import exports
from commonroom.standard.definitions import common_data_definitions
from commonroom.standard.files import check_file
from commonroom.standard.loader import load, named
from commonroom.standard.model import Code, Codeset, Entity, Event, Item
from commonroom.standard.versions import differences, load_version, versions

app = typer.Typer(no_args_is_help=True, help="The common language: entities, code sets, checks, exports.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_all() -> None:
    """List the entities, code sets and events."""
    standard = load()
    typer.echo(f"Standard {standard.version}: {standard.title}")
    for area, title in standard.areas.items():
        entities = [entity for entity in standard.entities.values() if entity.area == area]
        _print_table(title, ("entity", "key"), [(e.name, ", ".join(e.key)) for e in entities])
    _print_table(
        "Code sets",
        ("name", "title", "codes"),
        [(c.name, c.title, str(len(c.codes))) for c in standard.codesets.values()],
    )
    _print_table("Events", ("type", "carries"), [_event_row(event) for event in standard.events.values()])


@app.command("show")
def show(entity: str, as_json: AsJson = False) -> None:
    """Show an entity with its items."""
    found = named(load().entities, entity, "entity")
    if as_json:
        _print_json(found)
        return
    typer.echo(f"{found.title}: {found.description}")
    typer.echo(
        f"Key: {', '.join(found.key)}. Valid from: {found.valid_from_item or 'given with each record'}."
    )
    _print_table(
        "Items",
        ("item", "type", "required", "personal", "CBDS", "description"),
        list(map(_item_row, found.items)),
    )


@app.command("codes")
def codes(name: str, as_json: AsJson = False) -> None:
    """Show the codes of a code set."""
    codeset = named(load().codesets, name, "code set")
    if as_json:
        _print_json(codeset)
        return
    typer.echo(f"{codeset.title}: {codeset.description}")
    typer.echo(f"Source: {codeset.source}.")
    columns = ("code", "title", "from", "to", *codeset.attributes)
    _print_table("Codes", columns, [_code_row(code, tuple(codeset.attributes)) for code in codeset.codes])


@app.command("check")
def check(file: Path) -> None:
    """Check a record set (JSON). Ends with status 1 when a record has an error."""
    report = check_file(file)
    for finding in report.findings:
        where = f"{finding.part} {finding.found.entity}[{finding.found.index}]"
        rule = f"{finding.found.severity} {finding.found.rule}"
        typer.echo(f"{file}: {where}: {rule}: {finding.found.message} {finding.found.remedy}")
    for note in report.notes:
        typer.echo(f"{file}: {note.entity}: query standard-upgraded: {note.message} {note.remedy}")
    typer.echo(f"{report.good:,} of {report.total:,} records are good; {report.errors:,} errors.")
    if report.errors:
        raise typer.Exit(1)


@app.command("versions")
def list_versions() -> None:
    """List the versions this program knows, oldest first."""
    for version in versions():
        typer.echo(version)


@app.command("diff")
def diff(older: str, newer: str, as_json: AsJson = False) -> None:
    """Say what changed from one version to a later one, and what that breaks."""
    found = differences(older, newer)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    typer.echo(f"From {older} to {newer}: {len(found)} changes. Record sets of {older} still load.")
    rows = [(one.kind, one.place, one.why, one.breaks) for one in found]
    _print_table("Changes", ("change", "where", "why", "what it breaks"), rows)


@app.command("export")
def export(
    form: Annotated[str, typer.Option("--format", help="json-schema, csv or html.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files; it is made.")],
    version: Annotated[
        str, typer.Option("--version", help="An older version; without it the present one.")
    ] = "",
) -> None:
    """Write the standard for other programs or for readers."""
    names = exports.write(load_version(version) if version else load(), form, out)
    typer.echo(f"{len(names)} files are in {out}.")


@app.command("definitions")
def definitions() -> None:
    """Show the Common Data Definitions: what is published of learning after 14, and where a ULN is mandatory."""
    published = common_data_definitions()
    typer.echo(f"{published.title}: {published.description}")
    rows = [(one.entity, one.uln, one.when, one.source) for one in published.entities]
    _print_table("Where a ULN is mandatory", ("entity", "ULN", "when", "source"), rows)
    items = [
        (item.title, f"{entity.name}.{item.name}", item.description) for entity, item in published.items()
    ]
    _print_table("Definitions", ("definition", "item", "description"), items)


def _event_row(event: Event) -> tuple[str, str]:
    areas = [f"area {area}" for area in event.areas]
    carried = event.media_types or (*areas, *(event.entities if not areas else ()))
    return (event.type, ", ".join(carried))


def _item_row(item: Item) -> tuple[str, ...]:
    digits = f"{item.digits},{item.decimals}" if item.digits else ""
    kind = f"{item.type} {item.codeset or item.identifier or item.max_length or digits}".rstrip()
    words = ["yes" if flag else "" for flag in (item.required, item.personal)]
    numbers = " ".join(number for number in (item.cbds, item.cbds_now) if number)
    return (item.name, kind, *words, numbers, item.description)


def _code_row(code: Code, attributes: tuple[str, ...]) -> tuple[str, ...]:
    title = f"{code.title} (invented)" if code.invented else code.title
    dates = ("" if day is None else day.isoformat() for day in (code.since, code.until))
    return (code.code, title, *dates, *(code.attributes[name] for name in attributes))


def _print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _print_json(value: Entity | Codeset) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
