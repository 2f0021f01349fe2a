"""The steps of a return: opened, a version loaded, submitted, approved, rejected, authorised; notes on its findings.

Each is one transaction that holds the return, proves the right and the needs, and writes who, when and why.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import msgspec

from commonroom import ids
from commonroom.collections import loader
from commonroom.collections.model import Period
from commonroom.problems import Problem
from commonroom.returns import codes, freeze, parties, store, workflow
from commonroom.returns.checking import Checked
from commonroom.returns.parties import Actor
from commonroom.returns.store import Return
from commonroom.returns.workflow import Move, Role
from commonroom.settings import Settings

MIN_REASON, MAX_REASON = 3, 2000

_OPEN = """
INSERT INTO returns.return (id, collection, year, party, approver, state, opened_at)
SELECT id, $1, $2, party, approver, $3, engines.domain_now()
FROM unnest($4::uuid[], $5::text[], $6::text[]) AS expected(id, party, approver)
ON CONFLICT (collection, year, party) DO NOTHING
"""

_STEP = """
INSERT INTO returns.step (return, step, from_state, to_state, version, who, role, on_behalf_of, reason, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, engines.domain_now())
"""

_MOVE = "UPDATE returns.return SET state = $2, version = $3, revision = revision + 1 WHERE id = $1"
_TOUCH = "UPDATE returns.return SET revision = revision + 1 WHERE id = $1"

_NEXT_VERSION = "SELECT coalesce(max(number), 0) + 1 FROM returns.version WHERE return = $1"

_VERSION = """
INSERT INTO returns.version (
    return, number, kind, file_name, file_digest, content, rules, records, modules, outcomes, reasons, errors, queries,
    known_at, made_at, who, message, told, told_reason, sender, reference_date, first_day, last_day
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, engines.domain_now(), $15, $16, $17, $18, $19, $20, $21, $22
)
"""

_FINDING_COLUMNS = (
    "return", "version", "number", "key", "values", "rule", "severity", "local", "reason_kind", "message", "locations",
)  # fmt: skip

# A note on every finding asked for that the rights and the kind of note allow.
_NOTE = """
INSERT INTO returns.note (return, key, values, version, kind, note, who, role, at)
SELECT f.return, f.key, f.values, f.version, $4, $5, $6, $7, engines.domain_now()
FROM returns.answered_finding f
WHERE f.return = $1 AND f.version = $2 AND f.number = ANY ($3::integer[])
"""

_ASKED = """
SELECT number, severity, local, reason_kind FROM returns.answered_finding
WHERE return = $1 AND version = $2 AND (
    number = ANY ($3::integer[]) OR encode(key, 'hex') = ANY ($4::text[]) OR (rule = $5 AND NOT note_counts AND NOT is_ok)
)
"""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version comes from."""

    kind: str
    file_name: str | None = None
    file_digest: str | None = None
    known_at: datetime | None = None
    # What it was made for, where that is not the collection's own.
    reference: date | None = None
    period: Period | None = None


class Fate(msgspec.Struct, frozen=True):
    """How a version begins: waiting to be posted, not sent, or refused and why."""

    told: str = "not sent"
    reason: str = ""


class Asked(msgspec.Struct, frozen=True):
    """Which findings a note is about: by number in the current version, by key, or all open ones of a rule."""

    numbers: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()
    rule: str | None = None


async def open_collection(connection: Any, name: str, year: int) -> int:
    """Expect a return of every party that owes one; how many are new. Safe to repeat."""
    expected = await parties.expected(connection, loader.load(name, year))
    done: str = await connection.execute(
        _OPEN,
        name,
        year,
        workflow.FIRST,
        [ids.uuid7() for _ in expected],
        [party for party, _ in expected],
        [approver for _, approver in expected],
    )
    return int(done.rpartition(" ")[2])


async def seen(connection: Any, actor: Actor, collection: str, year: int, party: str) -> Return:
    """A return, for one who has a part in it. Raises Problem CR-196 for everybody else, as for none at all."""
    found = await store.one(connection, collection, year, party)
    if not actor.roles(found.party, found.approver):
        raise store.no_return()
    return found


def decided(found: Return, actor: Actor, step: str) -> Move:
    """The step as it may be taken. Raises Problem CR-197 or CR-198."""
    roles = actor.roles(found.party, found.approver)
    return workflow.decide(workflow.load(), step, found.state, roles, has_approver=found.has_approver)


async def add_version(
    connection: Any,
    found: Return,
    actor: Actor,
    checked: Checked,
    source: Source,
    *,
    revision: int | None,
    reason: str = "",
    fate: Fate = Fate(),
) -> Return:
    """Make what was checked the current version. Raises Problem CR-197, CR-198, or CR-200: nothing is changed then."""
    async with connection.transaction():
        held = await store.locked(connection, found.id, revision)
        move = decided(held, actor, "load")
        number: int = await connection.fetchval(_NEXT_VERSION, held.id)
        if checked.untold and fate.told == "waiting":
            fate = Fate("refused", _untold(checked.untold))
        await connection.execute(
            _VERSION,
            held.id,
            number,
            source.kind,
            source.file_name,
            source.file_digest,
            checked.content,
            checked.rules,
            checked.records,
            checked.modules,
            checked.outcomes,
            checked.reasons,
            checked.errors,
            checked.queries,
            source.known_at,
            actor.who,
            ids.uuid7(),
            fate.told,
            fate.reason,
            # What the collector puts in place of a version is with it already.
            actor.party or held.party,
            source.reference,
            source.period.start if source.period else None,
            source.period.end if source.period else None,
        )
        await connection.copy_records_to_table(
            "finding", schema_name="returns", columns=_FINDING_COLUMNS, records=_rows(held, number, checked)
        )
        await _take(connection, held, actor, move, number, reason)
    return await store.by_id(connection, found.id)


async def take(
    connection: Any,
    settings: Settings,
    found: Return,
    actor: Actor,
    step: str,
    *,
    reason: str = "",
    revision: int | None = None,
) -> Return:
    """Take a step that changes no content; at the last one the content is frozen. Raises Problem CR-197 to CR-200."""
    async with connection.transaction():
        held = await store.locked(connection, found.id, revision)
        move = decided(held, actor, step)
        await _prove_needs(connection, held, move, reason)
        if move.step.to == workflow.LAST:
            await freeze.freeze(settings, connection, held)
        await _take(connection, held, actor, move, held.version, reason)
    return await store.by_id(connection, found.id)


async def note(
    connection: Any,
    found: Return,
    actor: Actor,
    asked: Asked,
    *,
    text: str = "",
    ok: bool = False,
    revision: int | None = None,
) -> int:
    """Say something of findings: an explanation, "confirmed as correct" (no text), or OK. How many it was said of.

    Raises Problem CR-197, CR-198, CR-200, CR-201 (no such finding) or CR-202 (an explanation is wanted).
    """
    _check_text(text)
    async with connection.transaction():
        held = await store.locked(connection, found.id, revision)
        roles = actor.roles(held.party, held.approver)
        # Nobody accepts what they themselves have sent: an authority's own return is the collector's to accept.
        if ok and actor.party == held.party:
            roles = roles - {"source", "approver"}
        role = workflow.may_do(workflow.load(), "ok" if ok else "note", held.state, roles)
        rows = await connection.fetch(
            _ASKED, held.id, held.version, list(asked.numbers), list(asked.keys), asked.rule
        )
        _check_asked(rows, asked, text, role if ok else None)
        kind = "ok" if ok else "explained" if text.strip() else "confirmed"
        numbers = [row["number"] for row in rows]
        await connection.execute(_NOTE, held.id, held.version, numbers, kind, text.strip(), actor.who, role)
        await connection.execute(_TOUCH, held.id)
    return len(numbers)


def _untold(faults: int) -> str:
    return f"{faults:,} value{'s' * (faults > 1)} or rows cannot be told in the common language: see its findings"


def _check_text(text: str) -> None:
    if len(text) > MAX_REASON or "\x00" in text:
        raise Problem(codes.NOTE, f"A note has at most {MAX_REASON} characters.", remedy="Shorten it.")


def _check_asked(rows: list[Any], asked: Asked, text: str, accepting: Role | None) -> None:
    """`accepting` is the role in which somebody says OK."""
    if len(rows) < len(set(asked.numbers)) + len(set(asked.keys)) or not rows:
        raise Problem(
            codes.NO_FINDING,
            "The current version has no such finding, or it is answered already.",
            status=404,
            remedy="Look at `commonroom returns findings`.",
        )
    # Errors must be fixed. Only whose rule it is lets one pass, where the rule and not the record is wrong.
    if any(row["severity"] == "error" and accepting != _owner(row) for row in rows):
        raise Problem(
            codes.NOTE,
            "An error is no question: a note does not answer it, and only whose rule it is lets it pass.",
            remedy="Correct the record.",
        )
    if accepting is None and not text.strip() and any(row["reason_kind"] == "explain" for row in rows):
        raise Problem(
            codes.NOTE,
            "To confirm the value is not enough for this rule: it asks for the reason.",
            remedy="Write the reason as the note.",
        )


def _owner(finding: Any) -> Role:
    """Whose the finding's rule is: an authority's own, or the collector's."""
    return "approver" if finding["local"] else "collector"


async def _take(
    connection: Any, held: Return, actor: Actor, move: Move, version: int | None, reason: str
) -> None:
    await connection.execute(
        _STEP,
        held.id,
        move.step.step,
        held.state,
        move.step.to,
        version,
        actor.who,
        move.role,
        held.party if move.on_behalf else None,
        reason.strip(),
    )
    await connection.execute(_MOVE, held.id, move.step.to, version)


async def _prove_needs(connection: Any, held: Return, move: Move, reason: str) -> None:
    """Raise Problem CR-199 with everything that is still missing."""
    if "\x00" in reason or len(reason) > MAX_REASON:
        raise Problem(codes.NOT_READY, f"A reason has at most {MAX_REASON} characters.", remedy="Shorten it.")
    found = await store.checks(connection, held)
    version = await store.version(connection, held) if held.version else None
    missing = []
    for need in move.step.needs:
        if need == "no_errors" and found.errors:
            missing.append(f"{found.errors:,} error{'s' * (found.errors > 1)} must be corrected")
        if need == "queries_answered" and found.open:
            missing.append(f"{found.open:,} quer{'ies need' if found.open > 1 else 'y needs'} a note")
        if need == "local_rules" and found.local_errors + found.local_open:
            count = found.local_errors + found.local_open
            missing.append(f"{count:,} finding{'s' * (count > 1)} of the authority's own rules wait")
        if need in ("told", "taken") and version is not None and version.told == "refused":
            missing.append(f"the centre has refused the records ({version.told_reason})")
        if need == "taken" and version is not None and version.told in ("waiting", "posted"):
            why = f" ({version.told_reason})" if version.told_reason else ""
            missing.append(f"the centre has not taken in all of its records yet{why}")
        if need == "reason" and len(reason.strip()) < MIN_REASON:
            missing.append("a reason must be given")
    if missing:
        raise Problem(
            codes.NOT_READY,
            f"Before `{move.step.step}`: {'; '.join(missing)}.",
            status=409,
            remedy="Load a corrected version, or answer the queries.",
            extra={"missing": missing},
        )


def _rows(held: Return, number: int, checked: Checked) -> list[tuple[Any, ...]]:
    return [
        (
            held.id,
            number,
            place,
            one.key,
            one.values,
            one.finding.rule,
            one.finding.severity,
            one.local,
            one.reason_kind,
            _storable(one.finding.message),
            [
                {name: _storable(value) if isinstance(value, str) else value for name, value in at.items()}
                for at in msgspec.to_builtins(one.finding.locations)
            ],
        )
        for place, one in enumerate(checked.findings, start=1)
    ]


def _storable(text: str) -> str:
    """PostgreSQL holds neither NUL nor lone surrogates."""
    return text.replace("\x00", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")
