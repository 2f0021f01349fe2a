"""Opening cases for clerks. The same details sent again wait for the case that is open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commonroom.ids import uuid7
from commonroom.registers.learners.matching.people import Details, Part
from commonroom.registers.learners.store.persons import fingerprint

TWO_CLERKS = ("twin",)  # guards after which two clerks must agree

_OPEN = (
    "SELECT fingerprint, id FROM learners.review WHERE closed_at IS NULL AND fingerprint = ANY ($1::bytea[])"
)
_ADD = """
INSERT INTO learners.review (
    id, kind, registration, person, party, sent, candidates, guard, model, fingerprint, clerks, note, opened_at
)
SELECT id, kind, registration, person, party, sent::json, candidates::json, guard, model, fingerprint, clerks, note, $1
FROM unnest(
    $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
    $11::bytea[], $12::smallint[], $13::text[]
) AS given (
    id, kind, registration, person, party, sent, candidates, guard, model, fingerprint, clerks, note
)
"""


class Suspect(msgspec.Struct, frozen=True):
    """A candidate as the case keeps it."""

    person: UUID
    weight: float
    parts: tuple[Part, ...]
    guard: str | None


class NewCase(msgspec.Struct, frozen=True, kw_only=True):
    """What a clerk is asked."""

    kind: str
    party: str
    sent: Details
    candidates: tuple[Suspect, ...]
    guard: str | None
    model: str
    registration: UUID | None = None
    person: UUID | None = None
    note: str = ""


async def open_all(conn: Any, new: Sequence[NewCase], now: datetime) -> list[UUID]:
    """The case of each, opened unless one for the same details is open."""
    prints = [fingerprint(one.sent) if one.kind == "registration" else None for one in new]
    known: dict[bytes | None, UUID] = dict(
        await conn.fetch(_OPEN, [mark for mark in prints if mark is not None])
    )
    ids, adding = list[UUID](), list[tuple[UUID, bytes | None, NewCase]]()
    for mark, one in zip(prints, new, strict=True):
        case = known.get(mark) if mark is not None else None
        if case is None:
            case = uuid7()
            adding.append((case, mark, one))
            known[mark] = case
        ids.append(case)
    await _add(conn, adding, now)
    return ids


async def _add(conn: Any, adding: Sequence[tuple[UUID, bytes | None, NewCase]], now: datetime) -> None:
    if not adding:
        return
    many = [one for _, _, one in adding]
    await conn.execute(
        _ADD,
        now,
        [case for case, _, _ in adding],
        [one.kind for one in many],
        [one.registration for one in many],
        [one.person for one in many],
        [one.party for one in many],
        [msgspec.json.encode(one.sent).decode() for one in many],
        [msgspec.json.encode(one.candidates).decode() for one in many],
        [one.guard for one in many],
        [one.model for one in many],
        [mark for _, mark, _ in adding],
        [2 if one.guard in TWO_CLERKS else 1 for one in many],
        [one.note for one in many],
    )
