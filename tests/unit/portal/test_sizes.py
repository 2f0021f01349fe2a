"""How many figures one address may ask for: what a nation's register makes of it, without one."""

from __future__ import annotations

from datetime import date

import pytest

from commonroom.portal import sizes
from commonroom.problems import Problem
from commonroom.warehouse import questions
from commonroom.warehouse.organisations import School

FIRST, LAST = date(2025, 9, 1), date(2026, 10, 31)
AUTHORITIES = 153


def asked(grain: str, first: date = FIRST, by: str = "") -> questions.Question:
    found = questions.checked("headcount", "authority", grain, None, first, LAST, None)
    return questions.divided(found, by, None) if by else found


def test_days_of_years_by_groups_of_every_authority_are_refused_and_how_to_ask_is_said() -> None:
    with pytest.raises(Problem) as refused:
        sizes.need_fewer(asked("day", by="year_group"), AUTHORITIES, LAST)
    assert (refused.value.code, refused.value.status) == ("CR-105", 400)
    assert "fewer units or days" in refused.value.remedy


@pytest.mark.parametrize("question", [asked("day"), asked("week"), asked("term", by="year_group")])
def test_what_a_nation_reads_is_answered(question: questions.Question) -> None:
    sizes.need_fewer(question, AUTHORITIES, LAST)


def test_days_that_have_not_come_and_units_that_there_are_none_of_have_no_figures() -> None:
    sizes.need_fewer(asked("day", by="year_group"), AUTHORITIES, date(2025, 9, 3))
    schools = [School(f"99000{n}", "A", "997" if n else None, "B", "E12000001", "C") for n in range(4)]
    assert sizes.units_of("authority", schools) == 1
    assert sizes.units_of("trust", schools) == 0
