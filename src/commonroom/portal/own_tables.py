"""The figures of a measure of one's own: the question of an address, and the answer as sentences, tables and a chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from commonroom import hub
from commonroom.engines import clock
from commonroom.identity import Principal
from commonroom.ids import alias_urn
from commonroom.portal import figures, words
from commonroom.portal.charts import Chart, Series
from commonroom.portal.figures import one_of
from commonroom.portal.house import AnyRequest
from commonroom.portal.tables import Cell, Column, Kind, Link, Table, Withheld
from commonroom.problems import Problem
from commonroom.standard import terms
from commonroom.warehouse import Figure, Measure, combinations
from commonroom.warehouse.own import Own
from commonroom.warehouse.own_answers import Answer
from commonroom.warehouse.own_figures import ALL, MAX_DAYS, OwnFigure

GRAINS = {"day": "By day", "week": "By week", "term": "By term", "year": "By year"}
# What a question may be for; it goes into the trail of reads.
PURPOSES = {name: name for name in ("reading", "planning", "checking", "inspection", "governors")}
# The levels that stand beside a school, in this order.
BESIDE = {"school": "The school", "trust": "Its trust", "authority": "Its authority", "region": "Its region"}
ENGLAND = "England"
IN_WORDS = {
    "school": "the school", "trust": "its trust", "authority": "the authority", "region": "the region",
    "national": ENGLAND,
}  # fmt: skip
# No holiday is longer.
_LONGEST_BREAK = timedelta(days=60)
_ONE_DECIMAL = 1
MOST_ROWS = 300  # of a table on a page: an authority has hundreds of schools, a year many weeks


class Asked(msgspec.Struct, frozen=True):
    """What the address asks of a measure: days `first` to `last`, both included."""

    grain: str
    first: date
    last: date
    purpose: str


async def asked_of(request: AnyRequest, conn: Any, principal: Principal, measure: Measure) -> Asked:
    """The question of `?grain=&from=&to=&purpose=`. Without days: this school year for a school, else the newest period."""
    query = request.query_params
    usual = "week" if "week" in measure.grains else measure.grains[0]
    grain = one_of(query.get("grain", ""), {one: one for one in measure.grains}, usual, "grain")
    last = figures.day(query.get("to", ""), await _last_school_day(conn), "to")
    first = figures.day(query.get("from", ""), await _usual_first(conn, principal, grain, last), "from")
    if not first <= last or (last - first).days > MAX_DAYS:
        raise Problem(
            "CR-105",
            f"The first day is after the last one, or more than {MAX_DAYS} days before it.",
            status=400,
            remedy="Change `from` and `to` in the address.",
        )
    return Asked(grain, first, last, one_of(query.get("purpose", ""), PURPOSES, "reading", "purpose"))


async def _last_school_day(conn: Any) -> date:
    today = await clock.today(conn)
    return (terms.school_days(today - _LONGEST_BREAK, today) or [today])[-1]


async def _usual_first(conn: Any, principal: Principal, grain: str, last: date) -> date:
    """A single school's periods stand below each other; of many schools, one period is enough at first."""
    aliases = await hub.aliases_of(conn, principal.party or "")
    if not any(alias.startswith(alias_urn("urn", "")) for alias in aliases):
        return last
    return last - figures.DAYS_SHOWN if grain == "day" else figures.school_year(last)


def measures_table(found: Sequence[Own]) -> Table:
    """The organisation's measures, by name."""
    return Table(
        name="measures",
        title="Measures that you have defined",
        columns=(
            Column("title", "Measure"),
            Column("meaning", "What it says"),
            Column("benchmark", "Published beside it"),
            Column("defined_at", "Defined", "time"),
            Column("name", "Name", "code"),
        ),
        rows=tuple(
            (
                Link(one.measure.title, f"/my/measures/{one.measure.name}"),
                one.measure.meaning,
                _benchmark(one.measure.benchmark),
                one.defined_at,
                one.measure.name,
            )
            for one in found
        ),
        empty="You have defined none yet. Start from an example below.",
    )


def _benchmark(name: str | None) -> Cell:
    return None if name is None else Link(combinations.measure(name).title, f"/measures#{name}", name)


def tables_of(found: Answer, asked: Asked) -> tuple[Table, ...]:
    """The own figures, newest first; the published ones of the benchmark; how similar schools lie; who was counted."""
    tables = [_own_table(found, asked)]
    if found.benchmark is not None:
        tables.append(_beside_table(found, asked))
    if found.benchmark is not None and found.measure.levels == ("school",):
        tables.append(_similar_table(found, asked))
    return (*tables, _counted_table(found))


def cut(table: Table) -> Table:
    """A table as long as a page can bear; the downloads have all of it."""
    if len(table.rows) <= MOST_ROWS:
        return table
    said = f"The first {MOST_ROWS} of {words.number(len(table.rows))} rows; the downloads have all."
    return msgspec.structs.replace(table, rows=table.rows[:MOST_ROWS], note=f"{said} {table.note}".strip())


def _own_table(found: Answer, asked: Asked) -> Table:
    measure = found.measure
    rows = tuple(
        (
            one.unit_name if one.unit == ALL else Link(one.unit_name, _path(found, one.unit), one.unit_name),
            None if one.unit == ALL else one.unit,
            _period(asked.grain, one.period_start, one.period_label),
            one.numerator if measure.scale == 1 else None,
            one.denominator,
            one.value,
        )
        for one in sorted(found.own.figures, key=_all_first_then_names)
    )
    return Table(
        name="figures",
        title=f"{measure.title}, {GRAINS[asked.grain].lower()}",
        columns=(
            Column("school", "School"),
            Column("urn", "URN", "whole"),
            _period_column(asked.grain),
            Column("numerator", "Counted", "number"),
            Column("denominator", "Out of", "number"),
            Column("value", _unit_title(measure), _kind(measure)),
        ),
        rows=rows,
        note="Of records that you hold: nothing in it is withheld. Show it to others with care.",
        empty="None of the records that are counted falls into this time.",
    )


def _all_first_then_names(one: OwnFigure) -> tuple[int, bool, str, str]:
    return -one.period_start.toordinal(), one.unit != ALL, one.unit_name, one.unit


def _beside_table(found: Answer, asked: Asked) -> Table:
    assert found.benchmark is not None
    measure, published = found.benchmark.measure, found.benchmark.published
    at = {(one.level, one.unit, one.period_start): one for one in published}
    belongs = found.benchmark.belongs
    shown_beside = sorted(belongs, key=lambda unit: (found.names.get(unit, ""), unit))
    levels = [level for level in BESIDE if any(one.level == level for one in published)]
    periods = _periods(published)
    rows: list[tuple[Cell, ...]] = []
    for start, label in periods:
        for unit in shown_beside:
            cells = [_published(at.get((level, belongs[unit].get(level, ""), start))) for level in levels]
            nation = next(
                (one for one in published if one.level == "national" and one.period_start == start), None
            )
            rows.append(
                (_name_of(found, unit), _period(asked.grain, start, label), *cells, _published(nation))
            )
    return Table(
        name="published",
        title=f"{measure.title}, published, {GRAINS[asked.grain].lower()}",
        columns=(
            Column("urn", "School"),
            _period_column(asked.grain),
            *(Column(level, BESIDE[level], _kind(measure)) for level in levels),
            Column("national", ENGLAND, _kind(measure)),
        ),
        rows=tuple(rows),
        note=f"{measure.meaning} Published for everybody, with what is withheld in it.",
        empty="No figure has been published for this time.",
    )


def _similar_table(found: Answer, asked: Asked) -> Table:
    assert found.benchmark is not None
    measure, like = found.benchmark.measure, found.benchmark.similar
    at = {(one.unit, one.period_start): one for one in found.benchmark.published if one.level == "school"}
    rows: list[tuple[Cell, ...]] = [
        (
            _name_of(found, one.school),
            _period(asked.grain, one.period_start, one.period_label),
            _published(at.get((one.school, one.period_start))),
            *(Withheld("x") if value is None else value for value in (one.lower, one.median, one.upper)),
            one.schools,
        )
        for one in sorted(
            like.spreads,
            key=lambda one: (-one.period_start.toordinal(), found.names.get(one.school, ""), one.school),
        )
    ]
    kind = _kind(measure)
    return Table(
        name="similar",
        title=f"{measure.title}: {like.likeness.title.lower()}",
        columns=(
            Column("urn", "School"),
            _period_column(asked.grain),
            Column("value", "The school", kind),
            Column("lower", "A quarter lie below", kind),
            Column("median", "The middle one", kind),
            Column("upper", "A quarter lie above", kind),
            Column("schools", "Schools like it", "number"),
        ),
        rows=tuple(rows),
        note=f"{like.likeness.meaning} Of fewer than {like.likeness.at_least} schools with a figure nothing is said.",
        empty="No school is like this one, or its size or share of free school meals is withheld where it is published.",
    )


def _counted_table(found: Answer) -> Table:
    told = {one.unit for one in found.own.figures}
    return Table(
        name="counted",
        title="Schools whose records were counted",
        columns=(
            Column("school", "School"),
            Column("urn", "URN", "whole"),
            Column("has_figures", "Has figures"),
        ),
        rows=tuple(sorted((found.names.get(urn, urn), urn, urn in told) for urn in found.own.schools)),
        empty="No school's records were counted.",
    )


def charts_of(found: Answer, asked: Asked) -> tuple[Chart, ...]:
    """All schools together over time, or the one school there is; none of a single period."""
    units = {one.unit for one in found.own.figures}
    unit = ALL if ALL in units else next(iter(units), "")
    mine = sorted((one for one in found.own.figures if one.unit == unit), key=lambda one: one.period_start)
    if len(mine) < 2 or (len(units) > 1 and ALL not in units):
        return ()
    return (
        Chart(
            name="own",
            title=f"{found.measure.title}, {mine[0].unit_name}, {GRAINS[asked.grain].lower()}",
            description=f"{found.measure.title}, {GRAINS[asked.grain].lower()}: {mine[0].unit_name}.",
            labels=tuple(
                one.period_label if asked.grain in ("term", "year") else words.short_day(one.period_start)
                for one in mine
            ),
            series=(Series(mine[0].unit_name, tuple(one.value for one in mine)),),
            unit="%" if found.measure.shown_as == "percent" else "",
        ),
    )


def sentences(found: Answer) -> list[str]:
    """The newest figure in words, and how the published ones of the benchmark lie to it."""
    if not found.own.figures:
        return ["There is no figure to show for this time."]
    newest = max(one.period_start for one in found.own.figures)
    now = [one for one in found.own.figures if one.period_start == newest]
    main = next((one for one in now if one.unit == ALL), now[0])
    said = [
        f"{main.unit_name}, {main.period_label}: {_said(found.measure, main.value)}{_parts(found.measure, main)}."
    ]
    schools = [one for one in now if one.unit != ALL]
    if len(schools) > 1:
        lowest, highest = (pick(one.value for one in schools if one.value is not None) for pick in (min, max))
        said.append(
            f"By school it lies between {_said(found.measure, lowest)} and {_said(found.measure, highest)}."
        )
    elif found.benchmark is not None and schools:
        said += _beside_in_words(found, schools[0].unit, newest)
    return said


def _beside_in_words(found: Answer, urn: str, start: date) -> Iterable[str]:
    assert found.benchmark is not None
    measure = found.benchmark.measure
    shown = {
        (one.level, one.unit): f"{IN_WORDS[one.level]} {_said(measure, one.value)}"
        for one in found.benchmark.published
        if one.period_start == start and one.value is not None
    }
    belongs = found.benchmark.belongs.get(urn, {})
    parts = [shown[level, unit] for level, unit in belongs.items() if (level, unit) in shown]
    if parts:
        yield f"{measure.title} as published: {words.joined(parts)}."
    spread = next(
        (one for one in found.benchmark.similar.spreads if (one.school, one.period_start) == (urn, start)),
        None,
    )
    if spread is not None and spread.median is not None:
        yield (
            f"Half of the {spread.schools} schools like it that have a figure lie between "
            f"{_said(measure, spread.lower)} and {_said(measure, spread.upper)}; "
            f"the middle one is {_said(measure, spread.median)}."
        )


def _said(measure: Measure, value: Decimal | None) -> str:
    if value is None:
        return "nothing to take a share of"
    return f"{words.number(value)}%" if measure.shown_as == "percent" else words.number(value)


def _parts(measure: Measure, one: OwnFigure) -> str:
    if one.denominator is None or measure.scale != 1:
        return ""
    return f" ({words.number(one.numerator)} of {words.number(one.denominator)})"


def _published(figure: Figure | None) -> Cell:
    if figure is None:
        return None
    return Withheld(figure.symbol) if figure.symbol else figure.value


def _name_of(found: Answer, urn: str) -> Cell:
    """A school by name; programs read its URN."""
    return Link(found.names.get(urn, urn), _path(found, urn), urn)


def _path(found: Answer, unit: str) -> str:
    return f"/authorities/{unit}" if found.measure.levels == ("authority",) else f"/schools/{unit}"


def _periods(published: Iterable[Figure]) -> list[tuple[date, str]]:
    """The newest first."""
    return sorted({(one.period_start, one.period_label) for one in published}, reverse=True)


def _period(grain: str, start: date, label: str) -> Cell:
    return label if grain in ("term", "year") else start


def _period_column(grain: str) -> Column:
    titles = {"day": "Day", "week": "Week beginning", "term": "Term", "year": "Year"}
    return Column("period", titles[grain], "date" if grain in ("day", "week") else "text")


def _kind(measure: Measure) -> Kind:
    """Percentages are written with one decimal; those of another number of decimals as they are."""
    return "percent" if measure.shown_as == "percent" and measure.decimals == _ONE_DECIMAL else "number"


def _unit_title(measure: Measure) -> str:
    return {"percent": "Per cent", "count": "Number", "ratio": "Ratio"}[measure.shown_as]
