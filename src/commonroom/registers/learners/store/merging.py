"""Two persons made one, and one made two again. Only links are written, never changed or taken away: what a person is
follows from them, so undoing a merge brings every answer back."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from commonroom.engines import clock
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.registers.learners.store import permissions, watch, writing
from commonroom.registers.learners.store.values import Caller, Merged

_ACTIVE = "SELECT number, person FROM learners.uln WHERE number = ANY ($1::text[]) AND status = 'active'"
_ACTIVE_OF = "SELECT person, number FROM learners.uln WHERE person = ANY ($1::uuid[]) AND status = 'active'"
_HOLD = "SELECT id FROM learners.person WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE"
_NEWEST = """NOT EXISTS (
    SELECT FROM learners.identity_link newer
    WHERE newer.registration = l.registration AND newer.entry > l.entry
)"""
_MOVE = f"""
INSERT INTO learners.identity_link (registration, person, decided_by, weight, parts, model, guard, merge, at, holds_by)
SELECT l.registration, $2, $3, l.weight, l.parts, l.model, l.guard, $4, $5,
    -- Else whoever registered somebody twice, with a slip, would be given a say about the first by the night.
    CASE WHEN $6 AND l.holds_by = 'first' THEN NULL ELSE l.holds_by END
FROM learners.identity_link l
WHERE l.person = $1 AND {_NEWEST}
ORDER BY l.entry
"""  # noqa: S608 - constants
# Back to what stood before this merge first moved the registration; later merges that were undone lie behind it.
_MOVE_BACK = f"""
INSERT INTO learners.identity_link (registration, person, decided_by, weight, parts, model, guard, merge, at, holds_by)
SELECT before.registration, before.person, $2, before.weight, before.parts, before.model, before.guard,
    before.merge, $3, before.holds_by
FROM learners.identity_link l
CROSS JOIN LATERAL (
    SELECT min(moved.entry) AS entry FROM learners.identity_link moved
    WHERE moved.registration = l.registration AND moved.merge = $1
) AS first
CROSS JOIN LATERAL (
    SELECT b.* FROM learners.identity_link b
    WHERE b.registration = l.registration AND b.entry < first.entry ORDER BY b.entry DESC LIMIT 1
) AS before
WHERE l.merge = $1 AND {_NEWEST}
ORDER BY l.entry
"""  # noqa: S608 - constants
_NUMBERS = "SELECT number FROM learners.uln WHERE person = $1 ORDER BY status, issued_at, number"
_LINK_NUMBERS = "UPDATE learners.uln SET person = $2, status = 'linked' WHERE person = $1"
_NUMBERS_BACK = """
UPDATE learners.uln
SET person = $2, status = CASE WHEN number = $3 THEN 'active' ELSE 'linked' END
WHERE number = ANY ($1::text[])
"""
_SAME = "UPDATE learners.learner SET same_as = $2 WHERE id = $1"
_OUT_OF_INDEX = """
DELETE FROM learners.block b USING learners.person p
WHERE p.id = $1 AND b.person = $1 AND b.key = ANY (p.blocks)
"""
_LIST_LINKED = """
UPDATE learners.person p
SET changed_in = pg_current_xact_id(), linked = ARRAY(
    SELECT u.number FROM learners.uln u
    WHERE u.person = p.id AND u.status = 'linked' ORDER BY u.issued_at, u.number
)
WHERE p.id = ANY ($1::uuid[])
"""
_NOTE = (
    "INSERT INTO learners.merge (id, master, linked, numbers, decided_by, at) VALUES ($1, $2, $3, $4, $5, $6)"
)
_MERGE = """
SELECT m.master, m.linked, m.numbers, u.merge IS NOT NULL AS undone
FROM learners.merge m LEFT JOIN learners.unmerge u ON u.merge = m.id
WHERE m.id = $1
"""
_HELD_BY = "SELECT DISTINCT person FROM learners.uln WHERE number = ANY ($1::text[])"
_NOTE_UNDONE = "INSERT INTO learners.unmerge (merge, decided_by, at) VALUES ($1, $2, $3)"


# Or the night would find again what a clerk has just parted.
_APART = "INSERT INTO learners.apart (one, other, review, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"


async def merge(conn: Any, who: Caller, master: str, linked: str) -> Merged:
    """Make two persons one: the number `linked` from now on stands for `master`. For who has decided it; see `join`.

    Raises Problem CR-212 when the two are not active numbers of two persons.
    """
    permissions.require(who, "merge")
    async with conn.transaction():
        persons = await active(conn, master, linked)
        done = await merge_persons(
            conn, persons[master], persons[linked], who.person or who.party, await clock.now(conn)
        )
        await watch.note(conn, who, "merge", "merged", persons[master])
    return done


async def active(conn: Any, *ulns: str) -> dict[str, UUID]:
    """The persons of two numbers. Raises Problem CR-212 unless each stands for itself."""
    persons = {row["number"]: row["person"] for row in await conn.fetch(_ACTIVE, ulns)}
    if len(persons) != 2:  # also when the two are one number
        raise problem("these are not two numbers that stand for themselves")
    return persons


async def merge_persons(
    conn: Any, master: UUID, linked: UUID, decided_by: str, now: datetime, *, by_rule: bool = False
) -> Merged:
    """The same by our ids, in the caller's transaction. A merge that no clerk saw gives nobody rights over the other."""
    await conn.fetch(_HOLD, [master, linked])
    active = dict(await conn.fetch(_ACTIVE_OF, [master, linked]))
    if len(active) != 2:
        raise problem("one of the two was merged in the meantime")
    merge = uuid7()
    numbers = [row["number"] for row in await conn.fetch(_NUMBERS, linked)]
    await conn.execute(_MOVE, linked, master, decided_by, merge, now, by_rule)
    await conn.execute(_LINK_NUMBERS, linked, master)
    await conn.execute(_SAME, linked, master)
    await conn.execute(_LIST_LINKED, [master, linked])
    await conn.execute(_OUT_OF_INDEX, linked)
    await writing.rewrite(conn, [master])
    await conn.execute(_NOTE, merge, master, linked, numbers, decided_by, now)
    return Merged(merge=merge, master=active[master], linked=active[linked])


async def unmerge(conn: Any, who: Caller, merge: UUID) -> Merged:
    """Undo a merge: every answer is as it was before. What was sent about the master since then stays with the master.

    Raises Problem CR-212 when there is no such merge, it was undone, or the master itself was merged since.
    """
    permissions.require(who, "merge")
    async with conn.transaction():
        row = await conn.fetchrow(_MERGE, merge)
        if row is None or row["undone"]:
            raise problem("there is no such merge, or it was undone already")
        master, linked, numbers = row["master"], row["linked"], row["numbers"]
        await conn.fetch(_HOLD, [master, linked])
        held = {one["person"] for one in await conn.fetch(_HELD_BY, numbers)}
        if held != {master}:
            raise problem("the master was merged itself since; undo that first")
        now = await clock.now(conn)
        decided_by = who.person or who.party
        await conn.execute(_NOTE_UNDONE, merge, decided_by, now)
        await conn.execute(_MOVE_BACK, merge, decided_by, now)
        await conn.execute(_NUMBERS_BACK, numbers, linked, numbers[0])
        await conn.execute(_LIST_LINKED, [master, linked])
        await conn.execute(_SAME, linked, None)
        await writing.rewrite(conn, [master, linked])
        await conn.execute(_APART, min(master, linked), max(master, linked), merge, now)
        await watch.note(conn, who, "unmerge", "parted", master)
        active = dict(await conn.fetch(_ACTIVE_OF, [master, linked]))
    return Merged(merge=merge, master=active[master], linked=active[linked])


def problem(detail: str) -> Problem:
    """Why two learners cannot be merged or parted."""
    return Problem(
        "CR-212",
        detail,
        status=409,
        where="the numbers",
        remedy="Look both numbers up and compare the records.",
    )
