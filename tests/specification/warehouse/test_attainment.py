"""Attainment 8 and six months in year 12, worked by hand. The academic year is 2025/26; results are of May 2026.

The places: mathematics (double), English (the better of language and literature, double where both were taken), three of the
English Baccalaureate, three open ones, in which what is left of English and of the English Baccalaureate counts too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC, Principal
from commonroom.settings import Settings
from commonroom.warehouse import measures, open_reader, own, own_figures
from tests.specification.warehouse.test_measures import A, B, figures, shown
from tests.unit.warehouse.house import DEPARTMENT, House, enrolment, upn

Records = list[dict[str, Any]]
SCHOOLS = [str(990001 + number) for number in range(11)]  # A and B first; one for each case of the places

# subject: qualification, group, how many GCSEs it counts as
QUALIFICATIONS = {
    "maths": ("60146084", "MAT", 1),
    "language": ("60142923", "ENL", 1),
    "literature": ("60144427", "ENT", 1),
    "chemistry": ("60187577", "EBA", 1),
    "physics": ("60187589", "EBA", 1),
    "biology": ("60187590", "EBA", 1),
    "combined": ("60187553", "EBA", 2),
    "history": ("60180973", "EBA", 1),
    "french": ("60180006", "EBA", 1),
    "art": ("60180791", "OPE", 1),
    "food": ("60187504", "OPE", 1),
    "music": ("60187449", "OPE", 1),
    "piano": ("50103459", "NON", 1),
}
POINTS = {**{str(grade): str(grade) for grade in range(1, 10)}, "U": "0", "X": "0", "5-4": "4.5"}


def counted() -> tuple[Records, Records]:
    """What the Department says of qualifications and of grades."""
    told: dict[str, Any] = {"valid_from": "2025-09-01", "version": 1}
    qualifications = [
        {"qualification": number, "title": subject, "performance_group": group, "gcse_size": size, **told}
        for subject, (number, group, size) in QUALIFICATIONS.items()
    ]
    grades = [
        {"qualification": number, "grade": grade, "performance_points": points, **told}
        for number, _, _ in QUALIFICATIONS.values()
        for grade, points in POINTS.items()
    ]
    return qualifications, grades


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-10T12:00+00:00"))
        house = await House(connection, settings, SCHOOLS).open("997")
        await house.register()
        qualifications, grades = counted()
        outcome = await house.load(
            house.letter(DEPARTMENT, "qualification", qualifications),
            house.letter(DEPARTMENT, "qualification_grade", grades),
        )
        assert (outcome.findings, len(outcome.loaded)) == (0, 2)
        yield house


def results(pupil: int, grades: str, day: str = "2026-05-11", school: str = A, **more: Any) -> Records:
    """Results from words such as `maths 6`."""
    words = grades.split()
    return [
        {
            "school": school, "upn": upn(pupil), "qualification": QUALIFICATIONS[subject][0], "exam_date": day,
            "stage": "KS4", "grade": grade, "version": 1, **more,
        }
        for subject, grade in zip(words[::2], words[1::2], strict=True)
    ]  # fmt: skip


def in_year_11(*pupils: int, school: str = A, **more: Any) -> Records:
    return [enrolment(school, pupil, "2021-09-01", nc_year="11", **more) for pupil in pupils]


async def score(house: House, measure: str = "attainment_8", **asked: Any) -> str:
    year = {"first": date(2026, 5, 11), "last": date(2026, 5, 11), "grain": "year", **asked}
    (figure,) = await figures(house, measure, **year)
    return shown(figure)


# 2x6 + 2x7 + (6+5+4) + (7+5+5, where the last 5 is English language in an open place) = 12 + 14 + 15 + 17 = 58.
EXAMPLE = "maths 6 language 5 literature 7 chemistry 6 physics 5 history 4 art 7 food 5 music 3"


async def test_the_worked_example_is_58(house: House) -> None:
    await load(
        house, in_year_11(*range(1, 7)), [one for pupil in range(1, 7) for one in results(pupil, EXAMPLE)]
    )
    # Six pupils alike, since a cohort of fewer is hidden; the numerator is in hundredths.
    assert await score(house) == "34800/6 = 58.0"


#  what is special, the results, what they come to
CASES = [
    ("nothing but mathematics", "maths 9", 18),
    ("English counts double only where both were taken", "language 7", 7),
    ("one of the two ungraded was taken all the same", "language 7 literature U", 14),
    ("the better English whichever it is, the other in an open place", "language 8 literature 6", 16 + 6),
    ("four of the English Baccalaureate: the fourth in an open place", "chemistry 9 physics 8 history 7 french 6", 30),
    ("seven of it: the last has no place", "chemistry 9 physics 9 biology 9 history 2 french 1 combined 5-4", 27 + 9 + 2),
    ("combined science fills two places", "combined 5-4 history 7 french 3", 7 + 9 + 3),
    ("four open ones: three places", "art 9 food 8 music 7 chemistry 1", 24 + 1),
    ("what does not count", "piano 9 maths 1", 2),
    ("no mathematics in an open place, nothing of a grade nobody knows", "maths 3 art P", 6),
    ("ungraded and absent", "maths U language X art 1", 1),
]  # fmt: skip


async def test_places(house: House) -> None:
    six = range(1, 7)
    for school, (_, grades, _) in zip(SCHOOLS, CASES, strict=True):
        told = [one for pupil in six for one in results(pupil, grades, school=school)]
        await load(house, in_year_11(*six, school=school), told, school)
    found = {
        what: await score(house, units=[school]) for school, (what, _, _) in zip(SCHOOLS, CASES, strict=True)
    }
    assert found == {what: f"{600 * points}/6 = {points}.0" for what, _, points in CASES}


# Year 11 has eight: six with 58 points, 7 without any result, 8 who left on 26 June with 2. 9 left in March, 10 is in year
# 10, 11 is a guest: none of these counts, nor what 12, who is in year 11 at B, had at A.
async def test_whose_results_count(house: House) -> None:
    stays = [
        *in_year_11(*range(1, 8)),
        *in_year_11(8, leaving_date="2026-06-26"),
        *in_year_11(9, leaving_date="2026-03-27"),
        enrolment(A, 10, "2021-09-01", nc_year="10"),
        *in_year_11(11, enrolment_status="G"),
    ]
    told = [one for pupil in (*range(1, 7), 9, 10, 11, 12) for one in results(pupil, EXAMPLE)]
    await load(house, stays, [*told, *results(8, "maths 1")])
    await load(house, in_year_11(12, school=B), [], school=B)
    assert await score(house) == "35000/8 = 43.8"
    # B's only pupil has nothing there. With it 9.
    assert await score(house, level="national", units=None) == "35000/9 = 38.9"
    # Nothing is told before the year is over, not even of those who left.
    this_year = {"first": date(2026, 9, 7), "last": date(2026, 9, 7)}
    (figure,) = await figures(house, "attainment_8", grain="year", **this_year)
    assert figure.symbol == "x"


# The first entry counts, 4 in November, not 7 in May; of two on one day the better; of two qualifications with one discount
# code the first. What was sent wrong and corrected counts as corrected, what was taken back not at all.
async def test_what_was_taken_again_counts_once(house: House) -> None:
    told: Records = []
    for pupil in range(1, 7):
        told += results(pupil, "maths 4", "2025-11-03") + results(pupil, "maths 7")
        told += results(pupil, "art 9", "2025-06-02", discount_code="JA2") + results(
            pupil, "food 1", discount_code="JA2"
        )
        told += results(pupil, "history 5", discount_code="0000") + results(
            pupil, "french 5", discount_code="0000"
        )
        told += results(pupil, "music 9")
    await load(house, in_year_11(*range(1, 7)), told)
    assert await score(house) == f"{600 * (8 + 9 + 5 + 5 + 9)}/6 = 36.0"
    corrected = [{**one, "grade": "2", "version": 2} for one in results(1, "music 9")]
    withdrawn = [
        {key: one[key] for key in ("school", "upn", "qualification", "exam_date")} | {"version": 2}
        for one in results(2, "music 9")
    ]
    outcome = await house.load(house.letter(A, "examination_result", corrected, withdrawn))
    assert outcome.findings == 0
    assert await score(house) == f"{600 * 36 - 700 - 900}/6 = 33.3"  # 33.33


async def test_only_the_department_says_what_counts(house: House) -> None:
    qualifications, grades = counted()
    outcome = await house.load(
        house.letter(
            A, "qualification", [{**one, "version": 2, "performance_group": "NON"} for one in qualifications]
        ),
        house.letter("997", "qualification_grade", [{**grades[0], "version": 2}]),
    )
    assert len(outcome.refused) == 2
    told = await house.connection.fetch(
        "SELECT message_text FROM warehouse.finding WHERE rule = 'letter' ORDER BY message_text"
    )
    assert [row["message_text"] for row in told] == [
        "Only the Department speaks of points of a grade.",
        "Only the Department speaks of qualification in performance measures.",
    ]


async def test_a_cohort_of_fewer_than_six_is_hidden(house: House) -> None:
    await load(
        house, in_year_11(*range(1, 6)), [one for pupil in range(1, 6) for one in results(pupil, EXAMPLE)]
    )
    assert await score(house) == "c"


# A has five pupils, B six with 58 points, the third school seven with 2. A is hidden, and so is another, for the authority's
# sum would give A away.
async def test_a_hidden_school_cannot_be_had_from_the_authority(house: House) -> None:
    third = SCHOOLS[2]
    for school, pupils, grades in ((A, 5, "maths 3"), (B, 6, EXAMPLE), (third, 7, "maths 1")):
        mine = range(1, pupils + 1)
        told = [one for pupil in mine for one in results(pupil, grades, school=school)]
        await load(house, in_year_11(*mine, school=school), told, school)
    reader = open_reader(house.settings)
    asked = {
        "measure": "attainment_8",
        "grain": "year",
        "first": date(2026, 5, 11),
        "last": date(2026, 5, 11),
    }
    try:
        schools = await reader.figures(house.connection, PUBLIC, level="school", units=[A, B, third], **asked)
        (authority,) = await reader.figures(
            house.connection, PUBLIC, level="authority", units=["997"], **asked
        )
    finally:
        reader.close()
    found = {figure.unit: shown(figure) for figure in schools}
    assert found[A] == "c"
    assert shown(authority) == f"{5 * 600 + 6 * 5800 + 7 * 200}/18 = 21.8"
    assert "c" in (found[B], found[third])


# The score of A's five is hidden. It is no figure of a week in March, of which the source of the headcount is told.
async def test_what_is_hidden_of_a_year_withholds_nothing_of_its_weeks(house: House) -> None:
    tenth = [enrolment(A, pupil, "2021-09-01", nc_year="10") for pupil in range(6, 16)]
    told = [one for pupil in range(1, 6) for one in results(pupil, EXAMPLE)]
    await load(house, [*in_year_11(*range(1, 6)), *tenth], told)
    reader = open_reader(house.settings)
    withheld = {}
    try:
        for measure, grain in (("headcount", "week"), ("attainment_8", "year")):
            found = await reader.lineage(
                house.connection,
                PUBLIC,
                measure=measure,
                level="school",
                unit=A,
                grain=grain,
                on=date(2026, 3, 11),
            )
            withheld[measure] = bool(found.withheld)
    finally:
        reader.close()
    assert withheld == {"headcount": False, "attainment_8": True}


# A school's own measure reads what the Department says of qualifications, and nothing of B.
async def test_a_school_counts_its_own(house: House) -> None:
    for school, pupils, grades in ((A, 5, "maths 3 art 1"), (B, 6, EXAMPLE)):
        mine = range(1, pupils + 1)
        told = [one for pupil in mine for one in results(pupil, grades, school=school)]
        await load(house, in_year_11(*mine, school=school), told, school)
    who = Principal(kind="person", id="p", role="school", party=house.parties[A])
    text = (measures.FOLDER / "attainment_8.yaml").read_text("utf-8")
    text = text.replace("name: attainment_8", "name: our_score")
    text = text.replace("levels: [school, trust, authority, region, national]", "levels: [school]")
    await own.define(house.connection, who, text)
    day = date(2026, 5, 11)
    answer = await own_figures.figures(
        house.settings, house.duck, house.connection, who, "our_score", grain="year", first=day, last=day
    )
    (figure,) = answer.figures
    assert (figure.unit, figure.numerator, figure.denominator, str(figure.value)) == (A, 3500, 5, "7.0")


# Of twelve pupils six girls have 58 points and six boys 2.
async def test_girls_and_boys(house: House) -> None:
    twelve = range(1, 13)
    told = [one for pupil in twelve for one in results(pupil, EXAMPLE if pupil <= 6 else "maths 1")]
    people = [
        {
            "school": A, "upn": upn(pupil), "given_name": "Robin", "family_name": "Ash", "date_of_birth": "2010-05-01",
            "sex": "F" if pupil <= 6 else "M", "valid_from": "2021-09-01", "version": 1,
        }
        for pupil in twelve
    ]  # fmt: skip
    await load(house, in_year_11(*twelve), told)
    assert not (await house.load(house.letter(A, "learner", people))).findings
    reader = open_reader(house.settings)
    try:
        found = await reader.figures(
            house.connection, PUBLIC, measure="attainment_8", level="school", units=[A], grain="year",
            first=date(2026, 5, 11), last=date(2026, 5, 11), characteristic="sex",
        )  # fmt: skip
    finally:
        reader.close()
    assert {figure.group: shown(figure) for figure in found} == {
        "F": "34800/6 = 58.0",
        "M": "1200/6 = 2.0",
        "unknown": "z",
    }


# On 1 October 2025 eight are in year 12: 1 to 5 stay, 6 leaves on 31 March (the last day on the roll), 7 on 30 March, 8 in
# November. 9 left in September, 10 came in January, 11 is in year 13.
async def test_six_months_in_year_12(house: House) -> None:
    left = {6: "2026-03-31", 7: "2026-03-30", 8: "2025-11-14", 9: "2025-09-19"}
    stays = [
        enrolment(
            A, pupil, "2026-01-05" if pupil == 10 else "2020-09-01", nc_year="13" if pupil == 11 else "12",
            **({"leaving_date": left[pupil]} if pupil in left else {}),
        )
        for pupil in range(1, 12)
    ]  # fmt: skip
    await load(house, stays, [])
    assert await score(house, measure="year_12_six_months") == "6/8 = 75.0"


def test_the_measure_reads_what_it_says() -> None:
    declared = measures.named("attainment_8")
    assert declared.best is not None
    assert [(name, slot.places) for name, slot in declared.best.slots.items()] == [
        ("mathematics", 1), ("english", 1), ("ebacc", 3), ("open", 3),
    ]  # fmt: skip


async def load(house: House, stays: Records, told: Records, school: str = A) -> None:
    letters = [house.letter(school, "enrolment", stays)]
    if told:
        letters.append(house.letter(school, "examination_result", told))
    outcome = await house.load(*letters)
    assert (outcome.findings, len(outcome.loaded)) == (0, len(letters))
