"""Three makers keep the same facts in three shapes; through their mappings they tell the same story."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom import standard
from commonroom.agent.mapping import load_store
from commonroom.simulation import (
    World,
    authority_store_mapping,
    build,
    county,
    pass_day,
    school_database,
    schools_of_county,
    store_mapping,
)
from commonroom.simulation.attendance import WITH_LEAVE, WITHOUT_LEAVE, Correction, Marks
from commonroom.simulation.intakes import ANNOUNCING, intakes_of
from commonroom.simulation.population import Pupil
from commonroom.simulation.schools import School
from commonroom.simulation.systems import SYSTEMS
from commonroom.simulation.year import Leaver, Removal, SchoolDay
from tests.specification.simulation.records import records, transfers

ENTITIES = ("learner", "enrolment", "attendance_mark")
SENT = (*ENTITIES, "admission_number")
HAPPENINGS = ("admitted", "left", "removals", "fsm_gained", "sen_support", "marks", "corrections")
# Every code that the simulation's registers use in both sessions.
CODES = ["L", "N", "X", "V", *(code for code, *_ in (*WITH_LEAVE, *WITHOUT_LEAVE))]
KEYS = {name: standard.load().entities[name].key for name in ENTITIES}

# One pupil at each school, from admission to leaving: what the standard's records say in the end.
#   learner       valid_from   fsm    sen  postcode
STORY_LEARNER = [
    ("2026-09-03", False, "N", "WM1 1AA"),
    ("2026-09-07", False, "N", "WM1 9ZZ"),
    ("2026-09-08", True, "N", "WM1 9ZZ"),
    ("2026-09-09", True, "K", "WM1 9ZZ"),
]
# Inkwell writes over, and touches the row once more when the pupil leaves: only the present state is left.
STORY_LEARNER_PRESENT = [("2026-09-10", True, "K", "WM1 9ZZ")]


@pytest.fixture(scope="module")
def led(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path, list[dict[str, SchoolDay]]]:
    """The county after eight school days."""
    folder = tmp_path_factory.mktemp("schools")
    world = World(5, schools_of_county())
    build(world, folder)
    happened = []
    for day in world.school_days(date(2026, 9, 11)):
        pass_day(world, folder, day)
        happened.append(world.happenings(day))
    return world, folder, happened


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_record_of_every_school_is_right_by_the_standard(
    led: tuple[World, Path, list[dict[str, SchoolDay]]], entity: str
) -> None:
    world, folder, _ = led
    for school in world.schools:
        found = records(folder, school, entity)
        assert found
        numbered = [{**record, "version": 1} for record in found]
        if entity == "attendance_mark":
            numbered = [{**record, "valid_from": record["date"]} for record in numbered]
        checked = standard.check_records(entity, numbered, None)
        assert [(finding.rule, finding.item) for finding in checked.findings] == []
        assert len(checked.good) == len(found)
        names = Counter(tuple(record.get(name) for name in (*KEYS[entity], "valid_from")) for record in found)
        assert names.most_common(1)[0][1] == 1


@pytest.mark.parametrize("system", county().systems)
def test_what_a_school_announced_is_shown_for_its_years_of_entry(tmp_path: Path, system: str) -> None:
    """An all-through school with 143 pupils in fifteen years: a tenth more than a year's share, in fives."""
    years = ("N1", "R", *map(str, range(1, 14)))
    school = msgspec.structs.replace(
        schools_of_county(60)[0], urn="990001", kind="mainstream", years=years, pupils=143, system=system
    )
    world = World(1, [school])
    build(world, tmp_path)
    found = sorted(records(tmp_path, school, "admission_number"), key=lambda one: one["admission_year"])
    assert {(one["admission_year"], one["nc_year"], int(one["published_number"])) for one in found} == {
        (year, entry, 15) for year in ("2026/27", "2027/28") for entry in ("R", "7", "12")
    }
    numbered = [
        {**one, "published_number": int(one["published_number"]), "version": 1, "valid_from": "2026-09-01"}
        for one in found
    ]
    assert [one["valid_from"] for one in found] == ["2026-09-01"] * 6
    assert not standard.check_records("admission_number", numbered, None).findings


def test_special_schools_and_nurseries_announce_nothing() -> None:
    county_schools = schools_of_county()
    first_day = World(1, county_schools).first_day
    silent = {school.urn for school in county_schools if not intakes_of(school, first_day)}
    assert silent == {
        school.urn
        for school in county_schools
        if school.kind not in ANNOUNCING or school.years[-1] in ("N1", "N2")
    }
    assert 0 < len(silent) < len(county_schools) / 2


def test_every_mark_that_was_made_is_shown_once_with_its_last_code(
    led: tuple[World, Path, list[dict[str, SchoolDay]]],
) -> None:
    world, folder, happened = led
    for school in world.schools:
        expected = {}
        for day in (days[school.urn] for days in happened):
            for mark in day.marks:
                expected[mark.upn, day.day, "AM"] = mark.am
                expected[mark.upn, day.day, "PM"] = mark.pm
            for correction in day.corrections:
                expected[correction.upn, correction.day, correction.session] = correction.code
        found = records(folder, school, "attendance_mark")
        assert {(one["upn"], one["date"], one["session"]): one["code"] for one in found} == expected
        assert len(found) == len(expected)


def test_a_window_shows_the_marks_from_its_first_day_on(
    led: tuple[World, Path, list[dict[str, SchoolDay]]],
) -> None:
    world, folder, _ = led
    # A Thursday: weeks that began before the window are cut.
    for school in world.schools:
        everything = records(folder, school, "attendance_mark")
        window = records(folder, school, "attendance_mark", "2026-09-10")
        assert window == [record for record in everything if record["date"] >= "2026-09-10"]
        assert {record["date"] for record in window} == {"2026-09-10", "2026-09-11"}


def test_leavers_for_another_school_are_shown_as_transfers(
    led: tuple[World, Path, list[dict[str, SchoolDay]]],
) -> None:
    world, folder, happened = led
    moved = 0
    for school in world.schools:
        expected = {
            (leaver.upn, leaver.leaving_date, leaver.destination)
            for days in happened
            for leaver in days[school.urn].left
            if leaver.destination
        }
        assert transfers(folder, school) == expected
        moved += len(expected)
    assert moved > 10


@pytest.mark.parametrize("system", county().systems)
def test_each_system_tells_the_story_of_one_pupil(tmp_path: Path, system: str) -> None:
    school, pupil_records = _tell_story(tmp_path, system)
    learner = [
        (record["valid_from"], record["fsm"], record["sen_provision"], record["postcode"])
        for record in sorted(pupil_records["learner"], key=lambda record: record["valid_from"])
    ]
    assert learner == (STORY_LEARNER_PRESENT if system == "inkwell" else STORY_LEARNER)
    newest = max(pupil_records["enrolment"], key=lambda record: record["valid_from"])
    assert {
        name: newest.get(name) for name in ("entry_date", "leaving_date", "leaving_reason", "destination")
    } == {
        "entry_date": "2026-09-03",
        "leaving_date": "2026-09-10",
        "leaving_reason": "IM",
        "destination": "990002",
    }
    marks = {(one["date"], one["session"]): one["code"] for one in pupil_records["attendance_mark"]}
    assert marks == {
        ("2026-09-03", "AM"): "/",
        ("2026-09-03", "PM"): "\\",
        ("2026-09-07", "AM"): "I",  # stood as N until the 9th
        ("2026-09-07", "PM"): "I",
        ("2026-09-08", "AM"): "C1",
        ("2026-09-08", "PM"): "\\",
    }
    assert {record["school"] for found in pupil_records.values() for record in found} == {school.urn}


@pytest.mark.parametrize("system", county().systems)
def test_what_other_schools_send_has_a_place_in_each_system(system: str) -> None:
    store = load_store(store_mapping(system), standard.load())
    assert [load.entity for load in store.loads] == ["learner", "enrolment", "learner_number"]
    for load in store.loads:
        assert set(load.columns) == {item.name for item in standard.load().entities[load.entity].items}


def test_an_authority_stores_every_item_of_what_its_schools_send() -> None:
    store = load_store(authority_store_mapping(), standard.load())
    assert [load.entity for load in store.loads] == list(SENT)
    for load in store.loads:
        assert set(load.columns) == {item.name for item in standard.load().entities[load.entity].items}


@pytest.mark.parametrize("system", county().systems)
def test_each_system_keeps_every_code_that_a_register_may_hold(tmp_path: Path, system: str) -> None:
    school, pupil = _school_with_pupil(tmp_path, system)
    days = world_days(len(CODES))
    _enter(
        tmp_path,
        school,
        [
            msgspec.structs.replace(_nothing(school), day=day, marks=(Marks(pupil.upn, code, code),))
            for day, code in zip(days, CODES, strict=True)
        ],
    )
    found = {
        (one["date"], one["session"]): one["code"] for one in records(tmp_path, school, "attendance_mark")
    }
    assert found == {
        (day, session): code for day, code in zip(days, CODES, strict=True) for session in ("AM", "PM")
    }


def _tell_story(folder: Path, system: str) -> tuple[School, dict[str, list[dict[str, Any]]]]:
    """The records of one more pupil at a school of this maker, whose days are written by hand."""
    school, someone = _school_with_pupil(folder, system)
    upn = "A123456789012"
    pupil = msgspec.structs.replace(
        someone, upn=upn, entry_date="2026-09-03", fsm=False, sen_provision="N", postcode="WM1 1AA"
    )
    corrections = tuple(Correction(upn, "2026-09-07", session, "I") for session in ("AM", "PM"))
    home = Removal(upn, "1 The Green", "Saltmere", "WM1 9ZZ")
    days: list[dict[str, Any]] = [
        {"day": "2026-09-03", "admitted": (pupil,), "marks": (Marks(upn, "/", "\\"),)},
        {"day": "2026-09-07", "removals": (home,), "marks": (Marks(upn, "N", "N"),)},
        {"day": "2026-09-08", "fsm_gained": (upn,), "marks": (Marks(upn, "C1", "\\"),)},
        {"day": "2026-09-09", "sen_support": (upn,), "corrections": corrections},
        {"day": "2026-09-10", "left": (Leaver(upn, "2026-09-10", "IM", "990002"),)},
    ]
    _enter(folder, school, [msgspec.structs.replace(_nothing(school), **day) for day in days])
    found = {entity: records(folder, school, entity) for entity in ENTITIES}
    return school, {entity: [one for one in rows if one["upn"] == upn] for entity, rows in found.items()}


def _school_with_pupil(folder: Path, system: str) -> tuple[School, Pupil]:
    school = next(school for school in schools_of_county(270) if school.system == system)
    world = World(1, [school])
    build(world, folder)
    return school, world.first_roll(school.urn)[0]


def _nothing(school: School) -> SchoolDay:
    none: dict[str, Any] = dict.fromkeys(HAPPENINGS, ())
    return SchoolDay(school=school.urn, day="", **none)


def _enter(folder: Path, school: School, days: list[SchoolDay]) -> None:
    with closing(sqlite3.connect(school_database(folder, school.urn))) as connection:
        for day in days:
            SYSTEMS[school.system].enter_day(connection, day)
        connection.commit()


def world_days(count: int) -> list[str]:
    """The first school days of the year."""
    return [
        day.isoformat() for day in standard.terms.school_days(date(2026, 9, 2), date(2026, 12, 18))[:count]
    ]
