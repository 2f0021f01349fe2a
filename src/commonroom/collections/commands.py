"""`commonroom collections`: look at the collections, run the examples of their rules. Thin: parse, call, print."""

from __future__ import annotations

from typing import Annotated

import typer

from commonroom.collections import loader

app = typer.Typer(no_args_is_help=True, help="Collections: returns as data, and their rules.")

Rule = Annotated[str | None, typer.Option("--rule", help="Only this rule.")]


@app.command("examples")
def examples(name: str, year: int, rule: Rule = None) -> None:
    """Run the examples of every rule; status 1 where one does not come out as it says."""
    from commonroom.collections.engine import Engine
    from commonroom.collections.examples import Examples

    collection = loader.load(name, year)
    engine = Engine(collection)
    engine.prove()
    runner = Examples(engine)
    failures = runner.failures(None if rule is None else [rule])
    for failure in failures:
        typer.echo(f"rule {failure.rule}, example {failure.index}: {failure.detail}")
    asked = list(collection.rules.values()) if rule is None else [collection.rules[rule]]
    total = sum(len(one.examples) for one in asked)
    typer.echo(f"{len(asked)} rules, {total} examples, {len(failures)} do not come out as they say.")
    if failures:
        raise typer.Exit(1)
