"""Numbers without any action by schools, through a real hub: told once, given once, told again when they change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.problems import Problem
from commonroom.registers.learners import flow, store
from commonroom.registers.learners.flow import pupils, tellings
from commonroom.registers.learners.numbers import is_uln
from commonroom.registers.learners.store import Caller
from commonroom.settings import Settings
from tests.unit.registers.learners.flow_world import FIRST, PEOPLE, SECOND, World, record, upn, world_at
from tests.waiting import until_async

CHILD = {"date_of_birth": "2015-03-03"}  # 14 in the school year that begins in September 2028


@pytest.fixture
async def world(settings: Settings, pool: Any, tmp_path: Path) -> AsyncIterator[World]:
    async with world_at(settings, pool, tmp_path) as made:
        yield made


async def given(world: World) -> int:
    """How many numbers there are."""
    count: int = await world.connection.fetchval("SELECT count(*) FROM learners.uln")
    return count


async def test_a_school_is_sent_the_numbers_of_its_pupils_who_are_14(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0), record(1), record(2, **CHILD)])
    await world.take()
    told = await world.received(FIRST)
    assert {(one["school"], one["upn"]) for one in told} == {(FIRST, upn(0)), (FIRST, upn(1))}
    assert all(is_uln(one["uln"]) for one in told)
    assert all((one["valid_from"], one["version"]) == ("2026-10-01", 1) for one in told)
    assert await world.received(SECOND) == []
    look_ups = await world.connection.fetch("SELECT party, role, purpose FROM learners.look_up")
    assert {tuple(row) for row in look_ups} == {(world.parties[FIRST], "department", "statutory_return")}


async def test_a_letter_that_comes_again_changes_nothing(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0)])
    letters = await world.register.pull(10, 0, "letters")
    party = world.parties["learners"]
    await flow.take_letters(world.register, world.connection, world.numbers, party, letters)
    await flow.take_letters(world.register, world.connection, world.numbers, party, letters)
    assert len(await world.received(FIRST)) == 1
    assert await given(world) == 1


async def test_killed_after_the_numbers_were_given_the_letter_goes_out_once(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0)])
    letters = await world.register.pull(10, 0, "letters")
    await flow.office._keep(world.connection, letters)
    await pupils.submit(world.connection, world.numbers)
    # Killed here: numbers are given, nothing is posted or acknowledged. Then posted, and killed before that was noted.
    party = world.parties["learners"]
    await flow.take_letters(world.register, world.connection, world.numbers, party, letters)
    await world.connection.execute("UPDATE learners.number_letter SET accepted = false")
    rows = await world.connection.fetch("SELECT body FROM learners.number_letter")
    assert [row["body"] for row in rows] == [None]
    assert len(await world.received(FIRST)) == 1
    assert await given(world) == 1


async def test_posted_twice_a_letter_arrives_once(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0)])
    letters = await world.register.pull(10, 0, "letters")
    await flow.office._keep(world.connection, letters)
    await pupils.submit(world.connection, world.numbers)
    (waiting,) = await world.connection.fetch("SELECT * FROM learners.number_letter")
    party = world.parties["learners"]
    assert await flow.office._post(world.connection, world.register, party) == 0
    await world.connection.execute(
        "UPDATE learners.number_letter SET accepted = false, body = $1", waiting["body"]
    )
    assert await flow.office._post(world.connection, world.register, party) == 0
    assert len(await world.received(FIRST)) == 1


async def test_younger_pupils_get_theirs_when_the_school_year_begins(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0, **CHILD)])
    await world.take()
    assert await world.received(FIRST) == []
    await clock.set_to(world.connection, world.settings, datetime(2028, 9, 1, 8, tzinfo=clock.ENGLAND))
    await world.take()
    assert list(await world.ulns(FIRST)) == [upn(0)]


async def test_newly_14_is_taken_at_the_schools_word(world: World) -> None:
    early = {"date_of_birth": "2013-09-20"}  # by the date of birth it would be next school year
    await world.tell_pupils(FIRST, [record(0, **early)])
    await world.take()
    assert await world.received(FIRST) == []
    await world.tell_pupils(FIRST, [record(0, **early)], tellings.NEWLY_14)
    await world.take()
    assert list(await world.ulns(FIRST)) == [upn(0)]


async def test_a_pupil_who_changes_school_keeps_the_number(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0)])
    await world.take()
    await world.tell_pupils(SECOND, [record(0, SECOND)])
    await world.take()
    assert await world.ulns(FIRST) == await world.ulns(SECOND)
    assert await given(world) == 1


async def test_a_number_that_comes_back_in_the_schools_record_is_no_news(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0)])
    await world.take()
    uln = (await world.ulns(FIRST))[upn(0)]
    await world.tell_pupils(FIRST, [record(0, uln=uln, version=2)])
    await world.take()
    assert await world.received(FIRST) == []
    assert await world.connection.fetchval("SELECT count(*) FROM learners.registration") == 1


async def test_a_changed_name_is_told_to_the_register_and_the_number_stays(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0)])
    await world.take()
    uln = (await world.ulns(FIRST))[upn(0)]
    await world.tell_pupils(
        FIRST, [record(0, family_name="Winterbourne", valid_from="2026-09-20", version=2)]
    )
    await world.take()
    assert await world.received(FIRST) == []
    assert await given(world) == 1
    found = await store.find_by_uln(world.connection, world.school(), uln, "Ada", "Winterbourne")
    assert [one.uln for one in found.learners] == [uln]


async def test_merged_numbers_come_to_the_schools_as_the_master_and_apart_again(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0)])
    await world.tell_pupils(SECOND, [record(1, SECOND)])
    await world.take()
    master, linked = (await world.ulns(FIRST))[upn(0)], (await world.ulns(SECOND))[upn(1)]
    merged = await store.merge(world.connection, world.clerk(), master, linked)
    await world.take()
    (told,) = await world.received(SECOND)
    assert (told["uln"], told["former_uln"], told["version"]) == (master, linked, 2)
    assert await world.received(FIRST) == []
    await store.unmerge(world.connection, world.clerk(), merged.merge)
    await world.take()
    (told,) = await world.received(SECOND)
    assert (told["uln"], told["former_uln"], told["version"]) == (linked, master, 3)


async def test_a_changed_upn_takes_the_number_along(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0)])
    await world.take()
    uln = (await world.ulns(FIRST))[upn(0)]
    change = {"from": {"school": FIRST, "upn": upn(0)}, "to": {"school": FIRST, "upn": upn(3)}}
    await world.tell(FIRST, rekeyed={"learner": [change]})
    await world.take()
    assert await world.ulns(FIRST) == {upn(3): uln}
    known = await world.connection.fetchval("SELECT known::text FROM learners.person")
    assert upn(3) in known
    # The record follows under its new key, and is no news.
    await world.tell_pupils(FIRST, [record(0, upn=upn(3), version=2)])
    await world.take()
    assert await world.received(FIRST) == []
    assert await given(world) == 1


async def test_two_pupils_of_a_school_never_get_one_number(world: World) -> None:
    """The same person under two UPNs: a clerk decides, and then the second is sent the number too."""
    await world.tell_pupils(FIRST, [record(0)])
    await world.take()
    uln = (await world.ulns(FIRST))[upn(0)]
    await world.tell_pupils(FIRST, [record(0, upn=upn(3))])
    await world.take()
    assert await world.received(FIRST) == []
    (case,) = await store.review_list(world.connection, world.clerk())
    person = case.candidates[0].person
    for clerk in ("one", "two")[: case.clerks]:
        who = Caller(party=world.parties["learners"], person=clerk, purpose="register_upkeep", role="clerk")
        await store.decide_case(world.connection, who, case.id, "same", world.numbers, person)
    await world.take()
    assert await world.ulns(FIRST) == {upn(3): uln}


async def test_opting_out_stops_sharing_and_leaves_the_number(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0)])
    await world.take()
    uln = (await world.ulns(FIRST))[upn(0)]
    await store.set_sharing(world.connection, world.clerk(), uln, "2")
    await world.take()
    assert await world.received(FIRST) == []
    (listed,) = await flow.numbers_of_school(world.connection, world.school(), "test")
    assert listed.uln == uln
    given_name, family_name, *_ = PEOPLE[0]
    other = await store.find_by_uln(world.connection, world.school(SECOND), uln, given_name, family_name)
    assert (other.code, other.learners) == ("WSEC0206", ())
    # The next school is told the number all the same: it is of its own pupil.
    await world.tell_pupils(SECOND, [record(0, SECOND)])
    await world.take()
    assert await world.ulns(SECOND) == {upn(0): uln}


async def test_a_school_speaks_of_its_own_pupils_only(world: World) -> None:
    message = await world.tell_pupils(SECOND, [record(0, FIRST)])
    await world.take()
    assert await given(world) == 0
    (told,) = [
        letter for letter in await world.clients[SECOND].pull(10, 0) if letter.envelope.causationid == message
    ]
    assert b"does not speak for" in told.body


async def test_what_fails_with_one_schools_pupils_stops_nobody_elses(world: World) -> None:
    child = {"date_of_birth": "2013-09-20"}
    await world.tell_pupils(FIRST, [record(0, **child)])
    await world.take()
    await world.connection.execute("UPDATE learners.pupil SET due_on = '2026-09-01', details = '{}'")
    await world.tell_pupils(SECOND, [record(1, SECOND)])
    await world.take()
    assert list(await world.ulns(SECOND)) == [upn(1)]
    assert await world.received(FIRST) == []
    # Once the fault is mended and the moment is over, it goes on.
    await world.connection.execute("UPDATE learners.pupil SET held_until = held_until - interval '1 hour'")
    await world.tell_pupils(FIRST, [record(0, version=2)])
    await world.take()
    assert list(await world.ulns(FIRST)) == [upn(0)]


async def test_a_letter_that_fails_by_itself_is_refused_and_stops_no_other(world: World) -> None:
    school = FIRST + "\x00"
    change = {"from": {"school": school, "upn": upn(0)}, "to": {"school": school, "upn": upn(1)}}
    message = await world.tell(FIRST, rekeyed={"learner": [change]})
    await world.tell_pupils(SECOND, [record(1, SECOND)])
    await world.take()
    assert list(await world.ulns(SECOND)) == [upn(1)]
    (told,) = [
        letter for letter in await world.clients[FIRST].pull(10, 0) if letter.envelope.causationid == message
    ]
    assert b"cannot make anything" in told.body


async def test_withdrawn_pupils_are_off_the_list_and_told_no_more(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0), record(1)])
    await world.take()
    await world.received(FIRST)
    gone = {"school": FIRST, "upn": upn(0), "valid_from": "2025-09-01", "version": 2}
    await world.tell(FIRST, withdrawn={"learner": [gone]})
    await world.take()
    listed = await flow.numbers_of_school(world.connection, world.school(), "test")
    assert [one.upn for one in listed] == [upn(1)]


async def test_the_list_is_of_the_schools_own_pupils_and_nobody_elses(world: World) -> None:
    await world.tell_pupils(FIRST, [record(0), record(1), record(2, **CHILD)])
    await world.tell_pupils(SECOND, [record(3, SECOND)])
    await world.take()
    listed = await flow.numbers_of_school(world.connection, world.school(), "test")
    assert {one.upn: one.uln for one in listed} == await world.ulns(FIRST)
    assert [one.family_name for one in listed] == ["Lane", "Okonkwo"]
    lines = flow.as_csv(listed).splitlines()
    assert lines[0] == "UPN,FamilyName,GivenName,ULN,Since,State"
    assert lines[1].startswith(f"{upn(0)},Lane,Ada,{listed[0].uln},2026-10-01,given")
    for role in ("college", "awarding_body", "authority", "department", "clerk"):
        who = Caller(party=world.parties[FIRST], person="p", purpose="examinations", role=role)
        with pytest.raises(Problem) as refused:
            await flow.numbers_of_school(world.connection, who, "test")
        assert refused.value.code == "CR-111"
    read = await world.connection.fetchrow("SELECT * FROM access.audit WHERE dataset = 'learners.numbers'")
    assert (read["rows"], read["party"]) == (2, world.parties[FIRST])


async def test_the_end_point_runs_by_itself_until_it_is_stopped(world: World) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(flow.run(world.settings, stop=stop))
    await world.tell_pupils(FIRST, [record(0)])
    told = await until_async(lambda: world.received(FIRST), 20, "a number at the school")
    assert [one["upn"] for one in told] == [upn(0)]
    stop.set()
    await asyncio.wait_for(running, 20)
