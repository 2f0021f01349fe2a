"""Who reads gives way to who writes: DuckDB's threads, and nobody else's."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from commonroom.engines.duck import Duck
from commonroom.engines.priorities import GivingWay
from commonroom.settings import Settings

TASKS = Path("/proc/self/task")


def mine() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def threads() -> dict[str, int]:
    """The niceness of every thread of this process; nothing but its own where threads have none of their own."""
    if sys.platform != "linux":
        return {"all": mine()}
    return {
        one.name: int((one / "stat").read_text().rpartition(")")[2].split()[16]) for one in TASKS.iterdir()
    }


def test_what_gives_way_runs_after_others_and_its_caller_does_not() -> None:
    before, giving_way = mine(), GivingWay()
    assert giving_way.run(mine) == (max(5, before) if sys.platform == "linux" else before)
    assert mine() == before
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(mine).result() == before
    with pytest.raises(ZeroDivisionError):
        giving_way.run(lambda: 1 // 0)
    giving_way.close()


@pytest.mark.parametrize("urgent", [False, True])
def test_the_threads_of_an_engine_give_way_unless_it_is_urgent(settings: Settings, urgent: bool) -> None:
    before, own = set(threads()), mine()
    duck = Duck(settings, [], urgent=urgent)
    rows = duck.query(
        "SELECT sum(a.number * b.range) AS s FROM numbers AS a, range(100) AS b",
        tables={"numbers": pa.table({"number": [1, 2, 3]})},
    )
    assert rows == [{"s": 6 * 4950}]
    assert duck.arrow("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    with duck.session() as session:
        session.run("CREATE TEMP TABLE kept AS SELECT 7 AS seven")
        assert session.run("SELECT seven FROM kept") == [(7,)]
    came = {nice for name, nice in threads().items() if name not in before} or {own}
    duck.close()
    wanted = max(5, own) if sys.platform == "linux" and not urgent else own
    assert wanted in came
    assert urgent is False or came == {own}
    assert mine() == own
