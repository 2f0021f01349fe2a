"""The attack on small tables: with only the small cells hidden they are worked out; with the further ones, none is."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec
import pytest

from commonroom.warehouse import suppression
from commonroom.warehouse.attack import Cell
from commonroom.warehouse.suppression import Name, Table, hide, recovered, sensitive_only
from tests.unit.warehouse.attacker import by_solver, by_trying

Attacker = Callable[..., set[Name]]


def line(values: Sequence[int]) -> Table:
    """Cells in a line, with their total."""
    cells: dict[Name, int] = dict(enumerate(values))
    return table({**cells, "total": sum(values)}, [("total", *cells)])


def square(rows: Sequence[Sequence[int]]) -> Table:
    """Cells in rows and columns, with the totals of both."""
    down, across = range(len(rows)), range(len(rows[0]))
    values: dict[Name, int] = {(r, c): rows[r][c] for r in down for c in across}
    values |= {(r, "T"): sum(rows[r]) for r in down}
    values |= {("T", c): sum(row[c] for row in rows) for c in across}
    values["T", "T"] = sum(map(sum, rows))
    sums = [((r, "T"), *((r, c) for c in across)) for r in [*down, "T"][:-1]]
    sums += [(("T", c), *((r, c) for r in down)) for c in across]
    sums += [(("T", "T"), *(("T", c) for c in across)), (("T", "T"), *((r, "T") for r in down))]
    return table(values, sums)


def table(values: dict[Name, int], sums: list[tuple[Name, ...]]) -> Table:
    """One or two are hidden; totals are dearest."""
    cells = {
        name: Cell(
            value,
            sensitive=0 < value < 3,
            cost=float(value + (100 if "T" in str(name).upper() else 1)),
        )
        for name, value in values.items()
    }
    return Table(cells, (tuple(sums),))


def worked_out(of: Table, hidden: frozenset[Name], attacker: Attacker) -> set[Name]:
    return attacker({name: cell.value for name, cell in of.cells.items()}, of.sums, hidden)


def small_tables(seed: int, count: int) -> list[Table]:
    """Tables of few cells, many of them small."""
    chance = random.Random(seed)

    def draw() -> int:
        return chance.choice([0, 1, 1, 2, 3, 4, 5])

    lines = [line([draw() for _ in range(chance.randint(2, 4))]) for _ in range(count)]
    return lines + [square([[draw() for _ in range(2)] for _ in range(2)]) for _ in range(count)]


def test_every_filling_tried_small_tables_give_nothing_away_when_further_cells_are_hidden() -> None:
    alone = beside = tables = 0
    for one in small_tables(1, 40):
        tables += 1
        alone += len(worked_out(one, sensitive_only(one), by_trying))
        beside += len(worked_out(one, hide(one), by_trying))
    print(
        f"{tables} tables: {alone} cells worked out with small ones hidden alone, {beside} with the further ones"
    )
    assert alone > 40
    assert beside == 0


@pytest.mark.parametrize("shape", [(6, 5), (12, 5), (4, 12)])
def test_the_solver_finds_nothing_in_larger_tables(shape: tuple[int, int]) -> None:
    chance = random.Random(str(shape))
    alone = 0
    for _ in range(3):
        rows = [
            [chance.choice([0, 1, 2, 3, 5, 8, 20, 40, 60]) for _ in range(shape[1])] for _ in range(shape[0])
        ]
        one = square(rows)
        alone += len(worked_out(one, sensitive_only(one), by_solver))
        assert worked_out(one, hide(one), by_solver) == set()
    assert alone > 0


def test_our_own_attack_finds_all_that_trying_finds() -> None:
    for one in small_tables(2, 25):
        hidden = sensitive_only(one)
        ours = {found.name for found in recovered(one, hidden)}
        assert worked_out(one, hidden, by_trying) <= ours
        assert recovered(one, hide(one)) == []


def test_the_cheapest_cell_is_hidden_and_a_total_only_where_nothing_else_helps() -> None:
    assert hide(line([2, 40, 9, 12])) == {0, 2}
    # One school has all of them: its total tells on it.
    assert hide(line([2, 0, 0])) == {0, "total"}
    assert hide(line([7, 8, 9])) == frozenset()


def test_the_same_table_is_hidden_alike_in_whatever_order_it_comes() -> None:
    one = square([[1, 20, 30], [7, 8, 2], [5, 6, 70]])
    suppression._solve.cache_clear()
    first = hide(one)
    suppression._solve.cache_clear()
    assert hide(one) == first


def test_a_cell_is_no_narrower_than_it_needs() -> None:
    wide = {"a": 40, "b": 50, "c": 60, "total": 150}
    cells: dict[Name, Cell] = {name: Cell(value, cost=float(value)) for name, value in wide.items()}
    cells["a"] = Cell(40, sensitive=True, needs=20)
    of = Table(cells, ((("total", "a", "b", "c"),),))
    hidden = hide(of)
    assert hidden == {"a", "b"}
    assert recovered(of, frozenset({"a"}))[0].name == "a"


def week(seed: int, schools: int) -> Table:
    """An authority's week: schools and days, with leave and without, and their totals; some numbers are small."""
    chance = random.Random(seed)
    places, days, parts = [*range(schools), "T"], [*range(5), "T"], ["a", "u", "T"]
    values: dict[Name, int] = {}
    for place in range(schools):
        size = chance.choice([4, 12, 30, 60])
        for day in range(5):
            values[place, day, "a"] = chance.randint(0, size)
            values[place, day, "u"] = chance.randint(0, size // 4)
    for place in places:
        for day in days:
            for part in parts:
                over = [
                    (p, d, k)
                    for p in (range(schools) if place == "T" else [place])
                    for d in (range(5) if day == "T" else [day])
                    for k in ("a", "u")
                    if part in ("T", k)
                ]
                values.setdefault((place, day, part), sum(values[p, d, k] for p, d, k in over))
    sums: list[tuple[Name, ...]] = [
        *(((p, d, "T"), (p, d, "a"), (p, d, "u")) for p in places for d in days),
        *(((p, "T", k), *((p, d, k) for d in range(5))) for p in places for k in parts),
        *((("T", d, k), *((p, d, k) for p in range(schools))) for d in days for k in parts),
    ]
    return table(values, sums)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_tables_too_large_for_integer_programming_give_nothing_away_either(seed: int) -> None:
    one = week(seed, 25)
    assert len(one.cells) > suppression._LARGE
    hidden, alone = hide(one), sensitive_only(one)
    open_cells = {found.name for found in recovered(one, alone)}
    print(
        f"{len(one.cells)} cells, {len(alone)} small: {len(open_cells)} given away; {len(hidden)} hidden: none"
    )
    assert open_cells
    assert recovered(one, hidden) == []
    assert worked_out(one, hidden, by_solver) == set()
    assert len(hidden) < 6 * len(alone)
    suppression.forget()
    assert hide(one) == hidden


def test_where_nothing_protects_a_cell_of_a_large_table_all_of_it_is_hidden() -> None:
    """A reader who knows that no cell is more than it is knows that the 2 is a 1 or a 2, whatever else is hidden."""
    one = line([2, 9, *([0] * suppression._LARGE)])
    cells = {name: msgspec.structs.replace(cell, never=name == "total") for name, cell in one.cells.items()}
    cells = {name: msgspec.structs.replace(cell, at_most=cell.value) for name, cell in cells.items()}
    assert hide(Table(cells, one.blocks)) == set(cells) - {"total"}
