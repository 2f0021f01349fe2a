"""Commands beside the way of a return: comparison, duplicates, reminders, local rules, mandates, proof of what is frozen."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from commonroom.returns import comparison, freeze, live, local_rules, mandates, parties, reminders, store
from commonroom.returns.command_line import As, AsJson, Data, Of, Why, app, print_json, print_table, run, seen
from commonroom.settings import Settings


@app.command("compare")
def compare(
    collection: str, year: int, who: As, of: Of = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Hold a return against the sender's last one: rows of each module, findings of each rule."""

    async def ask(_: Settings, connection: Any) -> comparison.Comparison:
        found = (await seen(connection, collection, year, who, of))[1]
        return await comparison.with_last(connection, found)

    found = run(data, ask)
    if as_json:
        print_json(found)
        return
    lines = [
        ("records", found.records),
        *(("module", one) for one in found.modules),
        *(("rule", one) for one in found.rules),
    ]
    print_table(
        ("what", "name", str(found.last_year), str(year), "difference"),
        [(what, one.name, one.last, one.now, f"{one.now - one.last:+,}") for what, one in lines],
    )


@app.command("duplicates")
def duplicates(collection: str, year: int, data: Data = None, as_json: AsJson = False) -> None:
    """List pupils whom more than one return claims, for the collector. The output is personal."""
    found = run(data, lambda chosen, connection: comparison.duplicates(chosen, connection, collection, year))
    if as_json:
        print_json(found)
        return
    print_table(("UPN", "returns"), [(one.upn, ", ".join(one.names)) for one in found])


@app.command("reminders")
def remind(data: Data = None) -> None:
    """Note the reminders that are due today; the worker posts them, each once."""
    new = run(data, lambda _, connection: reminders.note(connection))
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

    typer.echo(run(data, act))


@app.command("prove")
def prove(
    collection: str,
    year: int,
    of: Of,
    who: As = parties.COLLECTOR,
    again: Annotated[
        bool, typer.Option("--again", help="Also make it again from the record as it was known at its time.")
    ] = False,
    data: Data = None,
) -> None:
    """Read an authorised return's frozen tables again and compare their digest. Status 1 where `--again` differs."""

    async def ask(chosen: Settings, connection: Any) -> tuple[freeze.Frozen, str | None]:
        found = (await seen(connection, collection, year, who, of))[1]
        kept = await freeze.prove(chosen, connection, found)
        if not again:
            return kept, None
        version = await store.version(connection, found)
        return kept, await live.made_again(chosen, connection, found, version)

    kept, digest = run(data, ask)
    typer.echo(f"Version {kept.version} is what was authorised ({kept.content}), in {kept.folder}.")
    if digest is None:
        return
    if digest != kept.content:
        typer.echo(f"Made again from the record it is another ({digest}).")
        raise typer.Exit(1)
    typer.echo("Made again from the record it is the same.")


mandate = typer.Typer(no_args_is_help=True, help="Who may send whose returns: a school lets its authority.")
app.add_typer(mandate, name="mandate")
To = Annotated[str, typer.Option("--to", help="The authority that may speak for who acts.")]
Day = ["%Y-%m-%d"]


@mandate.command("give")
def give_mandate(
    who: As,
    to: To,
    collection: Annotated[str | None, typer.Option("--collection", help="Without it: all.")] = None,
    first: Annotated[datetime | None, typer.Option("--first", formats=Day, help="Without it: today.")] = None,
    last: Annotated[
        datetime | None, typer.Option("--last", formats=Day, help="Without it: until ended.")
    ] = None,
    reason: Why = "",
    data: Data = None,
) -> None:
    """Let an authority send the returns of the school that acts."""

    async def act(_: Settings, connection: Any) -> None:
        party, agent = await parties.party_of(connection, who), await parties.party_of(connection, to)
        await mandates.give(
            connection, party, agent, collection=collection, first=first.date() if first else None,
            last=last.date() if last else None, reason=reason, who=parties.COMMAND_LINE,
        )  # fmt: skip

    run(data, act)
    typer.echo("Given.")


@mandate.command("end")
def end_mandate(
    who: As,
    to: To,
    collection: Annotated[str | None, typer.Option("--collection", help="As it was given.")] = None,
    last: Annotated[
        datetime | None, typer.Option("--last", formats=Day, help="Its last day; without it, yesterday.")
    ] = None,
    data: Data = None,
) -> None:
    """Let a mandate end."""

    async def act(_: Settings, connection: Any) -> int:
        party, agent = await parties.party_of(connection, who), await parties.party_of(connection, to)
        day = last.date() if last else None
        return await mandates.end(connection, party, agent, collection=collection, last=day)

    typer.echo(f"{run(data, act):,} ended.")


@mandate.command("list")
def list_mandates(
    who: Annotated[str | None, typer.Option("--as", help="Only those given by or to this party.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the mandates, those that have ended among them."""

    async def ask(_: Settings, connection: Any) -> list[mandates.Mandate]:
        return await mandates.listed(connection, await parties.party_of(connection, who) if who else None)

    found = run(data, ask)
    if as_json:
        print_json(found)
        return
    print_table(
        ("of", "to", "collection", "from", "to day", "reason"),
        [
            (one.party, one.agent, one.collection or "all", one.from_day, one.to_day, one.reason)
            for one in found
        ],
    )
