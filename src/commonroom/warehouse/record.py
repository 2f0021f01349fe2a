"""The record of one holder at a time: what it held of an entity, as true on a day and as known at a moment.

It is asked for as somebody, with a purpose: the policy `warehouse.record` is part of every query, and a line in the trail of
reads says who read how much and why. A holder's names come from the directory, so nobody gets more by naming more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from commonroom import access, standard
from commonroom.access import Scope
from commonroom.access.policies import Asker
from commonroom.engines import delta
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import organisations, tables
from commonroom.warehouse.heads import Head
from commonroom.warehouse.tables import FactTable

DATASET = "warehouse.record"
ORGANISATION = "organisation"
# The numbers by which records name their holder.
_NUMBERS = """
SELECT split_part(alias, ':', 5) AS number FROM hub.party_alias
WHERE party = $1 AND split_part(alias, ':', 4) IN ('urn', 'la', 'ukprn')
ORDER BY 1
"""
_VALIDITY = ("valid_from", "valid_to")
# What is true: the rows whose weights sum to more than nothing.
_LIVE = """
SELECT {columns}
FROM (SELECT *, ? AS holder FROM ({facts})) AS facts
WHERE {scope}
GROUP BY {columns}
HAVING sum(weight) > 0
"""
# Of the states of a record the one that began last, if it still goes on.
_STATE = """
SELECT {columns}
FROM (
    SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY valid_from DESC) AS place
    FROM ({live}) AS live
    WHERE valid_from <= ?
) AS ranked
WHERE place = 1 AND (valid_to IS NULL OR valid_to >= ?)
"""
# A register speaks from the day of its extract: before its first word, its first word holds.
_REGISTERED = """
SELECT {columns}
FROM ({live}) AS live
QUALIFY row_number() OVER (
    PARTITION BY {key}
    ORDER BY
        valid_from <= ? DESC,
        CASE WHEN valid_from <= ? THEN valid_from END DESC,
        valid_from
) = 1
"""


class Holder(msgspec.Struct, frozen=True):
    """Whose record is asked for, and by what right. Records name the party by its numbers: URN, authority, UKPRN."""

    party: str
    numbers: tuple[str, ...]
    scope: Scope


async def holder_of(connection: Any, who: Asker, party: str) -> Holder:
    """The party with the numbers that its records name it by, for somebody to read. Raises Problem CR-111."""
    scope = access.rows(who, DATASET, "duckdb")
    numbers = tuple(row["number"] for row in await connection.fetch(_NUMBERS, party))
    return Holder(party, numbers, scope)


async def note(connection: Any, who: Asker, purpose: str, rows: int) -> None:
    """A line in the trail of reads."""
    await access.audit(connection, who, DATASET, purpose, rows)


class Record:
    """The facts of one holder, at one head."""

    def __init__(
        self, settings: Settings, duck: Duck, head: Head, holder: Holder, known_at: datetime | None
    ) -> None:
        """`known_at` asks for what was known at that time; None for now."""
        self._settings = settings
        self._duck = duck
        self._head = head
        self._holder = holder
        self.rows = 0  # read so far
        self._known_at = known_at.astimezone(UTC).replace(tzinfo=None) if known_at else None

    def on(self, entity: str, day: date) -> Any:
        """One row for each record that holds on a day: an Arrow table of the items, `valid_from`, `valid_to`."""
        form = _REGISTERED if entity == ORGANISATION else _STATE
        table = tables.of(entity)
        sql = form.format(
            columns=_columns(table), key=", ".join(table.key), live=self._live(table, date.min, date.max)
        )
        return self._read(sql, [day, day])

    def over(self, entity: str, first: date, last: date) -> Any:
        """Every state that began on one of these days, such as the marks of a period."""
        return self._read(self._live(tables.of(entity), first, last))

    def until(self, entity: str, day: date) -> Any:
        """Every state that had begun by a day."""
        return self._read(self._live(tables.of(entity), date.min, day))

    def _read(self, sql: str, values: Sequence[Any] = ()) -> Any:
        found = self._duck.arrow(sql, [self._holder.party, *self._holder.scope.params, *values])
        self.rows += found.num_rows
        return found

    def _live(self, table: FactTable, first: date, last: date) -> str:
        where = f"valid_from BETWEEN DATE '{first}' AND DATE '{last}'"
        column, values = self._whose(table.entity)
        where += f" AND {column} IN ({', '.join(map(tables.quoted, values)) or 'NULL'})"
        where += organisations.known(self._known_at)
        version = self._head.tables.get(table.entity)
        files = [] if version is None else delta.files_of(table.folder(self._settings), version)
        kept = [
            file.path
            for file in files
            if file.may_hold("valid_from", first, last)
            and (not values or file.may_hold(column, min(values), max(values)))
        ]
        facts = table.relation(kept, [*table.items, *_VALIDITY, "weight"], where)
        return _LIVE.format(columns=_columns(table), facts=facts, scope=self._holder.scope.sql)

    def _whose(self, entity: str) -> tuple[str, Sequence[str]]:
        """The item that says whose record it is, and the holder's names in it."""
        holder = standard.load().entities[entity].holder
        return (holder, self._holder.numbers) if holder else (ORGANISATION, [self._holder.party])


def _columns(table: FactTable) -> str:
    return ", ".join((*table.items, *_VALIDITY))
