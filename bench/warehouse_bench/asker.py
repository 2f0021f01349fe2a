"""A process that asks for the numbers of every school's week again and again until its standard input ends.

    python asker.py DATA DATABASE

That is the part of a figure that reads the facts, by the reader's own way; hiding, which reads none, is left out, or it
would be most of the time. Each question is of what was known at another time, so that nobody has kept its answer. Prints
how many have been answered after each.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import date, datetime, timedelta
from pathlib import Path

from commonroom.engines.database import connect
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import heads, measures, organisations, periods
from commonroom.warehouse.analytics import InProcess
from commonroom.warehouse.school_numbers import SchoolNumbers
from commonroom.warehouse.spans import View

MEASURE, GRAIN = "absence_overall", "week"
FIRST, LAST = date(2026, 9, 7), date(2026, 9, 11)
_KNOWN = datetime(2026, 9, 21)  # noqa: DTZ001 - UTC without a zone


async def ask(settings: Settings, stop: threading.Event) -> None:
    """Ask until `stop` is set."""
    duck = Duck(settings, [settings.folder("warehouse")])
    numbers, measure = SchoolNumbers(settings, duck, InProcess(duck)), measures.named(MEASURE)
    week, asked = periods.between(GRAIN, FIRST, LAST, LAST), 0
    connection = await connect(settings)
    try:
        while not stop.is_set():
            head = await heads.newest(connection)
            known_at = _KNOWN + timedelta(seconds=asked)
            schools = organisations.schools(settings, duck, head, LAST, known_at)
            assert numbers.rows(measure, schools, week, View(head, known_at, LAST)), "the week has figures"
            asked += 1
            print(asked, flush=True)
    finally:
        duck.close()
        await connection.close()


def main() -> None:
    """Ask until told to stop."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    asyncio.run(ask(Settings(data=Path(sys.argv[1]), database=sys.argv[2]), stop))


if __name__ == "__main__":
    main()
