"""The warehouse in an object store: the same rows and figures as in a folder, and a fault is never a smaller figure."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.fs
import pytest
from typer.testing import CliRunner

from commonroom.engines import clock, delta
from commonroom.engines.duck import Duck
from commonroom.identity import PUBLIC, Principal
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import Reader, batches, checks, heads, loader, open_reader, tables
from commonroom.warehouse.commands import app
from commonroom.warehouse.extracts import cut
from commonroom.warehouse.history import History
from tests.conftest import settings_with
from tests.engines.object_store import ObjectStore
from tests.faults.test_warehouse_kill import SCHOOL, Trial, in_process, live, load_all, three_batches
from tests.unit.warehouse.house import House, enrolment, mark, upn
from tests.unit.warehouse.test_large_extracts import asked

A, B = "990001", "990002"


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
