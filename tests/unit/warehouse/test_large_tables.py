"""Tables too large for integer programming: what is hidden by moves cannot be worked out from sums beside a part."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest

from commonroom.warehouse import flows, suppression
from commonroom.warehouse.attack import Cell, Sum
from commonroom.warehouse.suppression import Table

PARTS = ("authorised", "unauthorised")
SCHOOLS = [f"school {number}" for number in range(27)]
AREAS = ("north", "south")
WEEKS = {f"week {week}": [f"day {week}{day}" for day in range(5)] for week in range(4)}


def test_a_county_of_linked_tables_gives_nothing_away() -> None:
    table = county(random.Random(0))
    hidden = suppression.hide(table)
    assert any(cell.sensitive for cell in table.cells.values())
    assert suppression.recovered(table, hidden) == []
    assert len(hidden) < len(table.cells), "all is hidden"


def test_of_a_large_table_only_what_is_near_a_narrow_cell_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "_NEAR", (200, 1_000))
    across = range(60)
    names: list[Any] = [(row, column) for row in across for column in across]
    names += [(row, "T") for row in across] + [("T", column) for column in across]
    place = {name: number for number, name in enumerate(names)}
    cells = [Cell(20, cost=5.0) for _ in range(60 * 60)] + [Cell(1200, cost=500.0) for _ in range(120)]
    cells[0] = Cell(1, sensitive=True)
    rows = [tuple(place[row, column] for column in ("T", *across)) for row in across]
    columns = [tuple(place[row, column] for row in ("T", *across)) for column in across]
    moves = flows.Moves(cells, [*rows, *columns], {0}, {place["T", 0]}, 5000.0)
    assert moves.widen_near()
    assert len(moves.chosen) == 4
    table = Table(dict(enumerate(cells)), ((*rows, *columns),))
    assert suppression.recovered(table, moves.chosen) == []
    assert {number for number, _, _ in moves.seen_alone} == moves.chosen


def county(chance: random.Random) -> Table:
    """Two kinds of absence and their sum, by school and area, day, week and term."""
    values: dict[Any, int] = defaultdict(int)
    for number, school in enumerate(SCHOOLS):
        for week, days in WEEKS.items():
            for day in days:
                for kind, most in zip(PARTS, (6, 2), strict=True):
                    missed = chance.randrange(most * (1 + number // 6))
                    for measure in (kind, "overall"):
                        for place in (school, AREAS[number % 2], "county"):
                            for time in (day, week, "term"):
                                values[measure, place, time] += missed
    cells = {
        name: Cell(
            value=value,
            sensitive=0 < value < 3 and name[1] in SCHOOLS,
            needs=2,
            cost=float((1 + value.bit_length()) * (1 if name[1] in SCHOOLS else 50)),
        )
        for name, value in values.items()
    }
    blocks: dict[str, list[Sum]] = defaultdict(list)
    times = {**WEEKS, "term": list(WEEKS)}
    for measure, place, time in cells:
        area = AREAS[SCHOOLS.index(place) % 2] if place in SCHOOLS else place
        if place == "county":
            blocks["county"].append((("overall", place, time), *((kind, place, time) for kind in PARTS)))
            blocks["county"].append(((measure, place, time), *((measure, one, time) for one in AREAS)))
        elif place in AREAS:
            mine = [one for number, one in enumerate(SCHOOLS) if AREAS[number % 2] == place]
            blocks[area].append(((measure, place, time), *((measure, one, time) for one in mine)))
        if measure == "overall" and place != "county":
            blocks[area].append(((measure, place, time), *((kind, place, time) for kind in PARTS)))
        if time in times:
            blocks[area].append(((measure, place, time), *((measure, place, one) for one in times[time])))
    # Of measures, and of times: what is solved alone is small, and hangs together all the same.
    finer: dict[Any, dict[Sum, None]] = defaultdict(dict)
    for one in (one for block in blocks.values() for one in block):
        measures, places, when = ({name[part] for name in one} for part in range(3))
        finer[sorted(measures)[0], sorted(places)[0] if len(places) == 1 else "", len(when)][one] = None
    return Table(cells, tuple(tuple(finer[key]) for key in sorted(finer)))


@pytest.mark.parametrize("places", [40, 450])  # by integer programming, and by moves
def test_what_nothing_can_protect_better_takes_nobody_elses_figures_with_it(places: int) -> None:
    """Of two pupils, as everybody knows, one or both: more than that nothing can leave open."""
    schools = {area: [(area, number) for number in range(places)] for area in AREAS}
    cells: dict[Any, Cell] = {name: Cell(20, cost=5.0) for of in schools.values() for name in of}
    cells["north", 0] = Cell(1, sensitive=True, at_most=2)
    cells |= {area: Cell(sum(cells[name].value for name in of), cost=500.0) for area, of in schools.items()}
    cells["county"] = Cell(sum(cells[area].value for area in AREAS), cost=5000.0)
    lines = [((area, *of),) for area, of in schools.items()]
    table = Table(cells, (*lines, (("county", *AREAS),)))
    hidden = suppression.hide(table)
    assert ("north", 0) in hidden
    assert len(hidden) == 3, "it, and two that can be otherwise together"
    assert hidden <= set(schools["north"])
    assert [(one.low, one.high) for one in suppression.recovered(table, hidden)] == [(1, 2)]


@pytest.mark.parametrize("seed", [1, 2])
def test_where_nearly_all_is_small_the_totals_are_shown(seed: int) -> None:
    """What is 1 can only be more than it is: all at once can only where their totals are hidden, one after another not."""
    table = rare(random.Random(seed), schools=60, days=20)
    hidden = suppression.hide(table)
    small = suppression.sensitive_only(table)
    assert suppression.recovered(table, small)
    assert suppression.recovered(table, hidden) == []
    dark = [name for name in hidden if name[0] == "authority"]
    totals = [name for name in table.cells if name[0] == "authority"]
    assert len(dark) < len(totals) / 3, (
        f"{len(dark)} of {len(totals)} totals are hidden for {len(small)} small cells"
    )


def rare(chance: random.Random, schools: int, days: int) -> Table:
    """What happens seldom: a school has it once on one day of four."""
    values: dict[Any, int] = defaultdict(int)
    weeks = {f"week {week}": [f"day {5 * week + day}" for day in range(5)] for week in range(days // 5)}
    times = {**weeks, "term": list(weeks)}
    for number in range(schools):
        for week, mine in weeks.items():
            for day in mine:
                if many := chance.choices([0, 1, 2, 3], [75, 18, 5, 2])[0]:
                    for place in (number, "authority"):
                        for time in (day, week, "term"):
                            values[place, time] += many
    cells = {
        name: Cell(
            value, sensitive=value < 3, cost=float(value.bit_length() * (40 if name[0] == "authority" else 1))
        )
        for name, value in values.items()
    }
    by_place: dict[Any, list[Sum]] = defaultdict(list)
    for place, time in cells:
        if time in times:
            by_place["times"].append(
                ((place, time), *((place, part) for part in times[time] if (place, part) in cells))
            )
        if place == "authority":
            by_place["places"].append(
                ((place, time), *((one, time) for one in range(schools) if (one, time) in cells))
            )
    return Table(cells, tuple(tuple(of) for of in by_place.values()))
