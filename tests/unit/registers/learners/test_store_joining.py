"""A clerk makes two numbers one: alone where nothing speaks against it, with another clerk where it may be twins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from commonroom.problems import Problem
from commonroom.registers.learners import store
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import Caller, Joined, Registration
from commonroom.settings import Settings
from tests.unit.registers.learners.people import (
    CLERK,
    OTHER_SCHOOL,
    ROWAN,
    SECOND_CLERK,
    caller,
    details,
    one_database,
    registration,
    undone,
)

NUMBERS = Numbers(b"\x09" * 32)
US, THEM = caller(), caller(party=OTHER_SCHOOL)
AMINA = details(given_name="Amina")
# As another school knew her, with everything but the given name wrong.
LATER = details(family_name="Dunmore", date_of_birth="2010-05-21", postcode="EX1 3AB")
RIGHT = {"family_name": "Whitfield-Osei", "date_of_birth": "2009-03-14", "postcode": "LS6 3QT"}


@pytest.fixture(scope="module")
def register(postgres: Any, template: str, tmp_path_factory: Any) -> Iterator[Settings]:
    yield from one_database(postgres, template, tmp_path_factory, "learner_joining")


@pytest.fixture
async def conn(register: Settings) -> AsyncIterator[Any]:
    async with undone(register) as connection:
        yield connection


async def _new(conn: Any, one: Registration, who: Any = US) -> str:
    (answer,) = await store.register_many(conn, who, [one], NUMBERS)
    assert (answer.code, bool(answer.uln)) == ("WSRC0005", True)
    return answer.uln or ""


async def _twins(conn: Any) -> tuple[str, str]:
    """Two in one file: the school says that they are two."""
    made = await store.register_many(conn, US, [registration(), registration(AMINA)], NUMBERS)
    assert [one.code for one in made] == ["WSRC0005", "WSRC0005"]
    return made[0].uln or "", made[1].uln or ""


async def test_one_clerk_is_enough_where_nothing_says_that_they_are_two(conn: Any) -> None:
    old, later = await _new(conn, registration()), await _new(conn, registration(LATER), THEM)
    done = await store.join(conn, CLERK, later, old, NUMBERS)
    assert (done.master, done.linked, done.merge is None) == (later, old, False)
    assert await store.resolve_ulns(conn, [old, later]) == {old: later, later: later}
    case = await store.review_case(conn, CLERK, done.case)
    assert (case.kind, case.clerks, case.verdicts) == ("pair", 1, ("same",))
    (made,) = await store.merges(conn, CLERK, old)
    assert (made.merge, made.master, made.linked) == (done.merge, later, (old,))
    assert (made.decided_by, made.undone_by) == (CLERK.person, None)
    actions = await conn.fetch(
        "SELECT DISTINCT action, outcome FROM learners.look_up WHERE person = $1", CLERK.person
    )
    assert ("merge", "merged") in {tuple(row) for row in actions}


async def test_of_what_looks_like_twins_another_clerk_must_agree(conn: Any) -> None:
    amara, amina = await _twins(conn)
    asked = await store.join(conn, CLERK, amina, amara, NUMBERS)
    assert asked.merge is None
    assert await store.resolve_ulns(conn, [amara]) == {amara: amara}
    with pytest.raises(Problem, match="another one must"):
        await store.join(conn, CLERK, amina, amara, NUMBERS)
    with pytest.raises(Problem, match="the other number to stay"):
        await store.join(conn, SECOND_CLERK, amara, amina, NUMBERS)
    (case,) = await store.review_list(conn, SECOND_CLERK)
    assert (case.id, case.guard, case.clerks, case.verdicts) == (asked.case, "twin", 2, ("same",))
    done = await store.join(conn, SECOND_CLERK, amina, amara, NUMBERS)
    assert (done.case, done.merge is None) == (asked.case, False)
    assert await store.resolve_ulns(conn, [amara]) == {amara: amina}


async def test_the_other_clerk_may_say_so_in_the_review_and_the_wanted_number_stays(conn: Any) -> None:
    amara, amina = await _twins(conn)
    asked = await store.join(conn, CLERK, amina, amara, NUMBERS)
    decided = await store.decide_case(conn, SECOND_CLERK, asked.case, "same", NUMBERS)
    assert (decided.closed, decided.uln, decided.merge is None) == (True, amina, False)


async def test_the_wanted_number_stays_also_when_it_was_merged_meanwhile(conn: Any) -> None:
    amara, amina = await _twins(conn)
    third = await _new(conn, registration(ROWAN))
    asked = await store.join(conn, CLERK, amina, amara, NUMBERS)
    await store.merge(conn, CLERK, third, amina)
    assert (await store.decide_case(conn, SECOND_CLERK, asked.case, "same", NUMBERS)).uln == third
    assert await store.resolve_ulns(conn, [amara, amina]) == {amara: third, amina: third}


async def test_or_say_that_they_are_two_and_they_stay_two(conn: Any) -> None:
    amara, amina = await _twins(conn)
    asked = await store.join(conn, CLERK, amina, amara, NUMBERS)
    assert not (await store.decide_case(conn, SECOND_CLERK, asked.case, "different", NUMBERS)).closed
    assert await store.resolve_ulns(conn, [amara]) == {amara: amara}


async def test_an_open_case_about_the_pair_is_the_one_that_is_decided(conn: Any) -> None:
    old, twice = await _new(conn, registration()), await _new(conn, registration(LATER), THEM)
    await store.update(conn, THEM, twice, RIGHT, 1)
    assert (await store.dedupe(conn, CLERK, merge=False)).cases == 1
    (case,) = await store.review_list(conn, CLERK)
    done = await store.join(conn, CLERK, twice, old, NUMBERS)
    assert (done.case, done.merge is None) == (case.id, False)
    assert await store.review_list(conn, SECOND_CLERK) == []
    assert await store.resolve_ulns(conn, [old]) == {old: twice}


async def test_whom_a_clerk_has_parted_the_night_leaves_apart_and_joining_again_takes_two(conn: Any) -> None:
    old, twice = await _new(conn, registration()), await _new(conn, registration(LATER), THEM)
    await store.update(conn, THEM, twice, RIGHT, 1)
    assert (await store.dedupe(conn, CLERK)).merged == 1
    (made,) = await store.merges(conn, CLERK, old)
    await store.unmerge(conn, CLERK, made.merge)
    assert (await store.dedupe(conn, CLERK)).merged == 0
    assert await store.resolve_ulns(conn, [old, twice]) == {old: old, twice: twice}
    assert (await store.merges(conn, CLERK, old))[0].undone_by == CLERK.person
    assert (await store.join(conn, CLERK, old, twice, NUMBERS)).merge is None
    assert (await store.join(conn, SECOND_CLERK, old, twice, NUMBERS)).merge is not None


async def test_who_was_parted_from_somebody_stays_apart_from_whom_he_is_merged_into(conn: Any) -> None:
    a, b = await _new(conn, registration()), await _new(conn, registration(LATER), THEM)
    c = await _new(conn, registration(ROWAN))
    await store.update(conn, THEM, b, RIGHT, 1)
    first = await store.merge(conn, CLERK, a, b)
    second = await store.merge(conn, CLERK, c, a)
    await store.unmerge(conn, CLERK, second.merge)
    await store.unmerge(conn, CLERK, first.merge)
    for clerk in (CLERK, SECOND_CLERK):
        joined = await store.join(conn, clerk, c, a, NUMBERS)
    assert joined.merge is not None
    done = await store.dedupe(conn, CLERK)
    assert (done.merged, done.cases) == (0, 0)
    assert await store.resolve_ulns(conn, [a, b, c]) == {a: c, b: b, c: c}
    assert (await store.join(conn, CLERK, c, b, NUMBERS)).merge is None  # another clerk must agree


async def test_numbers_that_do_not_stand_for_themselves_and_callers_who_are_no_clerks(conn: Any) -> None:
    old, rowan = await _new(conn, registration()), await _new(conn, registration(ROWAN))
    for linked in (old, "1026893096"):
        with pytest.raises(Problem, match="CR-212"):
            await store.join(conn, CLERK, old, linked, NUMBERS)
    for asking in (store.join(conn, US, old, rowan, NUMBERS), store.merges(conn, US, old)):
        with pytest.raises(Problem, match="CR-111"):
            await asking
    assert await conn.fetchval("SELECT count(*) FROM learners.review") == 0


async def test_two_clerks_who_ask_at_once_open_one_case_and_agree(pool: Any) -> None:
    async with pool.acquire() as conn:
        amara, amina = await _twins(conn)

    async def asks(clerk: Caller) -> Joined:
        async with pool.acquire() as own:
            return await store.join(own, clerk, amina, amara, NUMBERS)

    one, other = await asyncio.gather(asks(CLERK), asks(SECOND_CLERK))
    assert one.case == other.case
    assert sorted(each.merge is None for each in (one, other)) == [False, True]
    async with pool.acquire() as conn:
        assert await store.resolve_ulns(conn, [amara]) == {amara: amina}
