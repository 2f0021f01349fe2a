"""What the entities and events promise to every other room."""

from __future__ import annotations

import pytest

from commonroom import standard

STANDARD = standard.load()

KEYS = {
    "organisation": ("organisation",),
    "learner": ("school", "upn"),
    "enrolment": ("school", "upn", "entry_date"),
    "attendance_mark": ("school", "upn", "date", "session"),
}
EVENTS = {
    "commonroom.organisation.changed": ("organisation",),
    "commonroom.learner.changed": ("learner",),
    "commonroom.enrolment.changed": ("enrolment",),
    "commonroom.attendance-mark.changed": ("attendance_mark",),
    "commonroom.transfer.sent": ("learner", "enrolment"),
}
# Items of pupils that may be shown without a policy: where and when, never who or what.
NOT_PERSONAL = {
    "learner": {"school"},
    "enrolment": {"school"},
    "attendance_mark": {"school", "date", "session"},
}


def test_entities_have_their_natural_keys() -> None:
    assert {name: entity.key for name, entity in STANDARD.entities.items()} == KEYS
    assert STANDARD.entities["attendance_mark"].valid_from_item == "date"


def test_events_carry_their_entities_and_every_entity_has_an_event_of_its_name() -> None:
    assert {name: event.entities for name, event in STANDARD.events.items()} == EVENTS
    for entity in STANDARD.entities:
        assert f"commonroom.{entity.replace('_', '-')}.changed" in STANDARD.events


def test_letters_name_the_version_they_are_written_in() -> None:
    assert STANDARD.dataschema == "urn:commonroom:standard:2026.1"


@pytest.mark.parametrize("entity", NOT_PERSONAL)
def test_every_item_about_a_pupil_is_marked_as_personal(entity: str) -> None:
    open_items = {item.name for item in STANDARD.entities[entity].items if not item.personal}
    assert open_items == NOT_PERSONAL[entity]


def test_every_item_is_explained() -> None:
    for entity in STANDARD.entities.values():
        for item in entity.items:
            assert item.title, (entity.name, item.name)
            assert item.description.endswith("."), (entity.name, item.name)


def test_the_standard_is_read_once() -> None:
    assert standard.load() is STANDARD
