"""The way of a return on the command line: open, load, look, answer, submit, approve, reject, authorise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from commonroom.collections.model import Period
from commonroom.returns import live, parties, steps, store, summaries, uploads, workflow
from commonroom.returns.command_line import (
    As,
    AsJson,
    Data,
    Of,
    Revision,
    Why,
    app,
    print_json,
    print_table,
    run,
    seen,
)
from commonroom.returns.steps import Asked
from commonroom.returns.store import Return
from commonroom.returns.summaries import Summary
from commonroom.settings import Settings

_DAY = ["%Y-%m-%d"]


@app.command("open")
def open_collection(collection: str, year: int, data: Data = None) -> None:
    """Expect a return of every party that owes one. Safe to repeat: new parties are added."""
    new = run(data, lambda _, connection: steps.open_collection(connection, collection, year))
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

    found = [one for one in run(data, ask) if state in (None, one.state)]
    if as_json:
        print_json(found)
        return
    title = workflow.load().state
    print_table(
        ("party", "name", "state", "version"),
        [(one.party, one.name, title(one.state).title, one.version or "") for one in found],
    )


@app.command("show")
def show(
    collection: str, year: int, who: As, of: Of = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Show one return: its state, its current version, its findings counted, and what may be done now."""

    async def ask(_: Settings, connection: Any) -> Summary:
        actor, found = await seen(connection, collection, year, who, of)
        return await summaries.of(connection, actor, found)

    _print_summary(run(data, ask), as_json)


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
        actor, found = await seen(connection, collection, year, who, of)
        done = await uploads.upload(chosen, connection, actor, found, file, revision=revision, reason=reason)
        return await summaries.of(connection, actor, done)

    shown = run(data, ask)
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
        actor, found = await seen(connection, collection, year, who, of)
        done = await live.make(
            chosen, connection, actor, found, reference=reference, period=period, known_at=moment, revision=revision,
            reason=reason,
        )  # fmt: skip
        return await summaries.of(connection, actor, done)

    shown = run(data, ask)
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
        found = (await seen(connection, collection, year, who, of))[1]
        return await store.findings(connection, found, rule=rule, limit=100_000)

    found = run(data, ask)
    if unanswered:
        found = [one for one in found if not one.is_ok and not one.note_counts]
    if as_json:
        print_json(found)
        return
    print_table(
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
        found = (await seen(connection, collection, year, who, of))[1]
        return {
            "steps": await store.steps(connection, found),
            "versions": await store.versions(connection, found),
            "notes": await store.notes(connection, found),
        }

    found = run(data, ask)
    if as_json:
        print_json(found)
        return
    print_table(
        ("at", "step", "from", "to", "version", "role", "who", "for", "reason"),
        [
            (f"{s.at:%Y-%m-%d %H:%M}", s.step, s.from_state, s.to_state, s.version, s.role, s.who, s.on_behalf_of, s.reason)
            for s in found["steps"]
        ],
    )  # fmt: skip
    print_table(
        ("version", "kind", "file", "records", "errors", "queries", "told"),
        [(v.number, v.kind, v.file_name, v.records, v.errors, v.queries, v.told) for v in found["versions"]],
    )
    print_table(
        ("at", "version", "kind", "note", "role", "still found"),
        [
            (f"{n.at:%Y-%m-%d %H:%M}", n.version, n.kind, n.note, n.role, "yes" if n.found else "no")
            for n in found["notes"]
        ],
    )


def _step(
    data: Path | None, collection: str, year: int, who: str, of: str | None, step: str, reason: str, revision: int | None
) -> None:  # fmt: skip
    async def act(chosen: Settings, connection: Any) -> Return:
        actor, found = await seen(connection, collection, year, who, of)
        return await steps.take(connection, chosen, found, actor, step, reason=reason, revision=revision)

    done = run(data, act)
    typer.echo(
        f"{done.name or done.party}: {workflow.load().state(done.state).title} (revision {done.revision})."
    )


def _say(
    data: Path | None, collection: str, year: int, who: str, of: str | None, asked: Asked, text: str,
    revision: int | None, *, ok: bool,
) -> None:  # fmt: skip
    async def act(_: Settings, connection: Any) -> int:
        actor, found = await seen(connection, collection, year, who, of)
        return await steps.note(connection, found, actor, asked, text=text, ok=ok, revision=revision)

    count = run(data, act)
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


def _answer(one: store.Finding) -> str:
    if one.is_ok:
        return "OK"
    if one.note_kind is None:
        return ""
    note = one.note or "confirmed as correct"
    return note if one.note_counts else f"{note} (of an earlier version)"


def _print_summary(shown: Summary, as_json: bool) -> None:
    if as_json:
        print_json(shown)
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
