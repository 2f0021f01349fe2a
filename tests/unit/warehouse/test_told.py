"""What follows from figures that are shown in any case is shown, and nothing that is to be hidden is."""

from __future__ import annotations

from typing import Any

from commonroom.warehouse import told
from commonroom.warehouse.attack import Cell

SHOWN, OPEN = Cell(60, never=True), Cell(60)


def shown(cells: dict[Any, Cell]) -> set[Any]:
    return {name for name, cell in cells.items() if cell.never and not cell.sensitive}


def test_what_the_rest_of_a_sum_tells_is_shown_one_after_another() -> None:
    cells: dict[Any, Cell] = {
        "whole": SHOWN,
        "a": SHOWN,
        "b": Cell(0),
        "c": Cell(0),
        "d": Cell(7),
        "e": Cell(7),
    }
    sums = [("d", "b", "e"), ("whole", "a", "b"), ("c", "b")]
    assert shown(told.settled(cells, sums, ())) == {"whole", "a", "b", "c"}


def test_the_parts_of_nothing_are_nothing() -> None:
    cells: dict[Any, Cell] = {"whole": Cell(0, never=True), "a": Cell(0, sensitive=True), "b": Cell(0)}
    assert shown(told.settled(cells, [("whole", "a", "b")], ())) == {"whole", "a", "b"}


def test_what_is_to_be_hidden_is_hidden_and_tells_nothing() -> None:
    cells: dict[Any, Cell] = {"whole": Cell(2, never=True), "a": Cell(2, sensitive=True), "b": Cell(2)}
    assert shown(told.settled(cells, [("whole", "a"), ("b", "a")], {"a"})) == {"whole"}
    forced = {**cells, "whole": Cell(2, never=True, sensitive=True)}
    assert shown(told.settled(forced, [("whole", "b")], ())) == set()


def test_hidden_schools_stand_behind_the_nearest_shown_total() -> None:
    parents: dict[Any, Any] = {
        "s1": "la1",
        "s2": "la1",
        "s3": "la2",
        "la1": "nation",
        "la2": "nation",
        "nation": None,
    }
    values: dict[Any, int] = {"s1": 5, "s2": 6, "s3": 7, "la1": 11, "la2": 7, "nation": 18}
    leaves = ["s1", "s2", "s3"]
    hidden = {"s1", "s3", "la2"}
    assert told.by_totals(values, hidden, parents, leaves) == {"s1": ("la1", 1), "s3": ("nation", 1)}
    hidden = {"s1", "s3", "la1", "la2"}
    assert told.by_totals(values, hidden, parents, leaves) == {"s1": ("nation", 2), "s3": ("nation", 2)}
    assert told.by_totals(values, {*values}, parents, leaves) == {}
    assert told.by_totals({**values, "nation": 20}, hidden, parents, leaves) == {}, "that is no sum of them"
