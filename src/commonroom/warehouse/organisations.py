"""Which school belongs to which trust, authority and region, from the organisations' own facts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time

import msgspec

from commonroom.engines import clock, delta
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import tables
from commonroom.warehouse.heads import Head
from commonroom.warehouse.model import Level

ENTITY = "organisation"
Stay = tuple[datetime | None, datetime | None]  # from when until when; None: ever since, and on
COUNTRY = ("E92000001", "England")
_COLUMNS = [
    "organisation", "urn", "name", "la_code", "la_name", "region_code", "region_name", "trust_uid", "trust_name",
    "phase",
]  # fmt: skip
# The order of a school's live rows; twice the day asked for is its parameter.
SPOKEN_FIRST = """
    valid_from <= ? DESC,
    CASE WHEN valid_from <= ? THEN valid_from END DESC,
    valid_from,
    known_position DESC
"""
# Of a school's live rows the one that began last by the day asked for. A register speaks from the day of its extract:
# before its first word, its first word holds.
_SCHOOLS = """
SELECT urn, name, la_code, la_name, region_code, region_name, trust_uid, trust_name, phase, organisation AS party
FROM (
    SELECT {columns}, valid_from, max(known_position) AS known_position
    FROM ({facts}) AS facts
    GROUP BY {columns}, valid_from
    HAVING sum(weight) > 0
) AS live
QUALIFY row_number() OVER (PARTITION BY urn ORDER BY {order}) = 1
"""

# What it has said of the authority of schools that passed from one to another, and since when.
_AUTHORITIES = """
SELECT urn, la_code, valid_from, min(known_from) AS known_from, max(known_position) AS known_position
FROM ({facts}) AS facts
GROUP BY urn, la_code, valid_from
HAVING sum(weight) > 0
WINDOW of_school AS (PARTITION BY urn)
QUALIFY max(coalesce(la_code, '')) OVER of_school <> min(coalesce(la_code, '')) OVER of_school
ORDER BY urn, valid_from, known_position
"""


class School(msgspec.Struct, frozen=True):
    """What figures need to know of a school."""

    urn: str
    name: str
    la_code: str | None
    la_name: str | None
    region_code: str | None
    region_name: str | None
    trust_uid: str | None = None
    trust_name: str | None = None
    phase: str | None = None
    party: str | None = None
    is_authority: bool = False  # it stands for its whole authority, of what is of no school

    def group(self, level: Level) -> tuple[str | None, str | None]:
        """Code and name of what it belongs to at a level."""
        if self.is_authority and level in ("school", "trust"):
            return None, None
        if level == "school":
            return self.urn, self.name
        if level == "authority":
            return self.la_code, self.la_name
        if level == "trust":
            return self.trust_uid, self.trust_name
        return (self.region_code, self.region_name) if level == "region" else COUNTRY


def schools(
    settings: Settings, duck: Duck, head: Head, on: date, known_at: datetime | None
) -> dict[str, School]:
    """Every school by URN, as it was on a day and as known at a time (None: now)."""
    version = head.tables.get(ENTITY)
    if version is None:
        return {}
    table = tables.of(ENTITY)
    files = [file.path for file in delta.files_of(table.folder(settings), version)]
    where = f"urn IS NOT NULL{known(known_at)}"
    facts = table.relation(files, [*_COLUMNS, "valid_from", "weight", "known_position"], where)
    found = duck.query(
        _SCHOOLS.format(columns=", ".join(_COLUMNS), facts=facts, order=SPOKEN_FIRST), [on, on]
    )
    return {row["urn"]: School(**row) for row in found}


def stays(settings: Settings, duck: Duck, head: Head, on: date, known_at: datetime | None) -> dict[str, Stay]:
    """From when until when schools were where they are on a day; those alone that passed from one authority to another.

    UTC without a zone; None: as far as the register goes. A school has passed when the register has said so, too.
    """
    version = head.tables.get(ENTITY)
    if version is None:
        return {}
    table = tables.of(ENTITY)
    files = [file.path for file in delta.files_of(table.folder(settings), version)]
    columns = ["urn", "la_code", "valid_from", "weight", "known_from", "known_position"]
    facts = table.relation(files, columns, f"urn IS NOT NULL{known(known_at)}")
    found: dict[str, Stay] = {}
    last: dict[str, str | None] = {}
    for row in duck.query(_AUTHORITIES.format(facts=facts)):
        urn, code = row["urn"], row["la_code"]
        if urn in last and last[urn] != code:
            passed = max(row["known_from"], _midnight(row["valid_from"]))
            since, until = found[urn]
            if row["valid_from"] <= on:
                found[urn] = passed, None
            elif until is None:
                found[urn] = since, passed
        found.setdefault(urn, (None, None))
        last[urn] = code
    return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), clock.ENGLAND).astimezone(UTC).replace(tzinfo=None)


def known(known_at: datetime | None) -> str:
    """The condition of "as known at", to join to others; `known_at` is UTC without a zone."""
    return "" if known_at is None else f" AND known_from <= TIMESTAMP '{known_at.isoformat(sep=' ')}'"


def authorities_of(schools: Mapping[str, School]) -> dict[str, School]:
    """The authorities of schools by number, each where its first school lies."""
    found: dict[str, School] = {}
    for _, one in sorted(schools.items()):
        if one.la_code is not None and one.la_code not in found:
            found[one.la_code] = School(
                one.la_code, one.la_name or one.la_code, one.la_code, one.la_name, one.region_code, one.region_name,
                is_authority=True,
            )  # fmt: skip
    return found
