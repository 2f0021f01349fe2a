"""Which school belongs to which trust, authority and region, from the organisations' own facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from itertools import groupby, pairwise

import msgspec

from commonroom.engines import clock, delta
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import tables
from commonroom.warehouse.brought import EARLIEST, LATEST, Span, joined
from commonroom.warehouse.heads import Head
from commonroom.warehouse.model import Level

ENTITY = "organisation"
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


def stays(
    settings: Settings, duck: Duck, head: Head, on: date, known_at: datetime | None
) -> dict[str, tuple[Span, ...]]:
    """When schools were with the authority that they have on a day; those alone that passed from one to another.

    A school has passed when the register has said so, too. Before its first word, its first word holds.
    """
    version = head.tables.get(ENTITY)
    if version is None:
        return {}
    table = tables.of(ENTITY)
    files = [file.path for file in delta.files_of(table.folder(settings), version)]
    columns = ["urn", "la_code", "valid_from", "weight", "known_from", "known_position"]
    facts = table.relation(files, columns, f"urn IS NOT NULL{known(known_at)}")
    words = groupby(duck.query(_AUTHORITIES.format(facts=facts)), key=lambda row: row["urn"])
    return {urn: spans_with([Word(**row) for row in rows], on) for urn, rows in words}


class Word(msgspec.Struct, frozen=True):
    """What the register has said of a school's authority, and when."""

    urn: str
    la_code: str | None
    valid_from: date
    known_from: datetime
    known_position: int

    @property
    def passed(self) -> datetime:
        """From when it holds: UTC without a zone."""
        return max(self.known_from, _midnight(self.valid_from))


def spans_with(words: Sequence[Word], on: date) -> tuple[Span, ...]:
    """When a school was with the authority that it has on a day. `words` in the order of the days from which they are."""
    theirs = next((one for one in reversed(words) if one.valid_from <= on), words[0]).la_code
    found = []
    for since, until in pairwise([EARLIEST, *sorted({one.passed for one in words}), LATEST]):
        held = next((one for one in reversed(words) if one.passed <= since), words[0])
        if held.la_code == theirs:
            found.append(Span(since, until))
    return joined(found)


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
