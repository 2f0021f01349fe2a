"""The whole numbers of each school, by period: from the sums that are kept, or else worked out of the facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from commonroom.engines import delta
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import compilation, divisions, measures, numbers_for_life, organisations, tables
from commonroom.warehouse.analytics import Engine, InProcess, Source
from commonroom.warehouse.characteristics import MOMENTS
from commonroom.warehouse.compilation import FACTS, MEMBERS, PERIODS, SAME
from commonroom.warehouse.heads import Head
from commonroom.warehouse.model import Measure
from commonroom.warehouse.organisations import School
from commonroom.warehouse.partials import Partials
from commonroom.warehouse.periods import Period
from commonroom.warehouse.publication import Name, Parts
from commonroom.warehouse.spans import View, days, moments, period_rows
from commonroom.warehouse.turns import Kept


class SchoolNumbers:
    """The numbers of the schools of one warehouse. Safe to use from several threads."""

    def __init__(self, settings: Settings, duck: Duck, engine: Engine) -> None:
        self._settings, self._duck, self._engine = settings, duck, engine
        self._schools, self._files = Kept(8), Kept(64)
        self.partials = Partials(settings, duck) if isinstance(engine, InProcess) else None

    def versions(self, measure: Measure, wanted: Sequence[Period], view: View) -> tuple[Any, ...]:
        """What the numbers depend on: the versions of its tables, or those that last changed anything in its periods."""
        if view.known_at is None and self.partials is not None:
            changed = self.partials.changed(measure, view.head, days(measure, wanted))
            if changed is not None:
                return changed
        return tuple(view.head.tables.get(entity) for entity in compilation.entities_of(measure).values())

    def of(
        self,
        family: Sequence[Measure],
        schools: Mapping[str, School],
        wanted: Sequence[Period],
        view: View,
        by: str | None = None,
    ) -> dict[Name, Parts]:
        """The numbers of each school by measure, place and time; by a characteristic, of each group as a `series`."""
        found: dict[Name, Parts] = {}
        asked: dict[str, list[dict[str, Any]]] = {}
        for measure in family:
            # Rows of a whole have the numerators of its parts, which are asked for once with it.
            rows = asked.get(measure.part_of)
            if rows is None:
                one = measure if by is None else measures.divided(measure, by)
                rows = asked[measure.name] = self.rows(one, schools, wanted, view)
            for row in rows:
                numerator = row.get(measure.name, row["numerator"])
                series = measure.name if by is None else divisions.series(measure.name, row["category"])
                found[series, ("school", row["member"]), row["period"]] = _parts_of(row, numerator)
        return found

    def rows(
        self, measure: Measure, schools: Mapping[str, School], wanted: Sequence[Period], view: View
    ) -> list[dict[str, Any]]:
        """The numbers of each school, by period."""
        if not schools:
            return []
        if view.known_at is None and self.partials is not None:
            kept = self.partials.rows(measure, view.head, days(measure, wanted))
            if kept is not None:
                return [row for row in kept if row["member"] in schools]
        sources = {
            name: self._source(measure, name, entity, wanted, view)
            for name, entity in compilation.entities_of(measure).items()
        }
        names = pa.array(sorted(schools), pa.string())
        members = pa.table({"school": names, "member": names})
        beside = {PERIODS: period_rows(measure, wanted, view.today), MEMBERS: members}
        if measure.by is not None:
            beside[MOMENTS] = moments(measure, wanted, view)
        if measure.elsewhere:
            beside[SAME] = view.same.table()
        return self._engine.rows(measure, sources, beside)

    def _source(
        self, measure: Measure, name: str, entity: str, wanted: Sequence[Period], view: View
    ) -> Source:
        """The facts that can matter: of these days and times, from the files that may hold them."""
        last = max(period.end for period in wanted)
        if measure.within is not None and measure.within.entity == entity:
            last += timedelta(days=measure.within.days)
        last += timedelta(days=compilation.days_after(measure, name))
        if name in numbers_for_life.SOURCES:
            last = date.max  # numbers are for life, whenever they were learned
        is_flow = measure.taken == "over the period" and name == FACTS
        first = min(period.start for period in wanted) if is_flow else date.min
        files = (
            file.path
            for file in self._files_of(view.head, entity)
            if file.may_hold("valid_from", first, last)
        )
        columns = tuple(compilation.columns_of(measure, entity))
        return Source(entity, tuple(files), columns, first, last, view.known_at)

    def _files_of(self, head: Head, entity: str) -> list[delta.TableFile]:
        version = head.tables.get(entity)
        if version is None:
            return []
        files: list[delta.TableFile] | None = self._files.get((entity, version))
        if files is None:
            files = delta.files_of(tables.of(entity).folder(self._settings), version)
            self._files.put((entity, version), files)
        return files

    def known_schools(self, view: View, on: date) -> dict[str, School]:
        """Every school by URN, as it was on a day."""
        key = (view.head.tables.get(organisations.ENTITY), on, view.known_at)
        found: dict[str, School] | None = self._schools.get(key)
        if found is None:
            found = organisations.schools(self._settings, self._duck, view.head, on, view.known_at)
            self._schools.put(key, found)
        return found


def _parts_of(row: Mapping[str, Any], numerator: int) -> Parts:
    """The whole numbers of a row."""
    return Parts(numerator, row.get("denominator"), row["units"], deviation=row.get("deviation") or 0)
