"""A return checked: from a file or from module tables to findings with stable keys, ready to become a version.

Everything here is done in memory and in threads; nothing is known of the database.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.findings import Finding, Outcome
from commonroom.collections.model import Collection, Rule
from commonroom.collections.session import Session
from commonroom.collections.tables import LAST_RETURN, Tables
from commonroom.returns import content, identity, telling
from commonroom.settings import Settings

# Findings of one version that are kept one by one; the counts are always whole.
MOST_FINDINGS = 200_000
_KEY_BYTES = 32
MOST_ENGINES = 32
_ENGINES: dict[int, Engine] = {}


class Found(msgspec.Struct, frozen=True, gc=False):
    """A finding with its stable key, what it was found with, and whose rule it is."""

    finding: Finding
    key: bytes
    values: bytes
    # The authority whose own rule found it; None for the collection's.
    local: str | None
    reason_kind: str | None


class Checked(msgspec.Struct, frozen=True):
    """A version before it is one."""

    content: str
    rules: str
    records: int
    modules: dict[str, int]
    outcomes: dict[str, Outcome]
    reasons: dict[str, str]
    findings: list[Found]
    errors: int
    queries: int
    # Faults for which it cannot be told in the common language; 0 where it was not tried.
    untold: int = 0


class Ruleset(msgspec.Struct, frozen=True):
    """The rules a return is checked by: the collection's, and those of an authority for its schools."""

    collection: str
    year: int
    local: tuple[Path, ...] = ()
    authority: str | None = None

    def load(self) -> Collection:
        """The collection with all rules. Raises Problem CR-001, CR-180, CR-181, CR-182."""
        return loader.load(self.collection, self.year, local_rules=self.local)


def check_file(
    settings: Settings,
    ruleset: Ruleset,
    path: Path,
    last: Path | None = None,
    proof: Callable[[Tables], None] | None = None,
    numbers: Mapping[str, str] | None = None,
) -> Checked:
    """Read, check and keep the content of a file; `last` is the folder of the sender's previous return's content.

    `numbers` are those of the holder of its records, where it is to be told. `proof` may refuse what was read with a
    Problem. Raises Problem CR-190 to CR-194 for a file that cannot be read; then nothing of it is kept.
    """
    with Session(_engine(ruleset.load())) as session:
        session.load(path)
        if proof is not None:
            proof(session.tables)
        return check_session(settings, ruleset, session, last, numbers)


def check_tables(
    settings: Settings,
    ruleset: Ruleset,
    filled: Mapping[str, Any],
    last: Path | None = None,
    numbers: Mapping[str, str] | None = None,
) -> Checked:
    """The same for module tables made elsewhere, as nested records: a return made from the live record."""
    with Session(_engine(ruleset.load())) as session:
        session.load_records(filled)
        return check_session(settings, ruleset, session, last, numbers)


def check_session(
    settings: Settings,
    ruleset: Ruleset,
    session: Session,
    last: Path | None = None,
    numbers: Mapping[str, str] | None = None,
) -> Checked:
    """Check and keep what a session holds, however it came into it; with `numbers`, whether it can be told too."""
    tables = session.tables
    if last is not None:
        content.fill(tables, last, LAST_RETURN)
        tables.has_last_return = True
    report = session.check()
    untold = telling.untold(tables, numbers, report.findings) if numbers is not None else None
    kept = content.keep(settings, tables)
    found = _found(settings, ruleset, tables, [*report.findings, *(untold.findings if untold else ())])
    own = [one for one in found if one.local is None]
    return Checked(
        content=kept,
        rules=rules_digest(tables.collection),
        records=report.records,
        modules={module: tables.count(module) for module in tables.filled},
        outcomes=report.outcomes,
        reasons=report.reasons,
        findings=_most(found),
        errors=sum(one.finding.severity == "error" for one in own),
        queries=sum(one.finding.severity == "query" for one in own),
        untold=untold.faults if untold else 0,
    )


def rules_digest(collection: Collection) -> str:
    """A digest of all that a return is checked by: modules, code sets and rules, local ones among them."""
    declared = msgspec.structs.replace(collection, folders=())
    plain = msgspec.to_builtins(declared)
    for rule in plain["rules"].values():
        rule["source"] = ""
    return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()


def installation_key(folder: Path) -> bytes:
    """The key under which findings are hashed: made once, readable by its owner alone."""
    path = folder / "returns-findings.key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(handle, "wb") as file:
        key = secrets.token_bytes(_KEY_BYTES)
        file.write(key)
    return key


def _found(settings: Settings, ruleset: Ruleset, tables: Tables, findings: Sequence[Finding]) -> list[Found]:
    secret = installation_key(settings.folder("keys"))
    places = _chains(tables, findings)
    times: dict[bytes, int] = {}
    found = []
    for one, chain in zip(findings, places, strict=True):
        rule = tables.collection.rules.get(one.rule)
        first = one.locations[0]
        key = _hash(secret, "key", one.rule, chain, first.module, first.item or "")
        # A rule may find several things at one place: they are told apart by their order.
        times[key] = times.get(key, 0) + 1
        if times[key] > 1:
            key = _hash(secret, "again", key.hex(), str(times[key]))
        said = [part for at in one.locations for part in (at.module, at.item or "", at.value or "")]
        found.append(
            Found(
                finding=one,
                key=key,
                values=_hash(secret, "values", one.message, *said),
                local=ruleset.authority if rule is not None and rule.source else None,
                reason_kind=_reason_kind(one, rule),
            )
        )
    return found


def _chains(tables: Tables, findings: Sequence[Finding]) -> list[str]:
    """For each finding the chain of records of its first place."""
    beside = identity.rows_of(
        tables, [one.locations[0].path for one in findings if one.locations[0].row is None]
    )
    at: list[tuple[str, int] | None] = []
    for one in findings:
        first = one.locations[0]
        at.append((first.module, first.row) if first.row is not None else beside.get(first.path))
    rows: dict[str, set[int]] = {}
    for place in at:
        if place is not None:
            rows.setdefault(place[0], set()).add(place[1])
    known = {module: identity.chains(tables, module, wanted) for module, wanted in rows.items()}
    return [
        known[place[0]].get(place[1], one.locations[0].path) if place else one.locations[0].path
        for one, place in zip(findings, at, strict=True)
    ]


def _engine(collection: Collection) -> Engine:
    """The compiled rules of a collection: compiled once a process, for the loader gives the same object each time."""
    engine = _ENGINES.get(id(collection))
    if engine is None or engine.collection is not collection:
        while len(_ENGINES) >= MOST_ENGINES:
            _ENGINES.pop(next(iter(_ENGINES)))
        engine = _ENGINES[id(collection)] = Engine(collection)
    return engine


def _most(found: list[Found]) -> list[Found]:
    """All findings, or as many as are kept: errors before queries then, so that none seems to be none."""
    if len(found) <= MOST_FINDINGS:
        return found
    return sorted(found, key=lambda one: one.finding.severity != "error")[:MOST_FINDINGS]


def _reason_kind(finding: Finding, rule: Rule | None) -> str | None:
    if finding.severity == "error":
        return None
    return (rule.reason if rule is not None else None) or "explain"


def _hash(secret: bytes, *parts: str) -> bytes:
    text = "\x00".join((str(len(parts)), *parts))
    return hmac.new(secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()[:20]
