"""Movements: the agreements under which messages travel, as a file and as tables.

A movement says who may send what to whom, why, on what legal basis and until when. It is the routing table: where no
active movement applies, nothing travels. How routes are found from movements is `routing.py`; how movements come to
be agreed is `agreements.py`. Loading a file is how an operator sets a hub up.
"""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from commonroom.declarations import load
from commonroom.hub import codes  # noqa: F401 - registers the hub's problem codes
from commonroom.hub.frequency import Frequency
from commonroom.problems import Problem

Id = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Kind = Annotated[str, Meta(pattern=r"^\S(.{0,126}\S)?$")]
Urn = Annotated[str, Meta(pattern=r"^urn:\S{1,250}$")]
Words = Annotated[str, Meta(min_length=3, max_length=2000, pattern=r"^[^\x00]*$")]  # no database keeps a NUL
MessageType = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9._-]{2,254}$")]
Classification = Literal["public", "internal", "confidential", "restricted"]

# In the order of protection they ask for.
LEVELS: dict[str, int] = {"public": 0, "internal": 1, "confidential": 2, "restricted": 3}


class Sender(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may send: every party of a kind, or one party by its urn or alias. Exactly one of the two."""

    kind: Kind | None = None
    party: Urn | None = None


class Movement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One agreement."""

    id: Id
    title: Words
    sender: Sender = msgspec.field(name="from")
    # Roles relative to the sender, `the addressed <kind>`, or the urn or alias of one party.
    to: Annotated[tuple[Kind, ...], Meta(min_length=1, max_length=20)]
    types: Annotated[tuple[MessageType, ...], Meta(min_length=1, max_length=100)]
    purpose: Words
    legal_basis: Words
    content: Words
    frequency: Frequency
    classification: Classification
    retention_days: Annotated[int, Meta(ge=1, le=36_600)]
    active_from: date  # days in England, both included; without an end it runs until it is changed
    active_to: date | None = None

    def active_on(self, day: date) -> bool:
        """Whether the agreement runs on this day."""
        return self.active_from <= day and (self.active_to is None or day <= self.active_to)


class MovementFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of movements."""

    movements: Annotated[tuple[Movement, ...], Meta(min_length=1)]


class LoadedMovements(msgspec.Struct, frozen=True):
    """What loading a file did, by movement id."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    kept: tuple[
        str, ...
    ]  # differ, but the governance group has decided on them or is about to: a file cannot


class ListedMovement(msgspec.Struct, frozen=True):
    """A movement as the hub holds it."""

    movement: Movement
    version: int  # rises by one with every change
    active: bool  # on the domain clock's day


def read(path: Path) -> tuple[Movement, ...]:
    """The movements of a file. Raises Problem CR-001 or CR-051 naming file, line and key as far as known."""
    movements = load(path, MovementFile).movements
    for fault in contradictions(movements):
        raise Problem("CR-051", fault, where=str(path), remedy="Mend the file; nothing of it was loaded.")
    return movements


def is_id(text: str) -> bool:
    """Whether a movement could have this id; nothing else is asked of the database."""
    try:
        return bool(msgspec.convert(text, Id))
    except msgspec.ValidationError:
        return False


def contradictions(movements: tuple[Movement, ...]) -> list[str]:
    """What movements say that cannot be, in words."""
    counts = Counter(movement.id for movement in movements)
    faults = [f"The id {name} stands {count} times." for name, count in counts.items() if count > 1]
    for movement in movements:
        if (movement.sender.kind is None) == (movement.sender.party is None):
            faults.append(f"{movement.id}: `from` needs either `kind` or `party`, and not both.")
        if movement.active_to is not None and movement.active_to < movement.active_from:
            faults.append(f"{movement.id}: active_to is before active_from.")
    return faults


TEXT = (
    "title, sender_kind, sender_party, recipients, types, purpose, legal_basis, content, frequency, classification, "
    "retention_days, active_from, active_to"
)


def _row_of(table: str) -> str:
    return f"({', '.join(f'{table}.{name.strip()}' for name in TEXT.split(','))})"


GIVEN = """
    jsonb_to_recordset($1) AS given(
        id text, title text, sender_kind text, sender_party text, recipients text[], types text[], purpose text,
        legal_basis text, content text, frequency jsonb, classification text, retention_days integer,
        active_from date, active_to date
    )
"""

# A new version only where something differs from the newest that was approved; the domain clock dates it.
_LOAD = f"""
WITH given AS (
    SELECT * FROM {GIVEN}
), approved AS (
    SELECT DISTINCT ON (id) * FROM hub.movement WHERE state = 'approved' ORDER BY id, version DESC
), known AS (
    SELECT id, max(version) AS version,
        bool_or(state IN ('proposed', 'under review', 'withdrawn') OR (state = 'approved' AND origin = 'group')) AS governed
    FROM hub.movement
    GROUP BY id
), differing AS (
    SELECT given.*, coalesce(known.version, 0) + 1 AS version, coalesce(known.governed, false) AS governed
    FROM given
    LEFT JOIN known ON known.id = given.id
    LEFT JOIN approved ON approved.id = given.id
    WHERE approved.id IS NULL OR {_row_of("approved")} IS DISTINCT FROM {_row_of("given")}
), loaded AS (
    INSERT INTO hub.movement (id, version, {TEXT}, loaded_at)
    SELECT id, version, {TEXT}, engines.domain_now() FROM differing WHERE NOT governed
    RETURNING id, version
), steps AS (
    INSERT INTO hub.movement_step (movement, version, step, at, role, who, public_who, reason)
    SELECT id, version, 'loaded', engines.domain_now(), 'operator', 'operator', 'the operator',
        'approved by the operator at set-up'
    FROM loaded
)
SELECT id, version, governed FROM differing
"""  # noqa: S608 - constant text

_COLUMNS = """
    m.id, m.version, m.title, m.sender_kind, m.sender_party, m.recipients, m.types, m.purpose, m.legal_basis,
    m.content, m.frequency, m.classification, m.retention_days, m.active_from, m.active_to, m.active
"""

_LIST = f"SELECT {_COLUMNS} FROM hub.current_movement m ORDER BY m.id"  # noqa: S608 - constant text

# A party's own movements: those it may send under, and those whose messages can reach it.
_LIST_OF_PARTY = f"""
WITH me AS (
    SELECT p.urn, p.kinds, array_append(array_agg(a.alias) FILTER (WHERE a.alias IS NOT NULL), p.urn) AS names
    FROM hub.party p LEFT JOIN hub.party_alias a ON a.party = p.urn
    WHERE p.urn = $1
    GROUP BY p.urn
)
SELECT {_COLUMNS}
FROM hub.current_movement m, me
WHERE m.sender_kind = ANY(me.kinds)
   OR m.sender_party = ANY(me.names)
   OR m.recipients && me.names
   OR m.recipients && ARRAY(SELECT DISTINCT r.role FROM hub.relation r WHERE r.other = me.urn)
   OR m.recipients && ARRAY(SELECT 'the addressed ' || kind FROM unnest(me.kinds) AS kind)
ORDER BY m.id
"""  # noqa: S608 - constant text


async def load_movements(connection: Any, path: Path) -> LoadedMovements:
    """Load a movements file in one transaction, as approved by the operator; movements it does not name stay.

    Raises Problem CR-001 or CR-051, and then nothing was loaded.
    """
    movements = read(path)
    rows = await connection.fetch(_LOAD, [row_of(movement) for movement in movements])
    stored = {row["id"]: row["version"] for row in rows if not row["governed"]}
    kept = {row["id"] for row in rows if row["governed"]}
    return LoadedMovements(
        new=tuple(name for name, version in stored.items() if version == 1),
        changed=tuple(name for name, version in stored.items() if version > 1),
        unchanged=tuple(each.id for each in movements if each.id not in stored and each.id not in kept),
        kept=tuple(sorted(kept)),
    )


async def list_movements(connection: Any, party: str | None = None) -> list[ListedMovement]:
    """All approved movements by id, or only those a party (urn) sends or receives under.

    Of each the version that runs today, or else the newest.
    """
    rows = await (connection.fetch(_LIST) if party is None else connection.fetch(_LIST_OF_PARTY, party))
    return [_listed(row) for row in rows]


def row_of(movement: Movement) -> dict[str, Any]:
    """The movement as the columns of hub.movement."""
    values: dict[str, Any] = msgspec.to_builtins(movement)
    sender = values.pop("from")
    return {
        **values,
        "sender_kind": sender["kind"],
        "sender_party": sender["party"],
        "recipients": values.pop("to"),
    }


def _listed(row: Any) -> ListedMovement:
    return ListedMovement(movement=from_row(row), version=row["version"], active=row["active"])


def from_row(row: Any) -> Movement:
    """The movement in a row of hub.movement."""
    return Movement(
        id=row["id"],
        title=row["title"],
        sender=Sender(kind=row["sender_kind"], party=row["sender_party"]),
        to=tuple(row["recipients"]),
        types=tuple(row["types"]),
        purpose=row["purpose"],
        legal_basis=row["legal_basis"],
        content=row["content"],
        frequency=msgspec.convert(row["frequency"], Frequency),
        classification=row["classification"],
        retention_days=row["retention_days"],
        active_from=row["active_from"],
        active_to=row["active_to"],
    )
