"""What one figure less another tells: the nursery, part-time pupils; hidden where the group that they are is hidden.

School A has one pupil in the nursery and two who attend part-time; nobody subtracts them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import Reader, heads, measures, open_reader, periods
from commonroom.warehouse.publication import Name, Parts
from commonroom.warehouse.releases import Releases
from commonroom.warehouse.spans import View
from tests.unit.warehouse.attacker import by_solver
from tests.unit.warehouse.house import House, enrolment

A, B, C, D, E = (str(990001 + number) for number in range(5))
DAY = date(2026, 9, 9)
# Pupils of each school, those in the nursery, those part-time.
SCHOOLS = {A: (30, 1, 2), B: (30, 8, 9), C: (30, 0, 0), D: (25, 6, 0), E: (40, 9, 12)}
AREA = {A: "997", B: "997", C: "997", D: "998", E: "998"}
# The other figure, how many times the group it takes away from the base, and the group's place above.
BOUND = [("roll", 1, 1), ("pupils_fte", 1, 2)]


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-14T12:00+00:00"))
        house = await House(connection, settings, list(SCHOOLS)).open()
        await house.register({B: "T1", D: "T1"}, s990004="998", s990005="998")
        for place, (school, (pupils, nursery, part_time)) in enumerate(SCHOOLS.items()):
            stays = [
                enrolment(school, 100 * place + pupil, "2026-09-01")
                | {"nc_year": "N2" if pupil < nursery else "3", "part_time": pupil < part_time}
                for pupil in range(pupils)
            ]
            loaded = await house.load(house.letter(school, "enrolment", stays))
            assert not loaded.findings
        yield house


async def released(house: House, name: str) -> Any:
    """The numbers of a measure, those that it alone would hide, and those that are hidden."""
    releases = Releases(house.settings, house.duck)
    view = View(await heads.newest(house.connection), None, date(2026, 9, 14))
    measure = measures.named(name)
    (period,) = periods.between("day", DAY, DAY, DAY)
    bound = releases.of(measure, [period], view)[period]
    alone = releases._alone(measure, (DAY, DAY), [period], view)
    return bound.numbers, alone.hidden, bound.hidden


def worked_out(head: dict[Name, Parts], other: dict[Name, Parts], dark: set[tuple[str, str]]) -> set[Any]:
    """The places whose difference is told, where the other figure is not shown in `dark`."""
    lower = {name[1]: parts.numerator for name, parts in other.items()}
    scale = max(1, round(max(lower.values()) / max(parts.numerator for parts in head.values())))
    differs = {name[1]: scale * parts.numerator - lower.get(name[1], 0) for name, parts in head.items()}
    sums = [
        (("authority", area), *(("school", urn) for urn in SCHOOLS if AREA[urn] == area))
        for area in ("997", "998")
    ]
    sums += [
        (("region", "E1"), ("authority", "997"), ("authority", "998")),
        (("trust", "T1"), ("school", B), ("school", D)),
    ]
    sums = [one for one in sums if all(place in differs for place in one)]
    return {place for place in differs if place not in dark} | by_solver(differs, sums, dark)


@pytest.mark.parametrize(("name", "_times", "of"), BOUND)
async def test_what_is_subtracted_from_the_headcount_is_no_group_of_one_or_two(
    house: House, name: str, _times: int, of: int
) -> None:
    head, _, head_hidden = await released(house, "headcount")
    other, alone, bound = await released(house, name)
    assert not head_hidden
    small = {("school", urn) for urn, parts in SCHOOLS.items() if 0 < parts[of] < 3}
    without, with_it = (worked_out(head, other, {one[1] for one in dark}) for dark in (alone, bound))
    print(
        f"{name}: small groups told without the bond: {len(small & without)}, with it: {len(small & with_it)}"
    )
    assert small
    assert small <= without
    assert not small & with_it
    assert alone < bound
    # It is not all hidden.
    assert {one[1][1] for one in bound if one[1][0] == "school"} < set(SCHOOLS)
    assert ("authority", "997") not in {one[1] for one in bound}


async def test_the_group_and_what_tells_it_are_hidden_in_the_same_places(house: House) -> None:
    reader: Reader = open_reader(house.settings)
    try:
        for name, by, group in (("roll", "year_group", "nursery"), ("pupils_fte", "part_time", "part_time")):
            for level in ("school", "trust", "authority", "national"):
                asked: Any = {"level": level, "grain": "day", "first": DAY, "last": DAY}
                figures = await reader.figures(house.connection, PUBLIC, measure=name, **asked)
                groups = await reader.figures(
                    house.connection, PUBLIC, measure="headcount", characteristic=by, groups=[group], **asked
                )
                hidden = {one.unit for one in figures if one.symbol == "c"}
                assert hidden == {one.unit for one in groups if one.symbol == "c"}, (name, level)
                if level == "school":
                    assert A in hidden
    finally:
        reader.close()


def test_what_tells_a_group_is_not_divided_otherwise() -> None:
    """Girls on the roll, subtracted from all girls, would be the girls of the nursery."""
    roll = measures.named("roll")
    assert measures.divided(roll, "year_group").by == "year_group"
    for by in ("sex", "fsm", "part_time"):
        with pytest.raises(Problem, match="CR-063"):
            measures.divided(roll, by)
