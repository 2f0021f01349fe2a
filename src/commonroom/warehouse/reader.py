"""Figures: a declared measure for units and periods, from the head, through policies and disclosure control."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pyarrow as pa

from commonroom import access
from commonroom.access import Scope
from commonroom.engines import clock, delta
from commonroom.engines.duck import Duck
from commonroom.identity import Principal
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import disclosure, heads, measures, organisations, periods, tables
from commonroom.warehouse.disclosure import Shown
from commonroom.warehouse.heads import Head
from commonroom.warehouse.measures import FACTS, MEMBERS, PERIODS, Grain, Level, Measure
from commonroom.warehouse.organisations import Groups, School
from commonroom.warehouse.periods import Period

DATASET = "figures"
MAX_UNITS = 1000  # that one may ask for by code; None asks for all of a level
MAX_DAYS = 800
_CACHED = 512
# Naming more schools than this in the statement costs more than it saves.
_MAX_NAMED_SCHOOLS = 200


class Figure(msgspec.Struct, frozen=True):
    """One published figure. Where `symbol` is set (c, z, x) there is no value and no part."""

    measure: str
    level: str
    unit: str  # URN, authority number, region code or E92000001
    unit_name: str
    grain: str
    period_start: date
    period_label: str
    numerator: int | None
    denominator: int | None
    value: Decimal | None  # a percentage, or a count
    symbol: str | None


class Question(msgspec.Struct, frozen=True):
    """What is asked, checked."""

    measure: str
    level: Level
    grain: Grain
    units: tuple[str, ...] | None
    first: date
    last: date
    known_at: datetime | None  # UTC without a zone; None for now


class Reader:
    """The warehouse as a process reads it. One per process; safe to use from many tasks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._duck = Duck(settings, [settings.folder("warehouse")])
        self._figures: _Kept = _Kept(_CACHED)
        self._schools: _Kept = _Kept(8)
        self._files: _Kept = _Kept(32)

        # Compiling takes ten times as long as asking: do it before the first question.
        for name in measures.load():
            measures.duckdb_sql(name)

    def close(self) -> None:
        """Release DuckDB's memory."""
        self._duck.close()

    async def head(self, connection: Any) -> Head:
        """What can be read now: batch, position, table versions."""
        return await heads.newest(connection)

    async def figures(
        self,
        connection: Any,
        principal: Principal,
        *,
        measure: str,
        level: str,
        grain: str,
        units: Sequence[str] | None = None,
        first: date,
        last: date,
        known_at: datetime | None = None,
    ) -> list[Figure]:
        """The figures of a measure, by unit and period. `units` None: every unit of the level that has any.

        A unit asked for by its code has a figure in every period, if only a symbol. `known_at` asks for what was known
        at that time. Periods are whole, and those that have not begun are left out.
        Raises Problem CR-063 (no such measure, level, grain or unit), CR-111 (not granted), CR-092 (no calendar).
        """
        question = _question(measure, level, grain, units, first, last, known_at)
        scope = access.rows(principal, DATASET, "duckdb")
        head = await heads.newest(connection)
        today = clock.day_of(known_at or await clock.now(connection))
        key = (head.number, today, question, scope.sql, tuple(scope.params))
        found: list[Figure] | None = self._figures.get(key)
        if found is None:
            found = await asyncio.to_thread(self._compute, question, scope, head, today)
            self._figures.put(key, found)
        return list(found)

    def _compute(self, question: Question, scope: Scope, head: Head, today: date) -> list[Figure]:
        wanted = periods.between(question.grain, question.first, question.last, today)
        if not wanted:
            return []
        measure = measures.named(question.measure)
        known_schools = self._known_schools(head, wanted[-1].last_school_day, question.known_at)
        groups = organisations.groups(known_schools, question.level, question.units)
        rows = self._run(measure, question, scope, head, wanted, groups) if groups.members else []
        shown = {
            (row["member"], row["period"]): disclosure.show(
                measure, row["numerator"], row.get("denominator"), row["units"]
            )
            for row in rows
        }
        return _in_order(question, wanted, groups, shown, disclosure.nothing(measure))

    def _run(
        self,
        measure: Measure,
        question: Question,
        scope: Scope,
        head: Head,
        wanted: Sequence[Period],
        groups: Groups,
    ) -> list[dict[str, Any]]:
        facts = self._facts(measure, question, head, wanted, groups)
        sql = f"""
        WITH {FACTS} AS ({facts}), figures AS ({measures.duckdb_sql(measure.name)})
        SELECT figures.* FROM figures
        WHERE EXISTS (
            SELECT 1 FROM (SELECT member AS unit, ? AS level, ? AS measure) AS asked WHERE {scope.sql}
        )
        """  # noqa: S608 - ours: the compiled measure, the compiled policy, quoted paths
        parameters = [question.level, question.measure, *scope.params]
        return self._duck.query(
            sql, parameters, {PERIODS: _period_rows(measure, wanted), MEMBERS: groups.to_arrow()}
        )

    def _facts(
        self, measure: Measure, question: Question, head: Head, wanted: Sequence[Period], groups: Groups
    ) -> str:
        """SQL of the facts that can matter: of these days, schools and times, from the files that may hold them."""
        table = tables.of(measure.entity)
        last = wanted[-1].end
        first = wanted[0].start if measure.taken == "over the period" else date.min
        schools = sorted(groups.members)
        files = [
            file.path
            for file in self._files_of(head, measure.entity)
            if file.may_hold("valid_from", first, last) and file.may_hold("school", schools[0], schools[-1])
        ]
        where = f"valid_from BETWEEN DATE '{first}' AND DATE '{last}'{organisations.known(question.known_at)}"
        if len(schools) <= _MAX_NAMED_SCHOOLS:
            where += f" AND school IN ({', '.join(map(tables.quoted, schools))})"
        return table.relation(files, measures.columns_of(measure), where)

    def _files_of(self, head: Head, entity: str) -> list[delta.TableFile]:
        version = head.tables.get(entity)
        if version is None:
            return []
        key = (entity, version)
        files: list[delta.TableFile] | None = self._files.get(key)
        if files is None:
            files = delta.files_of(tables.of(entity).folder(self._settings), version)
            self._files.put(key, files)
        return files

    def _known_schools(self, head: Head, on: date, known_at: datetime | None) -> dict[str, School]:
        key = (head.tables.get("organisation"), on, known_at)
        found: dict[str, School] | None = self._schools.get(key)
        if found is None:
            found = organisations.schools(self._settings, self._duck, head, on, known_at)
            self._schools.put(key, found)
        return found


class _Kept:
    """The last results, by everything they depend on; a new head makes new keys."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Any:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Any, value: Any) -> None:
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)


def open_reader(settings: Settings) -> Reader:
    """A reader of this data folder's warehouse. Close it when done."""
    return Reader(settings)


def _question(
    measure: str,
    level: str,
    grain: str,
    units: Sequence[str] | None,
    first: date,
    last: date,
    known_at: datetime | None,
) -> Question:
    declared = measures.named(measure)
    if level not in declared.levels:
        raise _no_such(f"{measure} is not made by {level[:40]!r}", declared.levels)
    if grain not in declared.grains:
        raise _no_such(f"{measure} is not made by {grain[:40]!r}", declared.grains)
    if units is not None and len(units) > MAX_UNITS:
        raise _no_such(f"more than {MAX_UNITS} units", ["fewer, or all of the level"])
    if (last - first).days > MAX_DAYS:
        raise _no_such(f"more than {MAX_DAYS} days", ["a shorter time"])
    if known_at is not None and known_at.tzinfo is None:
        raise _no_such("a known time without its zone", ["a time such as 2026-09-01T12:00:00Z"])
    levels: dict[str, Level] = {name: name for name in get_args(Level)}
    grains: dict[str, Grain] = {name: name for name in get_args(Grain)}
    return Question(
        measure,
        levels[level],
        grains[grain],
        None if units is None else tuple(units),
        first,
        last,
        known_at.astimezone(UTC).replace(tzinfo=None) if known_at else None,
    )


def _no_such(detail: str, known: Sequence[str]) -> Problem:
    return Problem("CR-063", detail, status=404, remedy=f"Ask for {', '.join(known)}.")


def _period_rows(measure: Measure, wanted: Sequence[Period]) -> Any:
    """What the compiled measure joins to: every day of each period, or the one day on which its state is taken."""
    if measure.taken == "over the period":
        rows = [(day, period.start) for period in wanted for day in period.days()]
        name = "day"
    else:
        rows = [(period.last_school_day, period.start) for period in wanted]
        name = "on"
    days, starts = zip(*rows, strict=True)
    return pa.table({name: pa.array(days, pa.date32()), "period": pa.array(starts, pa.date32())})


def _in_order(
    question: Question,
    wanted: Sequence[Period],
    groups: Groups,
    shown: dict[tuple[str, date], Shown],
    nothing: Shown,
) -> list[Figure]:
    """By unit, then period. Units asked for by code have every period; others those in which they have a figure."""
    units = list(dict.fromkeys(question.units)) if question.units is not None else sorted(groups.names)
    figures = []
    for unit in units:
        for period in wanted:
            cell = shown.get((unit, period.start))
            if cell is None and question.units is None:
                continue
            cell = cell or nothing
            figures.append(
                Figure(
                    question.measure, question.level, unit, groups.names.get(unit, unit), question.grain,
                    period.start, period.label, cell.numerator, cell.denominator, cell.value, cell.symbol,
                )
            )  # fmt: skip
    return figures
