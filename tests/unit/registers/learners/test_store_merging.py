"""Merging is writing links: undone, every answer is as it was. And what clerks decide, and what the night finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonroom.engines import jobs
from commonroom.engines.database import connect
from commonroom.problems import Problem
from commonroom.registers.learners import ids, store, upkeep
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import Registration
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
from tests.waiting import until_async

NUMBERS = Numbers(b"\x09" * 32)
US = caller()
THEM = caller(party=OTHER_SCHOOL)
# Amara as another school might have known her: too unlike for anybody but a clerk.
AMY = details(given_name="Amy", family_name="Osei", postcode="M14 5RT", email="amy@example.org")


@pytest.fixture(scope="module")
def register(postgres: Any, template: str, tmp_path_factory: Any) -> Iterator[Settings]:
    yield from one_database(postgres, template, tmp_path_factory, "learner_merging")


@pytest.fixture
async def conn(register: Settings) -> AsyncIterator[Any]:
    async with undone(register) as connection:
        yield connection


async def new(conn: Any, one: Registration, who: Any = US) -> str:
    """Register somebody nobody knows yet; his number."""
    answer = await store.register(conn, who, one, NUMBERS)
    assert answer.code == "WSRC0005"
    assert answer.uln
    return answer.uln


async def two(conn: Any) -> tuple[str, str]:
    return await new(conn, registration()), await new(conn, registration(AMY), THEM)


async def answers(conn: Any, ulns: list[str]) -> list[Any]:
    """What callers are told about these people, without the version, which only rises."""
    found: list[Any] = [await store.resolve_ulns(conn, ulns)]
    for person in (details(), AMY, ROWAN, details(family_name="Osei"), details(postcode="M14 5RT")):
        found.append(await store.find(conn, US, person))
    for uln in ulns:
        for given_name, family_name in (
            ("Amara", "Whitfield-Osei"),
            ("Amy", "Osei"),
            ("Rowan", "Achterberg"),
        ):
            found.append(await store.find_by_uln(conn, US, uln, given_name, family_name))
            asked = store.Verification(uln=uln, given_name=given_name, family_name=family_name)
            found.append(await store.verify(conn, US, asked))
    return [_without_versions(one) for one in found]


def _without_versions(answer: Any) -> Any:
    if not isinstance(answer, store.Found):
        return answer
    learners = tuple(msgspec.structs.replace(one, version=0) for one in answer.learners)
    return msgspec.structs.replace(answer, learners=learners)


async def test_a_merged_number_stands_for_the_master_on_every_way(conn: Any) -> None:
    master, linked = await two(conn)
    done = await store.merge(conn, CLERK, master, linked)
    assert (done.master, done.linked) == (master, linked)
    assert await store.resolve_ulns(conn, [master, linked]) == {master: master, linked: master}
    by_number = await store.find_by_uln(conn, US, linked, "Amy", "Osei")
    assert (by_number.code, by_number.uln) == ("WSRC0022", master)
    assert by_number.learners[0].master_substituted
    for person in (details(), AMY):
        found = await store.find(conn, US, person)
        assert (found.code, found.uln, found.learners[0].linked_ulns) == ("WSRC0022", master, (linked,))
    again = await store.register(conn, THEM, registration(AMY), NUMBERS)
    assert (again.code, again.uln) == ("WSRC0022", master)
    verified = await store.verify(
        conn, US, store.Verification(uln=linked, given_name="Amara", family_name="Whitfield-Osei")
    )
    assert (verified.code, verified.uln) == ("WSRC0022", master)


async def test_unmerging_restores_every_answer(conn: Any) -> None:
    ulns = [*await two(conn), await new(conn, registration(ROWAN))]
    before = await answers(conn, ulns)
    done = await store.merge(conn, CLERK, ulns[0], ulns[1])
    assert await answers(conn, ulns) != before
    await store.unmerge(conn, CLERK, done.merge)
    assert await answers(conn, ulns) == before
    with pytest.raises(Problem, match="CR-212"):
        await store.unmerge(conn, CLERK, done.merge)


# Two numbers each; those that are already linked are refused, which is a step too.
STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=5)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(STEPS, st.booleans())
def test_whatever_was_merged_undone_backwards_restores_every_answer(
    register: Settings, steps: list[tuple[int, int]], refuses: bool
) -> None:
    async def trial() -> None:
        async with undone(register) as conn:
            people = [details(), AMY, ROWAN, SORCHA]
            ulns = [await new(conn, registration(one)) for one in people]
            await store.update(conn, US, ulns[1], {"town": "Leeds", "family_name": "Osei-Bell"}, 1)
            if refuses:
                await store.set_sharing(conn, US, ulns[2], "2")
            states, merges = [await answers(conn, ulns)], list[UUID]()
            for master, linked in steps:
                try:
                    merges.append((await store.merge(conn, CLERK, ulns[master], ulns[linked])).merge)
                except Problem:
                    continue
                states.append(await answers(conn, ulns))
            for merge in reversed(merges):
                assert await answers(conn, ulns) == states.pop()
                await store.unmerge(conn, CLERK, merge)
            assert await answers(conn, ulns) == states.pop()

    asyncio.run(trial())


async def test_a_merge_is_undone_before_the_ones_under_it(conn: Any) -> None:
    one, other = await two(conn)
    third = await new(conn, registration(ROWAN))
    first = await store.merge(conn, CLERK, one, other)
    second = await store.merge(conn, CLERK, third, one)
    assert await store.resolve_ulns(conn, [other]) == {other: third}
    with pytest.raises(Problem, match="merged itself since"):
        await store.unmerge(conn, CLERK, first.merge)
    await store.unmerge(conn, CLERK, second.merge)
    await store.unmerge(conn, CLERK, first.merge)
    assert await store.resolve_ulns(conn, [one, other, third]) == {one: one, other: other, third: third}


async def test_who_is_merged_while_others_change_or_register_him_stays_one(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    async with pool.acquire() as conn:
        master, linked = await two(conn)

    async def alone(call: Any) -> Any:
        own = await connect(settings)
        try:
            return await call(own)
        finally:
            await own.close()

    merging = await connect(settings)
    hold = merging.transaction()
    await hold.start()
    await store.merge(merging, CLERK, master, linked)
    # They have read the linked person and wait for the merge to end.
    changing = asyncio.create_task(alone(lambda own: store.update(own, THEM, linked, {"town": "Leeds"}, 1)))
    again = asyncio.create_task(alone(lambda own: store.register(own, THEM, registration(AMY), NUMBERS)))
    async with pool.acquire() as conn:
        waiting = (
            "SELECT count(*) >= 2 FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        await until_async(lambda: conn.fetchval(waiting), what="both waiting")
    await hold.commit()
    await merging.close()
    assert ((await again).code, (await again).uln) == ("WSRC0022", master)
    assert (await changing).code == "WSRC0013"  # the master is another version than the one that was read
    async with pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(DISTINCT person) FROM learners.block") == 1
        assert (await store.find(conn, US, AMY)).uln == master


async def test_merging_shares_no_more_than_either_allowed(conn: Any) -> None:
    master, linked = await two(conn)
    await store.set_sharing(conn, THEM, linked, "2")
    await store.merge(conn, CLERK, master, linked)
    assert (await store.find_by_uln(conn, US, master, "Amara", "Whitfield-Osei")).code == "WSEC0206"


async def test_what_was_said_and_decided_is_never_changed(conn: Any) -> None:
    await two(conn)
    for table in ("registration", "identity_link", "merge", "verdict", "unmerge"):
        with pytest.raises(asyncpg.RaiseError, match="for ever"):
            async with conn.transaction():
                await conn.execute(f"DELETE FROM learners.{table}")


async def waiting(conn: Any) -> tuple[str, store.Registered]:
    """Amara, and a registration of Amelia, same birth and home: a clerk must look."""
    uln = await new(conn, registration())
    answer = await store.register(conn, THEM, registration(details(given_name="Amelia")), NUMBERS)
    assert answer.code == "WSRC0003"
    assert answer.case
    return uln, answer


async def decide(conn: Any, case: UUID | None, verdict: Any) -> store.Decided:
    assert case
    done = await store.decide_case(conn, CLERK, case, verdict, NUMBERS)
    return done if done.closed else await store.decide_case(conn, SECOND_CLERK, case, verdict, NUMBERS)


async def test_a_clerk_sees_both_records_and_why_and_says_they_are_one(conn: Any) -> None:
    uln, answer = await waiting(conn)
    (case,) = await store.review_list(conn, CLERK)
    assert (case.id, case.sent.given_name, case.party) == (answer.case, "Amelia", OTHER_SCHOOL)
    (candidate,) = case.candidates
    assert (candidate.uln, candidate.details.given_name) == (uln, "Amara")
    assert candidate.parts
    done = await decide(conn, answer.case, "same")
    assert done == store.Decided(closed=True, uln=uln)
    again = await store.register(conn, THEM, registration(details(given_name="Amelia")), NUMBERS)
    assert (again.code, again.uln) == ("WSRC0004", uln)
    assert await store.review_list(conn, CLERK) == []


async def test_or_that_they_are_two_and_that_holds_whenever_the_same_is_sent(conn: Any) -> None:
    uln, answer = await waiting(conn)
    done = await decide(conn, answer.case, "different")
    assert done.uln not in (None, uln)
    again = await store.register(conn, THEM, registration(details(given_name="amelia ")), NUMBERS)
    assert (again.code, again.uln) == ("WSRC0004", done.uln)
    assert (await store.dedupe(conn, CLERK)).merged == 0


async def test_the_same_details_sent_again_wait_for_the_case_that_is_open(conn: Any) -> None:
    _, answer = await waiting(conn)
    again = await store.register(conn, US, registration(details(given_name="Amelia")), NUMBERS)
    assert (again.code, again.case) == ("WSRC0003", answer.case)
    assert len(await store.review_list(conn, CLERK)) == 1


async def test_twins_take_two_clerks(conn: Any) -> None:
    await new(conn, registration(details(middle_names="Rose", upn="C823432117001")))
    answer = await store.register(conn, THEM, registration(details(given_name="Amina")), NUMBERS)
    assert answer.case
    case = await store.review_case(conn, CLERK, answer.case)
    assert (case.guard, case.clerks) == ("twin", 2)
    assert not (await store.decide_case(conn, CLERK, answer.case, "different", NUMBERS)).closed
    assert await store.review_list(conn, CLERK) == []
    with pytest.raises(Problem, match="another one must"):
        await store.decide_case(conn, CLERK, answer.case, "different", NUMBERS)
    assert [one.verdicts for one in await store.review_list(conn, SECOND_CLERK)] == [("different",)]
    assert (await store.decide_case(conn, SECOND_CLERK, answer.case, "different", NUMBERS)).closed


async def test_who_cannot_tell_leaves_the_case_to_another(conn: Any) -> None:
    _, answer = await waiting(conn)
    assert answer.case
    assert not (await store.decide_case(conn, CLERK, answer.case, "cannot_tell", NUMBERS)).closed
    assert len(await store.review_list(conn, SECOND_CLERK)) == 1
    with pytest.raises(Problem, match="CR-213"):
        await store.decide_case(conn, SECOND_CLERK, UUID(int=7), "same", NUMBERS)


async def test_a_challenge_is_a_case_for_a_clerk(conn: Any) -> None:
    uln = await new(conn, registration())
    case = await store.challenge(conn, US, uln, "date_of_birth", "the passport says 15")
    assert case
    shown = await store.review_case(conn, CLERK, case)
    assert (shown.kind, shown.note) == ("challenge", "date_of_birth: the passport says 15")
    assert (await store.decide_case(conn, CLERK, case, "same", NUMBERS)).closed


async def test_the_night_finds_who_slipped_through_and_merges_what_registering_would_have_joined(
    conn: Any,
) -> None:
    old = await new(conn, registration())
    twice = await new(conn, registration(AMY), THEM)
    # Her other school corrects everything: now nobody would give her two numbers.
    changes = {"given_name": "Amara", "family_name": "Whitfield-Osei", "postcode": "LS6 3QT", "email": None}
    await store.update(conn, THEM, twice, changes, 1)
    await new(conn, registration(ROWAN))
    done = await store.dedupe(conn, CLERK)
    assert (done.persons, done.merged, done.cases) == (3, 1, 0)
    assert await store.resolve_ulns(conn, [twice]) == {twice: old}
    assert (await store.dedupe(conn, CLERK)).merged == 0


async def test_without_merging_the_night_asks_a_clerk_once(conn: Any) -> None:
    old = await new(conn, registration())
    twice = await new(conn, registration(AMY), THEM)
    changes = {"given_name": "Amara", "family_name": "Whitfield-Osei", "postcode": "LS6 3QT", "email": None}
    await store.update(conn, THEM, twice, changes, 1)
    assert (await store.dedupe(conn, CLERK, merge=False)).cases == 1
    assert (await store.dedupe(conn, CLERK, merge=False)).cases == 0
    (case,) = await store.review_list(conn, CLERK)
    assert case.kind == "pair"
    await decide(conn, case.id, "same")
    assert await store.resolve_ulns(conn, [twice, old]) == {twice: old, old: old}


@pytest.mark.parametrize("meanwhile", ["person", "candidate", "each other"])
async def test_a_pair_of_which_one_was_merged_meanwhile_can_still_be_decided(
    conn: Any, meanwhile: str
) -> None:
    third = await new(conn, registration(SORCHA))
    old, twice = await two(conn)
    changes = {"given_name": "Amara", "family_name": "Whitfield-Osei", "postcode": "LS6 3QT", "email": None}
    await store.update(conn, THEM, twice, changes, 1)
    await store.dedupe(conn, CLERK, merge=False)
    (case,) = await store.review_list(conn, CLERK)
    asked_of = await conn.fetchval(
        "SELECT p.uln FROM learners.review r JOIN learners.person p ON p.id = r.person WHERE r.id = $1",
        case.id,
    )
    candidate = ({old, twice} - {asked_of}).pop()
    if meanwhile == "each other":
        await store.merge(conn, CLERK, old, twice)
    else:
        await store.merge(conn, CLERK, third, asked_of if meanwhile == "person" else candidate)
    done = await store.decide_case(conn, CLERK, case.id, "same", NUMBERS)
    if not done.closed:
        done = await store.decide_case(conn, SECOND_CLERK, case.id, "same", NUMBERS)
    assert (done.closed, done.uln) == (True, old if meanwhile == "each other" else third)
    assert (done.merge is None) == (meanwhile == "each other")
    assert len(set((await store.resolve_ulns(conn, [old, twice])).values())) == 1


async def test_the_recurring_jobs_merge_and_raise_alarms_by_themselves(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    async with pool.acquire() as conn:
        old, twice = await two(conn)
        changes = {
            "given_name": "Amara",
            "family_name": "Whitfield-Osei",
            "postcode": "LS6 3QT",
            "email": None,
        }
        await store.update(conn, THEM, twice, changes, 1)
        await conn.execute(
            "INSERT INTO learners.look_up (party, role, purpose, action, outcome) "
            "SELECT 'urn:fishing', 'school', 'enrolment', 'check', 'WSRC0001' FROM generate_series(1, 100)"
        )
        assert await jobs.run_due(settings, upkeep.JOBS) == [
            "learner-names",
            "learner-dedupe",
            "learner-watch",
        ]
        assert await store.resolve_ulns(conn, [twice]) == {twice: old}
        assert await conn.fetch("SELECT party, kind FROM learners.alarm") == [("urn:fishing", "least_found")]


async def test_a_learner_whom_the_warehouse_met_first_keeps_that_key(conn: Any) -> None:
    keys = await ids.learner_ids(conn, ["C823432117001", "T330200120017"])
    known = details(upn="C823432117001")
    uln = await new(conn, registration(known))
    assert (
        await conn.fetchval("SELECT person FROM learners.uln WHERE number = $1", uln) == keys["C823432117001"]
    )
    # Another UPN of the same learner: its key stands for the person from now on, and stays good.
    await store.register(conn, US, registration(details(upn=None)), NUMBERS)
    await store.update(conn, US, uln, {"upn": "T330200120017"}, 1)
    assert await ids.learner_ids(conn, ["T330200120017"]) == {"T330200120017": keys["T330200120017"]}
    one = keys["C823432117001"]
    assert await ids.same_learners(conn, list(keys.values())) == {one: one, keys["T330200120017"]: one}


async def test_eight_clients_who_register_the_same_new_people_at_once_give_each_one_number(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    people = [
        registration(
            details(
                given_name=f"{start}{end}",
                family_name=f"{end}son{start}",
                date_of_birth=f"20{10 + n % 3}-0{1 + n % 9}-1{n % 10}",
                postcode=f"LS{1 + n % 9} {n % 9}QT",
            )
        )
        for n, (start, end) in enumerate(
            (a, b) for a in ("Kor", "Bel", "Vash") for b in ("anda", "imir", "oth")
        )
    ]

    async def client(number: int) -> list[str]:
        own = await connect(settings)
        try:
            order = people[number:] + people[:number]
            found = {}
            if number % 2:
                for one in order:
                    found[one.details.family_name] = (await store.register(own, US, one, NUMBERS)).uln
            else:
                for answer, one in zip(
                    await store.register_many(own, THEM, order, NUMBERS), order, strict=True
                ):
                    found[one.details.family_name] = answer.uln
            return [found[one.details.family_name] or "" for one in people]
        finally:
            await own.close()

    answers = await asyncio.gather(*map(client, range(8)))
    assert all(one == answers[0] for one in answers)
    assert len(set(answers[0])) == len(people)
    assert await pool.fetchval("SELECT count(*) FROM learners.uln") == len(people)
