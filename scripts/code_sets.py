"""Writes the code sets that come whole from published lists: `python scripts/code_sets.py FACTS [--check]`.

FACTS is a folder with the lists as they were gathered: `codesets/small_codes.csv`, `cbds/cbds2013_codesets.json` and
so on. With `--check` nothing is written; the command ends with status 1 and names the files that differ. Code sets that
this script does not name are kept by hand.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from code_set_sources import (
    Recipe,
    Row,
    authorities,
    cbds,
    census_codes,
    countries,
    ethnicities,
    exclusion_categories,
    exclusion_reasons,
    finance_lines,
    of_schema,
    return_statuses,
    small,
    subjects,
)

FOLDER = Path(__file__).resolve().parent.parent / "src" / "commonroom" / "standard" / "codesets"
RECOLLECTED = "The meaning is recollected, not sourced."
NOT_PUBLISHED = "The meaning is not published."
_GRADES = {grade: f"Grade {grade}" for grade in ("A*", *"ABCDEFG", *"987654321")} | {
    "U": "Ungraded", "NR": "No result"
}  # fmt: skip


_AIM_STATUSES = {"1": "Goes on", "2": "Completed", "3": "Withdrawn", "4": "Changed to another aim"}


def recipes() -> list[Recipe]:
    """Every code set that comes from a published list."""
    census = "School census 2026"
    return [
        Recipe("boarder", "Boarder", "Whether a pupil boards, and how many nights a week.",
               "CBDS 2013 D00019; School census 2026", small("boarder")),
        Recipe("sen_type", "Type of special educational need",
               "Kinds of need. Behavioural difficulties became social, emotional and mental health in 2014; Down "
               "syndrome was added in 2026.",
               "CBDS list of May 2026; statistics dictionary of the Department",
               small("sen_type", since={"SEMH": "2014-09-01", "DS": "2026-01-01"}, until={"BESD": "2014-08-31"},
                     titles={"DS": "Down syndrome", "SEMH": "Social, emotional and mental health",
                             "BESD": "Behaviour, emotional and social difficulties"})),
        Recipe("class_type", "Type of class", "Whether a class is a nursery class.", "CBDS 2013 D00094",
               small("class_type")),
        Recipe("term", "Term", "Terms of a year, of three or of six.", "CBDS 2013 D00084", small("term")),
        Recipe("source_level", "School or authority", "Who makes a return or a contract.", "CBDS 2013 D00085",
               small("source_level")),
        Recipe("governance", "Governance", "Who governs a school.",
               "CBDS 2013 D00070; School census 2026", small("governance")),
        Recipe("intake", "Intake", "How a school chooses its pupils. SEL3 is technical and SEL4 religious.",
               "School census 2026; names CBDS 2013 D00069",
               small("intake", titles={"HOSP": "Hospital"})),
        Recipe("school_type", "Type of school", "Types of school by the list of the census.",
               "CBDS 2013 D00208; School census 2026",
               lambda facts: [*small("school_type")(facts),
                              Row("55", "Type 55", note="In the census of 2026; its name is not published.")]),
        Recipe("service_child", "Service child", "Whether a parent serves in the regular armed forces.",
               "CBDS 2013 D00016", small("service_child")),
        Recipe("young_carer", "Young carer", "Whether a pupil cares for a relative, and who said so.",
               census, small("young_carer")),
        Recipe("previously_looked_after", "Previously looked after",
               "By which order a pupil left care.", "School census 2026; CBDS 2013 D00219",
               small("plaa", titles={"G": "Ceased to be looked after through a special guardianship order",
                                     "R": "Ceased to be looked after through a residence order",
                                     "C": "Ceased to be looked after through a child arrangements order"})),
        Recipe("pupil_premium_basis", "Basis of the early years pupil premium", "Ground of the premium.",
               census, small("eyppbf", note=RECOLLECTED)),
        Recipe("two_year_old_basis", "Ground of a two-year-old's funding", "Grounds of funded hours at two.",
               census, small("funding_basis_2yo", note=RECOLLECTED)),
        Recipe("youth_support_agreement", "Youth support agreement",
               "Whether data may go to youth support services.", "CBDS 2013 D00010; School census 2026",
               small("yssa")),
        Recipe("uk_country", "Country of the United Kingdom", "The four countries.", "CBDS 2013 D00210",
               small("fsm_uk_country")),
        Recipe("learner_support_code", "Financial support of a learner",
               "Kinds of support. The census asks for 55 and 56 only.", "CBDS 2013 D00209", cbds("D00209")),
        Recipe("ap_setting_type", "Type of alternative provision setting",
               "Where a school places a pupil.", census, small("ap_setting_type", note=RECOLLECTED)),
        Recipe("ap_placement_reason", "Why a school places a pupil", "Reasons of placements by schools.",
               census, small("ap_placement_reason_school", note=RECOLLECTED)),
        Recipe("ap_admission_reason", "Why a pupil came to alternative provision",
               "Reasons of admissions and of placements by authorities.", census,
               small("ap_reason_la", note=RECOLLECTED)),
        Recipe("ap_type", "Type of alternative provision", "Kinds of place an authority pays.",
               "CBDS 2013 D00193", cbds("D00193")),
        Recipe("ap_attendance_pattern", "Attendance pattern", "Full-time or part-time.", census,
               census_codes("apattendancepattern", {"FT": "Full-time", "PT": "Part-time"}, RECOLLECTED)),
        Recipe("upn_unknown", "Why there is no UPN", "Reasons why a child in need has no UPN.",
               "CBDS 2013 D00189; CIN XSD 2026", small("upn_unknown")),
        Recipe("language_type", "Type of language", "What a language is used for.", "CBDS 2013 D00207",
               cbds("D00207")),
        Recipe("contact_relationship", "Relationship of a contact", "What a contact is to a pupil.",
               "CBDS 2013 D00033", small("contact_relationship")),
        Recipe("telephone_type", "Type of telephone", "What a telephone number is.", "CBDS 2013 D00026",
               small("telephone_type")),
        Recipe("phonics_outcome", "Outcome of the phonics check",
               "Results beside the mark, from 0 to 40.", "Methodology of the phonics statistics",
               small("phonics_outcome")),
        Recipe("ks2_teacher_assessment", "Teacher assessment at key stage 2", "Judgements of teachers.",
               "Pages of tools for national curriculum assessments; the letters are recollected", small("ks2_ta")),
        Recipe("eyfsp_result", "Result of the early years profile", "Judgements of each early learning goal.",
               "Codes of the CTF; the meanings are recollected", small("eyfsp_result")),
        Recipe("exclusion_category", "Category of exclusion",
               "Suspension, lunchtime or permanent. A suspension was called a fixed period exclusion until July 2021.",
               "CBDS 2013 D00180; School census 2026; census rule 2275", exclusion_categories),
        Recipe("exclusion_reason", "Reason of exclusion",
               "Reasons by date: the list changed in September 2020 and grew in 2026.",
               "CBDS 2013 D00024; School census 2026; CBDS list of May 2026", exclusion_reasons),
        Recipe("ethnicity_extended", "Ethnicity, extended codes",
               "The 108 codes of the census, each with the main code it belongs to.",
               "School census 2026; names CBDS 2013 D00005", ethnicities,
               attributes={"main": "main code, of the code set ethnicity"}),
        Recipe("local_authority", "Local authority",
               "The 153 authorities with education duties, by the three-digit number that also begins every LAESTAB "
               "and UPN; those abolished since 2017; and the two invented ones of the simulated county. Open, because "
               "registers still carry Welsh, overseas and earlier authorities.",
               "Office for National Statistics and GIAS, 2025; numbers 370 and 373 carried over from earlier years",
               authorities, open=True,
               attributes={"region": "region code, of the code set region",
                           "ons": "nine-character code of the Office for National Statistics; none where invented"}),
        Recipe("country", "Country", "Countries by the three letters of ISO 3166-1. Open, because the list is of 2013.",
               "CBDS 2013 D00008", countries, open=True, attributes={"alpha2": "two letters of ISO 3166-1, or none"}),
        Recipe("name_type", "Type of name", "What a name is.", "CBDS 2013 D00066", cbds("D00066")),
        Recipe("address_type", "Type of address", "What an address is used for.", "CBDS 2013 D00025", cbds("D00025")),
        Recipe("information_source", "Source of information", "Who said it.", "CBDS 2013 D00006", cbds("D00006")),
        Recipe("disability_type", "Type of disability", "Kinds of disability that schools hold.",
               "CBDS 2013 D00190", cbds("D00190")),
        Recipe("school_gender", "Sex of pupils", "Whether a school takes girls, boys or both.",
               "CBDS 2013 D00096", cbds("D00096")),
        Recipe("special_school_organisation", "Organisation of a special school",
               "Mainly day, mainly boarding, or in a hospital.", "CBDS 2013 D00097", cbds("D00097")),
        Recipe("denomination", "Denomination", "Faiths of schools.", "CBDS 2013 D00071", cbds("D00071")),
        Recipe("site_tenure", "Tenure of a site", "On which right a school holds a site.", "CBDS 2013 D00119",
               cbds("D00119")),
        Recipe("class_activity", "Activity of a class", "What a class did at the chosen hour.",
               "CBDS 2013 D00093; School census 2026",
               cbds("D00093", extra=[Row("RS", "RS", note=f"In the census of 2026. {NOT_PUBLISHED}")])),
        Recipe("class_key_stage", "Key stage of a class", "Key stage, or mixed.", "CBDS 2013 D00095", cbds("D00095")),
        Recipe("early_years_provider_category", "Category of early years provider", "Who provides.",
               "CBDS 2013 D00077", cbds("D00077")),
        Recipe("early_years_setting_type", "Type of early years setting", "Kinds of setting.", "CBDS 2013 D00078",
               cbds("D00078")),
        Recipe("day_care", "Day care", "Full or sessional day care.", "CBDS 2013 D00079", cbds("D00079")),
        Recipe("former_leaving_reason", "Leaving reason in a pupil's history",
               "Why a pupil left an earlier school: the reasons of today and those that older files carry.",
               "CBDS 2013 D00206", cbds("D00206", leave_out=("Historic data - not in use for new records",))),
        Recipe("leaving_destination", "Kind of destination", "What kind of place a leaver goes to.",
               "CBDS 2013 D00192", cbds("D00192")),
        Recipe("ctf_content", "Content of a transfer file", "The whole record or a part.", "CBDS 2013 D00117",
               cbds("D00117")),
        Recipe("ctf_part", "Part of a record", "Which part a partial transfer file holds.", "CBDS 2013 D00205",
               cbds("D00205")),
        Recipe("assessment_stage", "Assessment stage", "Which assessment a result belongs to.", "CBDS 2013 D00141",
               cbds("D00141", leave_out=("Notes", "+", "*", "**", "***"))),
        Recipe("result_qualifier", "Kind of result", "Level, mark, score or detail.", "CBDS 2013 D00143",
               cbds("D00143")),
        Recipe("result_status", "Status of a result", "Result, target, estimate or provisional.",
               "CBDS 2013 D00051", cbds("D00051")),
        Recipe("learning_aim_status", "Status of a learning aim", "Whether it goes on, was completed, left or changed.",
               "CBDS 2013 D00200; School census 2026", cbds("D00200", titles=_AIM_STATUSES)),
        Recipe("learning_aim_outcome", "Outcome of a learning aim", "Passed or not.", "CBDS 2013 D00201",
               cbds("D00201")),
        Recipe("gcse_grade", "GCSE grade", "Grades by letters and by numbers.", census,
               census_codes("mathsgcsehighestpriorattainment", _GRADES, "")),
        Recipe("subject", "Subject", "Subjects of the workforce census and of posts.", "CBDS 2013 D00115",
               subjects),
        Recipe("contract_type", "Type of contract", "Permanent, for a time, or by an agreement with others.",
               "CBDS 2013 D00150", cbds("D00150")),
        Recipe("staff_post", "Post", "What somebody is employed as. The four newest codes are named in census rule 4100Q.",
               "CBDS 2013 D00187; workforce census rule 4100Q",
               cbds("D00187", extra=[Row(code, title, note="The name is recollected, not sourced.") for code, title in (
                   ("TCM", "Classroom teacher, main pay range"), ("TCU", "Classroom teacher, upper pay range"),
                   ("APP", "Apprentice teacher"), ("LDP", "Leading practitioner"))])),
        Recipe("staff_role", "Role", "What somebody does under a contract.", "CBDS 2013 D00188", cbds("D00188")),
        Recipe("pay_scale", "Pay scale", "Scales of pay.", "CBDS 2013 D00186", cbds("D00186")),
        Recipe("regional_spine", "Regional spine", "Parts of the country with pay of their own.",
               "CBDS 2013 D00154", cbds("D00154")),
        Recipe("spine_point", "Spine point", "Points of the scales. Open, because scales have changed since.",
               "CBDS 2013 D00197", cbds("D00197"), open=True),
        Recipe("additional_payment_type", "Category of additional payment", "What is paid beside base pay.",
               "CBDS 2013 D00157", cbds("D00157")),
        Recipe("staff_absence_category", "Category of staff absence", "Why somebody was away.", "CBDS 2013 D00159",
               cbds("D00159")),
        Recipe("staff_destination", "Destination of staff", "What somebody did after a contract.",
               "CBDS 2013 D00155", cbds("D00155")),
        Recipe("staff_origin", "Origin of staff", "What somebody did before a contract.", "CBDS 2013 D00198",
               cbds("D00198")),
        Recipe("staff_qualification_type", "Type of staff qualification", "Kinds of qualification at level 4 or above.",
               "CBDS 2013 D00160", cbds("D00160")),
        Recipe("degree_class", "Class of degree", "Classes of degrees.", "CBDS 2013 D00161", cbds("D00161")),
        Recipe("degree_subject", "Subject of a degree", "Subjects of degrees and qualifications.", "CBDS 2013 D00199",
               cbds("D00199")),
        Recipe("qts_route", "Route to qualified teacher status",
               "How the status was gained. Open, because routes have changed since.", "CBDS 2013 D00204",
               cbds("D00204"), open=True),
        Recipe("staff_disability", "Disability of staff", "Whether somebody says to have one.", "CBDS 2013 D00148",
               cbds("D00148")),
        Recipe("agency_staff_category", "Category of agency staff", "What support staff of others do.",
               "CBDS 2013 D00164", cbds("D00164")),
        Recipe("tenure", "Full-time or part-time", "Tenure of a post.", "CBDS 2013 D00088", cbds("D00088")),
        Recipe("disability", "Disability of a child", "Kinds of disability; NONE stands alone.",
               "CIN XSD 2026, disabilitytype", of_schema("disabilitytype")),
        Recipe("cin_referral_source", "Referral source", "Who refers children.", "CIN XSD 2026, referralsourcetype",
               of_schema("referralsourcetype")),
        Recipe("cin_primary_need", "Primary need", "Main reasons why a child is in need.",
               "CIN XSD 2026, primaryneedcodetype", of_schema("primaryneedcodetype")),
        Recipe("cin_closure_reason", "Reason for closure", "Why a case is closed.",
               "CIN XSD 2026, reasonforclosuretype", of_schema("reasonforclosuretype")),
        Recipe("cin_abuse_category", "Category of abuse", "Categories of a child protection plan.",
               "CIN XSD 2026, categoryofabusetype", of_schema("categoryofabusetype")),
        Recipe("cin_assessment_factor", "Factor found in an assessment",
               "What an assessment may find. 18A and 19A have given way to 18B, 18C, 19B and 19C.",
               "CIN XSD 2026, assessmentfactorstype", of_schema("assessmentfactorstype")),
        Recipe("finance_line_code", "Line of consistent financial reporting",
               "Codes of income, expenditure and balances of maintained schools.",
               "Header of the maintained schools master list; newer lines recollected", finance_lines,
               attributes={"kind": "income | expenditure | capital income | capital expenditure | balance"}),
        Recipe("return_status", "Status of a return", "Where a return stands in the Department's collection system.",
               "Public code of the Department's collection system", return_statuses),
    ]  # fmt: skip


def main(arguments: list[str]) -> int:
    """Write or check every code set; 0 when all is well."""
    checking = "--check" in arguments
    folders = [argument for argument in arguments if not argument.startswith("-")]
    if len(folders) != 1:
        print(__doc__)
        return 2
    differing = [name for name, text in written(Path(folders[0])) if not _same_or_write(name, text, checking)]
    if differing:
        print(f"{'These differ' if checking else 'Written'}: {', '.join(differing)}.")
    return 1 if checking and differing else 0


def written(facts: Path) -> Iterator[tuple[str, str]]:
    """Name and text of every code set."""
    for recipe in recipes():
        yield recipe.name, _yaml(recipe, list(recipe.rows(facts)))


def _same_or_write(name: str, text: str, checking: bool) -> bool:
    path = FOLDER / f"{name}.yaml"
    same = path.exists() and path.read_text("utf-8") == text
    if not same and not checking:
        path.write_text(text, "utf-8")
    return same


def _yaml(recipe: Recipe, rows: list[Row]) -> str:
    lines = [f"name: {recipe.name}", f"title: {_scalar(recipe.title)}", "description: >-"]
    lines += textwrap.wrap(recipe.description, 112, initial_indent="  ", subsequent_indent="  ")
    lines.append(f"source: {_scalar(recipe.source)}")
    if recipe.open:
        lines.append("open: true")
    if recipe.attributes:
        lines += ["attributes:", *(f"  {name}: {_scalar(text)}" for name, text in recipe.attributes.items())]
    lines += ["codes:", *(f"  - {{{', '.join(_cells(row))}}}" for row in rows)]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> Iterator[str]:
    yield f"code: {json.dumps(row.code)}"
    yield f"title: {json.dumps(row.title, ensure_ascii=False)}"
    for name, value in (("since", row.since), ("until", row.until)):
        if value:
            yield f"{name}: {value}"
    if row.invented:
        yield "invented: true"
    if row.note:
        yield f"note: {json.dumps(row.note, ensure_ascii=False)}"
    if row.attributes:
        yield f"attributes: {{{', '.join(f'{name}: {_scalar(value)}' for name, value in row.attributes.items())}}}"


def _scalar(text: str) -> str:
    return (
        text
        if re.fullmatch(r"[A-Za-z0-9(][^:#{}\[\],&*!|>'\"%@`]*[^:#\s]|[A-Za-z0-9]", text)
        else json.dumps(text)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
