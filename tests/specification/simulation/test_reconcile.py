"""The reconciliation sees what is missing, changed, extra or twice, on either side, in every maker's system."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from commonroom import standard
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.simulation import (
    Difference,
    Reconciliation,
    World,
    authority_database,
    build,
    compare,
    pass_day,
    pupil_digest,
    reconcile,
    school_database,
    schools_of_county,
)
from commonroom.simulation.schools import School
from tests.specification.simulation.records import records

ENTITIES = ("learner", "enrolment", "attendance_mark", "admission_number")
DAYS = 4
ARROW = {"date": pa.date32(), "boolean": pa.bool_(), "integer": pa.int64()}
SYSTEMS = ("tallybook", "inkwell", "chalkstone")


class Arrived(msgspec.Struct, frozen=True):
    """A world, and the warehouse and authorities to which all of it came."""

    world: World
    schools: Path
    warehouse: Path

    def school(self, system: str) -> School:
        """A school that runs this maker's system."""
        return next(school for school in self.world.schools if school.system == system)

    def versions(self) -> dict[str, int]:
        """The newest version of each table."""
        return {entity: DeltaTable(self.warehouse / entity).version() for entity in ENTITIES}

    def compare(self, versions: dict[str, int] | None = None, **minimum: int) -> Reconciliation:
        """The reconciliation at these versions, or the newest."""
        demanded = {"minimum_schools": 1, "minimum_pupils": 1, "minimum_marks": 1, **minimum}
        return compare(
            self.schools, self.warehouse, self.versions() if versions is None else versions, **demanded
        )


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Arrived:
    """Two schools of each maker, in both authorities, and all they hold in the warehouse and the authorities."""
    folder = tmp_path_factory.mktemp("reconcile")
    county = schools_of_county(600)
    world = World(11, [*county[2:5], *county[20:23]])
    arrived = Arrived(world, folder / "schools", folder / "warehouse")
    build(world, arrived.schools)
    for day in world.school_days(date(2026, 9, 7))[:DAYS]:
        pass_day(world, arrived.schools, day)
    assert {school.system for school in world.schools} == set(SYSTEMS)
    for entity in ENTITIES:
        for school in world.schools:
            found = records(arrived.schools, school, entity)
            deliver(arrived, entity, [(record, 1) for record in found])
            receive(authority_database(arrived.schools, school.la_code), entity, found)
    return arrived


@pytest.fixture
def arrived(everything: Arrived, tmp_path: Path) -> Arrived:
    """A copy that a test may spoil."""
    shutil.copytree(everything.schools, tmp_path / "schools")
    shutil.copytree(everything.warehouse, tmp_path / "warehouse")
    return Arrived(everything.world, tmp_path / "schools", tmp_path / "warehouse")


def deliver(arrived: Arrived, entity: str, facts: list[tuple[dict[str, Any], int]]) -> None:
    """Append facts with their weights, as the warehouse lays them out."""
    items = standard.load().entities[entity].items
    schema = pa.schema(
        [
            *((item.name, ARROW.get(item.type, pa.string())) for item in items),
            ("valid_from", pa.date32()),
            ("valid_to", pa.date32()),
            ("weight", pa.int8()),
            ("version", pa.int64()),
            ("known_position", pa.int64()),
            ("known_from", pa.timestamp("us", tz="UTC")),
            ("message", pa.string()),
            ("sender", pa.string()),
            ("learner_id", pa.string()),
        ]
    )
    dates = {field.name for field in schema if field.type == pa.date32()}
    rows = []
    for record, weight in facts:
        row = {name: record.get(name) for name in schema.names}
        row["valid_from"] = record.get("valid_from", record.get("date"))
        row = {name: _date(value) if name in dates else value for name, value in row.items()}
        if row.get("published_number") is not None:
            row["published_number"] = int(row["published_number"])
        known = {"known_position": 1, "known_from": datetime(2026, 9, 8, tzinfo=UTC), "version": 1}
        rows.append({**row, **known, "weight": weight, "message": "m", "sender": "s", "learner_id": "l"})
    write_deltalake(arrived.warehouse / entity, pa.Table.from_pylist(rows, schema=schema), mode="append")


def receive(path: Path, entity: str, found: list[dict[str, Any]]) -> None:
    """Store records as an authority's agent does."""
    with closing(sqlite3.connect(path)) as connection:
        for record in found:
            row = {"valid_from": record.get("date"), **record, "record_version": 1}
            names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
            connection.execute(f"INSERT INTO {entity} ({names}) VALUES ({places})", row)
        connection.commit()


def change(path: Path, statement: str, *parameters: str) -> None:
    """One change of a SQLite database, which must find something to change."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(statement, parameters).rowcount >= 1
        connection.commit()


def mark_of(arrived: Arrived, school: School) -> dict[str, Any]:
    """One mark of a school, of its first day."""
    return min(
        records(arrived.schools, school, "attendance_mark"),
        key=lambda one: (one["date"], one["upn"], one["session"]),
    )


def mark_key(mark: dict[str, Any]) -> str:
    return f"{pupil_digest(mark['school'], mark['upn'])} {mark['date']} {mark['session']}"


def only(result: Reconciliation) -> Difference:
    """The one difference there is."""
    (found,) = result.differences
    return found


def test_nothing_differs_where_everything_arrived(arrived: Arrived) -> None:
    result = arrived.compare(minimum_schools=6, minimum_pupils=100, minimum_marks=800)
    assert result.differences == ()
    assert result.schools == 6
    assert result.pupils == result.warehouse_pupils == result.authority_pupils
    assert result.marks == result.warehouse_marks == result.authority_marks
    again = World(arrived.world.seed, arrived.world.schools)
    on_roll = sum(len(again.first_roll(school.urn)) for school in again.schools)
    for day in again.school_days(date(2026, 9, 7))[:DAYS]:
        for school in again.happenings(day).values():
            on_roll += len(school.admitted) - len(school.left)
    assert result.pupils == on_roll


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_mark_deleted_in_the_warehouse_is_missing(arrived: Arrived, system: str) -> None:
    mark = mark_of(arrived, arrived.school(system))
    deliver(arrived, "attendance_mark", [(mark, -1)])
    found = only(arrived.compare())
    assert (found.where, found.kind, found.entity) == ("warehouse", "missing", "attendance_mark")
    assert found.school == mark["school"]
    assert found.key.startswith(mark_key(mark))


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_name_changed_in_the_warehouse_is_changed(arrived: Arrived, system: str) -> None:
    school = arrived.school(system)
    learner = records(arrived.schools, school, "learner")[0]
    wrong = {**learner, "given_name": learner["given_name"] + "e"}
    deliver(arrived, "learner", [(learner, -1), (wrong, 1)])
    found = only(arrived.compare())
    assert (found.where, found.kind, found.entity, found.detail) == (
        "warehouse",
        "changed",
        "learner",
        "given_name",
    )
    assert found.key.startswith(pupil_digest(school.urn, learner["upn"]))


@pytest.mark.parametrize("entity", ENTITIES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_record_that_is_twice_in_the_warehouse_is_a_duplicate(
    arrived: Arrived, system: str, entity: str
) -> None:
    record = records(arrived.schools, arrived.school(system), entity)[0]
    deliver(arrived, entity, [(record, 1)])
    found = only(arrived.compare())
    assert (found.where, found.kind, found.entity, found.detail) == (
        "warehouse",
        "duplicate",
        entity,
        "2 live copies",
    )


def test_two_different_records_for_one_mark_are_a_duplicate(arrived: Arrived) -> None:
    mark = mark_of(arrived, arrived.school("inkwell"))
    deliver(arrived, "attendance_mark", [({**mark, "code": "O"}, 1)])
    assert only(arrived.compare()).kind == "duplicate"


def test_a_pupil_whom_no_school_has_is_extra(arrived: Arrived) -> None:
    learner = records(arrived.schools, arrived.school("chalkstone"), "learner")[0]
    deliver(arrived, "learner", [({**learner, "upn": "A123456789012"}, 1)])
    found = only(arrived.compare())
    assert (found.where, found.kind, found.entity) == ("warehouse", "extra", "learner")


def test_a_pupil_at_a_school_that_is_not_of_this_world_is_extra(arrived: Arrived) -> None:
    learner = records(arrived.schools, arrived.school("tallybook"), "learner")[0]
    deliver(arrived, "learner", [({**learner, "school": "100000"}, 1)])
    found = only(arrived.compare())
    assert (found.school, found.kind) == ("100000", "extra")


def test_what_no_head_shows_is_not_there(arrived: Arrived) -> None:
    head = arrived.versions()
    deliver(arrived, "attendance_mark", [(mark_of(arrived, arrived.school("inkwell")), -1)])
    assert arrived.compare(head).differences == ()
    assert arrived.compare().differences != ()


def test_an_older_state_of_a_pupil_is_no_difference_where_the_school_keeps_none(arrived: Arrived) -> None:
    learner = records(arrived.schools, arrived.school("inkwell"), "learner")[0]
    deliver(arrived, "learner", [({**learner, "valid_from": "2012-09-01", "town": "Elsewhere"}, 1)])
    assert arrived.compare().differences == ()


def test_an_older_state_of_a_pupil_is_extra_where_the_school_keeps_its_history(arrived: Arrived) -> None:
    learner = records(arrived.schools, arrived.school("tallybook"), "learner")[0]
    deliver(arrived, "learner", [({**learner, "valid_from": "2012-09-01", "town": "Elsewhere"}, 1)])
    assert only(arrived.compare()).kind == "extra"


AUTHORITY_PLANTS: dict[str, tuple[str, ...]] = {
    "DELETE FROM attendance_mark WHERE upn = ? AND date = ? AND session = ?": ("missing",),
    "UPDATE attendance_mark SET withdrawn = 1 WHERE upn = ? AND date = ? AND session = ?": ("missing",),
    "UPDATE attendance_mark SET code = 'Q' WHERE upn = ? AND date = ? AND session = ?": ("changed",),
    """
    INSERT INTO attendance_mark
    SELECT school, upn, date, session, code, '2026-09-30', record_version, withdrawn, sender
    FROM attendance_mark WHERE upn = ? AND date = ? AND session = ?
    """: ("extra", "duplicate"),
}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("statement", "kinds"), AUTHORITY_PLANTS.items(), ids=["deleted", "withdrawn", "changed", "twice"]
)
def test_what_an_authority_lost_changed_or_has_twice_is_seen(
    arrived: Arrived, system: str, statement: str, kinds: tuple[str, ...]
) -> None:
    school = arrived.school(system)
    mark = mark_of(arrived, school)
    change(
        authority_database(arrived.schools, school.la_code),
        statement,
        mark["upn"],
        mark["date"],
        mark["session"],
    )
    result = arrived.compare()
    assert tuple(found.kind for found in result.differences) == kinds
    assert {(found.where, found.school) for found in result.differences} == {("authority", school.urn)}
    assert all(found.key.startswith(mark_key(mark)) for found in result.differences)


def test_an_address_that_an_authority_has_wrong_is_seen(arrived: Arrived) -> None:
    school = arrived.school("inkwell")
    upn = records(arrived.schools, school, "learner")[0]["upn"]
    change(
        authority_database(arrived.schools, school.la_code),
        "UPDATE learner SET town = 'X' WHERE upn = ?",
        upn,
    )
    found = only(arrived.compare())
    assert (found.where, found.kind, found.detail) == ("authority", "changed", "town")


def test_records_that_went_to_the_wrong_authority_are_seen(arrived: Arrived) -> None:
    school = arrived.world.schools[0]
    other = next(one.code for one in arrived.world.authorities if one.code != school.la_code)
    receive(authority_database(arrived.schools, other), "attendance_mark", [mark_of(arrived, school)])
    found = only(arrived.compare())
    assert (found.school, found.kind) == (f"{school.urn} in {other}", "extra")


@pytest.mark.parametrize(
    ("system", "statement"),
    [
        ("tallybook", "UPDATE person SET surname = 'Changed' WHERE upn = ?"),
        ("inkwell", "UPDATE PUPILS SET Surname = 'Changed' WHERE UPN = ?"),
        (
            "chalkstone",
            """
            UPDATE learner_attribute SET value = 'Changed' WHERE attribute = 'name.family' AND learner IN
            (SELECT learner FROM learner_attribute WHERE attribute = 'upn' AND value = ?)
            """,
        ),
    ],
)
def test_what_a_school_changed_and_nobody_heard_of_is_seen_on_both_sides(
    arrived: Arrived, system: str, statement: str
) -> None:
    school = arrived.school(system)
    before = records(arrived.schools, school, "learner")
    upn = next(one["upn"] for one in before if [other["upn"] for other in before].count(one["upn"]) == 1)
    change(school_database(arrived.schools, school.urn), statement, upn)
    result = arrived.compare()
    assert [(found.where, found.kind, found.detail) for found in result.differences] == [
        ("warehouse", "changed", "family_name"),
        ("authority", "changed", "family_name"),
    ]


def test_too_little_is_a_difference_even_when_it_agrees(arrived: Arrived) -> None:
    result = arrived.compare(minimum_schools=7, minimum_pupils=1_000, minimum_marks=60_000)
    assert {(found.where, found.entity) for found in result.differences} == {
        ("warehouse", "school"),
        ("warehouse", "enrolment"),
        ("warehouse", "attendance_mark"),
        ("authority", "enrolment"),
        ("authority", "attendance_mark"),
    }
    assert {found.kind for found in result.differences} == {"too few"}


def test_an_empty_warehouse_misses_everything_and_names_nobody(arrived: Arrived) -> None:
    result = arrived.compare({})
    missing = [found for found in result.differences if found.kind == "missing"]
    assert len([found for found in missing if found.entity == "attendance_mark"]) == result.marks
    text = msgspec.json.encode(result).decode()
    for school in arrived.world.schools:
        for learner in records(arrived.schools, school, "learner"):
            assert learner["upn"] not in text
            assert learner["address_line1"] not in text


def test_the_warehouse_is_read_at_its_newest_head(settings: Settings, everything: Arrived) -> None:
    shutil.copytree(everything.schools, settings.folder("schools"), dirs_exist_ok=True)
    shutil.copytree(everything.warehouse, settings.folder("warehouse"), dirs_exist_ok=True)
    assert settings.database is not None
    assert {found.kind for found in _reconcile(settings).differences} == {"missing", "too few"}
    with psycopg.connect(settings.database) as connection:
        for number, tables in enumerate([dict.fromkeys(ENTITIES, 0), everything.versions()], 1):
            connection.execute(
                "INSERT INTO warehouse.head (number, batch, position, tables) VALUES (%s, %s, 1, %s)",
                (number, uuid.uuid4(), msgspec.json.encode(tables).decode()),
            )
    assert _reconcile(settings).differences == ()


def test_without_a_simulation_there_is_nothing_to_reconcile(settings: Settings) -> None:
    with pytest.raises(Problem, match="no simulated schools"):
        _reconcile(settings)


def _reconcile(settings: Settings) -> Reconciliation:
    return reconcile(settings, minimum_schools=6, minimum_pupils=100, minimum_marks=800)


def _date(value: Any) -> date | None:
    return date.fromisoformat(value) if value else None
