"""Delta tables in an object store: kept, taken back and merged as in a folder, and every fault of the store is told."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from commonroom.engines import delta, object_folder, places
from commonroom.engines.delta import Batch
from commonroom.engines.file_cache import FileCache
from commonroom.engines.object_folder import ObjectFolder
from commonroom.problems import Problem
from tests.engines.object_store import ObjectStore, Relay

BATCH = Batch(7, "0199aaaa-0000-7000-8000-000000000000")


@pytest.fixture
def table(address: str, tmp_path: Path) -> ObjectFolder:
    return ObjectFolder(f"{address}/t", FileCache(tmp_path / "cache", 10**9), "t/")


def rows(*values: str) -> pa.Table:
    return pa.table({"name": list(values), "number": list(range(len(values)))})


def read(folder: ObjectFolder, version: int) -> list[str]:
    paths = places.here(file.path for file in delta.files_of(folder, version))
    return sorted(name for path in paths for name in pq.read_table(path).column("name").to_pylist())


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


def test_who_reads_a_version_while_the_store_hangs_keeps_nobody_else_waiting(
    table: ObjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread hangs in reading the second version; the first, which is known, and the third are read meanwhile."""
    versions = [delta.append(table, rows("a"), after=None, batch=BATCH)]
    for name in "bc":
        versions.append(delta.append(table, rows(name), after=versions[-1], batch=BATCH))
    first, second, third = versions
    assert len(delta.files_of(table, first)) == 1
    monkeypatch.setattr(object_folder, "_PATIENCE", 0.2)
    hangs, go_on = threading.Event(), threading.Event()

    def find() -> str:
        hangs.set()
        assert go_on.wait(20)
        return "found"

    with ThreadPoolExecutor(3) as threads:
        hanging = threads.submit(table.recall, second, find)
        assert hangs.wait(20)
        try:
            assert len(threads.submit(delta.files_of, table, first).result(20)) == 1
            assert len(threads.submit(delta.files_of, table, third).result(20)) == 3
            assert not hanging.done()
            # Of the same version one waits, but not for ever.
            assert threads.submit(table.recall, second, lambda: "read too").result(20) == "read too"
            assert not hanging.done()
        finally:
            go_on.set()
        assert hanging.result(20) == "found"


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
