"""Measures on a Spark Connect server (Sail, without Java) give what DuckDB gives, and its failures are told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from commonroom.cli import _build
from commonroom.engines import clock
from commonroom.engines.duck import Duck
from commonroom.engines.spark import Parquet, Spark
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import analytics, measures
from tests.conftest import settings_with
from tests.engines.analytics_world import HALF_KNOWN, World, folder_in, sorted_rows
from tests.engines.servers import Sail
from tests.unit.warehouse.house import House, enrolment, mark, upn

A, B, C = "990001", "990002", "990003"
LONG = "SELECT sum(a.id * b.id) AS n FROM range(100000000) AS a, range(100000) AS b"


@pytest.fixture(scope="module")
def sail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    server = Sail(tmp_path_factory.mktemp("sail"))
    yield server.address
    server.kill()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(folder_in(tmp_path_factory.mktemp("world")), seed=11)


def test_every_measure_is_the_same_as_in_duckdb(world: World, sail: str) -> None:
    duck = Duck(world.settings, [world.settings.folder("warehouse")])
    here = analytics.open_engine(world.settings, duck)
    there = analytics.open_engine(settings_with(world.settings, analytics=sail), duck)
    counted = set()
    for measure in world.measures.values():
        # A part of another measure is a column of its statement, whose rows have the parts' numbers by their names.
        if measure.part_of and not measure.sum_of:
            continue
        for known_at in (None, HALF_KNOWN):
            asked = world.asked(measure, known_at)
            rows = sorted_rows(here.rows(measure, *asked))
            assert rows, f"the world has nothing for {measure.name}"
            assert sorted_rows(there.rows(measure, *asked)) == rows, measure.name
            counted |= {measure.name for row in rows if dict(row)["numerator"]}
            counted |= {name for row in rows for name, number in row if name in world.measures and number}
    # Only zeros would be the same by chance.
    assert not set(world.measures) - counted
    there.close()
    duck.close()


def test_what_was_known_half_way_is_something_else(world: World, sail: str) -> None:
    engine = analytics.OnCluster(settings_with(world.settings, analytics=sail))
    measure = measures.named("absence_overall")
    now, then = (sorted_rows(engine.rows(measure, *world.asked(measure, at))) for at in (None, HALF_KNOWN))
    assert now != then
    engine.close()


@pytest.fixture
async def loaded(pool: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A week of three schools, with a correction and a withdrawal."""
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-14T12:00+00:00"))
        house = await House(connection, settings, [A, B, C]).open()
        await house.register(s990003="998")
        days = [f"2026-09-{day:02}" for day in range(7, 12)]
        for school, pupils in ((A, range(1, 30)), (B, range(30, 50)), (C, range(50, 64))):
            marks = [
                mark(school, pupil, day, session, r"/\IO"[(pupil + number) % 4])
                for pupil in pupils
                for number, day in enumerate(days)
                for session in ("AM", "PM")
            ]
            stays = [enrolment(school, pupil, "2026-09-01") for pupil in pupils]
            await house.load(
                house.letter(school, "enrolment", stays), house.letter(school, "attendance_mark", marks)
            )
        never = {
            "school": C,
            "upn": upn(63),
            "entry_date": "2026-09-01",
            "valid_from": "2026-09-01",
            "version": 2,
        }
        await house.load(
            house.letter(A, "attendance_mark", [mark(A, 1, days[0], "AM", "O", version=2)]),
            house.letter(C, "enrolment", withdrawn=[never]),
        )
    monkeypatch.setenv("COMMONROOM_DATABASE", str(settings.database))
    monkeypatch.setenv("COMMONROOM_DATA", str(settings.data))


@pytest.mark.parametrize("measure", ["absence_overall", "headcount"])
def test_the_command_answers_alike(
    loaded: None, sail: str, measure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = f"measure {measure} --by school --on 2026-09-07 --grain week --format json".split()
    answers = []
    for engine in ("duckdb", sail):
        monkeypatch.setenv("COMMONROOM_ANALYTICS", engine)
        done = CliRunner().invoke(_build(asked), asked, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        answers.append(msgspec.json.decode(done.stdout))
    assert answers[0] == answers[1]
    assert len(answers[0]) == 3
    assert any(figure["numerator"] for figure in answers[0])


def test_the_folder_as_the_cluster_sees_it(world: World, sail: str, tmp_path: Path) -> None:
    seen = tmp_path / "mounted"
    seen.symlink_to(world.settings.folder("warehouse"))
    elsewhere = settings_with(world.settings, analytics=sail, analytics_folder=f"file://{seen}/")
    engine = analytics.OnCluster(elsewhere)
    measure = measures.named("headcount")
    assert engine.rows(measure, *world.asked(measure, None))
    seen.unlink()
    with pytest.raises(Problem, match="CR-282"):
        engine.rows(measure, *world.asked(measure, None))
    engine.close()


def test_files_that_are_gone_are_no_missing_rows(sail: str, tmp_path: Path) -> None:
    spark = Spark(sail, 60)
    gone = Parquet(
        (f"file://{tmp_path}/gone.parquet",), pa.schema([("weight", pa.int8())]), ("weight",), "true"
    )
    with pytest.raises(Problem, match="1 or more files"):
        spark.query("SELECT * FROM facts", {"facts": gone}, {})
    none = msgspec.structs.replace(gone, files=())
    assert spark.query("SELECT count(*) AS n FROM facts", {"facts": none}, {}) == [{"n": 0}]
    spark.close()


def test_a_table_without_rows_is_one_all_the_same(sail: str) -> None:
    """As the days of a year that is not over are, of what is known when it is."""
    spark = Spark(sail, 60)
    days = pa.table({"on": pa.array([], pa.date32()), "period": pa.array([], pa.string())})
    assert spark.query("SELECT on, period FROM days", {}, {"days": days}) == []
    spark.close()


def test_a_path_that_spark_takes_for_a_pattern_is_refused(sail: str) -> None:
    files = Parquet(("file:///data/*.parquet",), pa.schema([("weight", pa.int8())]), ("weight",), "true")
    with pytest.raises(Problem, match="CR-282"):
        Spark(sail, 60).query("SELECT * FROM facts", {"facts": files}, {})


def test_what_takes_too_long_is_interrupted_and_the_next_goes_on(sail: str) -> None:
    spark = Spark(sail, 0.5)
    one = {"one": pa.table({"n": [1]})}
    with pytest.raises(Problem, match="longer than") as raised:
        spark.query(LONG, {}, one)
    assert raised.value.status == 504
    assert spark.query("SELECT n FROM one", {}, one) == [{"n": 1}]
    spark.close()


def test_a_server_that_was_killed_is_found_again(tmp_path: Path) -> None:
    server = Sail(tmp_path)
    spark = Spark(server.address, 60)
    one = {"one": pa.table({"n": [1]})}
    assert spark.query("SELECT n FROM one", {}, one) == [{"n": 1}]
    server.kill()
    with pytest.raises(Problem, match="CR-280"):
        spark.query("SELECT n FROM one", {}, one)
    again = Sail(tmp_path, server.port)
    assert spark.query("SELECT n FROM one", {}, one) == [{"n": 1}]
    spark.close()
    again.kill()


def test_nobody_at_the_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        for scheme in ("sc", "spark"):
            with pytest.raises(Problem, match="CR-280") as raised:
                Spark(f"{scheme}://{address}", 60).query("SELECT 1", {}, {})
            assert raised.value.status == 503
