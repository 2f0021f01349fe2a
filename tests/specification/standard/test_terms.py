"""The school calendar: which days are school days, and in which term and week a day lies."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest

from commonroom.problems import Problem
from commonroom.standard import terms


@pytest.mark.parametrize(
    ("day", "term", "in_school"),
    [
        ("2025-09-01", "Autumn term 2025/26", True),
        ("2025-09-06", "Autumn term 2025/26", False),
        ("2025-10-27", "Autumn term 2025/26", False),
        ("2025-11-03", "Autumn term 2025/26", True),
        ("2025-12-19", "Autumn term 2025/26", True),
        ("2025-12-22", None, False),
        ("2026-01-05", "Spring term 2025/26", True),
        ("2026-04-06", None, False),
        ("2026-05-04", "Summer term 2025/26", False),
        ("2026-05-25", "Summer term 2025/26", False),
        ("2026-08-31", None, False),
        ("2026-09-01", "Autumn term 2026/27", True),
        ("2027-03-26", None, False),
        ("2027-05-03", "Summer term 2026/27", False),
        ("2027-07-21", "Summer term 2026/27", True),
        ("2031-01-06", None, False),
    ],
)
def test_each_day_lies_in_its_term_and_is_a_school_day_or_not(
    day: str, term: str | None, in_school: bool
) -> None:
    moment = date.fromisoformat(day)
    found = terms.term_of(moment)
    assert (found.label if found else None) == term
    assert terms.is_school_day(moment) == in_school


@pytest.mark.parametrize("year", [2025, 2026])
def test_a_school_year_has_195_days(year: int) -> None:
    days = terms.school_days(date(year, 9, 1), date(year + 1, 8, 31))
    assert len(days) == 195
    assert days == sorted(set(days))
    assert all(day.weekday() < 5 for day in days)


def test_a_span_of_days_includes_both_its_ends() -> None:
    days = terms.school_days(date(2025, 10, 23), date(2025, 11, 4))
    assert [day.isoformat() for day in days] == ["2025-10-23", "2025-10-24", "2025-11-03", "2025-11-04"]
    assert terms.school_days(date(2025, 11, 4), date(2025, 11, 3)) == []


@pytest.mark.parametrize(
    ("first", "last"), [(date(2025, 8, 31), date(2025, 9, 30)), (date(2027, 7, 1), date(2027, 9, 1))]
)
def test_days_the_calendar_does_not_know_are_a_problem_and_not_a_holiday(first: date, last: date) -> None:
    with pytest.raises(Problem, match="2025-09-01 to 2027-08-31") as caught:
        terms.school_days(first, last)
    assert caught.value.code == "CR-092"


def test_a_week_runs_from_monday_to_sunday_and_keeps_its_iso_number() -> None:
    new_year = terms.week_of(date(2027, 1, 1))
    assert (new_year.first, new_year.last) == (date(2026, 12, 28), date(2027, 1, 3))
    assert new_year.label == "2026 week 53"
    assert terms.week_of(new_year.first) == terms.week_of(new_year.last) == new_year


def test_terms_follow_one_another_with_their_half_term_inside() -> None:
    all_terms = terms.terms()
    assert [term.code for term in all_terms] == ["AUT", "SPR", "SUM"] * 2
    for term in all_terms:
        assert term.first < term.half_term.first <= term.half_term.last < term.last
        assert term.first.weekday() < 5
        assert term.last.weekday() < 5
    for before, after in pairwise(all_terms):
        assert before.last < after.first


def test_no_bank_holiday_falls_on_a_weekend_and_none_is_a_school_day() -> None:
    for holiday in terms.bank_holidays():
        assert holiday.date.weekday() < 5, holiday.title
        assert not terms.is_school_day(holiday.date), holiday.title
