"""The School Census of the three terms: its days, every table and column of 2026, its items in the standard."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date, timedelta
from fnmatch import fnmatch
from pathlib import Path

import pytest

from commonroom.collections.file_model import CsvModule
from commonroom.collections.loader import load
from commonroom.collections.model import Collection, ColumnDef
from commonroom.collections.xml_map import xml_map
from commonroom.standard import load as load_standard

CODES = {"autumn": "AUT", "spring": "SPR", "summer": "SUM"}
TERMS = tuple(CODES)
# Types of the published columns, and what an item may be. A number that is a name, such as a telephone number, is text.
KINDS = {
    "string": {"string", "code", "integer"},
    "numeric": {"integer", "decimal", "string"},
    "date": {"date", "datetime"},
    "time": {"time"},
    "category": {"code", "boolean", "string"},
}
# Columns whose codes are not held against a list, and why.
NO_LIST = {
    "schoolcensus.collection": "the header says SC, or the file is refused",
    "schoolcensus.name": "the collecting system's own word",
    "schoolcensus.lea": "the published list has authorities of the past too, who send no return",
}
# Items that no table of 2026 has; the element is in the files.
XML_ONLY = {
    "School": {"PostCode", "AddressLine1", "AddressLine2", "AddressLine3", "AddressLine4", "AddressLine5"},
    "School in spring": {f"Primary{what}" for what in ("Lodged", "Withdrawn", "Heard", "Upheld", "Rejected")},
    "CBDSLevel": {"CBDSLevel"},
    # The table says it.
    "Pupil": {"OnRoll"},
}
WEDNESDAY, THURSDAY = 2, 3


def census(term: str) -> Collection:
    return load(f"school-census-{term}", 2026)


def columns(shared: Path, term: str) -> dict[str, list[dict[str, str]]]:
    """Table -> its columns in one term."""
    file = shared / "standards" / "files" / "structures" / "school_census_2026_collect_export_columns.csv"
    if not file.is_file():
        pytest.skip("no shared data folder")
    found: dict[str, list[dict[str, str]]] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["term"] == term:
                found.setdefault(row["table"], []).append(row)
    return found


def files(collection: Collection) -> dict[str, tuple[str, CsvModule]]:
    """File -> module and how it stands in it."""
    assert collection.files.csv is not None
    return {
        declared.file: (module, declared)
        for module, declarations in collection.files.csv.modules.items()
        for declared in (declarations if isinstance(declarations, tuple) else (declarations,))
    }


def item_of(collection: Collection, table: str, column: str) -> ColumnDef | None:
    """The item of a column; None for an id column."""
    module, declared = files(collection)[table]
    assert collection.files.csv is not None
    name = column.lower()
    if name in (declared.key, declared.parent_key):
        return None
    if any(fnmatch(name, pattern.lower()) for pattern in collection.files.csv.ignore):
        return None
    items = {item.name.lower(): item for item in collection.modules[module].items}
    return items[declared.columns.get(name, name).lower()]


def nth_thursday(year: int, month: int, number: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(THURSDAY - first.weekday()) % 7 + 7 * (number - 1))


@pytest.mark.parametrize(("term", "month", "number"), [("spring", 1, 3), ("summer", 5, 3), ("autumn", 10, 1)])
def test_census_day_is_the_thursday_of_the_rule(term: str, month: int, number: int) -> None:
    found = census(term)
    assert found.reference_date == nth_thursday(2026, month, number)
    assert found.opens == found.reference_date
    assert found.deadline is not None
    assert found.deadline - found.reference_date == timedelta(days=27)
    assert found.deadline.weekday() == WEDNESDAY
    assert found.header == {
        "Collection": "SC",
        "Term": found.title.split()[2][:3].upper(),
        "Year": "2026",
    } | {"Term": {"spring": "SPR", "summer": "SUM", "autumn": "AUT"}[term]}


def test_the_terms_follow_one_another_without_a_gap() -> None:
    spring, summer, autumn = census("spring"), census("summer"), census("autumn")
    assert summer.period.start == spring.period.end + timedelta(days=1)
    assert autumn.period.start == summer.period.end + timedelta(days=1)
    assert summer.parameters["previous_census"] == spring.reference_date.isoformat()
    assert autumn.parameters["previous_census"] == summer.reference_date.isoformat()
    # Exclusions reach one term further back than attendance.
    assert summer.parameters["exclusions_start"] == spring.period.start.isoformat()
    assert autumn.parameters["exclusions_start"] == summer.period.start.isoformat()
    assert autumn.period.start < date.fromisoformat(autumn.parameters["half_term_end"]) < autumn.period.end


@pytest.mark.parametrize("term", TERMS)
def test_every_table_has_a_file_and_no_file_is_without_a_table(shared: Path, term: str) -> None:
    assert set(files(census(term))) == set(columns(shared, term))


@pytest.mark.parametrize("term", TERMS)
def test_every_column_has_an_item_of_its_kind(shared: Path, term: str) -> None:
    collection = census(term)
    seen = 0
    for table, rows in columns(shared, term).items():
        for row in rows:
            item = item_of(collection, table, row["column"])
            if item is not None:
                seen += 1
                assert item.type in KINDS[row["type"]], f"{table}.{row['column']}"
    assert seen > 140


@pytest.mark.parametrize("term", TERMS)
def test_every_published_code_is_in_the_list_of_its_item(shared: Path, term: str) -> None:
    collection = census(term)
    known = {name: {code.code for code in codes.codes} for name, codes in load_standard().codesets.items()}
    for table, rows in columns(shared, term).items():
        for row in rows:
            item = item_of(collection, table, row["column"])
            place = f"{table}.{row['column']}"
            if item is None or not row["codes"] or place in NO_LIST:
                continue
            codes = set(row["codes"].split("|"))
            if item.type == "boolean":
                assert codes in ({"0", "1"}, {"Y", "N"}), place
            else:
                assert item.codeset is not None, place
                assert codes <= known[item.codeset], place


@pytest.mark.parametrize("term", TERMS)
def test_items_without_a_column_are_those_that_only_files_have(shared: Path, term: str) -> None:
    collection = census(term)
    used: dict[str, set[str]] = {}
    for table, rows in columns(shared, term).items():
        for row in rows:
            item = item_of(collection, table, row["column"])
            if item is not None:
                used.setdefault(files(collection)[table][0], set()).add(item.name)
    only = {
        name: set(module.by_name) - used.get(name, set())
        for name, module in collection.modules.items()
        if set(module.by_name) - used.get(name, set())
    }
    expected = {name: items for name, items in XML_ONLY.items() if name in collection.modules}
    if term == "spring":
        expected["School"] = expected["School"] | XML_ONLY["School in spring"]
    assert only == expected


@pytest.mark.parametrize("term", TERMS)
def test_items_are_items_of_the_standard(term: str) -> None:
    entities = load_standard().entities
    for module, item in items(census(term)):
        if item.item is not None:
            entity, _, name = item.item.partition(".")
            assert name in {one.name for one in entities[entity].items}, f"{module}.{item.name}"
        if module not in ("Header", "CBDSLevel") and not item.description.startswith("Mark of"):
            assert item.item or (module, item.name) in {("Pupil", "OnRoll")} or module == "School", (
                f"{module}.{item.name}"
            )


def items(collection: Collection) -> Iterator[tuple[str, ColumnDef]]:
    for module in collection.modules.values():
        for item in module.items:
            yield module.name, item


@pytest.mark.parametrize("term", TERMS)
def test_everything_of_a_pupil_is_personal(term: str) -> None:
    collection = census(term)
    for module, item in items(collection):
        if collection.top(module) == "Pupil" and item.name != "OnRoll":
            assert item.personal or item.description.startswith("Mark of"), f"{module}.{item.name}"


def test_elements_of_2013_stand_where_they_stood(shared: Path) -> None:
    file = shared / "standards" / "files" / "structures" / "school_census_2013_element_paths.csv"
    if not file.is_file():
        pytest.skip("no shared data folder")
    with file.open(encoding="utf-8", newline="") as lines:
        old = {row["path"].lstrip("/") for row in csv.DictReader(lines) if row["kind"] == "item"}
    ours = {path for term in TERMS for path in paths(census(term))}
    # What 2026 has no more, or calls otherwise.
    gone = {
        path
        for path in old
        if any(part in path for part in ("/StaffInformation/", "/AnnualExclusion/", "/AnnualAttendance/"))
        or path.rpartition("/")[2]
        in {"SessionsAuthorised", "SessionsUnauthorised", "Gender", "AdoptedFromCare", "InCare"}
        or path.endswith("UnitContactTimePupill")
    }
    assert old - gone - ours == set()


def paths(collection: Collection) -> Iterator[str]:
    """Every element path of a file of the collection."""
    for plans in xml_map(collection).plans.values():
        for plan in plans:
            base = "/".join(plan.steps)
            for place, item in enumerate(plan.module.items):
                yield base if place == plan.own else f"{base}/{item.element}"
