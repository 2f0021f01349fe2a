"""Figures: a declared measure for units and periods, from the head, through policies and disclosure control."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from datetime import date, datetime
from typing import Any, get_args

import msgspec
import pyarrow as pa

from commonroom import access, log
from commonroom.access import Scope
from commonroom.engines import clock
from commonroom.engines.duck import Duck
from commonroom.identity import Principal
from commonroom.problems import Problem, add_codes
from commonroom.settings import Settings
from commonroom.warehouse import (
    combinations,
    disclosure,
    heads,
    questions,
    suppression,
)
from commonroom.warehouse.heads import Head
from commonroom.warehouse.history import DATASET as FACTS
from commonroom.warehouse.lineage import Origin, Tracer, Wanted, period_of
from commonroom.warehouse.model import Grain, Level
from commonroom.warehouse.organisations import School
from commonroom.warehouse.periods import Period
from commonroom.warehouse.publication import Hide
from commonroom.warehouse.questions import Figure, Question
from commonroom.warehouse.released import Published
from commonroom.warehouse.releases import Release, Releases
from commonroom.warehouse.same_learners import NOBODY, Same, SameLearners
from commonroom.warehouse.sources import Part, parts_of
from commonroom.warehouse.spans import View, between, by_term
from commonroom.warehouse.turns import Kept
from commonroom.warehouse.turnstile import Turnstile
from commonroom.warehouse.warming import Asked, Lately

add_codes({"CR-295": "There is no such figure to trace"})

DATASET = "figures"
LINEAGE = "figures.lineage"
MAX_ROWS = 1000  # of facts of one entity, in one answer
_CACHED = 1_000_000  # figures, each of about 370 bytes, and one more for each answer
_TRACED = 64
_log = log.get("warehouse")


class Lineage(msgspec.Struct, frozen=True):
    """Where a figure comes from."""

    figure: Figure
    tables: dict[str, int]  # all that the head names
    parts: tuple[Part, ...]  # by entity
    withheld: str  # why nothing is counted; empty where something is


class Reader:
    """The warehouse as a process reads it. One per process; safe to use from many tasks."""

    def __init__(
        self, settings: Settings, hide: Hide = suppression.hide, patience: float | None = None
    ) -> None:
        self._duck = Duck(settings, [settings.folder("warehouse")])
        self._published = Published(Releases(settings, self._duck, hide), is_live=settings.figures == "live")
        self._figures, self._latest, self._patience = Kept(_CACHED), Kept(_CACHED), patience
        self.lately = Lately()
        self._tracer = Tracer(settings, self._duck, self._published)
        self._traced, self._turnstile = Kept(_TRACED), Turnstile()
        self._learners = SameLearners()

    def close(self) -> None:
        """Release DuckDB's memory and leave the engine of measures."""
        self._published.close()
        self._duck.close()

    async def head(self, connection: Any) -> Head:
        """What can be read now: batch, position, table versions."""
        return await heads.newest(connection)

    @property
    def duck(self) -> Duck:
        """Its engine, for what else this process reads of the same files under policies of its own."""
        return self._duck

    @property
    def kept(self) -> int:
        """How many figures it keeps in memory, with one more for each answer."""
        return self._figures.held

    @property
    def turnstile(self) -> Turnstile:
        """Where its expensive questions wait; others of this process wait with them."""
        return self._turnstile

    async def schools(self, connection: Any, on: date) -> dict[str, School]:
        """Every school that the register names, by URN, as it was on a day."""
        head = await heads.newest(connection)
        return await asyncio.to_thread(self._published.known_schools, head, on)

    async def newest_day(self, connection: Any) -> date:
        """The newest day of which there may be figures: today, or the day that was released last."""
        return (await self._view(connection, None)).today

    async def warm(self, pool: Any, done: Any = None, stop: asyncio.Event | None = None) -> Any:
        """Work out what was asked for lately as at the head, so that nobody need wait for it, until `stop` is set.

        Gives back what it was worked out for; given as `done`, the same again costs nothing. No connection is held.
        """
        async with pool.acquire() as connection:
            asked = self.lately.questions()
            view = await self._view(connection, None, *(one.measure for one in asked))
        now = (view.state, view.today, frozenset(asked))
        if now != done:
            for one in asked:
                try:
                    await asyncio.to_thread(self._work_out, one, view, stop)
                except Exception as error:
                    # The others are worked out all the same, and this one is not tried again at this head.
                    log.fault(_log, "figures of a question were not worked out ahead", error)
        return now

    async def lineage(
        self,
        connection: Any,
        principal: Principal,
        *,
        measure: str,
        level: str,
        grain: str,
        unit: str,
        on: date,
        known_at: datetime | None = None,
        rows: int = 0,
        purpose: str = "lineage of a figure",
    ) -> Lineage:
        """Where the figure of the period of the day `on` comes from; with up to `rows` rows of each entity.

        What may be told to whom, `lineage` says. Each look enters the trail, the facts as reads of facts.
        Raises Problem CR-295 (no such figure), CR-335 (too many ask at once) beside those of `figures`.
        """
        question = questions.checked(measure, level, grain, [unit], on, on, known_at)
        view = await self._view(connection, known_at, measure)
        scope = access.rows(principal, LINEAGE, "duckdb")
        facts = _right_to_facts(principal)
        rights = [None if one is None else (one.sql, *one.params, one.masked) for one in (scope, facts)]
        period = period_of(combinations.measure(measure), question.grain, question.first, view.today)
        if period is None:
            raise _no_figure("no period of figures has begun that has this day in it")
        # The same answer whatever its day, and however many rows somebody wants who gets none: kept once.
        question = msgspec.structs.replace(question, first=period.start, last=period.start)
        rows = 0 if facts is None else min(max(rows, 0), MAX_ROWS)
        key = (view.state, view.today, question, *rights, rows)

        found: tuple[Figure, list[Origin], str] | None = self._traced.get(key)
        if found is None:
            found = await self._turnstile.through(
                key, lambda: self._trace(question, scope, facts, rows, period, view)
            )
            self._traced.put(key, found)
        figure, origins, withheld = found
        parts = await parts_of(connection, origins)
        await access.audit(connection, principal, LINEAGE, purpose, len(parts))
        if facts is not None:
            seen = sum(len(part.shown) or len(part.messages or ()) for part in parts)
            await access.audit(connection, principal, FACTS, purpose, seen)
        return Lineage(_dated(figure, view.head, known_at), view.head.tables, parts, withheld)

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
        characteristic: str | None = None,
        groups: Sequence[str] | None = None,
        purpose: str = "published figures",
        now: datetime | None = None,
    ) -> list[Figure]:
        """The figures of a measure, by unit and period. `units` None: every unit of the level that has any.

        With a `characteristic`, each group's (those in `groups` alone, where given) after one another.

        A unit asked for by its code has a figure in every period, if only a symbol. `known_at` asks for what was known
        at that time. Periods are whole, and those that have not begun are left out.
        `purpose` goes into the trail of reads. Questions that belong together are asked at one moment, `now`: none of them
        then sees a release that another did not.
        Raises Problem CR-063 (no such measure, level, grain or unit), CR-111 (not granted), CR-092 (no calendar), and
        of what was known before and by characteristic CR-335 (too many ask at once) and CR-339 (not ready yet).
        """
        question = questions.checked(measure, level, grain, units, first, last, known_at)
        if characteristic is not None:
            question = questions.divided(question, characteristic, groups)
        scope = access.rows(principal, DATASET, "duckdb")
        view = await self._view(connection, known_at, measure, now=now)
        head, key = view.head, (view.state, view.today, question, scope.sql, tuple(scope.params))
        found: list[Figure] | None = self._figures.get(key)
        if found is None:
            found, head = await self._worked_out(key, question, scope, view)
        if known_at is None:  # and it could be answered
            self.lately.note(Asked(measure, grain, first, last))
        await access.audit(connection, principal, DATASET, purpose, len(found))
        return [_dated(figure, head, known_at) for figure in found]

    async def _worked_out(
        self, key: Hashable, question: Question, scope: Scope, view: View
    ) -> tuple[list[Figure], Head]:
        """The answer, kept, and the head that it is as of.

        What is not kept ready and reads the facts goes through the turnstile. While it is worked out for a new head, or
        too many wait, the answer of the head before is given where there is one.
        """
        combination = combinations.load().get(question.measure)
        by = question.characteristic or (combination.by if combination else None)
        if question.known_at is None and by is None:
            found = await asyncio.to_thread(self._compute, question, scope, view)
            self._figures.put(key, found, 1 + len(found))
            return found, view.head

        same = (view.today, question, scope.sql, tuple(scope.params))  # whatever the head

        def work() -> list[Figure]:
            found = self._compute(question, scope, view)
            self._figures.put(key, found, 1 + len(found))
            self._latest.put(same, (found, view.head), 1 + len(found))
            return found

        try:
            return await self._turnstile.through(key, work, self._patience), view.head
        except Problem as problem:
            latest: tuple[list[Figure], Head] | None = self._latest.get(same)
            if latest is None or problem.code not in ("CR-335", "CR-339"):
                raise
            return latest

    async def beside(
        self,
        connection: Any,
        principal: Principal,
        measure: str,
        schools: Sequence[str],
        grain: str,
        day: date,
        first: date | None = None,
    ) -> list[Figure]:
        """The published figures to compare schools with: their own, their authorities', their trusts', the nation's.

        Of the period of `day`, which says who they belong to; with `first`, from that day on.
        """
        known = await self.schools(connection, day)
        found = []
        for level in get_args(Level):
            of = [known[urn].group(level)[0] for urn in schools if urn in known]
            units = list(dict.fromkeys(code for code in of if code is not None))
            if units and level in combinations.measure(measure).levels:
                found += await self.figures(
                    connection, principal, measure=measure, level=level, grain=grain, units=units,
                    first=first or day, last=day, purpose="benchmark",
                )  # fmt: skip
        return found

    async def _view(
        self, connection: Any, known_at: datetime | None, *names: str, now: datetime | None = None
    ) -> View:
        """What these measures' figures are looked at in, by somebody who asks now."""
        head, now = await heads.newest(connection), now or await clock.now(connection)
        return self._published.view(head, known_at, now, await self._same_learners(connection, *names))

    async def _same_learners(self, connection: Any, *names: str) -> Same:
        """Who is one learner, where one of these measures takes something from elsewhere."""
        asked = [one for name in names for one in combinations.parts(combinations.measure(name))]
        if any(one.elsewhere for one in asked):
            return await self._learners.now(connection)
        return NOBODY

    def _work_out(self, asked: Asked, view: View, stop: asyncio.Event | None) -> None:
        """Term by term, the newest first, until `stop` is set."""
        grain = next(one for one in get_args(Grain) if one == asked.grain)
        measure = combinations.measure(asked.measure)
        wanted = between(measure, grain, asked.first, asked.last, view.today)
        for mine in reversed(by_term(wanted).values()):
            if stop is not None and stop.is_set():
                return
            self._published.of(measure, mine, view)

    def _compute(self, question: Question, scope: Scope, view: View) -> list[Figure]:
        measure = combinations.measure(question.measure)
        wanted = between(measure, question.grain, question.first, question.last, view.today)
        if not wanted:
            return []
        releases = self._published.of(measure, wanted, view, question.characteristic)
        names = questions.names(question, releases[wanted[-1]])
        granted = self._granted(question, scope, names)
        figures = []
        for unit in granted:
            for period in wanted:
                for group in question.groups or ("",):
                    cell = questions.cell(measure, question, releases[period], unit, period, group)
                    if cell is not None:
                        figure = questions.figure(question, unit, names[unit], period, cell, group)
                        figures.append(_released(figure, releases[period]))
        return figures

    def _trace(
        self, question: Question, scope: Scope, facts: Scope | None, rows: int, period: Period, view: View
    ) -> tuple[Figure, list[Origin], str]:
        measure = combinations.measure(question.measure)
        release = self._published.of(measure, [period], view)[period]
        names = questions.names(question, release)
        granted = self._granted(question, scope, names)
        known = {school.group(question.level)[0] for school in release.schools.values()}
        if not granted or granted[0] not in known:
            raise _no_figure("the register has no such unit")
        (unit,) = granted
        cell = questions.cell(measure, question, release, unit, period)
        assert cell is not None
        figure = _released(questions.figure(question, unit, names[unit], period, cell), release)
        tells = cell.symbol in (None, disclosure.LOW, disclosure.UNRELIABLE, disclosure.NOT_AVAILABLE)
        origins: dict[str, Origin] = {}
        closed = False
        for one in combinations.parts(measure):
            asked = Wanted(one, question.level, unit, period, facts, rows, tells)
            own = self._published.of(one, [period], view)[period]
            found, shut = self._tracer.trace(asked, own, view)
            origins |= {origin.entity: origin for origin in found if origin.entity not in origins}
            closed = closed or shut
        is_sum = self._published.is_sum(measure, period, view)
        return figure, list(origins.values()), _why_closed(cell.symbol, is_sum=is_sum) if closed else ""

    def _granted(self, question: Question, scope: Scope, names: dict[str, str]) -> list[str]:
        """The units of which the asker may see this measure, by the policy, in their order."""
        sql = f"""
        SELECT unit FROM (SELECT unit, place, ? AS level, ? AS measure FROM asked) AS asked
        WHERE {scope.sql} ORDER BY place
        """  # noqa: S608 - the compiled policy
        asked = pa.table(
            {"unit": pa.array(names, pa.string()), "place": pa.array(range(len(names)), pa.int64())}
        )
        found = self._duck.query(sql, [question.level, question.measure, *scope.params], {"asked": asked})
        return [row["unit"] for row in found]


def open_reader(settings: Settings, hide: Hide = suppression.hide, patience: float | None = None) -> Reader:
    """A reader of this data folder's warehouse. Close it when done. Only tests hide in another way.

    `patience`: for how many seconds anybody waits for an expensive answer; None for as long as it takes.
    """
    return Reader(settings, hide, patience)


def _right_to_facts(principal: Principal) -> Scope | None:
    try:
        return access.rows(principal, FACTS, "duckdb")
    except Problem as problem:
        if problem.code != "CR-111":
            raise
        return None  # most have none


def _why_closed(symbol: str | None, *, is_sum: bool) -> str:
    if symbol == disclosure.CONFIDENTIAL:
        return "The figure is hidden: how many messages it comes from is hidden with it."
    if symbol == disclosure.NOT_APPLICABLE:
        return "There is no figure: how many messages came is not told."
    if is_sum:
        return "It is the sum of figures that were released one after another: ask for the sources of these."
    return (
        "A figure that this one is the sum of, or another of the same facts, is hidden: "
        "how many messages they come from is hidden with it."
    )


def _released(figure: Figure, release: Release) -> Figure:
    """The figure with the moment of its release; a live one as it is."""
    if release.moment is None:
        return figure
    return msgspec.structs.replace(
        figure, batch=release.batch, position=release.position, as_of=release.moment
    )


def _dated(figure: Figure, head: Head, known_at: datetime | None) -> Figure:
    """The figure as of a head; one that was released knows its moment already."""
    if figure.as_of is not None:
        return figure
    return msgspec.structs.replace(
        figure, batch=head.number, position=head.position, as_of=known_at or head.committed_at
    )


def _no_figure(detail: str) -> Problem:
    return Problem("CR-295", detail, status=404, remedy="Ask for a unit and a day that have figures.")
