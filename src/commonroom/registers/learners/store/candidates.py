"""Who of the register shares a block key with a query: one round trip for one query, two for thousands."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any
from uuid import UUID

import msgspec

from commonroom.registers.learners import matching
from commonroom.registers.learners.matching import Frequencies, Prepared
from commonroom.registers.learners.matching.parameters import parameters
from commonroom.registers.learners.matching.people import Decision, Details, Known, Overrides, Weighed
from commonroom.registers.learners.store import name_counts
from commonroom.registers.learners.store.persons import fingerprint, hashed

_COLUMNS = "p.id, p.uln, p.linked, p.version, p.known, p.more, p.created_at, p.updated_at"
# One row at least, with what is known of the register; everybody who shares a key beside it. Few have verdicts of clerks,
# so those are asked for only when there are any.
_ONE = f"""
SELECT {_COLUMNS}, counter.last_value * 10 / 11 AS persons, (SELECT version FROM learners.name_count) AS names,
    EXISTS (SELECT FROM learners.marker m WHERE m.fingerprint = $2) AS marked
FROM learners.uln_counter AS counter
LEFT JOIN learners.person p
    ON p.id = ANY (ARRAY(SELECT b.person FROM learners.block b WHERE b.key = ANY ($1::bigint[])))
"""  # noqa: S608 - constants
# A person whom a clerk named is a candidate in any case.
_VERDICTS = f"""
WITH marked AS (
    SELECT learners.current(person) AS person, verdict FROM learners.marker WHERE fingerprint = $1
)
SELECT {_COLUMNS}, m.verdict FROM marked m JOIN learners.person p ON p.id = m.person
"""  # noqa: S608 - constants
_SHARED = """
SELECT DISTINCT asked.place, b.person
FROM unnest($1::integer[], $2::bigint[]) AS asked (place, key)
JOIN learners.block b ON b.key = asked.key
"""
_MARKED = """
SELECT marked.place::integer - 1 AS place, learners.current(m.person) AS person, m.verdict
FROM unnest($1::bytea[]) WITH ORDINALITY AS marked (fingerprint, place)
JOIN learners.marker m ON m.fingerprint = marked.fingerprint
"""
_KNOWN = "SELECT id, known FROM learners.person WHERE id = ANY ($1::uuid[])"


# The counter behind the numbers steps over one in eleven.
_SIZE = """
SELECT last_value * 10 / 11 AS persons, (SELECT version FROM learners.name_count) AS names
FROM learners.uln_counter
"""


class RegisteredPerson(Known, frozen=True, kw_only=True):
    """A registered person; the key is our id."""

    person: UUID


_DECODE = msgspec.json.Decoder(RegisteredPerson).decode


class Many(msgspec.Struct, frozen=True):
    """The candidates of many queries, as the columnar scorer takes them."""

    known: list[RegisteredPerson]
    pairs: tuple[list[int], list[int]]  # places in the queries, places in `known`
    overrides: dict[int, Overrides]
    registered: int
    frequencies: Frequencies | None  # of names, as the register counted them


class One(msgspec.Struct, frozen=True):
    """The candidates of one query."""

    query: Prepared
    known: list[RegisteredPerson]
    rows: dict[UUID, Any]  # of each of them, as views.learner_of reads it
    overrides: Overrides
    registered: int  # how many the register holds; at least as many as the parameters declare
    frequencies: Frequencies | None

    def decision(self, taken: Set[UUID] = frozenset()) -> Decision:
        """What is done with the query."""
        return matching.decide(
            self.query,
            self.known,
            overrides=self.overrides,
            taken=taken,
            registered=self.registered,
            frequencies=self.frequencies,
        )


async def of_one(conn: Any, details: Details) -> One:
    """Everybody who shares a block key with the query, and what clerks said about it."""
    query, mark = matching.normalise(details), fingerprint(details)
    keys = [hashed(step, key) for step, key in matching.query_keys(query)]
    rows = await conn.fetch(_ONE, keys, mark)
    found = {row["id"]: row for row in rows if row["id"] is not None}
    verdicts = await conn.fetch(_VERDICTS, mark) if rows[0]["marked"] else []
    found |= {row["id"]: row for row in verdicts if row["verdict"] == "same"}
    return One(
        query,
        [_DECODE(row["known"]) for row in found.values()],
        found,
        _overrides([(row["id"], row["verdict"]) for row in verdicts]) if verdicts else Overrides(),
        _at_least_declared(rows[0]["persons"]),
        await name_counts.of_version(conn, rows[0]["names"]) if found else None,
    )


async def of_many(conn: Any, queries: Sequence[Details], keys: Sequence[Sequence[int]]) -> Many:
    """The same for many queries; `keys` are the hashed block keys of each."""
    marks = [fingerprint(details) for details in queries]
    places = [place for place, many in enumerate(keys) for _ in many]
    flat = [key for many in keys for key in many]
    verdicts: dict[int, list[tuple[UUID, str]]] = {}
    for row in await conn.fetch(_MARKED, marks):
        verdicts.setdefault(row["place"], []).append((row["person"], row["verdict"]))
    found = await conn.fetch(_SHARED, places, flat)
    pairs = {(row["place"], row["person"]) for row in found}
    pairs |= {(place, who) for place, many in verdicts.items() for who, said in many if said == "same"}
    persons = await known_of(conn, {person for _, person in pairs})
    order = {person: place for place, person in enumerate(persons)}
    size = await conn.fetchrow(_SIZE)
    ordered = sorted((place, order[person]) for place, person in pairs if person in order)
    return Many(
        list(persons.values()),
        ([place for place, _ in ordered], [person for _, person in ordered]),
        {place: _overrides(many) for place, many in verdicts.items()},
        _at_least_declared(size["persons"]),
        await name_counts.of_version(conn, size["names"]),
    )


async def known_of(conn: Any, persons: set[UUID]) -> dict[UUID, RegisteredPerson]:
    """These persons as the matcher sees them."""
    rows = await conn.fetch(_KNOWN, list(persons))
    return {row["id"]: _DECODE(row["known"]) for row in rows}


async def weighed(conn: Any, one: RegisteredPerson, other: RegisteredPerson) -> Weighed:
    """Two registered persons beside each other, with their histories."""
    size = await conn.fetchrow(_SIZE)
    return matching.weigh(
        matching.normalise_known(one),
        other,
        registered=_at_least_declared(size["persons"]),
        frequencies=await name_counts.of_version(conn, size["names"]),
    )


def _at_least_declared(persons: int) -> int:
    """The more there are, the more it takes to be one of them; a small register is no reason to take less."""
    return max(persons, parameters().registered)


def _overrides(verdicts: Sequence[tuple[UUID, str]]) -> Overrides:
    return Overrides(
        same=frozenset(person for person, verdict in verdicts if verdict == "same"),
        different=frozenset(person for person, verdict in verdicts if verdict == "different"),
    )
