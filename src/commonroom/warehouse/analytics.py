"""The engine of measures: what evaluates a measure's expression over the pinned files of table versions.

An engine is told which files, columns, days and known time, and gives whole numbers back. What may be asked, what is
hidden and what is kept is decided above it, the same for every engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Protocol

import msgspec

from commonroom.engines.duck import Duck
from commonroom.warehouse import measures, organisations, tables
from commonroom.warehouse.measures import Measure


class Source(msgspec.Struct, frozen=True):
    """Rows of one fact table: of these files, valid from these days, as known at a time (UTC; None for now)."""

    entity: str
    files: tuple[str, ...]
    columns: tuple[str, ...]
    first: date
    last: date
    known_at: datetime | None

    @property
    def condition(self) -> str:
        """Which rows of the files, in the SQL that every engine has."""
        days = f"valid_from BETWEEN DATE '{self.first}' AND DATE '{self.last}'"
        return f"{days}{organisations.known(self.known_at)}"


class Engine(Protocol):
    """Evaluates measures. Safe to use from several threads."""

    def rows(
        self, measure: Measure, sources: Mapping[str, Source], beside: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The measure's rows: period, member, numerator, units and, where it has one, denominator; in no order.

        `sources` are the facts by the name the expression has for them; `beside` are small Arrow tables (PERIODS and
        MEMBERS).
        """
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class InProcess:
    """DuckDB in this process. The one who opened the DuckDB closes it."""

    def __init__(self, duck: Duck) -> None:
        self._duck = duck

    def rows(
        self, measure: Measure, sources: Mapping[str, Source], beside: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """See Engine."""
        read = ", ".join(f"{name} AS ({_relation(source)})" for name, source in sources.items())
        sql = f"WITH {read}, figures AS ({measures.duckdb_sql(measure.name)}) SELECT * FROM figures"  # noqa: S608
        return self._duck.query(sql, [], dict(beside))

    def close(self) -> None:
        """See Engine."""


def _relation(source: Source) -> str:
    return tables.of(source.entity).relation(source.files, source.columns, source.condition)
