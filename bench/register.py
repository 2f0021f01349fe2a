"""How long the register of providers takes to load all of England's open mainstream schools, against a floor.

The floor is the least any loader must do: read the same file with the csv module and COPY its rows into one untyped table of
the same server, in the same run. Needs the real extract (COMMONROOM_SHARED or ../shared).
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from commonroom.engines.database import connect, migrate
from commonroom.engines.postgres import LocalServer
from commonroom.registers import providers
from commonroom.settings import Settings

ROOT = Path(__file__).parents[1]
FILE = "data/gias/gias_open_mainstream_20220706.csv.gz"
ROUNDS = 3


async def floor(settings: Settings, path: Path) -> float:
    """Seconds to read the file and COPY its rows as text."""
    connection = await connect(settings)
    began = time.perf_counter()
    with gzip.open(path, "rt", encoding="cp1252", newline="") as file:
        rows = list(csv.reader(file))
    columns = ", ".join(f"c{number} text" for number in range(len(rows[0])))
    await connection.execute(f"CREATE TABLE floor ({columns})")
    await connection.copy_records_to_table("floor", records=rows[1:])
    taken = time.perf_counter() - began
    await connection.close()
    return taken


async def load(settings: Settings, path: Path) -> float:
    """Seconds to load the file into an empty register, history, search and all."""
    connection = await connect(settings)
    began = time.perf_counter()
    report = await providers.load_file(connection, path)
    taken = time.perf_counter() - began
    assert report.schools == 20_188
    await connection.close()
    return taken


def main() -> None:
    """Print medians and the ratio; write test-results/bench_register.json."""
    path = Path(os.environ.get("COMMONROOM_SHARED") or ROOT.parent / "shared") / FILE
    if not path.exists():
        print(f"register: skipped, there is no {path}")
        sys.exit(0)
    times: dict[str, list[float]] = {"floor": [], "load": []}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="commonroom-bench-") as folder:
            settings = Settings(data=Path(folder))
            server = LocalServer(settings.folder("postgres"))
            server.start()
            try:
                migrate(settings)
                times["floor"].append(asyncio.run(floor(settings, path)))
                times["load"].append(asyncio.run(load(settings, path)))
            finally:
                server.stop()
    medians = {name: round(statistics.median(found), 3) for name, found in times.items()}
    result = {
        "schools": 20_188,
        "median_seconds": medians,
        "ratio": round(medians["load"] / medians["floor"], 1),
    }
    (ROOT / "test-results").mkdir(exist_ok=True)
    (ROOT / "test-results" / "bench_register.json").write_text(json.dumps({**result, "all": times}, indent=2))
    print(
        f"register: 20,188 schools in {medians['load']} s, {result['ratio']} x the floor of {medians['floor']} s"
    )


if __name__ == "__main__":
    main()
