"""How the standard changed from version to version, what that breaks, and what becomes of older records."""

from __future__ import annotations

from typing import Any

import pytest

from commonroom import standard
from commonroom.problems import Problem
from commonroom.standard import identifiers
from commonroom.standard.versions import differences, load_version, upgrade_records, upgrades, versions

PRESENT = standard.load()
UPN = identifiers.make_upn(997, 4000, 2012, 17)
PUPIL = {"school": "990001", "upn": UPN, "version": 1}
CHILD = {"la": "997", "child": "DF1", "version": 1, "valid_from": "2025-01-10"}

Record = dict[str, Any]

# kind, place, whether senders must do something
CHANGED_IN_2026 = [
    ("item removed", "learning_aim.traineeship", True),
    ("item removed", "programme_aim.traineeship", True),
    ("item removed", "attendance_summary.sessions_educational", True),
    ("item removed", "attendance_summary.sessions_exceptional", True),
    ("item added", "learning_aim.programme_start_date", False),
    ("item added", "work_placement.aim_start_date", False),
    ("code added", "learner_monitoring_type: EMH MMH", False),
    ("code added", "learner_monitoring_code: 02 03 04 05", False),
    ("code added", "sen_type: DS", False),
    ("code added", "exclusion_reason: BW TB SB MB AB DR AR SR VR LD CB MP OS", False),
    ("code retitled", "cin_primary_need: N1", False),
    ("codeset added", "pre_proceedings_outcome", False),
    ("entity added", "learner_number", False),
    ("entity added", "pre_proceedings", False),
    ("entity added", "child_population", False),
    ("codeset added", "performance_group", False),
    ("entity added", "qualification", False),
    ("entity added", "qualification_grade", False),
    ("entity added", "progress_estimate", False),
]


def test_the_versions_stand_in_their_order() -> None:
    assert versions() == ("2024.1", "2025.1", "2026.1")
    assert load_version("2026.1") is PRESENT


def test_what_changed_in_2026_is_told_with_its_reason_and_what_it_breaks() -> None:
    found = differences("2025.1", "2026.1")
    assert [(one.kind, one.place, one.breaks.startswith("Senders must")) for one in found] == CHANGED_IN_2026
    assert all(one.why and one.breaks.endswith(".") for one in found)


def test_changes_of_several_versions_are_told_one_after_the_other() -> None:
    both = differences("2024.1", "2026.1")
    assert both == [*differences("2024.1", "2025.1"), *differences("2025.1", "2026.1")]
    assert differences("2026.1", "2026.1") == []


@pytest.mark.parametrize(
    ("older", "newer", "words"),
    [
        ("2026.1", "2025.1", "came after"),
        ("2013.4", "2026.1", "knows the versions"),
        ("2025.1", "2099.1", "knows"),
    ],
)
def test_versions_that_cannot_be_compared_are_a_problem(older: str, newer: str, words: str) -> None:
    with pytest.raises(Problem, match=words) as caught:
        differences(older, newer)
    assert (caught.value.code, caught.value.status) == ("CR-094", 404)


@pytest.mark.parametrize("version", versions())
def test_every_version_agrees_with_itself(version: str) -> None:
    language = load_version(version)
    assert language.dataschema == f"urn:commonroom:standard:{version}"
    for entity in language.entities.values():
        for item in entity.items:
            assert item.codeset is None or item.codeset in language.codesets, (entity.name, item.name)
        names = (*entity.key, *filter(None, (entity.holder, entity.valid_from_item)))
        assert set(names) <= set(entity.by_name), entity.name
        assert f"commonroom.{entity.name.replace('_', '-')}.changed" in language.events
    for event in language.events.values():
        assert set(event.entities) <= set(language.entities), event.type


# What an older version had otherwise: version, entity or code set, then a look at it.
def test_an_older_version_has_what_it_had() -> None:
    v2025, v2024 = load_version("2025.1"), load_version("2024.1")
    assert "traineeship" in v2025.entities["learning_aim"].by_name
    assert "pre_proceedings" not in v2025.entities
    assert "commonroom.pre-proceedings.changed" not in v2025.events
    assert "pre_proceedings" not in v2025.events["commonroom.children-return.sent"].entities
    assert "DS" not in v2025.codesets["sen_type"].by_code
    assert v2025.codesets["cin_primary_need"].by_code["N1"].title == "Abuse or neglect"
    assert "eligibility_code" in v2025.entities["funded_hours"].by_name
    assert "thirty_hour_code" in v2024.entities["funded_hours"].by_name
    assert "eligibility_code" not in v2024.entities["funded_hours"].by_name
    assert set(v2024.codesets["cin_sex"].by_code) == {"0", "1", "2", "9"}
    assert "C1" not in v2024.codesets["attendance"].by_code
    assert "childcare_hours" not in v2024.codesets


# version, entity, older record, what it is now, items that lost something
UPGRADED: list[tuple[str, str, Record, Record, list[str]]] = [
    ("2026.1", "child", {"sex": "F"}, {"sex": "F"}, []),
    ("2025.1", "child", {"sex": "F"}, {"sex": "F"}, []),
    ("2024.1", "child", {"sex": "2"}, {"sex": "F"}, []),
    ("2024.1", "child", {"sex": "1"}, {"sex": "M"}, []),
    ("2024.1", "child", {"sex": "0"}, {"sex": "U"}, ["sex"]),
    ("2024.1", "child", {"sex": "9"}, {"sex": "U"}, ["sex"]),
    ("2024.1", "child", {"sex": "7"}, {"sex": "7"}, []),
    ("2024.1", "child", {"sex": None}, {"sex": None}, []),
    ("2025.1", "learning_aim", {"traineeship": False, "core_aim": True}, {"core_aim": True}, ["traineeship"]),
    ("2025.1", "learning_aim", {"traineeship": None, "core_aim": True}, {"core_aim": True}, []),
    ("2024.1", "learning_aim", {"traineeship": True}, {}, ["traineeship"]),
    ("2024.1", "funded_hours", {"thirty_hour_code": "50012345678"}, {"eligibility_code": "50012345678"}, []),
    ("2025.1", "funded_hours", {"eligibility_code": "50012345678"}, {"eligibility_code": "50012345678"}, []),
    ("2024.1", "work_placement", {"employer": "999999999", "hours": 40}, {"hours": 40}, ["employer"]),
    ("2024.1", "learner", {"sex": "F"}, {"sex": "F"}, []),
]


@pytest.mark.parametrize(("version", "entity", "older", "now", "lost"), UPGRADED)
def test_an_older_record_becomes_one_of_the_present_version(
    version: str, entity: str, older: Record, now: Record, lost: list[str]
) -> None:
    kept = dict(older)
    found = upgrade_records(version, {entity: [older]}, {}, {})
    assert found.records == {entity: [now]}
    assert [(note.entity, note.item, note.records) for note in found.notes] == [(entity, i, 1) for i in lost]
    assert older == kept


# entity and a record of 2024 that is whole: the present check finds nothing in what it becomes
WHOLE: list[tuple[str, Record]] = [
    ("child", {**CHILD, "sex": "1", "date_of_birth": "2015-03-27", "ethnicity": "WBRI"}),
    (
        "funded_hours",
        {**PUPIL, "valid_from": "2024-01-18", "thirty_hour_code": "50012345678", "funded_hours": "15.0"},
    ),
    (
        "learning_aim",
        {
            **PUPIL,
            "qualification": "60146084",
            "start_date": "2023-09-05",
            "status": "1",
            "traineeship": False,
        },
    ),
]


@pytest.mark.parametrize(("entity", "record"), WHOLE)
def test_a_record_set_of_an_older_version_still_loads(entity: str, record: Record) -> None:
    assert standard.check_records(entity, [record]).good == []
    present = upgrade_records("2024.1", {entity: [record]}, {}, {}).records[entity]
    checked = standard.check_records(entity, present)
    assert [(found.rule, found.item) for found in checked.findings] == []
    assert checked.good == present


def test_withdrawals_and_changed_keys_are_upgraded_too_and_a_value_is_never_told() -> None:
    entry = {**CHILD, "sex": "0"}
    pair = {"from": {"la": "997", "child": "DF1"}, "to": {"la": "997", "child": "DF2"}}
    found = upgrade_records("2024.1", {}, {"child": [entry, entry]}, {"child": [pair]})
    assert [one["sex"] for one in found.withdrawn["child"]] == ["U", "U"]
    assert found.rekeyed == {"child": [pair]}
    (note,) = found.notes
    assert note.records == 2
    assert "DF1" not in note.message + note.remedy


def test_a_record_set_that_nothing_touches_comes_back_as_the_same_objects() -> None:
    records, withdrawn = {"learner": [{"sex": "F"}]}, {"enrolment": [{"upn": UPN}]}
    for version in versions():
        found = upgrade_records(version, records, withdrawn, {})
        assert found.records is records
        assert found.withdrawn is withdrawn


def test_what_is_no_record_is_left_for_the_check_to_find() -> None:
    found = upgrade_records("2024.1", {"child": ["nonsense"]}, {}, {})  # type: ignore[list-item]
    assert found.records == {"child": ["nonsense"]}


def test_a_version_that_is_not_known_is_a_problem_that_lists_those_that_are() -> None:
    with pytest.raises(Problem, match=r"2024.1, 2025.1, 2026.1") as caught:
        upgrade_records("2027.1", {}, {}, {})
    assert caught.value.code == "CR-094"
    assert "later program" in caught.value.remedy


@pytest.mark.parametrize(
    ("dataschema", "version", "agree"),
    [
        (None, "2026.1", True),
        ("urn:commonroom:standard:2025.1", "2025.1", True),
        ("urn:commonroom:standard:2026.1", "2025.1", False),
        ("2026.1", "2026.1", False),
    ],
)
def test_an_envelope_names_the_version_of_its_letter(
    dataschema: str | None, version: str, agree: bool
) -> None:
    if agree:
        standard.check_dataschema(dataschema, version)
        return
    with pytest.raises(Problem, match="do not name the same version"):
        standard.check_dataschema(dataschema, version)


def test_every_upgrade_says_what_it_is_about() -> None:
    for upgrade in upgrades():
        assert upgrade.description.endswith(".")
        assert all(change.why.endswith(".") for change in upgrade.changes)
