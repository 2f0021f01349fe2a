"""How long a look at a year of marks takes, beside the least any program could do with the same rows.

The peer is a bare sqlite3 `fetchall` of the same 60,000 rows and one msgspec encoding of each, in the same run. Medians of
five; the result goes to test-results/bench_look.json.
"""

from __future__ import annotations

import json
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import msgspec

from commonroom import standard
from commonroom.agent import Looker, Memory, load_config
from commonroom.standard.identifiers import make_upn

ROUNDS = 5
PUPILS = 158
DAYS = 190  # a school year; two marks a day: 60,040 rows
RESULT = Path(__file__).parents[1] / "test-results" / "bench_look.json"

QUERY = "SELECT '990001' AS school, upn, day AS date, half AS session, code FROM mark"
MAPPING = f"""
mapping: bench vendor
reads:
  - entity: attendance_mark
    history: full
    query: "{QUERY}"
"""
CONFIG = """
name: Bench School
hub: http://127.0.0.1:9
folder: state
school: "990001"
source: {url: "sqlite:///mis.db", mapping: mapping.yaml}
"""


def make_school(folder: Path) -> None:
    """A school system with a year of marks."""
    (folder / "mapping.yaml").write_text(MAPPING, "utf-8")
    (folder / "agent.yaml").write_text(CONFIG, "utf-8")
    upns = [make_upn(873, 2000, 2020, serial) for serial in range(PUPILS)]
    days = [(date(2025, 9, 1) + timedelta(days=day)).isoformat() for day in range(DAYS)]
    marks = [(upn, day, half, "I") for upn in upns for day in days for half in ("AM", "PM")]
    with closing(sqlite3.connect(folder / "mis.db")) as connection, connection:
        connection.execute("CREATE TABLE mark (upn TEXT, day TEXT, half TEXT, code TEXT)")
        connection.executemany("INSERT INTO mark VALUES (?, ?, ?, ?)", marks)


def correct_one(folder: Path, code: str) -> None:
    """One correction, so that the look has something to find."""
    with closing(sqlite3.connect(folder / "mis.db")) as connection, connection:
        connection.execute("UPDATE mark SET code = ? WHERE rowid = 1000", (code,))


def bare(folder: Path) -> int:
    """The peer: every row read and encoded; how many."""
    encode = msgspec.msgpack.Encoder().encode
    with closing(sqlite3.connect(folder / "mis.db")) as connection:
        return len([encode(row) for row in connection.execute(QUERY).fetchall()])


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(folder: Path) -> dict[str, object]:
    """First look, looks with one correction, and the peer, by turns."""
    make_school(folder)
    looker, memory = (
        Looker(load_config(folder / "agent.yaml"), standard.load()),
        Memory.open(folder / "memory"),
    )
    first = seconds(lambda: looker.look(memory))
    looks, peers = [], []
    for code in ("M", "L", "U", "G", "B")[:ROUNDS]:
        correct_one(folder, code)
        looks.append(seconds(lambda: looker.look(memory)))
        peers.append(seconds(lambda: bare(folder)))
    looker.close()
    memory.close()
    look, peer = statistics.median(looks), statistics.median(peers)
    return {
        "rows": bare(folder),
        "rounds": ROUNDS,
        "first_look_seconds": round(first, 3),
        "look_seconds": round(look, 4),
        "peer": "sqlite3 fetchall + msgspec encode of the same rows",
        "peer_seconds": round(peer, 4),
        "ratio": round(look / peer, 2),
        "machine": {"python": platform.python_version(), "processor": platform.machine()},
    }


def main() -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(
        f"a look at {found['rows']} marks: {found['look_seconds']} s, {found['ratio']} times the peer"
        f" ({found['peer']}: {found['peer_seconds']} s); the first look: {found['first_look_seconds']} s"
    )


if __name__ == "__main__":
    main()
