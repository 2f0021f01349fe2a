"""Schedules: when something opens, by a cron line on the clock of England and, if asked for, on the days of a calendar.

Pure functions. A cron line speaks of the clock on the wall. Twice a year that clock jumps:

- forward (01:00 to 02:00): an opening at an hour that does not exist comes when the clock has jumped, at 02:00;
- back (02:00 to 01:00): an opening at a named hour comes once, at the first of the two; a line whose hour begins with
  `*` counts hours as they pass and opens in both.

A window closes by the wall clock too: 22:00 for 360 minutes closes at 04:00, whether the night is long or short.
"""

from __future__ import annotations

import re
from collections.abc import Set
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
from croniter import croniter
from croniter.croniter import CroniterBadDateError
from msgspec import Meta

ENGLAND = ZoneInfo("Europe/London")
ONE_DAY = timedelta(days=1)
MAX_OPEN_MINUTES = 24 * 60

# Minute, hour, day of month, month, day of week. Seconds, `@daily` and random fields are not taken.
_NUMBERS = r"[0-9*,/-]+"
_NUMBERS_AND_NAMES = r"[0-9A-Za-z*,/-]+"
_CRON = re.compile(rf"{_NUMBERS} {_NUMBERS} {_NUMBERS} {_NUMBERS_AND_NAMES} {_NUMBERS_AND_NAMES}")

Cron = Annotated[str, Meta(min_length=9, max_length=120)]
CalendarName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9 -]{1,62}$")]


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When something opens and for how long. Days of month and of week together mean either, as cron has it."""

    cron: Cron
    open_minutes: Annotated[int, Meta(ge=1, le=MAX_OPEN_MINUTES)] = 60
    calendar: CalendarName | None = None  # opens only on the days published under this name

    def __post_init__(self) -> None:
        if not _CRON.fullmatch(self.cron) or not croniter.is_valid(self.cron):
            raise ValueError(
                "a cron line has five fields: minute, hour, day of month, month, day of week, as `30 6 * * mon-fri`"
            )


def next_open(schedule: Schedule, after: datetime, days: Set[date] | None = None) -> datetime | None:
    """The first opening later than `after`, in UTC; None when there is none in the calendar's days (or within 50 years).

    `days` are the calendar's days. A schedule that names a calendar never opens without them.
    """
    day = after.astimezone(ENGLAND).date()
    while (found := _next_day(schedule, day, days)) is not None:
        for opening in _openings(schedule.cron, found):
            if opening > after:
                return opening
        day = found + ONE_DAY
    return None


def is_open(schedule: Schedule, at: datetime, days: Set[date] | None = None) -> bool:
    """Whether a window is open: from its opening on and until before its close. The calendar must have the opening's day."""
    today = at.astimezone(ENGLAND).date()
    return any(
        opening <= at < _close(opening, schedule.open_minutes)
        for day in (today - ONE_DAY, today)
        if _on_calendar(schedule, day, days)
        for opening in _openings(schedule.cron, day)
    )


def last_open(schedule: Schedule, at: datetime, days: Set[date] | None = None) -> datetime | None:
    """The latest opening not after `at`, in UTC; None when there is none within the year before it."""
    day = at.astimezone(ENGLAND).date()
    for back in range(367):
        past = day - timedelta(days=back)
        if _on_calendar(schedule, past, days):
            for opening in reversed(_openings(schedule.cron, past)):
                if opening <= at:
                    return opening
    return None


def _on_calendar(schedule: Schedule, day: date, days: Set[date] | None) -> bool:
    return schedule.calendar is None or (days is not None and day in days)


def _next_day(schedule: Schedule, first: date, days: Set[date] | None) -> date | None:
    """The first day from `first` on, included, on which the schedule opens."""
    if schedule.calendar is None:
        return _next_cron_day(schedule.cron, first)
    later = sorted(day for day in days or () if day >= first)
    return next((day for day in later if _openings(schedule.cron, day)), None)


def _next_cron_day(cron: str, first: date) -> date | None:
    just_before = datetime.combine(first, time()) - timedelta(minutes=1)
    try:
        found: datetime = croniter(cron, just_before).get_next(datetime)
    except CroniterBadDateError:  # such as 31 February
        return None
    return found.date()


@lru_cache(maxsize=4096)
def _openings(cron: str, day: date) -> tuple[datetime, ...]:
    """The openings of one day of the wall clock, in UTC, in order, each once."""
    every_hour = cron.split(" ")[1].startswith("*")
    midnight = datetime.combine(day, time())
    moments: set[datetime] = set()
    # croniter sees the wall clock as plain numbers; what the numbers mean on the days of change is decided here.
    times = croniter(cron, midnight - timedelta(minutes=1))
    try:
        while (wall := times.get_next(datetime)).date() == day:
            moments.update(_moments(wall, every_hour))
    except CroniterBadDateError:
        pass
    return tuple(sorted(moments))


def _moments(wall: datetime, every_hour: bool) -> list[datetime]:
    """When a wall clock shows this: mostly once; twice in the hour that repeats; never in the hour that is left out."""
    first, second = (wall.replace(tzinfo=ENGLAND, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first < second:  # the hour that repeats
        return [first, second] if every_hour else [first]
    if first > second:  # the hour that is left out
        return [] if every_hour else [_jump(wall)]
    return [first]


def _jump(wall: datetime) -> datetime:
    """The moment at which the clock jumps over `wall`: the Summer Time Order 2002 says one in the morning, Greenwich."""
    return datetime.combine(wall.date(), time(1), UTC)


def _close(opening: datetime, minutes: int) -> datetime:
    """The end of a window in UTC, by the wall clock; in an hour that repeats, in the same one as the opening."""
    local = opening.astimezone(ENGLAND)
    wall = local.replace(tzinfo=None, fold=0) + timedelta(minutes=minutes)
    moments = _moments(wall, every_hour=True)
    if not moments:
        return _jump(wall)
    return moments[local.fold] if len(moments) == 2 else moments[0]
