"""Our own learner ids. A UPN names one learner; the id joins records and never changes hands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from commonroom.engines.learner_keys import learner_keys
from commonroom.problems import Problem, add_codes
from commonroom.standard import is_valid

add_codes({"CR-089": "The identifier is not valid"})

MOST_AT_ONCE = 50_000

_ONE = """
SELECT l.id, coalesce(l.same_as, l.id) AS person
FROM learners.learner l
WHERE l.id = ANY ($1::uuid[])
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
    return await learner_keys(conn, upns)


async def same_learners(conn: Any, learners: Sequence[UUID]) -> dict[UUID, UUID]:
    """The learner that each id stands for now: itself, or the one it was found to be. Ids we never gave are left out."""
    return {row["id"]: row["person"] for row in await conn.fetch(_ONE, list(learners))}
