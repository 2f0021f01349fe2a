"""What the code sets hold, in themselves and against the published lists."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from commonroom import standard

CODESETS = standard.load().codesets

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
    table = rows_of(Path(__file__).parent / "code_sets.csv")
    expected = {row["code_set"]: (int(row["codes"]), row["open"] == "open") for row in table}
    assert {name: (len(one.codes), one.open) for name, one in CODESETS.items()} == expected


def test_each_code_set_says_where_it_comes_from() -> None:
    for codeset in CODESETS.values():
        assert codeset.source, codeset.name
        assert codeset.description.endswith("."), codeset.name


def test_code_sets_from_published_lists_are_those_of_the_lists(shared: Path) -> None:
    script = Path(__file__).parents[3] / "scripts" / "code_sets.py"
    facts = shared / "standards" / "files"
    done = subprocess.run(
        [sys.executable, script, facts, "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


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
    real = [code for code in CODESETS["local_authority"].on(date(2025, 9, 1)) if not code.invented]
    assert {(code.code, code.title, code.attributes["region"], code.attributes["ons"]) for code in real} == {
        (row["old_la_code"], row["la_name"], row["region_code"], row["new_la_code"]) for row in published
    }
    assert len(real) == 153


def test_the_two_authorities_of_the_simulated_county_are_marked_as_invented() -> None:
    invented = {code.code: code.title for code in CODESETS["local_authority"].codes if code.invented}
    assert invented == {"997": "Westmarch", "998": "Eastvale"}


# number, name, first and last day
REORGANISED = [
    ("835", "Dorset", None, date(2019, 3, 31)),
    ("838", "Dorset", date(2019, 4, 1), None),
    ("839", "Bournemouth, Christchurch and Poole", date(2019, 4, 1), None),
    ("909", "Cumbria", None, date(2023, 3, 31)),
    ("942", "Cumberland", date(2023, 4, 1), None),
    ("943", "Westmorland and Furness", date(2023, 4, 1), None),
    ("928", "Northamptonshire", None, date(2021, 3, 31)),
    ("940", "North Northamptonshire", date(2021, 4, 1), None),
    ("815", "North Yorkshire", None, None),
]


@pytest.mark.parametrize(("number", "name", "since", "until"), REORGANISED)
def test_an_authority_has_its_number_for_its_days(
    number: str, name: str, since: date | None, until: date | None
) -> None:
    code = CODESETS["local_authority"].by_code[number]
    assert (code.title, code.since, code.until) == (name, since, until)


# day, reason or category, whether an exclusion that began on that day may have it
EXCLUSIONS = [
    ("2020-08-31", "OT", True),
    ("2020-09-01", "OT", False),
    ("2020-08-31", "MT", False),
    ("2020-09-01", "MT", True),
    ("2015-06-01", "DB", True),
    ("2026-08-31", "BW", False),
    ("2026-09-01", "BW", True),
    ("2021-07-31", "FIXD", True),
    ("2021-08-01", "FIXD", False),
    ("2021-07-31", "SUSP", False),
    ("2021-08-01", "SUSP", True),
    ("2015-06-01", "PERM", True),
]


@pytest.mark.parametrize(("day", "code", "allowed"), EXCLUSIONS)
def test_reasons_and_categories_of_exclusion_are_those_of_their_day(
    day: str, code: str, allowed: bool
) -> None:
    codeset = CODESETS["exclusion_category" if len(code) == 4 else "exclusion_reason"]
    assert (code in {one.code for one in codeset.on(date.fromisoformat(day))}) == allowed


def test_the_lists_of_exclusion_reasons_have_the_published_lengths() -> None:
    reasons = CODESETS["exclusion_reason"]
    assert [len(reasons.on(date(year, 10, 1))) for year in (2019, 2020, 2025, 2026)] == [12, 16, 16, 29]


def test_every_extended_ethnicity_leads_to_a_main_one() -> None:
    extended, mains = CODESETS["ethnicity_extended"], CODESETS["ethnicity"].by_code
    assert {code.attributes["main"] for code in extended.codes} == set(mains)
    assert all(extended.by_code[code].attributes["main"] == code for code in mains)


def test_down_syndrome_is_new_in_2026_and_behavioural_difficulties_are_history() -> None:
    types = CODESETS["sen_type"]
    assert {"DS", "SEMH"} <= {code.code for code in types.on(date(2026, 1, 15))}
    assert not {"DS", "BESD"} & {code.code for code in types.on(date(2025, 1, 16))}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cin_sex", "sextype"),
        ("ethnicity", "ethnicitytype"),
        ("disability", "disabilitytype"),
        ("cin_referral_source", "referralsourcetype"),
        ("cin_primary_need", "primaryneedcodetype"),
        ("cin_closure_reason", "reasonforclosuretype"),
        ("cin_abuse_category", "categoryofabusetype"),
        ("cin_assessment_factor", "assessmentfactorstype"),
        ("upn_unknown", "unknownupntype"),
    ],
)
def test_codes_of_children_in_need_are_those_of_the_schema(shared: Path, name: str, kind: str) -> None:
    schema = (shared / "standards" / "files" / "cin" / "xsd" / "CIN_schema_2026.xsd").read_text("utf-8")
    block = schema.split(f'<xs:simpleType name="{kind}">')[1].split("</xs:simpleType>")[0]
    assert set(CODESETS[name].by_code) == set(re.findall(r'enumeration value="([^"]+)"', block))


# Code set and column of the census of 2026 whose codes it must have.
CENSUS = {
    "boarder": "boarder", "class_type": "classtype", "enrolment_status": "enrolstatus", "nc_year": "ncyearactual",
    "sen_provision": "senprovision", "school_phase": "phase", "governance": "governance", "intake": "intake",
    "school_type": "type", "service_child": "servicechild", "young_carer": "youngcarer", "term": "term",
    "previously_looked_after": "plaa", "pupil_premium_basis": "eyppbf", "two_year_old_basis": "fundingbasis",
    "youth_support_agreement": "yssa", "uk_country": "ukcountry", "learner_support_code": "supportcode",
    "ap_setting_type": "apsettingtype", "ap_placement_reason": "placementreason", "ap_admission_reason": "apreason",
    "ap_attendance_pattern": "apattendancepattern", "childcare_type": "typeofchildcare",
    "childcare_provider": "childcareprovider", "childcare_signposting": "childcaresignposting",
    "childcare_places_available": "childcareplacesavailability", "childcare_hours": "childcarebefore8am",
    "childcare_cover": "childcarecovers8amto6pm", "yes_no_unknown": "otherschools", "class_activity": "classactivity",
    "class_key_stage": "keystage", "sen_type": "specialschooltype", "special_school_organisation": "accommodation",
    "exclusion_category": "category", "exclusion_reason": "reason1", "gcse_grade": "mathsgcsehighestpriorattainment",
    "gcse_exemption": "mathsgcsefundingexemption", "year_11_attainment": "mathsgcsepriorattainmentyear11",
    "learning_aim_status": "learningaimstatus", "withdrawal_reason": "learningaimwithdrawalreason",
    "programme_type": "progtype", "work_placement_mode": "wpmode", "learner_monitoring_type": "learnerfamtype",
    "learner_monitoring_code": "learnerfamcode", "sex": "sex", "source_level": "sourcelevel",
    "attendance": "attendancereason",
}  # fmt: skip


@pytest.mark.parametrize(("name", "column"), CENSUS.items())
def test_every_code_of_the_school_census_is_a_code(shared: Path, name: str, column: str) -> None:
    rows = rows_of(shared / "standards" / "files" / "structures" / "school_census_2026_codes.csv")
    codes = {row["code"] for row in rows if row["column"] == column}
    assert codes
    assert codes <= set(CODESETS[name].by_code)


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
