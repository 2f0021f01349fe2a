"""When figures are released: a school day's in its evening, a week's and a term's on the Friday that ends it, each once.

Whoever keeps what was released can subtract it from what is released later. So figures do not move with each letter that
arrives: they are released at few moments, and each release is decided beside all those before it (`memory`). What becomes
known of a day later is in its week, what becomes known of a week later in its term. What is not the sum of shorter periods
is released each Friday, as it is known then. Pure.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day

from commonroom.engines import clock
from commonroom.warehouse.model import Measure
from commonroom.warehouse.periods import Period

EVENING = time_of_day(17)  # in England: schools have sent their afternoon registers
SETTLING = timedelta(minutes=5)  # by then what had come by the evening is loaded
_FRIDAY = 4
_REVISED = timedelta(days=365)  # after its end: what is released each Friday is, so long
_DAY = timedelta(days=1)


def evening_of(day: date) -> datetime:
    """The moment of a day's release, in UTC."""
    return datetime.combine(day, EVENING, clock.ENGLAND).astimezone(UTC)


def newest_day(moment: datetime) -> date:
    """The day that was released last at a moment."""
    day = clock.day_of(moment)
    return day if evening_of(day) + SETTLING <= moment else day - _DAY


def newest_friday(day: date) -> date:
    """The last Friday until a day."""
    return day - ((day.weekday() - _FRIDAY) % 7) * _DAY


def friday_for(period: Period, day: date) -> date:
    """The newest Friday on which a period's figures are released that are released each Friday."""
    return newest_friday(min(day, period.end + _REVISED))


def evening_for(measure: Measure, period: Period) -> date | None:
    """The day in whose evening a figure is released, once; None for what is released each Friday."""
    if measure.taken == "on the last school day":
        return period.last_school_day
    if measure.taken == "over the period" and period.grain == "day":
        return period.start
    if period.grain == "week":
        return newest_friday(period.end)
    ends_once = ("term",) if measure.adds_up_over_time else ("term", "year") if measure.bounded_by else ()
    if period.grain in ends_once:
        return newest_friday(period.end + 6 * _DAY)  # the first from its last day on
    return None
