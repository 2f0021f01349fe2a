"""Months of a half-year as bits, tried against a calendar that counts days."""

from __future__ import annotations

import random
from datetime import date, timedelta

import duckdb
import ibis
import pyarrow as pa
import pytest

from commonroom.warehouse import half_year

OCTOBER_TO_MARCH = [10, 11, 12, 1, 2, 3]


def by_days(on: date, start: date | None, end: date | None) -> int:
    """The same by walking through the days of the half-year."""
    first = date(on.year - 1, 10, 1)
    found = 0
    for number in range((date(on.year, 3, 31) - first).days + 1):
        day = first + timedelta(days=number)
        if start is not None and start <= day and (end is None or day <= end):
            found |= 1 << OCTOBER_TO_MARCH.index(day.month)
    return found


@pytest.mark.parametrize("on", [date(2027, 3, 31), date(2028, 3, 30)])
def test_months_of_stays_and_of_all_of_one_person(on: date) -> None:
    chance = random.Random(on.year)
    first = date(on.year - 1, 8, 20)
    stays = []
    for person in range(300):
        for _ in range(chance.randint(1, 3)):
            start = first + timedelta(days=chance.randint(0, 240))
            end = start + timedelta(days=chance.choice([-1, 0, 1, 20, 45, 100]))
            stays.append(
                (person, chance.choice([start, start, start, None]), chance.choice([end, end, None]))
            )
    # The first and last day of each month, where a month more or less would be found.
    edges = [date(2027, 1, 31), date(2027, 2, 1), date(2027, 2, 28), date(2027, 3, 1)]
    stays += [(300 + number, edge, edge) for number, edge in enumerate(edges)]
    stays.append((304, date(2026, 12, 2), date(9999, 12, 31)))  # as some systems write that it goes on
    people, starts, ends = zip(*stays, strict=True)
    rows = pa.table(
        {
            "person": pa.array(people),
            "start": pa.array(starts, pa.date32()),
            "end": pa.array(ends, pa.date32()),
            "on": pa.array([on] * len(stays), pa.date32()),
        }
    )
    table = ibis.table({"person": "int64", "start": "date", "end": "date", "on": "date"}, name="rows")
    counts = table.person != 7
    each = table.group_by("person").aggregate(bits=half_year.months(table.on, table.start, table.end, counts))
    with duckdb.connect() as duck:
        duck.register("rows", rows)
        found = dict(duck.execute(str(ibis.to_sql(each, dialect="duckdb"))).fetchall())
    expected: dict[int, int] = {}
    for person, start, end in stays:
        bits = by_days(on, start, end) if person != 7 else 0
        expected[person] = expected.get(person, 0) | bits
    assert found == expected
    assert {0, half_year.ALL} < set(expected.values())
