"""What other schools sent of the same learners, laid beside the units of a measure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pytest

from commonroom.problems import Problem
from commonroom.warehouse import compilation, disclosure, measures, own, periods, spans
from commonroom.warehouse.model import Measure
from commonroom.warehouse.same_learners import Same

# Of the pupils in year 11 at the end of the year: the best mark in reading that anybody tells of, and whether they are in
# year 12 anywhere forty days later.
DECLARED = """
name: of_former_pupils
title: Former pupils, by what is known of them elsewhere
meaning: Invented for a test of what is known elsewhere.
source: "Nobody's definition"
entity: enrolment
taken: at the end of the period
unit: [school, upn]
each:
  in_year_11: "sum(nc_year == '11' and entry_date <= on)"
elsewhere:
  assessment_result:
    only: stage == 'KS2' and subject == 'REA'
    each:
      reading: max(whole(result))
  autumn:
    entity: enrolment
    days_after: "40"
    each:
      goes_on: "sum(nc_year == '12' and entry_date <= on and (leaving_date is None or leaving_date >= on))"
population: in_year_11 > 0
numerator: sum(reading)
denominator: count(goes_on > 0)
shown_as: ratio
levels: [school]
grains: [year]
suppression: {}
"""
YEAR = periods.Period("year", date(2025, 9, 1), date(2026, 8, 31), "2025/26", date(2026, 7, 21))
A, B = "990001", "990002"
FIRST = date(2020, 9, 1)


@pytest.fixture
def declared(tmp_path: Path) -> Measure:
    (tmp_path / "of_former_pupils.yaml").write_text(DECLARED, "utf-8")
    return measures.load(tmp_path)["of_former_pupils"]


def stay(school: str, upn: str, learner: str, year: str, first: date, **more: Any) -> dict[str, Any]:
    return {
        "school": school, "upn": upn, "learner_id": learner, "nc_year": year, "entry_date": first,
        "valid_from": first, "weight": 1, **more,
    }  # fmt: skip


def read(school: str, learner: str, result: str, weight: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "school": school, "upn": f"{learner} then", "learner_id": learner, "stage": "KS2", "subject": "REA",
        "result": result, "year": 2021, "valid_from": date(2021, 7, 9), "weight": weight, **more,
    }  # fmt: skip


STAYS = [
    stay(A, "1", "one", "11", FIRST),
    stay(A, "2", "two", "11", FIRST),
    stay(A, "3", "three", "11", FIRST),
    stay(A, "4", "four", "11", FIRST),
    stay(A, "5", "five", "11", FIRST),
    stay(B, "1", "one", "12", date(2026, 9, 3)),
    stay(B, "2", "another", "12", date(2026, 9, 3)),  # the same UPN by mistake
    stay(B, "3 now", "three", "12", date(2026, 10, 11)),  # a day too late
    stay(
        B, "4 now", "four by another key", "12", date(2026, 9, 3), leaving_date=date(2026, 10, 10)
    ),  # the last day counts
]
RESULTS = [
    read("primary", "one", "104"),
    read(A, "one", "104"),  # as the primary school told it: a copy counts once
    read("primary", "two", "99"),
    read("primary", "two", "99", -1),  # taken back
    read("primary", "two", "N"),  # no score
    read("primary", "three", "110", valid_from=date(2026, 9, 1)),  # after the day of the state
    read("primary", "five by another key", "90"),
    read("primary", "nobody", "120"),
    read("primary", "one", "120", subject="MAT"),
    read("primary", "one", "120", stage="KS1"),
]
SAME = Same("some", (("five", "five by another key"), ("four by another key", "four")))


def asked(declared: Measure, today: date) -> list[tuple[Any, ...]]:
    """The measure over these facts, as DuckDB runs it."""
    connection = duckdb.connect()
    given: dict[str, Sequence[dict[str, Any]]] = {"enrolment": STAYS, "assessment_result": RESULTS}
    for name, entity in compilation.entities_of(declared).items():
        columns = compilation.columns_of(declared, entity)
        kinds = {column.name: column.arrow for column in compilation.tables.of(entity).columns}
        facts = pa.table(
            {
                column: pa.array([row.get(column) for row in given[entity]], kinds[column])
                for column in columns
            }
        )
        connection.register(name, facts)
    connection.register("periods", spans.period_rows(declared, [YEAR], today))
    connection.register("same_learners", SAME.table())
    connection.register("members", pa.table({"school": [A, B], "member": [A, B]}))
    sql = ibis.to_sql(compilation.expression(declared), dialect="duckdb")
    named = f"SELECT member, numerator, denominator, units FROM ({sql}) ORDER BY member"
    return connection.execute(named).fetchall()


def test_what_others_say_of_the_same_learner_counts(declared: Measure) -> None:
    assert asked(declared, date(2026, 11, 1)) == [(A, 104 + 90, 2, 5)]


def test_there_is_no_figure_before_the_last_day_is_over(declared: Measure) -> None:
    assert asked(declared, date(2026, 10, 11))
    assert asked(declared, date(2026, 10, 10)) == []
    assert disclosure.nothing(declared).symbol == "x"


def test_it_reads_the_same_entity_as_two(declared: Measure) -> None:
    assert compilation.entities_of(declared) == {
        "facts": "enrolment",
        "elsewhere_assessment_result": "assessment_result",
        "elsewhere_autumn": "enrolment",
    }
    assert compilation.days_after(declared, "elsewhere_autumn") == 40
    assert compilation.days_after(declared, "facts") == 0


FAULTS = {
    'days_after: "40"': ('days_after: "9999"', "`days_after` is 0 to"),
    "entity: enrolment\n    days_after": ("entity: child_population\n    days_after", "an entity with a UPN"),
    "  assessment_result:": ("  no_such:", "an entity with a UPN"),
    "only: stage == 'KS2'": ("only: result == '99'", "is of items of the key"),
    "      goes_on:": ("      reading:", "have one name"),
    "unit: [school, upn]": ("unit: [school]", "units with the pupil's UPN"),
    "at the end of the period": ("over the period", "is for a state"),
    "numerator: sum(reading)": ("numerator: max(reading)", r"no such thing as `max\(reading\)`"),
    "whole(result)": ("whole(year)", "`year` is no text"),
}


@pytest.mark.parametrize("right", FAULTS)
def test_a_faulty_declaration_is_refused(right: str, tmp_path: Path) -> None:
    wrong, told = FAULTS[right]
    assert right in DECLARED
    (tmp_path / "of_former_pupils.yaml").write_text(DECLARED.replace(right, wrong), "utf-8")
    with pytest.raises(Problem, match=told) as raised:
        measures.load(tmp_path)
    assert raised.value.code == "CR-062"


def test_an_organisation_does_not_link_what_others_sent() -> None:
    with pytest.raises(Problem, match=r"CR-286.*would link what other bodies say"):
        own.declared(DECLARED)
