"""One measure on DuckDB in process, on Sail, and on a cluster of Apache Spark with two workers, over the same files.

    python bench/engines.py [--rows 5000000]
    PYTHONPATH=.tools/spark python bench/engines.py     # with Spark, after `make spark`

Every answer must be the same to the last digit. Medians of three, after one that is not counted: a cluster's first
question starts its executors. The result goes to test-results/bench_engines.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))

from commonroom.engines import delta
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import analytics, compilation, measures, tables
from commonroom.warehouse.compilation import MEMBERS, PERIODS
from tests.engines import servers

RESULT = Path(__file__).parents[1] / "test-results" / "bench_engines.json"
MEASURES = ("absence_overall", "persistent_absence")
ROUNDS, FILES, PUPILS_OF_SCHOOL, DAYS = 3, 4, 300, 50
FIRST = date(2026, 9, 7)
LAST = FIRST + timedelta(days=DAYS - 1)
# Two marks a pupil and day; one in twelve is an absence, one in fifty was corrected.
_MARKS = """
SELECT
    CAST(100000 + i // (2 * $days * $pupils) AS VARCHAR) AS school,
    printf('X99742%07d', i // (2 * $days)) AS upn,
    day AS date,
    CASE i % 2 WHEN 0 THEN 'AM' ELSE 'PM' END AS session,
    CASE hash(i) % 12 WHEN 0 THEN 'I' ELSE '/' END AS code,
    day AS valid_from,
    CAST(NULL AS DATE) AS valid_to,
    CAST(CASE WHEN corrected THEN -1 ELSE 1 END AS TINYINT) AS weight,
    CAST(1 AS BIGINT) AS version,
    i AS known_position,
    TIMESTAMP '2026-09-07 18:00:00' AS known_from,
    'message' AS message,
    'urn:sender' AS sender,
    CAST(NULL AS VARCHAR) AS origin,
    printf('learner%09d', i // (2 * $days)) AS learner_id
FROM (
    SELECT i, CAST(DATE '2026-09-07' + CAST(i // 2 % $days AS INTEGER) AS DATE) AS day, false AS corrected
    FROM range($first, $last) AS numbers(i)
    UNION ALL
    SELECT i, CAST(DATE '2026-09-07' + CAST(i // 2 % $days AS INTEGER) AS DATE), true
    FROM range($first, $last) AS numbers(i) WHERE i % 50 = 0
)
"""


def build(settings: Settings, rows: int) -> analytics.Source:
    """The marks in a few files of one table version."""
    table = tables.of("attendance_mark")
    columns = ", ".join(table.schema.names)
    folder, version = table.folder(settings), None
    for number in range(FILES):
        bounds = {"first": rows * number // FILES, "last": rows * (number + 1) // FILES}
        values = {**bounds, "days": DAYS, "pupils": PUPILS_OF_SCHOOL}
        sql = f"SELECT {columns} FROM ({_MARKS})"  # noqa: S608 - our own columns
        arrow = duckdb.sql(sql, params=values).to_arrow_table().cast(table.schema)
        version = delta.append(folder, arrow, after=version, batch=delta.Batch(number + 1, str(number)))
    assert version is not None
    files = tuple(file.path for file in delta.files_of(folder, version))
    read = [
        name for one in MEASURES for name in compilation.columns_of(measures.named(one), "attendance_mark")
    ]
    return analytics.Source("attendance_mark", files, tuple(dict.fromkeys(read)), FIRST, LAST, None)


def asked(rows: int) -> dict[str, pa.Table]:
    """All of it as one period, and its weeks; every school."""
    days = [FIRST + timedelta(days=number) for number in range(DAYS)]
    named = [(day, "all of it") for day in days] + [(day, f"week {n // 7}") for n, day in enumerate(days)]
    schools = [str(100000 + n) for n in range(rows // (2 * DAYS * PUPILS_OF_SCHOOL) + 1)]
    dates, names = zip(*named, strict=True)
    return {
        PERIODS: pa.table({"day": pa.array(dates, pa.date32()), "period": pa.array(names, pa.string())}),
        MEMBERS: pa.table({"school": schools, "member": schools}),
    }


@contextlib.contextmanager
def engines(settings: Settings, folder: Path) -> Iterator[dict[str, analytics.Engine]]:
    """Those that can be had here, by name."""
    duck = Duck(settings, [settings.folder("warehouse")])
    found: dict[str, analytics.Engine] = {"DuckDB": analytics.InProcess(duck)}
    with contextlib.ExitStack() as stack:
        # Before Sail's client: once gRPC is at work in a process, no driver can be started in it.
        if why := servers.missing():
            print(f"SKIPPED Spark: {why}")
        else:
            cluster = servers.Cluster(folder / "spark")
            stack.callback(cluster.stop)
            stack.enter_context(servers.environment(**cluster.environment))
            found["Spark"] = analytics.OnCluster(msgspec.structs.replace(settings, analytics=cluster.address))
        sail = servers.Sail(folder / "sail")
        stack.callback(sail.kill)
        found["Sail"] = analytics.OnCluster(msgspec.structs.replace(settings, analytics=sail.address))
        yield found
        duck.close()


def measured(rows: int) -> dict[str, Any]:
    """Seconds by measure and engine."""
    with tempfile.TemporaryDirectory(prefix="commonroom-bench-") as temporary:
        folder = Path(temporary)
        settings = Settings(data=folder / "data")
        source, beside = build(settings, rows), asked(rows)
        figures: dict[str, dict[str, float]] = {}
        first: dict[str, float] = {}
        with engines(settings, folder) as found:
            for name in MEASURES:
                answers = set()
                for engine_name, engine in found.items():
                    times = []
                    for _ in range(ROUNDS + 1):
                        begun = time.perf_counter()
                        answer = engine.rows(measures.named(name), {compilation.FACTS: source}, beside)
                        times.append(time.perf_counter() - begun)
                        answers.add(repr(sorted(sorted(row.items()) for row in answer)))
                    first.setdefault(engine_name, round(times[0], 2))
                    figures.setdefault(name, {})[engine_name] = round(statistics.median(times[1:]), 2)
                assert len(answers) == 1, f"the engines differ on {name}"
        size = sum(Path(file).stat().st_size for file in source.files)
    return {
        "rows": rows + rows // 50,
        "bytes": size,
        "seconds": figures,
        "first_question_seconds": first,
        "load_average": os.getloadavg()[0],
        "machine": {"python": platform.python_version(), "cores": os.cpu_count()},
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5_000_000)
    found = measured(parser.parse_args().rows)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(f"{found['rows']:,} rows, {found['bytes']:,} bytes, load average {found['load_average']:.1f}")
    print(f"first question: {found['first_question_seconds']}")
    for name, times in found["seconds"].items():
        print(f"{name}: {times}")


if __name__ == "__main__":
    main()
