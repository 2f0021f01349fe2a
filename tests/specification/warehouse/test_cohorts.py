"""Measures over the same pupils, or over some of them: what is hidden of one is hidden of the other, then and later."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.warehouse import Figure, open_reader
from tests.conftest import settings_with
from tests.specification.warehouse import test_progress
from tests.specification.warehouse.test_attainment import EXAMPLE
from tests.specification.warehouse.test_progress import FOURTH, PRIMARY, YEAR, A, B, House, cohort, ks2

house = test_progress.house


async def asked(house: House, measure: str, how: str) -> Mapping[str, Figure]:
    """The figures of the schools and their authority."""
    reader = open_reader(settings_with(house.settings, figures=how))
    found: list[Figure] = []
    for level, units in (("school", [A, B, FOURTH]), ("authority", ["997"])):
        more: dict[str, Any] = {"level": level, "units": units, **YEAR}
        found += await reader.figures(house.connection, PUBLIC, measure=measure, **more)
    reader.close()
    return {one.unit: one for one in found}


async def test_a_pupil_without_results_at_key_stage_2_is_not_told_by_the_two(house: House) -> None:
    """A's one pupil has none: Attainment 8 hides A and B; if Progress 8 showed B's twelve, A's were the thirteenth."""
    for school, pupils in {A: range(1, 2), B: range(10, 22), FOURTH: range(30, 66)}.items():
        told = [one for pupil in pupils if pupil != 1 for one in ks2(pupil, "101", "101")]
        if told:
            await test_progress.load(house, PRIMARY, assessment_result=told)
        await cohort(house, dict.fromkeys(pupils, EXAMPLE), school)
    for measure in ("attainment_8", "progress_8"):
        found = await asked(house, measure, "live")
        assert {unit for unit, one in found.items() if one.symbol == "c"} == {A, B}, measure
        assert found[FOURTH].denominator == 36


async def test_what_was_hidden_in_november_is_hidden_of_where_they_went(house: House) -> None:
    """In April B has grown: decided anew, another school would be hidden beside A, and subtraction told A's three."""
    for school, pupils in {A: range(1, 4), B: range(10, 16), FOURTH: range(30, 38)}.items():
        await cohort(house, dict.fromkeys(pupils, EXAMPLE), school)
    await clock.set_to(house.connection, house.settings, datetime.fromisoformat("2026-11-28T12:00+00:00"))
    november = await asked(house, "attainment_8", "released")
    assert {unit for unit, one in november.items() if one.symbol == "c"} == {A, B}
    await cohort(house, dict.fromkeys(range(16, 19), EXAMPLE), B)
    await clock.set_to(house.connection, house.settings, datetime.fromisoformat("2027-04-10T12:00+00:00"))
    for measure in ("attainment_8", "ks4_leavers"):
        april = await asked(house, measure, "released")
        assert {unit for unit, one in april.items() if one.symbol == "c"} >= {A, B}, measure
    assert april[FOURTH].numerator == 8
