"""The figures of a measure of one's own, by school and period, over the facts that `own_facts` grants.

What stands beside them (`own_answers`) is published, with what is hidden in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import duckdb
import ibis
import msgspec
import pyarrow as pa

from commonroom import access, standard
from commonroom.engines import clock, delta
from commonroom.engines.duck import Duck
from commonroom.identity import Principal
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import (
    brought,
    compilation,
    disclosure,
    heads,
    measures,
    organisations,
    own,
    own_facts,
    periods,
    tables,
)
from commonroom.warehouse.brought import Brought
from commonroom.warehouse.compilation import FACTS, MEMBERS, NEAR, PERIODS
from commonroom.warehouse.heads import Head
from commonroom.warehouse.model import Grain, Measure
from commonroom.warehouse.organisations import School
from commonroom.warehouse.own_facts import DATASET, Granted, Sender
from commonroom.warehouse.periods import Period
from commonroom.warehouse.spans import by_term, period_rows, time_of
from commonroom.warehouse.turnstile import Turnstile

MAX_DAYS = 800
LARGEST = 10**15
ALL = "all"  # the unit of all schools together
_NOT_BROUGHT = "No movement in force brings these records of your schools to you."
_EARLIER = "Some of these records of your schools are from times when no movement brought them to you."


class OwnFigure(msgspec.Struct, frozen=True):
    """One figure of facts that the asker holds: nothing in it is hidden."""

    measure: str
    unit: str  # URN, ALL, or an authority's number for what is of no school
    unit_name: str
    grain: str
    period_start: date
    period_label: str
    numerator: int
    denominator: int | None
    value: Decimal | None  # None: a rate of nothing


class LeftOut(msgspec.Struct, frozen=True):
    """Records of the asker's schools that were not counted."""

    entity: str
    title: str
    because: str


class OwnFigures(msgspec.Struct, frozen=True):
    """The answer to a question: the figures, over whose facts they are, and what was not counted."""

    figures: tuple[OwnFigure, ...]
    schools: tuple[str, ...]  # URNs of those whose facts count, whether or not they sent any
    left_out: tuple[LeftOut, ...]


class _Share(msgspec.Struct, frozen=True):
    """Periods over which the same senders' facts count, and the register at their end."""

    periods: list[Period]
    schools: Mapping[str, School]
    granted: Granted


async def figures(
    settings: Settings, duck: Duck, connection: Any, principal: Principal, name: str, *,
    grain: str, first: date, last: date, known_at: datetime | None = None, purpose: str = "own measure",
    turnstile: Turnstile | None = None,
) -> OwnFigures:  # fmt: skip
    """The figures of a measure of the asker's own, by school, with those of all schools together where there are more.

    What is expensive waits at `turnstile`, where one is given. The trail of reads gets a line with the purpose and the
    schools that were counted. Raises Problem CR-287 (no such measure), CR-063 (not by that grain, or too many days),
    CR-111 (not granted), CR-092 (no calendar), CR-286 (its numbers are none, or too large) or CR-335 (full).
    """
    kept = await own.named(connection, principal, name)
    measure = kept.measure
    wanted_grain = _grain(measure, grain)
    if wanted_grain is None or (last - first).days > MAX_DAYS:
        remedy = f"Ask for {', '.join(measure.grains)}, of at most {MAX_DAYS} days."
        raise Problem("CR-063", "the measure is not made so", status=404, remedy=remedy)
    scope = own_facts.scope_of(principal)
    head = await heads.newest(connection)
    today = clock.day_of(known_at or await clock.now(connection))
    wanted = periods.between(wanted_grain, first, last, today)
    moment = known_at.astimezone(UTC).replace(tzinfo=None) if known_at else None
    registers = []
    for term, mine in by_term(wanted).items():
        # As of published figures, whose a school is says the register at the end of what has come of the term.
        on = max(one.last_school_day for one in periods.between("term", *term, today) or mine)
        known = await asyncio.to_thread(organisations.schools, settings, duck, head, on, moment)
        stays = await asyncio.to_thread(organisations.stays, settings, duck, head, on, moment)
        registers.append((mine, known, await own_facts.senders_of(connection, known, stays)))
    directory = await own_facts.directory(connection, [one for _, _, senders in registers for one in senders])
    entities = compilation.entities_of(measure).values()
    shares = []
    for mine, known, senders in registers:
        may = await asyncio.to_thread(
            own_facts.granted, duck, scope, str(principal.party), senders, directory, entities
        )
        shares.append(_Share(mine, known, _whole(measure, may, senders)))
    joined = _joined(shares)
    found, earlier = await (turnstile or Turnstile()).through(
        (DATASET, kept.text, head.number, today, tuple(wanted), moment, _rights(joined)),
        lambda: _computed(settings, duck, measure, head, joined, moment),
    )
    schools = _schools(measure, shares)
    await access.audit(connection, principal, DATASET, purpose, len(found), schools)
    left_out = sorted({name for share in shares for name in share.granted.left_out})
    untold = [(entity, _NOT_BROUGHT) for entity in left_out] + [(entity, _EARLIER) for entity in earlier]
    return OwnFigures(tuple(found), schools, tuple(_left_out(*one) for one in untold))


def _grain(measure: Measure, grain: str) -> Grain | None:
    return next((one for one in get_args(Grain) if one == grain and one in measure.grains), None)


def _whole(measure: Measure, may: Granted, senders: Sequence[Sender]) -> Granted:
    """Of schools only those whose records all count that the measure lays beside each other: half would mislead."""
    entities = compilation.entities_of(measure)
    beside = [entity for name, entity in entities.items() if name != FACTS and own_facts.of_schools(entity)]
    schools = {one.party for one in senders}
    mine = may.senders[measure.entity]
    wanting = {one for entity in beside for one in mine.keys() - may.senders[entity].keys()}
    counted = {one: spans for one, spans in mine.items() if one not in wanting & schools}
    return msgspec.structs.replace(may, senders={**may.senders, measure.entity: counted})


def _joined(shares: Sequence[_Share]) -> list[_Share]:
    """Terms with the same senders are one question."""
    found: list[_Share] = []
    for share in shares:
        same = next((one for one in found if one.granted.senders == share.granted.senders), None)
        if same is None:
            found.append(msgspec.structs.replace(share, periods=list(share.periods)))
        else:
            same.periods.extend(share.periods)
    return found


def _rights(shares: Sequence[_Share]) -> frozenset[Any]:
    return frozenset(
        (share.periods[0].start, entity, frozenset(senders.items()))
        for share in shares
        for entity, senders in share.granted.senders.items()
    )


def _schools(measure: Measure, shares: Sequence[_Share]) -> tuple[str, ...]:
    return tuple(
        sorted(
            {
                one.urn
                for share in shares
                for one in share.schools.values()
                if one.party in share.granted.senders[measure.entity]
            }
        )
    )


def _computed(
    settings: Settings, duck: Duck, measure: Measure, head: Head, shares: Sequence[_Share],
    known_at: datetime | None,
) -> tuple[list[OwnFigure], list[str]]:  # fmt: skip
    """The figures, and the entities of which something was not counted since it is from before it was brought."""
    try:
        compiled = ibis.to_sql(compilation.expression(measure), dialect="duckdb")
        found, earlier = [], set()
        for share in shares:
            relations = [
                _sent(settings, duck, measure, name, head, share, known_at)
                for name in compilation.entities_of(measure)
            ]
            earlier |= {one.entity for one in relations if one.has_earlier}
            found += _of(duck, measure, compiled, share, relations)
    except (duckdb.DataError, duckdb.ProgrammingError, RecursionError) as error:
        # A word taken for a number, a product that is too large: only the records show it. Whose they are is not told.
        raise _not_worked_out("it is not worked out: a value is no number, or one is too large") from error
    return sorted(found, key=lambda one: (one.unit == ALL, one.unit, one.period_start)), sorted(earlier)


class _Relation(msgspec.Struct, frozen=True):
    """What a compiled measure reads under a name: the facts that count."""

    name: str
    entity: str
    sql: str
    offered: Mapping[str, Any]  # tables that the SQL names
    has_earlier: bool = False  # there are facts from before they were brought


def _sent(
    settings: Settings, duck: Duck, measure: Measure, name: str, head: Head, share: _Share,
    known_at: datetime | None,
) -> _Relation:  # fmt: skip
    entity = compilation.entities_of(measure)[name]
    columns = compilation.columns_of(measure, entity)
    facts = _facts(settings, head, measure, name, share.periods, known_at)
    listed = ", ".join(columns)
    if share.granted.of_anybody(entity):
        return _Relation(name, entity, f"SELECT {listed} FROM ({facts})", {})  # noqa: S608 - columns of ours
    times = Brought(share.granted.senders[entity])
    granted = f"granted_{name}"
    offered = {granted: times.table()}
    sent = brought.sent(facts, granted, times)
    earlier = [] if times.is_all else duck.query(brought.earlier(sent), [], offered)
    if not earlier:
        return _Relation(name, entity, f"SELECT {listed} FROM ({sent})", offered)  # noqa: S608 - columns of ours
    messages = f"earlier_{name}"
    offered[messages] = pa.table({"message": pa.array([row["message"] for row in earlier], pa.string())})
    sql = brought.counted(tables.of(entity), sent, messages, columns)
    return _Relation(name, entity, sql, offered, has_earlier=True)


def _of(
    duck: Duck, measure: Measure, compiled: str, share: _Share, relations: Sequence[_Relation]
) -> list[OwnFigure]:
    offered = {table: rows for one in relations for table, rows in one.offered.items()}
    named = ", ".join(f"{one.name} AS ({one.sql})" for one in relations)
    places = share.schools
    if measures.is_of_authorities(measure):
        places = organisations.authorities_of(share.schools)
    codes = sorted(places)
    rows = duck.query(
        f"WITH {named}, figures AS ({compiled}) SELECT * FROM figures",  # noqa: S608 - compiled
        [],
        {**offered, PERIODS: period_rows(measure, share.periods), MEMBERS: _members(codes)},
    )
    by_cell = {(row["member"], row["period"]): row for row in rows}
    told = {unit for unit, _ in by_cell}
    units = {code: places[code].name for code in codes if code in told}
    if len(units) > 1:
        units[ALL] = "All schools together"
    return [
        _figure(measure, unit, name, period, by_cell[unit, time_of(measure, period)])
        for unit, name in units.items()
        for period in share.periods
        if (unit, time_of(measure, period)) in by_cell
    ]


def _members(codes: Sequence[str]) -> Any:
    """Each school for itself, and each for all together."""
    both = pa.array([*codes, *codes], pa.string())
    return pa.table({"school": both, "member": pa.array([*codes, *[ALL] * len(codes)], pa.string())})


def _figure(measure: Measure, unit: str, name: str, period: Period, row: Mapping[str, Any]) -> OwnFigure:
    numerator, denominator = row["numerator"] or 0, row.get("denominator")
    if max(abs(numerator), abs(denominator or 0)) > LARGEST:
        raise _not_worked_out("a figure is larger than can be told")
    value = None if denominator == 0 else disclosure.rounded(measure, numerator, denominator)
    return OwnFigure(
        measure.name, unit, name, period.grain, period.start, period.label, numerator, denominator, value
    )


def _facts(
    settings: Settings, head: Head, measure: Measure, name: str, wanted: Sequence[Period],
    known_at: datetime | None,
) -> str:  # fmt: skip
    """The facts that can matter, from the files that may hold them: of a flow those of its days alone."""
    entity = compilation.entities_of(measure)[name]
    last = max(period.end for period in wanted)
    if name == NEAR and measure.within is not None:
        last += timedelta(days=measure.within.days)  # what began after the period may have facts before it
    is_flow = measure.taken == "over the period" and name == FACTS
    first = min(period.start for period in wanted) if is_flow else date.min
    table, version = tables.of(entity), head.tables.get(entity)
    stored = [] if version is None else delta.files_of(table.folder(settings), version)
    files = [file.path for file in stored if file.may_hold("valid_from", first, last)]
    where = f"valid_from BETWEEN DATE '{first}' AND DATE '{last}'{organisations.known(known_at)}"
    return table.relation(files, [*compilation.columns_of(measure, entity), *brought.COLUMNS], where)


def _not_worked_out(detail: str) -> Problem:
    return Problem("CR-286", detail, status=422, remedy="Define it again under its name, or delete it.")


def _left_out(entity: str, because: str) -> LeftOut:
    return LeftOut(entity, standard.load().entities[entity].title, because)
