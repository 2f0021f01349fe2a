"""The exported schemas judge records as the check does, but for what a schema cannot say."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from commonroom import standard
from commonroom.standard import Entity, identifiers
from commonroom.standard.exports import json_schema
from commonroom.standard.exports.json_schema import entity_schema, record_set_schema
from tests.specification.standard.samples import STANDARD, record, value

Record = dict[str, Any]
NAMES = sorted(STANDARD.entities)

DATES = st.dates().map(lambda day: day.isoformat())
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
ODD = st.sampled_from(
    [
        *(
            "",
            " ",
            "\t",
            "x\n",
            "x\x00",
            "2026-02-30",
            "2024-02-29",
            "1900-02-29",
            "2000-02-29",
            "0000-01-01",
        ),
        *(
            "20260115",
            "2026-W03-4",
            "1",
            "1.5",
            "-0.5",
            "1.50",
            "01",
            "1.",
            ".5",
            "1e5",
            "1,000",
            "08:30",
            "24:00",
        ),
        *(
            "8:30",
            "true",
            "990001",
            "990001\n",
            "9999999999",
            "999/2001",
            "DS",
            "OT",
            "SUSP",
            "FIXD",
            "H",
            "J1",
            "K",
        ),
    ]
)
OTHER: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer()),
    st.lists(st.integers(), max_size=1),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    DATES,
    TEXTS,
    ODD,
)


@functools.cache
def validator(name: str) -> Draft202012Validator:
    """The validator of one entity's schema."""
    schema = entity_schema(STANDARD.entities[name], STANDARD)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@st.composite
def records(draw: st.DrawFn) -> tuple[str, Record]:
    """A right record of some entity, with a few values changed or left out."""
    entity = STANDARD.entities[draw(st.sampled_from(NAMES))]
    made = record(entity)
    places = [*entity.by_name, "version", "valid_from", "valid_to", "unknown"]
    for place in draw(st.lists(st.sampled_from(places), max_size=3, unique=True)):
        if draw(st.booleans()) and place in made:
            del made[place]
        else:
            made[place] = draw(_like(entity, place))
    return entity.name, made


def _like(entity: Entity, place: str) -> st.SearchStrategy[Any]:
    """Values that could stand there, among others that could not."""
    item = entity.item(place)
    if item is None:
        return OTHER
    if item.type == "code":
        codes = [code.code for code in STANDARD.codesets[item.codeset or ""].codes]
        return st.one_of(st.sampled_from(codes), OTHER)
    if item.type == "date":
        return st.one_of(DATES, OTHER)
    if item.type == "string":
        return st.one_of(
            st.just("x" * (item.max_length or 0)), st.just("x" * ((item.max_length or 0) + 1)), OTHER
        )
    return st.one_of(st.just(value(item)), OTHER)


def beyond_a_schema(name: str, made: Record, finding: standard.Finding) -> bool:
    """True for an error that a schema cannot see: a check character, two dates in the wrong order or not the same."""
    if finding.rule == "standard-identifier":
        kind = STANDARD.entities[name].by_name[finding.item].identifier or ""
        return kind in identifiers.CHECKED and bool(re.fullmatch(identifiers.form(kind), made[finding.item]))
    if finding.rule == "standard-valid-to":
        return "before" in finding.message
    return finding.rule == "standard-valid-from" and "same day" in finding.message


@settings(max_examples=1500, deadline=None)
@given(records())
def test_a_schema_takes_what_the_check_takes_and_refuses_what_it_refuses(made: tuple[str, Record]) -> None:
    name, one = made
    errors = [found for found in standard.check_records(name, [one]).findings if found.severity == "error"]
    visible = [found for found in errors if not beyond_a_schema(name, one, found)]
    assert validator(name).is_valid(one) == (not visible), [found.message for found in visible]


@pytest.mark.parametrize("name", NAMES)
def test_a_right_record_of_every_entity_is_right_by_its_schema_and_by_the_check(name: str) -> None:
    one = record(STANDARD.entities[name])
    assert standard.check_records(name, [one]).findings == []
    assert list(validator(name).iter_errors(one)) == []


# entity, change, whether the record is right: codes and items by the day of the record
BY_DAY = [
    ("attendance_mark", {"code": "H", "date": "2024-08-18"}, True),
    ("attendance_mark", {"code": "H", "date": "2024-08-19"}, False),
    ("attendance_mark", {"code": "J1", "date": "2024-08-18"}, False),
    ("attendance_mark", {"code": "J1", "date": "2024-08-19"}, True),
    ("attendance_mark", {"code": "J1", "date": "2030-01-01"}, True),
    ("exclusion", {"category": "FIXD", "start_date": "2021-07-31", "reason_1": "PP"}, True),
    ("exclusion", {"category": "FIXD", "start_date": "2021-08-01", "reason_1": "PP"}, False),
    ("exclusion", {"category": "SUSP", "start_date": "2021-08-01", "reason_1": "OT"}, False),
    ("exclusion", {"category": "PERM", "start_date": "2020-08-31", "reason_2": "PP"}, False),
    ("exclusion", {"category": "PERM", "start_date": "2020-08-31", "reason_2": None}, True),
    ("exclusion", {"category": "PERM", "start_date": "2020-09-01", "reason_2": "PP"}, True),
    ("sen_need", {"sen_type": "DS", "valid_from": "2025-12-31"}, False),
    ("sen_need", {"sen_type": "DS", "valid_from": "2026-01-01"}, True),
]


@pytest.mark.parametrize(("name", "change", "right"), BY_DAY)
def test_codes_are_right_on_their_days_by_both(name: str, change: Record, right: bool) -> None:
    keys = {item.name: value(item) for item in STANDARD.entities[name].items if item.required}
    one = {**keys, **change}
    one = {"valid_from": "2026-01-15", **one} if STANDARD.entities[name].valid_from_item is None else one
    assert (standard.check_records(name, [one]).good == [one]) == right
    assert validator(name).is_valid(one) == right


def test_a_record_set_is_judged_with_the_schemas_of_its_entities() -> None:
    registry: Registry[Any] = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema))
        for schema in map(json.loads, json_schema.files(STANDARD).values())
    )
    judge = Draft202012Validator(record_set_schema(STANDARD), registry=registry)
    one = record(STANDARD.entities["enrolment"])
    key = {name: one[name] for name in ("school", "upn", "entry_date")}
    gone = {**key, "valid_from": "2026-01-15", "version": 2}
    right = {
        "standard": "2026.1",
        "records": {"enrolment": [one]},
        "withdrawn": {"enrolment": [gone]},
        "rekeyed": {"enrolment": [{"from": key, "to": key}]},
    }
    assert list(judge.iter_errors(right)) == []
    for wrong in (
        {**right, "standard": "2025.1"},
        {**right, "records": {"pupil": []}},
        {**right, "records": {"enrolment": [{**one, "nc_year": "15"}]}},
        {**right, "withdrawn": {"enrolment": [{**gone, "nc_year": "6"}]}},
        {**right, "more": 1},
    ):
        assert not judge.is_valid(wrong)


def test_personal_items_and_numbers_are_marked() -> None:
    learner = entity_schema(STANDARD.entities["learner"], STANDARD)["properties"]
    assert learner["given_name"]["x-personal"] is True
    assert learner["upn"]["x-cbds"] == "100001"
    assert learner["sex"]["x-codeset"] == "sex"
    assert "x-personal" not in learner["school"]
