"""The periods of a release: which are published together, what they are called, and which days they count.

Pure, but for the calendar of the standard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa

from commonroom.standard import terms
from commonroom.warehouse import periods
from commonroom.warehouse.heads import Head
from commonroom.warehouse.model import Grain, Level, Measure
from commonroom.warehouse.periods import Period
from commonroom.warehouse.publication import Calendar, Place
from commonroom.warehouse.same_learners import NOBODY, Same

ON_A_DAY = "on the last school day"  # a state of each day; of a longer period, of its last
AT_THE_END = "at the end of the period"  # a state, known once the period is over
ON_31_MARCH = "on 31 March"  # the end of the year that authorities return, a school day or not
_MARCH = (3, 31)
GRAINS: tuple[Grain, ...] = ("day", "week", "term")
SHORTER: dict[Grain, Grain] = {"term": "week", "week": "day"}  # of which a longer one is the sum


class View(msgspec.Struct, frozen=True):
    """What is looked at: a head as known at a time (UTC without a zone; None for now), on a day of the domain clock."""

    head: Head
    known_at: datetime | None
    today: date
    same: Same = NOBODY  # who is one learner, where a measure takes something from elsewhere
    released: datetime | None = (
        None  # of figures that are released, not live: the moment of the release (UTC)
    )

    @property
    def state(self) -> Any:
        """What changes when figures may: the moment of the release; else the head and who is one learner."""
        return self.released or (self.head.number, self.known_at, self.same.digest)

    def all_of(self, measures: Iterable[Measure]) -> tuple[datetime | None, date, str]:
        """What else than tables a figure of these measures depends on."""
        takes = any(measure.elsewhere for measure in measures)
        return self.known_at, self.today, self.same.digest if takes else ""


def time_of(measure: Measure, period: Period) -> str:
    """A period's name in a release. States taken on the same day are the same figure, whatever the grain."""
    if measure.taken == "over the period":
        return f"{period.grain} {period.start}"
    return f"on {state_day(measure, period)}"


def state_day(measure: Measure, period: Period) -> date:
    """The day of a state."""
    if measure.taken == ON_31_MARCH:
        return date(period.end.year, *_MARCH)
    return period.end if measure.taken == AT_THE_END else period.last_school_day


def between(measure: Measure, grain: Grain, first: date, last: date, today: date) -> list[Period]:
    """The periods of a measure from `first` to `last` that have begun by `today`, in order. Raises Problem CR-092."""
    found = periods.of_any_day if measure.taken == ON_31_MARCH else periods.between
    return found(grain, first, last, today)


def place_of(level: Level, unit: str) -> Place:
    """A unit's name in a release."""
    return level, unit


def by_term(wanted: Sequence[Period]) -> dict[tuple[date, date], list[Period]]:
    """Periods by the term that they end in: none of a release is in another one's."""
    found: dict[tuple[date, date], list[Period]] = {}
    for period in wanted:
        found.setdefault(term_of(period), []).append(period)
    return found


def term_of(period: Period) -> tuple[date, date]:
    """The first and last day of the term that a period ends in; its own where there is none."""
    term = terms.term_of(period.last_school_day)
    return (term.first, term.last) if term else (period.start, period.end)


def all_of_term(
    measure: Measure, term: tuple[date, date], asked: Sequence[Period], view: View
) -> list[Period]:
    """The periods of a release: what hangs together with those asked for.

    Where figures are released once, these and what each is the sum of.
    """
    if not measure.adds_up_over_time:
        return list(asked)
    if view.released is not None:
        made_of = [(period, SHORTER[period.grain]) for period in asked if period.grain in SHORTER]
        parts = (periods.between(grain, one.start, one.end, view.today) for one, grain in made_of)
        return list(dict.fromkeys([*asked, *(part for some in parts for part in some)]))
    return [one for grain in GRAINS for one in periods.between(grain, *term, view.today)]


def moments(measure: Measure, wanted: Sequence[Period], view: View) -> Any:
    """The day on which each period asks what its pupils are: a state on its own day, others at the end of what has come."""
    if measure.taken == "over the period":
        on = max(period.last_school_day for period in wanted)
        begins, ends = term_of(max(wanted, key=lambda one: one.last_school_day))
        on = max([on, *(one.last_school_day for one in periods.between("term", begins, ends, view.today))])
        rows = dict.fromkeys((on, time_of(measure, period)) for period in wanted)
    else:
        rows = dict.fromkeys((state_day(measure, period), time_of(measure, period)) for period in wanted)
    when, names = zip(*rows, strict=True)
    return pa.table({"on": pa.array(when, pa.date32()), "period": pa.array(names, pa.string())})


def calendar(measure: Measure, wanted: Sequence[Period]) -> Calendar:
    """The grains of the periods, and which of them are the sum of which."""
    grains = {time_of(measure, period): period.grain for period in reversed(wanted)}
    sums: dict[str, tuple[str, ...]] = {}
    if measure.adds_up_over_time:
        for longer, shorter in (("term", "week"), ("week", "day")):
            for total in (period for period in wanted if period.grain == longer):
                parts = [
                    period
                    for period in wanted
                    if period.grain == shorter and total.start <= period.last_school_day <= total.end
                ]
                if parts:
                    sums[time_of(measure, total)] = tuple(time_of(measure, part) for part in parts)
    return Calendar.of(grains, sums)


def days(measure: Measure, wanted: Sequence[Period]) -> dict[str, list[date]]:
    """The days of each period that a flow is taken over."""
    by_terms = measure.grains != ("year",)  # what only years have may happen in August, as results do
    return {time_of(measure, period): period.term_days() if by_terms else period.days() for period in wanted}


def period_rows(measure: Measure, wanted: Sequence[Period], today: date | None = None) -> Any:
    """What the compiled measure joins to: every day of each period, or the one day on which its state is taken.

    `today` is for a measure that is known only so many days after its state.
    """
    if measure.taken == "over the period":
        rows = [(day, name) for name, mine in days(measure, wanted).items() for day in mine]
        name = "day"
    else:
        begun = [one for one in wanted if _has_come(measure, one) and _is_known(measure, one, today)]
        rows = list(dict.fromkeys((state_day(measure, period), time_of(measure, period)) for period in begun))
        name = "on"
    when, names = [day for day, _ in rows], [period for _, period in rows]
    return pa.table({name: pa.array(when, pa.date32()), "period": pa.array(names, pa.string())})


def _has_come(measure: Measure, period: Period) -> bool:
    """Whether the day of a state has come: before it nobody knows what it will be."""
    if measure.taken == AT_THE_END:
        return period.is_over
    return state_day(measure, period) <= period.last_school_day


def _is_known(measure: Measure, period: Period, today: date | None) -> bool:
    """Whether the last day on which it takes something from elsewhere is over."""
    if not measure.days_after:
        return True
    return today is not None and state_day(measure, period) + timedelta(days=measure.days_after) < today
