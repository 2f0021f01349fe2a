"""Dates that move with the year, and the two helpers of conditions that rules over year groups and times need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from commonroom.collections.engine import Engine
from commonroom.collections.examples import Examples
from commonroom.collections.loader import load
from commonroom.collections.model import Collection
from commonroom.collections.mutators import Mutators, starts
from commonroom.collections.relative_dates import with_dates
from commonroom.problems import Problem

COVER = """
name: pond
year: "2026"
title: Pond
description: A collection for this test.
returned_by: [school]
reference_date: 2026-01-31
period: {start: 2025-08-01, end: 2025-12-31}
parameters: {age_date: 2025-08-31, places: "3"}
modules:
  - name: Duck
    path: Message/Duck
    items:
      - {name: Hatched, type: date, description: First day.}
      - {name: Year, type: code, codeset: nc_year, description: Year group.}
      - {name: Wakes, type: time, description: When it wakes.}
      - {name: Sleeps, type: time, description: When it sleeps.}
"""
RULES = """
rules:
  - code: "1"
    severity: error
    title: Reception and above
    for_each: Duck
    fails_when: place_in('nc_year', Year) >= 5
    point_at: [Year]
    message: "{Year}"
    examples:
      - {fails: true, Duck: {Year: R}}
      - {fails: true, Duck: {Year: "1"}}
      - {fails: false, Duck: {Year: N2}}
      - {fails: false, Duck: {Year: unknown}}
      - {fails: false, Duck: {}}
    mutate: {pick: {Duck: {Hatched: $age_date - 4 years}}, Duck: {Year: R}}
  - code: "2"
    severity: error
    title: Awake for nine hours
    for_each: Duck
    fails_when: minutes_between(Wakes, Sleeps) >= 540
    point_at: [Wakes]
    message: "{Wakes}"
    examples:
      - {fails: true, Duck: {Wakes: "08:00", Sleeps: "17:00"}}
      - {fails: false, Duck: {Wakes: "08:00", Sleeps: "16:59"}}
      - {fails: false, Duck: {}}
    mutate: {from: early, Duck: {Sleeps: "20:00"}}
  - code: "3"
    severity: error
    title: Hatched after the reference date
    for_each: Duck
    fails_when: Hatched > $reference_date
    point_at: [Hatched]
    message: "{Hatched}"
    examples:
      - {fails: true, Duck: {Hatched: $reference_date + 1 day}}
      - {fails: false, Duck: {Hatched: $reference_date}}
      - {fails: false, Duck: {}}
    mutate: {Duck: {Hatched: $reference_date + 1 week}}
"""
VALID = """
Duck:
  - {Hatched: $age_date - 3 years, Year: N1}
  - {Hatched: $age_date - 4 years, Year: N2}
"""


@pytest.fixture
def pond(tmp_path: Path) -> Collection:
    folder = tmp_path / "pond" / "2026"
    folder.mkdir(parents=True)
    (folder / "collection.yaml").write_text(COVER)
    (folder / "rules.yaml").write_text(RULES)
    (folder / "valid.yaml").write_text(VALID)
    (folder / "valid-early.yaml").write_text('Duck: [{Wakes: "05:00", Sleeps: "12:00"}]')
    return load("pond", 2026, [tmp_path])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("$reference_date", "2026-01-31"),
        ("$reference_date - 30 days", "2026-01-01"),
        ("$reference_date + 1 month", "2026-02-28"),
        ("$age_date - 4 years + 1 day", "2021-09-01"),
        ("$period_start + 2 weeks", "2025-08-15"),
        ("2026-01-01", "2026-01-01"),
        ("£3", "£3"),
    ],
)
def test_a_parameter_with_an_offset_is_a_date(pond: Collection, written: str, meant: str) -> None:
    assert with_dates(pond, {"Duck": [{"Hatched": written, "Year": None}]}, "here") == {
        "Duck": [{"Hatched": meant, "Year": None}]
    }


@pytest.mark.parametrize(
    "written", ["$", "$nothing", "$places", "$year", "$age_date - 4", "$age_date - four years"]
)
def test_what_is_no_date_is_refused(pond: Collection, written: str) -> None:
    with pytest.raises(Problem) as refused:
        with_dates(pond, [written], "here")
    assert refused.value.code == "CR-183"
    assert "$age_date" in str(refused.value.remedy)


def test_examples_helpers_and_mutators_of_a_record_that_is_picked(pond: Collection) -> None:
    engine = Engine(pond)
    assert Examples(engine).failures() == []
    mutators = Mutators(engine)
    assert starts(pond) == ["", "early"]
    assert [mutators.judge_valid(start).findings for start in starts(pond)] == [[], []]
    assert {code: mutators.difference(rule) for code, rule in pond.rules.items()} == {
        "1": "",
        "2": "",
        "3": "",
    }


@pytest.mark.parametrize(
    ("mutate", "said"),
    [
        ({"pick": {"Duck": {"Year": "9"}}, "Duck": {"Year": "R"}}, "as it is picked"),
        ({"from": "late", "Duck": {"Year": "R"}}, "no whole valid return"),
    ],
)
def test_a_start_or_a_record_that_is_not_there_is_said(
    pond: Collection, mutate: dict[str, Any], said: str
) -> None:
    import msgspec

    rule = msgspec.structs.replace(pond.rules["1"], mutate=mutate)
    assert said in Mutators(Engine(pond)).difference(rule)
