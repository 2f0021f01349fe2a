"""The store: who is found, who gets a number, what a caller sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from commonroom.problems import Problem
from commonroom.registers.learners import store
from commonroom.registers.learners.numbers import TEMPORARY, Numbers, is_uln
from commonroom.registers.learners.store import Verification
from commonroom.settings import Settings
from tests.unit.registers.learners.people import (
    CLERK,
    OTHER_SCHOOL,
    ROWAN,
    SORCHA,
    caller,
    details,
    one_database,
    registration,
    undone,
)

NUMBERS = Numbers(b"\x09" * 32)
US = caller()


@pytest.fixture(scope="module")
def register(postgres: Any, template: str, tmp_path_factory: Any) -> Iterator[Settings]:
    yield from one_database(postgres, template, tmp_path_factory, "learner_store")


@pytest.fixture
async def conn(register: Settings) -> AsyncIterator[Any]:
    async with undone(register) as connection:
        yield connection


async def test_somebody_new_gets_a_number_and_is_found_by_it_and_by_details(conn: Any) -> None:
    assert (await store.find(conn, US, details())).code == "WSRC0001"
    new = await store.register(conn, US, registration(reference="MIS-7"), NUMBERS)
    assert (new.code, new.reference) == ("WSRC0005", "MIS-7")
    assert new.uln
    assert is_uln(new.uln)

    found = await store.find(conn, US, details())
    assert (found.code, found.uln) == ("WSRC0004", new.uln)
    (learner,) = found.learners
    assert (learner.given_name, learner.postcode, learner.version) == ("Amara", "LS6 3QT", 1)
    assert (learner.verification_type, learner.ability_to_share) == ("1", "1")

    by_number = await store.find_by_uln(conn, US, new.uln, "Amara", "Whitfield Osei")
    assert (by_number.code, by_number.learners) == ("WSRC0004", found.learners)
    assert await store.resolve_ulns(conn, [new.uln, TEMPORARY]) == {new.uln: new.uln}


async def test_a_check_tells_the_code_and_nothing_else(conn: Any) -> None:
    await store.register(conn, US, registration(), NUMBERS)
    found = await store.find(conn, US, details(), "check")
    assert found == store.Found(code="WSRC0004")


async def test_who_has_a_number_is_given_it_again_by_whoever_registers_him(conn: Any) -> None:
    first = await store.register(conn, US, registration(), NUMBERS)
    for other in (details(), details(postcode="YO1 7HH"), details(given_name="AMARA", postcode=None)):
        again = await store.register(conn, caller(party=OTHER_SCHOOL), registration(other), NUMBERS)
        assert (again.code, again.uln) == ("WSRC0004", first.uln)
    (learner,) = (await store.find(conn, US, details(postcode="YO1 7HH"))).learners
    assert learner.postcode == "LS6 3QT", "only a change replaces what is registered"
    assert await conn.fetchval("SELECT count(*) FROM learners.registration") == 4


async def test_a_possible_learner_shows_nothing_that_the_caller_did_not_send(conn: Any) -> None:
    full = details(email="amara@example.org", house="4 Elm Row", upn="C823432117001", place_of_birth="Leeds")
    await store.register(conn, US, registration(full, notes="careful"), NUMBERS)
    sent = details(given_name="Amelia", postcode="LS6 3QT")
    found = await store.find(conn, US, sent)
    assert found.code == "WSRC0003"
    (learner,) = found.learners
    assert (learner.family_name, learner.date_of_birth, learner.postcode) == (
        "Whitfield-Osei",
        "2009-03-14",
        "LS6 3QT",
    )
    hidden = (
        "uln",
        "version",
        "given_name",
        "ability_to_share",
        "email",
        "house",
        "upn",
        "place_of_birth",
        "notes",
        "verification_type",
        "created_at",
    )
    assert [getattr(learner, name) for name in hidden] == [None] * len(hidden)
    (guess,) = (await store.find(conn, US, details(given_name="Amelia", postcode="LS6 3QZ"))).learners
    assert guess.postcode is None, "a guess is not put right"


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"verification_type": None}, ("verification_type",)),
        ({"ability_to_share": "7"}, ("ability_to_share",)),
        ({"details": details(date_of_birth="")}, ("date_of_birth",)),
        ({"details": details(given_name="", family_name=" ")}, ("family_name",)),
        ({"details": details(gender="X", family_name="x" * 36)}, ("family_name", "gender")),
    ],
)
async def test_what_is_missing_is_named_and_nobody_is_registered(
    conn: Any, changes: dict[str, Any], missing: tuple[str, ...]
) -> None:
    answer = await store.register(conn, US, registration(**changes), NUMBERS)
    assert (answer.code, answer.missing, answer.uln) == ("WSRC0015", missing, None)
    assert await conn.fetchval("SELECT count(*) FROM learners.person") == 0


async def test_people_with_no_postcode_one_name_or_half_a_birthday_are_registered_and_found(
    conn: Any,
) -> None:
    for person in (
        details(postcode=None),
        details(given_name="", family_name="Sukarno", postcode="LS1 1AA"),
        details(given_name="Tindra", family_name="Okonjo", date_of_birth="2009-05"),
    ):
        new = await store.register(conn, US, registration(person), NUMBERS)
        assert new.code == "WSRC0005"
        found = await store.find(conn, US, person)
        assert found.code in ("WSRC0004", "WSRC0003")
        assert found.learners[0].uln == new.uln


async def test_the_temporary_number_stands_in_records_and_is_nobodys(conn: Any) -> None:
    new = await store.register(conn, US, registration(uln=TEMPORARY), NUMBERS)
    assert new.code == "WSRC0005"
    assert new.uln != TEMPORARY
    assert (await store.find_by_uln(conn, US, TEMPORARY, "Amara", "Whitfield-Osei")).code == "WSEC0136"
    assert (await store.update(conn, US, TEMPORARY, {"town": "Leeds"}, 1)).code == "WSEC0136"
    with pytest.raises(Problem, match="CR-212"):
        await store.merge(conn, CLERK, new.uln or "", TEMPORARY)
    with pytest.raises(asyncpg.CheckViolationError):
        await conn.execute(
            "INSERT INTO learners.uln SELECT '9999999999', person, 'linked', issued_at FROM learners.uln"
        )


async def test_a_number_that_the_sender_holds_says_who_it_is_when_names_and_birth_agree(conn: Any) -> None:
    new = await store.register(conn, US, registration(), NUMBERS)
    moved = details(family_name="Whitfield-Osei", postcode="TR1 2HE", gender="0")
    again = await store.register(conn, US, registration(moved, uln=new.uln), NUMBERS)
    assert (again.code, again.uln) == ("WSRC0004", new.uln)
    stranger = await store.register(conn, US, registration(ROWAN, uln=new.uln), NUMBERS)
    assert stranger.code == "WSRC0005"
    assert stranger.uln != new.uln


async def test_find_by_number_answers_with_the_codes_of_the_service(conn: Any) -> None:
    new = await store.register(conn, US, registration(), NUMBERS)
    uln = new.uln or ""
    wrong = uln[:9] + str((int(uln[9]) + 1) % 10)
    assert (await store.find_by_uln(conn, US, wrong, "Amara", "Whitfield-Osei")).code == "WSEC0136"
    (unused,) = await NUMBERS.draw(conn, 1)
    assert (await store.find_by_uln(conn, US, unused, "Amara", "Whitfield-Osei")).code == "WSRC0001"
    other = await store.find_by_uln(conn, US, uln, "Rowan", "Achterberg")
    assert (other.code, other.learners, other.uln) == ("WSEC0208", (), None)
    await store.set_sharing(conn, US, uln, "2")
    kept = await store.find_by_uln(conn, US, uln, "Amara", "Whitfield-Osei")
    assert (kept.code, kept.uln, kept.learners) == ("WSEC0206", uln, ())


async def test_refusing_to_share_counts_at_once_and_leaves_the_number(conn: Any) -> None:
    new = await store.register(conn, US, registration(details(email="a@example.org", town="Leeds")), NUMBERS)
    assert (await store.set_sharing(conn, US, new.uln or "", "2")).code == "WSRC0006"
    found = await store.find(conn, caller(party=OTHER_SCHOOL), details())
    assert (found.code, found.uln) == ("WSRC0004", new.uln)
    assert (found.learners[0].email, found.learners[0].town) == (None, None)
    slip = await store.find(conn, caller(party=OTHER_SCHOOL), details(given_name="Amarra", gender="0"))
    (seen,) = slip.learners
    assert (slip.code, seen.given_name, seen.gender) == ("WSRC0004", None, None), (
        "nor what was not sent or sent wrong"
    )
    assert seen.family_name == "Whitfield-Osei"
    assert (await store.set_sharing(conn, US, new.uln or "", "1")).code == "WSRC0006"
    assert (await store.find(conn, US, details())).learners[0].email == "a@example.org"
    assert (await store.set_sharing(conn, US, new.uln or "", "0")).code == "WSRC0014"


async def test_an_update_names_the_version_that_was_read(conn: Any) -> None:
    new = await store.register(conn, US, registration(), NUMBERS)
    uln = new.uln or ""
    changed = await store.update(conn, US, uln, {"family_name": "Osei", "postcode": "YO1 7HH"}, 1)
    assert (changed.code, changed.version) == ("WSRC0006", 2)
    assert await store.update(conn, US, uln, {"town": "York"}, 1) == store.Updated(code="WSRC0013", version=2)
    assert (await store.update(conn, US, uln, {"family_name": "Osei"}, 2)).code == "WSRC0020"
    assert (await store.update(conn, US, uln, {"family_name": "", "given_name": None}, 2)).code == "WSRC0015"
    (unused,) = await NUMBERS.draw(conn, 1)
    assert (await store.update(conn, US, unused, {"town": "York"}, 1)).code == "WSRC0019"
    with pytest.raises(Problem, match="CR-211"):
        await store.update(conn, US, uln, {"version": "9"}, 2)
    # Found by the old name and home as well as by the new ones.
    for sent in (details(), details(family_name="Osei", postcode="YO1 7HH")):
        found = await store.find(conn, US, sent)
        assert (found.code, found.uln) == ("WSRC0004", uln)
        assert (found.learners[0].family_name, found.learners[0].version) == ("Osei", 2)


async def test_two_who_change_the_same_version_at_once_do_not_overwrite_each_other(
    pool: asyncpg.Pool,
) -> None:
    async with pool.acquire() as conn:
        uln = (await store.register(conn, US, registration(), NUMBERS)).uln or ""

    async def change(town: str) -> str:
        async with pool.acquire() as conn:
            return (await store.update(conn, US, uln, {"town": town}, 1)).code

    codes = await asyncio.gather(*(change(f"Town {n}") for n in range(6)))
    assert sorted(codes) == ["WSRC0006", *["WSRC0013"] * 5]


async def test_verifying_many_tells_of_each_whether_number_and_person_belong_together(conn: Any) -> None:
    one = (await store.register(conn, US, registration(), NUMBERS)).uln or ""
    two = (await store.register(conn, US, registration(ROWAN), NUMBERS)).uln or ""
    asked = [
        Verification(uln=one, given_name="Amara", family_name="Whitfield-Osei", date_of_birth="2009-03-14"),
        Verification(uln=two, given_name="Amara", family_name="Whitfield-Osei"),
        Verification(uln=one, given_name="Amara", family_name="Whitfield-Osei", date_of_birth="2009-03-15"),
        Verification(uln=TEMPORARY, given_name="Amara", family_name="Whitfield-Osei"),
    ]
    awarding = caller("awarding_body", "urn:commonroom:org:board", purpose="examinations")
    found = await store.verify_many(conn, awarding, asked)
    assert [(each.code, each.uln) for each in found] == [
        ("WSRC0004", one),
        ("WSEC0208", None),
        ("WSEC0208", None),
        ("WSEC0136", None),
    ]


async def test_a_look_up_without_a_declared_purpose_is_not_made(conn: Any) -> None:
    for purpose in ("", "curiosity"):
        with pytest.raises(Problem, match="CR-211"):
            await store.find(conn, caller(purpose=purpose), details())
    assert await conn.fetchval("SELECT count(*) FROM learners.look_up") == 0


async def test_every_look_up_leaves_a_row_with_no_personal_data_beyond_our_id(conn: Any) -> None:
    uln = (await store.register(conn, US, registration(), NUMBERS)).uln or ""
    await store.find(conn, US, details())
    await store.find(conn, caller(person="p-1"), SORCHA, "check")
    await store.find_by_uln(conn, US, uln, "Rowan", "X")
    rows = await conn.fetch("SELECT * FROM learners.look_up ORDER BY entry")
    assert [(row["action"], row["outcome"], row["learner"] is not None) for row in rows] == [
        ("register", "WSRC0005", True),
        ("find", "WSRC0004", True),
        ("check", "WSRC0001", False),
        ("find_by_uln", "WSEC0208", True),
    ]
    text = str([tuple(row) for row in rows])
    assert not any(word in text for word in ("Amara", "Whitfield", "2009-03-14", "LS6", uln))
    with pytest.raises(asyncpg.RaiseError, match="for ever"):
        await conn.execute("DELETE FROM learners.look_up")


async def test_a_caller_that_looks_too_much_or_finds_too_little_raises_an_alarm(conn: Any) -> None:
    await conn.execute(
        "INSERT INTO learners.look_up (party, role, purpose, action, outcome) "
        "SELECT 'urn:busy', 'school', 'enrolment', 'find', 'WSRC0004' FROM generate_series(1, 601)"
    )
    await conn.execute(
        "INSERT INTO learners.look_up (party, role, purpose, action, outcome) "
        "SELECT 'urn:fishing', 'school', 'enrolment', 'check', 'WSRC0001' FROM generate_series(1, 100)"
    )
    await conn.execute(
        "INSERT INTO learners.look_up (party, role, purpose, action, outcome) "
        "SELECT 'urn:calm', 'school', 'enrolment', 'find', 'WSRC0004' FROM generate_series(1, 99)"
    )
    now = await conn.fetchval("SELECT engines.domain_now()")
    raised = await store.raise_alarms(conn, now)
    assert {(one.party, one.kind) for one in raised} == {
        ("urn:busy", "an_hour"),
        ("urn:fishing", "least_found"),
    }
    await store.raise_alarms(conn, now)
    assert await conn.fetchval("SELECT count(*) FROM learners.alarm") == 2


async def test_numbers_asked_for_and_registrations_count_for_an_alarm(conn: Any) -> None:
    asker, clerk = caller(party="urn:asks"), caller(party="urn:registers")
    known = (await store.register(conn, US, registration(), NUMBERS)).uln or ""
    guessed = await NUMBERS.draw(conn, 100)
    assert await store.retrieve(conn, asker, [known, *guessed]) == {known: known}
    await store.register_many(conn, clerk, [registration(details(date_of_birth=""))] * 601, NUMBERS)
    now = await conn.fetchval("SELECT engines.domain_now() + interval '1 second'")
    raised = await store.raise_alarms(conn, now)
    assert {(one.party, one.kind, one.look_ups) for one in raised} == {
        ("urn:asks", "least_found", 101),
        ("urn:registers", "an_hour", 601),
    }, "and whoever registers a new cohort is not told off for finding nobody"
