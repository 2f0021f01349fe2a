"""When windows open and close: a table in England's wall-clock time, over both changes of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonroom.hub.schedule import ENGLAND, Schedule, is_open, last_open, next_open

# The clock goes back on 25 October 2026 (02:00 BST is 01:00 GMT) and forward on 28 March 2027 (01:00 GMT is 02:00 BST).
# All times are UTC; BST is one hour ahead of it.
OPENINGS = """
cron               | after (UTC)      | the next openings (UTC)
30 6 * * *         | 2026-10-24 00:00 | 10-24 05:30, 10-25 06:30, 10-26 06:30
30 1 * * *         | 2026-10-24 12:00 | 10-25 00:30, 10-26 01:30
0 2 * * *          | 2026-10-24 12:00 | 10-25 02:00, 10-26 02:00
0 * * * *          | 2026-10-24 23:30 | 10-25 00:00, 10-25 01:00, 10-25 02:00
*/30 * * * *       | 2026-10-25 00:00 | 10-25 00:30, 10-25 01:00, 10-25 01:30, 10-25 02:00
0,30 1 * * *       | 2026-10-25 00:00 | 10-25 00:30, 10-26 01:00
30 1 * * *         | 2027-03-27 12:00 | 03-28 01:00, 03-29 00:30
0,30 1 * * *       | 2027-03-27 12:00 | 03-28 01:00, 03-29 00:00
0 2 * * *          | 2027-03-27 12:00 | 03-28 01:00, 03-29 01:00
0 * * * *          | 2027-03-27 23:30 | 03-28 00:00, 03-28 01:00, 03-28 02:00
30 * * * *         | 2027-03-28 00:00 | 03-28 00:30, 03-28 01:30
30 6 * * mon-fri   | 2027-03-26 12:00 | 03-29 05:30, 03-30 05:30
0 9 1 sep *        | 2026-10-01 00:00 | 09-01 08:00
0 0 29 2 *         | 2026-10-01 00:00 | 02-29 00:00
0 0 31 2 *         | 2026-10-01 00:00 | never
"""

WINDOWS = """
cron        | minutes | day of the change | opens (UTC) | closes (UTC)
0 22 * * *  | 360     | 2026-10-24        | 24 21:00    | 25 04:00
0 22 * * *  | 360     | 2026-10-26        | 26 22:00    | 27 04:00
0 22 * * *  | 360     | 2027-03-27        | 27 22:00    | 28 03:00
30 1 * * *  | 60      | 2026-10-25        | 25 00:30    | 25 02:30
15 1 * * *  | 30      | 2026-10-25        | 25 00:15    | 25 00:45
30 1 * * *  | 60      | 2027-03-28        | 28 01:00    | 28 02:00
30 0 * * *  | 45      | 2027-03-28        | 28 00:30    | 28 01:00
30 0 * * *  | 60      | 2026-10-25        | 24 23:30    | 25 00:30
"""


def _rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()[1:]]


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("row", _rows(OPENINGS), ids=lambda row: f"{row[0]} after {row[1]}")
def test_openings_follow_the_clock_on_the_wall(row: list[str]) -> None:
    cron, after, expected = row
    moment: datetime | None = _utc(after)
    found = []
    for _ in expected.split(", "):
        assert moment is not None
        moment = next_open(Schedule(cron=cron), moment)
        found.append(f"{moment:%m-%d %H:%M}" if moment else "never")
    assert ", ".join(found) == expected


@pytest.mark.parametrize("row", _rows(WINDOWS), ids=lambda row: f"{row[0]} for {row[1]} on {row[2]}")
def test_a_window_across_the_clock_change_opens_and_closes_by_the_clock_on_the_wall(row: list[str]) -> None:
    cron, minutes, day, opens, closes = row
    schedule = Schedule(cron=cron, open_minutes=int(minutes))
    opening, close = _utc(f"{day[:8]}{opens}"), _utc(f"{day[:8]}{closes}")
    minute = timedelta(minutes=1)
    assert next_open(schedule, opening - minute) == opening
    assert last_open(schedule, close) == opening
    moments = [opening - minute, opening, opening + minute, close - minute, close]
    assert [is_open(schedule, moment) for moment in moments] == [False, True, True, True, False]


TERM = frozenset({date(2026, 10, 23), date(2026, 11, 2)})  # the half-term holiday is between them


def test_a_schedule_with_a_calendar_opens_on_its_days_alone() -> None:
    schedule = Schedule(cron="0 6 * * *", open_minutes=30, calendar="school days")
    assert next_open(schedule, _utc("2026-10-23 04:00"), TERM) == _utc("2026-10-23 05:00")
    assert next_open(schedule, _utc("2026-10-23 05:00"), TERM) == _utc("2026-11-02 06:00")
    assert next_open(schedule, _utc("2026-11-02 06:00"), TERM) is None
    assert is_open(schedule, _utc("2026-10-23 05:29"), TERM)
    assert not is_open(schedule, _utc("2026-10-26 06:10"), TERM)
    assert last_open(schedule, _utc("2026-11-01 12:00"), TERM) == _utc("2026-10-23 05:00")


def test_a_window_that_began_on_a_calendar_day_runs_over_midnight() -> None:
    schedule = Schedule(cron="0 23 * * *", open_minutes=120, calendar="school days")
    assert is_open(schedule, _utc("2026-10-23 23:30"), TERM)  # 00:30 on the 24th in England
    assert not is_open(schedule, _utc("2026-10-24 22:30"), TERM)


def test_a_calendar_that_nobody_published_is_never_open() -> None:
    schedule = Schedule(cron="* * * * *", calendar="school days")
    assert next_open(schedule, _utc("2026-10-23 04:00")) is None
    assert not is_open(schedule, _utc("2026-10-23 04:00"))


@pytest.mark.parametrize(
    "cron",
    [
        "@daily",
        "* * * *",
        "* * * * * *",
        "0 25 * * *",
        "R * * * *",
        "61 * * * *",
        "0 0 * * someday",
        "0  0 * * *",
    ],
)
def test_what_is_not_a_plain_cron_line_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match="five fields"):
        Schedule(cron=cron)


minutes = st.integers(0, 59).map(str) | st.sampled_from(["*", "*/7", "0,30"])
hours = st.integers(0, 23).map(str) | st.sampled_from(["*", "*/3", "0-2", "22-23"])
weekdays = st.sampled_from(["*", "sun", "mon-fri"])
crons = st.builds("{} {} * * {}".format, minutes, hours, weekdays)
moments = st.one_of(
    st.datetimes(datetime(2026, 10, 24), datetime(2026, 10, 26, 6)),  # noqa: DTZ001 - given a zone below
    st.datetimes(datetime(2027, 3, 27), datetime(2027, 3, 29, 6)),  # noqa: DTZ001
).map(lambda moment: moment.replace(tzinfo=UTC))


@settings(max_examples=200, deadline=None)
@given(crons, st.integers(1, 1440), moments)
def test_the_next_opening_is_later_open_and_the_first(cron: str, open_for: int, after: datetime) -> None:
    schedule = Schedule(cron=cron, open_minutes=open_for)
    opening = next_open(schedule, after)
    assert opening is not None
    assert opening > after
    assert is_open(schedule, opening)
    assert last_open(schedule, opening) == opening
    assert next_open(schedule, opening - timedelta(microseconds=1)) == opening
    # No opening in between: what was open last is not later than `after`.
    earlier = last_open(schedule, opening - timedelta(microseconds=1))
    assert earlier is None or earlier <= after
    assert opening.astimezone(ENGLAND).second == 0
