"""How often names are borne in the register: counted at night, kept in the database, loaded by whoever decides.

A name that the country's table calls rare may be a common one here, and so be shared by many. Who decides reads the version
of the counts with the candidates, so all processes decide by the newest ones without being told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from commonroom.ids import uuid7
from commonroom.registers.learners.matching import Frequencies
from commonroom.registers.learners.matching.normalise import named
from commonroom.registers.learners.matching.parameters import parameters
from commonroom.registers.learners.store import permissions, watch
from commonroom.registers.learners.store.values import Caller

CHUNK = 20_000
# Names borne by less than this part of the least share that is taken for any name move a weight by less than 0.1 bits.
TOO_RARE = 1 / 20
_KEPT_LOADED = 4  # versions; more than one where a process works with several databases
_BORNE = """
SELECT p.known -> 'details' ->> 'given_name' AS given, p.known -> 'details' ->> 'family_name' AS family,
    count(*) AS bearers
FROM learners.person p
WHERE EXISTS (SELECT FROM learners.uln u WHERE u.person = p.id AND u.status = 'active')
GROUP BY given, family
"""
# Two who count at once would both write every name.
_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('learners.count_names', 0))"
_FOLDED = "CREATE TEMPORARY TABLE folded (given text, family text, bearers bigint)"
_DROP = "DROP TABLE folded"
_PERSONS = "SELECT coalesce(sum(bearers), 0)::bigint FROM folded"
_FORGET = "DELETE FROM learners.name_bearers"
_FORGET_TOGETHER = "DELETE FROM learners.names_together"
_KEEP = """
INSERT INTO learners.name_bearers (kind, name, bearers)
SELECT 'given', given, sum(bearers) FROM folded WHERE given <> '' GROUP BY given HAVING sum(bearers) >= $1
UNION ALL
SELECT 'family', family, sum(bearers) FROM folded WHERE family <> '' GROUP BY family HAVING sum(bearers) >= $2
"""
_KEEP_TOGETHER = """
INSERT INTO learners.names_together (given, family, bearers)
SELECT given, family, sum(bearers) FROM folded WHERE given <> '' AND family <> ''
GROUP BY given, family HAVING sum(bearers) >= $1
"""
_NOTE = """
INSERT INTO learners.name_count (version, persons, counted_at) VALUES ($1, $2, engines.domain_now())
ON CONFLICT (only_row) DO UPDATE
SET version = excluded.version, persons = excluded.persons, counted_at = excluded.counted_at
"""
_KEPT = """
SELECT kind, count(*) FROM learners.name_bearers GROUP BY kind
UNION ALL
SELECT 'together', count(*) FROM learners.names_together
"""
# In one statement, so that all of it is of one counting.
_LOAD = """
SELECT 'counting' AS kind, version::text AS given, '' AS family, persons AS bearers FROM learners.name_count
UNION ALL
SELECT kind, name, '', bearers FROM learners.name_bearers
UNION ALL
SELECT 'together', given, family, bearers FROM learners.names_together
"""

_loaded: dict[UUID, Frequencies] = {}


class NamesCounted(msgspec.Struct, frozen=True, kw_only=True):
    """What the counting found: persons, and the names and pairs of names that are kept."""

    persons: int
    given_names: int
    family_names: int
    together: int


async def count_names(conn: Any, who: Caller) -> NamesCounted:
    """Count the current names of everybody anew. One transaction; who decides meanwhile does so by the former counts."""
    permissions.require(who, "merge")
    async with conn.transaction():
        await conn.execute(_TURN)
        await conn.execute(_FOLDED)
        await _fold(conn)
        persons = await conn.fetchval(_PERSONS)
        scales = parameters()
        await conn.execute(_FORGET)
        await conn.execute(_FORGET_TOGETHER)
        await conn.execute(
            _KEEP, persons * scales.given.rarest * TOO_RARE, persons * scales.family.rarest * TOO_RARE
        )
        await conn.execute(_KEEP_TOGETHER, max(scales.together_at_least, persons * scales.together_share))
        await conn.execute(_NOTE, uuid7(), persons)
        await conn.execute(_DROP)
        kept = dict(await conn.fetch(_KEPT))
        await watch.note(conn, who, "count_names", f"{persons} persons", None)
    return NamesCounted(
        persons=persons,
        given_names=kept.get("given", 0),
        family_names=kept.get("family", 0),
        together=kept.get("together", 0),
    )


async def of_version(conn: Any, version: UUID | None) -> Frequencies | None:
    """The counts of this version, or of one that came since; None where names were never counted: the table alone counts."""
    if version is None:
        return None
    return _loaded.get(version) or await _load(conn)


async def _fold(conn: Any) -> None:
    """Write the names as the matcher folds them beside how many bear them."""
    rows = await conn.cursor(_BORNE)
    while chunk := await rows.fetch(CHUNK):
        # In a thread: what else this process serves must not stand still meanwhile.
        records = await asyncio.to_thread(_folded, chunk)
        await conn.copy_records_to_table("folded", records=records)


def _folded(chunk: Sequence[Any]) -> list[tuple[str, str, int]]:
    folded = [(*named(row["given"], row["family"]), row["bearers"]) for row in chunk]
    return [(given.partition(" ")[0], family, bearers) for given, family, bearers in folded]


async def _load(conn: Any) -> Frequencies | None:
    counts: dict[str, dict[str, int]] = {"given": {}, "family": {}}
    together: dict[tuple[str, str], int] = {}
    version, persons = None, 0
    for kind, given, family, bearers in await conn.fetch(_LOAD):
        if kind == "counting":
            version, persons = UUID(given), bearers
        elif kind == "together":
            together[given, family] = bearers
        else:
            counts[kind][given] = bearers
    if version is None:
        return None
    while len(_loaded) >= _KEPT_LOADED:
        del _loaded[next(iter(_loaded))]
    loaded = _loaded[version] = Frequencies(counts["given"], counts["family"], together, persons)
    return loaded
