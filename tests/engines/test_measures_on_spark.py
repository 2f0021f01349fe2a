"""Measures on a standalone cluster of Apache Spark with two workers give what DuckDB gives, also while these are killed.

Run by `make spark` and continuous integration, where Java is (marked `spark`), and with the longer one by `make soak`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from commonroom.engines.duck import Duck
from commonroom.engines.spark import Spark
from commonroom.problems import Problem
from commonroom.warehouse import analytics, measures
from tests.conftest import settings_with
from tests.engines import servers
from tests.engines.analytics_world import HALF_KNOWN, World, folder_in, sorted_rows

pytestmark = [pytest.mark.soak, pytest.mark.skipif(servers.missing() != "", reason=servers.missing())]
MOMENTS = (None, HALF_KNOWN)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Cluster]:
    cluster = servers.Cluster(tmp_path_factory.mktemp("cluster") / "spark")
    with servers.environment(**cluster.environment):
        yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(folder_in(tmp_path_factory.mktemp("world")), seed=11)


@pytest.fixture(scope="module")
def expected(world: World) -> dict[str, Any]:
    """What DuckDB says, as known now and half-way, by measure."""
    duck = Duck(world.settings, [world.settings.folder("warehouse")])
    engine = analytics.InProcess(duck)
    found = {
        name: [sorted_rows(engine.rows(measure, *world.asked(measure, at))) for at in MOMENTS]
        for name, measure in world.measures.items()
    }
    duck.close()
    return found


@pytest.fixture(scope="module")
def engine(world: World, cluster: servers.Cluster) -> analytics.Engine:
    """The engine as the settings open it."""
    return analytics.OnCluster(settings_with(world.settings, analytics=cluster.address))


@pytest.mark.spark
def test_every_measure_is_the_same_as_in_duckdb(
    world: World, expected: dict[str, Any], engine: analytics.Engine
) -> None:
    for number, (name, measure) in enumerate(measures.load().items()):
        turn = number % 2  # by turns as known now and as known half-way
        found = engine.rows(measure, *world.asked(measure, MOMENTS[turn]))
        assert sorted_rows(found) == expected[name][turn], name


@pytest.mark.spark
def test_an_executor_and_a_worker_are_killed_in_the_middle(
    world: World, expected: dict[str, Any], engine: analytics.Engine, cluster: servers.Cluster
) -> None:
    names = sorted(measures.load())[:5]
    killed: list[int] = []
    first, third = threading.Event(), threading.Event()

    def kill() -> None:
        """An executor after the first answer, all of a worker after the third: while the next are worked out."""
        first.wait()
        killed.append(cluster.kill_executor())
        third.wait()
        cluster.kill_worker("worker-1")

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    for number, name in enumerate(names):
        measure = world.measures[name]
        assert sorted_rows(engine.rows(measure, *world.asked(measure, None))) == expected[name][0], name
        if number == 0:
            first.set()
        if number == 2:
            third.set()
    killer.join()
    assert killed
    cluster.start_worker("worker-1")


def test_every_measure_at_both_times_and_by_characteristics(
    world: World, expected: dict[str, Any], engine: analytics.Engine
) -> None:
    for name, measure in world.measures.items():
        found = [sorted_rows(engine.rows(measure, *world.asked(measure, at))) for at in MOMENTS]
        assert found == expected[name], name


@pytest.mark.spark
def test_what_takes_too_long_is_interrupted_and_the_next_goes_on(cluster: servers.Cluster) -> None:
    spark = Spark(cluster.address, 1.0)
    one = {"one": pa.table({"n": [1]})}
    with pytest.raises(Problem, match="longer than"):
        spark.query("SELECT count(a.id + b.id) AS n FROM range(10000000) AS a, range(10000000) AS b", {}, one)
    assert Spark(cluster.address, 60).query("SELECT n FROM one", {}, one) == [{"n": 1}]


@pytest.mark.spark
def test_numbers_too_large_are_errors(cluster: servers.Cluster) -> None:
    with pytest.raises(Problem, match="CR-280"):
        Spark(cluster.address, 60).query("SELECT n * 2 AS n FROM one", {}, {"one": pa.table({"n": [2**62]})})


@pytest.mark.spark
def test_files_that_are_gone_are_told(world: World, cluster: servers.Cluster, tmp_path: Path) -> None:
    nowhere = settings_with(world.settings, analytics=cluster.address, analytics_folder=f"file://{tmp_path}")
    measure = world.measures["headcount"]
    with pytest.raises(Problem, match="CR-282"):
        analytics.OnCluster(nowhere).rows(measure, *world.asked(measure, None))
