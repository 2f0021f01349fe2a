"""Tables as people, spreadsheets and programs read them."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonroom.portal.tables import (
    RUNS_AS_FORMULA,
    Column,
    Link,
    Table,
    Withheld,
    as_csv,
    as_records,
    shown,
    withheld_last,
)


def table(*rows: tuple[object, ...]) -> Table:
    columns = tuple(Column(f"c{index}", f"Title {index}") for index in range(len(rows[0])))
    return Table(name="t", title="T", columns=columns, rows=rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["=1+1", "+44", "-cmd", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert list(csv.reader(io.StringIO(as_csv(table((text,))), newline="")))[1] == [f"'{text}"]


@given(st.text(min_size=1))
def test_no_text_in_a_csv_ever_begins_as_a_formula(text: str) -> None:
    written = list(csv.reader(io.StringIO(as_csv(table((text, Link(text, "/")))), newline="")))[1]
    assert not [cell for cell in written if cell.startswith(RUNS_AS_FORMULA)]


def test_numbers_stay_numbers_in_a_csv_also_negative_ones() -> None:
    assert as_csv(table((-3, Decimal("5.3")))).splitlines()[1] == "-3,5.3"


def test_a_withheld_figure_is_c_in_every_form_and_never_zero() -> None:
    withheld = table((Withheld("c"),))
    assert shown(Withheld("c"), "percent") == "c"
    assert as_csv(withheld).splitlines()[1] == "c"
    assert as_records(withheld) == [{"c0": "c"}]
    assert set(withheld.symbols) == {"c"}


def test_every_symbol_of_a_table_is_explained_and_no_other() -> None:
    found = table((Withheld("u"),), (Withheld("low"),), (Withheld("z"),), (5,))
    assert list(found.symbols) == ["z", "low", "u"]
    assert "cannot be relied on" in found.symbols["u"]


def test_withheld_and_missing_figures_stand_last_whatever_the_order_of_the_others() -> None:
    rows = [("a", Withheld("c")), ("b", 7), ("c", None), ("d", 0), ("e", Decimal("2.5"))]
    assert [name for name, _ in withheld_last(rows, by=1)] == ["d", "e", "b", "a", "c"]


@pytest.mark.parametrize(
    ("cell", "kind", "expected"),
    [
        (1234567, "number", "1,234,567"),
        (Decimal("5.25"), "percent", "5.3%"),
        (date(2026, 11, 9), "date", "9 November 2026"),
        (datetime(2026, 7, 9, 13, 5, tzinfo=UTC), "time", "9 Jul 2026, 2:05pm"),
        (datetime(2026, 11, 9, 12, 0, tzinfo=UTC), "text", "9 November 2026 at midday"),
        (True, "text", "Yes"),
        (None, "number", ""),
    ],
)
def test_cells_are_written_as_people_read_them(cell: object, kind: str, expected: str) -> None:
    assert shown(cell, kind) == expected  # type: ignore[arg-type]
