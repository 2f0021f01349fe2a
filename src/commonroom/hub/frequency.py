"""How often a movement moves, as data: on change, by a schedule, or when the recipient pulls; and when it is late."""

from __future__ import annotations

from collections.abc import Set
from datetime import date, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from commonroom.hub.schedule import CalendarName, Cron, Schedule, last_open

How = Literal["on_change", "scheduled", "pull"]
MAX_LATENESS_MINUTES = 60 * 24 * 366


class Frequency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the parties agreed: `on_change` within `lateness_after` minutes, `scheduled` by a cron line, or `pull`."""

    how: How
    cron: Cron | None = None  # on the clock of England; for `scheduled` alone
    calendar: CalendarName | None = None  # the schedule's days, such as `school days`
    # Minutes after which a letter waiting, or a scheduled one not sent, counts as late. Without it nothing is late.
    lateness_after: Annotated[int, Meta(ge=1, le=MAX_LATENESS_MINUTES)] | None = None

    def __post_init__(self) -> None:
        if (self.how == "scheduled") != (self.cron is not None):
            raise ValueError("`cron` belongs to `how: scheduled`, and to it alone")
        if self.calendar is not None and self.cron is None:
            raise ValueError("`calendar` belongs to `how: scheduled`")
        if self.cron is not None:
            Schedule(cron=self.cron, calendar=self.calendar)

    def __str__(self) -> str:
        """In words, for tables and pages."""
        words = {"on_change": "on change", "pull": "when the recipient asks"}.get(self.how, f"at {self.cron}")
        words += f" on {self.calendar}" if self.calendar else ""
        return words + (f", late after {_duration(self.lateness_after)}" if self.lateness_after else "")

    @property
    def schedule(self) -> Schedule | None:
        """When it is sent; None when it is not sent by the clock."""
        return Schedule(cron=self.cron, calendar=self.calendar) if self.cron else None


def late_since(
    frequency: Frequency,
    at: datetime,
    *,
    oldest_waiting: datetime | None,
    last_sent: datetime | None,
    days: Set[date] | None = None,
) -> datetime | None:
    """Since when a movement is late for one sender; None when it is not, or when nothing was agreed.

    Late is a letter that has waited for longer than `lateness_after` (`oldest_waiting`: when it was accepted), and, by
    a schedule, an opening that has passed for longer than that with nothing sent since (`last_sent`).
    """
    if frequency.lateness_after is None:
        return None
    grace = timedelta(minutes=frequency.lateness_after)
    missed = _missed(frequency, at - grace, last_sent, days)
    late = [
        moment + grace for moment in (oldest_waiting, missed) if moment is not None and moment + grace <= at
    ]
    return min(late, default=None)


def _missed(
    frequency: Frequency, before: datetime, last_sent: datetime | None, days: Set[date] | None
) -> datetime | None:
    if frequency.schedule is None:
        return None
    due = last_open(frequency.schedule, before, days)
    return due if due is not None and (last_sent is None or last_sent < due) else None


def _duration(minutes: int) -> str:
    for unit, size in (("day", 24 * 60), ("hour", 60), ("minute", 1)):
        if minutes % size == 0:
            number = minutes // size
            return f"{number} {unit}{'' if number == 1 else 's'}"
    raise AssertionError("a whole number of minutes is a multiple of one minute")
