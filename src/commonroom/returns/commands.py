"""`commonroom returns`: open a collection, load versions, answer queries, submit, approve, authorise. Thin: call, print.

`--as` says who acts: a school's URN, an authority's number, or `collector`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings
from commonroom.collections.model import Period
from commonroom.registers.database import opened
from commonroom.returns import (
    comparison,
    freeze,
    live,
    local_rules,
    parties,
    reminders,
    steps,
    store,
    summaries,
    uploads,
    workflow,
)
from commonroom.returns.parties import Actor
from commonroom.returns.steps import Asked
from commonroom.returns.store import Return
from commonroom.returns.summaries import Summary
from commonroom.settings import Settings

T = TypeVar("T")
_DAY = ["%Y-%m-%d"]

app = typer.Typer(
    no_args_is_help=True, help="Returns: who owes what, its versions, its way to being authorised."
)
Data = Annotated[Path | None, typer.Option("--data", help="The data folder; otherwise COMMONROOM_DATA.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
As = Annotated[str, typer.Option("--as", help="Who acts: a URN, an authority's number, or `collector`.")]
Of = Annotated[
    str | None, typer.Option("--of", help="Whose return it is, where that is another than who acts.")
]
Why = Annotated[str, typer.Option("--reason", help="Why; it is kept with the step.")]
Revision = Annotated[
    int | None, typer.Option("--revision", help="Act only if nobody has done anything since this revision.")
]


@app.command("open")
def open_collection(collection: str, year: int, data: Data = None) -> None:
    """Expect a return of every party that owes one. Safe to repeat: new parties are added."""
    new = _run(data, lambda _, connection: steps.open_collection(connection, collection, year))
    typer.echo(f"{new:,} returns opened for {collection} {year}.")


@app.command("list")
def list_all(
    collection: str,
    year: int,
    who: As = parties.COLLECTOR,
    state: Annotated[str | None, typer.Option("--state", help="Only those in this state.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the returns of a collection that who acts may see, those not sent among them."""

    async def ask(_: Settings, connection: Any) -> Sequence[Return]:
        actor = await parties.named(connection, who)
        return await store.listed(connection, collection, year, actor.party, every=actor.collector)

    found = [one for one in _run(data, ask) if state in (None, one.state)]
    if as_json:
        _print_json(found)
        return
    title = workflow.load().state
    _print_table(
        ("party", "name", "state", "version"),
        [(one.party, one.name, title(one.state).title, one.version or "") for one in found],
    )


@app.command("show")
def show(
    collection: str, year: int, who: As, of: Of = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Show one return: its state, its current version, its findings counted, and what may be done now."""

    async def ask(_: Settings, connection: Any) -> Summary:
        actor, found = await _seen(connection, collection, year, who, of)
        return await summaries.of(connection, actor, found)

    _print_summary(_run(data, ask), as_json)


@app.command("upload")
def upload(
    file: Path,
    collection: Annotated[str, typer.Option("--collection")],
    year: Annotated[int, typer.Option("--year")],
    who: As,
    of: Of = None,
    reason: Why = "",
    revision: Revision = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Check a file and make it the current version. Status 1 when it has errors; findings do not keep it out."""

    async def ask(chosen: Settings, connection: Any) -> Summary:
        actor, found = await _seen(connection, collection, year, who, of)
        done = await uploads.upload(chosen, connection, actor, found, file, revision=revision, reason=reason)
        return await summaries.of(connection, actor, done)

    shown = _run(data, ask)
    _print_summary(shown, as_json)
    raise typer.Exit(1 if shown.checks.errors else 0)


@app.command("make")
def make(
    collection: str,
    year: int,
    who: As,
    of: Of = None,
    reference_date: Annotated[
        datetime | None,
        typer.Option(
            "--reference-date",
            formats=_DAY,
            help="In place of the collection's own; the period moves with it.",
        ),
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--first", formats=_DAY, help="First day of the period.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--last", formats=_DAY, help="Last day of the period.")
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option("--known-at", help="As known then, such as 2026-10-02T12:00Z; otherwise now."),
    ] = None,
    reason: Why = "",
    revision: Revision = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make the return from the party's own record in the warehouse. Status 1 when it has errors."""
    if (first is None) != (last is None):
        raise typer.BadParameter("--first and --last belong together", param_hint="--first")
    period = Period(first.date(), last.date()) if first and last else None
    reference = reference_date.date() if reference_date else None
    moment = _moment(known_at)

    async def ask(chosen: Settings, connection: Any) -> Summary:
        actor, found = await _seen(connection, collection, year, who, of)
        done = await live.make(
            chosen, connection, actor, found, reference=reference, period=period, known_at=moment, revision=revision,
            reason=reason,
        )  # fmt: skip
        return await summaries.of(connection, actor, done)

    shown = _run(data, ask)
    _print_summary(shown, as_json)
    raise typer.Exit(1 if shown.checks.errors else 0)


@app.command("findings")
def findings(
    collection: str,
    year: int,
    who: As,
    of: Of = None,
    rule: Annotated[str | None, typer.Option("--rule", help="Only of this rule.")] = None,
    unanswered: Annotated[bool, typer.Option("--open", help="Only those without an answer.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the findings of the current version with what is said of them."""

    async def ask(_: Settings, connection: Any) -> list[store.Finding]:
        found = (await _seen(connection, collection, year, who, of))[1]
        return await store.findings(connection, found, rule=rule, limit=100_000)

    found = _run(data, ask)
    if unanswered:
        found = [one for one in found if not one.is_ok and not one.note_counts]
    if as_json:
        _print_json(found)
        return
    _print_table(
        ("number", "rule", "severity", "where", "message", "answer"),
        [
            (one.number, one.rule, one.severity, one.locations[0]["path"], one.message, _answer(one))
            for one in found
        ],
    )


@app.command("note")
def note(
    collection: str,
    year: int,
    who: As,
    number: Annotated[
        list[int], typer.Option("--finding", help="Number of a finding; may be repeated.")
    ] = [],  # noqa: B006
    rule: Annotated[str | None, typer.Option("--rule", help="All open findings of this rule.")] = None,
    text: Annotated[str, typer.Option("--text", help="The reason; without it: confirmed as correct.")] = "",
    of: Of = None,
    revision: Revision = None,
    data: Data = None,
) -> None:
    """Answer queries: with a reason, or (where the rule allows it) as confirmed."""
    _say(data, collection, year, who, of, Asked(tuple(number), (), rule), text, revision, ok=False)


@app.command("ok")
def ok(
    collection: str,
    year: int,
    who: As,
    number: Annotated[
        list[int], typer.Option("--finding", help="Number of a finding; may be repeated.")
    ] = [],  # noqa: B006
    rule: Annotated[str | None, typer.Option("--rule", help="All open findings of this rule.")] = None,
    text: Annotated[str, typer.Option("--text", help="Why.")] = "",
    of: Of = None,
    revision: Revision = None,
    data: Data = None,
) -> None:
    """Accept findings as they are (approver or collector); they are counted apart from then on."""
    _say(data, collection, year, who, of, Asked(tuple(number), (), rule), text, revision, ok=True)


@app.command("submit")
def submit(
    collection: str,
    year: int,
    who: As,
    of: Of = None,
    reason: Why = "",
    revision: Revision = None,
    data: Data = None,
) -> None:
    """Submit a return; an authority may do it for its school (`--of`)."""
    _step(data, collection, year, who, of, "submit", reason, revision)


@app.command("approve")
def approve(
    collection: str,
    year: int,
    who: As,
    of: Of = None,
    reason: Why = "",
    revision: Revision = None,
    data: Data = None,
) -> None:
    """Approve a submitted return, as its authority."""
    _step(data, collection, year, who, of, "approve", reason, revision)


@app.command("reject")
def reject(
    collection: str,
    year: int,
    who: As,
    reason: Why,
    of: Of = None,
    revision: Revision = None,
    data: Data = None,
) -> None:
    """Send a return back, as its authority or as the collector, with the reason."""
    _step(data, collection, year, who, of, "reject", reason, revision)


@app.command("authorise")
def authorise(
    collection: str, year: int, of: Of, who: As = parties.COLLECTOR, reason: Why = "", revision: Revision = None,
    data: Data = None,
) -> None:  # fmt: skip
    """Authorise a return, as the collector: from then on it is frozen."""
    _step(data, collection, year, who, of, "authorise", reason, revision)


@app.command("history")
def history(
    collection: str, year: int, who: As, of: Of = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Show every step, version and note of a return, oldest first."""

    async def ask(_: Settings, connection: Any) -> dict[str, Any]:
        found = (await _seen(connection, collection, year, who, of))[1]
        return {
            "steps": await store.steps(connection, found),
            "versions": await store.versions(connection, found),
            "notes": await store.notes(connection, found),
        }

    found = _run(data, ask)
    if as_json:
        _print_json(found)
        return
    _print_table(
        ("at", "step", "from", "to", "version", "role", "who", "for", "reason"),
        [
            (f"{s.at:%Y-%m-%d %H:%M}", s.step, s.from_state, s.to_state, s.version, s.role, s.who, s.on_behalf_of, s.reason)
            for s in found["steps"]
        ],
    )  # fmt: skip
    _print_table(
        ("version", "kind", "file", "records", "errors", "queries", "told"),
        [(v.number, v.kind, v.file_name, v.records, v.errors, v.queries, v.told) for v in found["versions"]],
    )
    _print_table(
        ("at", "version", "kind", "note", "role", "still found"),
        [
            (f"{n.at:%Y-%m-%d %H:%M}", n.version, n.kind, n.note, n.role, "yes" if n.found else "no")
            for n in found["notes"]
        ],
    )


@app.command("compare")
def compare(
    collection: str, year: int, who: As, of: Of = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Hold a return against the sender's last one: rows of each module, findings of each rule."""

    async def ask(_: Settings, connection: Any) -> comparison.Comparison:
        found = (await _seen(connection, collection, year, who, of))[1]
        return await comparison.with_last(connection, found)

    found = _run(data, ask)
    if as_json:
        _print_json(found)
        return
    lines = [
        ("records", found.records),
        *(("module", one) for one in found.modules),
        *(("rule", one) for one in found.rules),
    ]
    _print_table(
        ("what", "name", str(found.last_year), str(year), "difference"),
        [(what, one.name, one.last, one.now, f"{one.now - one.last:+,}") for what, one in lines],
    )


@app.command("duplicates")
def duplicates(collection: str, year: int, data: Data = None, as_json: AsJson = False) -> None:
    """List pupils whom more than one return claims, for the collector. The output is personal."""
    found = _run(data, lambda chosen, connection: comparison.duplicates(chosen, connection, collection, year))
    if as_json:
        _print_json(found)
        return
    _print_table(("UPN", "returns"), [(one.upn, ", ".join(one.names)) for one in found])


@app.command("reminders")
def remind(data: Data = None) -> None:
    """Note the reminders that are due today; the worker posts them, each once."""
    new = _run(data, lambda _, connection: reminders.note(connection))
    typer.echo(f"{new:,} new reminder{'s' * (new != 1)}.")


@app.command("local-rules")
def add_local_rules(
    file: Annotated[Path, typer.Argument(help="Rules as in a collection's rules.yaml.")],
    collection: Annotated[str, typer.Option("--collection")],
    year: Annotated[int, typer.Option("--year", help="The year against which they are proved.")],
    who: As,
    drop: Annotated[bool, typer.Option("--drop", help="Take the rules of this file's name away.")] = False,
    data: Data = None,
) -> None:
    """Take an authority's own rules for its schools' returns; the same file name replaces the older one."""

    async def act(chosen: Settings, connection: Any) -> str:
        authority = await parties.party_of(connection, who)
        if drop:
            gone = await local_rules.drop(connection, authority, collection, file.stem)
            return "Taken away." if gone else "There are no such rules."
        by = parties.COMMAND_LINE
        count = await local_rules.add(chosen, connection, authority, collection, year, file, by)
        return f"{count:,} rule{'s' * (count != 1)} taken; they run with the next version of each return."

    typer.echo(_run(data, act))


@app.command("prove")
def prove(collection: str, year: int, of: Of, who: As = parties.COLLECTOR, data: Data = None) -> None:
    """Read an authorised return's frozen tables again and compare them with their digest."""

    async def ask(chosen: Settings, connection: Any) -> freeze.Frozen:
        found = (await _seen(connection, collection, year, who, of))[1]
        return await freeze.prove(chosen, connection, found)

    found = _run(data, ask)
    typer.echo(f"Version {found.version} is what was authorised ({found.content}), in {found.folder}.")


async def _seen(
    connection: Any, collection: str, year: int, who: str, of: str | None
) -> tuple[Actor, Return]:
    actor = await parties.named(connection, who)
    party = await parties.party_of(connection, of) if of else actor.party
    if party is None:
        raise typer.BadParameter("say whose return it is", param_hint="--of")
    return actor, await steps.seen(connection, actor, collection, year, party)


def _step(
    data: Path | None, collection: str, year: int, who: str, of: str | None, step: str, reason: str, revision: int | None
) -> None:  # fmt: skip
    async def act(chosen: Settings, connection: Any) -> Return:
        actor, found = await _seen(connection, collection, year, who, of)
        return await steps.take(connection, chosen, found, actor, step, reason=reason, revision=revision)

    done = _run(data, act)
    typer.echo(
        f"{done.name or done.party}: {workflow.load().state(done.state).title} (revision {done.revision})."
    )


def _say(
    data: Path | None, collection: str, year: int, who: str, of: str | None, asked: Asked, text: str,
    revision: int | None, *, ok: bool,
) -> None:  # fmt: skip
    async def act(_: Settings, connection: Any) -> int:
        actor, found = await _seen(connection, collection, year, who, of)
        return await steps.note(connection, found, actor, asked, text=text, ok=ok, revision=revision)

    count = _run(data, act)
    typer.echo(f"{count:,} finding{'s' if count > 1 else ''} {'accepted' if ok else 'answered'}.")


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(
            "write a time with its zone, such as 2026-10-02T12:00Z", param_hint="--known-at"
        )
    return moment


def _run(data: Path | None, ask: Callable[[Settings, Any], Awaitable[T]]) -> T:
    async def asked() -> T:
        chosen = settings.load(data)
        async with opened(chosen, new=False) as connection:
            return await ask(chosen, connection)

    return asyncio.run(asked())


def _answer(one: store.Finding) -> str:
    if one.is_ok:
        return "OK"
    if one.note_kind is None:
        return ""
    note = one.note or "confirmed as correct"
    return note if one.note_counts else f"{note} (of an earlier version)"


def _print_summary(shown: Summary, as_json: bool) -> None:
    if as_json:
        _print_json(shown)
        return
    found, checks, version = shown.found, shown.checks, shown.version
    typer.echo(f"{found.name or found.party}, {found.collection} {found.year}: {shown.state}")
    if version is not None:
        typer.echo(
            f"Version {version.number} ({version.file_name or version.kind}), {version.records:,} records."
        )
    typer.echo(
        f"{checks.errors:,} errors; queries: {checks.open:,} open ({checks.earlier:,} with a note of an earlier version), "
        f"{checks.with_note:,} with a note; {checks.ok:,} OK'd; the authority's own rules: {checks.local_errors:,} errors, "
        f"{checks.local_open:,} open queries."
    )
    typer.echo(f"Revision {found.revision}. You may: {', '.join(shown.steps) or 'nothing now'}.")


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 200, markup=False, highlight=False).print(table)


def _print_json(value: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value, enc_hook=str) + b"\n")
