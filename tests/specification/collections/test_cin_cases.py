"""The rules of the census of children in need against the published cases: input tables, and the places that fail.

The cases were observed from a public validator, one for each of half the rules. `pytest -s` prints the report, rule by rule.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commonroom.collections.engine import Engine
from commonroom.collections.loader import load
from commonroom.collections.tables import Tables
from tests.specification.collections.cin_tables import CaseTables, Cell

# Rules whose places differ from the published ones, with the reason. Nothing else may differ.
DEVIATIONS: dict[str, str] = {}


@pytest.fixture(scope="module")
def cases(shared: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    file = shared / "standards" / "files" / "cin" / "rule_cases.json"
    if not file.is_file():
        pytest.skip("no shared data folder")
    rules = json.loads(file.read_text("utf-8"))["rules"]
    return [(rule, case) for rule in rules for case in rule["cases"]]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(load("cin", 2026))


@pytest.fixture(scope="module")
def tables(engine: Engine) -> Iterator[Tables]:
    made = Tables(engine.collection)
    yield made
    made.close()


def found_and_expected(
    engine: Engine, tables: Tables, rule: dict[str, Any], case: dict[str, Any]
) -> tuple[set[Cell], set[Cell], int]:
    """Places found and expected, and how many findings there are of the whole return."""
    tables.clear()
    loaded = CaseTables(engine.collection, tables, case["input"])
    found, reason = engine.run(rule["code"], tables, engine.unreadable(tables))
    assert not reason or found, f"{rule['code']}: {reason}"
    whole = sum(place.row is None for one in found for place in one.places)
    return loaded.cells(found), loaded.expected(case["expected_locations"]), whole


def test_every_case_gives_the_expected_places(
    engine: Engine, tables: Tables, cases: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    different = {}
    print(f"\n{'rule':<7}{'input tables':<55}{'expected':>9}{'found':>7}")
    for rule, case in cases:
        found, expected, whole = found_and_expected(engine, tables, rule, case)
        level = 1 if case["expected_la_level"] else 0
        inputs = ", ".join(f"{name} ({len(table['rows'])})" for name, table in case["input"].items())
        differs = found != expected or whole != level
        print(
            f"{rule['code']:<7}{inputs[:54]:<55}{len(expected) + level:>9}{len(found) + whole:>7}{'  differs' * differs}"
        )
        if differs:
            different[rule["code"]] = (sorted(expected - found, key=str), sorted(found - expected, key=str))
    assert {code: parts for code, parts in different.items() if code not in DEVIATIONS} == {}
    assert sorted(different) == sorted(DEVIATIONS)


def test_the_cases_are_about_rules_of_the_collection_with_the_same_severity(
    engine: Engine, cases: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    ours = engine.collection.rules
    assert {rule["code"]: rule["kind"].lower() for rule, _ in cases} == {
        rule["code"]: ours[rule["code"]].severity for rule, _ in cases
    }
    assert len(cases) == 48
