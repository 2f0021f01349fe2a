"""`commonroom publish`: published statistics in and out. Parse, call, print."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings
from commonroom.engines.duck import Duck
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse.published import ees, model, reading, store, totals
from commonroom.warehouse.published.store import Load

app = typer.Typer(
    no_args_is_help=True, help="Published statistics: load files, look at them, make files to publish."
)

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder.", envvar="COMMONROOM_DATA", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
MOST_ROWS = 1_000


class Format(StrEnum):
    """How figures are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Loaded(msgspec.Struct, frozen=True):
    """What became of one file."""

    load: Load
    left_out: int
    short: int
    faulty: int
    faults: tuple[reading.Fault, ...]
    checks: list[totals.Check]
    unchecked: list[str]  # datasets without which some totals could not be checked


@app.command("load")
def load(
    files: Annotated[list[Path], typer.Argument(help="CSV files, gzipped or not.")],
    named: Annotated[
        str | None, typer.Option("--as", help="Which dataset it is; else known by its columns.")
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Load files of published figures; status 1 when a total is not found again or a cell not understood."""
    chosen = settings.load(data)
    declared = model.named(named) if named else None
    done = []
    with _duck(chosen) as duck:
        for file in files:
            done.append(_load(chosen, duck, file, declared or reading.recognised(file)))
            if not as_json:
                _print_loaded(done[-1])
    if as_json:
        typer.echo(msgspec.json.encode(done).decode())
    failed = any(one.faulty or one.load.totals.get("not explained") for one in done)
    raise typer.Exit(1 if failed else 0)


@app.command("list")
def list_datasets(as_json: Json = False, data: Data = None) -> None:
    """The datasets that are declared, and what of them is loaded."""
    have = {one.dataset: one for one in store.loads(settings.load(data))}
    if as_json:
        typer.echo(msgspec.json.encode(list(have.values())).decode())
        return
    rows = [
        [name, one.title, str(have[name].rows) if name in have else "-", _totals_of(have.get(name))]
        for name, one in model.all_declared().items()
    ]
    _print_table(["dataset", "title", "rows", "totals"], rows)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A dataset.")],
    level: Annotated[str, typer.Option(help="National, Regional, Local authority, School ...")] = "National",
    where: Annotated[
        list[str] | None, typer.Option(help="COLUMN=VALUE, such as school_urn=100000; repeat for more.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    data: Data = None,
) -> None:
    """Print figures as they were published; symbols stand in the place of numbers."""
    chosen = settings.load(data)
    found = store.current(chosen, name)
    rows = _chosen(model.named(name), store.rows_of(chosen, found), level, where or [])
    if form is Format.JSON:
        typer.echo(msgspec.json.encode(rows).decode())
    elif form is Format.CSV:
        writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
    else:
        _print_upright(rows)


@app.command("export")
def export(
    name: Annotated[str, typer.Argument(help="A dataset.")],
    out: Annotated[Path, typer.Option(help="The folder for the two files.")],
    level: Annotated[list[str] | None, typer.Option(help="Levels; all that can be, when left out.")] = None,
    data: Data = None,
) -> None:
    """Write a data file and its metadata for Explore Education Statistics; status 1 when they break its rules."""
    chosen = settings.load(data)
    dataset = model.named(name)
    rows = store.rows_of(chosen, store.current(chosen, name))
    files = ees.of_dataset(dataset, rows, level or [one.level for one in dataset.places])
    for path in ees.write(files, out, name):
        typer.echo(str(path))
    _report(ees.check(files))


@app.command("check")
def check(
    data_file: Annotated[Path, typer.Argument(help="The data file.")],
    metadata: Annotated[Path, typer.Argument(help="Its metadata.")],
    as_json: Json = False,
) -> None:
    """Hold two files against the rules of Explore Education Statistics; status 1 when they break one."""
    findings = ees.check(ees.read(data_file, metadata))
    if as_json:
        typer.echo(msgspec.json.encode(findings).decode())
        raise typer.Exit(1 if findings else 0)
    _report(findings)


@contextmanager
def _duck(chosen: Settings) -> Iterator[Duck]:
    duck = Duck(chosen, [chosen.folder("warehouse")])
    try:
        yield duck
    finally:
        duck.close()


def _load(chosen: Settings, duck: Duck, file: Path, dataset: model.Dataset) -> Loaded:
    found = reading.read(file, dataset)
    others = {one.dataset: store.rows_of(chosen, one) for one in store.loads(chosen) if _weighs(dataset, one)}
    checks = totals.check(dataset, found.rows, duck, others)
    kept = store.save(chosen, file, found, checks)
    unchecked = totals.left_out(dataset, others)
    return Loaded(kept, found.left_out, found.short, found.faulty, found.faults, checks, unchecked)


def _weighs(dataset: model.Dataset, other: Load) -> bool:
    return any(
        total.weighed is not None and total.weighed.dataset == other.dataset for total in dataset.totals
    )


def _print_loaded(done: Loaded) -> None:
    one = done.load
    levels = ", ".join(f"{count:,} {level}" for level, count in one.levels.items())
    typer.echo(f"{one.file}: {one.dataset}, {one.rows:,} rows ({levels})")
    if one.symbols:
        typer.echo("  symbols kept: " + ", ".join(f"{mark} {count:,}" for mark, count in one.symbols.items()))
    for count, what in (
        (done.left_out, "rows of no declared place"),
        (done.short, "rows end before the last column"),
        (done.faulty, "cells not understood"),
    ):
        if count:
            typer.echo(f"  {count:,} {what}")
    for fault in done.faults:
        typer.echo(f"  line {fault.line}, {fault.column}: {fault.reason}", err=True)
    for name in done.unchecked:
        typer.echo(f"  some totals wait for {name}: load it, then this file again")
    typer.echo(f"  totals: {_totals_of(one)}")
    reasons = Counter((check.verdict, check.because) for check in done.checks if check.verdict == "explained")
    for (_, because), count in reasons.items():
        typer.echo(f"  explained, {count}: {because}")
    for check in done.checks:
        if check.verdict == "not explained":
            group = ", ".join(f"{name} {value}" for name, value in check.group.items())
            typer.echo(
                f"  not explained: {check.indicator}, {group}: {check.published} published, "
                f"{check.found} found in {check.parts:,} parts",
                err=True,
            )


def _totals_of(load: Load | None) -> str:
    if load is None or not load.totals:
        return "-"
    return ", ".join(f"{count} {verdict}" for verdict, count in load.totals.items())


def _chosen(dataset: model.Dataset, rows: pa.Table, level: str, where: list[str]) -> list[dict[str, Any]]:
    wanted = dict(_pair(one) for one in where)
    if unknown := sorted(set(wanted) - set(rows.column_names)):
        raise Problem(
            "CR-261", f"it has no column {', '.join(unknown)}", status=400, where="--where",
            remedy=f"Columns are {', '.join(name for name in rows.column_names if not name.endswith('_symbol'))}.",
        )  # fmt: skip
    found = [
        row
        for row in rows.to_pylist()
        if row["geographic_level"] == level and all(row[name] == value for name, value in wanted.items())
    ]
    indicators = {one.name: one for one in dataset.indicators}
    return [_as_published(row, indicators) for row in found[:MOST_ROWS]]


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise Problem("CR-261", "it is not COLUMN=VALUE", status=400, where="--where")
    return name, value


def _as_published(row: dict[str, Any], indicators: dict[str, model.Indicator]) -> dict[str, Any]:
    shown = {}
    for name, value in row.items():
        if name in indicators:
            mark = row[f"{name}_symbol"]
            step = Decimal(1).scaleb(-indicators[name].decimals)
            shown[name] = mark if value is None else str(value.quantize(step))
        elif not name.endswith("_symbol") and value is not None:
            shown[name] = value
    return shown


def _report(findings: list[ees.Finding]) -> None:
    for one in findings:
        lines = f", {one.number:,} lines from {one.rows[0]}" if one.rows else ""
        typer.echo(f"{one.file}, {one.column or 'all'}{lines}: {one.message}", err=True)
    typer.echo(
        f"{len(findings)} rules broken" if findings else "keeps the rules of Explore Education Statistics"
    )
    raise typer.Exit(1 if findings else 0)


def _print_upright(rows: list[dict[str, Any]]) -> None:
    """Wide rows read better standing: a name a line, a row a column, the first five."""
    first = rows[:5]
    names = list(dict.fromkeys(name for row in first for name in row))
    _print_table(
        ["", *(str(number) for number in range(1, len(first) + 1))],
        [[name, *(str(row.get(name) or "") for row in first)] for name in names],
    )
    if len(rows) > len(first):
        typer.echo(f"{len(rows) - len(first):,} rows more: --format csv has them")


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
