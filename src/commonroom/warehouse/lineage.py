"""Lineage: from a published figure to the facts it was made of, the messages that told them, and who sent those.

Two rights meet here. Everybody may know as of which state a figure was read, who sent what it is made of and in how many
messages; but nothing is counted where the figure, any that it is the sum of or any other of the same facts is hidden: how
many messages came is often how many pupils they were about. Facts, and which message told each, are of `warehouse.facts`: a
school sees those that it told itself, an analyst all without what names a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, get_args

import msgspec
import pyarrow as pa

from commonroom import standard
from commonroom.access import Scope
from commonroom.engines import delta
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.standard import terms
from commonroom.warehouse import compilation, measures, organisations, periods, tables
from commonroom.warehouse.history import LINEAGE, items_shown
from commonroom.warehouse.model import Grain, Level, Measure
from commonroom.warehouse.periods import Period
from commonroom.warehouse.publication import Place
from commonroom.warehouse.released import Published
from commonroom.warehouse.releases import Release
from commonroom.warehouse.spans import View, between, place_of, state_day, time_of
from commonroom.warehouse.tables import FactTable

MAX_MESSAGES = 500  # of each entity; the newest
MAX_SENDERS = 500
# Half-terms are no longer.
_NEAR = timedelta(days=10)
Row = dict[str, Any]

# A flow is made of all rows of its days, corrections and what they correct.
_FLOW = "facts AS (SELECT * FROM read)"
# A state is made of the states that hold on its day: of a record the one that began last, if it still goes on; of some
# measures also if it has ended.
_STATE = """
live AS (SELECT {key}, valid_from, valid_to FROM read GROUP BY ALL HAVING sum(weight) > 0),
newest AS (
    SELECT *
    FROM live
    WHERE valid_from <= DATE '{on}'
    QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY valid_from DESC) = 1
),
facts AS (
    SELECT *
    FROM read
    SEMI JOIN (SELECT * FROM newest WHERE {has_ended} OR valid_to IS NULL OR valid_to >= DATE '{on}') AS holds
    USING ({key}, valid_from)
)
"""
_REGISTERED = """
live AS (
    SELECT {key}, urn, valid_from, max(known_position) AS known_position
    FROM read
    GROUP BY {items}, valid_from
    HAVING sum(weight) > 0
),
facts AS (
    SELECT *
    FROM read
    SEMI JOIN (
        SELECT * FROM live QUALIFY row_number() OVER (PARTITION BY urn ORDER BY {order}) = 1
    ) AS spoken
    USING ({key}, valid_from)
)
"""
_READ = "WITH read AS (SELECT * FROM ({relation}) AS stored SEMI JOIN members ON members.code = stored.{school}), "
# What is said of no school, as of qualifications, every figure is made of.
_READ_ALL = "WITH read AS ({relation}), "
_SENDERS = """
SELECT sender, count(DISTINCT message) AS messages, min(known_from) AS first, max(known_from) AS last
FROM facts
GROUP BY sender
ORDER BY sender
"""
_COUNTS = """
SELECT
    count(*) AS rows,
    coalesce(sum(weight), 0)::BIGINT AS facts,
    count(DISTINCT (sender, message)) AS messages
FROM facts
WHERE {scope}
"""
_MESSAGES = """
SELECT sender, message, count(*) AS rows, sum(weight)::BIGINT AS facts, max(known_from) AS known_from
FROM facts
WHERE {scope}
GROUP BY sender, message
ORDER BY max(known_position) DESC, sender, message
LIMIT {most}
"""
_ROWS = """
SELECT {columns}
FROM facts
WHERE {scope}
ORDER BY known_position DESC, known_from DESC, weight DESC, {key}
LIMIT {most}
"""


class Teller(msgspec.Struct, frozen=True):
    """Who sent what a figure is made of."""

    sender: str  # party urn
    messages: int
    first: datetime  # when what the first of them said was known, UTC
    last: datetime


class Told(msgspec.Struct, frozen=True):
    """One message and what of it a figure is made of."""

    sender: str
    message: str  # the sender's id
    rows: int
    facts: int  # of those that hold: a message that only corrects may have none, or take some away
    known_from: datetime


class Granted(msgspec.Struct, frozen=True):
    """What of the facts the asker may see."""

    rows: int  # of the log: what was told, what ended it, what took its place
    facts: int  # that hold
    messages: int
    told: tuple[Told, ...]  # the newest
    shown: tuple[Row, ...]  # the rows themselves, where they were asked for


class Origin(msgspec.Struct, frozen=True):
    """What a figure has of one entity."""

    entity: str
    version: int | None  # of the table; None: nothing of it was ever loaded
    senders: tuple[Teller, ...] | None  # None: not told
    granted: Granted | None  # None: the asker has no right to facts


class Wanted(msgspec.Struct, frozen=True):
    """Whose origin is asked for, and as whom."""

    measure: Measure
    level: Level
    unit: str
    period: Period
    facts: Scope | None  # the asker's right to facts
    rows: int  # of each entity, at most
    tells: bool  # whether the figure itself is shown


def period_of(measure: Measure, grain: Grain, on: date, today: date) -> Period | None:
    """The period that a day is in, school or not; None when it has not begun, or there is no school near."""
    begins, ends = terms.covered()
    day = min(max(on, begins), ends)  # the first and last day of all calendars have none beside them
    near = between(measure, grain, max(day - _NEAR, begins), min(day + _NEAR, ends), today)
    return next((period for period in near if period.start <= on <= period.end), None)


class Tracer:
    """Finds what figures are made of, in the tables of one data folder. Safe to use from several threads."""

    def __init__(self, settings: Settings, duck: Duck, published: Published) -> None:
        self._settings, self._duck, self._published = settings, duck, published

    def trace(self, wanted: Wanted, release: Release, view: View) -> tuple[list[Origin], bool]:
        """The origins, and whether anything is hidden beneath the figure, so that nothing is counted."""
        inside = {urn for urn, one in release.schools.items() if one.group(wanted.level)[0] == wanted.unit}
        is_of_many = self._published.is_sum(wanted.measure, wanted.period, view)
        closed = not wanted.tells or is_of_many or self._hidden_beneath(wanted, release, inside, view)
        members = pa.table({"code": pa.array(sorted(inside), pa.string())})
        entities = dict.fromkeys([*_counted(wanted.measure), organisations.ENTITY])
        read = self._published.read_as(release, view)
        origins = [self._origin(entity, wanted, members, closed, read) for entity in entities]
        # Who sent what is known elsewhere of a school's pupils would tell where they came from or went to, to a school
        # with a right to its own facts too: of these entities the version alone is told.
        others = dict.fromkeys(compilation.elsewhere_of(wanted.measure).values())
        untold = [one for one in others if one not in entities]
        return origins + [Origin(one, view.head.tables.get(one), None, None) for one in untold], closed

    def _origin(self, entity: str, wanted: Wanted, members: Any, closed: bool, view: View) -> Origin:
        table = tables.of(entity)
        version = view.head.tables.get(entity)
        scope = wanted.facts
        if version is None:
            return Origin(entity, None, (), None)
        read, parameters = self._read(table, version, wanted, members, view)
        # Of organisations nothing is secret.
        may_count = not closed or entity == organisations.ENTITY

        def ask(sql: str, values: Sequence[Any] = ()) -> list[Row]:
            return self._duck.query(f"{read} {sql}", [*parameters, *values], {"members": members})

        senders = tuple(Teller(**row) for row in ask(_SENDERS)[:MAX_SENDERS]) if may_count else None
        if scope is None:
            return Origin(entity, version, senders, None)
        (counts,) = ask(_COUNTS.format(scope=scope.sql), scope.params)
        told = ask(_MESSAGES.format(scope=scope.sql, most=MAX_MESSAGES), scope.params)
        shown = []
        if wanted.rows:
            columns = ", ".join([*items_shown(table, scope), *LINEAGE])
            sql = _ROWS.format(columns=columns, scope=scope.sql, key=", ".join(table.key), most=wanted.rows)
            shown = ask(sql, scope.params)
        granted = Granted(**counts, told=tuple(Told(**row) for row in told), shown=tuple(shown))
        return Origin(entity, version, senders, granted)

    def _hidden_beneath(self, wanted: Wanted, release: Release, inside: set[str], view: View) -> bool:
        """Whether a figure that this one is the sum of is hidden, or any other of the same facts.

        Whatever may be counted is then made of shown figures alone, and no subtraction of counts leads to a hidden one.
        """
        places = _places_inside(wanted.level, wanted.unit, release, inside)
        times = {
            time_of(wanted.measure, one)
            for one in _within(wanted.measure, wanted.period, get_args(Grain), view)
        }
        if _is_hidden(measures.family(wanted.measure), release, places, times):
            return True
        for whole in _of_the_same_facts(wanted.measure):
            # States of one school day are one figure whatever the grain; others have their own periods.
            is_of_its_day = whole.taken == "on the last school day"
            asked = [wanted.period] if is_of_its_day else _within(whole, wanted.period, whole.grains, view)
            times = {time_of(whole, one) for one in asked}
            found = self._published.of(whole, asked, view)
            if any(_is_hidden(measures.family(whole), one, places, times) for one in found.values()):
                return True
        return False

    def _read(
        self, table: FactTable, version: int, wanted: Wanted, members: Any, view: View
    ) -> tuple[str, list[Any]]:
        """SQL that names the rows of one entity that the figure is made of `facts`, with its parameters."""
        period, measure = wanted.period, wanted.measure
        # What lies beside a flow's facts is a state too.
        is_flow = measure.taken == "over the period" and table.entity == measure.entity
        first, last = (period.start, period.end) if is_flow else (date.min, state_day(measure, period))
        names = ("school", "urn", measure.place)
        if measures.is_of_authorities(measure):
            names = ("la", "la_code", measure.place)
        school = next((name for name in names if name in table.items), None)
        codes = members["code"].to_pylist() or [""]
        if table.entity == organisations.ENTITY:
            last = date.max
        files = [
            file.path
            for file in delta.files_of(table.folder(self._settings), version)
            if file.may_hold("valid_from", first, last)
            and (school is None or file.may_hold(school, codes[0], codes[-1]))
        ]
        where = f"valid_from BETWEEN DATE '{first}' AND DATE '{last}'{organisations.known(view.known_at)}"
        relation = table.relation(files, [column.name for column in table.columns], where)
        read = (_READ_ALL if school is None else _READ).format(relation=relation, school=school)
        key = ", ".join(table.key)
        if table.entity == organisations.ENTITY:
            on = _day_of_groups(period, view.today)
            items = ", ".join(table.items)
            order = organisations.SPOKEN_FIRST
            return read + _REGISTERED.format(key=key, items=items, order=order), [on, on]
        if is_flow:
            return read + _FLOW, []
        has_ended = "true" if measure.has_ended and table.entity == measure.entity else "false"
        return read + _STATE.format(key=key, on=state_day(measure, period), has_ended=has_ended), []


def _within(measure: Measure, period: Period, grains: Sequence[Grain], view: View) -> list[Period]:
    """The period, where it is of these grains, and every shorter one in it."""
    shortest_first: tuple[Grain, ...] = get_args(Grain)
    no_longer = shortest_first[: shortest_first.index(period.grain) + 1]
    return [
        one
        for grain in no_longer
        if grain in grains
        for one in between(measure, grain, period.start, period.end, view.today)
    ]


def _of_the_same_facts(measure: Measure) -> list[Measure]:
    """Of every other family with a measure that reads an entity of this one's, the first measure."""
    mine = {one.name for one in measures.family(measure)}
    entities = _counted(measure)
    wholes = {
        measures.family(one)[0].name: measures.family(one)[0]
        for one in measures.load().values()
        if one.name not in mine and entities & _counted(one)
    }
    return list(wholes.values())


def _counted(measure: Measure) -> set[str]:
    """The entities whose messages are counted: what is taken from elsewhere is not."""
    entities, elsewhere = compilation.entities_of(measure), compilation.elsewhere_of(measure)
    return {entity for name, entity in entities.items() if name not in elsewhere}


def _places_inside(level: Level, unit: str, release: Release, inside: set[str]) -> set[Place]:
    """The places whose schools are all among these."""
    schools_of: dict[Place, set[str]] = {}
    levels: tuple[Level, ...] = get_args(Level)
    for urn, school in release.schools.items():
        for one in levels:
            code = school.group(one)[0]
            if code is not None:
                schools_of.setdefault(place_of(one, code), set()).add(urn)
    return {place_of(level, unit), *(place for place, schools in schools_of.items() if schools <= inside)}


def _is_hidden(family: Sequence[Measure], release: Release, places: set[Place], times: set[str]) -> bool:
    names = {measure.name for measure in family}
    return any(name in names and place in places and time in times for name, place, time in release.hidden)


def _day_of_groups(period: Period, today: date) -> date:
    """The day as at which schools belong to their groups in a release: the last school day of the term that has come."""
    term = terms.term_of(period.last_school_day)
    if term is None:
        return period.last_school_day
    found = periods.between("term", term.first, term.last, today)
    return max((one.last_school_day for one in found), default=period.last_school_day)


def titles(entities: Sequence[str]) -> dict[str, str]:
    """What people call these entities."""
    known = standard.load().entities
    return {name: known[name].title for name in entities}
