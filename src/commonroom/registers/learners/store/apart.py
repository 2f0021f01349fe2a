"""Who is known for two: whom a clerk has parted or called different. What was said of somebody who was merged since holds of
whom he is by now, or the night would find again what a clerk has just parted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

# `stands`: everybody who is one of the given persons by now.
_OF = """
WITH RECURSIVE stands (id, now) AS (
    SELECT one, one FROM unnest($1::uuid[]) AS one
    UNION ALL
    SELECT l.id, s.now FROM stands s JOIN learners.learner l ON l.same_as = s.id
)
SELECT s.now AS one, learners.current(a.other) AS other FROM stands s JOIN learners.apart a ON a.one = s.id
UNION
SELECT s.now AS one, learners.current(a.one) AS other FROM stands s JOIN learners.apart a ON a.other = s.id
"""


async def of(conn: Any, persons: Sequence[UUID]) -> set[tuple[UUID, UUID]]:
    """The pairs, each ordered, of these persons (who stand for themselves) with those from whom they are apart."""
    found = await conn.fetch(_OF, persons)
    return {ordered(row["one"], row["other"]) for row in found if row["other"] is not None}


def ordered(one: UUID, other: UUID) -> tuple[UUID, UUID]:
    """Two persons, the one who was registered first before the other."""
    return (one, other) if one < other else (other, one)
