"""The day in England. The base install brings no time zone database, and Windows has none, so the rule stands here."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

HOUR = timedelta(hours=1)


def england_date(moment: datetime) -> date:
    """The date on a clock in England at this moment (which knows its zone)."""
    utc = moment.astimezone(UTC)
    # Since the Summer Time Order 2002: from 01:00 UTC on the last Sunday of March to that of October.
    summer = _last_sunday(utc.year, 3) <= utc < _last_sunday(utc.year, 10)
    return (utc + HOUR if summer else utc).date()


def _last_sunday(year: int, month: int) -> datetime:
    """01:00 UTC on the last Sunday of March or October, which have 31 days."""
    end = datetime(year, month, 31, 1, tzinfo=UTC)
    return end - timedelta(days=end.isoweekday() % 7)
