"""The warehouse in an object store: the same rows and figures as in a folder, and a fault is never a smaller figure."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError
from typer.testing import CliRunner

from commonroom.engines import clock, delta, object_folder, places
from commonroom.engines.delta import Batch
from commonroom.engines.duck import Duck
from commonroom.engines.file_cache import FileCache
from commonroom.engines.object_folder import ObjectFolder
from commonroom.identity import PUBLIC, Principal
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import Reader, batches, checks, heads, loader, open_reader, tables
from commonroom.warehouse.commands import app
from commonroom.warehouse.extracts import cut
from commonroom.warehouse.history import History
from tests.conftest import settings_with
from tests.engines.object_store import BUCKET, ObjectStore, Relay
from tests.faults.test_warehouse_kill import SCHOOL, Trial, in_process, live, load_all, three_batches
from tests.unit.warehouse.house import House, enrolment, mark, upn
from tests.unit.warehouse.test_large_extracts import asked

BATCH = Batch(7, "0199aaaa-0000-7000-8000-000000000000")
A, B = "990001", "990002"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    server = ObjectStore(tmp_path_factory.mktemp("store"))
    yield server
    server.stop()


@pytest.fixture
def address(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of the test's own, in an environment that has the right to it."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def table(address: str, tmp_path: Path) -> ObjectFolder:
    return ObjectFolder(f"{address}/t", FileCache(tmp_path / "cache", 10**9), "t/")


def rows(*values: str) -> pa.Table:
    return pa.table({"name": list(values), "number": list(range(len(values)))})


def read(folder: ObjectFolder, version: int) -> list[str]:
    paths = places.here(file.path for file in delta.files_of(folder, version))
    return sorted(name for path in paths for name in pq.read_table(path).column("name").to_pylist())


# Tables.


def test_versions_are_kept_taken_back_and_merged_as_in_a_folder(table: ObjectFolder) -> None:
    delta.append(table, rows("lost"), after=None, batch=BATCH)
    first = delta.append(table, rows("a"), after=None, batch=BATCH)
    delta.append(table, rows("lost too"), after=first, batch=BATCH)
    second = delta.append(table, rows("b"), after=first, batch=BATCH)
    third = delta.append(table, rows("c"), after=second, batch=BATCH)
    assert [read(table, version) for version in (first, second, third)] == [
        ["a"],
        ["a", "b"],
        ["a", "b", "c"],
    ]
    came = delta.appended(table, first, third)
    assert came is not None
    assert sorted(pq.read_table(path).column("name")[0].as_py() for path in places.here(came)) == ["b", "c"]
    tidy = delta.tidy(table, after=third, batch=BATCH, keep_hours=0)
    assert (len(delta.files_of(table, tidy)), read(table, tidy)) == (1, ["a", "b", "c"])
    assert delta.appended(table, first, tidy) is None, "what came is merged, and its file gone"
    assert delta.identity(table, tidy) != delta.identity(table, third)
    assert read(table, delta.append(table, rows("d"), after=tidy, batch=BATCH)) == ["a", "b", "c", "d"]


def test_of_two_writers_at_one_version_the_later_one_is_told(
    table: ObjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced = delta.append(table, rows("a"), after=None, batch=BATCH)
    write = delta.write_deltalake

    def overtaken(*arguments: object, **options: object) -> None:
        write_deltalake(table.address, rows("other"), mode="append")
        write(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(delta, "write_deltalake", overtaken)
    with pytest.raises(Problem, match="CR-060"):
        delta.append(table, rows("mine"), after=announced, batch=BATCH)
    monkeypatch.undo()


def test_a_table_that_was_announced_and_is_not_there_is_not_begun_anew(table: ObjectFolder) -> None:
    with pytest.raises(Problem, match="CR-310"):
        delta.append(table, rows("a"), after=3, batch=BATCH)
    with pytest.raises(Problem, match="CR-310"):
        delta.files_of(table, 3)
    assert table.newest(anew=True) is None


def test_a_table_that_was_put_back_is_read_again(table: ObjectFolder, store: ObjectStore) -> None:
    first = delta.append(table, rows("a"), after=None, batch=BATCH)
    version = delta.append(table, rows("b"), after=first, batch=BATCH)
    assert read(table, version) == ["a", "b"]
    store.objects(table.address).delete_file(f"_delta_log/{version:020d}.json")
    assert delta.append(table, rows("c"), after=first, batch=BATCH) == version
    assert read(table, version) == ["a", "c"]


def test_a_table_that_goes_away_while_its_loader_runs_is_a_problem_and_not_begun_anew(
    table: ObjectFolder, store: ObjectStore
) -> None:
    version = delta.append(table, rows("a"), after=None, batch=BATCH)
    there = store.objects(table.address)
    for found in there.get_file_info(pyarrow.fs.FileSelector("", recursive=True)):
        if found.is_file:
            there.delete_file(found.path)
    with pytest.raises(DeltaError):
        delta.append(table, rows("b"), after=version, batch=BATCH)
    with pytest.raises(Problem, match="CR-310"):
        delta.append(table, rows("b"), after=version, batch=BATCH)


def test_what_is_missing_or_cut_off_in_the_store_is_a_problem(
    table: ObjectFolder, store: ObjectStore
) -> None:
    version = delta.append(table, rows("a"), after=None, batch=BATCH)
    version = delta.append(table, rows("b"), after=version, batch=BATCH)
    one, other = delta.files_of(table, version)
    store.put(table.address, one.name, b"PAR1 and no more")
    store.objects(table.address).delete_file(other.name)
    assert delta.missing(table, [one, other]) == (1, 1)
    for file in (one, other):
        with pytest.raises(Problem, match="CR-310"):
            places.here([file.path])
        assert not Path(file.path).exists()


def test_a_name_that_leads_out_of_the_cache_is_refused(table: ObjectFolder) -> None:
    for name in ("../../keys/secret", "a/../../b", "/etc/passwd", ".lock", "a//b", "%2e%2e/x", ""):
        with pytest.raises(Problem, match="CR-310"):
            table.path(name, 1)


def test_a_store_that_cannot_be_reached_is_a_problem_of_its_own(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    away = ObjectFolder(f"{address}/away", FileCache(tmp_path, 10), "away/")
    for ask in (
        lambda: delta.files_of(away, 1),
        lambda: delta.append(away, rows("a"), after=None, batch=BATCH),
    ):
        with pytest.raises(Problem, match="CR-311") as told:
            ask()
        assert "127.0.0.1" not in str(told.value)


def test_the_log_says_why_a_store_refused_and_nothing_that_it_quotes() -> None:
    refused = OSError(
        "Generic S3 error: Error performing GET https://sts.example/?WebIdentityToken=T0KEN&Version=1 in 20s - Server "
        "returned non-2xx status code: 403 Forbidden: <?xml?>\n<Error><Code>ExpiredToken</Code>\n<Token-0>T0KEN</Token-0>"
    )
    assert object_folder._said(refused) == (
        "Generic S3 error: Error performing GET https://sts.example/ in 20s - Server "
        "returned non-2xx status code: 403 Forbidden: ExpiredToken"
    )


def test_while_the_store_is_asked_other_threads_go_on(
    address: str, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Relay(store.environment["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.address)
    table = ObjectFolder(f"{address}/relayed", FileCache(tmp_path / "cache", 10**9), "t/")
    version = delta.append(table, rows("a"), after=None, batch=BATCH)
    version = delta.append(table, rows("b"), after=version, batch=BATCH)
    version = delta.tidy(table, after=version, batch=BATCH)
    assert not delta.needs_tidying(table, version)
    assert delta.missing(table, delta.files_of(table, version)) == (0, 0)
    assert (delta.identity(table, version + 9), read(table, version)) == ("", ["a", "b"])
    relay.stop()


def test_the_way_to_the_store_is_through_a_table_that_nobody_loads_again(table: ObjectFolder) -> None:
    """While one thread loads a version, who goes through the same table waits, and every thread of the process with it."""
    version = None
    for name in "abc":
        version = delta.append(table, rows(name), after=version, batch=BATCH)
        assert read(table, version)
    assert table._known is not None
    way = table._objects._open
    assert way is not None
    assert way is not table._known[0]
    assert way is not table._written


def test_a_store_that_goes_away_in_the_middle_of_a_commit_leaves_nothing_of_it(
    address: str, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened() -> ObjectFolder:
        return ObjectFolder(f"{address}/away", FileCache(tmp_path / "cache", 10**9), "t/")

    first = delta.append(opened(), rows("a"), after=None, batch=BATCH)
    relay = Relay(store.environment["AWS_ENDPOINT_URL"])
    write = delta.write_deltalake

    def cut_off(*arguments: object, **options: object) -> None:
        relay.stop()
        write(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", relay.address)
        away.setattr(delta, "write_deltalake", cut_off)
        with pytest.raises(Problem, match="CR-311"):
            delta.append(opened(), rows("lost"), after=first, batch=BATCH)
    table = opened()
    assert read(table, delta.append(table, rows("b"), after=first, batch=BATCH)) == ["a", "b"]


FILL = """
import sys
from pathlib import Path
from commonroom.engines import delta, places
from commonroom.engines.file_cache import FileCache
from commonroom.engines.object_folder import ObjectFolder

table = ObjectFolder(sys.argv[1], FileCache(Path(sys.argv[2]), 10**9), "t/")
files = delta.files_of(table, int(sys.argv[3]))
print("ready", flush=True)
sys.stdin.readline()
places.here(file.path for file in files)
assert all(Path(file.path).stat().st_size == file.size for file in files)
"""


def test_processes_that_fill_the_cache_at_once_all_read_whole_files(
    table: ObjectFolder, tmp_path: Path
) -> None:
    version = None
    for number in range(6):
        version = delta.append(
            table, rows(*(f"{number} {row}" for row in range(2000))), after=version, batch=BATCH
        )
    arguments = [sys.executable, "-c", FILL, table.address, str(tmp_path / "cache"), str(version)]
    both = [
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.communicate("go\n", timeout=30)
    assert [process.returncode for process in both] == [0, 0]
    kept = sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert version is not None
    assert kept == sorted([".lock", *(file.name for file in delta.files_of(table, version))])


# The warehouse.


async def loaded(connection: Any, settings: Settings) -> House:
    """A week of two schools, in several batches."""
    await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-14T12:00+00:00"))
    house = await House(connection, settings, [A, B]).open()
    await house.register()
    for school, pupils in ((A, range(1, 30)), (B, range(30, 50))):
        stays = [enrolment(school, pupil, "2026-09-01") for pupil in pupils]
        await house.load(
            house.letter(school, "enrolment", stays, accepted_at="2026-09-01T09:00+00:00"),
            house.letter(school, "attendance_mark", marks(pupils, school, "2026-09-07")),
        )
    return house


def marks(pupils: range, school: str, day: str) -> list[dict[str, Any]]:
    return [
        mark(school, pupil, day, session, r"/\IO"[(pupil + len(session)) % 4])
        for pupil in pupils
        for session in ("AM", "PM")
    ]


async def changed(house: House) -> None:
    """Another day, a correction and a withdrawal."""
    day = "2026-09-08"
    gone = {"school": B, "upn": upn(49), "entry_date": "2026-09-01", "valid_from": "2026-09-01", "version": 2}
    await house.load(
        house.letter(A, "attendance_mark", marks(range(1, 30), A, day)),
        house.letter(A, "attendance_mark", [mark(A, 2, "2026-09-07", "AM", "O", version=2)]),
        house.letter(B, "enrolment", withdrawn=[gone]),
    )


async def figures(house: House, reader: Reader) -> list[Any]:
    """A flow, which is kept in partial sums, and a state, now and as known once; without what they were read as of."""
    found = []
    once = datetime.fromisoformat("2026-09-02T00:00+00:00")
    for measure, known_at in (("absence_overall", None), ("headcount", None), ("headcount", once)):
        found += await reader.figures(
            house.connection, PUBLIC, measure=measure, level="school", grain="term",
            first=date(2026, 9, 7), last=date(2026, 9, 11), known_at=known_at,
        )  # fmt: skip
    assert any(figure.numerator for figure in found)
    return [msgspec.structs.replace(figure, batch=0, position=0, as_of=None) for figure in found]


def copied(store: ObjectStore, address: str, folder: Path) -> None:
    """All objects as files, as any tool for copying would."""
    objects = store.objects(address)
    for found in objects.get_file_info(pyarrow.fs.FileSelector("", recursive=True)):
        if found.is_file:
            (folder / found.path).parent.mkdir(parents=True, exist_ok=True)
            with objects.open_input_file(found.path) as file:
                (folder / found.path).write_bytes(file.read())


async def test_the_warehouse_there_is_the_one_in_a_folder(
    settings: Settings, pool: Any, store: ObjectStore, address: str, tmp_path: Path
) -> None:
    there = settings_with(settings, warehouse_store=address)
    async with pool.acquire() as connection:
        house = await loaded(connection, there)
        reader = open_reader(there)
        before = await figures(house, reader)
        await changed(house)
        after = await figures(house, reader)
        assert after != before
        async with heads.lease(there) as lease:
            head = await loader.upkeep(lease, there, every=True)
        assert await figures(house, reader) == after
        reader.close()
        assert not list(there.folder("warehouse").glob("*/_delta_log")), "no table is here"
        assert {one.faults == [] for one in checks.verify(there, house.duck, head)} == {True}

        here = settings_with(settings, data=tmp_path / "copy")
        copied(store, address, here.folder("warehouse"))
        assert live(here, head) == live(there, head)
        reader = open_reader(here)
        assert await figures(house, reader) == after
        reader.close()
        assert await looked_back(house, here) == await looked_back(house, there)
        assert cut_rows(here, head) == cut_rows(there, head)


async def looked_back(house: House, settings: Settings) -> list[Any]:
    duck = Duck(settings, [settings.folder("warehouse")])
    principal = Principal(kind="person", id="p1", role="school", party=house.parties[A])
    history = History(settings, duck, house.connection, principal, "a test")
    rows = await history.state("attendance_mark", date(2026, 9, 7))
    duck.close()
    assert rows
    return rows


def cut_rows(settings: Settings, head: heads.Head) -> Any:
    duck = Duck(settings, [settings.folder("warehouse")])
    wanted = msgspec.structs.replace(asked(), form="identifiable")
    with cut.rows(settings, duck, head, wanted, wanted.tables[0], datetime.now(UTC)) as found:
        made = found.read_all()
    duck.close()
    assert made.num_rows
    return made


async def test_a_fact_that_is_missing_in_the_store_is_never_a_smaller_figure(
    settings: Settings, pool: Any, store: ObjectStore, address: str, tmp_path: Path
) -> None:
    there = settings_with(settings, warehouse_store=address)
    async with pool.acquire() as connection:
        house = await loaded(connection, there)
        head = await heads.newest(connection)
        place = tables.of("attendance_mark").folder(there)
        one, other = delta.files_of(place, head.tables["attendance_mark"])
        store.put(place.address, one.name, b"PAR1")
        store.objects(place.address).delete_file(other.name)
        empty = settings_with(there, data=tmp_path / "another machine")
        reader = open_reader(empty)
        with pytest.raises(Problem, match="CR-310"):
            await figures(house, reader)
        reader.close()
        duck = Duck(empty, [empty.folder("warehouse")])
        faults = {one.table: one.faults for one in checks.verify(empty, duck, head)}
        duck.close()
        assert faults.pop("attendance_mark") == [
            "1 of 2 files are not there",
            "1 of 2 files are not as large as the log says",
        ]
        assert list(faults.values()) == [[], []]


async def test_while_the_store_is_away_nothing_is_loaded_and_then_everything(
    settings: Settings, pool: Any, store: ObjectStore, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = settings_with(settings, warehouse_store=address)
    async with pool.acquire() as connection:
        house = await House(connection, there, [A]).open()
        letter = house.letter(A, "attendance_mark", marks(range(1, 4), A, "2026-09-07"))
        with monkeypatch.context() as away:
            away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            with pytest.raises(Problem, match="CR-311"):
                await batches.load(
                    connection, settings_with(there, warehouse_store=f"{address}/away"), house.duck, [letter]
                )
        assert (await heads.newest(connection)).tables == {}
        assert (await house.load(letter)).rows == {"attendance_mark": 6}


@pytest.fixture
async def at_the_command_line(
    settings: Settings, pool: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = settings_with(settings, warehouse_store=address)
    async with pool.acquire() as connection:
        await loaded(connection, there)
    monkeypatch.setenv("COMMONROOM_DATABASE", str(settings.database))
    monkeypatch.setenv("COMMONROOM_DATA", str(settings.data))
    monkeypatch.setenv("COMMONROOM_WAREHOUSE_STORE", address)


def test_the_commands_look_there(at_the_command_line: None) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments), catch_exceptions=False, env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        return done.stdout

    before = {one["table"]: one for one in msgspec.json.decode(run("status", "--json"))["tables"]}
    assert (before["attendance_mark"]["rows"], before["attendance_mark"]["files"]) == (98, 2)
    assert "3 tables compacted" in run("compact")
    after = {one["table"]: one for one in msgspec.json.decode(run("status", "--json"))["tables"]}
    assert (after["attendance_mark"]["rows"], after["attendance_mark"]["files"]) == (98, 1)
    assert [one["faults"] for one in msgspec.json.decode(run("verify", "--json"))] == [[], [], []]


@pytest.mark.parametrize("trials", [1, pytest.param(40, marks=pytest.mark.soak)])
async def test_kill_9_loses_doubles_and_tears_nothing(
    settings: Settings, pool: Any, address: str, tmp_path: Path, trials: int
) -> None:
    """As in test_warehouse_kill, into the store; what is right is what a folder holds after the same letters."""
    async with pool.acquire() as connection:
        house = await House(connection, settings, [SCHOOL]).open()
        letters = three_batches(house)
    calm = settings_with(settings, data=tmp_path / "calm")
    states: list[Any] = [{}]
    duck = Duck(calm, [calm.folder("warehouse")])
    async with heads.lease(calm) as lease:
        for batch in letters:
            states.append(live(calm, (await batches.load(lease, calm, duck, batch)).head))
    duck.close()
    killed = 0
    for number in range(trials):
        await pool.execute(
            "TRUNCATE warehouse.head, warehouse.finding, learners.identifier, learners.learner"
        )
        stormy = settings_with(settings, data=tmp_path / "storm", warehouse_store=f"{address}/{number}")
        step = (6 + number * 5) % 13 + 1  # the first: one table of the second batch is written, the other not
        killed += await in_process(Trial(stormy, letters, step), tmp_path)
        head = await heads.newest(pool)
        assert live(stormy, head) in states, f"half a batch is visible after a kill at step {step}"
        await load_all(Trial(stormy, letters, 0))
        head = await heads.newest(pool)
        assert live(stormy, head) == states[-1], f"first killed at step {step}"
    print(f"{trials} trials, {killed} kills, no fact lost, doubled or half visible")
    assert killed == trials
