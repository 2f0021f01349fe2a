"""Our own key of a learner, one for all rooms: given in PostgreSQL before anything that names the learner is written.

It stands here, below the warehouse and the registers, because both give it. Who the learner is, and which keys turned out
to be one learner's (`same_as`), is the business of the learner register.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from commonroom.ids import uuid7

_FIND = "SELECT value, learner FROM learners.identifier WHERE scheme = 'upn' AND value = ANY ($1::text[])"

# Sorted, so that two callers with overlapping lists wait for each other and never lock crosswise. A number that
# another caller gave a key to meanwhile keeps that key, and no learner is made for ours.
_GIVE = """
WITH given AS (
    INSERT INTO learners.identifier (scheme, value, learner, recorded_at)
    SELECT 'upn', offered.value, offered.learner, engines.domain_now()
    FROM unnest($1::text[], $2::uuid[]) AS offered (value, learner)
    ORDER BY offered.value
    ON CONFLICT (scheme, value) DO NOTHING
    RETURNING learner, recorded_at
)
INSERT INTO learners.learner (id, recorded_at)
SELECT learner, recorded_at FROM given
"""

# Another one whenever a key begins to stand for another learner, or does so no more.
_DIGEST = """
SELECT coalesce(md5(string_agg(id::text || same_as::text, ' ' ORDER BY id)), '')
FROM learners.learner
WHERE same_as IS NOT NULL
"""
_SAME = """
WITH RECURSIVE stands (id, now) AS (
    SELECT id, same_as FROM learners.learner WHERE same_as IS NOT NULL
    UNION ALL
    SELECT s.id, l.same_as FROM stands s JOIN learners.learner l ON l.id = s.now WHERE l.same_as IS NOT NULL
)
SELECT s.id, s.now FROM stands s JOIN learners.learner l ON l.id = s.now AND l.same_as IS NULL ORDER BY s.id
"""


async def learner_keys(conn: Any, upns: Iterable[str]) -> dict[str, UUID]:
    """Our key of the learner of each UPN; learners not met before get one. Safe to repeat and to run at once."""
    wanted = sorted(set(upns))
    known = dict(await conn.fetch(_FIND, wanted)) if wanted else {}
    missing = [upn for upn in wanted if upn not in known]
    if missing:
        await conn.execute(_GIVE, missing, [uuid7() for _ in missing])
        known.update(await conn.fetch(_FIND, missing))
    return known


async def digest_of_same(conn: Any) -> str:
    """A short text of which keys stand for others now; empty where none does."""
    return str(await conn.fetchval(_DIGEST))


async def same_learners(conn: Any) -> list[tuple[UUID, UUID]]:
    """The keys that stand for another learner now, each with the key that this one has."""
    return [(row["id"], row["now"]) for row in await conn.fetch(_SAME)]
