"""`commonroom warehouse`: `measure` prints figures, `status` what is loaded. Parse, call, print."""

from __future__ import annotations

import asyncio
import csv
import sys
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings
from commonroom.engines import database, delta
from commonroom.identity import PUBLIC
from commonroom.problems import Problem
from commonroom.warehouse import heads, tables
from commonroom.warehouse.reader import Figure, open_reader

app = typer.Typer(no_args_is_help=True, help="The warehouse: figures, and what is loaded.")

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder.", envvar="COMMONROOM_DATA", show_default=False)
]


class Format(StrEnum):
    """How figures are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.command("measure")
def measure(
    name: Annotated[str, typer.Argument(help="headcount, absence_overall, persistent_absence, ...")],
    first: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day asked for.")],
    last: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day asked for.")],
    level: Annotated[str, typer.Option(help="school, authority, region or national.")] = "national",
    grain: Annotated[str, typer.Option(help="day, week or term.")] = "term",
    unit: Annotated[
        list[str] | None, typer.Option(help="Code of a unit; repeat for more. None: all.")
    ] = None,
    known_at: Annotated[str | None, typer.Option(help="As known then, such as 2026-09-13T00:00Z.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    data: Data = None,
) -> None:
    """Print the published figures of one measure."""
    asked = _figures(data, name, level, grain, unit, first.date(), last.date(), _moment(known_at))
    figures = asyncio.run(asked)
    _PRINTERS[form](figures)


@app.command("status")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    data: Data = None,
) -> None:
    """Print the head: batch, position, and per table its version, rows, files and size."""
    head, sizes = asyncio.run(_status(data))
    if as_json:
        typer.echo(msgspec.json.encode({"head": head, "tables": sizes}).decode())
        return
    typer.echo(f"batch {head.number}, position {head.position}, committed {head.committed_at or 'never'}")
    _print_table(["table", "version", "rows", "files", "bytes"], [list(row.values()) for row in sizes])


async def _figures(
    data: Path | None,
    name: str,
    level: str,
    grain: str,
    units: list[str] | None,
    first: date,
    last: date,
    known_at: datetime | None,
) -> list[Figure]:
    chosen = settings.load(data)
    connection = await database.connect(chosen)
    reader = open_reader(chosen)
    try:
        return await reader.figures(
            connection, PUBLIC, measure=name, level=level, grain=grain, units=units or None,
            first=first, last=last, known_at=known_at,
        )  # fmt: skip
    finally:
        reader.close()
        await connection.close()


async def _status(data: Path | None) -> tuple[heads.Head, list[dict[str, Any]]]:
    chosen = settings.load(data)
    connection = await database.connect(chosen)
    try:
        head = await heads.newest(connection)
    finally:
        await connection.close()
    sizes = []
    for entity, version in sorted(head.tables.items()):
        files = delta.files_of(tables.of(entity).folder(chosen), version)
        sizes.append(
            {
                "table": entity,
                "version": version,
                "rows": sum(file.rows for file in files),
                "files": len(files),
                "bytes": sum(file.size for file in files),
            }
        )
    return head, sizes


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Problem(
            "CR-063", "the known time is not a time", remedy="Write it as 2026-09-13T00:00Z."
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _cells(figure: Figure) -> dict[str, Any]:
    """A figure's fields as text; a symbol stands in the place of the value."""
    fields = msgspec.structs.asdict(figure)
    symbol = fields.pop("symbol")
    shown = {name: "" if value is None else str(value) for name, value in fields.items()}
    return {**shown, "value": symbol or shown["value"]}


def _print_json(figures: list[Figure]) -> None:
    typer.echo(msgspec.json.encode(figures).decode())


def _print_csv(figures: list[Figure]) -> None:
    names = [name for name in Figure.__struct_fields__ if name != "symbol"]
    writer = csv.DictWriter(sys.stdout, names)
    writer.writeheader()
    writer.writerows(_cells(figure) for figure in figures)


def _print_figures(figures: list[Figure]) -> None:
    columns = ["unit", "unit_name", "period_label", "numerator", "denominator", "value"]
    _print_table(columns, [[_cells(figure)[name] for name in columns] for figure in figures])


def _print_table(columns: list[str], rows: list[list[Any]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)


_PRINTERS = {Format.TABLE: _print_figures, Format.JSON: _print_json, Format.CSV: _print_csv}
