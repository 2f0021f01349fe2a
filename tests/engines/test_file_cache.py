"""The cache of whole files: nobody sees a part, nobody fetches twice, and what was not used for longest goes first."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import pytest

from commonroom.engines import file_cache
from commonroom.engines.file_cache import FileCache
from commonroom.problems import Problem

LONG_AGO = file_cache.IN_USE_SECONDS + 60

# A process that dies while it writes, when it has written so much that the file has its whole size.
CUT_OFF = """
import os, signal, sys
from pathlib import Path
from commonroom.engines.file_cache import FileCache

def write(file):
    file.write(b"torn!")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

FileCache(Path(sys.argv[1]), 100).put("t/a.parquet", 5, write)
"""


def put(cache: FileCache, name: str, content: bytes, used_ago: float = 0) -> Path:
    cache.put(name, len(content), lambda file: file.write(content))
    path = cache.folder / name
    os.utime(path, (time.time() - used_ago,) * 2)
    return path


def names(cache: FileCache) -> list[str]:
    return sorted(path.name for path in cache.folder.rglob("*.parquet"))


def test_a_file_of_another_size_is_not_the_file_and_is_fetched_again(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100)
    put(cache, "t/a.parquet", b"1234")
    assert cache.has("t/a.parquet", 4)
    assert not cache.has("t/a.parquet", 5)
    assert put(cache, "t/a.parquet", b"12345").read_bytes() == b"12345"


def test_what_a_killed_process_left_is_never_the_file(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", CUT_OFF, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    cache = FileCache(tmp_path, 100)
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["a.parquet.part"]
    assert not cache.has("t/a.parquet", 5)
    assert put(cache, "t/a.parquet", b"whole").read_bytes() == b"whole"
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["a.parquet"]


def test_a_fault_of_the_source_leaves_nothing(tmp_path: Path) -> None:
    def away(file: IO[bytes]) -> None:
        file.write(b"12")
        raise OSError(errno.ECONNRESET, "away")

    cache = FileCache(tmp_path, 100)
    with pytest.raises(OSError, match="away"):
        cache.put("t/a.parquet", 5, away)
    assert list((tmp_path / "t").iterdir()) == []


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    def full(file: IO[bytes]) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(Problem, match="CR-312"):
        FileCache(tmp_path, 100).put("t/a.parquet", 5, full)
    assert list((tmp_path / "t").iterdir()) == []


def test_on_a_full_disk_a_file_takes_the_place_of_what_is_not_in_use(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100)
    old, recent = put(cache, "t/old.parquet", b"1234", LONG_AGO), put(cache, "t/recent.parquet", b"1234")

    def onto_a_small_disk(file: IO[bytes]) -> None:
        if old.exists():
            raise OSError(errno.ENOSPC, "no space")
        file.write(b"new")

    cache.put("t/new.parquet", 3, onto_a_small_disk)
    assert names(cache) == ["new.parquet", "recent.parquet"]
    assert recent.read_bytes() == b"1234"


def small_disk(folder: Path, size: int) -> FileCache:
    """A cache on a disk of so many bytes, of which 4 are to be left free."""
    return FileCache(
        folder,
        100,
        keep_free=4,
        free=lambda folder: size - sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    )


def test_so_much_is_left_free_as_is_wanted_and_what_is_not_in_use_goes_for_it(tmp_path: Path) -> None:
    cache = small_disk(tmp_path, 12)
    put(cache, "t/old.parquet", b"1234", LONG_AGO)
    put(cache, "t/recent.parquet", b"1234")
    assert names(cache) == ["old.parquet", "recent.parquet"], "4 of 12 are free"
    put(cache, "t/new.parquet", b"12")
    assert names(cache) == ["new.parquet", "recent.parquet"]
    with pytest.raises(Problem, match="CR-312"):
        put(cache, "t/large.parquet", b"123")
    assert names(cache) == ["new.parquet", "recent.parquet"], "in use, and 6 of 12 are free"
    assert put(cache, "t/small.parquet", b"12").read_bytes() == b"12"


def test_where_others_fill_the_disk_the_cache_gives_way(tmp_path: Path) -> None:
    put(FileCache(tmp_path, 100), "t/old.parquet", b"1234", LONG_AGO)
    put(FileCache(tmp_path, 100), "t/recent.parquet", b"1234")
    small_disk(tmp_path, 12).trim()
    assert names(small_disk(tmp_path, 12)) == ["old.parquet", "recent.parquet"]
    small_disk(tmp_path, 11).trim()
    assert names(small_disk(tmp_path, 11)) == ["recent.parquet"]


def test_of_several_that_come_at_once_each_takes_its_room_before_it_is_there(tmp_path: Path) -> None:
    cache, begun, go_on = small_disk(tmp_path, 10), threading.Semaphore(0), threading.Event()
    refused: list[Problem] = []

    def write(file: IO[bytes]) -> None:
        begun.release()
        assert go_on.wait(20)
        file.write(b"1234")

    def come(name: str) -> None:
        try:
            cache.put(name, 4, write)
        except Problem as problem:
            refused.append(problem)
            begun.release()

    threads = [threading.Thread(target=come, args=(f"t/{number}.parquet",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=20)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert [problem.code for problem in refused] == ["CR-312", "CR-312"]
    assert len(names(cache)) == 1


def test_many_at_once_fetch_a_file_once_and_all_see_it_whole(tmp_path: Path) -> None:
    cache, begun, go_on = FileCache(tmp_path, 100), threading.Semaphore(0), threading.Event()
    written: list[int] = []

    def write(file: IO[bytes]) -> None:
        written.append(1)
        file.write(b"half")
        begun.release()
        assert go_on.wait(20)
        file.write(b"half")

    threads = [threading.Thread(target=cache.put, args=("t/a.parquet", 8, write)) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert begun.acquire(timeout=20)
    assert not cache.has("t/a.parquet", 8)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert (len(written), names(cache)) == (1, ["a.parquet"])
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["a.parquet"]


def test_what_was_not_used_for_longest_goes_first_and_what_may_be_in_use_stays(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 10)
    for number, content in enumerate((b"1111", b"2222", b"3333", b"4444")):
        put(cache, f"t{number}/{number}.parquet", content, LONG_AGO - number)
    assert cache.has("t0/0.parquet", 4)  # used now
    cache.trim()
    assert names(cache) == ["0.parquet", "3.parquet"]
    put(cache, "t5/5.parquet", b"55555555")
    cache.trim()
    assert names(cache) == ["0.parquet", "5.parquet"]
    cache.trim()
    assert names(cache) == ["0.parquet", "5.parquet"], "more than there is room for, but in use"


def test_leavings_of_killed_processes_go_like_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    left = tmp_path / "t" / "a.parquet.part"
    left.write_bytes(b"1" * 20)
    os.utime(left, (time.time() - LONG_AGO,) * 2)
    FileCache(tmp_path, 10).trim()
    assert not left.exists()
