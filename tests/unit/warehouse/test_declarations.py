"""Measures as declared: what the language refuses, and rounding that is exact."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import duckdb
import ibis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonroom import standard
from commonroom.problems import Problem
from commonroom.warehouse import combinations, load_measures, measures
from commonroom.warehouse.disclosure import percent
from commonroom.warehouse.expressions import Expression

COLUMNS = ibis.table({"code": "string", "missed": "int64", "possible": "int64"}, name="t")
CODESETS = {"code": standard.load().codesets["attendance"]}

REFUSED = [
    "sum(__import__('os').system('true'))",
    "missed.__class__",
    "missed[0]",
    "lambda: 1",
    "sum(missed, possible)",
    "sum(*missed)",
    "average(missed)",
    "count(missed)",
    "missed / possible",
    "hundredths(missed + possible)",
    "hundredths()",
    "days_before(missed)",
    "days_before(missed, possible)",
    "days_before(missed, True)",
    "academic_year(missed)",
    "next_academic_year(missed, possible)",
    "next_academic_year()",
    "missed if possible",
    "missed ** 9",
    "0 < missed < 10",
    "missed is possible",
    "missed in possible",
    "1.5 * missed",
    "True",
    "unknown + 1",
    "code.colour == 'red'",
    "code.category == 'no such'",
    "code.category > 'a'",
    "missed.category == 'present'",
    "f'{missed}'",
    "missed :=",
    "",
    "(" * 400,
    "missed + " * 100 + "missed",
]


@pytest.mark.parametrize(
    ("day", "this", "following"),
    [
        ("2026-08-31", "2025/26", "2026/27"),
        ("2026-09-01", "2026/27", "2027/28"),
        ("2099-01-01", "2098/99", "2099/00"),
        ("2108-12-31", "2108/09", "2109/10"),
    ],
)
def test_a_day_is_in_an_academic_year(day: str, this: str, following: str) -> None:
    days = ibis.table({"day": "date"}, name="days")
    names = {
        name: Expression(f"{name}(day)", "here").compile(days)
        for name in ("academic_year", "next_academic_year")
    }
    asked = f"WITH days AS (SELECT DATE '{day}' AS day) {ibis.to_sql(days.select(**names), dialect='duckdb')}"
    assert duckdb.connect().execute(asked).fetchall() == [(this, following)]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:30] or "nothing")
def test_what_the_language_has_not_is_refused_and_the_place_is_named(text: str) -> None:
    with pytest.raises(Problem, match=r"CR-062 measures/x\.yaml: "):
        Expression(text, "measures/x.yaml").compile(COLUMNS, None, CODESETS)


@pytest.mark.parametrize("name", sorted(load_measures()))
def test_every_measure_says_what_it_means_and_whose_definition_it_is(name: str) -> None:
    measure = load_measures()[name]
    assert min(len(measure.title), len(measure.meaning), len(measure.source)) > 8


FAULTS = {
    "name: headcount": ("name: other", "CR-062"),
    "entity: enrolment": ("entity: dinner", "CR-062"),
    "unit: [school, upn]": ("unit: [upn]", "CR-062"),
    "shown_as: count": ("shown_as: percent", "CR-062"),
    "grains: [day, week, term, year]": (
        "grains: [decade]",
        r"CR-001 .*headcount\.yaml, line \d+, key grains",
    ),
    "count(on_roll > 0)": ("count(on_rol > 0)", "CR-062 measure headcount, numerator"),
    "levels:": ("leevels:", "CR-001"),
    "taken: on the last school day": (
        'taken: over the period\nhas_ended: "true"',
        "`has_ended` is of a state",
    ),
}


@pytest.mark.parametrize("right", FAULTS)
def test_a_faulty_declaration_is_refused_before_anything_is_computed(right: str, tmp_path: Path) -> None:
    wrong, told = FAULTS[right]
    text = (measures.FOLDER / "headcount.yaml").read_text("utf-8")
    assert right in text
    (tmp_path / "headcount.yaml").write_text(text.replace(right, wrong), "utf-8")
    with pytest.raises(Problem, match=told):
        measures.load(tmp_path)


FAULTS_OF_PLACES = {
    "beside: examination_result": ("beside: learner", "looks_up"),
    "looks_up: [qualification,": ("looks_up: [enrolment,", "looks_up"),
    "looks_up: [qualification, qualification_grade]": (
        "looks_up: [qualification_grade]",
        "there is no `performance_group`",
    ),
    'places: "3"}\n    # What': ('places: "0"}\n    # What', "slots with places"),
    "twice: gcse_size >= 2": ("twice: sizes >= 2", "best twice"),
    'once: "qualification if': ('once: "no_such if', "best once"),
}


@pytest.mark.parametrize("right", FAULTS_OF_PLACES)
def test_a_faulty_declaration_of_places_is_refused(right: str, tmp_path: Path) -> None:
    wrong, told = FAULTS_OF_PLACES[right]
    text = (measures.FOLDER / "attainment_8.yaml").read_text("utf-8")
    assert right in text
    (tmp_path / "attainment_8.yaml").write_text(text.replace(right, wrong), "utf-8")
    with pytest.raises(Problem, match=told) as raised:
        measures.load(tmp_path)
    assert raised.value.code == "CR-062"


FAULTS_OF_AUTHORITIES = {
    "levels: [authority,": ("levels: [school, authority,", "of no school"),
    "grains: [year]": ("grains: [term, year]", "years alone"),
}
FAULTS_OF_COMBINATIONS = {
    "by: year_group": ("by: sex", "CR-063"),
    "by: year_group\n": ("by: no_such\n", "CR-063"),
    "shown_as: count": ("shown_as: ratio", "of one measure over another"),
    "pupils: headcount": ("pupils: capacity", "have not all its grains"),
}


@pytest.mark.parametrize("right", FAULTS_OF_AUTHORITIES)
def test_a_faulty_declaration_of_an_authoritys_facts_is_refused(right: str, tmp_path: Path) -> None:
    wrong, told = FAULTS_OF_AUTHORITIES[right]
    text = (measures.FOLDER / "children_in_need.yaml").read_text("utf-8")
    assert right in text
    (tmp_path / "children_in_need.yaml").write_text(text.replace(right, wrong), "utf-8")
    with pytest.raises(Problem, match=told):
        measures.load(tmp_path)


@pytest.mark.parametrize("right", FAULTS_OF_COMBINATIONS)
def test_a_faulty_combination_is_refused(right: str, tmp_path: Path) -> None:
    wrong, told = FAULTS_OF_COMBINATIONS[right]
    text = (combinations.FOLDER / "places_left.yaml").read_text("utf-8")
    assert right in text
    (tmp_path / "places_left.yaml").write_text(text.replace(right, wrong), "utf-8")
    with pytest.raises(Problem, match=told):
        combinations.load(tmp_path)


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.integers(0, 3))
def test_percentages_are_rounded_half_up_once_and_exactly(
    numerator: int, denominator: int, decimals: int
) -> None:
    exact = Fraction(100 * numerator * 10**decimals, denominator)
    expected = Fraction(math.floor(exact + Fraction(1, 2)), 10**decimals)
    shown = percent(numerator, denominator, decimals)
    assert Fraction(shown) == expected
    assert -int(shown.as_tuple().exponent) == decimals


@pytest.mark.parametrize(
    ("numerator", "denominator", "shown"),
    [(1, 8, "13"), (45, 1000, "5"), (1, 200, "1"), (2, 3, "67"), (0, 7, "0")],
)
def test_a_half_goes_up_and_never_to_the_even_number(numerator: int, denominator: int, shown: str) -> None:
    assert str(percent(numerator, denominator, 0)) == shown


# A cohort that differs from another's by one would tell of whom.
def test_the_measures_of_the_end_of_a_key_stage_are_of_the_same_pupils() -> None:
    known = measures.load()
    cohorts = {
        name: (one.entity, one.taken, one.unit, one.has_ended, one.each["at_end"])
        for name in ("attainment_8", "progress_8", "ks4_leavers", "ks5_leavers")
        for one in [known[name]]
    }
    assert cohorts["attainment_8"] == cohorts["progress_8"] == cohorts["ks4_leavers"]
    *rest, at_end = cohorts["ks5_leavers"]
    assert (*rest, at_end.replace("'13'", "'11'")) == cohorts["ks4_leavers"]
