"""What tests of partial sums share: schools of which anything may be told, and what was kept of them."""

from __future__ import annotations

import os
import random
import time
from datetime import date, datetime
from pathlib import Path
from typing import Any

from commonroom.engines import delta
from commonroom.engines.delta import Batch
from commonroom.warehouse import (
    heads,
    loader,
    measures,
    partials,
    periods,
    stages,
    tables,
)
from commonroom.warehouse.heads import Head
from commonroom.warehouse.partials import Partials
from commonroom.warehouse.releases import Releases
from commonroom.warehouse.spans import View, time_of
from tests.unit.warehouse.house import REGISTERS, House, Record, enrolment, mark, organisation, upn

SCHOOLS = [str(990001 + number) for number in range(4)]
# Two weeks on either side of the turn of a term, and one day long ago.
DAYS = ["2026-09-08", "2026-11-30", "2026-12-04", "2026-12-17", "2027-01-06", "2027-01-08"]
FIRST, LAST = date(2026, 9, 1), date(2027, 1, 8)
KEPT = [name for name, measure in measures.load().items() if stages.of(measure)]


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
