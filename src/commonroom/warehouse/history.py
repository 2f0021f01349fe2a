"""History: what was true on a day as known at a time, everything ever said of a pupil, what changed between two times.

Every answer goes through the policy of `warehouse.facts` and leaves a line in the trail of reads: who, how many, why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from commonroom import access, standard
from commonroom.access import Scope
from commonroom.engines import delta
from commonroom.engines.duck import Duck
from commonroom.identity import Principal
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import heads, organisations, tables
from commonroom.warehouse.heads import Head
from commonroom.warehouse.tables import LEARNER_ID, FactTable

DATASET = "warehouse.facts"
# A policy that masks this leaves out whatever the standard marks as personal; the pupil stays as our own key.
PERSONAL = "personal"
# Codes and yes-or-no items are what analysts count; names, numbers, dates and texts tell who somebody is.
_MEASURED = ("code", "boolean")
LINEAGE = (
    "valid_from",
    "valid_to",
    "weight",
    "version",
    "known_position",
    "known_from",
    "message",
    "sender",
)
# Of a key's live rows the one that began last by the day, if it still goes on.
_STATE = """
SELECT DISTINCT {columns}, valid_from, valid_to
FROM (
    SELECT *
    FROM (SELECT {all}, valid_from, valid_to FROM facts GROUP BY ALL HAVING sum(weight) > 0) AS live
    WHERE valid_from <= ?
    QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY valid_from DESC) = 1
) AS newest
WHERE valid_to IS NULL OR valid_to >= ?
ORDER BY ALL
"""
_LIFE = "SELECT {columns} FROM facts ORDER BY known_from, known_position, version, weight"
_DIFFERENCE = """
SELECT {columns}, valid_from, valid_to, CASE WHEN sum(weight) > 0 THEN 'came' ELSE 'went' END AS change
FROM facts
GROUP BY {columns}, valid_from, valid_to
HAVING sum(weight) <> 0
ORDER BY ALL
"""

Row = dict[str, Any]


class History:
    """The facts of one data folder as one principal may see them, each question with its purpose."""

    def __init__(
        self, settings: Settings, duck: Duck, connection: Any, principal: Principal, purpose: str
    ) -> None:
        self._settings, self._duck, self._connection = settings, duck, connection
        self._principal, self._purpose = principal, purpose
        self._scope: Scope = access.rows(principal, DATASET, "duckdb")

    async def state(self, entity: str, on: date, known_at: datetime | None = None) -> list[Row]:
        """The records that were true on a day, as known at a time (None: now)."""
        table = _table(entity)
        shown = self._items(table)
        needed = list(dict.fromkeys([*shown, *table.key]))
        sql = _STATE.format(all=_listed(needed), columns=_listed(shown), key=_listed(table.key))
        where = f"valid_from <= DATE '{on}'{organisations.known(_utc(known_at))}"
        return await self._answer([(table, where, sql, [on, on])])

    async def life(self, learners: Sequence[UUID]) -> list[Row]:
        """All that was ever said of a pupil, in every table, in the order in which it was known.

        `learners` are our keys of the pupil: more than one where two turned out to be one.
        """
        keys = ", ".join(tables.quoted(str(key)) for key in learners) or "NULL"
        head = await heads.newest(self._connection)
        questions: list[tuple[FactTable, str, str, list[Any]]] = []
        for entity in sorted(head.tables):
            table = tables.of(entity)
            if table.names_learner:
                sql = _LIFE.format(columns=_listed([*self._items(table), *LINEAGE]))
                questions.append((table, f"{LEARNER_ID} IN ({keys})", sql, []))
        found = await self._answer(questions)
        return sorted(found, key=lambda row: (row["known_from"], row["known_position"], row["entity"]))

    async def differences(self, entity: str, after: datetime, until: datetime) -> list[Row]:
        """What came and what went between two known times: after the first, up to the second."""
        table = _table(entity)
        between = f"known_from > TIMESTAMP '{_stamp(after)}' AND known_from <= TIMESTAMP '{_stamp(until)}'"
        return await self._answer(
            [(table, between, _DIFFERENCE.format(columns=_listed(self._items(table))), [])]
        )

    async def _answer(self, questions: Sequence[tuple[FactTable, str, str, list[Any]]]) -> list[Row]:
        head = await heads.newest(self._connection)
        found = await asyncio.to_thread(self._rows, head, questions)
        await access.audit(self._connection, self._principal, DATASET, self._purpose, len(found))
        return found

    def _rows(self, head: Head, questions: Sequence[tuple[FactTable, str, str, list[Any]]]) -> list[Row]:
        found = []
        for table, where, sql, values in questions:
            version = head.tables.get(table.entity)
            files = [] if version is None else delta.files_of(table.folder(self._settings), version)
            columns = [column.name for column in table.columns]
            source = table.relation([file.path for file in files], columns, where)
            # The policy is part of what is read: no question is put to rows it does not grant.
            granted = f"WITH facts AS (SELECT * FROM ({source}) WHERE {self._scope.sql}) {sql}"  # noqa: S608
            rows = self._duck.query(granted, [*self._scope.params, *values])
            found += [{"entity": table.entity, **row} for row in rows]
        return found

    def _items(self, table: FactTable) -> list[str]:
        return items_shown(table, self._scope)


def items_shown(table: FactTable, scope: Scope) -> list[str]:
    """The items of an entity that the policy does not mask; our own key of the pupil in any case."""
    masked = set(scope.masked)
    if PERSONAL in masked:
        items = standard.load().entities[table.entity].items
        masked |= {item.name for item in items if item.personal and item.type not in _MEASURED}
    shown = [name for name in table.items if name not in masked]
    return [*shown, LEARNER_ID] if table.names_learner else shown


def _table(entity: str) -> FactTable:
    if entity not in tables.all_tables():
        raise Problem(
            "CR-063", f"there is no entity {entity[:60]!r}", status=404, remedy="commonroom standard show"
        )
    return tables.of(entity)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
