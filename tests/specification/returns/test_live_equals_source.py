"""A School Census made from the warehouse equals, row by row, the one each school makes from its own database.

Ten schools of three makers live through twelve days in which pupils come, go, move house, gain meals and support, and marks
are put right later. Each evening what the schools' databases show newly goes through the warehouse's loader, and every
database is backed up. Then the census of a day in between is made, as known that evening and as known at the end.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from typer.testing import CliRunner

from commonroom import access, returns
from commonroom.collections.live import on
from commonroom.collections.loader import load
from commonroom.collections.model import Collection, Period
from commonroom.collections.records import read_back
from commonroom.collections.tables import Tables
from commonroom.engines.database import open_pool
from commonroom.engines.postgres import LocalServer
from commonroom.problems import Problem
from commonroom.returns import freeze, live, store
from commonroom.returns.commands import app
from commonroom.returns.parties import Actor
from commonroom.settings import Settings
from commonroom.simulation import World, build, pass_day, school_database, schools_of_county
from commonroom.simulation.schools import REGISTER, School, read_register
from commonroom.standard import load as load_standard
from commonroom.warehouse import heads
from commonroom.warehouse.record import Holder
from tests.specification.returns import own_returns
from tests.specification.returns.own_returns import Days, Row
from tests.specification.simulation.records import records
from tests.unit.warehouse.house import REGISTERS, House

NAME, YEAR = "school-census-spring", 2099
# With this one every kind of event falls to every maker before the reference date, and every kind happens after it.
SEED = 19
PUPILS = 3_000
# Nurseries, special schools, primaries and secondaries, each maker among them.
PLACES = (0, 11, 13, 18, 19, 20, 21, 22, 23, 25)
DAYS = 12
EVE = date(2026, 9, 1)
REFERENCE = date(2026, 9, 14)
PERIOD = (date(2026, 9, 2), date(2026, 9, 11))
OWN_DAYS = Days("2026-09-14", "2026-09-02", "2026-09-11", "2026-08-31", "2026-09-09")
COVER = f"""
name: {NAME}
year: "{YEAR}"
inherits: "2026"
title: School Census of the invented county
reference_date: {REFERENCE}
period: {{start: {PERIOD[0]}, end: {PERIOD[1]}}}
header: {{Year: "{YEAR}"}}
parameters: {{attendance_age_date: 2026-08-31, previous_census: 2026-09-09}}
"""
KINDS = ("admitted", "left", "removals", "fsm_gained", "sen_support", "corrections")
ENTITIES = ("learner", "enrolment", "attendance_mark")
PHASES = {"Nursery": "NS", "Primary": "PS", "Secondary": "SS", "Not applicable": "SP"}


class County(msgspec.Struct, frozen=True):
    """What the days have left: back-ups of the schools' databases by day, and the warehouse."""

    schools: tuple[School, ...]
    back_ups: dict[str, Path]
    settings: Settings
    head: heads.Head
    parties: dict[str, str]
    collection: Collection
    # When all that was entered on the reference date had arrived.
    evening: datetime
    # What happened up to the reference date, by maker and kind; and after it, by kind.
    earlier: dict[str, int]
    later: dict[str, int]

    def made(
        self, school: School, known_at: datetime | None, collection: Collection | None = None
    ) -> dict[str, list[Row]]:
        """The census from the warehouse."""
        chosen = collection or self.collection
        tables = Tables(self.collection)
        try:
            party = self.parties[school.urn]
            who = live.Reader("person", "test", "school", party)
            holder = Holder(party, (school.urn,), access.rows(who, "warehouse.record", "duckdb"))
            live.fill(self.settings, tables, chosen, self.head, holder, known_at)
            return read_back(tables)
        finally:
            tables.close()

    def own(self, school: School, day: str, back_ups: dict[str, Path] | None = None) -> dict[str, list[Row]]:
        """The census from the school's own database as it was in the evening of a day."""
        kept = {
            day: school_database(folder, school.urn) for day, folder in (back_ups or self.back_ups).items()
        }
        number, name = own_returns.itself(kept[day], school.system)
        phase = PHASES[next(row.phase for row in read_register(REGISTER) if row.urn == school.urn)]
        if school.system == "inkwell":
            stays = own_returns.inkwell(kept[day], OWN_DAYS, kept)
        else:
            stays = getattr(own_returns, school.system)(kept[day], OWN_DAYS)
        header = {
            "Collection": "SC", "Term": "SPR", "Year": str(YEAR), "ReferenceDate": OWN_DAYS.reference, "SourceLevel": "S",
            "LEA": number[:3], "Estab": number[3:], "URN": school.urn, "SoftwareCode": "Common Room",
        }  # fmt: skip
        return {
            "Header": [header],
            "School": [{"SchoolName": name, "Phase": phase, "PostCode": school.postcode}],
            "Pupil": own_returns.assemble(stays, OWN_DAYS, nursery=phase == "NS"),
        }


@pytest.fixture(scope="module")
def county(
    postgres: LocalServer, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[County]:
    """The county after its days, with a database of its own."""
    folder = tmp_path_factory.mktemp("live")
    _write_cover(folder / "collections")
    before = os.environ.get("COMMONROOM_COLLECTIONS")
    os.environ["COMMONROOM_COLLECTIONS"] = os.pathsep.join(
        filter(None, (str(folder / "collections"), before))
    )
    server = postgres.dsn.rsplit("/", 1)[0]
    name = f"live_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield asyncio.run(_live_through(folder, Settings(data=folder / "data", database=f"{server}/{name}")))
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    if before is None:
        del os.environ["COMMONROOM_COLLECTIONS"]
    else:
        os.environ["COMMONROOM_COLLECTIONS"] = before


def _write_cover(folder: Path) -> None:
    path = folder / NAME / str(YEAR) / "collection.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(COVER, "utf-8")


async def _live_through(folder: Path, settings: Settings) -> County:
    everybody = schools_of_county(PUPILS)
    world = World(SEED, [everybody[place] for place in PLACES])
    build(world, folder / "schools")
    pool = await open_pool(settings, size=2)
    try:
        async with pool.acquire() as connection:
            house = await House(connection, settings, [school.urn for school in world.schools]).open()
            await house.load(_register(house, world))
            post = _Post(house, world, folder / "schools")
            # The agents look for the first time on the eve.
            await post.deliver(EVE)
            back_ups = {EVE.isoformat(): _backed_up(folder, EVE)}
            earlier = {f"{system} {kind}": 0 for system in own_returns.SYSTEMS for kind in KINDS}
            later = dict.fromkeys(KINDS, 0)
            for day in world.school_days(date(2026, 9, 30))[:DAYS]:
                pass_day(world, folder / "schools", day)
                await post.deliver(day)
                back_ups[day.isoformat()] = _backed_up(folder, day)
                for school in world.schools:
                    for kind in KINDS:
                        count = len(getattr(world.happenings(day)[school.urn], kind))
                        if day > REFERENCE:
                            later[kind] += count
                        else:
                            earlier[f"{school.system} {kind}"] += count
            head = await heads.newest(connection)
            house.duck.close()
            return County(
                world.schools,
                back_ups,
                settings,
                head,
                house.parties,
                load(NAME, YEAR),
                _evening(REFERENCE),
                earlier,
                later,
            )
    finally:
        await pool.close()


def _backed_up(folder: Path, day: date) -> Path:
    return shutil.copytree(folder / "schools", folder / "back-ups" / day.isoformat())


def _evening(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 20, tzinfo=UTC)


def _register(house: House, world: World) -> Any:
    rows = {row.urn: row for row in read_register(REGISTER)}
    found = [
        {
            "organisation": house.parties[school.urn], "kind": "school", "name": school.name, "urn": school.urn,
            "laestab": f"{school.la_code}{school.estab}", "type": rows[school.urn].type, "phase": rows[school.urn].phase,
            "la_code": school.la_code, "postcode": school.postcode, "town": school.town, "valid_from": "2026-09-01",
            "version": 1,
        }
        for school in world.schools
    ]  # fmt: skip
    return house.letter(REGISTERS, "organisation", found, accepted_at="2026-09-01T08:00+00:00")


class _Post:
    """Takes each evening to the warehouse what a school's database shows newly or otherwise than before."""

    def __init__(self, house: House, world: World, folder: Path) -> None:
        self._house, self._world, self._folder = house, world, folder
        self._sent: dict[tuple[Any, ...], Row] = {}

    async def deliver(self, day: date) -> None:
        letters = []
        accepted = _evening(day).replace(hour=18).isoformat()
        for school in self._world.schools:
            for entity in ENTITIES:
                new = [self._numbered(entity, record) for record in records(self._folder, school, entity)]
                told = [record for record in new if record is not None]
                if told:
                    letters.append(self._house.letter(school.urn, entity, told, accepted_at=accepted))
        loaded = await self._house.load(*letters)
        assert not loaded.refused
        assert not loaded.findings

    def _numbered(self, entity: str, record: Row) -> Row | None:
        key = (
            entity,
            *(record[name] for name in load_standard().entities[entity].key),
            record.get("valid_from"),
        )
        before = self._sent.get(key)
        if before is not None and {**before, "version": 0} == {**record, "version": 0}:
            return None
        # One number for all keys of a day would do; it must only rise with each change of a record.
        numbered = {**record, "version": (before or {"version": 0})["version"] + 1}
        self._sent[key] = numbered
        return numbered


def differences(made: dict[str, list[Row]], own: dict[str, list[Row]]) -> list[str]:
    """Where two returns differ: by module for the school, by pupil for pupils."""
    found = [module for module in ("Header", "School") if made[module] != own[module]]
    found += [module for module in made if made[module] and module not in own]
    theirs = {(row["OnRoll"], row["UPN"], row["EntryDate"]): row for row in own["Pupil"]}
    ours = {(row["OnRoll"], row["UPN"], row["EntryDate"]): row for row in made["Pupil"]}
    found += [" ".join(key) for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
    if len(ours) != len(made["Pupil"]) or len(theirs) != len(own["Pupil"]):
        found.append("a pupil stands twice")
    order = [(row["OnRoll"] != "1", row["UPN"]) for row in made["Pupil"]]
    return found if order == sorted(order) else [*found, "order"]


def test_as_known_on_the_evening_every_school_has_what_its_own_database_had(
    county: County, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"on roll": 0, "left": 0, "addresses": 0, "meals": 0, "sessions": 0, "reasons": 0}
    for school in county.schools:
        made = county.made(school, county.evening)
        own = county.own(school, REFERENCE.isoformat())
        assert differences(made, own) == [], (school.urn, school.system)
        _count(counts, own["Pupil"])
    with capsys.disabled():
        print(f"\n{len(county.schools)} schools: {counts}\nbefore: {county.earlier}\nafter: {county.later}")
    # Nothing compared is nothing proved.
    assert counts["on roll"] > 900
    assert counts["left"] >= 5
    assert counts["meals"] > 100
    assert counts["reasons"] > 100
    assert all(county.earlier.values())
    assert all(county.later.values())


def _count(counts: dict[str, int], pupils: list[Row]) -> None:
    for row in pupils:
        counts["on roll" if row["OnRoll"] == "1" else "left"] += 1
        counts["addresses"] += len(row["Address"])
        counts["meals"] += len(row.get("FSMperiod", ()))
        counts["sessions"] += int(row.get("TermlySessionsPossible", 0))
        counts["reasons"] += len(row.get("TermlySessionDetail", ()))


def test_as_known_at_the_end_it_is_still_the_state_of_the_reference_date(county: County) -> None:
    last = max(county.back_ups)
    changed = 0
    for school in county.schools:
        own = county.own(school, last)
        assert differences(county.made(school, None), own) == [], (school.urn, school.system)
        changed += len(differences(own, county.own(school, REFERENCE.isoformat())))
    # Marks of the period that were put right after the reference date.
    assert changed > 0


PLANTS = {
    "tallybook": (
        "UPDATE person SET surname = 'Changed' WHERE upn = ?",
        "UPDATE address_history SET postcode = 'X' WHERE person_id = (SELECT person_id FROM person WHERE upn = ?)",
        "DELETE FROM stay WHERE person_id = (SELECT person_id FROM person WHERE upn = ?)",
        "UPDATE session_mark SET mark_code_id = (SELECT mark_code_id FROM mark_code WHERE letter = 'T') "
        "WHERE session_day = 46272 AND person_id = (SELECT person_id FROM person WHERE upn = ?)",
    ),
    "inkwell": (
        "UPDATE PUPILS SET Surname = 'Changed' WHERE UPN = ?",
        "UPDATE PUPILS SET PostCode = 'X' WHERE UPN = ?",
        "UPDATE PUPILS SET DateOfEntry = '15/09/2026' WHERE UPN = ?",
        "UPDATE WEEKLY_REGISTER SET Marks = 'TT' || substr(Marks, 3) WHERE WeekBeginning = '07/09/2026' AND UPN = ?",
    ),
    "chalkstone": tuple(
        f"{statement} AND learner = (SELECT learner FROM learner_attribute WHERE attribute = 'upn' AND value = ?)"
        for statement in (
            "UPDATE learner_attribute SET value = 'Changed' WHERE attribute = 'name.family'",
            "UPDATE learner_attribute SET value = 'X' WHERE attribute = 'home.postcode'",
            "DELETE FROM membership_event WHERE true",
            "UPDATE register_am SET mark = 'travelling' WHERE taken_on = '20260908'",
        )
    ),
}


@pytest.mark.parametrize(("system", "place"), [(system, place) for system in PLANTS for place in range(4)])
def test_what_a_school_has_otherwise_is_seen(county: County, tmp_path: Path, system: str, place: int) -> None:
    school = next(one for one in county.schools if one.system == system and one.pupils > 100)
    day = REFERENCE.isoformat()
    # Somebody of an age of which attendance is wanted.
    pupils = [row["UPN"] for row in county.own(school, day)["Pupil"] if "TermlySessionsPossible" in row]
    upn = pupils[3]
    spoilt = {**county.back_ups, day: tmp_path}
    path = shutil.copy(school_database(county.back_ups[day], school.urn), tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(PLANTS[system][place], (upn,)).rowcount >= 1
        connection.commit()
    (found,) = differences(county.made(school, county.evening), county.own(school, day, spoilt))
    assert upn in found


def test_another_reference_date_is_another_return(county: County) -> None:
    """The dates of a make-up are its own; the collection's are what it takes without any."""
    school = county.schools[3]
    first = date(2026, 9, 3)
    sooner = county.made(school, None, on(county.collection, first, Period(PERIOD[0], first)))
    assert sooner["Header"][0]["ReferenceDate"] == "2026-09-03"
    assert {row["EntryDate"] for row in sooner["Pupil"]} <= {
        row["EntryDate"] for row in sooner["Pupil"] if row["EntryDate"] <= "2026-09-03"
    }
    assert max(int(row.get("TermlySessionsPossible", 0)) for row in sooner["Pupil"]) == 4
    assert differences(sooner, county.own(school, max(county.back_ups))) != []


def test_a_made_return_becomes_a_version_and_is_the_same_when_made_again(county: County) -> None:
    found, again, nobody = asyncio.run(_made_versions(county))
    assert found.state in ("loaded_and_validated", "amended_by_source")
    assert (again.kind, again.number, again.known_at) == ("live", 2, county.evening)
    assert again.records == len(county.own(county.schools[4], REFERENCE.isoformat())["Pupil"])
    assert nobody == "CR-208"


def test_the_command_makes_a_version_and_tells_its_findings(county: County) -> None:
    school = county.schools[3]
    party = county.parties[school.urn]
    asyncio.run(_opened(county))
    command = [
        "make",
        NAME,
        str(YEAR),
        "--as",
        school.urn,
        "--known-at",
        county.evening.isoformat(),
        "--json",
    ]
    done = CliRunner().invoke(
        app,
        [*command, "--data", str(county.settings.data)],
        env={"COMMONROOM_DATABASE": county.settings.database},
    )
    told = msgspec.json.decode(done.stdout)
    assert done.exit_code == (1 if told["checks"]["errors"] else 0)
    assert told["return"]["party"] == party
    assert told["version"]["kind"] == "live"
    assert told["version"]["records"] == len(county.own(school, REFERENCE.isoformat())["Pupil"])


async def _opened(county: County) -> None:
    pool = await open_pool(county.settings, size=2)
    try:
        async with pool.acquire() as connection:
            await returns.open_collection(connection, NAME, YEAR)
    finally:
        await pool.close()


async def _made_versions(county: County) -> tuple[store.Return, store.Version, str]:
    pool = await open_pool(county.settings, size=2)
    try:
        async with pool.acquire() as connection:
            await returns.open_collection(connection, NAME, YEAR)
            party = county.parties[county.schools[4].urn]
            actor = Actor(who="test", party=party)
            found = await store.one(connection, NAME, YEAR, party)
            found = await live.make(county.settings, connection, actor, found, known_at=county.evening)
            first = await store.version(connection, found)
            after = await live.make(county.settings, connection, actor, found, known_at=county.evening)
            second = await store.version(connection, after)
            assert first.content == second.content
            # Frozen, it can be made again from what the record was known to be then, though more is known now.
            async with connection.transaction():
                await freeze.freeze(county.settings, connection, after)
            kept = await freeze.prove(county.settings, connection, after)
            assert (kept.content, kept.known_at) == (second.content, county.evening)
            assert await live.made_again(county.settings, connection, after, second) == kept.content
            with pytest.raises(Problem) as early:
                await live.make(
                    county.settings, connection, actor, after, known_at=datetime(2026, 8, 1, tzinfo=UTC)
                )
            return found, second, early.value.code
    finally:
        await pool.close()
