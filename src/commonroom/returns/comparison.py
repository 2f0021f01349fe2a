"""What a return is held against: the sender's last one, and the other returns of the same collection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from commonroom.collections import loader
from commonroom.collections.model import Collection
from commonroom.problems import Problem
from commonroom.returns import codes, content, store
from commonroom.returns.store import Return
from commonroom.settings import Settings

# Enrolments that claim a pupil whole: single registration and main dual.
CLAIMS = ("C", "M")

_LAST = """
SELECT id FROM returns.return
WHERE collection = $1 AND party = $2 AND year < $3 AND version IS NOT NULL ORDER BY year DESC LIMIT 1
"""

_RULES = (
    "SELECT rule, count(*) AS times FROM returns.finding WHERE return = $1 AND version = $2 GROUP BY rule"
)

_CONTENTS = """
SELECT r.party, coalesce(p.name, r.party) AS name, v.content
FROM returns.return r
JOIN returns.version v ON v.return = r.id AND v.number = r.version
LEFT JOIN hub.party p ON p.urn = r.party
WHERE r.collection = $1 AND r.year = $2
ORDER BY r.party
"""


class Line(msgspec.Struct, frozen=True):
    """One figure of this return and of the last."""

    name: str
    last: int
    now: int


class Comparison(msgspec.Struct, frozen=True):
    """A return beside the sender's last one: rows of each module, findings of each rule."""

    last_year: int
    records: Line
    modules: list[Line]
    rules: list[Line]


class Duplicate(msgspec.Struct, frozen=True):
    """A pupil whom several returns claim. The UPN is personal: this is for the collector alone."""

    upn: str
    parties: list[str]
    names: list[str]


async def with_last(connection: Any, found: Return) -> Comparison:
    """The current version beside the newest return of an earlier year. Raises Problem CR-196 where either is missing."""
    name = await connection.fetchval(_LAST, found.collection, found.party, found.year)
    if name is None or found.version is None:
        raise Problem(
            codes.NO_RETURN,
            "There is nothing to compare: both this return and one of an earlier year must have been sent.",
            status=404,
            remedy="Load this return, or look at another year.",
        )
    last = await store.by_id(connection, name)
    before, now = await store.version(connection, last), await store.version(connection, found)
    return Comparison(
        last.year,
        Line("records", before.records, now.records),
        _lines(before.modules, now.modules),
        _lines(await _rules(connection, last), await _rules(connection, found)),
    )


async def duplicates(settings: Settings, connection: Any, collection: str, year: int) -> list[Duplicate]:
    """Pupils whom more than one return claims, by UPN: for the collector."""
    rows = await connection.fetch(_CONTENTS, collection, year)
    places = [(row["party"], row["name"], row["content"]) for row in rows]
    return await asyncio.to_thread(_duplicates, settings, loader.load(collection, year), places)


async def _rules(connection: Any, found: Return) -> dict[str, int]:
    return {row["rule"]: row["times"] for row in await connection.fetch(_RULES, found.id, found.version)}


def _lines(last: Mapping[str, int], now: Mapping[str, int]) -> list[Line]:
    return [Line(name, last.get(name, 0), now.get(name, 0)) for name in sorted({*last, *now})]


def _duplicates(
    settings: Settings, collection: Collection, places: list[tuple[str, str, str]]
) -> list[Duplicate]:
    claimed: dict[str, list[tuple[str, str]]] = {}
    for party, name, digest in places:
        for upn in sorted(_claimed(settings, collection, digest)):
            claimed.setdefault(upn, []).append((party, name))
    return [
        Duplicate(upn, [party for party, _ in who], [name for _, name in who])
        for upn, who in sorted(claimed.items())
        if len(who) > 1
    ]


def _claimed(settings: Settings, collection: Collection, digest: str) -> set[str]:
    """The UPNs that one return claims: those of rows with such an enrolment, or all where it has none to say."""
    upns = _cells(collection, ".upn")
    statuses = _cells(collection, "enrolment.enrolment_status")
    folder = content.folder(settings, digest)
    found: set[str] = set()
    claiming: set[int] | None = None
    for module, item in statuses:
        if (folder / f"{module}.parquet").exists():
            rows = pq.read_table(folder / f"{module}.parquet", columns=["_person", item])
            claims = rows.filter(pc.is_in(rows[item], pa.array(CLAIMS)))
            claiming = (claiming or set()) | set(claims["_person"].to_pylist())
    for module, item in upns:
        if (folder / f"{module}.parquet").exists():
            rows = pq.read_table(folder / f"{module}.parquet", columns=["_person", item])
            found |= {
                upn
                for person, upn in zip(rows["_person"].to_pylist(), rows[item].to_pylist(), strict=True)
                if upn and (claiming is None or person in claiming)
            }
    return found


def _cells(collection: Collection, ends: str) -> list[tuple[str, str]]:
    return [
        (module.name, item.name)
        for module in collection.modules.values()
        for item in module.items
        if item.item and item.item.endswith(ends)
    ]
