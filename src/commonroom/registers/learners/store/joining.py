"""A clerk makes two numbers one: through a case, so that it has verdicts, a reason and as many clerks as it takes.

One clerk is enough where nothing says that they are two. Of what looks like twins or like two people, and of a pair that a
clerk has parted or called different, another clerk must agree: by asking for the same, or in the review.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from commonroom.engines import clock
from commonroom.registers.learners.matching.parameters import parameters
from commonroom.registers.learners.matching.people import Weighed
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import (
    apart,
    candidates,
    cases,
    merging,
    permissions,
    reviewing,
    watch,
)
from commonroom.registers.learners.store.cases import NewCase, Suspect
from commonroom.registers.learners.store.values import Caller, Joined, MergeMade

DOUBTFUL = ("twin", "different")  # guards after which another clerk must agree
_OPEN = """
SELECT r.id, r.person, r.master
FROM learners.review r
WHERE r.kind = 'pair' AND r.closed_at IS NULL AND r.person = ANY ($1::uuid[]) AND EXISTS (
    SELECT FROM json_array_elements(r.candidates) AS one
    WHERE (one ->> 'person')::uuid = ANY ($1::uuid[])
)
ORDER BY r.opened_at LIMIT 1
"""
# Two clerks who ask for the same pair at once open one case. The persons are held after the case, as the review does.
_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('join ' || $1::text || $2::text, 0))"
_ABOUT = "SELECT person FROM learners.review WHERE id = $1"
_DONE = "SELECT master, linked FROM learners.merge WHERE id = $1"
_SAY_MASTER = "UPDATE learners.review SET master = $2, clerks = greatest(clerks, $3) WHERE id = $1"
_PERSON = "SELECT person FROM learners.uln WHERE number = $1"
_MERGES = """
SELECT m.id AS merge, p.uln AS master, m.numbers AS linked, m.at, m.decided_by,
    u.at AS undone_at, u.decided_by AS undone_by
FROM learners.merge m
JOIN learners.person p ON p.id = m.master
LEFT JOIN learners.unmerge u ON u.merge = m.id
WHERE m.master = $1 OR m.linked = $1 OR m.numbers @> ARRAY[$2]
ORDER BY m.at DESC, m.id DESC
LIMIT 100
"""


async def join(conn: Any, who: Caller, master: str, linked: str, numbers: Numbers) -> Joined:
    """Make the number `linked` stand for `master`, or ask another clerk to agree.

    Raises Problem CR-212 when the two are not active numbers of two persons, or another clerk wants the other number
    to stay; CR-213 when this clerk has asked for it before.
    """
    permissions.require(who, "merge")
    async with conn.transaction():
        persons = await merging.active(conn, master, linked)
        pair = (persons[linked], persons[master])
        await conn.execute(_TURN, *map(str, sorted(pair)))
        case = await _case(conn, who, pair)
        decided = await reviewing.decide_case(
            conn, who, case, "same", numbers, await _other(conn, case, pair)
        )
        if decided.closed and set(await conn.fetchrow(_DONE, decided.merge) or ()) != set(pair):
            raise merging.problem("one of the two was merged in the meantime")
        await watch.note(
            conn, who, "merge", "merged" if decided.closed else "another clerk must agree", pair[1]
        )
    return Joined(case=case, master=master, linked=linked, merge=decided.merge)


async def merges(conn: Any, who: Caller, uln: str) -> list[MergeMade]:
    """The merges that a number had part in, newest first."""
    permissions.require(who, "merge")
    person = await conn.fetchval(_PERSON, uln)
    found = [
        MergeMade(**{**row, "linked": tuple(row["linked"])}) for row in await conn.fetch(_MERGES, person, uln)
    ]
    await watch.note(conn, who, "merges", str(len(found)), person)
    return found


async def _case(conn: Any, who: Caller, pair: tuple[UUID, UUID]) -> UUID:
    """The open case about the two, or a new one; it remembers whose number is to stay."""
    known = await candidates.known_of(conn, set(pair))
    weighed = await candidates.weighed(conn, known[pair[0]], known[pair[1]])
    clerks = 2 if await _is_doubtful(conn, pair, weighed) else 1
    row = await conn.fetchrow(_OPEN, pair)
    if row is not None and row["master"] not in (None, pair[1]):
        raise merging.problem("another clerk asked for the other number to stay")
    case: UUID = row["id"] if row is not None else await _opened(conn, who, pair, known[pair[0]], weighed)
    await conn.execute(_SAY_MASTER, case, pair[1], clerks)
    return case


async def _opened(
    conn: Any, who: Caller, pair: tuple[UUID, UUID], linked: candidates.RegisteredPerson, weighed: Weighed
) -> UUID:
    new = NewCase(
        kind="pair",
        party=who.party,
        sent=linked.details,
        candidates=(Suspect(pair[1], weighed.weight, weighed.parts, weighed.guard),),
        guard=weighed.guard,
        model=parameters().version,
        person=pair[0],
    )
    (case,) = await cases.open_all(conn, [new], await clock.now(conn))
    return case


async def _is_doubtful(conn: Any, pair: tuple[UUID, UUID], weighed: Weighed) -> bool:
    return weighed.guard in DOUBTFUL or apart.ordered(*pair) in await apart.of(conn, pair)


async def _other(conn: Any, case: UUID, pair: tuple[UUID, UUID]) -> UUID:
    """Which of the two is the candidate of the case."""
    person = await conn.fetchval(_ABOUT, case)
    return pair[1] if person == pair[0] else pair[0]
