"""`commonroom agent ...`: run agents, try a look, see findings and outbox, enrol."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom import log, standard
from commonroom.agent import config as configuration
from commonroom.agent import outbox as letters_out
from commonroom.agent import recall, runner
from commonroom.agent.config import Config
from commonroom.agent.enrolment import remembered_or_new
from commonroom.agent.look import Looker, Outcome
from commonroom.agent.losses import accept_losses
from commonroom.agent.memory import Memory
from commonroom.exchange import Unreachable, decode
from commonroom.problems import Problem

app = typer.Typer(help="An end point's agent: watch a school system, send, load.", no_args_is_help=True)

ConfigFile = Annotated[Path, typer.Argument(help="The agent's configuration (YAML).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    configs: Annotated[list[Path] | None, typer.Argument(help="Configurations; one agent each.")] = None,
    every: Annotated[Path | None, typer.Option("--all", help="Run every FOLDER/*/agent.yaml.")] = None,
) -> None:
    """Watch, send and load until stopped (Ctrl-C or SIGTERM)."""
    log.configure("agent")
    paths = [*(configs or []), *(configuration.find_all(every) if every else [])]
    if not paths:
        raise Problem("CR-070", "no configuration was named", remedy="Name a file, or --all FOLDER.")
    problems = runner.run(paths)
    for problem in problems:
        typer.secho(str(problem), err=True, fg="red")
    if problems:
        raise typer.Exit(2)


@app.command()
def look(
    config: ConfigFile,
    as_json: AsJson = False,
    records: Annotated[bool, typer.Option("--records", help="Show the records too (personal data).")] = False,
    accept: Annotated[
        bool, typer.Option("--accept-withdrawals", help="Confirm that what vanished is really gone.")
    ] = False,
) -> None:
    """Look once and print what would be sent. Nothing is sent and, but for an acceptance, nothing remembered."""
    found = configuration.load(config)
    looker = Looker(found, standard.load())
    memory = Memory.copy_of(found.memory_file)
    try:
        outcome = looker.look(memory)
        if accept and outcome.held_back:
            _accept(found, outcome.held_back)
            memory.close()
            memory = Memory.copy_of(found.memory_file)
            outcome = looker.look(memory)
    finally:
        looker.close()
        memory.close()
    if as_json:
        typer.echo(msgspec.json.encode(_as_json(outcome, records)).decode())
        return
    table = Table("entity", "rows", "new", "corrected", "withdrawn")
    for one in outcome.entities:
        table.add_row(one.entity, *(str(n) for n in (one.rows, one.new, one.corrected, one.withdrawn)))
    Console().print(table)
    typer.echo(f"{len(outcome.letters)} letters would be sent; {len(outcome.findings)} findings")
    for finding in outcome.findings:
        typer.echo(finding.line())
    if records:
        for letter in outcome.letters:
            typer.echo(msgspec.json.encode(decode(letter.body, letter.datacontenttype)).decode())


@app.command()
def findings(config: ConfigFile, as_json: AsJson = False) -> None:
    """What could not be sent or loaded, and what to do about it."""
    memory = _memory(config)
    found = recall.findings(memory)
    memory.close()
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    for finding in found:
        typer.echo(finding.line())
    typer.echo(f"{len(found)} findings")


@app.command()
def outbox(
    config: ConfigFile,
    as_json: AsJson = False,
    state: Annotated[str, typer.Option(help="waiting, accepted or refused.")] = "",
    send_again: Annotated[
        bool, typer.Option("--send-again", help="Let refused and held letters go now.")
    ] = False,
) -> None:
    """The newest letters, what the hub said to them, and how they ended at each recipient."""
    memory = _memory(config)
    if send_again:
        typer.echo(f"{letters_out.send_again(memory)} letters go now", err=True)
    found = letters_out.listed(memory, state)
    memory.close()
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    table = Table("made at", "id", "type", "to", "records", "bytes", "state", "why", "reported")
    for line in found:
        numbers = (str(line.records), str(line.size))
        table.add_row(
            *(
                line.made_at,
                line.id,
                line.type,
                line.recipient or "",
                *numbers,
                line.state,
                line.problem or "",
            ),
            "\n".join(_in_words(fate) for fate in line.fates),
        )
    Console().print(table)


@app.command()
def enrol(config: ConfigFile) -> None:
    """Become known to the hub with the configuration's one-time code (`run` does this by itself)."""
    found = configuration.load(config)
    memory = Memory.open(found.memory_file)
    try:
        enrolment = asyncio.run(remembered_or_new(found, memory))
    except Unreachable as error:
        raise Problem(
            "CR-071",
            f"the hub cannot be reached ({error.reason})",
            where=found.hub,
            remedy="Try again later.",
        ) from error
    finally:
        memory.close()
    typer.echo(f"end point {enrolment.end_point} of {enrolment.party}")


@app.command("rotate-key")
def rotate_key(
    config: ConfigFile,
    retire_old: Annotated[
        bool, typer.Option("--retire-old", help="End the old key at once, when it may be known to others.")
    ] = False,
) -> None:
    """Sign in and sign with a new key from now on; the agent may be running. Repeat it after an interruption."""
    from commonroom.agent.rotation import rotated

    typer.echo(f"new key {asyncio.run(rotated(configuration.load(config), retire_old))}")


def _in_words(fate: letters_out.Fate) -> str:
    return f"{fate.recipient} {fate.state}" + (f": {fate.reason}" if fate.reason else "")


def _accept(config: Config, held_back: dict[str, int]) -> None:
    """Let the agent's next look withdraw what this one held back; the agent may be running."""
    memory = Memory.open(config.memory_file)
    accept_losses(memory, held_back)
    memory.close()
    for entity, keys in held_back.items():
        typer.echo(f"{entity}: the agent's next look withdraws {keys} records", err=True)


def _memory(config: Path) -> Memory:
    """The memory of a configuration; the agent may be running."""
    return Memory.open(configuration.load(config).memory_file)


def _as_json(outcome: Outcome, records: bool) -> dict[str, object]:
    found = [
        {
            "type": letter.type,
            "recipient": letter.recipient,
            "records": letter.records,
            "bytes": len(letter.body),
            **({"body": decode(letter.body, letter.datacontenttype)} if records else {}),
        }
        for letter in outcome.letters
    ]
    return {"entities": outcome.entities, "letters": found, "findings": outcome.findings}
