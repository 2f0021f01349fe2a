"""What each figure of pupils is: of stays, needs, results and exclusions. How to read the tables: test_measures.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.specification.warehouse.test_measures import (
    SCHOOLS,
    A,
    B,
    C,
    figures,
    load_registers,
    shown,
)
from tests.unit.warehouse.house import House, enrolment, upn


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-12-31T12:00+00:00"))
        house = await House(connection, settings, SCHOOLS).open()
        await house.register({A: "T1", C: "T1"}, s990003="998")
        yield house


# Pupils 1 to 4 are suspended on Monday, 1 to 3 again on Thursday, 5 at lunchtimes only, 6 to 8 for good on Friday.
EXCLUDED = [
    *((pupil, "2026-09-07", "SUSP") for pupil in (1, 2, 3, 4)),
    *((pupil, "2026-09-10", "SUSP") for pupil in (1, 2, 3)),
    (5, "2026-09-08", "LNCH"),
    *((pupil, "2026-09-11", "PERM") for pupil in (6, 7, 8)),
]
EXCLUSIONS = {"suspensions": "7", "pupils_suspended": "4", "permanent_exclusions": "3"}


async def test_suspensions_pupils_suspended_and_permanent_exclusions(house: House) -> None:
    records = [
        {"school": A, "upn": upn(pupil), "start_date": day, "category": category, "version": 1}
        for pupil, day, category in EXCLUDED
    ]
    outcome = await house.load(house.letter(A, "exclusion", records))
    assert (outcome.findings, len(outcome.loaded)) == (0, 1)
    found = {}
    for measure in EXCLUSIONS:
        (figure,) = await figures(house, measure)
        found[measure] = shown(figure)
    assert found == EXCLUSIONS


GOALS = [("COM", 3), ("PSE", 3), ("PHY", 2), ("LIT", 2), ("MAT", 2)]  # twelve in all
PROFILES = [
    # children, goals below the expected level, result in the world, good level?
    (4, 0, "1", True),  # what is outside the five areas does not matter
    (2, 1, "2", False),
]


async def test_a_good_level_is_the_expected_level_in_all_twelve_goals_of_five_areas(house: House) -> None:
    records = []
    for place, (children, below, world, _) in enumerate(PROFILES):
        for child in range(children):
            results = ["1"] * below + ["2"] * (12 - below)
            goals = [(area, f"E{area[:1]}{number}") for area, count in GOALS for number in range(count)]
            told = [*zip(goals, results, strict=True), (("UTW", "E1"), world)]
            for (area, component), result in told:
                records.append(
                    {
                        "school": A, "upn": upn(10 * place + child), "stage": "EYF", "year": 2027, "subject": area,
                        "method": "TA", "component": component, "result_qualifier": "FD", "result": result,
                        "valid_from": "2026-09-07", "version": 1,
                    }
                )  # fmt: skip
    outcome = await house.load(house.letter(A, "assessment_result", records))
    assert (outcome.findings, len(outcome.loaded)) == (0, 1)
    (figure,) = await figures(house, "good_level_of_development", grain="term")
    assert shown(figure) == "4/6 = 66.7"


# Ten on the roll: 1 to 4 eligible for meals, 5 to 7 with support, 8 to 10 with a plan. 11 is eligible and has left, 12 is
# eligible and a guest.
NEEDS = {"fsm_eligible": "4/10 = 40.0", "sen_support": "3/10 = 30.0", "ehc_plans": "3/10 = 30.0"}


async def test_what_is_known_of_a_pupil_counts_while_the_pupil_is_on_the_roll(house: House) -> None:
    stays = [enrolment(A, pupil, "2026-09-01") for pupil in range(1, 11)]
    stays += [enrolment(A, 11, "2026-09-01", leaving_date="2026-09-08"), enrolment(A, 12, "2026-09-01")]
    stays[-1]["enrolment_status"] = "G"
    needs = {**dict.fromkeys((5, 6, 7), "K"), **dict.fromkeys((8, 9, 10), "E")}
    pupils = [
        {
            "school": A, "upn": upn(pupil), "given_name": "Robin", "family_name": "Ash", "date_of_birth": "2014-05-01",
            "sex": "F", "fsm": pupil in (1, 2, 3, 4, 11, 12), "sen_provision": needs.get(pupil, "N"),
            "valid_from": "2026-09-01", "version": 1,
        }
        for pupil in range(1, 13)
    ]  # fmt: skip
    outcome = await house.load(house.letter(A, "enrolment", stays), house.letter(A, "learner", pupils))
    assert (outcome.findings, len(outcome.loaded)) == (0, 2)
    found = {}
    for measure in NEEDS:
        (figure,) = await figures(house, measure)
        found[measure] = shown(figure)
    assert found == NEEDS


# Twenty on the roll of A. Girls are 1 to 9 and boys 10 to 19, of 20 nothing is known; meals for 1 to 6 and 10 to 13.
# Week's absence: 1 to 4 (girls) and 10 to 12, 14 and 15 (boys) miss the Monday, 13 the Monday morning.
BY_CHARACTERISTIC = [
    ("headcount", "sex", "week", {"F": "9", "M": "10", "unknown": "c"}),
    ("headcount", "fsm", "week", {"eligible": "10", "not_eligible": "9", "unknown": "c"}),
    ("headcount", "year_group", "week", {"7": "20"}),
    ("fsm_eligible", "sex", "week", {"F": "6/9 = 66.7", "M": "4/10 = 40.0", "unknown": "c"}),
    ("absence_overall", "sex", "term", {"F": "8/90 = 8.9", "M": "11/100 = 11.0", "unknown": "c"}),
    ("absence_overall", "sex", "year", {"F": "8/90 = 8.9", "M": "11/100 = 11.0", "unknown": "c"}),
    ("persistent_absence", "sex", "week", {"F": "4/9 = 44.4", "M": "6/10 = 60.0", "unknown": "c"}),
]


async def test_by_characteristic_of_the_pupil(house: House) -> None:
    stays = [enrolment(A, pupil, "2026-09-01") for pupil in range(1, 21)]
    pupils = [
        {
            "school": A, "upn": upn(pupil), "given_name": "Robin", "family_name": "Ash", "date_of_birth": "2014-05-01",
            "sex": "F" if pupil < 10 else "M", "fsm": pupil < 7 or 10 <= pupil < 14, "valid_from": "2026-09-01",
            "version": 1,
        }
        for pupil in range(1, 20)
    ]  # fmt: skip
    await house.load(house.letter(A, "enrolment", stays), house.letter(A, "learner", pupils))
    monday = {**dict.fromkeys((1, 2, 3, 4, 10, 11, 12, 14, 15), "II"), 13: "I/"}
    await load_registers(house, A, "\n".join(f"{p}: {monday.get(p, '//')} // // // //" for p in range(1, 21)))
    for measure, characteristic, grain, expected in BY_CHARACTERISTIC:
        found = await figures(house, measure, grain=grain, characteristic=characteristic)
        told = {f.group: shown(f) for f in found if f.symbol != "z" and shown(f) != "0"}
        assert (measure, characteristic, grain, told) == (measure, characteristic, grain, expected)
    (girls,) = await figures(house, "headcount", characteristic="sex", groups=["F"])
    assert (girls.characteristic, girls.group, shown(girls)) == ("sex", "F", "9")
    sessions = await figures(house, "absence_overall", grain="term", characteristic="session")
    # In the morning 10 of 100 are missed, in the afternoon 9 of 100.
    assert [shown(f) for f in sessions] == ["10/100 = 10.0", "9/100 = 9.0", "z"]
    for measure in ("headcount", "persistent_absence"):
        with pytest.raises(Problem, match="CR-063"):
            await figures(house, measure, characteristic="session")
    for wrong in ({"characteristic": "shoe_size"}, {"characteristic": "sex", "groups": ["X"]}):
        with pytest.raises(Problem, match="CR-063"):
            await figures(house, "headcount", **wrong)
    with pytest.raises(Problem, match="CR-063"):  # sums over days are divided by term and year
        await figures(house, "absence_overall", grain="week", characteristic="sex")


ROLLS = [
    # what the school says of ten pupils                        on the roll on Friday 11 September
    ("on the roll", {}, "10"),
    ("dual, main here", {"enrolment_status": "M"}, "10"),
    ("dual, main elsewhere", {"enrolment_status": "S"}, "0"),
    ("guest", {"enrolment_status": "G"}, "0"),
    ("left on Thursday", {"leaving_date": "2026-09-10"}, "0"),
    ("last day is Friday", {"leaving_date": "2026-09-11"}, "10"),
    ("come on Friday", {"entry_date": "2026-09-11", "valid_from": "2026-09-11"}, "10"),
    ("come on Monday after", {"entry_date": "2026-09-14", "valid_from": "2026-09-14"}, "x"),
]


async def test_headcount_is_of_main_registrations_on_the_last_school_day(house: House) -> None:
    for school, (_, said, _) in zip(SCHOOLS, ROLLS, strict=False):
        records = [{**enrolment(school, pupil, "2026-09-01"), **said} for pupil in range(1, 11)]
        await house.load(house.letter(school, "enrolment", records))
    found = await figures(house, "headcount", units=SCHOOLS[: len(ROLLS)])
    assert [(case, shown(f)) for f, (case, _, _) in zip(found, ROLLS, strict=True)] == [
        (case, expected) for case, _, expected in ROLLS
    ]


async def test_a_headcount_of_one_or_two_is_hidden(house: House) -> None:
    for pupils, school in enumerate((A, B, C), start=1):
        stays = [enrolment(school, n, "2026-09-01") for n in range(1, pupils + 1)]
        await house.load(house.letter(school, "enrolment", stays))
    assert [shown(f) for f in await figures(house, "headcount", units=[A, B, C])] == ["c", "c", "3"]


async def test_headcount_follows_successions_corrections_and_withdrawals(house: House) -> None:
    pupils = range(1, 11)
    await house.load(house.letter(A, "enrolment", [enrolment(A, n, "2026-09-01") for n in pupils]))
    # From 9 September the first three are subsidiary; the fourth's stay was an error; the fifth left on the 8th.
    subsidiary = [
        {**enrolment(A, n, "2026-09-01", version=2), "valid_from": "2026-09-09", "enrolment_status": "S"}
        for n in (1, 2, 3)
    ]
    left = enrolment(A, 5, "2026-09-01", version=2, leaving_date="2026-09-08")
    fourth = {
        name: enrolment(A, 4, "2026-09-01")[name] for name in ("school", "upn", "entry_date", "valid_from")
    }
    await house.load(house.letter(A, "enrolment", [*subsidiary, left], [{**fourth, "version": 2}]))
    found = {f.period_label: shown(f) for f in await figures(house, "headcount", grain="day")}
    assert found == {
        "2026-09-07": "9",
        "2026-09-08": "9",
        "2026-09-09": "5",
        "2026-09-10": "5",
        "2026-09-11": "5",
    }


async def test_of_an_unfinished_week_the_roll_is_taken_on_the_last_school_day_that_has_come(
    house: House,
) -> None:
    stays = [enrolment(A, n, "2026-09-01", leaving_date="2026-09-09") for n in range(1, 11)]
    await house.load(house.letter(A, "enrolment", stays))
    await clock.set_to(house.connection, house.settings, datetime.fromisoformat("2026-09-09T12:00+00:00"))
    assert [shown(figure) for figure in await figures(house, "headcount")] == ["10"]
    await clock.set_to(house.connection, house.settings, datetime.fromisoformat("2026-09-10T12:00+00:00"))
    assert [shown(figure) for figure in await figures(house, "headcount")] == ["0"]
