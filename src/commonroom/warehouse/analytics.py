"""The engine of measures: what evaluates a measure's expression over the pinned files of table versions.

An engine is told which files, columns, days and known time, and gives whole numbers back. What may be asked, what is
hidden and what is kept is decided above it, the same for every engine.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from commonroom.engines import places
from commonroom.engines.duck import Duck
from commonroom.engines.spark import Parquet, Spark
from commonroom.settings import Settings
from commonroom.warehouse import compilation, measures, organisations, stages, tables
from commonroom.warehouse.expressions import Expression
from commonroom.warehouse.model import Measure

IN_PROCESS = "duckdb"
# What DuckDB holds of a stored byte while it puts units together: 48 bytes a mark, of 10 that it takes in a file.
_HELD_A_BYTE = 5
_ALL = "true"
_SUMS = frozenset({"numerator", "denominator", "units"})


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
        answers = [
            self._duck.query(_sql(measure, sources, some), [], dict(beside))
            for some in self._parts(measure, sources, beside)
        ]
        return answers[0] if len(answers) == 1 else _added_up(answers)

    def _parts(
        self, measure: Measure, sources: Mapping[str, Source], beside: Mapping[str, Any]
    ) -> Sequence[str]:
        """Conditions on the facts, each of some schools: as many as DuckDB has memory for.

        What is known of a unit is put together from facts far apart, so most of it is held until all have been read, and
        a year of a nation is more than a disk beside the memory helps with.
        """
        if not _is_of_parts(measure):
            return [_ALL]
        size = sum(Path(path).stat().st_size for path in places.here(sources[compilation.FACTS].files))
        schools = sorted(set(beside[compilation.MEMBERS].column("school").to_pylist()))
        number = min(-(-size * _HELD_A_BYTE // self._duck.memory_bytes), len(schools)) or 1
        return _of_schools([schools[len(schools) * part // number] for part in range(1, number)])

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
        return self._spark.query(measures.sql(measure.name, "pyspark"), files, beside)

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


def _sql(measure: Measure, sources: Mapping[str, Source], some: str) -> str:
    read = ", ".join(f"{name} AS ({_relation(source, some)})" for name, source in sources.items())
    return f"WITH {read}, figures AS ({measures.duckdb_sql(measure.name)}) SELECT * FROM figures"  # noqa: S608


def _relation(source: Source, some: str) -> str:
    condition = f"{source.condition} AND {some}"
    return tables.of(source.entity).relation(source.files, source.columns, condition)


def _is_of_parts(measure: Measure) -> bool:
    """Whether its figures of all schools are the sums of those of some and of the others."""
    texts = [text for text in (measure.numerator, measure.denominator) if text is not None]
    return (
        "school" in measure.unit
        and stages.adds_up(measure)
        and all(stages.is_sum(Expression(text, measure.name).tree) for text in texts)
    )


def _of_schools(cuts: Sequence[str]) -> list[str]:
    """A condition for what is before, between and after each of these schools; every fact meets one of them."""
    since = ["true", *(f"school >= {tables.quoted(cut)}" for cut in cuts)]
    until = [*(f"school < {tables.quoted(cut)}" for cut in cuts), "true"]
    return [f"({low} AND {high})" for low, high in zip(since, until, strict=True)]


def _added_up(answers: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The figures of several parts of the schools as those of all of them."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in itertools.chain.from_iterable(answers):
        group = tuple(value for name, value in row.items() if name not in _SUMS)
        known = found.setdefault(group, row)
        if known is not row:
            for name in _SUMS & row.keys():
                told = [value for value in (known[name], row[name]) if value is not None]
                known[name] = sum(told) if told else None
    return list(found.values())
