"""Rules of an authority for the returns of its own schools: data, run beside the collection's own.

They are read as strictly as those, get codes of their own (`local:<number>:<code>`), and count at the authority's approval
alone: they never keep a return from the collector.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import msgspec

from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.model import Rule
from commonroom.engines import files
from commonroom.problems import Problem
from commonroom.returns import codes
from commonroom.returns.checking import Ruleset
from commonroom.returns.store import Return
from commonroom.settings import Settings

FOLDER = "returns-rules"
PREFIX = "local"
_LA = "urn:commonroom:alias:la:"

_NUMBER = "SELECT min(substr(alias, length($2) + 1)) FROM hub.party_alias WHERE party = $1 AND starts_with(alias, $2)"

_PUT = """
INSERT INTO returns.local_rules (authority, collection, name, file, rules, who, added_at)
VALUES ($1, $2, $3, $4, $5, $6, engines.domain_now())
ON CONFLICT (authority, collection, name) DO UPDATE
SET file = excluded.file, rules = excluded.rules, who = excluded.who, added_at = excluded.added_at
"""

_OF = "SELECT name, file FROM returns.local_rules WHERE authority = $1 AND collection = $2 ORDER BY name"
_DROP = "DELETE FROM returns.local_rules WHERE authority = $1 AND collection = $2 AND name = $3"


async def add(
    settings: Settings, connection: Any, authority: str, collection: str, year: int, path: Path, who: str
) -> int:
    """Take a file of rules; how many they are. Another file of the same name is replaced.

    Raises Problem CR-001, CR-180, CR-182 or CR-184 for rules that are not right, CR-204 for what is no authority's.
    """
    number = await connection.fetchval(_NUMBER, authority, _LA)
    if number is None:
        raise Problem(
            codes.LOCAL_RULES,
            "only a local authority has rules of its own for its schools",
            status=403,
            where=path.name,
            remedy="Add them as the authority.",
        )
    rules = await asyncio.to_thread(loader.rules_of, path)
    text = _written(rules, number)
    ruleset = Ruleset(collection, year, (_kept(settings, text),), authority)
    await asyncio.to_thread(_prove, ruleset)
    await connection.execute(_PUT, authority, collection, path.stem, text, len(rules), who)
    return len(rules)


async def drop(connection: Any, authority: str, collection: str, name: str) -> bool:
    """Take a file of rules away; false when there is none."""
    done: str = await connection.execute(_DROP, authority, collection, name)
    return done.endswith("1")


async def ruleset_of(settings: Settings, connection: Any, found: Return) -> Ruleset:
    """The rules that a return is checked by: with those of its authority, where that is another than its sender."""
    if found.approver is None or found.approver == found.party:
        return Ruleset(found.collection, found.year)
    rows = await connection.fetch(_OF, found.approver, found.collection)
    paths = tuple(_kept(settings, row["file"]) for row in rows)
    return Ruleset(found.collection, found.year, paths, found.approver if paths else None)


def _written(rules: tuple[Rule, ...], number: str) -> str:
    """The rules as a file again, with the codes they have in findings."""
    named = [msgspec.structs.replace(rule, code=f"{PREFIX}:{number}:{rule.code}") for rule in rules]
    return msgspec.json.encode({"rules": named}, order="deterministic").decode()


def _kept(settings: Settings, text: str) -> Path:
    """The file of this text in the data folder: the loader reads files, and every process needs the same."""
    name = hashlib.sha256(text.encode()).hexdigest()[:40]
    path = settings.folder(FOLDER) / f"{name}.yaml"
    if not path.exists():
        files.write(path, text.encode())
    return path


def _prove(ruleset: Ruleset) -> None:
    Engine(ruleset.load()).prove()
