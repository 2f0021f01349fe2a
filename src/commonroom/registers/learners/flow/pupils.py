"""Where each pupil of each school stands: what was told, what was submitted to the register, which number the school has.

Each step is one transaction and leaves the next one's work in the tables, so a kill between two of them loses nothing:
letters with the marks that they were taken; registrations with the letters to schools that come of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from commonroom import exchange, log, standard
from commonroom.engines import clock, database
from commonroom.exchange import RecordSet
from commonroom.ids import uuid7
from commonroom.registers.learners import store
from commonroom.registers.learners.files.pupils import BY_SCHOOL, NOTICE_GIVEN
from commonroom.registers.learners.flow.tellings import Key, Rekeyed, Telling, newest
from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import Caller, Registration

NUMBER = "learner_number"
SOURCE = "hub"
# Numbers are the Department's doing, at no school's request; the school is the party whose pupil it is.
ROLE, PURPOSE = "department", "statutory_return"
PUPILS_AT_ONCE = 2_000
RECORDS_A_LETTER = 500
# How long pupils wait with whom something failed.
HELD = timedelta(minutes=1)
_log = log.get("learner numbers")

# One process at a time: the steps are short, and what two did at once would have to be told apart.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('learners.flow', 0))"

_MARK = """
INSERT INTO learners.taken (sender, message)
SELECT * FROM unnest($1::text[], $2::text[])
ON CONFLICT DO NOTHING
RETURNING sender, message
"""

_KEEP = """
INSERT INTO learners.told AS held (school, upn, valid_from, version, details, due_on)
SELECT * FROM unnest($1::text[], $2::text[], $3::date[], $4::bigint[], $5::jsonb[], $6::date[])
ON CONFLICT (school, upn, valid_from) DO UPDATE
SET version = excluded.version, details = excluded.details, due_on = excluded.due_on
WHERE held.version < excluded.version
"""

# The present telling is the one that holds from the latest day.
_REFRESH = """
INSERT INTO learners.pupil AS held (school, upn, party, details, due_on, digest)
SELECT
    asked.school, asked.upn, asked.party, present.details, present.due_on,
    sha256(convert_to(present.details::text, 'UTF8'))
FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (school, upn, party)
LEFT JOIN LATERAL (
    SELECT told.details, told.due_on FROM learners.told AS told
    WHERE told.school = asked.school AND told.upn = asked.upn AND told.details IS NOT NULL
    ORDER BY told.valid_from DESC LIMIT 1
) AS present ON true
ON CONFLICT (school, upn) DO UPDATE
SET party = excluded.party, details = excluded.details, digest = excluded.digest,
    due_on = CASE WHEN held.early THEN held.due_on ELSE excluded.due_on END
"""

_EARLY = """
UPDATE learners.pupil AS pupil SET early = true, due_on = least(pupil.due_on, $3)
FROM unnest($1::text[], $2::text[]) AS said (school, upn)
WHERE pupil.school = said.school AND pupil.upn = said.upn
"""

_MOVE_TOLD = """
WITH old AS (
    DELETE FROM learners.told WHERE school = $1 AND upn = $2 RETURNING valid_from, version, details, due_on
)
INSERT INTO learners.told (school, upn, valid_from, version, details, due_on)
SELECT $1, $3, valid_from, version, jsonb_set(details, '{upn}', to_jsonb($3::text)), due_on FROM old
ON CONFLICT (school, upn, valid_from) DO NOTHING
"""
# What stands under the new number already was told by the school itself and stays; the number given goes over to it.
_MOVE_PUPIL = """
WITH old AS (
    DELETE FROM learners.pupil WHERE school = $1 AND upn = $2
    RETURNING party, due_on, early, registration, uln, version
)
INSERT INTO learners.pupil AS held (school, upn, party, due_on, early, registration, version)
SELECT $1, $3, party, due_on, early, registration, version FROM old
ON CONFLICT (school, upn) DO UPDATE
SET registration = coalesce(held.registration, excluded.registration), early = held.early OR excluded.early
"""
_NUMBER_BEFORE = """
SELECT pupil.uln, person.version
FROM learners.pupil AS pupil
JOIN learners.uln AS given ON given.number = pupil.uln
JOIN learners.person AS person ON person.id = given.person
WHERE pupil.school = $1 AND pupil.upn = $2
"""
# The register has been told of the new UPN; the school is to be told the number under it.
_REKEYED = """
WITH known AS (
    UPDATE learners.pupil SET submitted = digest
    WHERE school = $1 AND upn = $2 AND registration IS NOT NULL
    RETURNING registration
)
INSERT INTO learners.relinked (registration) SELECT registration FROM known ON CONFLICT DO NOTHING
"""

# One school at a time: whoever else locks rows by UPN in their order (the warehouse) never meets us crosswise.
_TO_SUBMIT = """
SELECT school, upn, party, details, digest, uln
FROM learners.pupil
WHERE digest IS NOT NULL AND submitted IS DISTINCT FROM digest AND due_on <= $1
    AND (held_until IS NULL OR held_until < clock_timestamp())
    AND school = (
        SELECT school FROM learners.pupil
        WHERE digest IS NOT NULL AND submitted IS DISTINCT FROM digest AND due_on <= $1
            AND (held_until IS NULL OR held_until < clock_timestamp())
        ORDER BY due_on LIMIT 1
    )
ORDER BY upn
LIMIT $2
"""
_HOLD = """
UPDATE learners.pupil SET held_until = clock_timestamp() + $3 WHERE school = $1 AND upn = ANY ($2::text[])
"""
_TAKEN_ULNS = """
SELECT uln FROM learners.pupil
WHERE school = $1 AND upn <> ALL ($2::text[]) AND uln IS NOT NULL AND details IS NOT NULL
"""
# A registration that a clerk decides about takes the place of none that has a number.
_SUBMITTED = """
UPDATE learners.pupil AS pupil
SET submitted = answered.digest,
    registration = CASE
        WHEN answered.numbered OR pupil.registration IS NULL THEN coalesce(answered.registration, pupil.registration)
        ELSE pupil.registration
    END
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[], $5::boolean[])
    AS answered (school, upn, digest, registration, numbered)
WHERE pupil.school = answered.school AND pupil.upn = answered.upn
"""

_RELINKED = "DELETE FROM learners.relinked RETURNING registration"
_OF_REGISTRATIONS = "SELECT school, upn FROM learners.pupil WHERE registration = ANY ($1::uuid[])"

# Whose number is no longer, or not yet, the one that the school was told.
_TELL = """
UPDATE learners.pupil AS pupil
SET uln = person.uln, version = pupil.version + 1, since = $3
FROM unnest($1::text[], $2::text[]) AS asked (school, upn)
JOIN learners.pupil AS before ON before.school = asked.school AND before.upn = asked.upn
CROSS JOIN LATERAL (
    SELECT link.person FROM learners.identity_link AS link
    WHERE link.registration = before.registration ORDER BY link.entry DESC LIMIT 1
) AS newest
JOIN learners.person AS person ON person.id = newest.person
WHERE pupil.school = before.school AND pupil.upn = before.upn
    AND before.uln IS DISTINCT FROM person.uln AND before.details IS NOT NULL
RETURNING pupil.school, pupil.upn, pupil.party, pupil.uln, before.uln AS former_uln, pupil.since, pupil.version
"""

_WRITE = """
INSERT INTO learners.number_letter (message, recipient, dataschema, records, body)
SELECT message, recipient, $1, records, body
FROM unnest($2::uuid[], $3::text[], $4::integer[], $5::bytea[]) AS letter (message, recipient, records, body)
"""


class Written(msgspec.Struct, frozen=True):
    """What one step did: pupils submitted, those who have a number now, letters to schools."""

    submitted: int = 0
    numbered: int = 0
    letters: int = 0


class Taking(msgspec.Struct, frozen=True, kw_only=True):
    """One good letter: who sent it under which id, and what it tells."""

    sender: str
    message: str
    tellings: Sequence[Telling]
    rekeyed: Sequence[Rekeyed] = ()
    early: frozenset[Key] = frozenset()


async def keep(conn: Any, letters: Sequence[Taking]) -> int:
    """Note what letters tell, with the mark that they were taken, in one transaction; how many were new."""
    async with conn.transaction():
        await conn.execute(_LOCK)
        marked = await conn.fetch(_MARK, [one.sender for one in letters], [one.message for one in letters])
        new = {(row["sender"], row["message"]) for row in marked}
        fresh = [one for one in letters if (one.sender, one.message) in new]
        parties: dict[Key, str] = {}
        tellings: list[Telling] = []
        for one in fresh:
            for change in one.rekeyed:
                await _rekey(conn, one.sender, change)
            tellings += one.tellings
            parties |= {telling.key: one.sender for telling in one.tellings}
            parties |= {(change.school, change.new): one.sender for change in one.rekeyed}
        if parties:
            await _note(conn, tellings, parties)
        early = sorted({key for one in fresh for key in one.early})
        if early:
            await conn.execute(_EARLY, *_columns(early), await clock.today(conn))
        for one in fresh:
            await conn.executemany(_REKEYED, [(change.school, change.new) for change in one.rekeyed])
    return len(fresh)


async def submit(conn: Any, numbers: Numbers) -> Written:
    """Give numbers to a school's pupils whose time it is, and write the letters that tell schools, in one transaction.

    Among those told are pupils whose registration was linked anew since: decided by a clerk, merged, a merge undone.
    """
    async with conn.transaction():
        await conn.execute(_LOCK)
        today = await clock.today(conn)
        rows = await conn.fetch(_TO_SUBMIT, today, PUPILS_AT_ONCE)
        if rows:
            await _register_or_hold(conn, numbers, rows)
        moved = [row["registration"] for row in await conn.fetch(_RELINKED)]
        relinked = await conn.fetch(_OF_REGISTRATIONS, moved) if moved else []
        touched = sorted({(row["school"], row["upn"]) for row in (*rows, *relinked)})
        told = await conn.fetch(_TELL, *_columns(touched), today) if touched else []
        letters = await _write(conn, told)
    return Written(len(rows), len(told), letters)


async def _note(conn: Any, tellings: Sequence[Telling], parties: Mapping[Key, str]) -> None:
    kept = newest(tellings)
    await conn.execute(
        _KEEP,
        [one.school for one in kept],
        [one.upn for one in kept],
        [one.valid_from for one in kept],
        [one.version for one in kept],
        [msgspec.to_builtins(one.details) if one.details else None for one in kept],
        [one.due_on for one in kept],
    )
    keys = sorted(parties)
    await conn.execute(_REFRESH, *_columns(keys), [parties[key] for key in keys])


async def _rekey(conn: Any, party: str, change: Rekeyed) -> None:
    """A pupil goes on under another UPN, with the number that was given; the register learns the new UPN."""
    before = await conn.fetchrow(_NUMBER_BEFORE, change.school, change.old)
    if before is not None:
        who = Caller(party=party, person=None, purpose="correction", role="school")
        await store.update(conn, who, before["uln"], {"upn": change.new}, before["version"])
    await conn.execute(_MOVE_TOLD, change.school, change.old, change.new)
    await conn.execute(_MOVE_PUPIL, change.school, change.old, change.new)


async def _register_or_hold(conn: Any, numbers: Numbers, rows: Sequence[Any]) -> None:
    """What fails with one school's pupils waits a moment and stops nobody else's."""
    try:
        async with conn.transaction():
            await _register(conn, numbers, rows)
    except database.DATABASE_AWAY:
        raise
    except Exception as error:
        log.fault(_log, "pupils of a school not submitted, wait", error)
        await conn.execute(_HOLD, rows[0]["school"], [row["upn"] for row in rows], HELD)


async def _register(conn: Any, numbers: Numbers, rows: Sequence[Any]) -> None:
    """Submit pupils of one school. No two of its pupils get one number: the second goes to a clerk."""
    school = rows[0]["school"]
    upns = [row["upn"] for row in rows]
    taken = [row["uln"] for row in await conn.fetch(_TAKEN_ULNS, school, upns)]
    who = Caller(party=rows[0]["party"], person=None, purpose=PURPOSE, role=ROLE)
    answers = await store.register_many(conn, who, [_registration(row) for row in rows], numbers, taken=taken)
    await conn.execute(
        _SUBMITTED,
        [school] * len(rows),
        upns,
        [row["digest"] for row in rows],
        [answer.registration for answer in answers],
        [answer.uln is not None for answer in answers],
    )


def _registration(row: Any) -> Registration:
    return Registration(
        details=msgspec.convert(row["details"], Details),
        verification_type=BY_SCHOOL,
        ability_to_share=NOTICE_GIVEN,
        source=SOURCE,
        uln=row["uln"],
    )


async def _write(conn: Any, told: Sequence[Any]) -> int:
    """Letters to the schools of these pupils, each with up to 500 numbers; how many."""
    by_party: dict[str, list[Any]] = defaultdict(list)
    for row in sorted(told, key=lambda row: (row["party"], row["school"], row["upn"])):
        by_party[row["party"]].append(row)
    parts = [
        (party, rows[start : start + RECORDS_A_LETTER])
        for party, rows in by_party.items()
        for start in range(0, len(rows), RECORDS_A_LETTER)
    ]
    if parts:
        await conn.execute(
            _WRITE,
            standard.load().dataschema,
            [uuid7() for _ in parts],
            [party for party, _ in parts],
            [len(rows) for _, rows in parts],
            [_body(rows) for _, rows in parts],
        )
    return len(parts)


def _body(rows: Iterable[Any]) -> bytes:
    records = [
        {
            "school": row["school"],
            "upn": row["upn"],
            "uln": row["uln"],
            **({"former_uln": row["former_uln"]} if row["former_uln"] else {}),
            "valid_from": row["since"].isoformat(),
            "version": row["version"],
        }
        for row in rows
    ]
    return exchange.encode(
        RecordSet(standard=standard.load().version, records={NUMBER: records}), compress=True
    )


def _columns(keys: Iterable[Key]) -> tuple[list[str], list[str]]:
    """Schools and UPNs, as `unnest` takes them."""
    pairs = list(keys)
    return [school for school, _ in pairs], [upn for _, upn in pairs]
