"""Figures from what was kept and brought up to date are the figures from all facts, whatever came in between."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from commonroom import log
from commonroom.engines import clock, delta
from commonroom.settings import Settings
from commonroom.warehouse import (
    heads,
    manifests,
    measures,
    partials,
    refresh,
    stages,
    tables,
)
from commonroom.warehouse.partials import Partials
from commonroom.warehouse.refresh import Work
from tests.unit.warehouse.house import House, mark
from tests.unit.warehouse.kept_sums import (
    DAYS,
    END_OF_TODAY,
    SCHOOLS,
    Story,
    all_numbers,
    open_releases,
)


@pytest.fixture(autouse=True)
def _faults_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault stops no question, so a broken statement would be seen by nobody."""

    def fault(_: Any, event: str, error: BaseException) -> None:
        raise AssertionError(event) from error

    monkeypatch.setattr(log, "fault", fault)


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2027-01-08T12:00+00:00"))
        house = await House(connection, settings, SCHOOLS).open()
        await house.register(s990003="998")
        yield house


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 12), marks=pytest.mark.soak)])
async def test_what_is_kept_and_brought_up_to_date_gives_the_figures_of_all_facts(
    house: House, seeds: range, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(refresh, "MOST_PARTS", 3)  # so that merging happens
    for seed in seeds:
        story = Story(house, seed)
        releases = open_releases(house)
        for _ in range(4):
            for _ in range(story.chance.randrange(1, 5)):
                await story.goes_on()
            if story.chance.random() < 0.3:  # another process goes on
                releases = open_releases(house)
            found = await all_numbers(house, releases, None)
            assert found == await all_numbers(house, releases, END_OF_TODAY), f"seed {seed}"
    kept = house.settings.folder("warehouse") / partials.FOLDER
    assert list(kept.glob("attendance_mark-*/sums-*.parquet"))


class Killed(BaseException):
    """What ends the work as a kill does: nothing catches it, nothing is tidied up."""


async def test_a_kill_at_any_step_of_a_refresh_leaves_the_figures_right(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(house, 1)
    await story.marks()
    await all_numbers(house, open_releases(house), None)
    write, store = Work._written, manifests.store

    def torn(self: Work, session: Any, kind: str, version: int, sql: str) -> str:
        name = write(self, session, kind, version, sql)
        if deadly == kind:
            file = self.folder / name
            file.write_bytes(file.read_bytes()[:100])  # not synced: half of it is there
            raise Killed
        return name

    def before_it_is_named(folder: Path, manifest: Any) -> None:
        if deadly == "manifest":
            raise Killed
        store(folder, manifest)

    monkeypatch.setattr(Work, "_written", torn)
    monkeypatch.setattr(manifests, "store", before_it_is_named)
    for deadly in ("sums", "figures", "manifest"):
        story.version += 1
        await story.marks()
        with pytest.raises(Killed):
            await all_numbers(house, open_releases(house), None)
        deadly = ""
        releases = open_releases(house)  # the next process
        found = await all_numbers(house, releases, None)
        assert found == await all_numbers(house, releases, END_OF_TODAY)


async def test_sums_of_a_table_that_was_put_back_are_not_read(house: House) -> None:
    story, settings = Story(house, 2), house.settings
    await story.marks()
    releases = open_releases(house)
    await all_numbers(house, releases, None)
    table, head = tables.of("attendance_mark").folder(settings), await heads.newest(house.connection)
    assert isinstance(table, Path)
    copy = table.with_name("copy")
    shutil.copytree(table, copy)
    await story.marks()
    await all_numbers(house, releases, None)
    # An operator puts back what was copied; the loader goes on from there, and its next version has other rows.
    shutil.rmtree(table)
    copy.rename(table)
    await house.connection.execute("DELETE FROM warehouse.head WHERE number > $1", head.number)
    story.version += 1
    await story.marks()
    fresh = open_releases(house)
    assert await all_numbers(house, fresh, None) == await all_numbers(house, fresh, END_OF_TODAY)


async def test_a_late_correction_asks_for_no_file_of_the_days_between(house: House) -> None:
    for number, day in enumerate(DAYS[:3], 1):
        marks = [mark(SCHOOLS[0], 0, day, "AM", "/", number)]
        assert not (await house.load(house.letter(SCHOOLS[0], "attendance_mark", marks))).refused
    head, stage = await heads.newest(house.connection), stages.of(measures.named("absence_overall"))
    assert stage is not None
    version = head.tables["attendance_mark"]
    stored = delta.files_of(tables.of("attendance_mark").folder(house.settings), version)
    first, between, last = map(date.fromisoformat, DAYS[:3])
    kept = Partials(house.settings, house.duck)
    periods = {"one": manifests.Kept(1, (first,), version), "other": manifests.Kept(2, (last,), version)}
    asked = kept._work(stage)._of_days(stored, periods)
    is_read = {file.low["valid_from"]: file.path in asked for file in stored}
    assert is_read == {first: True, between: False, last: True}
    assert {row["valid_from"] for row in house.duck.query(asked)} == {first, last}
