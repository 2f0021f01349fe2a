"""Progress 8, worked by hand. The academic year is 2025/26; results at key stage 2 are of July 2021, at a primary school.

A pupil's score is the Attainment 8 less what pupils with the same results at key stage 2 reach on average, divided by ten.
The estimates here are invented: 40 points in the group of 100 to 102.5, 30 below it, 55 above.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.settings import Settings
from tests.specification.warehouse.test_attainment import EXAMPLE, counted, in_year_11, results
from tests.specification.warehouse.test_measures import A, B, figures, shown
from tests.unit.warehouse.house import DEPARTMENT, House, upn

Records = list[dict[str, Any]]
PRIMARY, FOURTH = "990003", "990004"
YEAR = {"first": date(2026, 5, 11), "last": date(2026, 5, 11), "grain": "year"}


def estimates(**more: Any) -> Records:
    groups = [(1, "70", "99.5", "30"), (2, "100", "102.5", "40"), (3, "103", "120", "55")]
    return [
        {
            "academic_year": "2025/26", "prior_group": number, "lowest_prior": low, "highest_prior": high,
            "estimate": points, "standard_deviation": "1.25", "valid_from": "2025-09-01", "version": 1, **more,
        }
        for number, low, high, points in groups
    ]  # fmt: skip


def ks2(pupil: int, reading: str | None, maths: str | None, school: str = PRIMARY, **more: Any) -> Records:
    return [
        {
            "school": school, "upn": upn(pupil), "stage": "KS2", "year": 2021, "subject": subject, "method": "TT",
            "component": subject, "result_qualifier": "NS", "result": result, "valid_from": "2021-07-09", "version": 1,
            **more,
        }
        for subject, result in (("REA", reading), ("MAT", maths))
        if result is not None
    ]  # fmt: skip


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-10-26T12:00+00:00"))
        house = await House(connection, settings, [A, B, PRIMARY, FOURTH]).open("997")
        await house.register()
        qualifications, grades = counted()
        outcome = await house.load(
            house.letter(DEPARTMENT, "qualification", qualifications),
            house.letter(DEPARTMENT, "qualification_grade", grades),
            house.letter(DEPARTMENT, "progress_estimate", estimates()),
        )
        assert (outcome.findings, len(outcome.loaded)) == (0, 3)
        yield house


async def load(house: House, school: str, **entities: Records) -> None:
    letters = [house.letter(school, entity, records) for entity, records in entities.items() if records]
    outcome = await house.load(*letters)
    assert (outcome.findings, len(outcome.loaded)) == (0, len(letters))


async def cohort(house: House, grades: dict[int, str], school: str = A) -> None:
    """Year 11 of a school, with the results of each."""
    told = [one for pupil, mine in grades.items() for one in results(pupil, mine, school=school)]
    await load(house, school, enrolment=in_year_11(*grades, school=school), examination_result=told)


async def score(house: House, **asked: Any) -> Any:
    (figure,) = await figures(house, "progress_8", **YEAR, **asked)
    return figure


# Attainment 8 of EXAMPLE is 58 (see test_attainment). Pupil by pupil, key stage 2, estimate, and the difference:
#   1   101 and 104: 102.5, group 2   40   +18
#   2   100 and 105: 102.5            40   +18
#   3   103 and 103: 103, group 3     55    +3
#   4   99 in reading alone: group 1  30   +28
#   5   120 and 120: group 3          55    +3
#   6   100 and 99: 99.5, group 1     30   +28, but with `maths 1`, 2 points, instead: -28
# Together 18 + 18 + 3 + 28 + 3 - 28 = 42 points, 7 each: +0.70. The margin: 1.96 * 1.25 / root of 6 = 1.0002.
# 7 has no result at key stage 2, 8 a word for one: neither counts.
WORKED = {
    1: ("101", "104"),
    2: ("100", "105"),
    3: ("103", "103"),
    4: ("99", None),
    5: ("120", "120"),
    6: ("100", "99"),
    8: ("N", None),
}


async def test_worked_by_hand(house: House) -> None:
    await load(
        house, PRIMARY, assessment_result=[one for pupil, mine in WORKED.items() for one in ks2(pupil, *mine)]
    )
    await cohort(house, {pupil: "maths 1" if pupil == 6 else EXAMPLE for pupil in range(1, 9)})
    figure = await score(house)
    assert (shown(figure), figure.margin) == ("4200/6 = 0.70", Decimal("1.00"))
    # The primary school has nobody in year 11.
    assert shown(await score(house, units=[PRIMARY])) == "x"


# 1 to 6 with 2 points each, who were to have 40: -3.8, and lower than 0 in every pupil. One of them with a floor of -3: -3.
async def test_below_nought(house: House) -> None:
    pupils = range(1, 7)
    await load(
        house, PRIMARY, assessment_result=[one for pupil in pupils for one in ks2(pupil, "101", "101")]
    )
    await cohort(house, dict.fromkeys(pupils, "maths 1"))
    assert shown(await score(house)) == f"{-3800 * 6}/6 = -3.80"
    floors = estimates(lowest_score="-3", version=2)
    await load(house, DEPARTMENT, progress_estimate=floors)
    assert shown(await score(house)) == f"{-3000 * 6}/6 = -3.00"


# 58 and 38 points where 48 were expected of all, but for one who has 0.1 less: -0.00167 rounds to 0 from below.
async def test_what_rounds_to_nought_from_below_is_low(house: House) -> None:
    pupils = range(1, 7)
    group = [{**estimates()[1], "estimate": "58.01", "version": 2}]
    await load(house, DEPARTMENT, progress_estimate=group)
    await load(
        house, PRIMARY, assessment_result=[one for pupil in pupils for one in ks2(pupil, "101", "101")]
    )
    await cohort(house, dict.fromkeys(pupils, EXAMPLE))
    figure = await score(house)
    assert (figure.symbol, figure.numerator, figure.denominator) == ("low", -6, 6)


# 1 came with the number 50, and has another since; the primary school, which he left, knows only the first. The register of
# learners has found both to be one. 2 had a temporary number at A, which A has corrected. 3 has a copy of the results at A.
async def test_a_pupil_whose_number_changed(house: House) -> None:
    was, temporary = 50, 60
    told = [one for pupil in (was, 2, 3, 4, 5, 6) for one in ks2(pupil, "101", "101")]
    await load(house, PRIMARY, assessment_result=told)
    await cohort(house, dict.fromkeys((1, temporary, 3, 4, 5, 6), EXAMPLE))
    await load(house, A, assessment_result=ks2(3, "101", "101", school=A, valid_from="2021-09-03"))
    assert shown(await score(house)) == "c"  # four have a result
    await house.load(rekeyed(house, temporary, 2))
    assert shown(await score(house)) == "c"  # five
    async with house.connection.transaction():
        await house.connection.execute(
            """
            UPDATE learners.learner SET same_as = later.learner
            FROM learners.identifier AS first, learners.identifier AS later
            WHERE id = first.learner AND first.value = $1 AND later.value = $2
            """,
            upn(was),
            upn(1),
        )
    assert shown(await score(house)) == f"{1800 * 6}/6 = 1.80"


def rekeyed(house: House, old: int, new: int) -> Any:
    pair = {"from": {"school": A, "upn": upn(old)}, "to": {"school": A, "upn": upn(new)}}
    return house.letter(A, "learner", rekeyed={"learner": [pair]})


# The Department tells of the year in October: before, and as known before, there is nothing. It speaks alone.
async def test_there_is_none_before_the_estimates(house: House) -> None:
    withdrawn = [
        {name: one[name] for name in ("academic_year", "prior_group", "valid_from")} for one in estimates()
    ]
    await house.load(
        house.letter(DEPARTMENT, "progress_estimate", [], [{**one, "version": 2} for one in withdrawn])
    )
    pupils = range(1, 7)
    await load(
        house, PRIMARY, assessment_result=[one for pupil in pupils for one in ks2(pupil, "101", "101")]
    )
    await cohort(house, dict.fromkeys(pupils, EXAMPLE))
    assert shown(await score(house)) == "x"
    refused = await house.load(house.letter(A, "progress_estimate", estimates(version=3)))
    assert len(refused.refused) == 1
    await load(house, DEPARTMENT, progress_estimate=estimates(version=3))
    assert shown(await score(house)) == f"{1800 * 6}/6 = 1.80"
