"""`commonroom warehouse`: figures, what is loaded, upkeep. Parse, call, print. `history_commands` has looking back."""

from __future__ import annotations

import asyncio
import csv
import sys
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings, standard
from commonroom.engines import clock, database, delta
from commonroom.engines.duck import Duck
from commonroom.exchange import Unreachable
from commonroom.exchange.contract import ReplayRequest
from commonroom.identity import PUBLIC
from commonroom.problems import Problem, add_codes
from commonroom.standard import terms
from commonroom.warehouse import (
    checks,
    combinations,
    heads,
    history_commands,
    lineage_commands,
    loader,
    questions,
    tables,
)
from commonroom.warehouse.questions import Figure
from commonroom.warehouse.reader import Reader, open_reader
from commonroom.warehouse.spans import ON_A_DAY

add_codes({"CR-340": "The hub cannot be reached"})

app = typer.Typer(no_args_is_help=True, help="The warehouse: figures, and what is loaded.")

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder.", envvar="COMMONROOM_DATA", show_default=False)
]


_SHOWN = (
    "unit",
    "unit_name",
    "grain",
    "period_label",
    "group",
    "numerator",
    "denominator",
    "value",
    "margin",
)
_ALWAYS = ("unit", "unit_name", "grain", "period_label", "value")
_LEASE_SECONDS = 5.0  # how long to wait for a loader to end


history_commands.add_to(app)
lineage_commands.add_to(app)


class Format(StrEnum):
    """How figures are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


@app.command("measure")
def measure(
    name: Annotated[str, typer.Argument(help="headcount, absence_overall, persistent_absence, ...")],
    first: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day asked for.")] = None,
    last: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day asked for.")] = None,
    on: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The one day asked for, or in the period asked for."),
    ] = None,
    level: Annotated[
        str, typer.Option("--level", "--by", help="school, trust, authority, region or national.")
    ] = "national",
    grain: Annotated[
        str | None,
        typer.Option(
            help="day, week, term or year. None: term, or the only one that it has.", show_default=False
        ),
    ] = None,
    unit: Annotated[
        list[str] | None, typer.Option(help="Code of a unit; repeat for more. None: all.")
    ] = None,
    known_at: Annotated[str | None, typer.Option(help="As known then, such as 2026-09-13T00:00Z.")] = None,
    characteristic: Annotated[
        str | None,
        typer.Option(
            "--characteristic",
            "--by-characteristic",
            help="Each group of one: sex, fsm, sen, ethnicity, language, year_group, session, experience, intervention.",
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option("--for", help="One group of a characteristic, such as sex=F.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option(help="The file to write, for parquet.")] = None,
    data: Data = None,
) -> None:
    """Print the published figures of one measure."""
    begins, ends = first or on, last or on
    if begins is None or ends is None:
        raise Problem("CR-063", "no day is asked for", remedy="Give --on, or --first and --last.")
    if begins > ends:
        raise Problem("CR-063", "the first day is after the last one", remedy="Change --first and --last.")
    if form is Format.PARQUET and output is None:
        raise Problem("CR-063", "parquet is written to a file", remedy="Give --output.")
    question = {
        "measure": name, "level": level, "grain": grain or _usual_grain(name, one_day=begins == ends),
        "units": unit or None, "first": begins.date(), "last": ends.date(), "known_at": known_at,
        **_division(characteristic, only),
    }  # fmt: skip
    figures = asyncio.run(_figures(data, question))
    if output is not None and form is Format.PARQUET:
        _write_parquet(figures, output)
        return
    _PRINTERS[form](figures)
    if form is Format.TABLE:
        _print_beneath(figures, is_live=settings.load(data).figures == "live")
    if not any(figure.numerator is not None or figure.symbol != "x" for figure in figures):
        typer.echo(_why_empty(name), err=True)


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


@app.command("compact")
def compact(data: Data = None) -> None:
    """Merge the small files of every table, checkpoint the logs, delete what no version of the last day needs."""
    head = asyncio.run(_compact(data))
    typer.echo(f"batch {head.number}: {len(head.tables)} tables compacted")


@app.command("replay")
def replay(
    since: Annotated[str | None, typer.Option(help="Letters accepted from then on.")] = None,
    from_position: Annotated[
        int | None, typer.Option(help="Letters from this position of the hub.", min=1)
    ] = None,
    data: Data = None,
) -> None:
    """Have the hub hand out letters again, as after the tables were put back to an older state. Nothing is doubled."""
    if since is None and from_position is None:
        from_position = 1
    request = ReplayRequest(from_position=from_position, since=_moment(since))
    typer.echo(f"{asyncio.run(_replay(data, request))} letters offered again; the loader takes them")


@app.command("verify")
def verify(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    data: Data = None,
) -> None:
    """Look through every table: all files there, no fact twice or half, every row with its message. Ends 1 on a fault."""
    checked = asyncio.run(_verify(data))
    if as_json:
        typer.echo(msgspec.json.encode(checked).decode())
    else:
        rows: list[list[Any]] = [
            [one.table, one.version, one.rows, "; ".join(one.faults) or "good"] for one in checked
        ]
        _print_table(["table", "version", "rows", "found"], rows)
    if any(one.faults for one in checked):
        raise typer.Exit(1)


async def _compact(data: Path | None) -> heads.Head:
    chosen = settings.load(data)
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(_LEASE_SECONDS, stop.set)
    async with heads.lease(chosen, stop) as connection:
        if connection is None:
            raise Problem(
                "CR-060",
                "a loader is at work, and compacts by itself when that is due: nothing need be done",
                status=409,
                remedy="To do it at once all the same, stop the loader (`commonroom run worker`) and leave the database up.",
            )
        return await loader.upkeep(connection, chosen, every=True)


async def _replay(data: Path | None, request: ReplayRequest) -> int:
    chosen = settings.load(data)
    connection = await database.connect(chosen)
    chosen = settings.as_running(chosen)
    try:
        return await loader.replay(chosen, connection, request)
    except Unreachable as error:
        raise Problem(
            "CR-340",
            f"the hub does not answer ({error.reason})",
            where=chosen.hub_url,
            remedy="Start it (`commonroom serve`, `demo`), or name it in COMMONROOM_HUB_ADDRESS.",
        ) from error
    finally:
        await connection.close()


async def _verify(data: Path | None) -> list[checks.Checked]:
    chosen = settings.load(data)
    connection = await database.connect(chosen)
    duck = Duck(chosen, [chosen.folder("warehouse")])
    try:
        return await asyncio.to_thread(checks.verify, chosen, duck, await heads.newest(connection))
    finally:
        duck.close()
        await connection.close()


def _usual_grain(name: str, *, one_day: bool) -> str:
    """Of a state on one day that day; else a term where the measure is made by term, else its longest grain."""
    asked = combinations.measure(name)
    grains = asked.grains
    if one_day and asked.taken == ON_A_DAY and "day" in grains:
        return "day"
    return "term" if "term" in grains else grains[-1]


def _why_empty(name: str) -> str:
    """What to look for where a measure has no figures: the entities that it counts and who sends them."""
    language = standard.load().entities
    entities: dict[str, None] = {}
    for part in combinations.parts(combinations.measure(name)):
        near = part.within.entity if part.within else None
        best = part.best.looks_up if part.best else ()
        entities |= dict.fromkeys(one for one in (part.entity, part.beside, near, *best) if one)
    counted = ", ".join(f"{one} ({language[one].title})" for one in entities)
    return (
        f"Nothing is known of {name} there and then. It counts: {counted}. "
        "Schools, authorities and the Department send these; docs/warehouse.md says how."
    )


def _division(characteristic: str | None, only: str | None) -> dict[str, Any]:
    """What is asked about characteristics."""
    if only is None:
        return {"characteristic": characteristic}
    name, _, group = only.partition("=")
    if not group or characteristic not in (None, name):
        raise Problem("CR-063", "--for names one group of one characteristic", remedy="Write --for sex=F.")
    return {"characteristic": name, "groups": [group]}


async def _figures(data: Path | None, question: dict[str, Any]) -> list[Figure]:
    chosen = settings.load(data)
    connection = await database.connect(chosen)
    reader = open_reader(chosen)
    try:
        now = await clock.now(connection)
        if question["known_at"] is not None:
            question |= {"known_at": questions.known_time(question["known_at"], now)}
        found = await reader.figures(connection, PUBLIC, purpose="command line", now=now, **question)
        await _check(reader, connection, question, clock.day_of(now), is_empty=not found)
        return found
    finally:
        reader.close()
        await connection.close()


async def _check(
    reader: Reader, connection: Any, asked: dict[str, Any], today: date, *, is_empty: bool
) -> None:
    """Raise Problem CR-063 where there can be no figures, whatever is sent: for such days, or such units."""
    first, last = asked["first"], asked["last"]
    if first > today:
        raise Problem("CR-063", f"{first} has not come yet", remedy=f"Ask for a day until {today}.")
    unknown = set(asked["units"] or ())
    for day in (last, first):
        if unknown:
            schools = (await reader.schools(connection, day)).values()
            unknown -= {school.group(asked["level"])[0] for school in schools}
    if unknown:
        raise Problem(
            "CR-063",
            f"the register knows no {asked['level']} {', '.join(sorted(unknown))[:200]}",
            remedy="Leave --unit out to have all there are.",
        )
    if is_empty and not terms.school_days(first, min(last, today)):
        days = f"{first:%A} {first}" if first == last else f"the days from {first} to {last}"
        raise Problem("CR-063", f"there is no school on {days}", remedy="Ask for a school day.")


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
    shown = {name: "" if value is None else str(value) for name, value in fields.items()}
    return {**shown, "value": figure.symbol or shown["value"]}


def _write_parquet(figures: list[Figure], output: Path) -> None:
    """One row a figure, the value as an exact decimal."""
    rows = [msgspec.structs.asdict(figure) for figure in figures]
    kinds = {
        "numerator": pa.int64(),
        "denominator": pa.int64(),
        "value": pa.decimal128(38, 4),
        "margin": pa.decimal128(38, 4),
        "period_start": pa.date32(),
        "batch": pa.int64(),
        "position": pa.int64(),
        "as_of": pa.timestamp("us", "UTC"),
    }
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in Figure.__struct_fields__])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), output)


def _print_json(figures: list[Figure]) -> None:
    typer.echo(msgspec.json.encode(figures).decode())


def _print_csv(figures: list[Figure]) -> None:
    writer = csv.DictWriter(sys.stdout, questions.COLUMNS)
    writer.writeheader()
    writer.writerows(questions.row(figure) for figure in figures)


def _print_figures(figures: list[Figure]) -> None:
    rows = [_cells(figure) for figure in figures]
    # What none of them has would only make the table wider.
    columns = [name for name in _SHOWN if name in _ALWAYS or any(row[name] for row in rows)]
    _print_table(columns, [[row[name] for name in columns] for row in rows])


def _print_beneath(figures: list[Figure], *, is_live: bool) -> None:
    """As of when the newest of them is, and what the symbols among them mean."""
    moments = [figure.as_of for figure in figures if figure.as_of is not None]
    if moments:
        newest = max(moments).astimezone(clock.ENGLAND)
        said = "As known" if is_live else "As released"
        typer.echo(f"{said} on {newest.day} {newest:%B %Y at %H:%M}, England's time")
    symbols = [one for one in questions.SYMBOLS if any(figure.symbol == one for figure in figures)]
    if symbols:
        typer.echo("; ".join(f"{one} = {questions.SYMBOLS[one]}" for one in symbols))


def _print_table(columns: list[str], rows: list[list[Any]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)


_PRINTERS = {Format.TABLE: _print_figures, Format.JSON: _print_json, Format.CSV: _print_csv}
