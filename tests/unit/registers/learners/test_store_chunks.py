"""A chunk of one provider's file: everybody at once, and nobody's number given to two of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from commonroom.problems import Problem
from commonroom.registers.learners import store
from commonroom.registers.learners.numbers import Numbers
from commonroom.settings import Settings
from tests.unit.registers.learners.people import (
    CLERK,
    OTHER_SCHOOL,
    ROWAN,
    SECOND_CLERK,
    SORCHA,
    caller,
    details,
    one_database,
    registration,
    undone,
)

NUMBERS = Numbers(b"\x0b" * 32)
US, THEM = caller(), caller(party=OTHER_SCHOOL)
TWIN = details(given_name="Tobias", gender="1")


@pytest.fixture(scope="module")
def register(postgres: Any, template: str, tmp_path_factory: Any) -> Iterator[Settings]:
    yield from one_database(postgres, template, tmp_path_factory, "learner_chunks")


@pytest.fixture
async def conn(register: Settings) -> AsyncIterator[Any]:
    async with undone(register) as connection:
        yield connection


async def many(conn: Any, people: list[Any], who: Any = US, **more: Any) -> list[store.Registered]:
    return await store.register_many(conn, who, [registration(one) for one in people], NUMBERS, **more)


async def test_each_gets_an_answer_in_its_place(conn: Any) -> None:
    known = (await store.register(conn, THEM, registration(ROWAN), NUMBERS)).uln
    sent = [
        registration(SORCHA, reference="1"),
        registration(details(date_of_birth="14/3/2009"), reference="2"),
        registration(ROWAN, reference="3"),
        registration(details(), reference="4"),
    ]
    found = await store.register_many(conn, US, sent, NUMBERS)
    assert [one.reference for one in found] == ["1", "2", "3", "4"]
    assert [one.code for one in found] == ["WSRC0005", "WSRC0015", "WSRC0004", "WSRC0005"]
    assert found[2].uln == known
    assert len({one.uln for one in found}) == 4
    again = await store.register_many(conn, US, sent, NUMBERS)
    assert [one.uln for one in again] == [one.uln for one in found]
    outcomes = await conn.fetch(
        "SELECT outcome FROM learners.look_up WHERE party = $1 ORDER BY entry", US.party
    )
    assert len(outcomes) == 8


async def test_a_chunk_answers_as_one_by_one(register: Settings) -> None:
    people = [
        details(),
        details(postcode="M1 1AA", given_name="AMARA"),
        ROWAN,
        SORCHA,
        details(given_name="Amelia"),
        details(given_name="Rowan", family_name="Whitfield", postcode="EX1 1AB"),
        details(given_name="", family_name="Sukarno"),
        details(given_name="Sorcha", family_name="Mulvaney", date_of_birth="2008-07-30", postcode=None),
    ]
    answers = []
    for chunked in (True, False):
        async with undone(register) as conn:
            await many(conn, [details(), ROWAN, SORCHA], THEM)
            if chunked:
                # Each in a file of its own, so that only what is registered counts.
                found = [(await many(conn, [one, details(family_name="Zzz", given_name=f"Q{n}")]))[0]
                         for n, one in enumerate(people)]  # fmt: skip
            else:
                found = [await store.register(conn, US, registration(one), NUMBERS) for one in people]
            answers.append([one.code for one in found])
    assert answers[0] == answers[1]


async def test_who_stands_twice_in_one_file_gets_one_number_and_a_clerk_looks_at_the_second(
    conn: Any,
) -> None:
    first, second, other = await many(conn, [details(), details(given_name="AMARA"), ROWAN])
    assert (first.code, second.code, other.code) == ("WSRC0005", "WSRC0003", "WSRC0005")
    assert second.uln is None
    assert second.case
    case = await store.review_case(conn, CLERK, second.case)
    assert (case.guard, [one.uln for one in case.candidates]) == ("file", [first.uln])
    done = await store.decide_case(conn, CLERK, second.case, "same", NUMBERS)
    done = done if done.closed else await store.decide_case(conn, SECOND_CLERK, second.case, "same", NUMBERS)
    assert done.uln == first.uln
    assert await conn.fetchval("SELECT count(*) FROM learners.person") == 2


async def test_three_times_too(conn: Any) -> None:
    found = await many(conn, [details(), details(given_name="AMARA"), details(postcode="YO1 7HH"), ROWAN])
    assert [one.code for one in found] == ["WSRC0005", "WSRC0003", "WSRC0003", "WSRC0005"]
    for waiting in found[1:3]:
        assert waiting.case
        case = await store.review_case(conn, CLERK, waiting.case)
        assert [one.uln for one in case.candidates] == [found[0].uln]


async def test_nor_does_the_second_chunk_of_a_file_get_a_number_of_the_first(conn: Any) -> None:
    (first,) = await many(conn, [details()])
    assert first.uln
    (second, third) = await many(conn, [details(), ROWAN], taken=[first.uln])
    assert (second.code, third.code) == ("WSRC0003", "WSRC0005")
    (single,) = await many(conn, [details()], taken=[first.uln])
    assert single.code == "WSRC0003"


async def test_registrations_of_several_providers_may_be_of_one_person(conn: Any) -> None:
    first, second, third = await many(
        conn, [details(), details(given_name="AMARA"), details(postcode="YO1 7HH")], one_file=False
    )
    assert first.code == "WSRC0005"
    assert {one.uln for one in (first, second, third)} == {first.uln}


async def test_twins_in_one_file_are_two(conn: Any) -> None:
    found = await many(conn, [details(), TWIN])
    assert [one.code for one in found] == ["WSRC0005", "WSRC0005"]
    again = await many(conn, [TWIN, details()], THEM)
    assert [one.uln for one in again] == [found[1].uln, found[0].uln]


async def test_a_number_that_is_held_goes_to_one_of_a_file(conn: Any) -> None:
    (first,) = await many(conn, [details()])
    held = registration(details(postcode="YO1 7HH"), uln=first.uln)
    one, other = await store.register_many(conn, US, [held, registration(details())], NUMBERS)
    assert (one.code, one.uln) == ("WSRC0004", first.uln)
    assert other.code == "WSRC0003"


async def test_a_chunk_that_fails_leaves_nothing(conn: Any) -> None:
    with pytest.raises(Problem, match="5,000"):
        await many(conn, [details()] * 5_001)
    try:
        async with conn.transaction():
            await many(conn, [details(), ROWAN])
            raise RuntimeError("the caller's own step failed")
    except RuntimeError:
        pass
    for table in ("person", "uln", "registration", "identity_link", "block", "look_up"):
        assert await conn.fetchval(f"SELECT count(*) FROM learners.{table}") == 0
