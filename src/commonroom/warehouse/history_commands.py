"""`commonroom warehouse state|life|differences`: looking back, as somebody with a right to it. Parse, call, print."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import typer

from commonroom import settings
from commonroom.engines import database
from commonroom.engines.duck import Duck
from commonroom.identity import Principal, Role
from commonroom.problems import Problem
from commonroom.warehouse.history import History, Row

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder.", envvar="COMMONROOM_DATA", show_default=False)
]
As = Annotated[str, typer.Option("--as", help="Whose rights: school, authority, analyst.")]
Party = Annotated[str | None, typer.Option(help="The organisation (urn:commonroom:org:...) that asks.")]
Why = Annotated[str, typer.Option("--purpose", help="Why; it goes into the trail of reads. No names.")]


# Our keys of the pupil: of the number's learner, and of those that turned out to be the same one.
_KEYS = """
WITH RECURSIVE found AS (
    SELECT learner FROM learners.identifier WHERE scheme = 'upn' AND value = $1
    UNION
    SELECT CASE WHEN l.id = f.learner THEN l.same_as ELSE l.id END
    FROM found f JOIN learners.learner l ON l.id = f.learner AND l.same_as IS NOT NULL OR l.same_as = f.learner
)
SELECT learner FROM found
"""


def add_to(app: typer.Typer) -> None:
    """Give a group these commands."""
    app.command("state")(state)
    app.command("life")(life)
    app.command("differences")(differences)


def state(
    entity: Annotated[str, typer.Argument(help="enrolment, learner, attendance_mark, ...")],
    on: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="True on this day.")],
    purpose: Why,
    role: As = "analyst",
    party: Party = None,
    known_at: Annotated[str | None, typer.Option(help="As known then, such as 2026-09-13T00:00Z.")] = None,
    data: Data = None,
) -> None:
    """Print the records that were true on a day, as known at a time, one JSON object a line."""
    _print(data, role, party, purpose, lambda history, _: history.state(entity, on.date(), _moment(known_at)))


def life(
    upn: Annotated[str, typer.Argument(help="The pupil's UPN.")],
    purpose: Why,
    role: As = "school",
    party: Party = None,
    data: Data = None,
) -> None:
    """Print all that was ever said of a pupil, in the order in which it was known, one JSON object a line."""

    async def ask(history: History, connection: Any) -> list[Row]:
        return await history.life([row["learner"] for row in await connection.fetch(_KEYS, upn)])

    if not _print(data, role, party, purpose, ask):
        said = "Nothing is known of a pupil with this UPN, or nothing that this organisation may see in this role."
        typer.echo(said, err=True)


def differences(
    entity: Annotated[str, typer.Argument(help="enrolment, learner, attendance_mark, ...")],
    after: Annotated[str, typer.Option(help="Known after this time, such as 2026-09-13T00:00Z.")],
    until: Annotated[str, typer.Option(help="Known up to this time.")],
    purpose: Why,
    role: As = "analyst",
    party: Party = None,
    data: Data = None,
) -> None:
    """Print what came and what went between two known times, one JSON object a line."""
    first, last = _moment(after), _moment(until)
    if first is None or last is None:
        raise _no_time()
    _print(data, role, party, purpose, lambda history, _: history.differences(entity, first, last))


def _print(
    data: Path | None,
    role: str,
    party: str | None,
    purpose: str,
    ask: Callable[[History, Any], Awaitable[list[Row]]],
) -> int:
    """How many were printed."""
    found = asyncio.run(_asked(data, role, party, purpose, ask))
    for row in found:
        typer.echo(msgspec.json.encode(row).decode())
    return len(found)


async def _asked(
    data: Path | None,
    role: str,
    party: str | None,
    purpose: str,
    ask: Callable[[History, Any], Awaitable[list[Row]]],
) -> list[Row]:
    roles: dict[str, Role] = {name: name for name in get_args(Role)}
    if role not in roles:
        raise Problem("CR-063", f"there is no role {role[:40]!r}", remedy=f"Use one of: {', '.join(roles)}.")
    chosen = settings.load(data)
    connection = await database.connect(chosen)
    duck = Duck(chosen, [chosen.folder("warehouse")])
    try:
        who = Principal(kind="person", id="command line", role=roles[role], party=party)
        return await ask(History(chosen, duck, connection, who, purpose), connection)
    finally:
        duck.close()
        await connection.close()


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _no_time() from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _no_time() -> Problem:
    return Problem("CR-063", "the known time is not a time", remedy="Write it as 2026-09-13T00:00Z.")
