"""Our own learner ids. A UPN names one learner; the id joins records and never changes hands."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from commonroom.ids import uuid7
from commonroom.problems import Problem, add_codes
from commonroom.standard import is_valid

add_codes({"CR-089": "The identifier is not valid"})

MOST_AT_ONCE = 50_000

_FIND = "SELECT value, learner FROM learners.identifier WHERE scheme = 'upn' AND value = ANY ($1::text[])"

# Sorted, so that two callers with overlapping lists wait for each other and never lock crosswise. A number that
# another caller gave an id to meanwhile keeps that id, and no learner is made for ours.
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


async def learner_ids(conn: Any, upns: list[str]) -> dict[str, UUID]:
    """Our id of the learner of each UPN; learners not met before get one. Safe to repeat and to run at once.

    Raises Problem CR-089 naming the places in the list (never the numbers) when a UPN is not valid, or when there are
    more than 50,000.
    """
    if len(upns) > MOST_AT_ONCE:
        raise Problem(
            "CR-089", f"{len(upns):,} UPNs were sent at once", remedy=f"Send at most {MOST_AT_ONCE:,}."
        )
    bad = [index for index, upn in enumerate(upns) if not is_valid("UPN", upn)]
    if bad:
        raise Problem(
            "CR-089",
            f"{len(bad)} of the {len(upns)} UPNs are not valid",
            where=f"positions {', '.join(map(str, bad[:10]))}",
            remedy="Check the check letter and the length of each.",
        )
    wanted = sorted(set(upns))
    async with conn.transaction():
        known = {row["value"]: row["learner"] for row in await conn.fetch(_FIND, wanted)}
        missing = [upn for upn in wanted if upn not in known]
        if missing:
            await conn.execute(_GIVE, missing, [uuid7() for _ in missing])
            known.update({row["value"]: row["learner"] for row in await conn.fetch(_FIND, missing)})
    return known
