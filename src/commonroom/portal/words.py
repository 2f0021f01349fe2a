"""How numbers, dates and counts are written for people. British English, no jargon."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

LONDON = ZoneInfo("Europe/London")
ONE_DECIMAL = Decimal("0.1")


def number(value: Decimal | int) -> str:
    """1234567 -> '1,234,567'; a decimal keeps its places."""
    return f"{value:,}"


def percent(value: Decimal | int) -> str:
    """A value that is already per hundred -> '5.3%', one decimal, halves away from zero."""
    return f"{Decimal(value).quantize(ONE_DECIMAL, ROUND_HALF_UP)}%"


def day(value: date) -> str:
    """'9 November 2026'."""
    return f"{value.day} {value:%B %Y}"


def short_day(value: date) -> str:
    """'9 Nov'."""
    return f"{value.day} {value:%b}"


def moment(value: datetime) -> str:
    """'9 November 2026 at 2:05pm', in London time. A moment without a zone is UTC."""
    local = (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(LONDON)
    return f"{day(local)} at {clock(local)}"


def short_moment(value: datetime) -> str:
    """'9 Nov 2026, 2:05pm', for tables."""
    local = (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(LONDON)
    return f"{short_day(local)} {local.year}, {clock(local)}"


def clock(value: datetime) -> str:
    """'2:05pm', 'midday' and 'midnight' as the GOV.UK style guide writes times."""
    if value.minute == 0 and value.hour in (0, 12):
        return "midday" if value.hour else "midnight"
    hour = value.hour % 12 or 12
    minutes = f":{value.minute:02d}" if value.minute else ""
    return f"{hour}{minutes}{'am' if value.hour < 12 else 'pm'}"


def count(value: int, one: str, many: str | None = None) -> str:
    """count(1, 'pupil') -> '1 pupil'; count(2, 'pupil') -> '2 pupils'."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def ago(span: timedelta) -> str:
    """How long something has waited: 'under a minute', '5 minutes', '3 hours', '2 days'."""
    minutes = int(span.total_seconds()) // 60
    if minutes < 1:
        return "under a minute"
    if minutes < 60:
        return count(minutes, "minute")
    if minutes < 48 * 60:
        return count(minutes // 60, "hour")
    return count(minutes // (24 * 60), "day")


def joined(parts: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def points(difference: Decimal) -> str:
    """'0.4 percentage points above', '0.4 percentage points below' or 'the same as'."""
    rounded = difference.quantize(ONE_DECIMAL, ROUND_HALF_UP)
    if rounded == 0:
        return "the same as"
    size = abs(rounded)
    unit = "percentage point" if size == 1 else "percentage points"
    return f"{size} {unit} {'above' if rounded > 0 else 'below'}"
