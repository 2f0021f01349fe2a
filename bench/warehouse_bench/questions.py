"""Absence of a week by school: our compiled measure beside SQL written by hand, over the same files."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from commonroom import standard
from commonroom.warehouse import compilation, measures
from commonroom.warehouse.analytics import InProcess, Source
from commonroom.warehouse.compilation import FACTS, MEMBERS, PERIODS
from warehouse_bench.store import MARKS, Store, Took

MEASURE = "absence_overall"
# As somebody would write it who knows the data: one pass, sums by pupil, then by school.
_BY_HAND = """
SELECT school, sum(missed) AS numerator, sum(possible) AS denominator, count(*) AS units
FROM (
    SELECT
        school, upn,
        sum(CASE WHEN code IN ({possible}) THEN weight ELSE 0 END) AS possible,
        sum(CASE WHEN code IN ({missed}) THEN weight ELSE 0 END) AS missed
    FROM read_parquet([{files}])
    WHERE valid_from BETWEEN DATE '{first}' AND DATE '{last}'
    GROUP BY school, upn
) AS pupils
WHERE possible > 0
GROUP BY school
"""


def measure(
    store: Store, urns: list[str], days: list[date], rounds: int, known_at: datetime, *, warm: bool = True
) -> dict[str, Any]:
    """By turns: by hand, ours as known now, ours as known at a time. Medians.

    `warm` asks everything once before, for the files' pages.
    """
    by_hand, ours = _by_hand(store, days), _ours(store, urns, days)
    questions: dict[str, Callable[[], list[Any]]] = {
        "by hand": by_hand,
        "now": lambda: ours(None),
        "known at": lambda: ours(known_at),
    }
    took: dict[str, list[Took]] = {name: [] for name in questions}
    answers = {}
    for _ in range(rounds + warm):
        for name, ask in questions.items():
            one = Took()
            with one.more():
                answers[name] = ask()
            took[name].append(one)
    if _numbers(answers["by hand"]) != _numbers(answers["now"]):
        raise RuntimeError("the measure and the SQL by hand differ")
    found = {
        name: {
            "wall_s": round(statistics.median(one.wall for one in many[warm:]), 4),
            "cpu_s": round(statistics.median(one.cpu for one in many[warm:]), 4),
        }
        for name, many in took.items()
    }
    return {
        "schools": len(answers["now"]),
        "took": found,
        "ratios": {
            "measure to SQL by hand": round(found["now"]["cpu_s"] / found["by hand"]["cpu_s"], 3),
            "measure to SQL by hand, wall": round(found["now"]["wall_s"] / found["by hand"]["wall_s"], 3),
            "known at to now": round(found["known at"]["cpu_s"] / found["now"]["cpu_s"], 3),
            "known at to now, wall": round(found["known at"]["wall_s"] / found["now"]["wall_s"], 3),
        },
    }


def _by_hand(store: Store, days: list[date]) -> Callable[[], list[Any]]:
    codes = standard.load().codesets[
        next(i.codeset for i in standard.load().entities[MARKS].items if i.name == "code") or ""
    ]
    missed = [
        code
        for category in ("authorised_absence", "unauthorised_absence")
        for code in codes.with_attribute("category", category)
    ]
    sql = _BY_HAND.format(
        possible=_quoted(codes.with_attribute("possible", "true")), missed=_quoted(missed),
        files=_quoted([file.path for file in store.files()]), first=days[0], last=days[-1],
    )  # fmt: skip
    return lambda: store.duck.query(sql)


def _ours(store: Store, urns: list[str], days: list[date]) -> Callable[[datetime | None], list[Any]]:
    declared = measures.named(MEASURE)
    measures.duckdb_sql(MEASURE)  # compiled once in a process, before the first question
    engine = InProcess(store.duck)
    beside = {
        PERIODS: pa.table(
            {"day": pa.array(days, pa.date32()), "period": pa.array(["week"] * len(days), pa.string())}
        ),
        MEMBERS: pa.table({"school": urns, "member": urns}),
    }
    files, columns = (
        tuple(file.path for file in store.files()),
        tuple(compilation.columns_of(declared, MARKS)),
    )

    def ask(known_at: datetime | None) -> list[Any]:
        source = Source(MARKS, files, columns, days[0], days[-1], known_at)
        return engine.rows(declared, {FACTS: source}, beside)

    return ask


def _numbers(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {
        (row.get("school") or row["member"], row["numerator"], row["denominator"], row["units"])
        for row in rows
    }


def _quoted(values: Any) -> str:
    return ", ".join("'" + str(value).replace("'", "''") + "'" for value in values)
