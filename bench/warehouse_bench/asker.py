"""A process that asks for figures again and again, as a portal process does, until its standard input ends.

    python asker.py DATA DATABASE

Each question is of what was known at another time, so that it is worked out from the facts and kept by nobody. At the end
it prints how many it has asked.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from commonroom.engines.database import connect
from commonroom.identity import PUBLIC
from commonroom.settings import Settings
from commonroom.warehouse import open_reader

MEASURE, LEVEL, GRAIN = "absence_overall", "authority", "week"
FIRST, LAST = date(2026, 9, 7), date(2026, 9, 11)
_KNOWN = datetime(2026, 9, 21, tzinfo=UTC)


async def ask(settings: Settings, stop: threading.Event) -> int:
    """Ask until `stop` is set; how often."""
    reader, asked = open_reader(settings), 0
    connection = await connect(settings)
    try:
        while not stop.is_set():
            found = await reader.figures(
                connection, PUBLIC, measure=MEASURE, level=LEVEL, grain=GRAIN, first=FIRST, last=LAST,
                known_at=_KNOWN + timedelta(seconds=asked),
            )  # fmt: skip
            assert found, "the week has figures"
            asked += 1
            print(asked, flush=True)
    finally:
        reader.close()
        await connection.close()
    return asked


def main() -> None:
    """Ask until told to stop."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    asyncio.run(ask(Settings(data=Path(sys.argv[1]), database=sys.argv[2]), stop))


if __name__ == "__main__":
    main()
