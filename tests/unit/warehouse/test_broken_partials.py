"""What is kept and broken, cut off, deleted or in another's hands stops no question and makes no figure wrong."""

from __future__ import annotations

import errno
import fcntl
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from commonroom import log
from commonroom.engines import clock, files
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import (
    manifests,
    partials,
    refresh,
    turns,
)
from commonroom.warehouse.partials import Partials
from tests.unit.warehouse.house import House
from tests.unit.warehouse.kept_sums import (
    SCHOOLS,
    hours_pass,
    kept_folder,
    one_day_told,
    rows_of,
)


@pytest.fixture(autouse=True)
def _faults_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault stops no question, so a broken statement would be seen by nobody."""

    def fault(_: Any, event: str, error: BaseException) -> None:
        raise AssertionError(event) from error

    monkeypatch.setattr(log, "fault", fault)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Where faults are meant to happen: what they are."""
    found: list[BaseException] = []
    monkeypatch.setattr(log, "fault", lambda _, __, error: found.append(error))
    return found


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2027-01-08T12:00+00:00"))
        house = await House(connection, settings, SCHOOLS).open()
        await house.register(s990003="998")
        yield house


async def test_what_is_kept_of_a_table_that_was_put_back_long_ago_is_not_swept_away(house: House) -> None:
    head, kept = await one_day_told(house), Partials(house.settings, house.duck)
    rows_of(kept, head)
    folder = kept_folder(house)
    (present,) = folder.glob("*.json")
    undone = folder / f"{head.tables['attendance_mark'] + 20:020d}.json"
    undone.write_bytes(present.read_bytes())
    hours_pass(folder)
    after = await one_day_told(house, "/", 2)
    rows_of(kept, after)
    assert not undone.exists()
    assert next(manifests.stored(folder, 10**9)).version == after.tables["attendance_mark"]


async def test_what_was_deleted_is_made_again_at_the_same_head(house: House) -> None:
    head, kept = await one_day_told(house), Partials(house.settings, house.duck)
    before = rows_of(kept, head)
    shutil.rmtree(kept_folder(house))
    assert rows_of(kept, head) == before
    for path in kept_folder(house).glob("figures-*"):
        path.unlink()
    assert rows_of(kept, head) == before


async def test_files_that_cannot_be_read_though_they_are_whole_send_the_question_to_the_facts(
    house: House, faults: list[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    head, kept = await one_day_told(house), Partials(house.settings, house.duck)
    before = rows_of(kept, head)
    kept = Partials(house.settings, house.duck)  # which has read none of it
    with monkeypatch.context() as unreadable:

        def failing(*_: Any) -> str:
            raise OSError(errno.EIO, "the disk")

        unreadable.setattr(refresh, "newest_figures", failing)
        assert rows_of(kept, head) is None
    assert (rows_of(kept, head), len(faults)) == (None, 1), "it is left alone for a while"
    kept._failed.clear()
    assert rows_of(kept, head) == before


async def test_an_engine_that_ends_is_no_fault_of_what_is_kept(
    house: House, faults: list[BaseException]
) -> None:
    head, duck = await one_day_told(house), Duck(house.settings, [house.settings.folder("warehouse")])
    before = rows_of(Partials(house.settings, duck), head)
    kept = Partials(house.settings, duck)  # which has read none of it
    duck.close()
    for at in (head, await one_day_told(house, "/", 2)):
        with pytest.raises(duckdb.ConnectionException):
            rows_of(kept, at)
    assert faults == []
    assert rows_of(Partials(house.settings, house.duck), head) == before


def warnings_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(manifests, "_log", Warned(found))
    return found


class Warned:
    """A log that keeps its warnings."""

    def __init__(self, found: list[str]) -> None:
        self._found = found

    def warning(self, event: str, **_: Any) -> None:
        self._found.append(event)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def garbled(path: Path) -> None:
    """As long as it was."""
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)


async def test_what_is_broken_is_thrown_away_and_made_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = warnings_of(monkeypatch)
    kept, version = Partials(house.settings, house.duck), 0
    ways: list[Callable[[Path], None]] = [cut, garbled, Path.unlink]
    for kind, breaks in itertools.product(("sums-*", "figures-*", "*.json"), ways):
        version += 2
        assert rows_of(kept, await one_day_told(house, "I", version))
        kept = kept if version % 4 else Partials(house.settings, house.duck)  # the same process, or the next
        said.clear()
        for path in kept_folder(house).glob(kind):
            breaks(path)
        after = await one_day_told(house, "/", version + 1)
        found, told = rows_of(kept, after), f"{kind} {breaks.__name__}"
        # Nobody misses manifests that are gone.
        assert bool(said) == ((kind, breaks) != ("*.json", Path.unlink)), told
        assert found == rows_of(Partials(house.settings, house.duck), after), told
        shutil.rmtree(kept_folder(house))
        assert found == rows_of(Partials(house.settings, house.duck), after), f"{told}, all facts"


async def test_what_breaks_while_the_process_goes_on_is_made_again_when_it_is_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, kept = await one_day_told(house), Partials(house.settings, house.duck)
    before = rows_of(kept, head)
    said = warnings_of(monkeypatch)
    kept._read = turns.Kept(0)  # nothing of it is in memory
    for path in kept_folder(house).glob("figures-*"):
        garbled(path)
    assert rows_of(kept, head) == before
    assert said == ["partial sums are broken and are thrown away"]


async def test_nobody_waits_long_for_another_process(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partials, "_WAIT_SECONDS", 0.05)
    head, kept = await one_day_told(house), Partials(house.settings, house.duck)
    assert rows_of(kept, head)
    after = await one_day_told(house, "/", 2)
    with (kept_folder(house) / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert rows_of(kept, after) is None
    assert rows_of(kept, after)


async def test_a_failure_leaves_nothing_behind_and_is_not_repeated_at_once(
    house: House, faults: list[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    head, kept = await one_day_told(house), Partials(house.settings, house.duck)

    def full(_: Iterable[Path]) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(files, "sync", full)
    assert (rows_of(kept, head), rows_of(kept, head), len(faults)) == (None, None, 1)
    assert not list(kept_folder(house).glob("*.parquet"))


async def test_manifests_of_another_version_of_the_program_count_for_nothing(house: House) -> None:
    head = await one_day_told(house)
    before = rows_of(Partials(house.settings, house.duck), head)
    (manifest,) = kept_folder(house).glob("*.json")
    manifest.write_text('{"version": "2.0"}')
    assert rows_of(Partials(house.settings, house.duck), head) == before


async def test_what_was_merged_is_there_for_an_hour_more_for_those_who_read_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "MOST_PARTS", 1)
    head, slow = await one_day_told(house), Partials(house.settings, house.duck)
    before = rows_of(slow, head)
    folder, quick = kept_folder(house), Partials(house.settings, house.duck)
    old = folder.with_name("attendance_mark-0123456789abcdef")
    old.mkdir()
    (old / "sums.parquet").write_text("of another declaration")
    hours_pass(folder, 30)
    hours_pass(old, 30)
    merged = await one_day_told(house, "/", 2)
    after = rows_of(quick, merged)
    assert after != before
    assert rows_of(slow, head) == before
    assert not old.exists()
    assert len(list(folder.glob("figures-*"))) > 1
    hours_pass(folder)
    rows_of(quick, await one_day_told(house, "I", 3))
    hours_pass(folder)
    assert rows_of(quick, await one_day_told(house, "/", 4)) == after
    manifest = next(manifests.stored(folder, 10**9))
    recent = {path.name for path in folder.glob("*.parquet") if path.stat().st_mtime > time.time() - 3600}
    assert {path.name for path in folder.glob("*.parquet")} == {*manifest.files} | recent
    assert len(list(folder.glob("*.json"))) <= 2
