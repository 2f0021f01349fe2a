"""Measures over a warehouse in an object store: in DuckDB through the cache, on a cluster from the store itself."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from commonroom.engines.duck import Duck
from commonroom.engines.object_folder import ObjectFolder
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import tables
from commonroom.warehouse.analytics import InProcess, OnCluster, Source
from tests.conftest import settings_with
from tests.engines.analytics_world import HALF_KNOWN, World, folder_in, sorted_rows
from tests.engines.object_store import BUCKET, ObjectStore
from tests.engines.servers import Sail

ADDRESS = f"s3://{BUCKET}/measures"


def test_a_cluster_is_told_the_addresses_in_the_store(tmp_path: Path) -> None:
    there = Settings(data=tmp_path, warehouse_store=f"{ADDRESS}/", analytics="sc://127.0.0.1:1")
    folder = tables.of("enrolment").folder(there)
    assert isinstance(folder, ObjectFolder)
    source = Source("enrolment", (folder.path("part-0.parquet", 1),), ("school",), date.min, date.max, None)
    for told, files in (
        (there, f"s3a://{ADDRESS[5:]}/enrolment/part-0.parquet"),
        (settings_with(there, analytics_folder="s3a://mirror/w"), "s3a://mirror/w/enrolment/part-0.parquet"),
    ):
        assert OnCluster(told)._parquet(source).files == (files,)


@pytest.mark.soak
def test_every_measure_is_the_same_there_in_duckdb_and_on_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(tmp_path)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    here = World(folder_in(tmp_path / "here"), seed=11, slots=400)
    there = World(settings_with(folder_in(tmp_path / "there"), warehouse_store=ADDRESS), seed=11, slots=400)
    sail = Sail(tmp_path / "sail")
    on_sail = OnCluster(settings_with(there.settings, analytics=sail.address))
    ducks = [Duck(world.settings, [world.settings.folder("warehouse")]) for world in (here, there)]
    try:
        for measure in here.measures.values():
            asked_here, asked_there = here.asked(measure, HALF_KNOWN), there.asked(measure, HALF_KNOWN)
            rows = sorted_rows(InProcess(ducks[0]).rows(measure, *asked_here))
            assert sorted_rows(InProcess(ducks[1]).rows(measure, *asked_there)) == rows, measure.name
            assert sorted_rows(on_sail.rows(measure, *asked_there)) == rows, measure.name
        lost = there.files["attendance_mark"][0]
        store.objects(ADDRESS).delete_file(f"attendance_mark/{lost.name}")
        with pytest.raises(Problem, match="CR-282"):
            on_sail.rows(
                here.measures["absence_overall"], *there.asked(here.measures["absence_overall"], None)
            )
    finally:
        on_sail.close()
        sail.kill()
        store.stop()
        for duck in ducks:
            duck.close()
