"""What the entities and events promise to every other room, and where each item of today's collections has its home.

`entities.csv` lists every entity with its holder, its key and the items that are not personal; `homes.csv` lists every
element of today's files with the item that holds it.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from commonroom import standard

STANDARD = standard.load()
HERE = Path(__file__).parent

# What carries more than one entity, or no records at all; every entity also has an event of its own name.
EVENTS = {
    "commonroom.transfer.sent": ("learner", "enrolment"),
    "commonroom.school-return.sent": (
        "organisation",
        "learner",
        "attendance_mark",
        "exclusion",
        "assessment_result",
    ),
    "commonroom.workforce-return.sent": ("staff_member", "contract", "role", "staff_absence", "vacancy"),
    "commonroom.children-return.sent": (
        "child",
        "child_in_need_episode",
        "section_47",
        "child_protection_plan",
    ),
    "commonroom.finance-return.sent": ("finance_statement", "finance_line", "authority_finance_line"),
    "commonroom.places-return.sent": ("planning_area", "capacity", "forecast", "planned_places"),
    "commonroom.provider-return.sent": ("provider_learner", "learning_delivery", "learner_destination"),
    "commonroom.document.sent": (),
    "commonroom.learner-newly-14.sent": ("learner",),
}
# The entities that the collections of the Department speak of, in the words of the plan.
SUBJECTS = """
organisation site learner learner_name address contact enrolment attendance_mark attendance_summary exclusion
sen_provision_period sen_need fsm_period funded_hours school_class learning_aim programme_aim assessment_result
staff_member contract role staff_absence staff_qualification vacancy child_in_need_episode child_assessment
child_in_need_plan section_47 child_protection_plan child_protection_review looked_after_period
private_fostering_arrangement finance_line authority_finance_line capacity forecast transfer school_closure
adoption_placement school_subject timetable_entry curriculum_experience curriculum_outcome intervention sen_plan
"""
# Entities about people: of these an item is personal unless entities.csv says otherwise.
PEOPLE = {"upn", "child", "staff", "learner"}
# Columns that the Department's collection system makes itself, and what the header of a file says of the file.
NOT_COLLECTED = re.compile(
    r".*tableid|.*orderseqcolumn|NativeId|sourceid|move(on|off)rollflag|missingaddress|duplicatenotfunded"
)
HEADER = {"name", "collection", "term", "year", "referencedate", "serialno", "sourcelevel", "softwarecode"}
HEADER |= {"datetime", "release", "xversion"}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_entities_are_those_of_the_table_with_their_holders_and_keys() -> None:
    found = [
        {
            "entity": name,
            "area": entity.area,
            "holder": entity.holder or "",
            "key": " ".join(entity.key),
            "valid_from_item": entity.valid_from_item or "",
            "not_personal": " ".join(item.name for item in entity.items if not item.personal),
        }
        for name, entity in STANDARD.entities.items()
    ]
    assert found == rows_of(HERE / "entities.csv")


def test_everything_the_collections_speak_of_is_an_entity() -> None:
    assert set(SUBJECTS.split()) <= set(STANDARD.entities)


def test_every_area_has_entities_and_every_entity_but_the_platforms_own_has_a_holder() -> None:
    assert {entity.area for entity in STANDARD.entities.values()} == set(STANDARD.areas)
    assert [name for name, entity in STANDARD.entities.items() if entity.holder is None] == [
        "child_population",
        "learner_number",
        "organisation",
        "progress_estimate",
        "qualification",
        "qualification_grade",
    ]


@pytest.mark.parametrize("name", [n for n, e in STANDARD.entities.items() if PEOPLE & set(e.key)])
def test_who_a_record_is_about_is_always_personal(name: str) -> None:
    entity = STANDARD.entities[name]
    words = (
        "name",
        "birth",
        "death",
        "sex",
        "ethnicity",
        "postcode",
        "address_line",
        "uln",
        "upn",
        "nino",
        "email",
    )
    for item in entity.items:
        if item.name in PEOPLE or item.name.endswith(words):
            assert item.personal, item.name


def test_events_carry_their_entities_and_every_entity_has_an_event_of_its_name() -> None:
    own = {f"commonroom.{name.replace('_', '-')}.changed": (name,) for name in STANDARD.entities}
    assert {name: event.entities for name, event in STANDARD.events.items() if name in own} == own
    assert set(STANDARD.events) - set(own) == set(EVENTS)
    for name, entities in EVENTS.items():
        assert set(entities) <= set(STANDARD.events[name].entities), name


def test_a_transfer_begins_with_the_learner_and_the_enrolment_and_holds_one_pupil_only() -> None:
    entities = STANDARD.events["commonroom.transfer.sent"].entities
    assert entities[:2] == ("learner", "enrolment")
    assert all(STANDARD.entities[name].key[:2] == ("school", "upn") for name in entities)


def test_a_document_travels_as_a_file_and_never_as_records() -> None:
    event = STANDARD.events["commonroom.document.sent"]
    assert event.entities == ()
    assert "application/pdf" in event.media_types
    plan = STANDARD.entities["sen_plan"].by_name
    assert plan["document_sha256"].max_length == 64


def test_letters_name_the_version_they_are_written_in() -> None:
    assert STANDARD.dataschema == "urn:commonroom:standard:2026.1"


def test_every_item_is_explained() -> None:
    for entity in STANDARD.entities.values():
        for item in entity.items:
            assert item.title, (entity.name, item.name)
            assert item.description.endswith("."), (entity.name, item.name)


def test_the_standard_is_read_once() -> None:
    assert standard.load() is STANDARD


def test_every_home_is_an_item() -> None:
    for row in rows_of(HERE / "homes.csv"):
        entity, _, item = row["home"].partition(".")
        assert STANDARD.entities[entity].item(item), row


def test_every_column_of_the_school_census_has_a_home(shared: Path) -> None:
    structure = (
        shared / "standards" / "files" / "structures" / "school_census_2026_collect_export_columns.csv"
    )
    places = {
        f"{row['table']}.{row['column']}"
        for row in rows_of(structure)
        if not NOT_COLLECTED.fullmatch(row["column"])
        and not (row["table"] == "schoolcensus" and row["column"] in HEADER)
    }
    assert places == _places("school census 2026")
    assert len(places) > 250


def test_every_element_of_the_cin_census_has_a_home(shared: Path) -> None:
    schema = (shared / "standards" / "files" / "cin" / "xsd" / "CIN_schema_2026.xsd").read_text("utf-8")
    children = schema.split('<xs:complexType name="childidentifierstype">')[1].split("<xs:simpleType")[0]
    typed = set(re.findall(r'<xs:element name="(\w+)" type="(?:xs:|\w+type")', children))
    groups = {"Assessments", "CINPlanDates", "Section47", "ChildProtectionPlans"}
    assert typed - groups == {
        place.split(".")[1] for place in _places("CIN census 2026") if not place.startswith("PreProceedings")
    }


@pytest.mark.parametrize(
    ("collection", "file"),
    [
        ("workforce census", "school_workforce_census_2013_element_paths.csv"),
        ("early years census", "early_years_census_2013_element_paths.csv"),
        ("AP census", "ap_census_2013_element_paths.csv"),
    ],
)
def test_every_element_of_other_censuses_has_a_home(shared: Path, collection: str, file: str) -> None:
    paths = {
        row["path"].removeprefix("/Message/")
        for row in rows_of(shared / "standards" / "files" / "structures" / file)
        if row["kind"] == "item" and "/Header/" not in row["path"] and "Included" not in row["path"]
    }
    assert paths == _places(collection)


def test_every_cbds_number_is_one_of_the_published_list(shared: Path) -> None:
    published = rows_of(shared / "standards" / "files" / "cbds" / "cbds2013_data_definitions.csv")
    known = {row["Identifier 1"] for row in published}
    cited = {item.cbds for entity in STANDARD.entities.values() for item in entity.items if item.cbds}
    assert cited <= known
    assert len(cited) > 380


def test_every_newer_cbds_number_is_cited_for_the_element_that_has_it(shared: Path) -> None:
    standards = shared / "standards"
    rules = (standards / "files" / "cin" / "cin_rules_index.csv").read_text("utf-8")
    facts = (standards / "FACTS.md").read_text("utf-8")
    numbers = set(re.findall(r"N00\d{3}", rules + facts)) | {"N00792", "N00793"}  # the facts say N00791-793
    homes = {
        row["home"]: row["place"].split(".")[-1]
        for row in rows_of(HERE / "homes.csv")
        if row["collection"].startswith("CIN")
    }
    for entity in STANDARD.entities.values():
        for item in entity.items:
            if item.cbds_now is None:
                continue
            assert item.cbds_now in numbers, (entity.name, item.name)
            element = homes.get(f"{entity.name}.{item.name}")
            if element and element != "LAchildID":
                assert re.search(rf"<{element}> ?\(?{item.cbds_now}", rules, re.IGNORECASE), (
                    element,
                    item.cbds_now,
                )


def _places(collection: str) -> set[str]:
    return {row["place"] for row in rows_of(HERE / "homes.csv") if row["collection"] == collection}
