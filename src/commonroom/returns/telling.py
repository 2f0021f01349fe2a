"""A version told in the common language by its sender's own agent: what must be known for it, and what cannot be told.

The translation itself is the collections room's, by each collection's records.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from commonroom import standard
from commonroom.collections.findings import Finding, Location
from commonroom.collections.model import Collection
from commonroom.collections.record_forms import Given, school_year
from commonroom.collections.record_map import RecordMap, record_map
from commonroom.collections.records import read_back
from commonroom.collections.tables import Tables
from commonroom.collections.to_records import Clash, Loss, Teller, Told
from commonroom.returns import identity

# Built-in rules of this room: what a record of the standard cannot say, and two rows that it cannot tell apart.
NOT_TOLD, SAME_KEY = "record", "same-key"
# Records at the top of a return, such as children, in one message.
RECORDS_A_PART = 250
# Losses of one version that are told one by one.
MOST_LOSSES = 10_000
_LA_DIGITS = 3

# The numbers by which records and headers name their holder.
_NUMBERS = """
SELECT split_part(alias, ':', 4) AS scheme, min(split_part(alias, ':', 5)) AS value FROM hub.party_alias
WHERE party = $1 AND split_part(alias, ':', 4) IN ('la', 'urn', 'laestab')
GROUP BY 1
"""


class Untold(msgspec.Struct, frozen=True):
    """What keeps a version from being told: findings, and how many faults there are, those found otherwise among them."""

    findings: list[Finding]
    faults: int


async def numbers_of(connection: Any, party: str) -> dict[str, str]:
    """The party's numbers by scheme: `la`, `urn`, `laestab`."""
    return {row["scheme"]: row["value"] for row in await connection.fetch(_NUMBERS, party)}


def message_type(mapped: RecordMap) -> str | None:
    """The message type of the standard that carries all entities of a collection; None where there is none."""
    entities = {rule.entity.name for rule in mapped.rules if rule.entry.only != "write"}
    types = [
        event.type
        for event in standard.load().events.values()
        if event.type.endswith("-return.sent") and entities and entities <= set(event.entities)
    ]
    return min(types, default=None)


def given_of(collection: Collection, numbers: Mapping[str, str], version: int) -> Given:
    """What records.yaml names `$...`: the holder's numbers, the collection's dates and parameters."""
    period = collection.period
    laestab = numbers.get("laestab", "")
    begins = collection.parameters.get("academic_year_start", period.start.isoformat())
    return Given(
        {
            **collection.parameters,
            "year": str(collection.year),
            "reference_date": collection.reference_date.isoformat(),
            "period_start": period.start.isoformat(),
            "period_end": period.end.isoformat(),
            "academic_year": _academic_year(begins, 0),
            "previous_academic_year": _academic_year(begins, -1),
            "valid_from": period.start.isoformat(),
            "version": version,
            "school": numbers.get("urn"),
            "la": numbers.get("la") or laestab[:_LA_DIGITS] or None,
            "estab": laestab[_LA_DIGITS:] or None,
        }
    )


def parts(tables: Tables, numbers: Mapping[str, str], version: int) -> Iterator[Told]:
    """A version told part by part, so that never more than one is in memory; one part where it is empty."""
    collection = tables.collection
    teller = Teller(record_map(collection), given_of(collection, numbers, version))
    most = max((tables.highest[module.name] for module in collection.children(None)), default=0)
    for first in range(1, max(most, 1) + 1, RECORDS_A_PART):
        told = Told()
        content = read_back(tables, first=first, last=first + RECORDS_A_PART - 1)
        for module, records in content.items():
            # Rows at the top are numbered as they stand in the file; of a part only those of it are read.
            for place, record in enumerate(records, start=first):
                told.add(teller.tell(module, record, place))
        yield told


def untold(tables: Tables, numbers: Mapping[str, str], findings: Sequence[Finding]) -> Untold:
    """What of a checked return cannot be told. Nobody gets two messages for one fault: `findings` are those known."""
    clashes: list[Clash] = []
    losses: list[Loss] = []
    count = 0
    for told in parts(tables, numbers, 0):
        count += len(told.clashes) + len(told.losses)
        clashes += told.clashes[: MOST_LOSSES - len(clashes)]
        losses += told.losses[: MOST_LOSSES - len(losses)]
    if not count:
        return Untold([], 0)
    rows = identity.rows_of(tables, [path for one in clashes for path in (one.path, one.other)])
    rows |= identity.rows_of(tables, [one.path for one in losses])
    known = _Known(tables.collection, findings)
    twice = {one.path for one in clashes}
    made = [_same_key(one, rows) for one in clashes if not known.as_twice(one)]
    made += [_not_told(one, rows) for one in losses if not known.cell(one) and not _below(one.path, twice)]
    return Untold(made, count)


class _Known:
    """What the check has found already."""

    def __init__(self, collection: Collection, findings: Sequence[Finding]) -> None:
        errors = [one for one in findings if one.severity == "error"]
        self._cells = {(at.path, at.item) for one in errors for at in one.locations}
        unique = {code for code, rule in collection.rules.items() if rule.unique}
        self._twice = {at.path for one in errors if one.rule in unique for at in one.locations}

    def cell(self, loss: Loss) -> bool:
        return (loss.path, loss.item) in self._cells

    def as_twice(self, clash: Clash) -> bool:
        """A rule says already that the row, or one right below it, stands there twice."""
        return any(path == clash.path or path.rpartition("/")[0] == clash.path for path in self._twice)


def _below(path: str, above: set[str]) -> bool:
    while path:
        if path in above:
            return True
        path = path.rpartition("/")[0]
    return False


def _same_key(clash: Clash, rows: Mapping[str, tuple[str, int]]) -> Finding:
    message = (
        f"{clash.path} and {clash.other} have the same key: in the common language they are one record. Take one of "
        "them away, or correct what tells them apart."
    )
    places = tuple(
        Location(clash.module, None, path, rows.get(path, ("", None))[1], None)
        for path in (clash.path, clash.other)
    )
    return Finding(SAME_KEY, "error", message, places)


def _not_told(loss: Loss, rows: Mapping[str, tuple[str, int]]) -> Finding:
    message = f"{loss.item} cannot be told in the common language: {loss.why}."
    place = Location(loss.module, loss.item, loss.path, rows.get(loss.path, ("", None))[1], None)
    return Finding(NOT_TOLD, "error", message, (place,))


def _academic_year(day: str, further: int) -> str | None:
    """The academic year of a day, or so many further on, as the standard writes it: 2025/26."""
    year = school_year(day)
    return None if year is None else f"{year + further}/{(year + further + 1) % 100:02}"
