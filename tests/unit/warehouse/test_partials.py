"""Figures from what was kept and brought up to date are the figures from all facts, whatever came in between."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from commonroom import log
from commonroom.engines import clock, delta, files
from commonroom.engines.delta import Batch
from commonroom.engines.duck import Duck
from commonroom.settings import Settings
from commonroom.warehouse import (
    heads,
    loader,
    manifests,
    measures,
    partials,
    periods,
    refresh,
    stages,
    tables,
    turns,
)
from commonroom.warehouse.heads import Head
from commonroom.warehouse.partials import Partials
from commonroom.warehouse.refresh import Work
from commonroom.warehouse.releases import Releases
from commonroom.warehouse.spans import View, time_of
from tests.unit.warehouse.house import REGISTERS, House, Record, enrolment, mark, organisation, upn

SCHOOLS = [str(990001 + number) for number in range(4)]
# Two weeks on either side of the turn of a term, and one day long ago.
DAYS = ["2026-09-08", "2026-11-30", "2026-12-04", "2026-12-17", "2027-01-06", "2027-01-08"]
FIRST, LAST = date(2026, 9, 1), date(2027, 1, 8)
KEPT = [name for name, measure in measures.load().items() if stages.of(measure)]


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


def open_releases(house: House) -> Releases:
    return Releases(house.settings, house.duck, lambda _: frozenset())


async def all_numbers(house: House, releases: Releases, known_at: datetime | None) -> dict[str, Any]:
    """The whole numbers of every school and group in every period, by measure and period."""
    view = View(await heads.newest(house.connection), known_at, LAST)
    found: dict[str, Any] = {}
    for name in KEPT:
        measure = measures.named(name)
        for grain in measure.grains:
            wanted = periods.between(grain, FIRST, LAST, LAST)
            for period, release in releases.of(measure, wanted, view).items():
                found[f"{name} {time_of(measure, period)}"] = release.numbers
    if known_at is None:
        assert_served(releases, view.head)
    return found


def assert_served(releases: Releases, head: Head) -> None:
    """The figures came from what is kept, as at the head."""
    kept = releases._numbers.partials
    assert kept is not None
    for name in KEPT:
        stage = stages.of(measures.named(name))
        assert stage is not None
        assert kept._newest[stage.name].version == head.tables.get(stage.entity, delta.EMPTY)
    assert rows_of(kept, head) is not None


WEEK = {"week 2026-12-14": [date(2026, 12, day) for day in range(14, 21)]}


def rows_of(kept: Partials, head: Head) -> list[Any] | None:
    found = kept.rows(measures.named("absence_overall"), head, WEEK)
    return None if found is None else sorted(map(str, found))


# Asked as known at a time, figures are worked out from the facts; nothing has become known since that moment.
END_OF_TODAY = datetime.fromisoformat("2027-01-08 23:00")


class Story:
    """Random changes, as schools and the register could tell them."""

    def __init__(self, house: House, seed: int) -> None:
        self.house, self.chance = house, random.Random(seed)
        self.version = 1000 * seed
        self.told: list[tuple[str, Record]] = []  # by school
        self.pupils = dict.fromkeys(range(12), 0)  # how often each one's UPN changed

    async def goes_on(self) -> None:
        """One more thing happens."""
        happening = self.chance.choice(
            [self.marks, self.marks, self.marks, self.corrections, self.withdrawals, self.new_upn, self.suspension,
             self.school_moves, self.tables_tidied, self.loader_killed, self.stay]
        )  # fmt: skip
        self.version += 1
        await happening()

    async def marks(self) -> None:
        school, day = self.chance.choice(SCHOOLS), self.chance.choice(DAYS)
        new = [
            mark(
                school, self.chance.randrange(12), day, session, self.chance.choice("/\\IOX#MN"), self.version
            )
            for session in ("AM", "PM")
            for _ in range(6)
        ]
        await self.tell(school, "attendance_mark", new)

    async def corrections(self) -> None:
        for school, record in self.some_told("attendance_mark"):
            await self.tell(
                school,
                "attendance_mark",
                [{**record, "code": self.chance.choice("/IO#"), "version": self.version}],
            )

    async def withdrawals(self) -> None:
        for school, record in self.some_told("attendance_mark"):
            gone = {name: value for name, value in record.items() if name != "code"}
            gone |= {"valid_from": record["date"], "version": self.version}
            assert not (
                await self.house.load(self.house.letter(school, "attendance_mark", (), [gone]))
            ).refused

    async def suspension(self) -> None:
        school, day = self.chance.choice(SCHOOLS), self.chance.choice(DAYS)
        record = {
            "school": school, "upn": upn(self.chance.randrange(12)), "start_date": day, "category": "SUSP",
            "version": self.version,
        }  # fmt: skip
        await self.tell(school, "exclusion", [record])

    async def stay(self) -> None:
        school = self.chance.choice(SCHOOLS)
        await self.tell(school, "enrolment", [enrolment(school, self.chance.randrange(12), "2026-09-01")])

    async def new_upn(self) -> None:
        school, pupil = self.chance.choice(SCHOOLS), self.chance.randrange(12)
        ends = [{"school": school, "upn": upn(pupil)}, {"school": school, "upn": upn(100 + self.version)}]
        letter = self.house.letter(
            school,
            "learner",
            rekeyed={"learner": [{"from": ends[0], "to": ends[1]}]},
        )
        assert not (await self.house.load(letter)).refused

    async def school_moves(self) -> None:
        urn, la = self.chance.choice(SCHOOLS), self.chance.choice(["997", "998"])
        record = organisation(self.house.parties[urn], urn, la, version=self.version)
        assert not (await self.house.load(self.house.letter(REGISTERS, "organisation", [record]))).refused

    async def tables_tidied(self) -> None:
        await loader.upkeep(self.house.connection, self.house.settings, every=True)

    async def loader_killed(self) -> None:
        """Rows were written, and the head was not."""
        head = await heads.newest(self.house.connection)
        version = head.tables.get("attendance_mark")
        if version is None:
            return
        folder = tables.of("attendance_mark").folder(self.house.settings)
        stored = self.house.duck.arrow(f"SELECT * FROM '{delta.files_of(folder, version)[0].path}' LIMIT 5")
        delta.append(folder, stored, after=version, batch=Batch(head.number + 1, "lost"))

    async def tell(self, school: str, entity: str, records: list[Record]) -> None:
        outcome = await self.house.load(self.house.letter(school, entity, records))
        assert not outcome.refused, outcome.refused
        self.told += [(school, record) for record in records if entity == "attendance_mark"]

    def some_told(self, entity: str) -> list[tuple[str, Record]]:
        return self.chance.sample(self.told, min(3, len(self.told)))


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


async def one_day_told(house: House, code: str = "I", version: int = 1) -> Head:
    """Some of its pupils were there."""
    codes = [code, "/", "/", "/"]
    marks = [mark(SCHOOLS[0], pupil, "2026-12-17", "AM", codes[pupil], version) for pupil in range(4)]
    assert not (await house.load(house.letter(SCHOOLS[0], "attendance_mark", marks))).refused
    return await heads.newest(house.connection)


def kept_folder(house: House) -> Path:
    (folder,) = (house.settings.folder("warehouse") / partials.FOLDER).glob("attendance_mark-*")
    return folder


def hours_pass(folder: Path, hours: float = 2) -> None:
    for path in folder.iterdir():
        os.utime(path, (time.time() - 3600 * hours,) * 2)


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
