"""How live.yaml is read: what does not fit is refused, periods are those in which an item stayed the same."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from commonroom.collections.live import Maker, on
from commonroom.collections.live_compiler import When
from commonroom.collections.loader import load, names, years
from commonroom.collections.model import Collection, Period
from commonroom.collections.records import read_back
from commonroom.collections.tables import Tables
from commonroom.problems import Problem
from commonroom.standard import load as load_standard

COLLECTION = """
name: roll
year: "2026"
title: Roll
description: Who is here.
returned_by: [school]
reference_date: 2026-10-01
period: {start: 2026-09-01, end: 2026-09-30}
modules:
  - {name: Header, many: false, items: [{name: Day, type: date}]}
  - {name: Pupil, items: [{name: UPN, item: learner.upn}, {name: Present, type: integer}, {name: Meals, type: boolean}]}
  - {name: Meal, parent: Pupil, items: [{name: From, type: date}, {name: To, type: date}]}
"""
HEADER = "Header: {from: organisation, items: {Day: $reference_date}}"
PUPIL = "Pupil: {from: learner, mapped: true}"
MEAL = """
Meal:
  from: learner
  periods_of: [fsm]
  under: [upn]
  where: is_true(fsm)
  order: [valid_from]
  items: {From: valid_from, To: valid_to}
"""
KINDS = {"date": pa.date32(), "boolean": pa.bool_(), "integer": pa.int64()}


def declared(folder: Path, *modules: str) -> Collection:
    path = folder / "roll" / "2026"
    path.mkdir(parents=True)
    (path / "collection.yaml").write_text(COLLECTION, "utf-8")
    body = "\n".join(modules).strip().replace("\n", "\n  ")
    (path / "live.yaml").write_text(f"modules:\n  {body}\n", "utf-8")
    return load("roll", 2026, [folder])


def table(entity: str, *rows: dict[str, Any]) -> Any:
    """Facts of an entity as an Arrow table, blank where nothing is said."""
    items = load_standard().entities[entity].items
    schema = pa.schema(
        [
            *((item.name, KINDS.get(item.type, pa.string())) for item in items),
            *((name, pa.date32()) for name in ("valid_from", "valid_to")),
        ]
    )
    return pa.Table.from_pylist(
        [{name: row.get(name) for name in schema.names} for row in rows], schema=schema
    )


def made(collection: Collection, **facts: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    tables = Tables(collection)
    try:
        Maker(collection).fill(tables, lambda entity, _: table(entity, *facts.get(entity, [])))
        return read_back(tables)
    finally:
        tables.close()


def test_periods_are_the_runs_in_which_nothing_changed(tmp_path: Path) -> None:
    collection = declared(tmp_path, HEADER, PUPIL.replace("learner,", "learner, order: [upn],"), MEAL)

    def state(
        upn: str, fsm: bool | None, first: date, last: date | None = None, town: str = ""
    ) -> dict[str, Any]:
        return {"school": "100", "upn": upn, "fsm": fsm, "town": town, "valid_from": first, "valid_to": last}

    history = [
        state("A", True, date(2026, 9, 1)),
        state("A", True, date(2026, 9, 5), town="moved house"),
        state("A", False, date(2026, 9, 10)),
        state("A", True, date(2026, 9, 20), date(2026, 9, 24)),
        state("A", True, date(2026, 9, 27)),
        state("B", False, date(2026, 9, 1)),
        state("C", None, date(2026, 9, 1)),
        state("C", True, date(2026, 9, 2), date(2026, 9, 8)),
        state("C", True, date(2026, 9, 9), date(2026, 9, 9)),
    ]
    present = [
        state("A", True, date(2026, 9, 27)),
        state("B", False, date(2026, 9, 1)),
        state("C", True, date(2026, 9, 9)),
    ]

    def facts(entity: str, when: When) -> Any:
        rows = {"learner": history if when == "until the reference date" else present}
        return table(entity, *rows.get(entity, []))

    tables = Tables(collection)
    Maker(collection).fill(tables, facts)
    found = {row["UPN"]: row.get("Meal") for row in read_back(tables)["Pupil"]}
    tables.close()
    assert found == {
        "A": [
            {"From": "2026-09-01", "To": "2026-09-09"},
            {"From": "2026-09-20", "To": "2026-09-24"},
            {"From": "2026-09-27"},
        ],
        "B": None,
        "C": [{"From": "2026-09-02", "To": "2026-09-09"}],
    }


def test_figures_belong_to_their_row_and_are_none_without_records(tmp_path: Path) -> None:
    pupil = """
    Pupil:
      from: learner
      figures:
        - {over: attendance_mark, taken: over the period, same: [upn], values: {here: "count(*) FILTER (WHERE code <> 'I')"}}
      items: {UPN: upn, Present: here, Meals: "fsm"}
    """.replace("\n    ", "\n")
    marks = [{"school": "1", "upn": "A", "code": code} for code in ("/", "I", "\\")]
    learners: list[dict[str, Any]] = [{"school": "1", "upn": "A", "fsm": True}, {"school": "1", "upn": "B"}]
    found = made(declared(tmp_path, pupil), attendance_mark=marks, learner=learners)["Pupil"]
    assert found == [{"UPN": "A", "Present": "2", "Meals": "true"}, {"UPN": "B", "Present": "0"}]


@pytest.mark.parametrize(
    ("modules", "code", "said"),
    [
        ("Pupil: {from: pupil}", "CR-180", "the standard has no entity `pupil`"),
        ("Nobody: {from: learner}", "CR-180", "there is no such module"),
        ("Pupil: {from: learner, items: {Name: upn}}", "CR-180", "it has no item `Name`"),
        ("Pupil: {from: learner, with: {address: [upn]}}", "CR-180", "may be several records"),
        ("Pupil: {from: learner, with: {enrolment: [date]}}", "CR-180", "learner has no item `date`"),
        ("Meal: {from: learner, under: [upn]}", "CR-180", "its parent Pupil is not made"),
        (f"{PUPIL}\nMeal: {{from: learner}}", "CR-180", "to which Pupil a row belongs"),
        (
            f"{PUPIL}\nMeal: {{from: learner, under: [fsm]}}",
            "CR-180",
            "rows of Pupil are known by school, upn",
        ),
        ("Pupil: {from: learner, items: {UPN: (SELECT 1)}}", "CR-182", "is not in the language"),
        ("Pupil: {from: learner, where: code = 'I'}", "CR-182", "has no item `code`"),
        ("Pupil: {from: learner, items: {Present: count(*)}}", "CR-182", "is not in the language"),
        ("Pupil: {from: learner, items: {Present: date_of_birth + upn}}", "CR-184", ""),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, modules: str, code: str, said: str) -> None:
    collection = declared(tmp_path, *modules.split("\n"))
    with pytest.raises(Problem) as found:
        made(collection)
    assert found.value.code == code
    assert said in str(found.value)
    assert "live.yaml" in str(found.value)


def test_an_unknown_key_of_the_file_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"CR-001.*live\.yaml, line 2"):
        declared(tmp_path, "Pupil: {from: learner, wher: a}")


def test_the_period_moves_with_the_reference_date_unless_it_is_given(tmp_path: Path) -> None:
    collection = declared(tmp_path, HEADER)
    moved = on(collection, date(2027, 10, 8))
    assert (moved.reference_date, moved.period) == (
        date(2027, 10, 8),
        Period(date(2027, 9, 8), date(2027, 10, 7)),
    )
    own = Period(date(2026, 9, 2), date(2026, 9, 3))
    assert on(collection, None, own).period == own
    assert on(collection, None) is collection


def test_every_collection_that_can_be_made_from_the_record_compiles_and_runs() -> None:
    live = [one for name in names() for year in years(name) if (one := load(name, year)).live]
    assert {one.name for one in live} >= {"school-census-spring"}
    for collection in live:
        assert set(map(len, made(collection).values())) == {0}
