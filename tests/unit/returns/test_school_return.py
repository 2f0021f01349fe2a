"""A school's census return through a real hub in the demo's movements; and who may send it for the school."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom import exchange, returns, simulation
from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.mutators import Mutators
from commonroom.collections.session import Session
from commonroom.collections.xml_out import write_tables
from commonroom.engines import clock
from commonroom.hub import Alias, Party, Relation, load_movements, publish
from commonroom.hub.own_end_points import own_end_point
from commonroom.ids import alias_urn, org_urn, uuid7
from commonroom.problems import Problem
from commonroom.returns import mandates, parties, posting, reminders, store, taking
from commonroom.returns.parties import Actor
from commonroom.settings import Settings
from tests.hub_server import assure_everybody, hub_here
from tests.returns_world import COLLECTOR

SPRING, YEAR = "school-census-spring", 2026
NO_MANDATE = "who loaded it has no mandate to speak for whose return it is"


class School(msgspec.Struct, frozen=True):
    """A school with its authority and the Department, and a hub with the demo's movements."""

    settings: Settings
    connection: Any
    party: str
    authority: str
    folder: Path

    @property
    def head(self) -> Actor:
        return Actor(who="the head", party=self.party)

    @property
    def officer(self) -> Actor:
        return Actor(who="an officer", party=self.authority)

    async def upload(self, content: Any, by: Actor | None = None) -> store.Version:
        """A file with this content, loaded the way that people do."""
        path = self.folder / "census.xml"
        with Session(ENGINE) as session, path.open("wb") as out:
            session.load_records(content)
            write_tables(session.tables, out.write)
        found = await store.one(self.connection, SPRING, YEAR, self.party)
        done = await returns.upload(self.settings, self.connection, by or self.head, found, path)
        return await store.version(self.connection, done)

    async def hand_over(self) -> store.Version:
        """The version, after what waits was posted and taken in."""
        await posting.post_waiting(self.settings, self.connection)
        await self.taken()
        return await self.version()

    async def taken(self) -> None:
        me = await own_end_point(self.settings, self.connection, "returns", parties.DEPARTMENT)
        async with exchange.Client(self.settings.hub_url, me.key_file, me.end_point, verify=True) as client:
            await taking.take_letters(self.settings, self.connection, client)

    async def version(self) -> store.Version:
        found = await store.one(self.connection, SPRING, YEAR, self.party)
        return await store.version(self.connection, found)

    async def findings(self) -> list[store.Finding]:
        found = await store.one(self.connection, SPRING, YEAR, self.party)
        return await store.findings(self.connection, found)


ENGINE = Engine(loader.load(SPRING, YEAR))
VALID = msgspec.json.encode(Mutators(ENGINE).valid_return())


def valid() -> Any:
    return msgspec.json.decode(VALID)


@pytest.fixture
async def school(settings: Settings, pool: Any, tmp_path: Path) -> AsyncIterator[School]:
    header = valid()["Header"][0]
    async with hub_here(settings) as served, pool.acquire() as connection:
        party, authority, department = (org_urn(uuid7()) for _ in range(3))
        await publish(
            connection,
            [
                Party(party, "The school", ("school",)),
                Party(authority, "Its authority", ("local authority",)),
                Party(department, "The Department", ("department",)),
            ],
            [
                Alias(alias_urn("urn", header["URN"]), party),
                Alias(alias_urn("laestab", header["LEA"] + header["Estab"]), party),
                Alias(alias_urn("la", header["LEA"]), authority),
                Alias(parties.DEPARTMENT, department),
            ],
            [Relation(party, "its local authority", authority)],
        )
        await assure_everybody(connection)
        await load_movements(connection, Path(simulation.__file__).parent / "movements.yaml")
        await returns.open_collection(connection, SPRING, YEAR)
        yield School(served, connection, party, authority, tmp_path)


async def test_from_the_schools_file_to_the_authorised_return(school: School) -> None:
    uploaded = await school.upload(valid())
    assert (uploaded.told, uploaded.sender) == ("waiting", school.party)
    version = await school.hand_over()
    assert (version.told, version.told_reason) == ("taken", "")
    (part,) = (school.settings.folder(taking.FOLDER) / str(version.message)).iterdir()
    kept = exchange.decode(part.read_bytes(), exchange.RECORDS_ZSTD_TYPE)
    assert len(kept.records["learner"]) == len(kept.records["enrolment"]) == version.records
    assert {"school_characteristics", "site", "exclusion", "attendance_summary", "sen_need"} <= set(
        kept.records
    )
    done = await store.one(school.connection, SPRING, YEAR, school.party)
    for step, actor in (("submit", school.head), ("approve", school.officer), ("authorise", COLLECTOR)):
        done = await returns.take(school.connection, school.settings, done, actor, step)
    assert done.state == "authorised"


async def test_bad_records_are_refused_and_the_sender_is_told_which(school: School) -> None:
    content = valid()
    content["Pupil"][3]["UPN"] = "A1"
    await school.upload(content)
    version = await school.hand_over()
    assert version.told == "refused"
    assert version.told_reason.startswith("learner, record 3, item `upn`: standard-")
    assert "A1" not in version.told_reason
    assert not (school.settings.folder(taking.FOLDER) / str(version.message)).exists()
    # The sender's own end point is told by the hub too.
    name = f"returns-{school.party.rpartition(':')[2]}"
    me = await own_end_point(school.settings, school.connection, name, school.party)
    async with exchange.Client(school.settings.hub_url, me.key_file, me.end_point) as client:
        (letter,) = await client.pull(10, 5, "reports")
    assert (exchange.read_report(letter.body).state, letter.envelope.recipient) == ("refused", school.party)


async def test_two_rows_with_one_key_are_a_finding_that_names_both(school: School) -> None:
    content = valid()
    pupil = next(one for one in content["Pupil"] if "TermlyExclusion" in one)
    first = pupil["TermlyExclusion"][0]
    pupil["TermlyExclusion"].append({**first, "Sessions": "3"})
    version = await school.upload(content)
    (found,) = [one for one in await school.findings() if one.rule == "same-key"]
    place = f"Pupil[{content['Pupil'].index(pupil) + 1}]/TermlyExclusion"
    assert [(at["path"], at["row"] is not None) for at in found.locations] == [
        (f"{place}[{len(pupil['TermlyExclusion'])}]", True),
        (f"{place}[1]", True),
    ]
    assert (found.severity, version.told) == ("error", "refused")
    assert version.told_reason.endswith("cannot be told in the common language: see its findings")
    # Nothing of it goes, and it cannot be submitted.
    assert await posting.post_waiting(school.settings, school.connection) == 0
    done = await store.one(school.connection, SPRING, YEAR, school.party)
    with pytest.raises(Problem) as kept:
        await returns.take(school.connection, school.settings, done, school.head, "submit")
    assert kept.value.code == "CR-199"
    # Corrected, it goes.
    pupil["TermlyExclusion"].pop()
    await school.upload(content)
    assert (await school.hand_over()).told == "taken"
    assert [one for one in await school.findings() if one.rule == "same-key"] == []


async def test_nobody_gets_two_messages_for_one_fault(school: School) -> None:
    content = valid()
    content["Pupil"].append({**content["Pupil"][5], "Surname": "Another", "DOB": "not a day"})
    version = await school.upload(content)
    found = await school.findings()
    assert version.told == "refused"
    # A rule of the census says that the UPN stands there twice, and the built-in one that the date is none.
    assert [one for one in found if one.rule in ("same-key", "record")] == []
    assert {"1520", "type"} <= {one.rule for one in found}


async def test_reminders_reach_who_owes_each_once(school: School) -> None:
    # The deadline is over; the school and its authority each owe a return.
    assert await reminders.note(school.connection) == 2
    assert await reminders.post(school.settings, school.connection) == 2
    assert await reminders.note(school.connection) == 0
    assert await reminders.post(school.settings, school.connection) == 0
    for party in (school.party, school.authority):
        me = await own_end_point(
            school.settings, school.connection, f"returns-{party.rpartition(':')[2]}", party
        )
        async with exchange.Client(school.settings.hub_url, me.key_file, me.end_point, verify=True) as client:
            (letter,) = await client.pull(10, 5)
            assert await client.pull(10, 0) == []
        assert (letter.envelope.type, letter.envelope.subject) == (reminders.TYPE, f"{SPRING}/{YEAR}")
        assert msgspec.json.decode(letter.body) == {
            "collection": SPRING, "year": YEAR, "deadline": "2026-02-11", "state": "no_data", "kind": "overdue",
        }  # fmt: skip


async def test_an_authority_sends_for_a_school_that_has_let_it(school: School) -> None:
    version = await school.upload(valid(), by=school.officer)
    assert (version.told, version.told_reason) == ("refused", NO_MANDATE)
    await mandates.give(
        school.connection, school.party, school.authority, collection=SPRING, reason="Our server is down.", who="the head"
    )  # fmt: skip
    version = await school.upload(valid(), by=school.officer)
    assert (version.told, version.sender) == ("waiting", school.authority)
    assert (await school.hand_over()).told == "taken"
    (given,) = await mandates.listed(school.connection, school.authority)
    assert (given.party, given.collection, given.to_day, given.reason) == (
        school.party, SPRING, None, "Our server is down.",
    )  # fmt: skip


async def test_a_mandate_is_for_its_days_and_its_collection(school: School) -> None:
    ask = (school.connection, school.party, school.authority)
    today = await clock.today(school.connection)
    day = timedelta(days=1)
    assert not await mandates.holds(*ask, SPRING)
    assert await mandates.holds(school.connection, school.party, school.party, SPRING)
    for first, last in ((today + day, None), (today - 9 * day, today - day)):
        await mandates.give(*ask, collection=SPRING, first=first, last=last, who="the head")
        assert not await mandates.holds(*ask, SPRING)
    await mandates.give(*ask, collection=SPRING, first=today - day, last=today, who="the head")
    assert await mandates.holds(*ask, SPRING)
    assert not await mandates.holds(*ask, "school-census-summer")
    await mandates.give(*ask, who="the head")
    assert await mandates.holds(*ask, "school-census-summer")
    assert await mandates.end(*ask) == 1
    assert not await mandates.holds(*ask, "school-census-summer")
    # Never the other way round.
    assert not await mandates.holds(school.connection, school.authority, school.party, SPRING)


async def test_the_centre_asks_for_the_mandate_when_the_records_come(school: School) -> None:
    await mandates.give(school.connection, school.party, school.authority, who="the head")
    await school.upload(valid(), by=school.officer)
    assert await posting.post_waiting(school.settings, school.connection) == 1
    await mandates.end(school.connection, school.party, school.authority)
    await school.taken()
    version = await school.version()
    assert (version.told, version.told_reason) == (
        "refused",
        "The sender has no mandate to speak for whose return it is.",
    )


async def test_a_mandate_is_given_to_ones_own_authority_only(school: School) -> None:
    for party, agent in ((school.authority, school.party), (school.party, org_urn(uuid7()))):
        with pytest.raises(Problem) as refused:
            await mandates.give(school.connection, party, agent, who="somebody")
        assert refused.value.code == "CR-198"
    with pytest.raises(Problem) as backwards:
        await mandates.give(
            school.connection, school.party, school.authority, first=date(2026, 2, 1), last=date(2026, 1, 1), who="x"
        )  # fmt: skip
    assert backwards.value.code == "CR-198"
