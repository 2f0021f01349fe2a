"""Movements: the agreements under which messages travel, as a file and as tables.

A movement says who may send what to whom, why, on what legal basis and until when. It is the routing table: where no
active movement applies, nothing travels. How routes are found from movements is `routing.py`.
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
from commonroom.problems import Problem

Id = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Kind = Annotated[str, Meta(pattern=r"^\S(.{0,126}\S)?$")]
Urn = Annotated[str, Meta(pattern=r"^urn:\S{1,250}$")]
Words = Annotated[str, Meta(min_length=3, max_length=2000)]
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
    frequency: Words
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


class ListedMovement(msgspec.Struct, frozen=True):
    """A movement as the hub holds it."""

    movement: Movement
    version: int  # rises by one with every change
    active: bool  # on the domain clock's day


def read(path: Path) -> tuple[Movement, ...]:
    """The movements of a file. Raises Problem CR-001 or CR-051 naming file, line and key as far as known."""
    movements = load(path, MovementFile).movements
    for fault in _contradictions(movements):
        raise Problem("CR-051", fault, where=str(path), remedy="Mend the file; nothing of it was loaded.")
    return movements


def _contradictions(movements: tuple[Movement, ...]) -> list[str]:
    counts = Counter(movement.id for movement in movements)
    faults = [f"The id {name} stands {count} times." for name, count in counts.items() if count > 1]
    for movement in movements:
        if (movement.sender.kind is None) == (movement.sender.party is None):
            faults.append(f"{movement.id}: `from` needs either `kind` or `party`, and not both.")
        if movement.active_to is not None and movement.active_to < movement.active_from:
            faults.append(f"{movement.id}: active_to is before active_from.")
    return faults


# A new version only where something differs; the domain clock dates it.
_UPSERT = """
INSERT INTO hub.movement (
    id, title, sender_kind, sender_party, recipients, types, purpose, legal_basis, content, frequency,
    classification, retention_days, active_from, active_to, loaded_at
)
SELECT given.*, engines.domain_now()
FROM jsonb_to_recordset($1) AS given(
    id text, title text, sender_kind text, sender_party text, recipients text[], types text[], purpose text,
    legal_basis text, content text, frequency text, classification text, retention_days integer,
    active_from date, active_to date
)
ON CONFLICT (id) DO UPDATE SET
    version = movement.version + 1, title = excluded.title,
    sender_kind = excluded.sender_kind, sender_party = excluded.sender_party,
    recipients = excluded.recipients, types = excluded.types, purpose = excluded.purpose,
    legal_basis = excluded.legal_basis, content = excluded.content, frequency = excluded.frequency,
    classification = excluded.classification, retention_days = excluded.retention_days,
    active_from = excluded.active_from, active_to = excluded.active_to, loaded_at = excluded.loaded_at
WHERE (
    movement.title, movement.sender_kind, movement.sender_party, movement.recipients, movement.types,
    movement.purpose, movement.legal_basis, movement.content, movement.frequency, movement.classification,
    movement.retention_days, movement.active_from, movement.active_to
) IS DISTINCT FROM (
    excluded.title, excluded.sender_kind, excluded.sender_party, excluded.recipients, excluded.types,
    excluded.purpose, excluded.legal_basis, excluded.content, excluded.frequency, excluded.classification,
    excluded.retention_days, excluded.active_from, excluded.active_to
)
RETURNING id, version
"""

_COLUMNS = """
    m.id, m.version, m.title, m.sender_kind, m.sender_party, m.recipients, m.types, m.purpose, m.legal_basis,
    m.content, m.frequency, m.classification, m.retention_days, m.active_from, m.active_to,
    EXISTS (SELECT FROM hub.active_movement a WHERE a.id = m.id) AS active
"""

_LIST = f"SELECT {_COLUMNS} FROM hub.movement m ORDER BY m.id"  # noqa: S608 - constant text

# A party's own movements: those it may send under, and those whose messages can reach it.
_LIST_OF_PARTY = f"""
WITH me AS (
    SELECT p.urn, p.kinds, array_append(array_agg(a.alias) FILTER (WHERE a.alias IS NOT NULL), p.urn) AS names
    FROM hub.party p LEFT JOIN hub.party_alias a ON a.party = p.urn
    WHERE p.urn = $1
    GROUP BY p.urn
)
SELECT {_COLUMNS}
FROM hub.movement m, me
WHERE m.sender_kind = ANY(me.kinds)
   OR m.sender_party = ANY(me.names)
   OR m.recipients && me.names
   OR m.recipients && ARRAY(SELECT DISTINCT r.role FROM hub.relation r WHERE r.other = me.urn)
   OR m.recipients && ARRAY(SELECT 'the addressed ' || kind FROM unnest(me.kinds) AS kind)
ORDER BY m.id
"""  # noqa: S608 - constant text


async def load_movements(connection: Any, path: Path) -> LoadedMovements:
    """Load a movements file in one transaction; movements it does not name stay as they are.

    Raises Problem CR-001 or CR-051, and then nothing was loaded.
    """
    movements = read(path)
    rows = await connection.fetch(_UPSERT, [_row(movement) for movement in movements])
    versions = {row["id"]: row["version"] for row in rows}
    return LoadedMovements(
        new=tuple(name for name, version in versions.items() if version == 1),
        changed=tuple(name for name, version in versions.items() if version > 1),
        unchanged=tuple(movement.id for movement in movements if movement.id not in versions),
    )


async def list_movements(connection: Any, party: str | None = None) -> list[ListedMovement]:
    """All movements by id, or only those a party (urn) sends or receives under."""
    rows = await (connection.fetch(_LIST) if party is None else connection.fetch(_LIST_OF_PARTY, party))
    return [_listed(row) for row in rows]


def _row(movement: Movement) -> dict[str, Any]:
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
        frequency=row["frequency"],
        classification=row["classification"],
        retention_days=row["retention_days"],
        active_from=row["active_from"],
        active_to=row["active_to"],
    )
