"""A large extract is made without being held in memory: what a process needs does not grow with the rows."""

from __future__ import annotations

import csv
import resource
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from commonroom.engines import delta
from commonroom.engines.delta import Batch
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import tables
from commonroom.warehouse.extracts import cut, packing
from commonroom.warehouse.extracts.model import Declaration
from commonroom.warehouse.heads import Head

MARKS = "attendance_mark"
A_BATCH = 250_000
MEMORY_MB = 256
KNOWN = datetime(2026, 10, 1)  # noqa: DTZ001 - as the tables have it
FIRST = date(2026, 9, 7)


def filled(settings: Settings, rows: int) -> int:
    """A table of so many marks, in no order, two a pupil and day; its version."""
    table, version = tables.of(MARKS), None
    for number, start in enumerate(range(0, rows, A_BATCH), start=1):
        marks = marks_from(table, start, min(A_BATCH, rows - start))
        version = delta.append(
            table.folder(settings), marks, after=version, batch=Batch(number, f"b{number}")
        )
    assert version is not None
    return version


def marks_from(table: tables.FactTable, start: int, count: int) -> pa.Table:
    numbers = range(start, start + count)
    pupils = [number * 7919 % 100_003 for number in numbers]
    days = [FIRST + timedelta(days=number // 200_006 % 20) for number in numbers]
    values: dict[str, Any] = {
        "school": [f"99{pupil % 500:04d}" for pupil in pupils],
        "upn": [f"A{pupil:012d}" for pupil in pupils],
        "date": days,
        "session": ["AM" if number // 100_003 % 2 else "PM" for number in numbers],
        "code": ["/" if pupil % 19 else "I" for pupil in pupils],
        "valid_from": days,
        "weight": [1] * count,
        "version": [1] * count,
        "known_position": [1] * count,
        "known_from": [KNOWN] * count,
        "message": ["m"] * count,
        "sender": ["urn:s"] * count,
        "learner_id": [f"01900000-0000-7000-8000-{pupil:012d}" for pupil in pupils],
    }
    columns = [pa.array(values.get(one.name, [None] * count), one.arrow) for one in table.columns]
    return pa.table(columns, schema=table.schema)


def asked() -> Declaration:
    items = ["school", "date", "session", "code"]
    values = {
        "name": "large", "title": "Large", "requester": "urn:r", "purpose": "p", "legal_basis": "l", "form": "pseudonymised",
        "tables": [{"entity": MARKS, "first": "2026-09-01", "last": "2026-12-18", "items": items}],
        "checking_from": "2026-10-01", "freeze_on": "2026-10-02", "expires_on": "2027-10-02", "evidence": "e",
    }  # fmt: skip
    return msgspec.convert(values, Declaration)


def make(settings: Settings, version: int, folder: Path) -> packing.File:
    folder.mkdir(parents=True, exist_ok=True)
    duck = Duck(settings, [settings.folder("warehouse")])
    request = asked()
    try:
        head = Head(1, "b", 1, {MARKS: version}, None)
        known_at = KNOWN.replace(tzinfo=UTC)
        with cut.rows(settings, duck, head, request, request.tables[0], known_at) as rows:
            return packing.write(folder, "marks.csv", rows)
    finally:
        duck.close()


def test_rows_of_many_batches_are_in_one_order_and_made_again_to_the_byte(
    settings: Settings, tmp_path: Path
) -> None:
    small = msgspec.structs.replace(settings, duckdb_threads=2)
    version = filled(small, 120_000)
    first, again = (make(small, version, tmp_path / name) for name in ("first", "again"))
    assert first == again
    assert (first.rows, first.columns[0]) == (120_000, "pupil")
    with (tmp_path / "first" / "marks.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))[1:]
    assert lines == sorted(lines)
    assert len({line[0] for line in lines}) > 50_000
    assert all(len(line[0]) == 32 for line in lines)


@pytest.mark.soak
def test_two_million_rows_need_no_more_memory_than_a_quarter_of_them(
    settings: Settings, tmp_path: Path
) -> None:
    peaks = {}
    for rows in (500_000, 2_000_000):
        mine = msgspec.structs.replace(settings, data=tmp_path / str(rows), duckdb_memory_mb=MEMORY_MB)
        version = filled(mine, rows)
        told = msgspec.msgpack.encode((mine, version, str(tmp_path / f"out{rows}")), enc_hook=str)
        (tmp_path / "told").write_bytes(told)
        command = [sys.executable, "-m", "tests.unit.warehouse.test_large_extracts", str(tmp_path / "told")]
        made, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        assert int(made) == rows
        peaks[rows] = int(peak)
    print({f"{rows:,} rows": f"{peak} MB" for rows, peak in peaks.items()})
    assert peaks[2_000_000] < peaks[500_000] + 100


if __name__ == "__main__":
    chosen, at, out = msgspec.msgpack.decode(
        Path(sys.argv[1]).read_bytes(),
        type=tuple[Settings, int, str],
        dec_hook=lambda kind, value: kind(value),
    )
    written = make(chosen, at, Path(out))
    print(written.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
