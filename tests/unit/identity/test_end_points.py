"""Enrolment: one code, one key, whatever races, repeats or is lost on the way."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from joserfc.jwk import OKPKey

from commonroom.exchange import keys
from commonroom.identity import (
    end_points_of,
    enrol,
    issue_enrolment_code,
    issue_enrolment_codes,
    revoke,
)
from commonroom.problems import Problem

PARTY = "urn:commonroom:org:0190aaaa-0000-7000-8000-000000000001"
OTHER = "urn:commonroom:org:0190aaaa-0000-7000-8000-000000000002"
DAY = timedelta(days=1)


def new_jwk() -> dict[str, str]:
    return keys.public_jwk(OKPKey.generate_key("Ed25519"))


async def test_a_code_enrols_an_end_point_for_its_party(pool: asyncpg.Pool) -> None:
    code = await issue_enrolment_code(pool, PARTY, "operator", DAY)
    end_point = await enrol(pool, code, new_jwk(), "School agent")
    assert (end_point.party, end_point.name) == (PARTY, "School agent")
    assert await end_points_of(pool, PARTY) == [end_point]
    assert await end_points_of(pool, OTHER) == []


async def test_a_code_is_spent_once_however_many_bring_it_together(pool: asyncpg.Pool) -> None:
    code = await issue_enrolment_code(pool, PARTY, "operator", DAY)
    fates = await asyncio.gather(
        *(enrol(pool, code, new_jwk(), f"racer {i}") for i in range(24)), return_exceptions=True
    )
    winners = [fate for fate in fates if not isinstance(fate, BaseException)]
    problems = [fate for fate in fates if isinstance(fate, Problem)]
    assert (len(winners), len(problems)) == (1, 23)
    assert {problem.code for problem in problems} == {"CR-032"}
    assert await end_points_of(pool, PARTY) == winners


async def test_a_lost_answer_is_given_again_to_the_same_key(pool: asyncpg.Pool) -> None:
    code, jwk = await issue_enrolment_code(pool, PARTY, "operator", DAY), new_jwk()
    fates = await asyncio.gather(*(enrol(pool, code, jwk, "agent") for _ in range(8)))
    assert len({fate.id for fate in fates}) == 1
    assert (await enrol(pool, f" {code.upper()}\n", jwk, "agent")).id == fates[0].id
    assert len(await end_points_of(pool, PARTY)) == 1


async def test_a_revoked_end_point_does_not_come_back_with_its_old_code(pool: asyncpg.Pool) -> None:
    code, jwk = await issue_enrolment_code(pool, PARTY, "operator", DAY), new_jwk()
    end_point = await enrol(pool, code, jwk, "agent")
    await revoke(pool, end_point.id, "operator")
    with pytest.raises(Problem, match="CR-032"):
        await enrol(pool, code, jwk, "agent")
    with pytest.raises(Problem, match="CR-037"):
        await revoke(pool, end_point.id, "operator")


async def test_many_codes_come_in_the_order_of_their_parties(pool: asyncpg.Pool) -> None:
    parties = [f"{PARTY[:-3]}{number:03}" for number in range(50)]
    codes = await issue_enrolment_codes(pool, parties, "demo", DAY)
    assert len(set(codes)) == 50
    enrolled = [await enrol(pool, code, new_jwk(), "agent") for code in codes]
    assert [end_point.party for end_point in enrolled] == parties


async def test_the_database_never_holds_a_code(pool: asyncpg.Pool) -> None:
    code = await issue_enrolment_code(pool, PARTY, "operator", DAY)
    rows = await pool.fetch("SELECT enrolment_code::text AS row FROM identity.enrolment_code")
    assert len(rows) == 1
    assert code not in rows[0]["row"]
    assert code.encode().hex() not in rows[0]["row"]
    assert len(code) >= 32


async def test_an_expired_code_is_refused_with_the_reason(pool: asyncpg.Pool) -> None:
    code = await issue_enrolment_code(pool, PARTY, "operator", DAY)
    await pool.execute("UPDATE identity.enrolment_code SET expires_at = clock_timestamp()")
    with pytest.raises(Problem, match="expired"):
        await enrol(pool, code, new_jwk(), "agent")


@pytest.mark.parametrize("code", ["", "never-issued", "x" * 10_000, "\ud800", "\x00"])
async def test_a_code_that_was_never_issued_is_refused(pool: asyncpg.Pool, code: str) -> None:
    with pytest.raises(Problem, match="CR-032"):
        await enrol(pool, code, new_jwk(), "agent")


@pytest.mark.parametrize("valid_for", [timedelta(0), timedelta(seconds=-1), timedelta(days=91)])
async def test_a_code_is_not_issued_for_no_time_or_for_too_long(
    pool: asyncpg.Pool, valid_for: timedelta
) -> None:
    with pytest.raises(Problem, match="CR-032"):
        await issue_enrolment_code(pool, PARTY, "operator", valid_for)


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "EC"},
        {"crv": "X25519"},
        {"crv": "Ed448"},
        {"x": ""},
        {"x": "A" * 42},
        {"x": "A" * 44},
        {"x": "!" * 43},
        {"x": "é" * 43},
        {"x": 7},
        {"d": "A" * 43},
    ],
)
async def test_only_a_public_ed25519_key_is_taken_and_the_code_stays_unspent(
    pool: asyncpg.Pool, change: dict[str, Any]
) -> None:
    code, jwk = await issue_enrolment_code(pool, PARTY, "operator", DAY), new_jwk()
    with pytest.raises(Problem, match="CR-033"):
        await enrol(pool, code, {**jwk, **change}, "agent")
    assert (await enrol(pool, code, jwk, "agent")).party == PARTY


@pytest.mark.parametrize("name", ["", "  ", "x" * 256, "a\nb", "a\x00b"])
async def test_an_end_point_needs_a_name_that_can_be_shown(pool: asyncpg.Pool, name: str) -> None:
    code = await issue_enrolment_code(pool, PARTY, "operator", DAY)
    with pytest.raises(Problem, match="name"):
        await enrol(pool, code, new_jwk(), name)


async def test_a_key_file_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key.pem"
    made = await asyncio.gather(*(asyncio.to_thread(keys.load_or_create, path) for _ in range(16)))
    assert len({key.thumbprint() for key in made}) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"no key", OKPKey.generate_key("X25519").as_pem(private=True)])
def test_a_file_that_holds_no_ed25519_key_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(Problem, match="CR-025") as caught:
        keys.load_or_create(path)
    assert caught.value.where == str(path)
    assert path.read_bytes() == content
