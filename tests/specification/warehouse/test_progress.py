"""Progress 8, worked by hand. The academic year is 2025/26; results at key stage 2 are of July 2021, at a primary school.

A pupil's score is the Attainment 8 less what pupils with the same results at key stage 2 reach on average, divided by ten.
The estimates here are invented: 40 points in the group of 100 to 102.5, 30 below it, 55 above.
"""

from __future__ import annotations

import asyncio
import csv
import io
import random
from collections.abc import AsyncIterator
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from commonroom.engines import clock
from commonroom.identity import PUBLIC, Principal
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import measures, open_reader, own
from commonroom.warehouse.commands import app
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
# 7 has no result at key stage 2, 8 a word for one, 9 what she was to have: none of them counts.
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
    target = ks2(9, "110", "110", result_status="T")
    await load(house, PRIMARY, assessment_result=target)
    await cohort(house, {pupil: "maths 1" if pupil == 6 else EXAMPLE for pupil in range(1, 10)})
    figure = await score(house)
    assert (shown(figure), figure.margin) == ("4200/6 = 0.70", Decimal("1.00"))
    # The primary school has nobody in year 11.
    assert shown(await score(house, units=[PRIMARY])) == "x"


async def test_sixty_pupils_as_plain_arithmetic_has_them(house: House) -> None:
    """Scores in both subjects, in one or in none, at one school, at two or at three, with a floor in one group."""
    chance = random.Random(8)
    floors = [
        {**one, "lowest_score": "-2.75" if one["prior_group"] == 3 else None, "version": 2}
        for one in estimates()
    ]
    await load(house, DEPARTMENT, progress_estimate=floors)
    told: dict[str, Records] = {PRIMARY: [], FOURTH: [], A: []}
    grades, total, counted_pupils = {}, 0, 0
    for pupil in range(1, 61):
        grade = chance.randint(1, 9)
        grades[pupil] = f"maths {grade}"
        scores = [chance.choice([None, "N", *map(str, range(80, 121, 5))]) for _ in ("REA", "MAT")]
        for school in chance.sample(list(told), chance.randint(1, 3)):
            told[school] += ks2(pupil, *scores, school=school)
        known = [int(one) for one in scores if one is not None and one != "N"]
        if known:
            prior = Fraction(sum(known), len(known))
            expected, floor = (
                (30, -90)
                if prior <= Fraction(199, 2)
                else (40, -90)
                if prior < 103
                else (55, Fraction(-55, 2))
            )
            total += max(2 * grade - expected, floor)
            counted_pupils += 1
    for school, mine in told.items():
        await load(house, school, assessment_result=mine)
    await cohort(house, grades)
    figure = await score(house)
    assert 30 < counted_pupils < 60
    assert (figure.numerator, figure.denominator) == (100 * total, counted_pupils)


def test_points_are_those_of_attainment_8() -> None:
    one, other = measures.named("progress_8"), measures.named("attainment_8")
    assert (one.each, one.best, one.each_beside) == (other.each, other.best, other.each_beside)


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


# A has five pupils, B six, FOURTH seven: A is small, and whoever knows the authority's and one other's would know it.
async def test_hidden_scores_are_not_had_from_the_authority(house: House) -> None:
    for school, pupils, grades in (
        (A, range(1, 6), "maths 1"),
        (B, range(6, 12), EXAMPLE),
        (FOURTH, range(12, 19), "maths 1"),
    ):
        told = [one for pupil in pupils for one in ks2(pupil, "101", "101")]
        await load(house, PRIMARY, assessment_result=told)
        await cohort(house, dict.fromkeys(pupils, grades), school)
    asked = {"measure": "progress_8", **YEAR}
    reader = open_reader(house.settings)
    try:
        schools = await reader.figures(
            house.connection, PUBLIC, level="school", units=[A, B, FOURTH], **asked
        )
        (authority,) = await reader.figures(
            house.connection, PUBLIC, level="authority", units=["997"], **asked
        )
        by_sex = await reader.figures(
            house.connection, PUBLIC, level="school", units=[A, B], characteristic="sex", **asked
        )
        lineage = await reader.lineage(
            house.connection,
            PUBLIC,
            measure="progress_8",
            level="school",
            unit=A,
            grain="year",
            on=YEAR["first"],
        )
    finally:
        reader.close()
    found = {figure.unit: shown(figure) for figure in schools}
    # -3.8 of twelve, +1.8 of six: -34.8 of 18.
    assert shown(authority) == f"{-3800 * 12 + 1800 * 6}/18 = -1.93"
    assert found[A] == "c"
    assert "c" in (found[B], found[FOURTH])
    assert {figure.group: shown(figure) for figure in by_sex if figure.unit == A}["F"] == "c"
    assert lineage.withheld


# Six of A's pupils are from PRIMARY: that a figure of A is made of what PRIMARY sent, nobody is told, nor PRIMARY itself.
async def test_where_pupils_came_from_is_not_told(house: House) -> None:
    pupils = range(1, 7)
    told = [one for pupil in pupils for one in ks2(pupil, "101", "101")]
    await load(house, PRIMARY, assessment_result=told)
    await cohort(house, dict.fromkeys(pupils, EXAMPLE))
    primary = Principal(kind="person", id="p", role="school", party=house.parties[PRIMARY])
    reader = open_reader(house.settings)
    try:
        for who in (PUBLIC, primary):
            found = await reader.lineage(
                house.connection, who, measure="progress_8", level="school", unit=A, grain="year", on=YEAR["first"],
                rows=100,
            )  # fmt: skip
            assert (shown(found.figure), found.withheld) == (f"{1800 * 6}/6 = 1.80", "")
            parts = {part.entity: part for part in found.parts}
            results = parts["assessment_result"]
            assert (results.senders, results.rows, results.messages, results.shown) == (None, None, None, ())
            assert [one.sender for one in parts["enrolment"].senders or ()] == [house.parties[A]]
            assert [one.sender for one in parts["progress_estimate"].senders or ()] == [DEPARTMENT]
    finally:
        reader.close()


async def test_the_same_reader_learns_who_is_one_learner(house: House) -> None:
    """And of whom a clerk has parted again nothing stays."""
    pupils = range(1, 7)
    told = [one for pupil in (50, 2, 3, 4, 5, 6) for one in ks2(pupil, "101", "101")]
    await load(house, PRIMARY, assessment_result=told)
    await cohort(house, dict.fromkeys(pupils, EXAMPLE))
    same = """
        UPDATE learners.learner SET same_as = (SELECT learner FROM learners.identifier WHERE value = $2)
        WHERE id = (SELECT learner FROM learners.identifier WHERE value = $1)
    """
    reader = open_reader(house.settings)
    found = []
    try:
        for now in (None, upn(1), None):
            await house.connection.execute(same, upn(50), now)
            (figure,) = await reader.figures(
                house.connection, PUBLIC, measure="progress_8", level="school", units=[A], **YEAR
            )
            found.append(shown(figure))
    finally:
        reader.close()
    assert found == ["c", f"{1800 * 6}/6 = 1.80", "c"]


async def test_an_organisation_declares_none_of_its_own(house: House) -> None:
    text = (measures.FOLDER / "progress_8.yaml").read_text("utf-8")
    text = text.replace("name: progress_8", "name: our_progress")
    text = text.replace("levels: [school, trust, authority, region, national]", "levels: [school]")
    who = Principal(kind="person", id="p", role="school", party=house.parties[A])
    with pytest.raises(Problem, match=r"CR-286.*what other bodies say of your pupils"):
        await own.define(house.connection, who, text)


FAULTS = {
    'lowest: "-9000"': ('lowest: "9000"', "below 0"),
    "denominator: count(at_end > 0 and estimates == 1)": (
        "denominator: count(at_end > 0)",
        "counts the population",
    ),
    "units_below: 6": ("numerator_below: 3", "hides by its units alone"),
    "entity: progress_estimate": ("entity: enrolment", "that the Department speaks of"),
    "estimates: count(": ("language: count(", "have the name language"),
    "    academic_year == academic_year(on)": ("    no_such == 1", "there is no `no_such`"),
}


@pytest.mark.parametrize("right", FAULTS)
def test_a_faulty_declaration_is_refused(right: str, tmp_path: Path) -> None:
    wrong, told = FAULTS[right]
    text = (measures.FOLDER / "progress_8.yaml").read_text("utf-8")
    assert right in text
    (tmp_path / "progress_8.yaml").write_text(text.replace(right, wrong), "utf-8")
    with pytest.raises(Problem, match=told) as raised:
        measures.load(tmp_path)
    assert raised.value.code == "CR-062"


async def test_the_command_prints_the_margin(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pupils = range(1, 7)
    told = [one for pupil in pupils for one in ks2(pupil, "101", "101")]
    await load(house, PRIMARY, assessment_result=told)
    await cohort(house, dict.fromkeys(pupils, EXAMPLE))
    monkeypatch.setenv("COMMONROOM_DATABASE", str(house.settings.database))
    monkeypatch.setenv("COMMONROOM_DATA", str(house.settings.data))

    def run(*more: str) -> str:
        asked = ["measure", "progress_8", "--by", "school", "--unit", A, "--on", "2026-05-11", *more]
        done = CliRunner().invoke(app, asked, catch_exceptions=False, env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        return done.stdout

    def every_way() -> tuple[str, str, str]:
        run("--format", "parquet", "--output", str(tmp_path / "scores.parquet"))
        return run(), run("--format", "csv"), run("--format", "json")

    table, text, json = await asyncio.to_thread(every_way)
    assert "1.00" in table
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["value"], row["margin"]) == ("1.80", "1.00")
    assert msgspec.json.decode(json)[0]["margin"] == "1.00"
    (stored,) = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert (stored["value"], stored["margin"]) == (Decimal("1.80"), Decimal("1.00"))
