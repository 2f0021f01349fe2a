"""`commonroom providers`: load register files, find and show schools, their history, the faults of a file. Thin."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from commonroom import settings
from commonroom.problems import Problem
from commonroom.registers import providers
from commonroom.registers.database import opened
from commonroom.standard import is_valid

T = TypeVar("T")

ISSUES_SHOWN = 20

app = typer.Typer(help="The register of providers: load, find, show.", no_args_is_help=True)
Data = Annotated[Path | None, typer.Option("--data", help="The data folder; otherwise COMMONROOM_DATA.")]
Number = Annotated[str, typer.Argument(help="URN of a school, or a UKPRN.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("load")
def load(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="GIAS extracts, UKRLP answers (JSON lines or SOAP), lists by UKPRN, schools of other nations."
        ),
    ],
    again: Annotated[bool, typer.Option("--again", help="Load even a file that was loaded before.")] = False,
    complete: Annotated[
        bool, typer.Option("--complete", help="Of files of links: what is not in the file has ended.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Load register files, plain or gzip. Bad rows are listed and stop nothing; status 2 when a file cannot be read."""
    reports, problems = _run(data, lambda conn: _load_all(conn, files, again, complete), new=True)
    if as_json:
        _print_json(reports)
    else:
        for report in reports:
            _print_report(report)
    for problem in problems:
        typer.secho(str(problem), err=True, fg="red")
    raise typer.Exit(2 if problems else 0)


@app.command("find")
def find(
    text: Annotated[str, typer.Argument(help="Words of name, town or postcode, or a URN, LAESTAB or UKPRN.")],
    la: Annotated[str | None, typer.Option(help="Three-digit code of the local authority.")] = None,
    phase: Annotated[str | None, typer.Option(help="Phase as GIAS names it, such as Primary.")] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Learning providers, trusts and groups too, not schools alone.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Find schools and providers; slips of the pen are forgiven."""
    kinds = providers.EVERYBODY if everybody else providers.SCHOOLS

    async def ask(conn: Any) -> tuple[list[providers.SchoolSummary], int]:
        found = await providers.find(conn, text, la=la, phase=phase, kinds=kinds, limit=limit)
        return found, await providers.count(conn, text, la=la, phase=phase, kinds=kinds)

    found, count = _run(data, ask)
    if as_json:
        _print_json(found)
        return
    columns: tuple[str, ...] = ("urn", "name", "town", "postcode", "la_name", "phase", "status", "pupils")
    rows = [[getattr(one, column) for column in columns] for one in found]
    if everybody:
        # A URN, a UKPRN or a group's UID, as the scheme says.
        columns = ("scheme", "number", *columns[1:])
        rows = [[one.scheme, *cells] for one, cells in zip(found, rows, strict=True)]
    _print_table(columns, rows)
    typer.echo(f"{len(found):,} of {count:,}")


@app.command("show")
def show(number: Number, data: Data = None, as_json: AsJson = False) -> None:
    """Show all that the register holds of a school."""

    async def ask(conn: Any) -> providers.School | None:
        scheme, value = await _kept_as(conn, number)
        if scheme != "urn":
            raise Problem(
                "CR-005",
                f"{number} is no school's UKPRN.",
                status=404,
                remedy=f"Its record: `commonroom providers record {number}`.",
            )
        return await providers.school(conn, value)

    found = _run(data, ask)
    if found is None:
        raise _unknown(number)
    if as_json:
        _print_json(found)
        return
    typer.echo(f"{found.name} ({found.urn}), {found.party}")
    typer.echo(f"Valid from {found.valid_from}; in the register as at {found.as_at}.")
    for group in found.groups:
        typer.echo(f"{group.type}: {group.name} ({group.uid})")
    for link in found.links:
        typer.echo(f"{link.link_type}: {link.name} ({link.urn})")
    _print_table(("item", "value"), sorted(found.facts.items()))


@app.command("history")
def history(number: Number, data: Data = None, as_json: AsJson = False) -> None:
    """Show every version of a school or provider: from when, from which file and line, and what changed."""

    async def ask(conn: Any) -> list[providers.Version]:
        scheme, value = await _kept_as(conn, number)
        return await providers.versions(conn, value, scheme)

    found = _run(data, ask)
    if not found:
        raise _unknown(number)
    if as_json:
        _print_json(found)
        return
    for place, version in enumerate(found, start=1):
        source = f"{version.file}, line {version.line}" if version.file else "made by the platform"
        typer.echo(
            f"{place}. valid from {version.valid_from}, recorded {version.recorded_at:%Y-%m-%d %H:%M} ({source})"
        )
        if place == 1:
            typer.echo(f"   first known, {len(version.facts)} items")
            continue
        for change in version.changes:
            typer.echo(f"   {change.item}: {_cell(change.before)} -> {_cell(change.after)}")


@app.command("loads")
def loads(data: Data = None, as_json: AsJson = False) -> None:
    """List the files that were loaded, newest first: their numbers are what `changes` asks for."""
    found = _run(data, lambda conn: providers.loads(conn))
    if as_json:
        _print_json(found)
        return
    columns = ("number", "file", "kind", "file_date", "versions", "links", "issues")
    _print_table(columns, [[getattr(one, column) for column in columns] for one in found])


@app.command("changes")
def changes(
    since: Annotated[
        int | None, typer.Argument(help="Load before the changes; the last but one without it.")
    ] = None,
    upto: Annotated[
        int | None, typer.Argument(help="Last load of the changes; the newest without it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="So many changes are shown.")] = 50,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show what loads changed: added, closed, reopened, renamed, moved, linked, changed; item by item."""

    async def ask(conn: Any) -> providers.Difference:
        newest = upto if upto is not None else await providers.newest_load(conn)
        return await providers.between(conn, since if since is not None else newest - 1, newest)

    found = _run(data, ask)
    if as_json:
        _print_json(found)
        return
    told = ", ".join(f"{count:,} {word}" for word, count in found.counts.items()) or "nothing"
    typer.echo(f"After load {found.since} up to load {found.upto}: {told}.")
    for one in found.changes[:limit]:
        typer.echo(f"{one.scheme} {one.value} {one.name}: {', '.join(one.what)}")
        for item in one.items:
            typer.echo(f"   {item.item}: {_cell(item.before)} -> {_cell(item.after)}")
        for link in one.links:
            since_day = f" from {link.since}" if link.since else ""
            typer.echo(
                f"   {link.relation} {link.what}: {link.link_type} {link.name} ({link.other}){since_day}"
            )
    if len(found.changes) > limit:
        typer.echo(f"{len(found.changes) - limit:,} more: use --limit or --json.")


@app.command("as-of")
def as_of(
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="The day asked about.")],
    number: Annotated[
        str | None, typer.Argument(help="One organisation's number; counts of all without it.")
    ] = None,
    scheme: Annotated[
        str, typer.Option(help="urn, ukprn, la, group, wales, scotland, northern-ireland.")
    ] = "urn",
    known_by: Annotated[
        datetime | None, typer.Option(help="Leave out what the register was told after this moment (UTC).")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show the register, or one organisation, as it was on a day."""
    on, known = day.date(), known_by.replace(tzinfo=UTC) if known_by else None
    if number is None:
        counted = _run(data, lambda conn: providers.as_of.counts(conn, on, known))
        columns = ("kind", "known", "open", "pupils", "authorities")
        if as_json:
            _print_json(counted)
        else:
            _print_table(columns, [[getattr(one, column) for column in columns] for one in counted])
        return
    wanted = number

    async def ask(conn: Any) -> providers.as_of.State | None:
        kept, value = await _kept_as(conn, wanted) if scheme == "urn" else (scheme, wanted)
        return await providers.as_of.state(conn, kept, value, on, known)

    found = _run(data, ask)
    if found is None:
        raise _unknown(number)
    if as_json:
        _print_json(found)
        return
    typer.echo(f"{found.name} ({found.scheme} {found.value}), valid from {found.valid_from}")
    _print_table(("item", "value"), sorted(found.facts.items()))


@app.command("record")
def record(
    ukprns: Annotated[list[str], typer.Argument(help="UKPRNs.")],
    day: Annotated[
        datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="As of this day.")
    ] = None,
    data: Data = None,
) -> None:
    """Print the records of UKPRNs as UKRLP answers them, a line of JSON each."""
    asked = providers.answers.Asked(tuple(ukprns), on=day.date() if day else None)
    found = _run(data, lambda conn: providers.answers.records(conn, asked))
    typer.echo(providers.answers.lines(found).decode(), nl=False)
    if len(found) < len(set(ukprns)):
        raise typer.Exit(2)


@app.command("names")
def names(
    number: str,
    scheme: Annotated[
        str, typer.Option(help="urn, ukprn, la, group, wales, scotland, northern-ireland.")
    ] = "urn",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show every name an organisation has had, with its days."""

    async def ask(conn: Any) -> list[providers.as_of.Name]:
        kept, value = await _kept_as(conn, number) if scheme == "urn" else (scheme, number)
        return await providers.as_of.names(conn, kept, value)

    found = _run(data, ask)
    if not found:
        raise _unknown(number)
    if as_json:
        _print_json(found)
    else:
        columns = ("use", "name", "since", "until")
        _print_table(columns, [[getattr(one, column) for column in columns] for one in found])


@app.command("issues")
def issues(
    number: Annotated[int | None, typer.Argument(help="Number of the load; the newest without it.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the faults found when a file was loaded, by line."""

    async def ask(conn: Any) -> list[providers.Issue]:
        chosen = number if number is not None else await providers.newest_load(conn)
        return await providers.issues_of(conn, chosen)

    found = _run(data, ask)
    if as_json:
        _print_json(found)
    else:
        _print_issues(found)


async def _kept_as(conn: Any, number: str) -> tuple[str, str]:
    """Scheme and number of a URN, or of who has a UKPRN."""
    found = await providers.of_ukprn(conn, number) if is_valid("UKPRN", number) else None
    return found or ("urn", number)


async def _load_all(
    conn: Any, files: Sequence[Path], again: bool, complete: bool
) -> tuple[list[providers.LoadReport], list[Problem]]:
    """Each file by itself: one that cannot be read does not keep the others out."""
    reports: list[providers.LoadReport] = []
    problems: list[Problem] = []
    await providers.ensure_platform(conn)
    for file in files:
        try:
            with _shown_progress(file) as progress:
                reports.append(
                    await providers.load_file(conn, file, again=again, complete=complete, progress=progress)
                )
        except Problem as problem:
            problems.append(problem)
    await providers.publish_to_directory(conn)
    return reports, problems


@contextlib.contextmanager
def _shown_progress(file: Path) -> Iterator[Callable[[int], None]]:
    """Rows read so far, on standard error, where there is a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,} rows"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(file.name, total=None)
        yield lambda rows: progress.update(task, completed=rows)


def _run(data: Path | None, ask: Callable[[Any], Awaitable[T]], *, new: bool = False) -> T:
    async def asked() -> T:
        async with opened(settings.load(data), new=new) as conn:
            return await ask(conn)

    return asyncio.run(asked())


def _print_report(report: providers.LoadReport) -> None:
    source = "" if report.kind in ("nations", "providers", "ukrlp") else "GIAS "
    typer.echo(
        f"{report.file}: {source}{report.kind.replace('_', ' ')} as at {report.file_date}, {report.encoding}"
    )
    if report.already:
        typer.echo(f"  loaded before (load {report.load}): nothing was changed")
    if report.kind in ("establishments", "nations"):
        typer.echo(f"  {report.schools:,} schools, {report.pupils:,} pupils in {report.authorities} LAs")
    late = f"; {report.late:,} of these were older than what is known" if report.late else ""
    typer.echo(
        f"  {report.rows:,} rows: {report.loaded:,} loaded ({report.new:,} new, {report.changed:,} changed, "
        f"{report.unchanged:,} unchanged{late}), {report.refused:,} refused"
    )
    ended = f"{report.ended:,} ended, for the file is complete" if report.ended else "left as they are"
    typer.echo(f"  {report.absent + report.ended:,} in the register and not in this file: {ended}")
    typer.echo(f"  {report.issue_count:,} faults listed, {report.seconds:.1f} s (load {report.load})")
    _print_issues(report.issues[:ISSUES_SHOWN])
    if report.issue_count > ISSUES_SHOWN:
        typer.echo(f"  all of them: commonroom providers issues {report.load}")


def _print_issues(found: Sequence[providers.Issue]) -> None:
    if found:
        columns = ("line", "record", "item", "effect", "reason", "remedy")
        _print_table(columns, [[getattr(one, column) for column in columns] for one in found])


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(_cell, row))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _print_json(value: Any) -> None:
    typer.echo(msgspec.json.encode(value).decode())


def _unknown(number: str) -> Problem:
    whose = "school or provider with the UKPRN" if is_valid("UKPRN", number) else "school with the URN"
    return Problem(
        "CR-005",
        f"the register has no {whose} {number[:20]}.",
        status=404,
        remedy="Try `commonroom providers find`.",
    )
