"""A return's life in a real database: versions, findings that keep their notes, needs, conflicts, and who sees what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom import returns
from commonroom.problems import Problem
from commonroom.returns import content, freeze, parties, store
from commonroom.returns.checking import Ruleset
from commonroom.returns.parties import Actor
from commonroom.returns.steps import Asked
from commonroom.returns.store import Return
from commonroom.settings import Settings
from tests.returns_world import COLLECTIONS, COLLECTOR, ROLL, UPNS, YEAR, County, file, pupil, small_county


class World(msgspec.Struct, frozen=True):
    settings: Settings
    connection: Any
    county: County
    folder: Path

    async def one(self, party: str = "") -> Return:
        return await store.one(self.connection, ROLL, YEAR, party or self.county.school)

    async def upload(self, *pupils: str, by: Actor | None = None, **more: Any) -> Return:
        found = await self.one()
        path = file(self.folder, *pupils)
        return await returns.upload(
            self.settings, self.connection, by or self.county.source(), found, path, **more
        )

    async def take(self, step: str, by: Actor, **more: Any) -> Return:
        return await returns.take(self.connection, self.settings, await self.one(), by, step, **more)

    async def note(self, *numbers: int, text: str = "", by: Actor | None = None, **more: Any) -> int:
        asked = Asked(numbers=numbers)
        who = by or self.county.source()
        return await returns.note(self.connection, await self.one(), who, asked, text=text, **more)

    async def checks(self) -> store.Checks:
        return await store.checks(self.connection, await self.one())


@pytest.fixture
async def world(
    settings: Settings, pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    monkeypatch.setenv("COMMONROOM_COLLECTIONS", str(COLLECTIONS))
    async with pool.acquire() as connection:
        county = await small_county(connection)
        await returns.open_collection(connection, ROLL, YEAR)
        yield World(settings, connection, county, tmp_path / "files")


OLD, GUEST = pupil(UPNS[0], born="1990-01-01"), pupil(UPNS[1], status="G")


async def test_everybody_who_owes_a_return_is_expected_once(world: World) -> None:
    assert await returns.open_collection(world.connection, ROLL, YEAR) == 0
    found = {one.party: one for one in await store.listed(world.connection, ROLL, YEAR, None, every=True)}
    county = world.county
    assert set(found) == {county.school, county.second, county.academy, county.elsewhere}
    assert {one.state for one in found.values()} == {"no_data"}
    assert found[county.school].approver == county.authority
    assert found[county.elsewhere].approver == county.other_authority
    # An academy sends its own.
    assert found[county.academy].approver is None


async def test_an_authority_is_source_and_approver_of_its_own_return(world: World) -> None:
    assert await returns.open_collection(world.connection, "cin", 2026) == 2
    found = await store.one(world.connection, "cin", 2026, world.county.authority)
    assert found.approver == world.county.authority


async def test_from_no_data_to_authorised(world: World) -> None:
    county = world.county
    assert (await world.upload(OLD, GUEST)).state == "loaded_and_validated"
    assert await world.checks() == store.Checks(open=2)
    with pytest.raises(Problem) as unanswered:
        await world.take("submit", county.source())
    assert unanswered.value.code == "CR-199"
    assert unanswered.value.extra["missing"] == ["2 queries need a note"]
    await world.note(1, text="A mature pupil.")
    await world.note(2)
    assert await world.checks() == store.Checks(with_note=2)
    assert (await world.take("submit", county.source())).state == "submitted"
    assert (await world.take("reject", county.approver(), reason="Two pupils are missing.")).state == (
        "rejected_by_approver"
    )
    assert (await world.upload(OLD, GUEST, pupil(UPNS[2]))).state == "amended_by_source"
    await world.take("submit", county.source())
    await world.take("approve", county.approver())
    done = await world.take("authorise", COLLECTOR)
    assert done.state == "authorised"
    history = await store.steps(world.connection, done)
    assert [(one.step, one.role, one.version) for one in history] == [
        ("load", "source", 1), ("submit", "source", 1), ("reject", "approver", 1), ("load", "source", 2),
        ("submit", "source", 2), ("approve", "approver", 2), ("authorise", "collector", 2),
    ]  # fmt: skip
    version = await store.version(world.connection, done)
    kept = await freeze.prove(world.settings, world.connection, done)
    assert (kept.version, kept.content, kept.rules) == (2, version.content, version.rules)
    assert history[2].reason == "Two pupils are missing."
    assert history[2].who == "somebody of the authority"


async def test_a_frozen_return_that_was_changed_on_the_disk_is_found_out(world: World) -> None:
    await world.upload(pupil())
    await world.take("submit", world.county.source())
    with pytest.raises(Problem) as early:
        await freeze.prove(world.settings, world.connection, await world.one())
    assert early.value.code == "CR-205"
    await world.take("approve", world.county.approver())
    done = await world.take("authorise", COLLECTOR)
    kept = await freeze.prove(world.settings, world.connection, done)
    (world.settings.folder("warehouse") / kept.folder / "Stay.parquet").unlink()
    with pytest.raises(Problem) as changed:
        await freeze.prove(world.settings, world.connection, done)
    assert changed.value.code == "CR-205"


async def test_errors_keep_a_return_from_being_submitted_whatever_is_noted(world: World) -> None:
    await world.upload(pupil(leaves="2025-09-01"))
    assert (await world.checks()).errors == 1
    with pytest.raises(Problem) as refused:
        await world.note(1, text="It is so.")
    assert refused.value.code == "CR-202"
    with pytest.raises(Problem) as kept:
        await world.take("submit", world.county.source())
    assert kept.value.extra["missing"] == ["1 error must be corrected"]


async def test_notes_survive_a_second_upload(world: World) -> None:
    await world.upload(OLD, GUEST)
    await world.note(1, text="A mature pupil.")
    await world.note(2)
    # The same findings, elsewhere in the file; and one that is new.
    await world.upload(pupil(UPNS[2], status="G"), GUEST, OLD)
    assert await world.checks() == store.Checks(open=1, with_note=2)
    found = {
        one.rule + one.locations[0]["path"]: one
        for one in await store.findings(world.connection, await world.one())
    }
    assert found["2QPupil[3]"].note == "A mature pupil."
    assert found["2QPupil[3]"].note_version == 1
    assert found["3QPupil[1]/Stay[1]"].note_kind is None
    assert found["3QPupil[2]/Stay[1]"].note_kind == "confirmed"


async def test_a_note_on_other_values_stays_to_be_read_and_answers_nothing(world: World) -> None:
    await world.upload(OLD)
    await world.note(1, text="A mature pupil.")
    await world.note(1, ok=True, by=world.county.approver())
    assert await world.checks() == store.Checks(ok=1)
    await world.upload(pupil(UPNS[0], born="1991-01-01"))
    assert await world.checks() == store.Checks(open=1, earlier=1)
    (found,) = await store.findings(world.connection, await world.one())
    assert (found.note, found.note_version, found.note_counts, found.is_ok) == (
        "A mature pupil.",
        1,
        False,
        False,
    )
    # The old values again: what was said of them counts again.
    await world.upload(OLD)
    assert await world.checks() == store.Checks(ok=1)


async def test_the_note_of_a_finding_that_is_gone_stays_in_the_history(world: World) -> None:
    await world.upload(OLD)
    await world.note(1, text="A mature pupil.")
    done = await world.upload(pupil(UPNS[0]))
    assert await world.checks() == store.Checks()
    (kept,) = await store.notes(world.connection, done)
    assert (kept.note, kept.version, kept.role, kept.found) == ("A mature pupil.", 1, "source", False)


async def test_two_findings_of_one_rule_in_one_record_keep_their_own_notes(world: World) -> None:
    stays = "".join(
        f"<Stay><EntryDate>{day}</EntryDate><Status>G</Status><NCyear>5</NCyear></Stay>"
        for day in ("2025-10-02", "2025-11-02")
    )
    one = pupil(UPNS[0]).replace("</Pupil>", f"{stays}</Pupil>")
    await world.upload(one)
    await world.note(2, text="The second of them.")
    first, second = stays.split("</Stay>")[0] + "</Stay>", stays.split("</Stay>")[1] + "</Stay>"
    await world.upload(pupil(UPNS[0]).replace("</Pupil>", f"{second}{first}</Pupil>"))
    found = await store.findings(world.connection, await world.one())
    assert [(f.locations[0]["path"], f.note) for f in found] == [
        ("Pupil[1]/Stay[2]", "The second of them."),
        ("Pupil[1]/Stay[3]", None),
    ]


async def test_an_explanation_is_asked_for_where_the_rule_says_so(world: World) -> None:
    await world.upload(OLD, GUEST)
    with pytest.raises(Problem) as refused:
        await world.note(1)
    assert refused.value.code == "CR-202"
    with pytest.raises(Problem) as unknown:
        await world.note(3, text="What?")
    assert unknown.value.code == "CR-201"
    assert await returns.note(
        world.connection, await world.one(), world.county.source(), Asked(rule="2Q"), text="All are."
    ) == 1  # fmt: skip


async def test_who_sent_a_return_does_not_accept_its_findings(world: World) -> None:
    await world.upload(OLD)
    with pytest.raises(Problem) as refused:
        await world.note(1, ok=True)
    assert refused.value.code == "CR-198"
    assert await world.note(1, ok=True, by=COLLECTOR) == 1
    assert await world.checks() == store.Checks(ok=1)


async def test_an_authority_submits_for_its_school_and_the_history_says_so(world: World) -> None:
    county = world.county
    await world.upload(GUEST, by=county.approver())
    await world.note(1, by=county.approver())
    await world.take("submit", county.approver())
    history = await store.steps(world.connection, await world.one())
    assert [(one.step, one.role, one.on_behalf_of) for one in history] == [
        ("load", "approver", county.school),
        ("submit", "approver", county.school),
    ]


async def test_two_at_once_the_second_is_told(world: World, pool: Any) -> None:
    await world.upload(OLD)
    found = await world.one()
    await world.note(1, text="First.", revision=found.revision)
    with pytest.raises(Problem) as conflict:
        await world.note(1, text="Second.", revision=found.revision)
    assert (conflict.value.code, conflict.value.status) == ("CR-200", 409)
    assert conflict.value.extra["revision"] == found.revision + 1

    async def load(name: str, *pupils: str) -> str:
        async with pool.acquire() as connection:
            path = file(world.folder / name, *pupils)
            now = await store.by_id(connection, found.id)
            both.append(now.revision)
            await barrier.wait()
            try:
                await returns.upload(world.settings, connection, world.county.source(), now, path)
            except Problem as problem:
                return problem.code
            return "loaded"

    barrier = asyncio.Barrier(2)
    both: list[int] = []
    fates = await asyncio.gather(load("a", OLD), load("b", OLD, GUEST))
    assert both[0] == both[1]
    assert sorted(fates) == ["CR-200", "loaded"]
    assert (await world.one()).version == 2


async def test_others_see_nothing_not_even_that_it_is_there(world: World) -> None:
    county = world.county
    for stranger in (
        Actor(who="another school", party=county.second),
        Actor(who="another authority", party=county.other_authority),
        Actor(who="nobody"),
    ):
        with pytest.raises(Problem) as refused:
            await returns.seen(world.connection, stranger, ROLL, YEAR, county.school)
        assert (refused.value.code, refused.value.status) == ("CR-196", 404)
    for known in (county.source(), county.approver(), COLLECTOR):
        assert (await returns.seen(world.connection, known, ROLL, YEAR, county.school)).party == county.school
    listed = await store.listed(world.connection, ROLL, YEAR, county.authority)
    assert {one.party for one in listed} == {county.school, county.second}


async def test_an_academys_return_goes_straight_to_the_collector(world: World) -> None:
    found = await world.one(world.county.academy)
    its_own = Actor(who="the academy", party=world.county.academy)
    path = file(world.folder, pupil(), urn="990003")
    await returns.upload(world.settings, world.connection, its_own, found, path)
    await returns.take(world.connection, world.settings, found, its_own, "submit")
    done = await returns.take(world.connection, world.settings, found, COLLECTOR, "authorise")
    assert done.state == "authorised"


@pytest.mark.parametrize(
    "bad", ["<Message><Header>", "", "<!DOCTYPE x [<!ENTITY a 'b'>]><Message>&a;</Message>"]
)
async def test_a_bad_file_leaves_the_return_as_it_was(world: World, bad: str) -> None:
    before = await world.upload(OLD)
    path = world.folder / "bad.xml"
    path.write_text(bad, "utf-8")
    kept = sorted(one.name for one in world.settings.folder(content.FOLDER).iterdir())
    with pytest.raises(Problem) as refused:
        await returns.upload(world.settings, world.connection, world.county.source(), before, path)
    assert refused.value.code in ("CR-190", "CR-191")
    assert await world.one() == before
    assert sorted(one.name for one in world.settings.folder(content.FOLDER).iterdir()) == kept


async def test_the_history_cannot_be_changed(world: World) -> None:
    await world.upload(OLD)
    for statement in (
        "UPDATE returns.step SET who = ''",
        "DELETE FROM returns.step",
        "TRUNCATE returns.note",
    ):
        with pytest.raises(Exception, match="kept for ever"):
            await world.connection.execute(statement)


async def test_no_personal_value_can_be_read_from_a_findings_key(world: World) -> None:
    await world.upload(OLD)
    (found,) = await store.findings(world.connection, await world.one())
    assert len(found.key) == 40
    key = world.settings.folder("keys") / "returns-findings.key"
    assert key.stat().st_mode & 0o777 == 0o600


async def test_the_same_content_has_the_same_digest_wherever_it_is_made(world: World, tmp_path: Path) -> None:
    one = await store.version(world.connection, await world.upload(OLD, GUEST))
    two = await store.version(world.connection, await world.upload(OLD, GUEST))
    three = await store.version(world.connection, await world.upload(GUEST, OLD))
    assert one.content == two.content != three.content
    assert one.modules == {"Header": 1, "Pupil": 2, "Stay": 2}
    collection = Ruleset(ROLL, YEAR).load()
    assert content.proved(collection, content.folder(world.settings, one.content), one.content)
    assert not content.proved(collection, content.folder(world.settings, three.content), one.content)


async def test_people_come_as_what_they_are(world: World) -> None:
    from commonroom.identity import PUBLIC, Principal

    county = world.county
    person = Principal(kind="person", id="1", role="school", party=county.school)
    assert parties.of_principal(person) == Actor(who="1", party=county.school)
    assert parties.of_principal(Principal(kind="person", id="2", role="operator")).collector
    for other in (
        PUBLIC,
        Principal(kind="person", id="3", role="analyst"),
        Principal(kind="end_point", id="4", role="end_point", party=county.school),
    ):
        with pytest.raises(Problem) as refused:
            parties.of_principal(other)
        assert refused.value.status in (401, 403)


async def test_only_the_collector_lets_an_error_pass(world: World) -> None:
    await world.upload(pupil(leaves="2001-01-01"))
    assert (await world.checks()).errors == 1
    with pytest.raises(Problem) as refused:
        await world.note(1, ok=True, by=world.county.approver())
    assert refused.value.code == "CR-202"
    assert await world.note(1, ok=True, by=COLLECTOR) == 1
    assert await world.checks() == store.Checks(ok=1)
