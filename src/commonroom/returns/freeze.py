"""What is authorised is frozen: its module tables lie in the warehouse's folder for good, with what they were made by."""

from __future__ import annotations

import asyncio
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from commonroom.collections import loader
from commonroom.engines import files
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.returns import codes, content, store
from commonroom.returns.store import Return
from commonroom.settings import Settings

FOLDER = "warehouse"
RETURNS = "returns"

_FREEZE = """
INSERT INTO returns.frozen (return, version, content, folder, rules, known_at, frozen_at)
VALUES ($1, $2, $3, $4, $5, coalesce($6, engines.domain_now()), engines.domain_now())
"""

_FROZEN = "SELECT version, content, folder, rules, known_at, frozen_at FROM returns.frozen WHERE return = $1"


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """Where an authorised return lies, and what it was made by and checked by."""

    version: int
    content: str
    folder: str
    rules: str
    known_at: datetime
    frozen_at: datetime


async def freeze(settings: Settings, connection: Any, held: Return) -> None:
    """Copy the current version's tables into the warehouse's folder, proved against their digest. In a transaction."""
    version = await store.version(connection, held)
    name = f"{RETURNS}/{held.collection}/{held.year}/{held.id}"
    await asyncio.to_thread(_copy, settings, held, version.content, settings.folder(FOLDER) / name)
    await connection.execute(
        _FREEZE, held.id, version.number, version.content, name, version.rules, version.known_at
    )


async def frozen(connection: Any, found: Return) -> Frozen:
    """What was frozen of a return. Raises Problem CR-205 where nothing was."""
    row = await connection.fetchrow(_FROZEN, found.id)
    if row is None:
        raise Problem(
            codes.FROZEN,
            "The return is not authorised.",
            status=409,
            remedy="Only what is authorised is frozen.",
        )
    return Frozen(**dict(row))


async def prove(settings: Settings, connection: Any, found: Return) -> Frozen:
    """Read the frozen tables again and compare their digest. Raises Problem CR-205 where they are not what they were."""
    kept = await frozen(connection, found)
    folder = settings.folder(FOLDER) / kept.folder
    right = folder.is_dir() and await asyncio.to_thread(_proved, found, folder, kept.content)
    if not right:
        raise Problem(
            codes.FROZEN,
            "The frozen tables are missing or were changed after they were frozen.",
            status=500,
            where=kept.folder,
            remedy="Restore the warehouse's folder from the backup.",
        )
    return kept


def _copy(settings: Settings, held: Return, digest: str, target: Path) -> None:
    source = content.folder(settings, digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f"{target.name}.{uuid7()}.new")
    try:
        shutil.copytree(source, new)
        files.sync(sorted(new.iterdir()))
        if not _proved(held, new, digest):
            raise Problem(
                codes.CONTENT, "The content of this version was changed on the disk.", status=500,
                remedy="Load the version anew.",
            )  # fmt: skip
        # A folder left there by a run that was killed before its transaction ended belongs to nobody.
        if target.exists():
            shutil.rmtree(target)
        new.rename(target)
        files.sync([target.parent])
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _proved(found: Return, folder: Path, digest: str) -> bool:
    return content.proved(loader.load(found.collection, found.year), folder, digest)
