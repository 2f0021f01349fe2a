"""People: sign-in, sessions that end, and the brake on guessing."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from commonroom.identity import Principal, add_person, people, person_of, sign_in, sign_out, suspend_person
from commonroom.problems import Problem

PARTY = "urn:commonroom:org:0190aaaa-0000-7000-8000-000000000001"
PASSWORD = "correct horse battery"


async def add(pool: asyncpg.Pool, username: str = "head", **changes: Any) -> str:
    account = {"password": PASSWORD, "role": "school", "party": PARTY, "name": "Ada Lovelace", **changes}
    return await add_person(pool, username, **account)


async def age(pool: asyncpg.Pool, column: str, interval: str) -> None:
    await pool.execute(f"UPDATE identity.session SET {column} = {column} - interval '{interval}'")


async def test_a_session_knows_the_person_role_and_party_until_sign_out(pool: asyncpg.Pool) -> None:
    person = await add(pool)
    session = await sign_in(pool, "head", PASSWORD)
    assert await person_of(pool, session) == Principal(
        kind="person", id=person, role="school", party=PARTY, name="Ada Lovelace"
    )
    await sign_out(pool, session)
    await sign_out(pool, session)
    assert await person_of(pool, session) is None


async def test_two_sessions_of_a_person_are_apart(pool: asyncpg.Pool) -> None:
    await add(pool)
    first, second = await sign_in(pool, "head", PASSWORD), await sign_in(pool, "head", PASSWORD)
    await sign_out(pool, first)
    assert await person_of(pool, first) is None
    assert await person_of(pool, second) is not None


@pytest.mark.parametrize("username", ["HEAD", " head ", "ｈｅａｄ"])
async def test_spelling_of_the_username_is_forgiven(pool: asyncpg.Pool, username: str) -> None:
    await add(pool, "Head")
    assert await sign_in(pool, username, PASSWORD)


async def test_a_password_is_the_same_from_every_keyboard(pool: asyncpg.Pool) -> None:
    await add(pool, password="cafe\u0301-terrace")
    assert await sign_in(pool, "head", "caf\u00e9-terrace")


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("head", "wrong password"),
        ("head", PASSWORD.upper()),
        ("head", PASSWORD + " "),
        ("head", ""),
        ("head", "x" * 100_000),
        ("head", "\ud800"),
        ("head", "\x00"),
        ("nobody", PASSWORD),
        ("", ""),
        ("\x00", PASSWORD),
        ("\ud800", PASSWORD),
        ("x" * 100_000, PASSWORD),
        ("head' OR '1'='1", PASSWORD),
    ],
)
async def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(
    pool: asyncpg.Pool, username: str, password: str
) -> None:
    await add(pool)
    with pytest.raises(Problem) as caught:
        await sign_in(pool, username, password)
    assert (caught.value.code, caught.value.status) == ("CR-034", 401)
    assert caught.value.detail == "The username or the password is wrong."


async def test_guessing_is_slowed_and_the_wait_is_told_for_known_and_unknown_names(
    pool: asyncpg.Pool,
) -> None:
    await add(pool)
    for username in ("head", "nobody"):
        await _fail(pool, username, people.FREE_ATTEMPTS)
        with pytest.raises(Problem) as caught:
            await sign_in(pool, username, PASSWORD)  # even the right one has to wait
        assert (caught.value.code, caught.value.status) == ("CR-035", 429)
        assert 50 <= caught.value.extra["retry_after"] <= 60


async def test_the_wait_doubles_up_to_a_quarter_of_an_hour(pool: asyncpg.Pool) -> None:
    await _fail(pool, "nobody", people.FREE_ATTEMPTS)
    waits = [await _wait_then_fail(pool) for _ in range(6)]
    assert waits == [60, 120, 240, 480, 900, 900]


async def test_the_brake_counts_guesses_made_at_the_same_moment(pool: asyncpg.Pool) -> None:
    await add(pool)
    fates = await asyncio.gather(
        *(sign_in(pool, "head", f"guess {i}") for i in range(20)), return_exceptions=True
    )
    codes = [fate.code for fate in fates if isinstance(fate, Problem)]
    assert (codes.count("CR-034"), codes.count("CR-035")) == (people.FREE_ATTEMPTS, 15)


async def test_after_the_wait_the_right_password_opens_and_clears_the_count(pool: asyncpg.Pool) -> None:
    await add(pool)
    await _fail(pool, "head", people.FREE_ATTEMPTS)
    await _let_wait_pass(pool)
    assert await sign_in(pool, "head", PASSWORD)
    await _fail(pool, "head", people.FREE_ATTEMPTS - 1)
    assert await sign_in(pool, "head", PASSWORD)


async def test_one_persons_failures_do_not_slow_another(pool: asyncpg.Pool) -> None:
    await add(pool)
    await _fail(pool, "nobody", people.FREE_ATTEMPTS)
    assert await sign_in(pool, "head", PASSWORD)


async def test_failures_are_forgotten_after_a_day(pool: asyncpg.Pool) -> None:
    await _fail(pool, "nobody", people.FREE_ATTEMPTS)
    await pool.execute(
        "UPDATE identity.sign_in_attempt SET last_at = last_at - interval '25 h', blocked_until = last_at"
    )
    await _fail(pool, "nobody", people.FREE_ATTEMPTS - 1)
    assert await pool.fetchval("SELECT attempts FROM identity.sign_in_attempt") == people.FREE_ATTEMPTS - 1


@pytest.mark.parametrize(
    ("column", "before", "after"), [("seen_at", "59 min", "2 min"), ("expires_at", "11 h", "61 min")]
)
async def test_a_session_ends_by_rest_and_by_age(
    pool: asyncpg.Pool, column: str, before: str, after: str
) -> None:
    await add(pool)
    session = await sign_in(pool, "head", PASSWORD)
    await age(pool, column, before)
    if column == "expires_at":
        assert await person_of(pool, session) is not None
    await age(pool, column, after)
    assert await person_of(pool, session) is None


async def test_using_a_session_keeps_it_from_resting(pool: asyncpg.Pool) -> None:
    await add(pool)
    session = await sign_in(pool, "head", PASSWORD)
    for _ in range(3):
        await age(pool, "seen_at", "40 min")
        assert await person_of(pool, session) is not None


async def test_a_suspended_person_is_out_at_once_and_stays_out(pool: asyncpg.Pool) -> None:
    person = await add(pool)
    session = await sign_in(pool, "head", PASSWORD)
    await suspend_person(pool, person)
    assert await person_of(pool, session) is None
    with pytest.raises(Problem, match="CR-034"):
        await sign_in(pool, "head", PASSWORD)


async def test_a_taken_username_is_refused_unless_it_is_to_be_replaced(pool: asyncpg.Pool) -> None:
    person = await add(pool)
    session = await sign_in(pool, "head", PASSWORD)
    with pytest.raises(Problem) as caught:
        await add(pool, "HEAD")
    assert caught.value.status == 409
    assert await add(pool, "head", password="another password", replace=True) == person
    assert await person_of(pool, session) is None
    assert await sign_in(pool, "head", "another password")


@pytest.mark.parametrize("token", ["", "x", "\x00", "\ud800", "x" * 100_000])
async def test_what_is_no_session_is_nobody(pool: asyncpg.Pool, token: str) -> None:
    assert await person_of(pool, token) is None
    await sign_out(pool, token)


async def test_the_database_holds_neither_passwords_nor_session_tokens(pool: asyncpg.Pool) -> None:
    await add(pool)
    session = await sign_in(pool, "head", PASSWORD)
    tables = ("person", "session", "sign_in_attempt")
    rows = [
        row[0] for name in tables for row in await pool.fetch(f"SELECT t::text FROM identity.{name} AS t")
    ]
    assert len(rows) == 2
    assert not any(PASSWORD in row or session in row for row in rows)
    assert any("$argon2id$" in row for row in rows)


def test_a_principal_shows_no_name_where_it_is_logged() -> None:
    principal = Principal(kind="person", id="1", role="school", party=PARTY, name="Ada Lovelace")
    assert "Ada" not in f"{principal} {principal!r} {[principal]}"


async def _fail(pool: asyncpg.Pool, username: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Problem, match="CR-034"):
            await sign_in(pool, username, "wrong password")


async def _wait_then_fail(pool: asyncpg.Pool) -> int:
    with pytest.raises(Problem, match="CR-035") as caught:
        await sign_in(pool, "nobody", "wrong password")
    await _let_wait_pass(pool)
    await _fail(pool, "nobody", 1)
    return 10 * round(int(caught.value.extra["retry_after"]) / 10)


async def _let_wait_pass(pool: asyncpg.Pool) -> None:
    await pool.execute("UPDATE identity.sign_in_attempt SET blocked_until = clock_timestamp()")
