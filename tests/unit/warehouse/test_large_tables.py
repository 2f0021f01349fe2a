"""Tables too large for integer programming: what is hidden by moves cannot be worked out from sums beside a part."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

from commonroom.warehouse import suppression
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
