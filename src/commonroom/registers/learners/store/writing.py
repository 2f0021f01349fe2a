"""Writing: what was sent, whom it is about, and the persons that follow from it. Sets, never loops of statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from commonroom.registers.learners.matching.people import Part
from commonroom.registers.learners.store.persons import Person, Said, block_hashes, project
from commonroom.registers.learners.store.values import Caller

_SAY = """
WITH sent AS (
    INSERT INTO learners.registration (id, kind, party, person, purpose, sent, at)
    SELECT given.id, $2::text, $3::text, $4::text, $5::text, given.sent::json, $6::timestamptz
    FROM unnest($1::uuid[], $7::text[]) WITH ORDINALITY AS given (id, sent, place)
    ORDER BY given.place
)
INSERT INTO learners.identity_link (registration, person, decided_by, weight, parts, model, guard, holds_by, at)
SELECT given.id, given.person, given.decided_by, given.weight, given.parts::json, given.model, given.guard,
    given.holds_by, $6::timestamptz
FROM unnest($1::uuid[], $8::uuid[], $9::text[], $10::real[], $11::text[], $12::text[], $13::text[], $14::text[])
    WITH ORDINALITY AS given (id, person, decided_by, weight, parts, model, guard, holds_by, place)
WHERE given.person IS NOT NULL
ORDER BY given.place
"""
_NEW = """
WITH given AS (
    SELECT id, uln, known, more, blocks::bigint[] AS blocks
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) AS one (id, uln, known, more, blocks)
), learner AS (
    INSERT INTO learners.learner (id, recorded_at) SELECT id, $7::timestamptz FROM given
    ON CONFLICT (id) DO NOTHING
), numbered AS (
    INSERT INTO learners.uln (number, person, status, issued_at) SELECT uln, id, 'active', $7::timestamptz FROM given
), person AS (
    INSERT INTO learners.person (id, uln, version, known, more, registered_by, blocks, created_at, updated_at)
    SELECT id, uln, 1, known::json, more::json, ARRAY[$6::text], blocks, $7::timestamptz, $7::timestamptz FROM given
)
INSERT INTO learners.block (key, person)
SELECT block.key, given.id FROM given, unnest(given.blocks) AS block (key)
"""
# The key by which a learner of this UPN is known already, where nobody registered has it.
_KEYS = """
SELECT i.value, i.learner
FROM learners.identifier i
JOIN learners.learner l ON l.id = i.learner AND l.same_as IS NULL
WHERE i.scheme = 'upn' AND i.value = ANY ($1::text[])
  AND NOT EXISTS (SELECT FROM learners.person p WHERE p.id = i.learner)
"""
# A UPN that another room met first keeps its key, which from now on stands for the person.
_UPNS = """
WITH offered AS (
    SELECT DISTINCT ON (value) value, person
    FROM unnest($1::text[], $2::uuid[]) AS one (value, person) ORDER BY value, person
), given AS (
    INSERT INTO learners.identifier (scheme, value, learner, recorded_at)
    SELECT 'upn', value, person, $3::timestamptz FROM offered ORDER BY value
    ON CONFLICT (scheme, value) DO NOTHING
)
UPDATE learners.learner l SET same_as = offered.person
FROM offered JOIN learners.identifier i ON i.scheme = 'upn' AND i.value = offered.value
WHERE l.id = i.learner AND l.id <> offered.person AND l.same_as IS NULL
  AND NOT EXISTS (SELECT FROM learners.person p WHERE p.id = l.id)
"""
_LINK = """
INSERT INTO learners.identity_link (registration, person, decided_by, holds_by, at) VALUES ($1, $2, $3, $4, $5)
"""
_HOLD = "SELECT id, known, more FROM learners.person WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE"
_CURRENT = "SELECT one, learners.current(one) AS now FROM unnest($1::uuid[]) AS one"
# The newest link of each registration counts.
_SAID = """
SELECT l.person, r.kind, r.party, r.at, r.sent, l.merge IS NOT NULL AS joined,
    l.holds_by IS NOT NULL AS holds
FROM learners.identity_link l
JOIN learners.registration r ON r.id = l.registration
WHERE l.person = ANY ($1::uuid[]) AND NOT EXISTS (
    SELECT FROM learners.identity_link newer
    WHERE newer.registration = l.registration AND newer.entry > l.entry
)
ORDER BY r.entry
"""
_REWRITE = """
WITH given AS (
    SELECT id, known, more, registered_by::text[] AS registered_by, blocks::bigint[] AS blocks, changed,
        updated_at
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::timestamptz[])
        AS one (id, known, more, registered_by, blocks, changed, updated_at)
), gone AS (
    DELETE FROM learners.block b USING learners.person p, given
    WHERE p.id = given.id AND b.person = p.id AND b.key = ANY (p.blocks) AND b.key <> ALL (given.blocks)
), came AS (
    INSERT INTO learners.block (key, person)
    SELECT block.key, given.id FROM given, unnest(given.blocks) AS block (key)
    ON CONFLICT (key, person) DO NOTHING
)
UPDATE learners.person p
SET known = given.known::json, more = given.more::json, registered_by = given.registered_by,
    blocks = given.blocks, version = p.version + given.changed::integer,
    updated_at = given.updated_at, changed_in = pg_current_xact_id()
FROM given WHERE p.id = given.id
"""


# Why a sender may change the person and have everything; one that merely met somebody registered may not.
HoldsBy = Literal["first", "letter", "clerk"]


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a registration is about, and how that was decided. Without a person it waits for a clerk."""

    registration: UUID
    sent: str
    person: UUID | None = None
    decided_by: str = "rule"
    weight: float | None = None
    parts: tuple[Part, ...] = ()
    model: str | None = None
    guard: str | None = None
    holds_by: HoldsBy | None = None


class NewPerson(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who gets a number."""

    person: Person
    id: UUID
    uln: str


async def say(conn: Any, who: Caller, kind: str, links: Sequence[Link], now: datetime) -> None:
    """Keep what was sent, and whom it is about."""
    await conn.execute(
        _SAY,
        [one.registration for one in links],
        kind,
        who.party,
        who.person,
        who.purpose,
        now,
        [one.sent for one in links],
        [one.person for one in links],
        [one.decided_by for one in links],
        [one.weight for one in links],
        [msgspec.json.encode(one.parts).decode() if one.parts else None for one in links],
        [one.model for one in links],
        [one.guard for one in links],
        [one.holds_by for one in links],
    )


async def link(
    conn: Any, registration: UUID, person: UUID, decided_by: str, holds_by: HoldsBy | None, now: datetime
) -> None:
    """Say whom a registration that waited is about."""
    await conn.execute(_LINK, registration, person, decided_by, holds_by, now)


async def add_persons(conn: Any, party: str, new: Sequence[NewPerson], now: datetime) -> None:
    """New persons with their numbers."""
    if not new:
        return
    await conn.execute(
        _NEW,
        [one.id for one in new],
        [one.uln for one in new],
        [_json(one.person.known) for one in new],
        [_json(one.person.more) for one in new],
        [_array(block_hashes(one.person.known)) for one in new],
        party,
        now,
    )


async def keys_of(conn: Any, upns: Sequence[str]) -> dict[str, UUID]:
    """Our keys of learners whom other rooms met by these UPNs and who have no number yet."""
    return dict(await conn.fetch(_KEYS, list(upns))) if upns else {}


async def add_upns(conn: Any, upns: Sequence[tuple[str, UUID]], now: datetime) -> None:
    """Let these UPNs name these persons, unless they name another registered one."""
    if upns:
        await conn.execute(_UPNS, [upn for upn, _ in upns], [person for _, person in upns], now)


async def hold(conn: Any, persons: Iterable[UUID]) -> dict[UUID, UUID]:
    """Keep these persons from being changed or merged until the transaction ends; who each of them is now.

    Whoever merged one of them since it was read held it too, so what is read after the wait is what holds.
    """
    wanted = list(persons)
    if not wanted:
        return {}
    await conn.fetch(_HOLD, wanted)
    current: dict[UUID, UUID] = dict(await conn.fetch(_CURRENT, wanted))
    if moved := set(current.values()) - set(wanted):
        later = await hold(conn, moved)
        current = {one: later.get(now, now) for one, now in current.items()}
    return current


async def rewrite(conn: Any, persons: Iterable[UUID]) -> None:
    """Make these persons anew from what is linked to them. The version rises when anything about one changed."""
    ids = list(persons)
    if not ids:
        return
    before = {row["id"]: (row["known"], row["more"]) for row in await conn.fetch(_HOLD, ids)}
    said: dict[UUID, list[Said]] = {}
    for row in await conn.fetch(_SAID, ids):
        said.setdefault(row["person"], []).append(
            Said(
                kind=row["kind"],
                party=row["party"],
                at=row["at"],
                sent=row["sent"],
                joined=row["joined"],
                holds=row["holds"],
            )
        )
    made = {one: project(one, many) for one, many in said.items() if one in before}
    texts = {one: (_json(person.known), _json(person.more)) for one, person in made.items()}
    await conn.execute(
        _REWRITE,
        list(made),
        [texts[one][0] for one in made],
        [texts[one][1] for one in made],
        [_array(person.registered_by) for person in made.values()],
        [_array(block_hashes(person.known)) for person in made.values()],
        [texts[one] != before[one] for one in made],
        [person.updated_at for person in made.values()],
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _array(values: Iterable[object]) -> str:
    """An array of numbers or of party urns as PostgreSQL writes it."""
    quoted = (str(value).replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
