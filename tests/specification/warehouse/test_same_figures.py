"""What is one figure is hidden in both places where it is published, or in none; and a hidden group is not told to be empty.

A, B and D are schools of one authority, of twelve, twelve and four pupils; C and E of another, of two and three.
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
from commonroom.warehouse import Reader, characteristics, measures, open_reader
from tests.unit.warehouse.house import House, enrolment, upn

A, B, C, D, E = "990001", "990002", "990003", "990004", "990005"
DAY = date(2026, 9, 9)
# How many pupils, and how many of them are known to be eligible. D's three of four are hidden as a rate of few, but as a
# group of the headcount no threshold hides them. B's ten are shown as a rate; beside them two are not eligible.
SCHOOLS = {A: (12, 6), B: (12, 10), C: (2, 1), D: (4, 3), E: (3, 2)}


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-14T12:00+00:00"))
        house = await House(connection, settings, list(SCHOOLS)).open()
        await house.register({A: "T1", D: "T1"}, s990003="998", s990005="998")
        for place, (school, (pupils, eligible)) in enumerate(SCHOOLS.items()):
            mine = range(100 * place, 100 * place + pupils)
            stays = [enrolment(school, pupil, "2026-09-01") for pupil in mine]
            records = [
                {
                    "school": school, "upn": upn(pupil),
                    "family_name": "Ames", "given_name": "Ada", "date_of_birth": "2015-01-01",
                    "sex": "F", "fsm": pupil - mine[0] < eligible, "ethnicity": "WBRI", "valid_from": "2026-09-01",
                    "version": 1,
                }
                for pupil in mine
            ]  # fmt: skip
            loaded = await house.load(
                house.letter(school, "enrolment", stays), house.letter(school, "learner", records)
            )
            assert not loaded.findings
        yield house


@pytest.fixture
async def reader(house: House) -> AsyncIterator[Reader]:
    opened = open_reader(house.settings)
    yield opened
    opened.close()


async def shown(house: House, reader: Reader, measure: str, level: str, by: str | None = None) -> Any:
    """Symbol and numerator by unit, and by unit and group."""
    found = await reader.figures(
        house.connection, PUBLIC, measure=measure, level=level, grain="day", first=DAY, last=DAY, characteristic=by
    )  # fmt: skip
    return {
        (one.unit, one.group) if by else one.unit: (
            one.symbol if one.numerator is None else "",
            one.numerator,
        )
        for one in found
    }


async def test_a_group_that_is_a_figure_of_its_own_is_hidden_with_it(house: House, reader: Reader) -> None:
    hidden = 0
    for level in ("school", "trust", "authority", "region", "national"):
        alone = await shown(house, reader, "fsm_eligible", level)
        by = await shown(house, reader, "headcount", level, "fsm")
        groups = {unit: cell for (unit, group), cell in by.items() if group == "eligible"}
        assert alone == groups, level
        hidden += sum(symbol == "c" for symbol, _ in alone.values())
    assert hidden
    schools = await shown(house, reader, "fsm_eligible", "school")
    whole = await shown(house, reader, "headcount", "school")
    assert (schools[D], whole[D]) == (("c", None), ("", 4))
    # Shown, B's ten of twelve would tell the two that are hidden as a group.
    assert schools[B] == ("c", None)
    # The order in which they are asked for makes no difference.
    again = open_reader(house.settings)
    try:
        assert await shown(house, again, "fsm_eligible", "school") == schools
    finally:
        again.close()


async def test_of_hidden_groups_nobody_is_told_which_are_empty(house: House, reader: Reader) -> None:
    groups = await shown(house, reader, "fsm_eligible", "school", "ethnicity")
    of_c = {group: symbol for (unit, group), (symbol, _) in groups.items() if unit == C}
    assert set(of_c) == set(characteristics.named("ethnicity").titles())
    assert set(of_c.values()) == {"c"}


def test_one_figure_is_not_published_the_other_way_round() -> None:
    """Pupils who are eligible and have support are a group of either measure: of one of them alone."""
    measures.divided(measures.named("fsm_eligible"), "sen")
    for name in ("sen_support", "ehc_plans"):
        measures.divided(measures.named(name), "sex")
        for by in ("fsm", "language"):
            with pytest.raises(Problem, match="CR-063"):
                measures.divided(measures.named(name), by)
    with pytest.raises(Problem, match="CR-063"):
        measures.divided(measures.named("first_language_other"), "fsm")


def test_which_groups_are_figures_of_their_own() -> None:
    same = {
        name: (found[0].name, *found[1:])
        for name in measures.load()
        if (found := measures.same_as(measures.named(name)))
    }
    assert same == {
        "fsm_eligible": ("headcount", "fsm", "eligible"),
        "sen_support": ("headcount", "sen", "support"),
        "ehc_plans": ("headcount", "sen", "plan"),
        "first_language_other": ("headcount", "language", "other"),
    }
