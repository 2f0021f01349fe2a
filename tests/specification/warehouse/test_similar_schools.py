"""Schools like a school: same phase, nearest in size and meals, of published figures that are shown; worked by hand.

Sixteen primary schools have 20, 21, ... 35 pupils each, five of whom are eligible for meals; one secondary school has 24. Of
the primary school with 30 pupils two alone are eligible: its share is hidden.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import combinations, open_reader, similar
from commonroom.warehouse.reader import Reader
from commonroom.warehouse.similar import Likeness, Near
from commonroom.warehouse.suppression import sensitive_only
from tests.unit.warehouse.house import REGISTERS, House, enrolment, organisation, upn

SIZES = {str(990101 + number): 20 + number for number in range(16)}
SECONDARY, HIDDEN, SMALLEST = "990201", "990111", "990101"
SIZES[SECONDARY] = 24
DAY = date(2026, 9, 30)


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-30T18:00+00:00"))
        house = await House(connection, settings, list(SIZES)).open()
        register = [
            organisation(house.parties[urn], urn, phase="Secondary" if urn == SECONDARY else "Primary")
            for urn in SIZES
        ]
        letters = [house.letter(REGISTERS, "organisation", register, accepted_at="2025-09-01T08:00+00:00")]
        for place, (urn, size) in enumerate(SIZES.items()):
            pupils = range(place * 100, place * 100 + size)
            eligible = 2 if urn == HIDDEN else 5
            learners = [
                {
                    "school": urn, "upn": upn(pupil), "family_name": "N", "given_name": "N",
                    "date_of_birth": "2017-01-01", "sex": "F", "fsm": pupil - place * 100 < eligible,
                    "valid_from": "2026-09-01", "version": 1,
                }
                for pupil in pupils
            ]  # fmt: skip
            letters += [
                house.letter(urn, "enrolment", [enrolment(urn, pupil, "2026-09-01") for pupil in pupils]),
                house.letter(urn, "learner", learners),
            ]
        loaded = await house.load(*letters)
        assert not loaded.refused
        assert not loaded.findings
        yield house


@pytest.fixture
def reader(house: House) -> Any:
    opened = open_reader(house.settings, sensitive_only)
    yield opened
    opened.close()


def likeness(**changes: Any) -> Likeness:
    return msgspec.structs.replace(similar.load(), **changes)


async def beside(house: House, reader: Reader, *schools: str) -> similar.Similar:
    return await similar.beside(
        reader, house.connection, PUBLIC, "headcount", schools, grain="term", first=DAY, last=DAY
    )


async def test_the_nearest_of_the_same_phase_whose_figures_are_shown(house: House, reader: Reader) -> None:
    ten = likeness(neighbours=10)
    found = await similar.neighbours(
        reader, house.connection, PUBLIC, ten, [SMALLEST, SECONDARY, HIDDEN, "999999"], DAY
    )
    # 21 to 31 pupils without the school of 30, whose share is hidden, and without the secondary school of 24. Like these
    # two nobody is: one is alone in its phase, the other has no place.
    assert found == {
        SMALLEST: tuple(urn for urn in SIZES if 21 <= SIZES[urn] <= 31 and urn not in (SECONDARY, HIDDEN))
    }


async def test_meals_weigh_as_declared(house: House, reader: Reader) -> None:
    """Five pupils of 35 are 14.3%, of 20 they are 25%: who looks at the share alone finds the same order."""
    by_share = likeness(near=(Near("fsm_eligible", "points", Decimal(10)),), neighbours=10)
    (group,) = (
        await similar.neighbours(reader, house.connection, PUBLIC, by_share, ["990116"], DAY)
    ).values()
    assert [SIZES[urn] for urn in group] == [24, 25, 26, 27, 28, 29, 31, 32, 33, 34]


async def test_median_and_quartiles_of_what_is_shown(house: House, reader: Reader) -> None:
    found = await beside(house, reader, SMALLEST)
    (spread,) = found.spreads
    # Of 21 22 23 24 25 26 27 28 29 31 32 33 34 35: the middle lies between 27 and 28, the quartiles at 24.25 and 31.75.
    assert (spread.schools, spread.lower, spread.median, spread.upper) == (14, 24, 28, 32)
    assert found.likeness.at_least == 10


async def test_of_fewer_than_ten_nothing_is_said(house: House, reader: Reader) -> None:
    rule = likeness(at_least=15)
    found = await beside(house, reader, SMALLEST)
    figures = await reader.figures(
        house.connection, PUBLIC, measure="headcount", level="school", grain="term", first=DAY, last=DAY
    )
    measure = combinations.measure("headcount")
    (spread,) = similar.spreads(measure, rule, found.schools, figures)
    assert (spread.schools, spread.lower, spread.median, spread.upper) == (14, None, None, None)


async def test_a_hidden_figure_is_in_no_median(house: House, reader: Reader) -> None:
    """The share of the school of 30 is hidden: as a neighbour by size alone it is near, and counts for nothing."""
    by_size = likeness(near=(Near("headcount", "ratio", Decimal("1.5")),), neighbours=15)
    group = await similar.neighbours(reader, house.connection, PUBLIC, by_size, [SMALLEST], DAY)
    assert HIDDEN in group[SMALLEST]
    figures = await reader.figures(
        house.connection, PUBLIC, measure="fsm_eligible", level="school", grain="term", first=DAY, last=DAY
    )
    (spread,) = similar.spreads(combinations.measure("fsm_eligible"), by_size, group, figures)
    assert spread.schools == 14


WRONG = {
    "measure: headcount": "measure: capacity",
    "measure: fsm_eligible": "measure: nothing",
    'one: "1.5"': 'one: "1"',
    'one: "10"': 'one: "0"',
    "at_least: 10": "at_least: 4",
    "neighbours: 20": "neighbours: 9",
    "same: [phase]": "same: [name]",
}


@pytest.mark.parametrize("right", WRONG)
def test_a_declaration_that_cannot_be_used_is_refused(right: str, tmp_path: Path) -> None:
    text = similar.FILE.read_text("utf-8")
    assert right in text
    path = tmp_path / "similar_schools.yaml"
    path.write_text(text.replace(right, WRONG[right]), "utf-8")
    with pytest.raises(Problem, match=r"CR-001|CR-063|CR-330"):
        similar.load(path)


@pytest.mark.parametrize(
    ("schools", "periods", "is_too_much"), [(1, 400, False), (500, 40, False), (300, 190, True)]
)
def test_days_of_a_year_of_a_whole_county_are_not_laid_beside_neighbours(
    schools: int, periods: int, is_too_much: bool
) -> None:
    likeness = similar.load()
    if not is_too_much:
        similar.check_size(likeness, schools, periods)
        return
    with pytest.raises(Problem, match="CR-063"):
        similar.check_size(likeness, schools, periods)


async def test_what_is_asked_is_counted_before_it_is_read(
    house: House, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "MOST_FIGURES", 79)
    for schools, is_too_much in (([SMALLEST], False), (sorted(SIZES)[:4], True)):
        asked = similar.beside(
            reader, house.connection, PUBLIC, "headcount", schools, grain="term", first=DAY, last=DAY
        )
        if is_too_much:
            with pytest.raises(Problem, match="too much"):
                await asked
        else:
            assert (await asked).schools
