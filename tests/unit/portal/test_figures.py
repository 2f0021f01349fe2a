"""What a page shows of a figure."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import pytest

from commonroom.portal import figures
from commonroom.portal.tables import SoFar, Withheld, plain, shown
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


MONDAY, THURSDAY = date(2026, 9, 7), date(2026, 9, 10)
WEEK = Figure(
    "absence_overall", "school", "990001", "A school", "week", MONDAY, "2026 week 37", 63, 1000, Decimal("6.3"),
    None, batch=12, position=34, as_of=datetime(2026, 9, 10, 16, tzinfo=UTC),
)  # fmt: skip
ASKED = figures.Question("absence_overall", "week", date(2026, 9, 1), date(2026, 9, 11), date(2026, 9, 11))


@pytest.mark.parametrize(
    ("grain", "start", "released", "so_far"),
    [
        ("week", MONDAY, datetime(2026, 9, 10, 16, tzinfo=UTC), True),
        ("week", MONDAY, datetime(2026, 9, 11, 16, tzinfo=UTC), False),
        ("day", THURSDAY, datetime(2026, 9, 10, 16, tzinfo=UTC), False),
        ("term", date(2026, 9, 1), datetime(2026, 12, 11, 17, tzinfo=UTC), True),
        ("term", date(2026, 9, 1), datetime(2026, 12, 18, 17, tzinfo=UTC), False),
    ],
)
def test_a_period_that_had_not_ended_when_it_was_released_is_so_far(
    grain: str, start: date, released: datetime, so_far: bool
) -> None:
    figure = msgspec.structs.replace(WEEK, grain=grain, period_start=start, as_of=released)
    assert figures.is_so_far(ASKED, figure) is so_far


def test_a_live_period_is_so_far_until_its_last_school_day_is_over() -> None:
    live = msgspec.structs.replace(ASKED, is_live=True)
    assert figures.is_so_far(live, WEEK)
    assert not figures.is_so_far(msgspec.structs.replace(live, today=date(2026, 9, 12)), WEEK)


def test_sentence_and_table_say_so_far_and_programs_read_the_day() -> None:
    compared = [figures.Comparison("This school", [WEEK])]
    sentence = figures.absence_sentence(ASKED, "A school", compared)
    assert sentence.endswith(
        "missed 6.3% of possible sessions in the week beginning 7 September 2026 so far."
    )
    table = figures.absence_table(ASKED, "A school", compared, counted="Missed", base="Possible")
    cell = table.rows[0][0]
    assert (shown(cell), plain(cell)) == ("7 September 2026, so far", "2026-09-07")
    over = msgspec.structs.replace(WEEK, as_of=datetime(2026, 9, 11, 16, tzinfo=UTC))
    compared = [figures.Comparison("This school", [over])]
    assert "so far" not in figures.absence_sentence(ASKED, "A school", compared)
    assert not isinstance(figures.headcount_table("A school", ASKED, [over]).rows[0][0], SoFar)


def test_the_stamp_is_that_of_the_newest_figure() -> None:
    day_before = msgspec.structs.replace(
        WEEK, batch=11, position=30, as_of=datetime(2026, 9, 9, 16, tzinfo=UTC)
    )
    found = figures.stamp(ASKED, [day_before], [WEEK])
    assert (found.batch, found.position, found.as_of, found.newest_period) == (12, 34, WEEK.as_of, MONDAY)
    assert found.so_far == "the week beginning 7 September 2026"
    assert figures.stamp(ASKED, []).as_of is None
