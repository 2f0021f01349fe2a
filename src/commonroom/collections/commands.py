"""`commonroom check` and `commonroom collections`: check a return, look at collections, begin one. Thin: call, print."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom.collections import loader
from commonroom.collections.model import Collection
from commonroom.problems import Problem

app = typer.Typer(no_args_is_help=True, help="Collections: returns as data, and their rules.")

Format = Literal["json", "table", "csv"]
OneRule = Annotated[str | None, typer.Option("--rule", help="Only this rule.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
# A spreadsheet takes a value that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = ("finding", "rule", "severity", "module", "item", "path", "row", "value", "message")


def check(
    file: Path,
    collection: str,
    year: int | None,
    last: Path | None,
    local: list[Path],
    form: Format,
    schema: bool = False,
) -> int:
    """Check a return and print what is found; 1 where there are errors, else 0. Raises Problem CR-180 to CR-194."""
    from commonroom.collections.engine import Engine
    from commonroom.collections.session import Session

    chosen = loader.load(collection, _year(collection, year), local_rules=local)
    with Session(Engine(chosen)) as session:
        session.load(file)
        if schema:
            session.hold_against_schema(file)
        if last is not None:
            session.load_last(last)
        report = session.check()
    if form == "json":
        sys.stdout.buffer.write(
            msgspec.json.encode(
                {
                    "collection": report.collection,
                    "year": report.year,
                    "records": report.records,
                    "outcomes": report.outcomes,
                    "not_checked": report.reasons,
                    "findings": report.findings,
                }
            )
            + b"\n"
        )
    elif form == "csv":
        _print_csv(report)
    else:
        _print_report(report)
    return 1 if report.errors else 0


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the collections and their years."""
    found, faults = _loadable()
    shown = [one for one in found if one.status != "base"]
    if as_json:
        _print_json([{"name": c.name, "year": c.year, "title": c.title, "status": c.status} for c in shown])
        return
    rows = [(c.name, str(c.year), c.title, c.status, str(len(c.rules)), str(c.deadline or "")) for c in shown]
    _print_table("Collections", ("name", "year", "title", "status", "rules", "deadline"), rows)
    for fault in faults:
        typer.echo(str(fault), err=True)
    raise typer.Exit(1 if faults else 0)


def _loadable() -> tuple[list[Collection], list[Problem]]:
    """The collections that can be read, and what is wrong with the others: one mistake hides no other collection."""
    found, faults = [], []
    for name in loader.names():
        for year in loader.years(name):
            try:
                found.append(loader.load(name, year))
            except Problem as problem:
                faults.append(problem)
    return found, faults


@app.command("show")
def show(name: str, year: Annotated[int | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """Show a collection: who, when, modules and items."""
    collection = loader.load(name, _year(name, year))
    if as_json:
        _print_json(collection)
        return
    typer.echo(f"{collection.title} {collection.year} ({collection.status}): {collection.description}")
    senders = ", ".join(collection.returned_by) or "nobody: it is no return"
    typer.echo(
        f"Returned by {senders}. Reference date {collection.reference_date}, period "
        f"{collection.period.start} to {collection.period.end}, deadline {collection.deadline or 'not set'}."
    )
    for module in collection.modules.values():
        many = "any number" if module.many else "at most one"
        below = f" in {module.parent}" if module.parent else ""
        rows = [
            (
                i.name,
                i.type,
                i.codeset or "",
                "yes" if i.required else "",
                "yes" if i.personal else "",
                i.description,
            )
            for i in module.items
        ]
        columns = ("item", "type", "codes", "required", "personal", "description")
        _print_table(f"{module.name}, {many}{below}", columns, rows)


@app.command("rules")
def rules(
    name: str,
    year: Annotated[int | None, typer.Argument(help="Without it: the newest.")] = None,
    rule: OneRule = None,
    as_json: AsJson = False,
) -> None:
    """List the rules of a collection, or tell all of one: `--rule 8868`."""
    collection = loader.load(name, _year(name, year))
    if rule is not None:
        _tell_rule(collection, rule, as_json)
        return
    if as_json:
        _print_json(list(collection.rules.values()))
        return
    rows = [(r.code, r.severity, r.belongs_to, r.title) for r in collection.rules.values()]
    _print_table(
        f"{collection.title} {collection.year}: {len(rows)} rules",
        ("rule", "severity", "module", "title"),
        rows,
    )


def _tell_rule(collection: Collection, code: str, as_json: bool) -> None:
    """One rule, with all it declares, as in its file."""
    rule = collection.rules.get(code)
    if rule is None:
        raise Problem(
            "CR-181",
            f"{collection.name} {collection.year} has no rule {code[:40]}",
            where="--rule",
            remedy=f"List them: commonroom collections rules {collection.name} {collection.year}.",
        )
    if as_json:
        _print_json(rule)
        return
    typer.echo(f"{rule.code} ({rule.severity}) {rule.title}")
    told = ("code", "severity", "title", "examples", "mutate")
    declared = msgspec.to_builtins(rule)
    for name, value in declared.items():
        if value and name not in told:
            typer.echo(f"{name}: {value if isinstance(value, str) else msgspec.json.encode(value).decode()}")
    for example in rule.examples:
        typer.echo(f"example: {msgspec.json.encode(example).decode()}")


@app.command("schema")
def schema(name: str, year: Annotated[int | None, typer.Argument()] = None) -> None:
    """Print the XML Schema of a collection, for those who make files of it."""
    from commonroom.collections.xsd import schema_of

    sys.stdout.buffer.write(schema_of(loader.load(name, _year(name, year))))


@app.command("examples")
def examples(name: str, year: Annotated[int | None, typer.Argument()] = None, rule: OneRule = None) -> None:
    """Run the examples of every rule; status 1 where one does not come out as it says."""
    collection = loader.load(name, _year(name, year))
    if _run_examples(collection, rule):
        raise typer.Exit(1)


@app.command("prove")
def prove(name: str, year: Annotated[int | None, typer.Argument()] = None, rule: OneRule = None) -> None:
    """Prove the rules: their examples, and one fault each in the whole valid return. Status 1 where one fails."""
    collection = loader.load(name, _year(name, year))
    if _run_examples(collection, rule) + _run_mutators(collection, rule):
        raise typer.Exit(1)


@app.command("new")
def new(
    name: str,
    folder: Annotated[
        Path, typer.Option("--in", help="Folder of definitions.", envvar=loader.VARIABLE)
    ] = Path("collections"),
    year: Annotated[int | None, typer.Option(help="Year of the return; without it the next.")] = None,
) -> None:
    """Begin a collection: a folder of data files that can be checked at once."""
    from commonroom.collections.scaffold import begin

    for path in begin(folder, name, year):
        typer.echo(str(path))


def _year(name: str, year: int | None) -> int:
    """The year asked for, or the newest."""
    known = loader.years(name)
    return year if year is not None else known[-1] if known else 0


def _run_examples(collection: Collection, rule: str | None) -> int:
    from commonroom.collections.engine import Engine
    from commonroom.collections.examples import Examples

    engine = Engine(collection)
    engine.prove()
    failures = Examples(engine).failures(_codes(collection, rule))
    for failure in failures:
        typer.echo(f"rule {failure.rule}, example {failure.index}: {failure.detail}")
    asked = [collection.rules[code] for code in _codes(collection, rule)]
    total = sum(len(one.examples) for one in asked)
    typer.echo(f"{len(asked)} rules, {total} examples: {len(failures)} do not come out as they say.")
    return len(failures)


def _run_mutators(collection: Collection, rule: str | None) -> int:
    from commonroom.collections.engine import Engine
    from commonroom.collections.mutators import Mutators

    mutators = Mutators(Engine(collection))
    report = mutators.judge_valid()
    for finding in report.findings:
        typer.echo(f"valid return: rule {finding.rule} at {finding.locations[0].path}: {finding.message}")
    wrong = 0
    for code in _codes(collection, rule):
        detail = mutators.difference(collection.rules[code])
        if detail:
            wrong += 1
            typer.echo(f"rule {code}, mutate: {detail}")
    typer.echo(
        f"Valid return: {len(report.findings)} findings. Faults made in it: {wrong} not found as they should be."
    )
    return len(report.findings) + wrong


def _codes(collection: Collection, rule: str | None) -> list[str]:
    if rule is None:
        return list(collection.rules)
    if rule not in collection.rules:
        raise typer.BadParameter(f"there is no rule {rule}", param_hint="--rule")
    return [rule]


def _print_report(report: object) -> None:
    from commonroom.collections.findings import Report

    assert isinstance(report, Report)
    rows = [
        (f.rule, f.severity, f.locations[0].path, f.locations[0].item or "", f.message)
        for f in report.findings
    ]
    _print_table("Findings", ("rule", "severity", "where", "item", "message"), rows)
    for code, reason in report.reasons.items():
        typer.echo(f"Rule {code} was not checked: {reason}.")
    counts = {
        outcome: list(report.outcomes.values()).count(outcome)
        for outcome in ("passed", "failed", "not_checked")
    }
    typer.echo(
        f"{report.records:,} records; {report.errors:,} errors, {report.queries:,} queries. Rules: "
        f"{counts['passed']} passed, {counts['failed']} failed, {counts['not_checked']} not checked."
    )


def _print_csv(report: object) -> None:
    """One line for each place of a finding; lines of one finding have its number in common."""
    from commonroom.collections.findings import Report

    assert isinstance(report, Report)
    writer = csv.writer(sys.stdout)
    writer.writerow(_COLUMNS)
    for number, finding in enumerate(report.findings, start=1):
        for place in finding.locations:
            where = (place.module, place.item, place.path, place.row, _harmless(place.value))
            writer.writerow((number, finding.rule, finding.severity, *where, _harmless(finding.message)))


def _harmless(value: str | None) -> str | None:
    return f"'{value}" if value and value.startswith(_FORMULA) else value


def _print_table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _print_json(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value)) + b"\n")
