"""What the code sets hold, in themselves and against the published lists."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import pytest

from commonroom import standard

CODESETS = standard.load().codesets

SIZES = {
    "attendance": 38,
    "attendance_session": 2,
    "cin_gender_current": 4,
    "cin_sex": 3,
    "enrolment_status": 7,
    "establishment_phase": 8,
    "ethnicity": 20,
    "language": 319,
    "leaving_reason": 16,
    "local_authority": 155,
    "nc_year": 21,
    "organisation_kind": 4,
    "region": 9,
    "school_phase": 10,
    "sen_provision": 6,
    "sex": 2,
    "upn_authority": 197,
}

# The table of categories of the 2024/25 list.
ATTENDANCE = {
    "present": "/ \\ L",
    "approved_activity": "K V P W B",
    "authorised_absence": "C C1 C2 E I J1 M R S T",
    "unauthorised_absence": "G N O U",
    "not_possible": "D X Q Y1 Y2 Y3 Y4 Y5 Y6 Y7 Z #",
}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_code_set_has_the_number_of_codes_it_should() -> None:
    assert {name: len(codeset.codes) for name, codeset in CODESETS.items()} == SIZES


def test_each_attendance_code_in_use_today_counts_in_its_category() -> None:
    today = CODESETS["attendance"].on(date(2025, 9, 1))
    found = {
        category: {code.code for code in today if code.attributes["category"] == category}
        for category in ATTENDANCE
    }
    assert found == {category: set(codes.split()) for category, codes in ATTENDANCE.items()}


def test_only_sessions_outside_the_last_category_are_possible_ones() -> None:
    for code in CODESETS["attendance"].codes:
        assert (code.attributes["possible"] == "false") == (code.attributes["category"] == "not_possible")


def test_codes_with_one_attribute_are_found_across_the_change_of_list() -> None:
    attendance = CODESETS["attendance"]
    assert set(attendance.with_attribute("category", "unauthorised_absence")) == set("GNOU")
    assert {"H", "F", "I"} <= set(attendance.with_attribute("category", "authorised_absence"))
    with pytest.raises(KeyError, match="no attribute colour"):
        attendance.with_attribute("colour", "red")


@pytest.mark.parametrize(
    ("file", "day"),
    [("attendance_codes_2024_25.csv", date(2024, 9, 4)), ("attendance_codes_pre_2024.csv", date(2012, 9, 4))],
)
def test_the_attendance_codes_of_a_day_are_those_of_the_published_list(
    shared: Path, file: str, day: date
) -> None:
    published = rows_of(shared / "standards" / "files" / "codesets" / file)
    ours = {code.code: code.attributes["possible"] for code in CODESETS["attendance"].on(day)}
    assert ours == {row["code"]: {"Y": "true", "N": "false"}[row["possible_session"]] for row in published}


def test_languages_and_authorities_are_those_of_the_published_lists(shared: Path) -> None:
    files = shared / "standards" / "files"
    languages = {row["code"]: row["name"] for row in rows_of(files / "codesets" / "language_319.csv")}
    assert {code.code: code.title for code in CODESETS["language"].codes} == languages
    published = rows_of(files / "la_codes" / "la_current_153.csv")
    real = [code for code in CODESETS["local_authority"].codes if not code.invented]
    assert {(code.code, code.title, code.attributes["region"], code.attributes["ons"]) for code in real} == {
        (row["old_la_code"], row["la_name"], row["region_code"], row["new_la_code"]) for row in published
    }
    assert len(real) == 153


def test_the_two_authorities_of_the_simulated_county_are_marked_as_invented() -> None:
    invented = {code.code: code.title for code in CODESETS["local_authority"].codes if code.invented}
    assert invented == {"997": "Westmarch", "998": "Eastvale"}


def test_every_authority_lies_in_a_region() -> None:
    regions = set(CODESETS["region"].by_code)
    assert {code.attributes["region"] for code in CODESETS["local_authority"].codes} == regions


def test_every_school_phase_leads_to_one_the_register_knows() -> None:
    phases = {code.attributes["register"] for code in CODESETS["school_phase"].codes}
    assert phases <= set(CODESETS["establishment_phase"].by_code)


def test_expected_ages_rise_by_one_with_each_year_group() -> None:
    ages = {code.code: code.attributes["age"] for code in CODESETS["nc_year"].codes}
    assert [ages[year] for year in ["N1", "N2", "R", *map(str, range(1, 15))]] == [
        str(age) for age in range(2, 19)
    ]


def test_headcounts_take_single_and_main_registrations() -> None:
    assert CODESETS["enrolment_status"].with_attribute("counted", "true") == ("C", "M")
