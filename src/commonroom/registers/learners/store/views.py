"""What a caller is shown of a learner: everything, or only what the caller sent and got right."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import msgspec

from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.store.candidates import RegisteredPerson
from commonroom.registers.learners.store.persons import DETAILS, OTHERS, REFUSED, More
from commonroom.registers.learners.store.values import Caller, Learner

_SHOWN = """
SELECT id, uln, linked, version, known, more, created_at, updated_at
FROM learners.person
WHERE id = ANY ($1::uuid[])
"""
_KEPT = ("uln", "version", "master_substituted", "linked_ulns", "ability_to_share")
_HIDDEN = tuple(name for name in Learner.__struct_fields__ if name not in _KEPT)


async def learners_of(conn: Any, persons: Sequence[UUID]) -> dict[UUID, Learner]:
    """These persons, with everything the register has."""
    return {row["id"]: learner_of(row) for row in await conn.fetch(_SHOWN, list(persons))}


def shown(who: Caller, learner: Learner, sent: Details, hidden: Collection[str] = ()) -> Learner:
    """A learner who was found for certain. Of one who does not share, only what the caller sent."""
    if learner.ability_to_share == REFUSED and who.role != "clerk":
        return masked(learner, sent)
    return msgspec.structs.replace(learner, **dict.fromkeys(hidden))


def masked(learner: Learner, sent: Details) -> Learner:
    """A learner as somebody may see him who knows only this much: what was not sent, or sent differently, is left out."""
    hidden = [name for name in _HIDDEN if not _same(getattr(sent, name, None), getattr(learner, name))]
    return msgspec.structs.replace(learner, **dict.fromkeys(hidden))


def candidate(learner: Learner, sent: Details) -> Learner:
    """A learner who may be the one: what was sent and is right, and nothing by which the rest could be asked for."""
    right = {
        name: getattr(learner, name) for name in DETAILS if _same(getattr(sent, name), getattr(learner, name))
    }
    return Learner(uln=None, version=None, **right)


def learner_of(row: Any) -> Learner:
    """A row of learners.person, with everything the register has."""
    details = msgspec.json.decode(row["known"], type=RegisteredPerson).details
    others = msgspec.json.decode(row["more"], type=More).others
    values: dict[str, Any] = {name: getattr(details, name) or None for name in DETAILS}
    values |= {name: others.get(name) for name in OTHERS}
    return Learner(
        uln=row["uln"],
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        linked_ulns=tuple(row["linked"]),
        **values,
    )


def _same(sent: str | None, kept: Any) -> bool:
    return bool(sent) and "".join(str(sent).casefold().split()) == "".join(str(kept).casefold().split())
