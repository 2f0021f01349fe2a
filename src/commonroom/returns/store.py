"""What the database knows of returns, and the look-ups."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec

from commonroom.problems import Problem
from commonroom.returns import codes


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """What a party owes to a collection, sent or not."""

    id: UUID
    collection: str
    year: int
    party: str
    approver: str | None
    state: str
    revision: int
    version: int | None
    name: str = ""

    @property
    def has_approver(self) -> bool:
        """Whether anybody checks it before the collector."""
        return self.approver is not None


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a return's content."""

    number: int
    kind: str
    file_name: str | None
    file_digest: str | None
    content: str
    rules: str
    records: int
    modules: dict[str, int]
    outcomes: dict[str, str]
    reasons: dict[str, str]
    errors: int
    queries: int
    known_at: datetime | None
    made_at: datetime
    who: str
    message: UUID
    told: str
    told_reason: str
    # Who spoke in the message.
    sender: str
    # What it was made for from the record, where that is not the collection's own.
    reference_date: date | None
    first_day: date | None
    last_day: date | None


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """The findings of the current version, counted. Those of an authority's own rules are counted apart."""

    errors: int = 0
    # Queries without an answer; those of `earlier` have a note, but of other values than those found now.
    open: int = 0
    earlier: int = 0
    with_note: int = 0
    ok: int = 0
    local_errors: int = 0
    local_open: int = 0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding with what is said of it."""

    number: int
    key: str
    rule: str
    severity: str
    local: str | None
    reason_kind: str | None
    message: str
    locations: list[dict[str, Any]]
    note_kind: str | None
    note: str | None
    note_who: str | None
    note_at: datetime | None
    note_version: int | None
    # Whether the note is of the very values found now.
    note_counts: bool
    is_ok: bool


class StepTaken(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a return's history."""

    step: str
    from_state: str
    to_state: str
    version: int | None
    who: str
    role: str
    on_behalf_of: str | None
    reason: str
    at: datetime
    recorded_at: datetime


class NoteWritten(msgspec.Struct, frozen=True, kw_only=True):
    """One note of a return's history. `found` says whether the current version still has its finding."""

    key: str
    kind: str
    note: str
    version: int
    who: str
    role: str
    at: datetime
    found: bool


_COLUMNS = "r.id, r.collection, r.year, r.party, r.approver, r.state, r.revision, r.version, coalesce(p.name, '') AS name"
_FROM = "FROM returns.return r LEFT JOIN hub.party p ON p.urn = r.party"

ONE = f"SELECT {_COLUMNS} {_FROM} WHERE r.collection = $1 AND r.year = $2 AND r.party = $3"
BY_ID = f"SELECT {_COLUMNS} {_FROM} WHERE r.id = $1"
LOCKED = f"SELECT {_COLUMNS} {_FROM} WHERE r.id = $1 FOR UPDATE OF r"

# Whose returns somebody sees: their own, those they approve, or all.
LISTED = f"""
SELECT {_COLUMNS} {_FROM}
WHERE r.collection = $1 AND r.year = $2 AND ($3 OR r.party = $4 OR r.approver = $4)
ORDER BY coalesce(p.name, ''), r.party
"""

_VERSION_COLUMNS = (
    "number, kind, file_name, file_digest, content, rules, records, modules, outcomes, reasons, errors, queries, "
    "known_at, made_at, who, message, told, told_reason, sender, reference_date, first_day, last_day"
)
VERSION = f"SELECT {_VERSION_COLUMNS} FROM returns.version WHERE return = $1 AND number = $2"  # noqa: S608
VERSIONS = f"SELECT {_VERSION_COLUMNS} FROM returns.version WHERE return = $1 ORDER BY number"  # noqa: S608

CHECKS = """
SELECT
    count(*) FILTER (WHERE local IS NULL AND severity = 'error' AND NOT is_ok) AS errors,
    count(*) FILTER (WHERE local IS NULL AND severity = 'query' AND NOT is_ok AND NOT note_counts) AS open,
    count(*) FILTER (
        WHERE local IS NULL AND severity = 'query' AND NOT is_ok AND NOT note_counts AND note IS NOT NULL
    ) AS earlier,
    count(*) FILTER (WHERE local IS NULL AND severity = 'query' AND NOT is_ok AND note_counts) AS with_note,
    count(*) FILTER (WHERE local IS NULL AND is_ok) AS ok,
    count(*) FILTER (WHERE local IS NOT NULL AND severity = 'error' AND NOT is_ok) AS local_errors,
    count(*) FILTER (WHERE local IS NOT NULL AND severity = 'query' AND NOT is_ok AND NOT note_counts) AS local_open
FROM returns.answered_finding
WHERE return = $1 AND version = $2
"""

FINDINGS = """
SELECT number, encode(key, 'hex') AS key, rule, severity, local, reason_kind, message, locations,
    note_kind, note, note_who, note_at, note_version, note_counts, is_ok
FROM returns.answered_finding
WHERE return = $1 AND version = $2 AND ($3::text IS NULL OR rule = $3) AND number > $4
ORDER BY number
LIMIT $5
"""

STEPS = """
SELECT step, from_state, to_state, version, who, role, on_behalf_of, reason, at, recorded_at
FROM returns.step WHERE return = $1 ORDER BY entry
"""

NOTES = """
SELECT encode(n.key, 'hex') AS key, n.kind, n.note, n.version, n.who, n.role, n.at,
    EXISTS (SELECT FROM returns.finding f WHERE f.return = n.return AND f.version = $2 AND f.key = n.key) AS found
FROM returns.note n WHERE n.return = $1 ORDER BY n.entry
"""


async def one(connection: Any, collection: str, year: int, party: str) -> Return:
    """The return of a party. Raises Problem CR-196."""
    row = await connection.fetchrow(ONE, collection, year, party)
    if row is None:
        raise no_return()
    return Return(**dict(row))


async def by_id(connection: Any, name: UUID) -> Return:
    """A return by its id. Raises Problem CR-196."""
    row = await connection.fetchrow(BY_ID, name)
    if row is None:
        raise no_return()
    return Return(**dict(row))


async def locked(connection: Any, name: UUID, revision: int | None) -> Return:
    """A return, held until the end of the transaction. Raises Problem CR-200 where it is no longer at `revision`."""
    found = Return(**dict(await connection.fetchrow(LOCKED, name)))
    if revision is not None and found.revision != revision:
        raise Problem(
            codes.CHANGED,
            "Somebody else has done something to this return since you looked at it.",
            status=409,
            remedy="Look at it again, then decide anew.",
            extra={"revision": found.revision},
        )
    return found


async def listed(
    connection: Any, collection: str, year: int, party: str | None, *, every: bool = False
) -> Sequence[Return]:
    """The returns of a collection that belong to a party or are approved by it; or every one."""
    rows = await connection.fetch(LISTED, collection, year, every, party)
    return [Return(**dict(row)) for row in rows]


async def version(connection: Any, found: Return, number: int | None = None) -> Version:
    """A version of a return, the current one without `number`. Raises Problem CR-196."""
    row = await connection.fetchrow(VERSION, found.id, number or found.version)
    if row is None:
        raise Problem(
            codes.NO_RETURN, "The return has no such version.", status=404, remedy="Look at its history."
        )
    return Version(**dict(row))


async def versions(connection: Any, found: Return) -> list[Version]:
    """Every version, oldest first."""
    return [Version(**dict(row)) for row in await connection.fetch(VERSIONS, found.id)]


async def checks(connection: Any, found: Return) -> Checks:
    """The counts of the current version's findings."""
    return Checks(**dict(await connection.fetchrow(CHECKS, found.id, found.version)))


async def findings(
    connection: Any,
    found: Return,
    *,
    number: int | None = None,
    rule: str | None = None,
    after: int = 0,
    limit: int = 1000,
) -> list[Finding]:
    """Findings of a version, in the order of the check."""
    rows = await connection.fetch(FINDINGS, found.id, number or found.version, rule, after, limit)
    return [Finding(**dict(row)) for row in rows]


async def steps(connection: Any, found: Return) -> list[StepTaken]:
    """Every step, oldest first."""
    return [StepTaken(**dict(row)) for row in await connection.fetch(STEPS, found.id)]


async def notes(connection: Any, found: Return) -> list[NoteWritten]:
    """Every note, oldest first, of findings that are gone as well."""
    return [NoteWritten(**dict(row)) for row in await connection.fetch(NOTES, found.id, found.version)]


def no_return() -> Problem:
    """The return is not there, or not for who asks: the answer is the same."""
    return Problem(
        codes.NO_RETURN,
        "There is no such return, or it is not for you to see.",
        status=404,
        remedy="Look at `commonroom returns list`, and open the collection with `commonroom returns open` if need be.",
    )
