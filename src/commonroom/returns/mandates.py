"""Who may speak for whom: a school lets its authority send its returns, from a day to a day. Without it nobody may."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import msgspec

from commonroom import ids
from commonroom.problems import Problem
from commonroom.returns import codes

# A mandate for a collection, or for all of them, on the domain's day.
HOLDS = """
SELECT EXISTS (
    SELECT FROM returns.mandate
    WHERE party = $1 AND agent = $2 AND (collection IS NULL OR collection = $3)
        AND engines.domain_now()::date BETWEEN from_day AND coalesce(to_day, 'infinity')
)
"""

_GIVE = """
INSERT INTO returns.mandate (id, party, agent, collection, from_day, to_day, reason, who, given_at)
VALUES ($1, $2, $3, $4, coalesce($5, engines.domain_now()::date), $6, $7, $8, engines.domain_now())
"""

# Never further than it was given for; one that has not begun is over before it begins.
_END = """
UPDATE returns.mandate SET to_day = greatest(from_day - 1, coalesce($4, engines.domain_now()::date - 1))
WHERE party = $1 AND agent = $2 AND collection IS NOT DISTINCT FROM $3
    AND coalesce(to_day, 'infinity') > coalesce($4, engines.domain_now()::date - 1)
"""

_OF = """
SELECT id, party, agent, collection, from_day, to_day, reason, who FROM returns.mandate
WHERE $1::text IS NULL OR $1 IN (party, agent) ORDER BY party, agent, from_day, id
"""

_SCHOOL_AND_ITS_AUTHORITY = """
SELECT EXISTS (SELECT FROM hub.relation WHERE party = $1 AND other = $2 AND role = 'its local authority')
"""


class Mandate(msgspec.Struct, frozen=True, kw_only=True):
    """One mandate; `collection` is None where it is for all, `to_day` where it goes on."""

    id: UUID
    party: str
    agent: str
    collection: str | None
    from_day: date
    to_day: date | None
    reason: str
    who: str


async def holds(connection: Any, party: str, agent: str, collection: str) -> bool:
    """Whether `agent` may speak for the party in this collection today; everybody may for themselves."""
    return party == agent or bool(await connection.fetchval(HOLDS, party, agent, collection))


async def give(
    connection: Any,
    party: str,
    agent: str,
    *,
    collection: str | None = None,
    first: date | None = None,
    last: date | None = None,
    reason: str = "",
    who: str,
) -> None:
    """Let the party's authority speak for it, from today where no day is said. Raises Problem CR-198."""
    if not await connection.fetchval(_SCHOOL_AND_ITS_AUTHORITY, party, agent):
        raise Problem(
            codes.NOT_YOURS,
            "A mandate is given by a school to its own local authority.",
            status=403,
            remedy="Give it as the school, to the authority that the directory names.",
        )
    if last is not None and first is not None and last < first:
        raise Problem(codes.NOT_YOURS, "The mandate ends before it begins.", remedy="Give a later last day.")
    await connection.execute(_GIVE, ids.uuid7(), party, agent, collection, first, last, reason.strip(), who)


async def end(
    connection: Any, party: str, agent: str, *, collection: str | None = None, last: date | None = None
) -> int:
    """Let the party's mandates of this collection end with a day, without one yesterday; how many did."""
    done: str = await connection.execute(_END, party, agent, collection, last)
    return int(done.rpartition(" ")[2])


async def listed(connection: Any, party: str | None = None) -> list[Mandate]:
    """The mandates that a party has given or been given; all where none is named."""
    return [Mandate(**dict(row)) for row in await connection.fetch(_OF, party)]
