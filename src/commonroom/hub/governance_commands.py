"""`commonroom hub movements ...`: the steps of a movement's life from the command line, which acts as the operator.

`--as` says who: the operator's name or, for votes, the member's id in the governance policy. Both are kept with the step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings
from commonroom.problems import Problem

if TYPE_CHECKING:
    from commonroom.hub.agreements import Actor, Done, Proposal
    from commonroom.hub.group import Policy
    from commonroom.hub.movement_register import RegisteredMovement

app = typer.Typer()

Data = Annotated[Path | None, typer.Option("--data", help="The data folder; otherwise COMMONROOM_DATA.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
As = Annotated[
    str, typer.Option("--as", help="Your name, or the id of the member of the governance group who acts.")
]
Why = Annotated[str, typer.Option("--reason", help="Why; it is kept and, but for most votes, published.")]
Number = Annotated[int | None, typer.Option("--version", min=1, help="This version alone, before it begins.")]

MAX_NAME = 128
MIN_REASON, MAX_REASON = 3, 2000


@app.command("propose")
def propose(file: Path, who: As, data: Data = None) -> None:
    """Put a new movement before the governance group: FILE has `movement`, `criteria` and `reason`."""
    from commonroom.hub import agreements

    _step(data, who, lambda connection, _, actor: agreements.propose(connection, actor, _proposal(file)))


@app.command("amend")
def amend(file: Path, who: As, data: Data = None) -> None:
    """Put a new version of a movement before the group: FILE is as for `propose`."""
    from commonroom.hub import agreements

    _step(data, who, lambda connection, _, actor: agreements.amend(connection, actor, _proposal(file)))


@app.command("vote")
def vote(
    movement: str, choice: Literal["for", "against", "abstain"], who: As, reason: Why, data: Data = None
) -> None:
    """Record the vote that a member (`--as` its id) gave on what is before the group."""
    from commonroom.hub import agreements

    def cast(connection: Any, policy: Policy, actor: Actor) -> Awaitable[Done]:
        if policy.member(who) is None:
            raise _no_member(who, policy)
        return agreements.vote(connection, policy, actor, movement, choice, _reason(reason))

    _step(data, who, cast)


@app.command("decide")
def decide(
    movement: str, outcome: Literal["approved", "rejected"], who: As, reason: Why, data: Data = None
) -> None:
    """Record what the votes decide; another outcome than theirs is refused."""
    from commonroom.hub import agreements

    _step(
        data,
        who,
        lambda c, policy, actor: agreements.decide(c, policy, actor, movement, outcome, _reason(reason)),
    )


@app.command("suspend")
def suspend(movement: str, who: As, reason: Why, data: Data = None) -> None:
    """Stop a movement at once, until it is resumed."""
    from commonroom.hub import agreements

    _step(
        data,
        who,
        lambda connection, _, actor: agreements.suspend(connection, actor, movement, _reason(reason)),
    )


@app.command("resume")
def resume(movement: str, who: As, reason: Why, data: Data = None) -> None:
    """Let a suspended movement go on."""
    from commonroom.hub import agreements

    _step(
        data,
        who,
        lambda connection, _, actor: agreements.resume(connection, actor, movement, _reason(reason)),
    )


@app.command("withdraw")
def withdraw(movement: str, who: As, reason: Why, version: Number = None, data: Data = None) -> None:
    """Take back the proposal that is before the group, or else end the movement, at once and for good."""
    from commonroom.hub import agreements

    _step(
        data,
        who,
        lambda connection, _, actor: agreements.withdraw(
            connection, actor, movement, _reason(reason), version
        ),
    )


@app.command("list")
def list_all(data: Data = None, as_json: AsJson = False) -> None:
    """All movements and proposals: who sends what to whom, why, how often, and how each stands."""
    from commonroom.hub.commands import with_connection

    found = with_connection(data, _all)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    table = Table(
        "id", "version", "stands as", "from", "to", "types", "purpose", "how often", "from day", "to day"
    )
    table.columns[0].no_wrap = True
    for entry in found:
        version = next(each for each in entry.versions if each.version == entry.version)
        movement = version.movement
        table.add_row(
            entry.id,
            str(entry.version),
            entry.standing,
            movement.sender.kind or movement.sender.party,
            "\n".join(movement.to),
            "\n".join(movement.types),
            movement.purpose,
            str(movement.frequency),
            str(movement.active_from),
            str(movement.active_to or ""),
        )
    Console().print(table)


@app.command("show")
def show(movement: str, data: Data = None) -> None:
    """A movement as the operator sees it, as JSON: every version with criteria and votes, and its history."""
    typer.echo(msgspec.json.format(msgspec.json.encode(_registered(data, movement))).decode())


@app.command("history")
def history(movement: str, data: Data = None, as_json: AsJson = False) -> None:
    """Everything that happened to a movement: when, what, by whom and why."""
    found = _registered(data, movement)
    if as_json:
        typer.echo(msgspec.json.encode(found.history).decode())
        return
    table = Table("when", "version", "step", "by", "reason")
    for step in found.history:
        table.add_row(f"{step.at:%Y-%m-%d %H:%M} UTC", str(step.version), step.step, step.who, step.reason)
    Console().print(table)


def _no_member(who: str, policy: Policy) -> Problem:
    """Votes are members' own: who they are, and where that is declared."""
    known = ", ".join(member.id for member in policy.members)
    return Problem(
        "CR-143",
        f"The governance group has no member {who}.",
        status=403,
        where="--as",
        remedy=f"Its members: {known}."
        if known
        else "Declare a group: the setting `governance`, docs/movements.md.",
    )


def _step(data: Path | None, who: str, work: Callable[[Any, Policy, Actor], Awaitable[Done]]) -> None:
    from commonroom.hub.commands import with_connection
    from commonroom.hub.group import policy_of

    async def run(connection: Any) -> Done:
        policy = policy_of(settings.load(data))
        return await work(connection, policy, await _actor(connection, policy, who))

    done = with_connection(data, run)
    typer.echo(f"{done.movement} version {done.version} is {done.standing}")
    if (votes := done.votes) is not None:
        typer.echo(f"for {votes.votes_for}, against {votes.votes_against}, abstained {votes.abstentions}")
        if votes.lacking and done.standing == "under review":
            typer.echo(f"approval still needs {'; '.join(votes.lacking)}")


async def _actor(connection: Any, policy: Policy, who: str) -> Actor:
    """The member with this id, or else the operator under this name."""
    from commonroom.hub.agreements import Actor, member_actor

    if policy.member(who) is not None:
        return await member_actor(connection, policy, who)
    if not 1 <= len(who.strip()) <= MAX_NAME:
        raise Problem(
            "CR-143", f"A name has 1 to {MAX_NAME} characters.", where="--as", remedy="Say who acts."
        )
    return Actor(role="operator", name=who.strip())


async def _all(connection: Any) -> list[RegisteredMovement]:
    from commonroom.hub.movement_register import register

    found: list[RegisteredMovement] = []
    while page := await register(connection, after=found[-1].id if found else "", names=True):
        found += page
    return found


def _registered(data: Path | None, movement: str) -> RegisteredMovement:
    from commonroom.hub.commands import with_connection
    from commonroom.hub.movement_register import registered

    async def find(connection: Any) -> RegisteredMovement:
        found = await registered(connection, movement, names=True)
        if found is None:
            remedy = "commonroom hub movements list shows them."
            raise Problem("CR-005", f"There is no movement {movement}.", where="MOVEMENT", remedy=remedy)
        return found

    return with_connection(data, find)


def _proposal(file: Path) -> Proposal:
    from commonroom.declarations import load
    from commonroom.hub.agreements import Proposal

    return load(file, Proposal)


def _reason(text: str) -> str:
    if not MIN_REASON <= len(text.strip()) <= MAX_REASON:
        detail = f"A reason has {MIN_REASON} to {MAX_REASON:,} characters."
        raise Problem(
            "CR-050", detail, where="--reason", remedy="Say why, so that those who come later know."
        )
    return text.strip()
