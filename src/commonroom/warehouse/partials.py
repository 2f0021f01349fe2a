"""What the first stage of measures has come to so far, on the disk: a new school day is added to it.

`<data>/warehouse/.partials/<stage>/` has sums of each unit by period (weeks, terms, years), figures of each school by
period (days too), and one manifest for every table version they were brought up to. They are nothing but the facts of that
version, reckoned up (`refresh`): they can be deleted at any time, and are then made again. A manifest is written after what
it names, and is whole or absent after a kill; what none names is swept away later. It knows the length and the checksum of
every file: one that is not as it was written is thrown away, and made again from the facts.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from commonroom import log
from commonroom.engines import delta
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import manifests, measures, refresh, stages, tables, turns
from commonroom.warehouse.heads import Head
from commonroom.warehouse.manifests import Busy, Kept, Manifest
from commonroom.warehouse.model import Measure
from commonroom.warehouse.refresh import Work
from commonroom.warehouse.stages import Stage

FOLDER = ".partials"
_FORMAT = 2  # of what is in a stage's folder: another one is another folder
_WAIT_SECONDS = 2.0  # for others at work: asking the facts is always right, and then sooner
_REST_SECONDS = 60.0  # after a failure or a wait in vain
# Figures that are kept in memory, some 30 MB: of a county everything, of a nation what changes.
_MOST_ROWS = 100_000
# The process is ending: neither what is kept nor the facts can be asked, and nothing is wrong with either.
_ENDED = (duckdb.InterruptException, duckdb.ConnectionException)
_ANY = 10**18  # a table version that none has reached
_log = log.get("warehouse")

Days = Mapping[str, Collection[date]]  # the days of each period, by its name
Keys = Mapping[str, tuple[date, ...]]  # the same by `_key`
Rows = list[dict[str, Any]]


class Partials:
    """What is kept of one data folder. Safe to use from several threads and processes."""

    def __init__(self, settings: Settings, duck: Duck) -> None:
        self._settings, self._duck = settings, duck
        self._locks: dict[str, threading.Lock] = {}
        self._newest: dict[str, Manifest] = {}
        self._seen: dict[str, set[str]] = {}  # files whose checksum was looked at
        # Until when nothing is kept after a failure, or nobody is waited for.
        self._failed: dict[str, float] = {}
        self._waited: dict[str, float] = {}
        self._guard = threading.Lock()
        self._read = turns.Kept(_MOST_ROWS)

    def changed(self, measure: Measure, head: Head, days: Days) -> tuple[int, ...] | None:
        """The table version that last changed each period; brings what is kept up to the head. None: not kept.

        Two heads with the same answer have the same figures.
        """
        stage = stages.of(measure)
        if stage is None:
            return None
        wanted = _keys(days)
        manifest = self._at(stage, head, wanted)
        return None if manifest is None else tuple(manifest.periods[key].changed for key in wanted)

    def rows(self, measure: Measure, head: Head, days: Days) -> Rows | None:
        """Of each school (as `member`) and period: numerator, denominator, units. None: not kept, ask the facts.

        The rows are shared by all who ask: nobody changes them.
        """
        stage = stages.of(measure)
        if stage is None:
            return None
        wanted = _keys(days)
        try:
            return self._figures(stage, measure.name, head, wanted)
        except _ENDED:
            raise
        except (OSError, duckdb.Error) as error:
            # Broken since it was looked at, if it can be mended: then it is made again, once.
            if self._mended(stage):
                return self._figures(stage, measure.name, head, wanted)
            self._fails(stage, error)
            return None

    def _figures(self, stage: Stage, measure: str, head: Head, keys: Keys) -> Rows | None:
        manifest = self._at(stage, head, keys)
        if manifest is None:
            return None
        wanted = {key: manifest.periods[key] for key in keys}
        known = {key: self._read.get(_rows_key(measure, kept)) for key, kept in wanted.items()}
        missing = {key: kept for key, kept in wanted.items() if known[key] is None}
        # Who asks for one measure asks for its siblings next; of a nation's term they would be too much at once.
        many = len(stage.measures) * sum(part.rows for kept in missing.values() for part in kept.figures)
        names = stage.measures if many <= _MOST_ROWS else (measure,)
        new = self._read_now(stage, names, missing) if missing else {}
        return [row for key in wanted for row in known[key] or new.get((measure, key), ())]

    def _read_now(
        self, stage: Stage, names: Sequence[str], periods: Mapping[str, Kept]
    ) -> dict[tuple[str, str], Rows]:
        """The figures of some measures in some periods, from the disk; by measure and period."""
        columns = [column for name in names for column in stage.figures_of(name)]
        sql = refresh.newest_figures(self._folder(stage), periods, columns)
        with self._duck.session() as session:
            every = session.run(sql) if sql else []
        keys = {kept.number: key for key, kept in periods.items()}
        found: dict[tuple[str, str], Rows] = {(name, key): [] for name in names for key in periods}
        for number, school, *figures in every:
            key = keys[number]
            period = key.rpartition(" ")[0]
            for place, name in enumerate(names):
                numerator, denominator, units = figures[3 * place : 3 * place + 3]
                if units:
                    found[name, key].append(
                        {
                            "period": period, "member": school, "numerator": numerator,
                            "denominator": denominator, "units": units,
                        }
                    )  # fmt: skip
        for (name, key), rows in found.items():
            self._read.put(_rows_key(name, periods[key]), rows, len(rows) + 1)
        return found

    def _at(self, stage: Stage, head: Head, wanted: Keys) -> Manifest | None:
        """What is kept as at the head, with these periods in it. None where it cannot be kept, or not soon."""
        version = head.tables.get(stage.entity, delta.EMPTY)
        folder, now = self._folder(stage), time.monotonic()
        found = self._newest.get(stage.name)
        is_known = found is not None and found.version == version and wanted.keys() <= found.periods.keys()
        if found is not None and is_known and manifests.is_there(folder, found):
            return found
        if now < self._failed.get(stage.name, now):
            return None
        patience = 0.0 if now < self._waited.get(stage.name, now) else _WAIT_SECONDS
        try:
            with manifests.alone(folder, self._lock(stage), patience):
                return self._brought_up(stage, version, wanted)
        except _ENDED:
            raise
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

    def _brought_up(self, stage: Stage, version: int, wanted: Keys) -> Manifest:
        try:
            return self._stored_at(stage, version, wanted)
        except _ENDED:
            raise
        except (OSError, duckdb.Error):
            # A file that is not what was written has no part in the next try.
            if not self._is_mended(stage):
                raise
            return self._stored_at(stage, version, wanted)

    def _stored_at(self, stage: Stage, version: int, wanted: Keys) -> Manifest:
        folder = self._folder(stage)
        # Another process may have gone on since, or somebody has deleted it all: what is on the disk holds.
        before = self._stored(stage, version) or self._nothing(stage, version)
        found = before if before.version == version else self._refreshed(stage, before, version)
        missing = {key: mine for key, mine in wanted.items() if key not in found.periods}
        if missing:
            found = self._work(stage).with_periods(found, missing)
        if found is not before:
            manifests.store(folder, found)
            manifests.replaced(folder, before.files.keys() - found.files.keys())
            if manifests.sweep(folder, found):
                manifests.sweep_old(folder.parent, self._declared())
        self._newest[stage.name] = found
        self._seen[stage.name] = set(found.files)
        return found

    def _refreshed(self, stage: Stage, manifest: Manifest, version: int) -> Manifest:
        """Brought from its version up to `version`, by the rows that came between."""
        came = delta.appended(tables.of(stage.entity).folder(self._settings), manifest.version, version)
        if came is None:
            _log.info("partial sums begin anew", stage=stage.name, version=version)
            return self._nothing(stage, version)
        current = msgspec.structs.replace(
            manifest, version=version, identity=self._nothing(stage, version).identity
        )
        return self._work(stage).with_facts(current, came) if came and current.periods else current

    def _nothing(self, stage: Stage, version: int) -> Manifest:
        table = tables.of(stage.entity).folder(self._settings)
        return Manifest(version, delta.identity(table, version), {})

    def _stored(self, stage: Stage, version: int) -> Manifest | None:
        """The newest manifest up to a version, of a state that the table has had, with all its files as they were."""
        table, folder = tables.of(stage.entity).folder(self._settings), self._folder(stage)
        for found in manifests.stored(folder, version):
            if found.identity != delta.identity(table, found.version):
                continue
            broken = manifests.broken(folder, found, self._seen.get(stage.name, ()))
            if not broken:
                return found
            manifests.discard(folder, found, broken)
        return None

    def _mended(self, stage: Stage) -> bool:
        """Whether broken files were found and thrown away, by this thread alone."""
        try:
            with manifests.alone(self._folder(stage), self._lock(stage), _WAIT_SECONDS):
                return self._is_mended(stage)
        except Busy:
            return False

    def _is_mended(self, stage: Stage) -> bool:
        """Whether files of the newest manifest were broken, looked at as if for the first time."""
        self._seen.pop(stage.name, None)
        self._newest.pop(stage.name, None)
        folder = self._folder(stage)
        found = next(manifests.stored(folder, _ANY), None)
        broken = manifests.broken(folder, found) if found is not None else set()
        if found is not None and broken:
            manifests.discard(folder, found, broken)
        return bool(broken)

    def _lock(self, stage: Stage) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(stage.name, threading.Lock())

    def _work(self, stage: Stage) -> Work:
        table = tables.of(stage.entity)
        return Work(stage, self._folder(stage), self._duck, table, table.folder(self._settings))

    def _folder(self, stage: Stage) -> Path:
        return self._settings.folder("warehouse").absolute() / FOLDER / _folder_name(stage)

    def _declared(self) -> set[str]:
        """The names of the folders of all stages that there are."""
        declared = map(stages.of, measures.load().values())
        return {_folder_name(stage) for stage in declared if stage is not None}


def _rows_key(measure: str, kept: Kept) -> tuple[Any, ...]:
    """What is kept of a period under the same files is the same."""
    return measure, kept.number, tuple(part.file for part in kept.figures)


def _folder_name(stage: Stage) -> str:
    return f"{stage.name}-{_FORMAT}"


def _keys(days: Days) -> Keys:
    found = (_key(name, tuple(mine)) for name, mine in days.items())
    return dict(found)


@lru_cache(4096)
def _key(name: str, days: tuple[date, ...]) -> tuple[str, tuple[date, ...]]:
    """A period's name here, with its days: a calendar can change."""
    in_order = tuple(sorted(days))
    told = " ".join(day.isoformat() for day in in_order)
    return f"{name} {zlib.crc32(told.encode()):08x}", in_order
