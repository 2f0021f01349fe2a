"""`commonroom learners` for the clerk of the register: review, merge and unmerge, look for doubles, count names."""

from __future__ import annotations

from typing import Annotated, Any, cast
from uuid import UUID

import typer

from commonroom.registers.learners.command_line import AsJson, Data, caller, print_json, print_table, run
from commonroom.settings import Settings

app = typer.Typer()
review = typer.Typer(help="Cases that a clerk decides.", no_args_is_help=True)
app.add_typer(review, name="review")


@review.command("list")
def review_list(
    clerk: Annotated[
        str, typer.Option("--clerk", help="Who sits there; cases one has decided are left out.")
    ] = "clerk",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the cases that wait, the oldest first."""
    from commonroom.registers.learners import store

    async def ask(chosen: Settings, conn: Any) -> Any:
        return await store.review_list(
            conn, await caller(conn, None, "register_upkeep", role="clerk", person=clerk)
        )

    found = run(data, ask)
    if as_json:
        print_json(found)
        return
    rows = [
        (one.id, one.kind, f"{one.opened_at:%Y-%m-%d %H:%M}", one.guard, len(one.candidates), one.clerks)
        for one in found
    ]
    print_table(("case", "kind", "opened", "guard", "candidates", "clerks"), rows)


@review.command("decide")
def review_decide(
    case: Annotated[UUID, typer.Argument(help="The case.")],
    verdict: Annotated[str, typer.Argument(help="same, different or cannot_tell.")],
    clerk: Annotated[str, typer.Option("--clerk", help="Who decides: of twins two different clerks must.")],
    person: Annotated[
        UUID | None, typer.Option("--person", help="Which candidate, where there are several.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Decide a case."""
    from commonroom.registers.learners import store
    from commonroom.registers.learners.numbers import Numbers
    from commonroom.registers.learners.store.values import Verdict

    if verdict not in ("same", "different", "cannot_tell"):
        raise typer.BadParameter("a verdict is same, different or cannot_tell")

    async def ask(chosen: Settings, conn: Any) -> Any:
        who = await caller(conn, None, "register_upkeep", role="clerk", person=clerk)
        return await store.decide_case(conn, who, case, cast(Verdict, verdict), Numbers.of(chosen), person)

    done = run(data, ask)
    if as_json:
        print_json(done)
    else:
        typer.echo(
            f"Closed{f': {done.uln}' if done.uln else ''}." if done.closed else "Another clerk must agree."
        )


@app.command("merge")
def merge(
    master: Annotated[str, typer.Argument(help="The number that stays.")],
    linked: Annotated[str, typer.Argument(help="The number that will stand for it.")],
    clerk: Annotated[str, typer.Option("--clerk", help="Who decides.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make two numbers of one person one. Of what looks like twins another clerk must say the same."""
    from commonroom.registers.learners import store
    from commonroom.registers.learners.numbers import Numbers

    async def ask(chosen: Settings, conn: Any) -> Any:
        who = await caller(conn, None, "register_upkeep", role="clerk", person=clerk)
        return await store.join(conn, who, master, linked, Numbers.of(chosen))

    done = run(data, ask)
    if as_json:
        print_json(done)
    elif done.merge is None:
        typer.echo(f"Another clerk must agree: case {done.case}.")
    else:
        typer.echo(f"{done.linked} stands for {done.master}: merge {done.merge}.")


@app.command("unmerge")
def unmerge(
    merge: Annotated[UUID, typer.Argument(help="The merge; `merges` lists those of a number.")],
    clerk: Annotated[str, typer.Option("--clerk", help="Who decides.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Undo a merge: every answer is as it was before."""
    from commonroom.registers.learners import store

    async def ask(chosen: Settings, conn: Any) -> Any:
        who = await caller(conn, None, "register_upkeep", role="clerk", person=clerk)
        return await store.unmerge(conn, who, merge)

    done = run(data, ask)
    if as_json:
        print_json(done)
    else:
        typer.echo(f"{done.master} and {done.linked} are two again.")


@app.command("merges")
def merges(uln: str, data: Data = None, as_json: AsJson = False) -> None:
    """List the merges that a number had part in, newest first."""
    from commonroom.registers.learners import store

    async def ask(chosen: Settings, conn: Any) -> Any:
        return await store.merges(conn, await caller(conn, None, "register_upkeep", role="clerk"), uln)

    found = run(data, ask)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.merge,
            one.master,
            " ".join(one.linked),
            f"{one.at:%Y-%m-%d %H:%M}",
            one.decided_by,
            one.undone_by,
        )
        for one in found
    ]
    print_table(("merge", "master", "linked", "at", "decided by", "undone by"), rows)


@app.command("dedupe")
def dedupe(
    only_look: Annotated[bool, typer.Option("--only-look", help="Open cases and merge nothing.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Look through the whole register for persons with two numbers."""
    from commonroom.registers.learners import store

    async def ask(chosen: Settings, conn: Any) -> Any:
        who = await caller(conn, None, "register_upkeep", role="clerk")
        return await store.dedupe(conn, who, merge=not only_look)

    done = run(data, ask)
    if as_json:
        print_json(done)
    else:
        typer.echo(
            f"{done.persons:,} persons, {done.pairs:,} pairs: {done.merged:,} merged, {done.cases:,} for clerks."
        )


@app.command("count-names")
def count_names(data: Data = None, as_json: AsJson = False) -> None:
    """Count how often names are borne in the register, as it does each night: decisions weigh names by it."""
    from commonroom.registers.learners import store

    async def ask(chosen: Settings, conn: Any) -> Any:
        return await store.count_names(conn, await caller(conn, None, "register_upkeep", role="clerk"))

    done = run(data, ask)
    if as_json:
        print_json(done)
    else:
        typer.echo(
            f"{done.persons:,} persons: {done.given_names:,} given names, {done.family_names:,} family names, "
            f"{done.together:,} pairs of names that are borne together."
        )
