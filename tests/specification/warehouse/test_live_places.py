"""Places, pupils and joiners by school and year group, worked by hand; see test_measures.py for how to read the tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import open_reader
from tests.specification.warehouse.test_measures import LAST, A, B, figures, shown
from tests.specification.warehouse.test_more_measures import Records, load
from tests.unit.warehouse.attacker import by_solver
from tests.unit.warehouse.house import House, enrolment

BY_YEAR = {"characteristic": "year_group", "grain": "day", "first": LAST, "last": LAST}


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-12-31T12:00+00:00"))
        house = await House(connection, settings, [A, B]).open("997")
        await house.register({A: "T1", B: "T1"})
        yield house


def numbers(school: str, year: str, **of_years: tuple[int | None, int | None]) -> Records:
    """What a school announces for an academic year: by year group (`y7`), places and how many were admitted."""
    return [
        {
            "school": school, "admission_year": year, "nc_year": group[1:], "valid_from": "2026-09-01", "version": 1,
            **{name: value for name, value in (("published_number", places), ("admitted", admitted)) if value is not None},
        }
        for group, (places, admitted) in of_years.items()
    ]  # fmt: skip


def pupils(school: str, first: int, **of_years: int) -> Records:
    """So many pupils of each year group, the first with this number."""
    years = [group[1:] for group, many in of_years.items() for _ in range(many)]
    return [enrolment(school, pupil, "2026-09-01", nc_year=year) for pupil, year in enumerate(years, first)]


# Present year:  A  7: 12 places, 10 pupils; 8: 10 places, 11 pupils; 9: no number, 8 pupils
#                B  7: 20 places, 14 pupils; 9: 9 places, 5 pupils
# Next year:     A  7: 12 places, 9 to join; 12: 6 places, 6 to join
#                B  7: 20 places, nobody knows yet how many join
async def load_all(house: House) -> None:
    announced = [
        *numbers(A, "2026/27", y7=(12, 12), y8=(10, None)), *numbers(A, "2027/28", y7=(12, 9), y12=(6, 6)),
        *numbers(A, "2025/26", y7=(99, 99)),
    ]  # fmt: skip
    await load(house, A, enrolment=pupils(A, 1, y7=10, y8=11, y9=8), admission_number=announced)
    announced = [*numbers(B, "2026/27", y7=(20, 14), y9=(9, None)), *numbers(B, "2027/28", y7=(20, None))]
    await load(house, B, enrolment=pupils(B, 50, y7=14, y9=5), admission_number=announced)


OF_A = {
    "admission_places": {"7": "12", "8": "10", "9": "x", "12": "x"},
    "headcount": {"7": "10", "8": "11", "9": "8", "12": "0"},
    "roll": {"7": "10", "8": "11", "9": "8", "12": "0"},
    "places_left": {"7": "2", "8": "0", "9": "x", "12": "x"},
    "entry_places": {"7": "12", "8": "x", "9": "x", "12": "6"},
    "expected_joiners": {"7": "9", "8": "x", "9": "x", "12": "6"},
    "entry_places_left": {"7": "3", "8": "x", "9": "x", "12": "0"},
}
OF_THE_AUTHORITY = {
    "admission_places": {"7": "32", "8": "10", "9": "9", "12": "x"},
    "headcount": {"7": "24", "8": "11", "9": "13", "12": "0"},
    # School by school: 2 + 6; 0; 4 of B alone, for A has no number.
    "places_left": {"7": "8", "8": "0", "9": "4", "12": "x"},
    "expected_joiners": {"7": "9", "8": "x", "9": "x", "12": "6"},
    # Of A alone: who joins B is not known.
    "entry_places_left": {"7": "3", "8": "x", "9": "x", "12": "0"},
}


@pytest.mark.parametrize(
    ("level", "unit", "expected"), [("school", A, OF_A), ("authority", "997", OF_THE_AUTHORITY)]
)
async def test_places_pupils_and_joiners_by_year_group(
    house: House, level: str, unit: str, expected: dict[str, dict[str, str]]
) -> None:
    await load_all(house)
    found: dict[str, dict[str, str]] = {}
    for measure, groups in expected.items():
        asked = await figures(house, measure, level, units=[unit], groups=list(groups), **BY_YEAR)
        found[measure] = {figure.group: shown(figure) for figure in asked}
    assert found == expected


async def test_the_whole_is_the_sum_of_what_is_known(house: House) -> None:
    await load_all(house)
    found = {}
    for level, unit in (("school", A), ("school", B), ("trust", "T1"), ("national", "E92000001")):
        for measure in ("admission_places", "places_left", "expected_joiners", "entry_places_left"):
            (figure,) = await figures(house, measure, level, "week", units=[unit])
            found[unit, measure] = shown(figure)
    of_all = {
        "admission_places": "51", "places_left": "12", "expected_joiners": "15", "entry_places_left": "3",
    }  # fmt: skip
    assert found == {
        (A, "admission_places"): "22", (A, "places_left"): "2", (A, "expected_joiners"): "15", (A, "entry_places_left"): "3",
        (B, "admission_places"): "29", (B, "places_left"): "10", (B, "expected_joiners"): "x", (B, "entry_places_left"): "x",
        **{(unit, measure): value for unit in ("T1", "E92000001") for measure, value in of_all.items()},
    }  # fmt: skip


async def test_a_combination_is_divided_by_its_own_characteristic_alone(house: House) -> None:
    for measure, by in (
        ("places_left", "sex"),
        ("unfilled_places", "year_group"),
        ("capacity", "year_group"),
    ):
        with pytest.raises(Problem, match="CR-063"):
            await figures(house, measure, **{**BY_YEAR, "characteristic": by})


async def test_where_places_left_come_from(house: House) -> None:
    await load_all(house)
    reader = open_reader(house.settings)
    try:
        origin = await reader.lineage(
            house.connection,
            PUBLIC,
            measure="entry_places_left",
            level="school",
            unit=A,
            grain="day",
            on=LAST,
        )
    finally:
        reader.close()
    told = {part.entity: [one.messages for one in part.senders or ()] for part in origin.parts}
    assert told["admission_number"] == [1]
    assert (origin.figure.value, origin.withheld) == (3, "")


# A admits two to year 12: they are not told, nor what would tell them. Year 3 of B is small too, but of another school.
async def test_few_joiners_are_not_told_by_subtraction(house: House) -> None:
    await load(house, A, admission_number=numbers(A, "2027/28", y7=(20, 14), y9=(9, 8), y12=(6, 2)))
    await load(house, B, admission_number=numbers(B, "2027/28", y7=(20, 19), y9=(9, 7), y12=(30, 22)))
    reader = open_reader(house.settings)
    try:
        shown_of: dict[tuple[str, str, str], str] = {}
        for level, units in (("school", [A, B]), ("trust", ["T1"]), ("authority", ["997"])):
            for measure in ("expected_joiners", "entry_places_left"):
                for more in ({"characteristic": "year_group", "groups": ["7", "9", "12"]}, {}):
                    for figure in await reader.figures(
                        house.connection, PUBLIC, measure=measure, level=level, grain="day", units=units,
                        first=LAST, last=LAST, **more,
                    ):  # fmt: skip
                        shown_of[measure, figure.unit, figure.group] = shown(figure)
    finally:
        reader.close()
    hidden = frozenset(name for name, value in shown_of.items() if value == "c")
    assert ("expected_joiners", A, "12") in hidden
    assert ("entry_places_left", A, "12") in hidden
    true = {
        (A, "7"): 14, (A, "9"): 8, (A, "12"): 2, (B, "7"): 19, (B, "9"): 7, (B, "12"): 22,
    }  # fmt: skip
    joiners = {("expected_joiners", unit, group): many for (unit, group), many in true.items()}
    sums = []
    for group in ("7", "9", "12", ""):
        parts = [("expected_joiners", unit, group) for unit in (A, B)]
        if not group:
            joiners |= {part: sum(true[part[1], one] for one in ("7", "9", "12")) for part in parts}
        for whole in ("997", "T1"):
            joiners["expected_joiners", whole, group] = sum(joiners[part] for part in parts)
            sums.append((("expected_joiners", whole, group), *parts))
    for unit in (A, B, "997", "T1"):
        sums.append(
            (
                ("expected_joiners", unit, ""),
                *(("expected_joiners", unit, group) for group in ("7", "9", "12")),
            )
        )
    mine = frozenset(name for name in hidden if name[0] == "expected_joiners")
    alone = frozenset({("expected_joiners", A, "12")})
    assert {name: shown_of[name] for name in joiners if name not in mine} == {
        name: str(joiners[name]) for name in joiners if name not in mine
    }
    assert by_solver(joiners, sums, alone) == alone
    # A trust's figure is hidden with those of its schools, though here the authority has the same schools and shows it.
    assert not {name for name in by_solver(joiners, sums, mine) if name[1] in (A, B)}
    # What is left of the places would tell the joiners: it is hidden wherever they are.
    left = {(unit, group) for measure, unit, group in hidden if measure == "entry_places_left"}
    assert {(unit, group) for _, unit, group in mine} <= left
