"""The `commonroom` command: one group per room. No logic lives here; each room's `commands.py` parses and prints."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from commonroom.problems import Problem

# Group: (module whose `app` it is, what it is for). A group's room is imported only when it is asked for,
# so that the base install, which has no database library, still runs `commonroom agent`.
GROUPS: dict[str, tuple[str, str]] = {
    "agent": ("commonroom.agent.commands", "an end point's agent: watch a school system, send, load"),
    "standard": ("commonroom.standard.commands", "the common language: entities, code sets, checks"),
    "collections": ("commonroom.collections.commands", "returns as data: list, show, rules, examples"),
    "ctf": ("commonroom.collections.ctf_commands", "common transfer files: read, write"),
    "hub": ("commonroom.hub.commands", "the data exchange: movements, enrolment codes, traffic"),
    "ledger": ("commonroom.hub.ledger_commands", "the tamper-evident ledger: export, verify"),
    "providers": ("commonroom.registers.commands", "the register of providers: load, find, show"),
    "learners": (
        "commonroom.registers.learners.commands",
        "the register of learners: numbers, files, review",
    ),
    "returns": (
        "commonroom.returns.commands",
        "who owes what to a collection: versions, notes, submit, approve",
    ),
    "extracts": ("commonroom.warehouse.extracts.commands", "frozen copies: request, approve, freeze, verify"),
    "publish": ("commonroom.warehouse.published.commands", "published statistics: load, look at, export"),
    "warehouse": ("commonroom.warehouse.commands", "the warehouse: status, measures"),
    "sandbox": ("commonroom.sandbox.commands", "a hub to try on: partners, a movable clock, faults"),
    "conformance": ("commonroom.sandbox.conformance_commands", "try an end point against a sandbox"),
}

# What checking a return needs; the extra `server` has these too.
RULES_LIBRARIES = ("duckdb", "lxml", "pyarrow", "sqlglot")

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder.", envvar="COMMONROOM_DATA", show_default=False)
]


def main() -> None:
    """Run the command; a problem is printed in words and ends with status 2."""
    try:
        _build(sys.argv[1:])()
    except Problem as problem:
        typer.secho(str(problem), err=True, fg="red")
        sys.exit(2)
    except ConnectionRefusedError:
        said = "CR-003 The database does not answer. Is it running? `commonroom serve`, `sandbox` and `demo` start one."
        typer.secho(said, err=True, fg="red")
        sys.exit(2)
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("commonroom"):
            raise
        extra = "rules" if error.name in RULES_LIBRARIES else "server"
        typer.secho(f"This command needs {error.name}: install commonroom[{extra}].", err=True, fg="red")
        sys.exit(2)


def _build(arguments: list[str]) -> typer.Typer:
    app = typer.Typer(
        name="commonroom", help=__doc__.splitlines()[0], no_args_is_help=True, add_completion=False
    )
    app.callback()(_options)
    asked = next((word for word in arguments if not word.startswith("-")), "")
    for name, (module, purpose) in GROUPS.items():
        room = importlib.import_module(module).app if name == asked else typer.Typer()
        app.add_typer(room, name=name, help=purpose)
    app.command("check")(_check)
    _add_measures(app, asked, arguments)
    app.command("demo")(_demo)
    app.command("serve")(_serve)
    app.command("run")(_run)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("commonroom"))
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of the command itself."""


def _add_measures(app: typer.Typer, asked: str, arguments: list[str]) -> None:
    """`commonroom measure NAME`; with define, list, show or delete in the place of the name, an organisation's own."""
    words = [word for word in arguments if not word.startswith("-")]
    if asked == "measure" and words[1:2] and words[1] in ("define", "list", "show", "delete"):
        from commonroom.warehouse.own_commands import app as own

        app.add_typer(own, name="measure")
        return
    said = (
        "Print the published figures of one measure. `measure list` prints the measures that there are; `measure define`, "
        "`list`, `show` and `delete` with `--party` are for measures of an organisation's own (each has its `--help`)."
    )
    app.command("measure", help=said)(_measure(asked))


def _measure(asked: str) -> Callable[..., None]:
    """`commonroom warehouse measure` by a shorter name; the warehouse is loaded only when it is asked for."""
    if asked != "measure":
        return lambda: None
    from commonroom.warehouse.commands import measure

    return measure


def _check(
    file: Annotated[Path, typer.Argument(help="XML, flat CSV, or a folder of CSV files.")],
    collection: Annotated[str, typer.Option(help="The collection, such as cin.")],
    year: Annotated[int | None, typer.Option(help="Its year; without it the newest.")] = None,
    last: Annotated[Path | None, typer.Option(help="The sender's previous return, to compare with.")] = None,
    local: Annotated[list[Path] | None, typer.Option(help="A file of further rules of one's own.")] = None,
    form: Annotated[
        Literal["json", "table", "csv"], typer.Option("--format", help="What is printed.")
    ] = "table",
    schema: Annotated[
        bool, typer.Option("--schema", help="Hold an XML file against the collection's schema too.")
    ] = False,
) -> None:
    """Check a return against its collection. Status 1 where there are errors, 2 where it cannot be read."""
    from commonroom.collections.commands import check

    raise typer.Exit(check(file, collection, year, last, local or [], form, schema))


def _demo(
    data: Data = None,
    register: Annotated[
        Path | None, typer.Option(help="A register file (GIAS extract): use the real schools of --la.")
    ] = None,
    la: Annotated[str | None, typer.Option(help="With --register: the LA's three-digit code.")] = None,
    pupils: Annotated[int, typer.Option(min=100, max=500_000, help="How many pupils to invent.")] = 6_000,
    seed: Annotated[int, typer.Option(help="Same seed, same county.")] = 1,
    days: Annotated[
        int | None, typer.Option(min=1, help="School days to pass (without it: no end, headless 5).")
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="No waiting, no portal; reconcile and end.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="With --headless: one JSON object.")] = False,
    pause: Annotated[float, typer.Option(min=0, help="Seconds between days while you watch.")] = 20.0,
    late: Annotated[
        int,
        typer.Option(
            min=0,
            max=90,
            help="Of a hundred pupils' days, how many are corrected, struck out or entered late.",
        ),
    ] = 0,
) -> None:
    """Run an invented county: schools, their systems, agents, the hub, the warehouse, the portal."""
    from commonroom.demo import Plan, run_headless, run_watched

    plan = Plan(register=register, la=la, pupils=pupils, seed=seed, days=days, pause=pause, late=late)
    if json_output and not headless:
        raise typer.BadParameter("--json goes with --headless")
    if headless:
        raise typer.Exit(run_headless(plan, data, as_json=json_output))
    run_watched(plan, data)


def _serve(data: Data = None) -> None:
    """Run hub, portal and worker, with a PostgreSQL of our own unless COMMONROOM_DATABASE names one."""
    from commonroom import log, settings, supervisor

    chosen = settings.load(data)
    log.configure("supervisor", chosen.log_level)
    supervisor.stop_on_signals()
    supervisor.hold_shared_port(chosen)
    with supervisor.Supervisor(chosen) as processes:
        for child in (*supervisor.hubs(chosen), supervisor.PORTAL, supervisor.WORKER):
            processes.start(child)
        typer.echo(f"Portal {chosen.portal_url}   hub {chosen.hub_url}   data {chosen.data}")
        processes.wait()


def _run(
    room: Annotated[Literal["hub", "portal", "worker", "agents"], typer.Argument()], data: Data = None
) -> None:
    """Run one room as its own process, as `serve` does for all."""
    from commonroom import log, processes, settings, supervisor

    chosen = settings.load(data)
    log.configure(room, chosen.log_level)
    supervisor.follow_parent()
    os.umask(0o077)
    processes.ENTRIES[room](chosen)
