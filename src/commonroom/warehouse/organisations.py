"""Which school belongs to which authority and region, from the organisations' own facts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import msgspec
import pyarrow as pa

from commonroom.engines import delta
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import tables
from commonroom.warehouse.heads import Head
from commonroom.warehouse.measures import Level

COUNTRY = ("E92000001", "England")
_COLUMNS = ["organisation", "urn", "name", "la_code", "la_name", "region_code", "region_name"]
# Of a school's live rows the one that began last by the day asked for. A register speaks from the day of its extract:
# before its first word, its first word holds.
_SCHOOLS = """
SELECT urn, name, la_code, la_name, region_code, region_name
FROM (
    SELECT {columns}, valid_from, max(known_position) AS known_position
    FROM ({facts}) AS facts
    GROUP BY {columns}, valid_from
    HAVING sum(weight) > 0
) AS live
QUALIFY row_number() OVER (
    PARTITION BY urn
    ORDER BY
        valid_from <= ? DESC,
        CASE WHEN valid_from <= ? THEN valid_from END DESC,
        valid_from,
        known_position DESC
) = 1
"""


class School(msgspec.Struct, frozen=True):
    """What figures need to know of a school."""

    urn: str
    name: str
    la_code: str | None
    la_name: str | None
    region_code: str | None
    region_name: str | None

    def group(self, level: Level) -> tuple[str | None, str | None]:
        """Code and name of what it belongs to at a level."""
        if level == "school":
            return self.urn, self.name
        if level == "authority":
            return self.la_code, self.la_name
        return (self.region_code, self.region_name) if level == "region" else COUNTRY


class Groups(msgspec.Struct, frozen=True):
    """The schools that figures of a level are made of."""

    names: dict[str, str]  # of each unit of the level
    members: dict[str, str]  # unit by school

    def to_arrow(self) -> Any:
        """The members as a table."""
        return pa.table(
            {
                "school": pa.array(self.members.keys(), pa.string()),
                "member": pa.array(self.members.values(), pa.string()),
            }
        )


def schools(
    settings: Settings, duck: Duck, head: Head, on: date, known_at: datetime | None
) -> dict[str, School]:
    """Every school by URN, as it was on a day and as known at a time (None: now)."""
    version = head.tables.get("organisation")
    if version is None:
        return {}
    table = tables.of("organisation")
    files = [file.path for file in delta.files_of(table.folder(settings), version)]
    where = f"urn IS NOT NULL{known(known_at)}"
    facts = table.relation(files, [*_COLUMNS, "valid_from", "weight", "known_position"], where)
    found = duck.query(_SCHOOLS.format(columns=", ".join(_COLUMNS), facts=facts), [on, on])
    return {row["urn"]: School(**row) for row in found}


def groups(known_schools: dict[str, School], level: Level, units: Sequence[str] | None) -> Groups:
    """The schools of each unit of a level; of all units, or of those asked for."""
    wanted = None if units is None else set(units)
    names: dict[str, str] = {}
    members: dict[str, str] = {}
    for school in known_schools.values():
        unit, name = school.group(level)
        if unit is not None and (wanted is None or unit in wanted):
            names[unit] = name or unit
            members[school.urn] = unit
    return Groups(names, members)


def known(known_at: datetime | None) -> str:
    """The condition of "as known at", to join to others; `known_at` is UTC without a zone."""
    return "" if known_at is None else f" AND known_from <= TIMESTAMP '{known_at.isoformat(sep=' ')}'"
