"""How partial sums are worked out: from all facts of a period, or from what was kept and the facts that came since.

A refresh looks at the new facts once, by day, and adds each unit's sums to those kept of the longer periods that the day
lies in; the figures of the schools touched follow. What is kept of a period is a few files: one that has most of it, and
what came since. New sums absorb files that are no larger than themselves, so a whole new day leaves one file, a handful
of corrections does not write the term again, and a unit is never added up over more than a few rows.

A single day is small: its figures are made from its facts, those that came or, where some were there before, all of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa

from commonroom import ids
from commonroom.engines import delta, files
from commonroom.engines.delta import TableFile
from commonroom.engines.duck import Duck, Session
from commonroom.engines.places import Folder
from commonroom.warehouse import manifests
from commonroom.warehouse.compilation import FACTS, PERIODS
from commonroom.warehouse.manifests import Kept, Manifest, Part
from commonroom.warehouse.stages import SUMS, Stage
from commonroom.warehouse.tables import FactTable, quoted

MOST_PARTS = 12  # files of one period; then the small ones become one
_FEW_SCHOOLS = 50  # are named one by one, so that the rest is passed over while files are read
_FRESH, _TOUCHED, _DUE, _CELLS, _ADDED = "fresh", "touched", "due", "cells", "added"
# Whole groups of rows are passed over where another period or school is asked for; one alone needs no order.
_ROW_GROUP = 122_880
_IN_ORDER = " ORDER BY period, school"
_NEWEST = "QUALIFY row_number() OVER (PARTITION BY period, school ORDER BY version DESC) = 1"

Periods = Mapping[str, Kept]


class Work(msgspec.Struct, frozen=True):
    """Where one stage is worked out."""

    stage: Stage
    folder: Path  # of what is kept
    duck: Duck
    table: FactTable
    facts: Folder  # the table's

    def with_periods(self, manifest: Manifest, missing: Mapping[str, tuple[date, ...]]) -> Manifest:
        """With periods that were not kept yet, from all their facts."""
        first = max((kept.number for kept in manifest.periods.values()), default=0) + 1
        new = {
            key: Kept(number, days, manifest.version)
            for number, (key, days) in enumerate(missing.items(), first)
        }
        if manifest.version == delta.EMPTY:
            return _with(manifest, new, {})
        stored = delta.files_of(self.facts, manifest.version)
        longer, single = _longer(new), _single(new)
        sums, units = None, []
        with self.duck.session() as session:
            if longer:
                first_stage = self._first(self._of_days(stored, longer), _days_of(longer, session, "longer"))
                sums = self._written(session, "sums", manifest.version, first_stage + _IN_ORDER)
                units.append(f"SELECT * FROM {_parquet(self.folder / sums)}")  # noqa: S608
            if single:
                units.append(self._first(self._of_days(stored, single), _days_of(single, session, "single")))
            figures = self._written(
                session,
                "figures",
                manifest.version,
                self._figures(_together(units), manifest.version) + _IN_ORDER,
            )
            added = {name: self._rows(session, name) for name in (sums, figures) if name is not None}
        for key, kept in new.items():
            mine = _part(sums, added, kept.number), _part(figures, added, kept.number)
            new[key] = msgspec.structs.replace(kept, sums=mine[0], figures=mine[1])
        return _with(manifest, new, self._stamps(added))

    def with_facts(self, manifest: Manifest, came: Sequence[str]) -> Manifest:
        """With the rows of these files, which came since; `manifest` is already called by their version."""
        with self.duck.session() as session:
            by_day = self._first(
                self.table.relation(came, self.stage.columns),
                _days_of(manifest.periods, session, "all_days", True),
            )
            session.run(f"CREATE TEMP TABLE {_FRESH} AS SELECT * RENAME (period AS day) FROM ({by_day})")  # noqa: S608
            session.run(
                f"CREATE TEMP TABLE {_TOUCHED} AS SELECT day, school, count(*) AS n FROM {_FRESH} GROUP BY day, school"  # noqa: S608
            )
            schools: dict[date, Counter[str]] = defaultdict(Counter)
            for day, school, rows in session.run(f"SELECT * FROM {_TOUCHED}"):  # noqa: S608
                schools[day][school] = rows
            due = {
                key: one for key, one in manifest.periods.items() if not schools.keys().isdisjoint(one.days)
            }
            return self._with_due(session, manifest, due, schools) if due else manifest

    def _with_due(
        self,
        session: Session,
        manifest: Manifest,
        due: Periods,
        schools: Mapping[date, Mapping[str, int]],
    ) -> Manifest:
        """The periods that the new facts are about: the sums that are added to them, and the figures that follow."""
        version, added = manifest.version, {}
        _days_of(due, session, _DUE)
        session.run(
            f"CREATE TEMP TABLE {_CELLS} AS SELECT DISTINCT period, school FROM {_TOUCHED} JOIN {_DUE} USING (day)"  # noqa: S608
        )
        units, sums = [], None
        longer = _longer(due)
        absorbed = {
            key: _absorbed(one.sums, sum(sum(schools[day].values()) for day in one.days if day in schools))
            for key, one in longer.items()
        }
        if longer:
            self._add(session, longer, absorbed)
            ((many,),) = session.run(f"SELECT count(*) FROM {_ADDED}")  # noqa: S608
            order = _IN_ORDER if many > _ROW_GROUP else ""
            sums = self._written(session, "sums", version, f"SELECT * FROM {_ADDED}{order}")  # noqa: S608
            added[sums] = self._rows(session, sums)
            units.append(self._known(longer, absorbed))
        units += self._of_single_days(session, _single(due), schools, version)
        replaced = {
            key: _absorbed(one.figures, len({school for day in one.days for school in schools.get(day, ())}))
            for key, one in due.items()
        }
        figures = self._written(
            session,
            "figures",
            version,
            self._touched_figures(_together(units), version, due, replaced) + _IN_ORDER,
        )
        added[figures] = self._rows(session, figures)
        current = {
            key: Kept(
                one.number,
                one.days,
                version,
                sums=_left(one.sums, absorbed.get(key, ())) + _part(sums, added, one.number),
                figures=_left(one.figures, replaced[key]) + _part(figures, added, one.number),
            )
            for key, one in due.items()
        }
        return _with(manifest, current, self._stamps(added))

    def _add(self, session: Session, longer: Periods, absorbed: Mapping[str, Collection[Part]]) -> None:
        """The sums of the new facts in longer periods, and of the files that they take the place of."""
        rows = [self._fresh(one.number for one in longer.values()), *self._kept_sums(longer, absorbed)]
        session.run(f"CREATE TEMP TABLE {_ADDED} AS {self._summed(_together(rows))}")

    def _known(self, longer: Periods, absorbed: Mapping[str, Collection[Part]]) -> str:
        """SQL of all that is known of the units of the schools touched in longer periods."""
        left = {key: _left(one.sums, absorbed[key]) for key, one in longer.items()}
        opened = [one.number for key, one in longer.items() if left[key]]
        if not opened:
            return f"SELECT * FROM {_ADDED}"  # noqa: S608
        added = f"SELECT * FROM {_ADDED} WHERE period IN ({_numbers(opened)})"  # noqa: S608
        rows = [added, *self._kept_sums(longer, left)]
        touched = f"SELECT rows.* FROM ({_together(rows)}) AS rows SEMI JOIN {_CELLS} USING (period, school)"  # noqa: S608
        whole = f"SELECT * FROM {_ADDED} WHERE period NOT IN ({_numbers(opened)})"  # noqa: S608
        return _together([whole, self._summed(touched)])

    def _of_single_days(
        self, session: Session, single: Periods, schools: Mapping[date, Mapping[str, int]], version: int
    ) -> list[str]:
        """SQL of what is known of the units of the schools touched on single days."""
        # Whoever has facts of a day has figures of it, if only that nobody takes part.
        new = [one.number for one in single.values() if not one.figures]
        old = {key: one for key, one in single.items() if one.figures}
        units = [self._fresh(new)] if new else []
        if old:
            stored = delta.files_of(self.facts, version)
            facts = self._of_days(stored, old)
            named = {school for one in old.values() for school in schools[one.days[0]]}
            if len(named) <= _FEW_SCHOOLS:
                facts += f" AND school IN ({', '.join(map(quoted, sorted(named)))})"
            facts = f"""
                SELECT rows.* FROM ({facts}) AS rows
                SEMI JOIN {_TOUCHED} AS touched ON rows.valid_from = touched.day AND rows.school = touched.school
            """  # noqa: S608
            units.append(self._first(facts, _days_of(old, session, "old_days")))
        return units

    def _touched_figures(
        self, units: str, version: int, due: Periods, replaced: Mapping[str, Collection[Part]]
    ) -> str:
        """SQL of the figures of the schools touched, with those of the files that they take the place of.

        A school that has no unit left in a period gets a row that says so, over what was known before.
        """
        worked_out = (
            f"SELECT * FROM {_CELLS} LEFT JOIN ({self._figures(units, version)}) USING (period, school)"  # noqa: S608
        )
        worked_out = f"SELECT * REPLACE ({version} AS version) FROM ({worked_out})"  # noqa: S608
        before = _of_parts(self.folder, due, replaced)
        if not before:
            return worked_out
        kept = f"SELECT * FROM ({_together(before)}) ANTI JOIN {_CELLS} USING (period, school) {_NEWEST}"  # noqa: S608
        return f"SELECT * FROM ({worked_out}) UNION ALL BY NAME SELECT * FROM ({kept})"  # noqa: S608

    def _figures(self, units: str, version: int) -> str:
        return f"WITH {SUMS} AS ({units}) SELECT *, {version} AS version FROM ({self.stage.second})"  # noqa: S608

    def _first(self, facts: str, days: str) -> str:
        return f"SELECT * FROM (WITH {PERIODS} AS (SELECT * FROM {days}), {FACTS} AS ({facts}) {self.stage.first})"  # noqa: S608

    def _fresh(self, numbers: Iterable[int]) -> str:
        names = ", ".join((*self.stage.unit, *self.stage.sums))
        return f"SELECT period, {names} FROM {_FRESH} JOIN {_DUE} USING (day) WHERE period IN ({_numbers(numbers)})"  # noqa: S608

    def _kept_sums(self, periods: Periods, parts: Mapping[str, Collection[Part]]) -> list[str]:
        return _of_parts(self.folder, periods, parts, ("period", *self.stage.unit, *self.stage.sums))

    def _summed(self, rows: str) -> str:
        unit = ", ".join(self.stage.unit)
        added = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in self.stage.sums)
        return f"SELECT period, {unit}, {added} FROM ({rows}) GROUP BY period, {unit}"  # noqa: S608

    def _of_days(self, stored: Sequence[TableFile], periods: Periods) -> str:
        """SQL of all facts of these periods, from the files that may hold them."""
        runs = _runs({day for one in periods.values() for day in one.days})
        chosen = (
            file.path
            for file in stored
            if any(file.may_hold("valid_from", first, last) for first, last in runs)
        )
        return self.table.relation(chosen, self.stage.columns, _within(runs))

    def _written(self, session: Session, kind: str, version: int, sql: str) -> str:
        """The name of a new file with these rows, on the disk."""
        name = f"{kind}-{version}-{ids.uuid7().hex}.parquet"
        file = self.folder / name
        try:
            session.run(
                f"COPY ({sql}) TO {quoted(str(file))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP})"
            )
            files.sync([file])
        except Exception:
            file.unlink(missing_ok=True)  # on a full disk, what was written of it is in the way
            raise
        return name

    def _rows(self, session: Session, name: str) -> dict[int, int]:
        """How many rows a file has of each period."""
        found = session.run(f"SELECT period, count(*) FROM {_parquet(self.folder / name)} GROUP BY period")  # noqa: S608
        return {number: rows for number, rows in found}  # noqa: C416 - mypy does not know that rows are pairs

    def _stamps(self, names: Iterable[str]) -> dict[str, manifests.Stamp]:
        found = {name: manifests.stamp_of(self.folder / name) for name in names}
        return {name: stamp for name, stamp in found.items() if stamp is not None}


def newest_figures(folder: Path, periods: Periods, columns: Sequence[str]) -> str:
    """SQL of the figures that are kept of these periods: period (its number), school, and these columns of the stage."""
    parts = {key: one.figures for key, one in periods.items()}
    rows = _of_parts(folder, periods, parts, ("period", "school", "version", *columns))
    newest = _NEWEST if any(len(mine) > 1 for mine in parts.values()) else ""
    return f"SELECT * EXCLUDE (version) FROM ({_together(rows)}) {newest}" if rows else ""  # noqa: S608


def _of_parts(
    folder: Path, periods: Periods, parts: Mapping[str, Collection[Part]], columns: Sequence[str] = ("*",)
) -> list[str]:
    """SQL of each file's rows of the periods of which it is a part: it may have older ones of others."""
    by_file: dict[str, list[int]] = {}
    for key, mine in parts.items():
        for part in mine:
            by_file.setdefault(part.file, []).append(periods[key].number)
    return [
        f"SELECT {', '.join(columns)} FROM {_parquet(folder / name)} WHERE period IN ({_numbers(numbers)})"  # noqa: S608
        for name, numbers in by_file.items()
    ]


def _absorbed(parts: Sequence[Part], rows: int) -> tuple[Part, ...]:
    """The parts whose place so many new rows take: all, once what came since is as much as the largest."""
    if not parts:
        return ()
    largest = max(parts, key=lambda part: part.rows)
    small = tuple(part for part in parts if part is not largest)
    if rows + sum(part.rows for part in small) >= largest.rows:
        return tuple(parts)
    return small if len(parts) >= MOST_PARTS else ()


def _left(parts: Sequence[Part], absorbed: Collection[Part]) -> tuple[Part, ...]:
    return tuple(part for part in parts if part not in absorbed)


def _part(file: str | None, rows: Mapping[str, Mapping[int, int]], number: int) -> tuple[Part, ...]:
    """What a new file has of a period."""
    many = 0 if file is None else rows[file].get(number, 0)
    return (Part(file, many),) if file is not None and many else ()


def _with(manifest: Manifest, changed: Periods, stamps: Mapping[str, manifests.Stamp]) -> Manifest:
    periods = {**manifest.periods, **changed}
    named = {name for one in periods.values() for name in one.files}
    kept = {name: stamp for name, stamp in {**manifest.files, **stamps}.items() if name in named}
    return msgspec.structs.replace(manifest, periods=periods, files=kept)


def _longer(periods: Periods) -> dict[str, Kept]:
    return {key: one for key, one in periods.items() if len(one.days) > 1}


def _single(periods: Periods) -> dict[str, Kept]:
    return {key: one for key, one in periods.items() if len(one.days) == 1}


def _days_of(periods: Periods, session: Session, name: str, as_days: bool = False) -> str:
    """Give the engine a relation of days and the number of the period they lie in, or themselves; returns its name."""
    rows = [(day, one.number) for one in periods.values() for day in one.days]
    days = pa.array([day for day, _ in rows], pa.date32())
    table = pa.table({"day": days, "period": pa.array([number for _, number in rows], pa.int32())})
    if as_days:
        days = days.unique()
        table = pa.table({"day": days, "period": days})
    session.offer(name, table)
    return name


def _runs(days: Collection[date]) -> list[tuple[date, date]]:
    """The first and last days of runs without a gap: a correction of long ago does not ask for all that lies between."""
    runs: list[tuple[date, date]] = []
    for day in sorted(days):
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1] = runs[-1][0], day
        else:
            runs.append((day, day))
    return runs


def _within(runs: Sequence[tuple[date, date]]) -> str:
    """SQL: the fact is of a day in one of the runs. The whole span stands beside them for what a file says of its parts."""
    span = f"valid_from BETWEEN DATE '{runs[0][0]}' AND DATE '{runs[-1][1]}'"
    if len(runs) == 1:
        return span
    each = " OR ".join(f"valid_from BETWEEN DATE '{first}' AND DATE '{last}'" for first, last in runs)
    return f"{span} AND ({each})"


def _together(rows: Iterable[str]) -> str:
    return " UNION ALL ".join(f"({sql})" for sql in rows)


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def _parquet(path: Path) -> str:
    return f"read_parquet({quoted(str(path))})"
