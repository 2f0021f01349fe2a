"""Measures of results, workforce, places and money, worked by hand; see test_measures.py for how to read the tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.settings import Settings
from commonroom.warehouse import combinations, measures, open_reader
from commonroom.warehouse.combinations import worked_out
from tests.specification.warehouse.test_measures import LAST, A, B, figures, load_registers, shown
from tests.unit.warehouse.house import House, enrolment, upn

Records = list[dict[str, Any]]


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-12-31T12:00+00:00"))
        house = await House(connection, settings, [A, B]).open("997")
        await house.register({A: "T1", B: "T1"})
        yield house


async def load(house: House, school: str, **records: Records) -> None:
    letters = [house.letter(school, entity, told) for entity, told in records.items()]
    outcome = await house.load(*letters)
    assert (outcome.findings, len(outcome.loaded)) == (0, len(letters))


async def expect(house: House, expected: dict[str, str], **more: Any) -> None:
    found = {}
    for measure in expected:
        (figure,) = await figures(house, measure, **more)
        found[measure] = shown(figure)
    assert found == expected


def stays(school: str, first: int, last: int, **more: Any) -> Records:
    return [enrolment(school, pupil, "2026-09-01", **more) for pupil in range(first, last + 1)]


def result(
    pupil: int, stage: str, subject: str, method: str, kind: str, value: str, **more: Any
) -> dict[str, Any]:
    return {
        "school": A, "upn": upn(pupil), "stage": stage, "year": 2027, "subject": subject, "method": method,
        "component": subject, "result_qualifier": kind, "result": value, "valid_from": "2026-09-07", "version": 1, **more,
    }  # fmt: skip


# Ten full-time in year 7, five part-time in nursery: 10 + 5/2. Without nursery 10. Of the 15, 4 speak another language
# than English first, 1 has not said; 3 are White British, 7 Asian, of 5 nothing is known.
async def test_pupils_and_what_is_known_of_them(house: House) -> None:
    pupils = [
        {
            "school": A, "upn": upn(pupil), "given_name": "Robin", "family_name": "Ash", "date_of_birth": "2014-05-01",
            "sex": "F", "language": "POL" if pupil <= 4 else "REF" if pupil == 5 else "ENG",
            "valid_from": "2026-09-01", "version": 1,
            **({"ethnicity": "WBRI" if pupil <= 3 else "AIND"} if pupil <= 10 else {}),
        }
        for pupil in range(1, 16)
    ]  # fmt: skip
    nursery = stays(A, 11, 15, nc_year="N2", part_time=True)
    await load(house, A, enrolment=[*stays(A, 1, 10), *nursery], learner=pupils)
    await expect(
        house,
        {
            "headcount": "15",
            "pupils_fte": "12.5",
            "roll": "10",
            "first_language_other": "4/15 = 26.7",
            "minority_ethnic": "7/15 = 46.7",
        },
    )


# The check: pupils 1 to 4 have 32 marks or more, 5 and 6 have 31, 7 was absent, 8 left (and does not count), 9 is in year
# 2 and takes it again.
CHECK = [(1, "32"), (2, "40"), (3, "33"), (4, "32"), (5, "31"), (6, "0"), (7, "A"), (8, "L"), (9, "40")]


async def test_the_phonics_check(house: House) -> None:
    records = [
        result(pupil, "KS1", "PHO", "CH", "NM", value, nc_year="2" if pupil == 9 else "1")
        for pupil, value in CHECK
    ]
    await load(house, A, assessment_result=records)
    await expect(house, {"phonics_standard": "4/7 = 57.1"}, grain="term")
    await expect(house, {"phonics_standard": "4/7 = 57.1"}, grain="year")


#       pupil: reading, mathematics (scaled scores), writing                     expected   higher
KS2 = {
    1: ("100", "100", "EXS"),  # yes
    2: ("120", "115", "GDS"),  # yes        yes
    3: ("110", "110", "GDS"),  # yes        yes
    4: ("112", "110", "GDS"),  # yes        yes
    5: ("99", "104", "EXS"),  # no: reading
    6: ("104", "104", "WTS"),  # no: writing
    7: ("110", "109", "GDS"),  # yes        no: mathematics
    8: ("N", "104", "EXS"),  # no: no score
}


async def test_key_stages_1_and_2(house: House) -> None:
    records = []
    for pupil, (reading, maths, writing) in KS2.items():
        records += [
            result(pupil, "KS2", "REA", "TT", "NS", reading),
            result(pupil, "KS2", "MAT", "TT", "NS", maths),
            result(pupil, "KS2", "WRI", "TA", "NL", writing),
        ]
    # At key stage 1 pupils 21 to 28: four at or above the standard in reading, three in writing, all in mathematics.
    for place, pupil in enumerate(range(21, 29)):
        for subject, at_standard in (("REA", 4), ("WRI", 3), ("MAT", 8)):
            judged = ("EXS" if place else "GDS") if place < at_standard else "WTS"
            records.append(result(pupil, "KS1", subject, "TA", "NL", judged))
    await load(house, A, assessment_result=records)
    await expect(
        house,
        {
            "ks2_expected": "5/8 = 62.5",
            "ks2_higher": "3/8 = 37.5",
            "ks1_reading": "4/8 = 50.0",
            "ks1_writing": "3/8 = 37.5",
            "ks1_maths": "8/8 = 100.0",
        },
        grain="term",
    )


def role(staff: int, code: str, hours: str, full: str = "32.50", **more: Any) -> dict[str, Any]:
    return {
        "employer": A, "staff": f"S{staff}", "contract": "1", "role": code, "start_date": "2026-09-01",
        "hours_per_week": hours, "fte_hours": full, "valid_from": "2026-09-01", "version": 1, **more,
    }  # fmt: skip


# Teachers: 1 + 1 + 0.5 = 2.5; with three assistants of 20 of 37 hours (0.54) 4.12; who has left does not count. 30 pupils.
async def test_workforce_and_pupils_for_each_teacher(house: House) -> None:
    roles = [
        role(1, "HDTR", "32.50"),
        role(2, "TCHR", "32.50"),
        role(3, "TCHR", "16.25"),
        *(role(staff, "TASS", "20.00", "37.00") for staff in (4, 6, 7)),
        role(5, "TCHR", "32.50", end_date="2026-09-08"),
    ]
    away = [
        {
            "employer": A, "staff": f"S{staff}", "first_day": "2026-09-07", "last_day": "2026-09-09", "school": A,
            "working_days_lost": days, "category": why, "version": 1,
        }
        for staff, days, why in ((1, "2.5", "SIC"), (2, "1.0", "SIC"), (3, "3.0", "SIC"), (4, "3.0", "TRN"))
    ]  # fmt: skip
    await load(house, A, role=roles, staff_absence=away, enrolment=stays(A, 1, 30))
    await expect(
        house,
        {
            "teachers_fte": "2.5",
            "workforce_fte": "4.1",
            "support_staff_fte": "1.6",
            "staff_sickness": "6.5",
            "pupil_teacher_ratio": "60/250 = 12.0",  # 30 pupils in halves over 2.5 teachers in hundredths
        },
    )
    reader = open_reader(house.settings)
    try:
        for level, unit in (("school", A), ("trust", "T1"), ("national", "E92000001")):
            origin = await reader.lineage(
                house.connection,
                PUBLIC,
                measure="teachers_fte",
                level=level,
                unit=unit,
                grain="year",
                on=LAST,
            )
            (roles,) = (part for part in origin.parts if part.entity == "role")
            assert [one.messages for one in roles.senders or ()] == [1]
    finally:
        reader.close()


# A has 30 pupils, 2.5 teachers and £90,000, B 20 pupils and neither: the trust has what A has, 12 for each and £3,000.
# Where B has 2 pupils nothing is told of them: neither is the trust's ratio, which would tell them.
@pytest.mark.parametrize(("pupils", "shown_of_trust"), [(20, True), (2, False)])
async def test_a_school_that_has_not_sent_its_staff_makes_no_ratio_higher(
    house: House, pupils: int, shown_of_trust: bool
) -> None:
    spent = {
        "school": A, "financial_year": "2025-26", "line": "E01", "amount": "90000.00", "valid_from": "2026-10-01",
        "version": 1,
    }  # fmt: skip
    roles = [role(1, "HDTR", "32.50"), role(2, "TCHR", "32.50"), role(3, "TCHR", "16.25")]
    await load(house, A, enrolment=stays(A, 1, 30), role=roles, finance_line=[spent])
    await load(house, B, enrolment=stays(B, 31, 30 + pupils))
    of_a = {"pupil_teacher_ratio": "60/250 = 12.0", "spending_per_pupil": "9000000/30 = 3000"}
    await expect(house, of_a, grain="year")
    await expect(house, dict.fromkeys(of_a, "z"), grain="year", units=[B])
    for level, unit in (("trust", "T1"), ("authority", "997"), ("national", "E92000001")):
        of_all = of_a if shown_of_trust else dict.fromkeys(of_a, "c")
        await expect(house, of_all, level=level, units=[unit], grain="year")


# Ten teachers at A are qualified; five at B are not, and that is known of B: 60 pupils in halves and 40 over 10.
async def test_a_school_without_qualified_teachers_counts_and_one_without_staff_does_not(
    house: House,
) -> None:
    roles = [role(one, "TCHR", "32.50") for one in range(1, 11)]
    people = [person(one, True) for one in range(1, 11)]
    await load(house, A, enrolment=stays(A, 1, 30), role=roles, staff_member=people)
    await load(house, B, enrolment=stays(B, 31, 50))
    ratio = "pupil_qualified_teacher_ratio"
    await expect(house, {ratio: "60/1000 = 3.0"}, level="trust", units=["T1"])
    await load(house, B, role=[{**role(one, "TCHR", "32.50"), "employer": B} for one in range(1, 6)])
    await expect(
        house, {ratio: "100/1000 = 5.0", "pupil_teacher_ratio": "100/1500 = 3.3"}, level="trust", units=["T1"]
    )


def person(staff: int, qualified: bool | None, since: str | None = None) -> dict[str, Any]:
    known = {"qualified_teacher": qualified, "qualified_teacher_date": since}
    return {
        "employer": A, "staff": f"S{staff}", "valid_from": "2026-09-01", "version": 1,
        **{name: value for name, value in known.items() if value is not None},
    }  # fmt: skip


# Qualified: 1, 2 and half of 3, 2.5 in all. Without: 4 says so, 5 will be from October, 6 has no record: 1 + 1 + 0.5.
# An assistant who is qualified (7) is no teacher. 30 pupils. 2.5 + 2.5 = 5 teachers.
async def test_pupils_for_each_qualified_teacher(house: House) -> None:
    hours = {1: "32.50", 2: "32.50", 3: "16.25", 4: "32.50", 5: "32.50", 6: "16.25"}
    roles = [role(staff, "TCHR", worked) for staff, worked in hours.items()]
    people = [
        person(1, True, "2010-07-01"), person(2, True), person(3, True, "2026-09-11"), person(4, False),
        person(5, True, "2026-10-01"), person(7, True),
    ]  # fmt: skip
    records = {"role": [*roles, role(7, "TASS", "20.00", "37.00")], "staff_member": people}
    await load(house, A, **records, enrolment=stays(A, 1, 30))
    of_a = {
        "teachers_fte": "5.0",
        "qualified_teachers_fte": "2.5",
        "unqualified_teachers_fte": "2.5",
        "pupil_teacher_ratio": "60/500 = 6.0",
        "pupil_qualified_teacher_ratio": "60/250 = 12.0",
    }
    await expect(house, of_a)
    await expect(house, of_a, level="trust", units=["T1"])
    # In December 5 is qualified too; of the two who are not, nothing is told.
    await expect(
        house,
        {"qualified_teachers_fte": "3.5", "unqualified_teachers_fte": "c"},
        grain="year",
    )


# One of the four teachers is not qualified: neither that one nor how many are is told, though all four are.
async def test_one_teacher_without_the_status_is_not_told_by_subtraction(house: House) -> None:
    staff = range(1, 5)
    await load(
        house,
        A,
        role=[role(one, "TCHR", "32.50") for one in staff],
        staff_member=[person(one, one > 1) for one in staff],
    )
    reader = open_reader(house.settings)
    try:
        found = {}
        for measure in ("teachers_fte", "qualified_teachers_fte", "unqualified_teachers_fte"):
            (figure,) = await reader.figures(
                house.connection, PUBLIC, measure=measure, level="school", grain="week", units=[A],
                first=LAST, last=LAST,
            )  # fmt: skip
            found[measure] = shown(figure)
    finally:
        reader.close()
    assert found == {
        "teachers_fte": "4.0",
        "qualified_teachers_fte": "c",
        "unqualified_teachers_fte": "c",
    }


# A has 40 places and 30 pupils, B 20 and 25. 12 are to join A, 3 to join B.
async def test_places_and_money(house: House) -> None:
    for school, places, pupils, joiners, pounds in ((A, 40, 30, 12, "90000.00"), (B, 20, 25, 3, "10000.50")):
        spent = [
            {"school": school, "financial_year": "2025-26", "line": line, "amount": amount, "valid_from": "2026-10-01",
             "version": 1}
            for line, amount in (("E01", pounds), ("I01", "5000.00"))
        ]  # fmt: skip
        joining = {
            "school": school, "admission_year": "2027/28", "nc_year": "7", "admitted": joiners,
            "valid_from": "2026-10-01", "version": 1,
        }  # fmt: skip
        await load(
            house, school, enrolment=stays(school, 1, pupils), finance_line=spent, admission_number=[joining]
        )
        site = {
            "la": "997",
            "school": school,
            "site": 1,
            "date": "2026-10-01",
            "net_capacity": places,
            "version": 1,
        }
        await load(house, "997", capacity=[site])
    of_a = {
        "capacity": "40", "expected_joiners": "12", "spending": "90000", "unfilled_places": "10", "over_capacity": "0",
        "places_after_joiners": "0", "spending_per_pupil": "9000000/30 = 3000",
    }  # fmt: skip
    of_both = {
        "capacity": "60", "expected_joiners": "15", "spending": "100001", "unfilled_places": "10", "over_capacity": "5",
        "spending_per_pupil": "10000050/55 = 1818",
    }  # fmt: skip
    await expect(house, of_a, grain="year")
    await expect(house, of_both, level="authority", units=["997"], grain="year")
    await expect(house, of_both, level="trust", units=["T1"], grain="year")


# Six pupils get help from Wednesday 9 to Thursday 10 September. Before it, Monday and Tuesday: pupil 1 misses both days, 2
# one session; 24 possible, 19 attended. After it, Friday: pupil 1 misses one of 12. Pupil 7 gets none; pupil 1 gets two.
async def test_attendance_before_and_after_an_intervention(house: House) -> None:
    weeks = {1: "II II // // I/", 2: "I/ // II // //"}
    await load_registers(
        house, A, "\n".join(f"{pupil}: {weeks.get(pupil, '// // // // //')}" for pupil in range(1, 8))
    )
    help_given = [
        {
            "school": A, "upn": upn(pupil), "intervention": kind, "start_date": "2026-09-09", "end_date": "2026-09-10",
            "version": 1,
        }
        for pupil in range(1, 7)
        for kind in (("READING", "MENTORING") if pupil == 1 else ("READING",))
    ]  # fmt: skip
    await load(house, A, intervention=help_given)
    await expect(
        house,
        {
            "attendance_before_intervention": "19/24 = 79.2",
            "attendance_after_intervention": "11/12 = 91.7",
        },
        grain="term",
    )


# Eight left: three to a school whose number is known, one to college, one to work-based learning, two to work, one to
# nobody knows where.
async def test_where_leavers_go(house: House) -> None:
    went = [{"destination": B}] * 3 + [{"destination_kind": kind} for kind in ("FE", "WL", "EM", "EM", "NK")]
    records = [
        {"school": A, "upn": upn(pupil), "leaving_date": "2026-10-01", "version": 1, **where}
        for pupil, where in enumerate(went, 1)
    ]
    await load(house, A, transfer=records)
    await expect(house, {"leavers_to_education": "5/7 = 71.4"}, grain="year")


def test_every_combination_says_what_it_means_and_is_refused_where_it_is_more_than_numbers() -> None:
    for one in combinations.load().values():
        assert min(len(one.title), len(one.meaning), len(one.source)) > 8
        assert set(one.of.values()) <= set(measures.load())
    assert worked_out("max(capacity - roll, 0)", {"capacity": 3, "roll": 5}) == 0
    for text in ("capacity / roll", "min(capacity, 0)", "capacity ** 9", "other", "capacity.real"):
        with pytest.raises(Exception, match="CR-062"):
            worked_out(text, {"capacity": 3, "roll": 5})
