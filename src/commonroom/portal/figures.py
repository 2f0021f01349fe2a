"""Figures of the warehouse for a page: which question the address asks, and how the answers become sentence, chart, table.

The warehouse decides what may be shown: it gives a symbol instead of a value where a figure is withheld.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from commonroom.engines import clock
from commonroom.portal import sizes, words
from commonroom.portal.charts import Chart, Series
from commonroom.portal.house import AnyRequest, House, Visit, house_of
from commonroom.portal.page import Stamp
from commonroom.portal.tables import Cell, Column, Link, SoFar, Table, Withheld
from commonroom.problems import Problem
from commonroom.standard import terms
from commonroom.warehouse import Figure, Reader, questions
from commonroom.warehouse.warming import Asked

HEADCOUNT, ON_ROLL = "headcount", "Pupils on roll"
# What may be asked for by `measure=`, and how a sentence says its value.
ABSENCE = {
    "absence_overall": ("Overall absence", "missed {value} of possible sessions"),
    "absence_authorised": ("Authorised absence", "missed {value} of possible sessions with permission"),
    "absence_unauthorised": (
        "Unauthorised absence",
        "missed {value} of possible sessions without permission",
    ),
    "persistent_absence": ("Persistent absence", "had a persistent absence rate of {value}"),
}
GRAINS = {"day": "By day", "week": "By week", "term": "By term"}
# A page of single days is about the last weeks; longer ones by `from=`.
DAYS_SHOWN = timedelta(days=41)
YEAR_BEGINS = (9, 1)
YEARS = range(1900, 2200)
LAST_OF_WEEK = timedelta(days=6)  # from its first day
# The warehouse answers no longer question.
LONGEST = timedelta(days=799)
LONGEST_NUMBER = 7
LINEAGE = Column("lineage", "Where does this come from?", "whole")


class Question(msgspec.Struct, frozen=True):
    """What the address asks: measure, grain, and days `first` to `last`, both included. `today` by the domain clock."""

    measure: str
    grain: str
    first: date
    last: date
    today: date
    now: datetime | None = None  # one moment for all figures of a page
    is_live: bool = False  # or as released

    @property
    def title(self) -> str:
        """The measure's name."""
        return ABSENCE[self.measure][0]


async def question(request: AnyRequest, conn: Any) -> Question:
    """The question of `?measure=&grain=&from=&to=`; without them: overall absence by week of this school year."""
    asked = request.query_params
    now, is_live = await clock.now(conn), house_of(request).settings.figures == "live"
    today = clock.day_of(now)
    measure = one_of(asked.get("measure", ""), ABSENCE, "absence_overall", "measure")
    grain = one_of(asked.get("grain", ""), GRAINS, "week", "grain")
    last = day(asked.get("to", ""), today, "to")
    usual = last - DAYS_SHOWN if grain == "day" else school_year(last)
    first = day(asked.get("from", ""), usual, "from")
    if not first <= last or last - first > LONGEST:
        raise Problem(
            "CR-105",
            "The first day is after the last one, or more than 800 days before it.",
            status=400,
            remedy="Change `from` and `to` in the address.",
        )
    return Question(measure, grain, first, last, today, now, is_live)


async def usual_question(conn: Any, *, is_live: bool = False) -> Question:
    """The question of an address that asks nothing: overall absence by week of this school year."""
    now = await clock.now(conn)
    today = clock.day_of(now)
    return Question("absence_overall", "week", school_year(today), today, today, now, is_live)


async def expect_usual(reader: Reader, conn: Any) -> None:
    """Tell the warehouse what the first page asks for."""
    asked = await usual_question(conn)
    for measure in (HEADCOUNT, asked.measure):
        reader.lately.note(Asked(measure, asked.grain, asked.first, asked.last))


def latest(asked: Question) -> Question:
    """The same about the last fortnight only: enough to find the newest period of every unit."""
    return msgspec.structs.replace(asked, first=max(asked.first, asked.last - timedelta(days=13)))


def lately(asked: Question) -> Question:
    """The same, of days the last sixty only: longer than the summer's holidays, and few for the schools of an authority."""
    first = max(asked.first, asked.last - timedelta(days=59)) if asked.grain == "day" else asked.first
    return msgspec.structs.replace(asked, first=first)


def school_year(day: date) -> date:
    """The 1 September that began the school year of a day."""
    start = date(day.year, *YEAR_BEGINS)
    return start if day >= start else date(day.year - 1, *YEAR_BEGINS)


def one_of(value: str, known: dict[str, Any], usual: str, name: str) -> str:
    """`value` when it is known, `usual` when it is empty; a 400 problem that lists the known ones otherwise."""
    if value in known:
        return value
    if value:
        remedy = f"Use one of: {', '.join(known)}."
        raise Problem(
            "CR-105", f"`{name}` in the address has a value that is not known.", status=400, remedy=remedy
        )
    return usual


def day(text: str, usual: date, name: str) -> date:
    """The day of an address, `usual` when there is none; a 400 problem when it is no day."""
    if not text:
        return usual
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = date.min
    if (
        found.year not in YEARS
    ):  # pages go on from a day to others, and the calendar has a first and a last one
        raise Problem(
            "CR-105",
            f"`{name}` in the address is not a date.",
            status=400,
            remedy="Write it like 2026-11-09.",
        )
    return found


def whole(text: str, usual: int, name: str) -> int:
    """The whole number of an address, `usual` when there is none; a 400 problem when it is none."""
    if text and not (text.isascii() and text.isdigit() and len(text) < LONGEST_NUMBER):
        raise Problem(
            "CR-105",
            f"`{name}` in the address is not a whole number.",
            status=400,
            remedy="Write it like 20.",
        )
    return int(text) if text else usual


async def figures(
    house: House,
    conn: Any,
    visit: Visit,
    asked: Question,
    level: str,
    units: list[str] | None,
    measure: str = "",
) -> list[Figure]:
    """The figures of a measure (the question's own when empty) for units of a level, oldest period first.

    Raises Problem CR-105 where they are too many for a page.
    """
    name = measure or asked.measure
    await sizes.check(
        house, conn, questions.checked(name, level, asked.grain, units, asked.first, asked.last, None)
    )
    found = await house.warehouse.figures(
        conn,
        visit.principal,
        measure=name,
        level=level,
        grain=asked.grain,
        units=units,
        first=asked.first,
        last=asked.last,
        now=asked.now,
    )
    return sorted(found, key=lambda figure: (figure.period_start, figure.unit))


def value(figure: Figure | None) -> Cell:
    """A figure's value, its symbol when withheld, nothing when there is none. Counts of ones are whole numbers."""
    if figure is None or figure.symbol:
        return Withheld(figure.symbol) if figure and figure.symbol else None
    # Halves and hundredths are counts too: their numerator is not what is shown.
    counted_in_ones = figure.denominator is None and figure.value == figure.numerator
    return figure.numerator if counted_in_ones else figure.value


def lineage_link(figure: Figure) -> Link:
    """The way from a figure to where it comes from; programs read the address."""
    path = f"/figures/{figure.measure}/{figure.level}/{quote(figure.unit, safe='')}"
    href = f"{path}?{urlencode({'grain': figure.grain, 'on': figure.period_start.isoformat()})}"
    when = figure.period_label if figure.grain == "term" else words.short_day(figure.period_start)
    return Link(f"Sources, {when}", href, href)


def drawn(figure: Figure | None) -> Decimal | None:
    """A figure's value for a chart: withheld ones leave a gap."""
    return None if figure is None or figure.symbol else figure.value


def part(number: int | None, figure: Figure) -> Cell:
    """Numerator or denominator, withheld with the figure; of one that only rounds to 0 or is of too few, it is shown."""
    return Withheld(figure.symbol) if figure.symbol and number is None else number


class Comparison(msgspec.Struct, frozen=True):
    """One unit's figures with the name they have in a chart and table; the first of a list is the page's own."""

    name: str
    figures: list[Figure]


def absence_chart(asked: Question, place: str, compared: list[Comparison]) -> Chart:
    """Absence over time: the page's own unit beside its comparisons."""
    periods = _periods(compared)
    return Chart(
        name="absence",
        title=f"{asked.title}, {place}, {GRAINS[asked.grain].lower()}",
        description=absence_sentence(asked, place, compared),
        labels=tuple(label for _, label in _short_labels(asked.grain, periods)),
        series=tuple(
            Series(one.name, tuple(drawn(_at(one.figures, start)) for start, _ in periods))
            for one in compared
        ),
        unit="%",
    )


def absence_table(
    asked: Question, place: str, compared: list[Comparison], *, counted: str, base: str
) -> Table:
    """The figures of the chart. `counted` and `base` name numerator and denominator, such as 'Sessions missed'."""
    own = compared[0]
    rows = []
    for start, label in reversed(_periods(compared)):
        figure = _at(own.figures, start)
        row: list[Cell] = [_period(asked, own.figures, start, label)]
        row += [part(figure.numerator, figure), part(figure.denominator, figure)] if figure else [None, None]
        row += [value(_at(one.figures, start)) for one in compared]
        rows.append((*row, lineage_link(figure) if figure else None))
    columns = [
        period_column(asked.grain),
        Column("numerator", counted, "number"),
        Column("denominator", base, "number"),
        *(Column(column_name(index), one.name, "percent") for index, one in enumerate(compared)),
        LINEAGE,
    ]
    return Table(
        name="absence",
        title=f"{asked.title}, {GRAINS[asked.grain].lower()}",
        columns=tuple(columns),
        rows=tuple(rows),
        empty=f"No attendance marks of {place} have arrived for this time.",
    )


def period_column(grain: str) -> Column:
    """The column of periods: days as dates, terms by name."""
    titles = {"day": "Day", "week": "Week beginning", "term": "Term"}
    return Column("period", titles[grain], "text" if grain == "term" else "date")


def is_known(figure: Figure) -> bool:
    """Whether anything has arrived for this figure: a value, or one that is withheld."""
    return figure.value is not None or figure.symbol == "c"


def column_name(index: int) -> str:
    """The CSV's name of a comparison: `value`, then `comparison_1`, `comparison_2`."""
    return "value" if index == 0 else f"comparison_{index}"


def absence_sentence(asked: Question, place: str, compared: list[Comparison]) -> str:
    """The newest figure in words, beside the last comparison's of the same time."""
    shown = [figure for figure in compared[0].figures if drawn(figure) is not None]
    if not shown:
        return f"There are no figures of {asked.title.lower()} to show for {place} in this time."
    newest = shown[-1]
    said = ABSENCE[asked.measure][1].format(value=words.percent(newest.value or 0))
    sentence = f"Pupils in {place} {said} in {_in_words(asked, newest)}"
    for other in reversed(compared[1:]):
        figure = _at(other.figures, newest.period_start)
        if figure is not None and figure.value is not None and newest.value is not None:
            difference = words.points(newest.value - figure.value)
            return f"{sentence}, {difference} {other.name} ({words.percent(figure.value)})."
    return f"{sentence}."


def headcount_chart(place: str, asked: Question, own: list[Figure]) -> Chart:
    """Pupils on roll over time."""
    grain = asked.grain
    shown = [figure for figure in own if drawn(figure) is not None]
    sentence = f"No pupil records of {place} have arrived yet."
    if shown:
        newest = shown[-1]
        sentence = f"{place} had {words.count(int(newest.value or 0), 'pupil')} on roll in {_in_words(asked, newest)}."
    known = [figure for figure in own if is_known(figure)]
    periods = [(figure.period_start, figure.period_label) for figure in known]
    return Chart(
        name="headcount",
        title=f"Pupils on roll, {place}, {GRAINS[grain].lower()}",
        description=sentence,
        labels=tuple(label for _, label in _short_labels(grain, periods)),
        series=(Series("Pupils on roll", tuple(drawn(figure) for figure in known)),),
        kind="bar",
    )


def headcount_table(place: str, asked: Question, own: list[Figure]) -> Table:
    """Pupils on roll, newest first."""
    return Table(
        name="headcount",
        title="Pupils on roll",
        columns=(period_column(asked.grain), Column("value", "Pupils on roll", "number"), LINEAGE),
        rows=tuple(
            (
                _period(asked, own, figure.period_start, figure.period_label),
                value(figure),
                lineage_link(figure),
            )
            for figure in reversed(own)
            if is_known(figure)
        ),
        empty=f"No pupil records of {place} have arrived yet.",
    )


def newest(own: list[Figure]) -> Cell:
    """The newest figure of which anything is known, a count as a whole number; None when there is none."""
    known = [figure for figure in own if is_known(figure)]
    return value(known[-1]) if known else None


def stamp(asked: Question, *answers: list[Figure]) -> Stamp:
    """As of when the newest of the page's figures is, and the last period that has figures."""
    known = [figure for answer in answers for figure in answer if is_known(figure)]
    dated = [(figure.as_of, figure) for figure in known if figure.as_of is not None]
    if not dated:
        return Stamp(0, 0, None, is_released=not asked.is_live)
    as_of, newest = max(dated, key=lambda one: one[0])
    last = max((figure for figure in known if figure.value is not None), key=_begins, default=None)
    begun = last is not None and is_so_far(asked, last)
    return Stamp(
        newest.batch,
        newest.position,
        as_of,
        None if last is None else last.period_start,
        not asked.is_live,
        _named(last) if begun and last is not None else "",
    )


def is_so_far(asked: Question, figure: Figure) -> bool:
    """Whether the period of a figure, a week or a term, had not ended when it was released, or has not ended if live."""
    if figure.grain == "day":
        return False
    term = terms.term_of(figure.period_start) if figure.grain == "term" else None
    end = term.last if term else figure.period_start + LAST_OF_WEEK
    days = terms.school_days(figure.period_start, end)
    last_day = days[-1] if days else end
    if asked.is_live or figure.as_of is None:
        return asked.today <= last_day
    return clock.day_of(figure.as_of) < last_day


def _period(asked: Question, own: list[Figure], start: date, label: str) -> Cell:
    """A period in a table, which says of one that has not ended that it is so far."""
    figure = _at(own, start)
    period = label if asked.grain == "term" else start
    return SoFar(period) if figure is not None and is_so_far(asked, figure) else period


def _at(found: list[Figure], start: date) -> Figure | None:
    return next((figure for figure in found if figure.period_start == start), None)


def _periods(compared: list[Comparison]) -> list[tuple[date, str]]:
    """Every period for which any of them knows something, oldest first."""
    known = [figure for one in compared for figure in one.figures if is_known(figure)]
    labels = {figure.period_start: figure.period_label for figure in known}
    return sorted(labels.items())


def _short_labels(grain: str, periods: list[tuple[date, str]]) -> list[tuple[date, str]]:
    return [(start, label if grain == "term" else words.short_day(start)) for start, label in periods]


def _in_words(asked: Question, figure: Figure) -> str:
    return f"{_named(figure)} so far" if is_so_far(asked, figure) else _named(figure)


def _named(figure: Figure) -> str:
    if figure.grain == "week":
        return f"the week beginning {words.day(figure.period_start)}"
    return words.day(figure.period_start) if figure.grain == "day" else figure.period_label


def _begins(figure: Figure) -> date:
    return figure.period_start
