"""The record of one holder at a time: what it held of an entity, as true on a day and as known at a moment.

Who may ask for it is the caller's affair: here is no policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from commonroom import standard
from commonroom.engines import delta
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import organisations, tables
from commonroom.warehouse.heads import Head
from commonroom.warehouse.tables import FactTable

ORGANISATION = "organisation"
_VALIDITY = ("valid_from", "valid_to")
# What is true: the rows whose weights sum to more than nothing.
_LIVE = """
SELECT {columns}
FROM ({facts}) AS facts
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
    """Whose record is asked for: the party, and its numbers by which records name it (URN, authority, UKPRN)."""

    party: str
    numbers: tuple[str, ...]


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
        self._known_at = known_at.astimezone(UTC).replace(tzinfo=None) if known_at else None

    def on(self, entity: str, day: date) -> Any:
        """One row for each record that holds on a day: an Arrow table of the items, `valid_from`, `valid_to`."""
        form = _REGISTERED if entity == ORGANISATION else _STATE
        table = tables.of(entity)
        sql = form.format(
            columns=_columns(table), key=", ".join(table.key), live=self._live(table, date.min, date.max)
        )
        return self._duck.arrow(sql, [day, day])

    def over(self, entity: str, first: date, last: date) -> Any:
        """Every state that began on one of these days, such as the marks of a period."""
        return self._duck.arrow(self._live(tables.of(entity), first, last))

    def until(self, entity: str, day: date) -> Any:
        """Every state that had begun by a day."""
        return self._duck.arrow(self._live(tables.of(entity), date.min, day))

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
        return _LIVE.format(columns=_columns(table), facts=facts)

    def _whose(self, entity: str) -> tuple[str, Sequence[str]]:
        """The item that says whose record it is, and the holder's names in it."""
        holder = standard.load().entities[entity].holder
        return (holder, self._holder.numbers) if holder else (ORGANISATION, [self._holder.party])


def _columns(table: FactTable) -> str:
    return ", ".join((*table.items, *_VALIDITY))
