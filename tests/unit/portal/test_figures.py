"""What a page shows of a figure."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from commonroom.portal import figures
from commonroom.portal.tables import Withheld
from commonroom.problems import Problem
from commonroom.warehouse.questions import Figure


@pytest.mark.parametrize(
    ("numerator", "denominator", "value", "symbol", "shown"),
    [
        (412, None, Decimal(412), None, 412),
        (823, None, Decimal("411.5"), None, Decimal("411.5")),  # full-time equivalents are counted in halves
        (12, 240, Decimal("5.0"), None, Decimal("5.0")),
        (5, 100, Decimal(5), None, Decimal(5)),
        (None, None, None, "c", Withheld("c")),
    ],
)
def test_a_count_is_shown_in_ones_and_a_rate_as_what_it_is(
    numerator: int | None, denominator: int | None, value: Decimal | None, symbol: str | None, shown: object
) -> None:
    figure = Figure(
        "measure",
        "school",
        "990001",
        "A school",
        "day",
        date(2026, 9, 7),
        "",
        numerator,
        denominator,
        value,
        symbol,
    )
    assert figures.value(figure) == shown


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31", "2026-02-30", "yesterday"])
def test_a_day_of_an_address_is_one_that_others_can_be_reckoned_from(text: str) -> None:
    with pytest.raises(Problem, match="CR-105"):
        figures.day(text, date(2026, 9, 7), "to")


def test_where_there_is_no_figure_nothing_is_shown() -> None:
    assert figures.value(None) is None


@pytest.mark.parametrize(
    ("grain", "first"), [("day", date(2027, 5, 8)), ("week", date(2026, 9, 1)), ("term", date(2026, 9, 1))]
)
def test_the_newest_of_many_schools_is_looked_for_among_few_days(grain: str, first: date) -> None:
    asked = figures.Question("absence_overall", grain, date(2026, 9, 1), date(2027, 7, 6), date(2027, 7, 6))
    assert figures.lately(asked).first == first
