"""What the commands of the learner register have in common: in whose name they work, on which database, how they print."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from commonroom import settings
from commonroom.problems import Problem
from commonroom.settings import Settings

T = TypeVar("T")

Data = Annotated[Path | None, typer.Option("--data", help="The data folder; otherwise COMMONROOM_DATA.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


async def caller(
    conn: Any,
    party: str | None,
    purpose: str,
    *,
    role: str = "department",
    person: str | None = None,
    laestab: str | None = None,
) -> Any:
    """In whose name a command works: a named party, the school of a file, or else the Department or the register's clerk."""
    from commonroom.hub import directory
    from commonroom.ids import alias_urn
    from commonroom.registers.learners import callers
    from commonroom.registers.learners.store import Caller

    sender = await directory.resolve_alias(conn, alias_urn("laestab", laestab)) if laestab else None
    named = await _party(conn, party) if party else sender
    if named is None:
        own = callers.REGISTER if role == "clerk" else callers.DEPARTMENT
        return Caller(party=own, person=person, purpose=purpose, role=role)
    found = await callers.role_of_party(conn, named)
    if found is None:
        raise Problem(
            "CR-006",
            "this party has no part in the register of learners",
            status=403,
            remedy="Name a school, a college or other learning provider, an authority or an awarding body.",
        )
    return Caller(party=named, person=person, purpose=purpose, role=found)


async def _party(conn: Any, name: str) -> str:
    from commonroom.hub import directory
    from commonroom.ids import alias_urn

    scheme = {3: "la", 6: "urn", 7: "laestab", 8: "ukprn"}.get(len(name), "ukprn") if name.isdigit() else ""
    found = await directory.resolve_alias(conn, alias_urn(scheme, name) if scheme else name)
    if found is None:
        raise Problem(
            "CR-005",
            f"the directory has no party {name[:80]!r}",
            status=404,
            remedy="Name a school by its URN, a provider by its UKPRN, an authority by its number.",
        )
    return found


def run(data: Path | None, ask: Callable[[Settings, Any], Awaitable[T]], *, new: bool = False) -> T:
    """Answer a question on the data folder's database; `new` allows one to be set up."""
    from commonroom.registers.database import opened

    chosen = settings.load(data)

    async def asked() -> T:
        async with opened(chosen, new=new) as conn:
            return await ask(chosen, conn)

    return asyncio.run(asked())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table, or nothing where it has no rows."""
    if not rows:
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def print_json(value: Any) -> None:
    """One value as a line of JSON."""
    typer.echo(msgspec.json.encode(value, enc_hook=str).decode())
