"""What the first stage of measures has come to so far, on the disk: a new school day is added to it.

`<data>/warehouse/.partials/<stage>/` has sums of each unit by period (weeks, terms, years), figures of each school by
period (days too), and one manifest for every table version they were brought up to. They are nothing but the facts of that
version, reckoned up: they can be deleted at any time, and are then made again. A manifest is written after what it names,
and is whole or absent after a kill; what none names is swept away later.

A refresh reads the rows that came since (corrections are rows too), adds their sums as one more file, and works out anew
the figures of the schools and periods that they are about. A single day is small: its figures are made from its facts.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from commonroom import ids, log
from commonroom.engines import delta, files
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import manifests, measures, stages, tables
from commonroom.warehouse.compilation import FACTS, PERIODS
from commonroom.warehouse.heads import Head
from commonroom.warehouse.manifests import Busy, Kept, Manifest
from commonroom.warehouse.model import Measure
from commonroom.warehouse.stages import SUMS, Stage

FOLDER = ".partials"
_MOST_FILES = 16  # of one kind; then they are merged
_FORMAT = 1  # of what is in a stage's folder: another one is another folder
_WAIT_SECONDS = 2.0  # for others at work: asking the facts is always right, and then sooner
_REST_SECONDS = 60.0  # after a failure or a wait in vain
_DUE = "due"  # the days of the periods that are worked out
_log = log.get("warehouse")

Days = Mapping[str, Collection[date]]  # the days of each period, by its name


class Partials:
    """What is kept of one data folder. Safe to use from several threads and processes."""

    def __init__(self, settings: Settings, duck: Duck) -> None:
        self._settings, self._duck = settings, duck
        self._locks: dict[str, threading.Lock] = {}
        self._newest: dict[str, Manifest] = {}
        # Until when nothing is kept after a failure, or nobody is waited for.
        self._failed: dict[str, float] = {}
        self._waited: dict[str, float] = {}
        self._guard = threading.Lock()

    def changed(self, measure: Measure, head: Head, days: Days) -> tuple[int, ...] | None:
        """The table version that last changed each period; brings what is kept up to the head. None: not kept.

        Two heads with the same answer have the same figures.
        """
        stage = stages.of(measure)
        if stage is None:
            return None
        manifest = self._at(stage, head, days)
        if manifest is None:
            return None
        return tuple(manifest.periods[_key(name, mine)].changed for name, mine in days.items())

    def rows(self, measure: Measure, head: Head, days: Days) -> list[dict[str, Any]] | None:
        """Of each school (as `member`) and period: numerator, denominator, units. None: not kept, ask the facts."""
        stage = stages.of(measure)
        manifest = None if stage is None else self._at(stage, head, days)
        if stage is None or manifest is None:
            return None
        if not manifest.figures:
            return []
        names = {_key(name, mine): name for name, mine in days.items()}
        wanted = f"measure = ? AND period IN ({_listed(names)})"
        try:
            found = self._duck.query(
                f"""
                SELECT period, school AS member, numerator, denominator, units
                FROM ({_newest_figures(self._folder(stage), manifest, wanted)}) WHERE units > 0
                """,  # noqa: S608 - names of ours
                [measure.name],
            )
        except (OSError, duckdb.Error) as error:
            self._fails(stage, error)
            return None
        return [{**row, "period": names[row["period"]]} for row in found]

    def _at(self, stage: Stage, head: Head, days: Days) -> Manifest | None:
        """What is kept as at the head, with these periods in it. None where it cannot be kept, or not soon."""
        version = head.tables.get(stage.entity, delta.EMPTY)
        wanted = {_key(name, mine): tuple(sorted(mine)) for name, mine in days.items()}
        folder, now = self._folder(stage), time.monotonic()
        found = self._newest.get(stage.name)
        is_known = found is not None and found.version == version and wanted.keys() <= found.periods.keys()
        if found is not None and is_known and manifests.is_there(folder, found):
            return found
        if now < self._failed.get(stage.name, now):
            return None
        with self._guard:
            lock = self._locks.setdefault(stage.name, threading.Lock())
        patience = 0.0 if now < self._waited.get(stage.name, now) else _WAIT_SECONDS
        try:
            with manifests.alone(folder, lock, patience):
                return self._brought_up(stage, version, wanted)
        except Busy:
            if patience:
                self._waited[stage.name] = time.monotonic() + _REST_SECONDS
        except Exception as error:
            # Neither a full disk nor files that another version wrote stop a question: the facts themselves are asked.
            self._fails(stage, error)
        return None

    def _fails(self, stage: Stage, error: Exception) -> None:
        """What is kept is of no use now: look again in a while, at what the disk has then."""
        self._newest.pop(stage.name, None)
        self._failed[stage.name] = time.monotonic() + _REST_SECONDS
        log.fault(_log, "partial sums cannot be kept", error)

    def _brought_up(self, stage: Stage, version: int, wanted: Mapping[str, tuple[date, ...]]) -> Manifest:
        folder = self._folder(stage)
        # Another process may have gone on since, or somebody has deleted it all: what is on the disk holds.
        found = before = self._stored(stage, version) or self._nothing(stage, version)
        if found.version < version:
            found = self._refreshed(stage, found, version)
        missing = {key: mine for key, mine in wanted.items() if key not in found.periods}
        if missing:
            found = self._with_periods(stage, found, missing)
        if found is not before:
            merged = self._merged(stage, found)
            manifests.store(folder, merged)
            gone = {*found.sums, *found.figures} - {*merged.sums, *merged.figures}
            if gone:
                manifests.replaced(folder, gone)
                manifests.sweep(folder)
                manifests.sweep_old(folder.parent, self._declared())
            found = merged
        self._newest[stage.name] = found
        return found

    def _refreshed(self, stage: Stage, manifest: Manifest, version: int) -> Manifest:
        """Brought from its version up to `version`, by the rows that came between."""
        table = tables.of(stage.entity)
        came = delta.appended(table.folder(self._settings), manifest.version, version)
        if came is None:
            _log.info("partial sums begin anew", stage=stage.name, version=version)
            return self._nothing(stage, version)
        current = msgspec.structs.replace(
            manifest, version=version, identity=self._nothing(stage, version).identity
        )
        if not came:
            return current
        touched = self._duck.arrow(
            f"SELECT DISTINCT valid_from AS day, school FROM ({table.relation(came, ['valid_from', 'school'])})"  # noqa: S608
        )
        days = set(touched["day"].to_pylist())
        due = {key: kept.days for key, kept in manifest.periods.items() if not days.isdisjoint(kept.days)}
        if not due:
            return current
        facts = table.relation(came, stage.columns)
        return self._added(stage, current, due, facts, touched)

    def _with_periods(
        self, stage: Stage, manifest: Manifest, missing: Mapping[str, tuple[date, ...]]
    ) -> Manifest:
        """With periods that were not kept yet, from all their facts."""
        if manifest.version == delta.EMPTY:
            none = {key: Kept(days, delta.EMPTY) for key, days in missing.items()}
            return msgspec.structs.replace(manifest, periods={**manifest.periods, **none})
        facts = self._facts(stage, manifest.version, missing)
        return self._added(stage, manifest, missing, facts, None)

    def _added(
        self,
        stage: Stage,
        manifest: Manifest,
        due: Mapping[str, tuple[date, ...]],
        facts: str,
        touched: pa.Table | None,
    ) -> Manifest:
        """With the sums of `facts` in these periods, and the figures that follow.

        `touched` says which days and schools the facts are about; None: the periods are new, and these are all.
        """
        folder = self._folder(stage)
        longer = {key: days for key, days in due.items() if len(days) > 1}
        single = {key: days for key, days in due.items() if len(days) == 1}
        sums = list(manifest.sums)
        if longer:
            name = _new_name("sums", manifest.version)
            first = f"WITH {FACTS} AS ({facts}) {stage.first}"
            self._write(f"{first} ORDER BY period, school", folder / name, {PERIODS: _days_of(longer)})
            sums.append(name)
        name = _new_name("figures", manifest.version)
        current = msgspec.structs.replace(manifest, sums=tuple(sums))
        narrowed = touched is not None
        of_units = [
            form(stage, current, periods, narrowed)
            for periods, form in ((longer, self._from_sums), (single, self._from_facts))
            if periods
        ]
        self._work_out(stage, due, of_units, touched, folder / name, manifest.version)
        changed = {key: Kept(days, manifest.version) for key, days in due.items()}
        return msgspec.structs.replace(
            manifest,
            periods={**manifest.periods, **changed},
            sums=tuple(sums),
            figures=(*manifest.figures, name),
        )

    def _work_out(
        self,
        stage: Stage,
        periods: Mapping[str, tuple[date, ...]],
        of_units: Sequence[str],
        touched: pa.Table | None,
        file: Path,
        version: int,
    ) -> None:
        """Write the figures of the schools touched (None: of all) in these periods, for every measure of the stage."""
        given: dict[str, pa.Table] = {_DUE: _days_of(periods)}
        units = " UNION ALL ".join(f"SELECT * FROM ({sql})" for sql in of_units)  # noqa: S608
        every = " UNION ALL ".join(f"SELECT * FROM ({sql})" for sql in stage.second.values())  # noqa: S608
        cells, wanted = "", f"SELECT *, {version} AS version FROM figures"  # noqa: S608
        if touched is not None:
            given["touched"] = touched
            cells = f"cells AS (SELECT DISTINCT period, school FROM touched JOIN {_DUE} USING (day)),"  # noqa: S608
            # A school that has no unit left in a period gets a row that says so, over what was known before.
            wanted = f"""
                SELECT measure, period, school, numerator, denominator, coalesce(units, 0) AS units, {version} AS version
                FROM (SELECT * FROM cells, (VALUES {_rows_of(stage.second)}) AS named (measure)) AS touched_cells
                LEFT JOIN figures USING (measure, period, school)
            """  # noqa: S608 - names of ours
        sql = f"WITH {cells} {SUMS} AS MATERIALIZED ({units}), figures AS ({every}) {wanted}"
        self._write(f"{sql} ORDER BY measure, period, school", file, given)

    def _from_sums(self, stage: Stage, manifest: Manifest, periods: Iterable[str], narrowed: bool) -> str:
        """SQL of what is known of each unit in these periods, from the sums kept; `narrowed`: of the schools touched."""
        unit = ", ".join(stage.unit)
        added = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in stage.sums)
        kept = _parquet([self._folder(stage) / name for name in manifest.sums])
        rows = f"SELECT * FROM {kept} WHERE period IN ({_listed(periods)})"  # noqa: S608
        if narrowed:
            rows = f"SELECT kept.* FROM ({rows}) AS kept SEMI JOIN cells USING (period, school)"  # noqa: S608
        return f"SELECT period, {unit}, {added} FROM ({rows}) AS rows GROUP BY period, {unit}"  # noqa: S608

    def _from_facts(
        self, stage: Stage, manifest: Manifest, periods: Mapping[str, tuple[date, ...]], narrowed: bool
    ) -> str:
        """The same from the facts of these periods."""
        facts = self._facts(stage, manifest.version, periods)
        if narrowed:
            facts = f"""
                SELECT rows.* FROM ({facts}) AS rows
                SEMI JOIN touched ON rows.valid_from = touched.day AND rows.school = touched.school
            """  # noqa: S608
        named = f"SELECT * FROM {_DUE} WHERE period IN ({_listed(periods)})"  # noqa: S608
        return f"WITH {PERIODS} AS ({named}), {FACTS} AS ({facts}) {stage.first}"

    def _facts(self, stage: Stage, version: int, periods: Mapping[str, tuple[date, ...]]) -> str:
        """SQL of all facts of these periods at a version, from the files that may hold them."""
        table = tables.of(stage.entity)
        runs = _runs({day for mine in periods.values() for day in mine})
        chosen = (
            file.path
            for file in delta.files_of(table.folder(self._settings), version)
            if any(file.may_hold("valid_from", first, last) for first, last in runs)
        )
        return table.relation(chosen, stage.columns, _within(runs))

    def _merged(self, stage: Stage, manifest: Manifest) -> Manifest:
        """The same in fewer files, when they have become many. The largest sums stay as they are: most of it is old."""
        folder = self._folder(stage)
        sums, figures = list(manifest.sums), list(manifest.figures)
        if len(sums) > _MOST_FILES:
            by_size = sorted(sums, key=lambda name: (folder / name).stat().st_size)
            small, largest = by_size[:-1], by_size[-1]
            size = sum((folder / name).stat().st_size for name in small)
            if 2 * size > (folder / largest).stat().st_size:
                small, largest = by_size, ""
            new = _new_name("sums", manifest.version)
            old = msgspec.structs.replace(manifest, sums=tuple(small))
            one = self._from_sums(stage, old, manifest.periods, narrowed=False)
            self._write(f"{one} ORDER BY period, school", folder / new, {})
            sums = [name for name in (largest, new) if name]
        if len(figures) > _MOST_FILES:
            new = _new_name("figures", manifest.version)
            self._write(
                f"{_newest_figures(folder, manifest)} ORDER BY measure, period, school", folder / new, {}
            )
            figures = [new]
        return msgspec.structs.replace(manifest, sums=tuple(sums), figures=tuple(figures))

    def _nothing(self, stage: Stage, version: int) -> Manifest:
        table = tables.of(stage.entity).folder(self._settings)
        return Manifest(version, delta.identity(table, version), {})

    def _stored(self, stage: Stage, version: int) -> Manifest | None:
        """The newest manifest up to a version, of a state that the table has had, with all its files there."""
        table = tables.of(stage.entity).folder(self._settings)
        for found in manifests.stored(self._folder(stage), version):
            if found.identity == delta.identity(table, found.version):
                return found
        return None

    def _write(self, sql: str, file: Path, given: Mapping[str, pa.Table]) -> None:
        try:
            self._duck.query(
                f"COPY ({sql}) TO {tables.quoted(str(file))} (FORMAT parquet, COMPRESSION zstd)",
                [],
                dict(given),
            )
            files.sync([file])
        except Exception:
            file.unlink(missing_ok=True)  # on a full disk, what was written of it is in the way
            raise

    def _folder(self, stage: Stage) -> Path:
        return self._settings.folder("warehouse").absolute() / FOLDER / _folder_name(stage)

    def _declared(self) -> set[str]:
        """The names of the folders of all stages that there are."""
        declared = map(stages.of, measures.load().values())
        return {_folder_name(stage) for stage in declared if stage is not None}


def _folder_name(stage: Stage) -> str:
    return f"{stage.name}-{_FORMAT}"


def _newest_figures(folder: Path, manifest: Manifest, where: str = "true") -> str:
    return f"""
        SELECT * FROM {_parquet([folder / name for name in manifest.figures])} WHERE {where}
        QUALIFY row_number() OVER (PARTITION BY measure, period, school ORDER BY version DESC) = 1
    """  # noqa: S608 - files of ours


def _key(name: str, days: Collection[date]) -> str:
    """A period's name here: with its days, for a calendar can change."""
    told = " ".join(day.isoformat() for day in sorted(days))
    return f"{name} {zlib.crc32(told.encode()):08x}"


def _days_of(periods: Mapping[str, tuple[date, ...]]) -> pa.Table:
    rows = [(day, key) for key, days in periods.items() for day in days]
    days, keys = zip(*rows, strict=True)
    return pa.table({"day": pa.array(days, pa.date32()), "period": pa.array(keys, pa.string())})


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


def _new_name(kind: str, version: int) -> str:
    return f"{kind}-{version}-{ids.uuid7().hex}.parquet"


def _parquet(paths: Sequence[Path]) -> str:
    return f"read_parquet([{_listed(map(str, paths))}])"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(tables.quoted, names))


def _rows_of(names: Iterable[str]) -> str:
    return ", ".join(f"({tables.quoted(name)})" for name in names)
