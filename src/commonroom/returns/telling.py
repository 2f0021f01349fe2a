"""A version of a return in the common language: what must be known of its sender and its collection to tell it.

The translation itself is the collections room's: `collections.to_records` by each collection's records.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commonroom import standard
from commonroom.collections.model import Collection
from commonroom.collections.record_forms import Given, school_year
from commonroom.collections.record_map import RecordMap

# The numbers by which records and headers name their holder.
NUMBERS = """
SELECT split_part(alias, ':', 4) AS scheme, min(split_part(alias, ':', 5)) AS value FROM hub.party_alias
WHERE party = $1 AND split_part(alias, ':', 4) IN ('la', 'urn', 'laestab')
GROUP BY 1
"""
_LA_DIGITS = 3


async def numbers_of(connection: Any, party: str) -> dict[str, str]:
    """The party's numbers by scheme: `la`, `urn`, `laestab`."""
    return {row["scheme"]: row["value"] for row in await connection.fetch(NUMBERS, party)}


def given_of(collection: Collection, numbers: Mapping[str, str], version: int) -> Given:
    """What records.yaml names `$...`: the sender's numbers, the collection's dates and parameters."""
    period = collection.period
    laestab = numbers.get("laestab", "")
    begins = collection.parameters.get("academic_year_start", period.start.isoformat())
    values: dict[str, Any] = {
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
    return Given(values)


def _academic_year(day: str, further: int) -> str | None:
    """The academic year of a day, or so many further on, as the standard writes it: 2025/26."""
    year = school_year(day)
    return None if year is None else f"{year + further}/{(year + further + 1) % 100:02}"


def message_type(mapped: RecordMap) -> str | None:
    """The message type of the standard that carries all entities of a collection; None where there is none."""
    entities = {rule.entity.name for rule in mapped.rules if rule.entry.only != "write"}
    types = [
        event.type
        for event in standard.load().events.values()
        if event.type.endswith("-return.sent") and entities and entities <= set(event.entities)
    ]
    return min(types, default=None)
