"""Tables of one's own measures: as long as a page can bear, the downloads with all of it."""

from __future__ import annotations

import pytest

from commonroom.portal import own_tables
from commonroom.portal.pages.own_measures import said
from commonroom.portal.tables import Column, Table
from commonroom.problems import Problem
from commonroom.warehouse import own


def table(rows: int) -> Table:
    return Table(
        name="t",
        title="T",
        columns=(Column("n", "N", "number"),),
        rows=tuple((n,) for n in range(rows)),
        note="Own.",
    )


def test_a_long_table_is_cut_and_says_so() -> None:
    assert own_tables.cut(table(300)) == table(300)
    long = own_tables.cut(table(5000))
    assert [row[0] for row in long.rows] == list(range(300))
    assert long.note == "The first 300 of 5,000 rows; the downloads have all. Own."


WRONG = {
    "grains: [day, week, term]": (
        "grains: [day, decade]",
        "Line 21, `grains[1]`: Invalid enum value 'decade'.",
    ),
    "decimals: 1": ("decimals: many", "Line 19, `decimals`: Expected `int`, got `str`"),
    "name: late_marks": ("name: Late", "Its name is small letters, digits and underscores"),
    "denominator: sum(possible)": ("denominator: sum(posible)", "There is no `posible`"),
    "title: Sessions that began late": ("title: [", "Line "),
}


@pytest.mark.parametrize("right", WRONG)
def test_what_is_wrong_is_said_with_its_line(right: str) -> None:
    text = own.examples()["late_marks"]
    wrong, words = WRONG[right]
    assert right in text
    with pytest.raises(Problem) as caught:
        own.declared(text.replace(right, wrong))
    assert said(caught.value).startswith(words)
