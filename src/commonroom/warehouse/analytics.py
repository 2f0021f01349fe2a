"""The engine of measures: what evaluates a measure's expression over the pinned files of table versions.

An engine is told which files, columns, days and known time, and gives whole numbers back. What may be asked, what is
hidden and what is kept is decided above it, the same for every engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import ibis
import msgspec

from commonroom.engines import places
from commonroom.engines.duck import Duck
from commonroom.engines.spark import Parquet, Spark
from commonroom.settings import Settings
from commonroom.warehouse import compilation, measures, organisations, tables
from commonroom.warehouse.model import Measure

IN_PROCESS = "duckdb"


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


class OnCluster:
    """Spark, or what speaks its protocol. The cluster reads the same files, where it finds them."""

    def __init__(self, settings: Settings) -> None:
        home = places.home(settings)
        self._folder = places.read_under(home)
        self._seen_as = (settings.analytics_folder or places.seen_as(home)).rstrip("/")
        self._spark = Spark(settings.analytics, settings.analytics_seconds)

    def rows(
        self, measure: Measure, sources: Mapping[str, Source], beside: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """See Engine."""
        files = {name: self._parquet(source) for name, source in sources.items()}
        return self._spark.query(_spark_sql(measure.name), files, beside)

    def close(self) -> None:
        """See Engine."""
        self._spark.close()

    def _parquet(self, source: Source) -> Parquet:
        places = (Path(file).absolute().relative_to(self._folder) for file in source.files)
        return Parquet(
            tuple(f"{self._seen_as}/{place.as_posix()}" for place in places),
            tables.of(source.entity).schema,
            source.columns,
            source.condition,
        )


def open_engine(settings: Settings, duck: Duck) -> Engine:
    """The engine that the settings ask for. It connects at its first measure. Close it when done."""
    return InProcess(duck) if settings.analytics == IN_PROCESS else OnCluster(settings)


@cache
def _spark_sql(name: str) -> str:
    """A measure as Spark runs it."""
    return str(ibis.to_sql(compilation.expression(measures.named(name)), dialect="pyspark"))


def _relation(source: Source) -> str:
    return tables.of(source.entity).relation(source.files, source.columns, source.condition)
