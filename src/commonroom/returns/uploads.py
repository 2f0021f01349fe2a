"""An upload: the file is read and checked whole before anything is written; then it becomes a version in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from commonroom.collections.model import Collection
from commonroom.problems import Problem
from commonroom.returns import checking, codes, content, local_rules, posting, steps, telling
from commonroom.returns.checking import Checked, Ruleset
from commonroom.returns.parties import Actor
from commonroom.returns.steps import Fate, Source
from commonroom.returns.store import Return
from commonroom.settings import Settings

_PREVIOUS = """
SELECT v.content
FROM returns.return r
JOIN returns.version v ON v.return = r.id AND v.number = r.version
WHERE r.collection = $1 AND r.party = $2 AND r.year < $3
ORDER BY r.year DESC
LIMIT 1
"""


async def upload(
    settings: Settings,
    connection: Any,
    actor: Actor,
    found: Return,
    path: Path,
    *,
    name: str = "",
    revision: int | None = None,
    reason: str = "",
) -> Return:
    """Check a file and make it the return's current version; findings do not keep it out.

    Raises Problem CR-190 to CR-194 for a file that cannot be read, CR-197 or CR-198 where no version may be loaded,
    CR-200 when somebody else was quicker, CR-206 for a file of another sender: the return is then as it was.
    """
    steps.decided(found, actor, "load")
    ruleset = await local_rules.ruleset_of(settings, connection, found)
    last = await previous(settings, connection, found)
    numbers = await telling.numbers_of(connection, found.party)
    fate = await posting.at_start(connection, found, actor, ruleset.load())
    checked, digest = await asyncio.to_thread(_check, settings, ruleset, path, last, numbers, fate)
    source = Source(kind="file", file_name=(name or path.name)[:255], file_digest=digest)
    return await steps.add_version(
        connection,
        found,
        actor,
        checked,
        source,
        revision=found.revision if revision is None else revision,
        reason=reason,
        fate=fate,
    )


async def previous(settings: Settings, connection: Any, found: Return) -> Path | None:
    """The folder of the content of the sender's return of the newest year before; None where there is none."""
    digest = await connection.fetchval(_PREVIOUS, found.collection, found.party, found.year)
    return content.folder(settings, digest) if digest else None


def _check(
    settings: Settings, ruleset: Ruleset, path: Path, last: Path | None, numbers: dict[str, str], fate: Fate
) -> tuple[Checked, str]:
    digest = "" if path.is_dir() else _digest(path)
    checked = checking.check_file(
        settings,
        ruleset,
        path,
        last,
        lambda tables: _right_sender(tables, ruleset.load(), numbers, path.name),
        numbers if fate.told == "waiting" else None,
    )
    return checked, digest


def _right_sender(tables: Any, collection: Collection, numbers: dict[str, str], name: str) -> None:
    """A file that names another sender in its header is refused: it came here by mistake."""
    header = collection.modules.get("Header")
    if header is None or "LEA" not in header.by_name:
        return
    estab = '"Estab"' if "Estab" in header.by_name else "NULL"
    rows = tables.query(f'SELECT "LEA", {estab} FROM main."Header" WHERE _row = 1')  # noqa: S608 - our own names
    for lea, number in rows:
        said = f"{lea or ''}{number or ''}"
        own = numbers.get("la") or (numbers.get("laestab", "") if number else numbers.get("laestab", "")[:3])
        if own and said and said != own:
            raise Problem(
                codes.UPLOAD,
                f"the header says that the file is of {said[:20]}, and the return is that of {own}",
                where=name,
                remedy="Send the file of this sender, or correct its header.",
            )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
