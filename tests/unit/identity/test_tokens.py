"""Access tokens: who gets one, who does not, and what a token proves afterwards."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from commonroom.exchange import keys
from commonroom.identity import EndPoint, Tokens, enrol, issue_enrolment_code, revoke, tokens
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.waiting import until

PARTY = "urn:commonroom:org:0190aaaa-0000-7000-8000-000000000001"
HUB = "https://hub.example"


async def enrolled(pool: asyncpg.Pool) -> tuple[EndPoint, OKPKey]:
    key = OKPKey.generate_key("Ed25519")
    code = await issue_enrolment_code(pool, PARTY, "operator", timedelta(days=1))
    return await enrol(pool, code, keys.public_jwk(key), "agent"), key


def signed(key: Any, end_point: str, header: dict[str, Any] | None = None, **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": end_point, "sub": end_point, "aud": HUB, "jti": str(uuid7()), "exp": now + 60, **changes}
    header = header or {"alg": "Ed25519"}
    return jwt.encode(
        header, {k: v for k, v in claims.items() if v is not None}, key, algorithms=[header["alg"]]
    )


async def test_a_signed_assertion_gives_a_token_that_names_end_point_and_party(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    end_point, key = await enrolled(pool)
    service = Tokens(settings)
    answer = await service.exchange_assertion(pool, keys.sign_assertion(key, end_point.id, HUB), HUB)
    assert (answer.token_type, answer.expires_in) == ("Bearer", 600)
    principal = service.authenticate(answer.access_token)
    assert (principal.kind, principal.role, principal.id, principal.party) == (
        "end_point",
        "end_point",
        end_point.id,
        PARTY,
    )


async def test_an_assertion_under_the_older_name_of_the_algorithm_is_taken(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    end_point, key = await enrolled(pool)
    assert await Tokens(settings).exchange_assertion(
        pool, signed(key, end_point.id, {"alg": "EdDSA"}), [HUB, "x"]
    )


async def test_an_assertion_works_once_even_when_sent_many_times_together(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    end_point, key = await enrolled(pool)
    service, assertion = Tokens(settings), signed(key, end_point.id)
    fates = await asyncio.gather(
        *(service.exchange_assertion(pool, assertion, HUB) for _ in range(16)), return_exceptions=True
    )
    assert sum(not isinstance(fate, BaseException) for fate in fates) == 1
    assert all("used before" in str(fate) for fate in fates if isinstance(fate, BaseException))


async def test_the_same_jti_of_two_end_points_does_not_clash(pool: asyncpg.Pool, settings: Settings) -> None:
    service = Tokens(settings)
    for end_point, key in (await enrolled(pool), await enrolled(pool)):
        assert await service.exchange_assertion(pool, signed(key, end_point.id, jti="1"), HUB)


async def test_used_assertions_are_forgotten_only_after_they_have_expired(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    end_point, key = await enrolled(pool)
    service = Tokens(settings)
    late = signed(key, end_point.id, exp=int(time.time()) - tokens.CLOCK_LEEWAY_SECONDS + 5)
    await service.exchange_assertion(pool, late, HUB)
    await service.exchange_assertion(pool, signed(key, end_point.id), HUB)
    with pytest.raises(Problem, match="used before"):
        await service.exchange_assertion(pool, late, HUB)
    await pool.execute("UPDATE identity.used_assertion SET expires_at = clock_timestamp() - interval '1 s'")
    await service.exchange_assertion(pool, signed(key, end_point.id), HUB)
    assert await pool.fetchval("SELECT count(*) FROM identity.used_assertion") == 1


def ago(seconds: float) -> Callable[[], int]:
    return lambda: int(time.time() - seconds)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"exp": ago(120)}, "expired"),
        ({"exp": ago(-420)}, "more than"),
        ({"exp": 1e300}, "more than"),
        ({"exp": None}, "RFC 7523"),
        ({"exp": "soon"}, "RFC 7523"),
        ({"exp": True}, "RFC 7523"),
        ({"nbf": ago(-300)}, "not valid yet"),
        ({"aud": "https://another.example"}, "another hub"),
        ({"aud": []}, "another hub"),
        ({"aud": None}, "RFC 7523"),
        ({"jti": None}, "RFC 7523"),
        ({"jti": ""}, "jti"),
        ({"jti": "x" * 256}, "jti"),
        ({"iss": "someone else"}, "iss and sub"),
        ({"sub": "not a uuid", "iss": "not a uuid"}, "iss and sub"),
        ({"iss": None}, "RFC 7523"),
        ({"padding": "x" * 3000}, "longer"),
    ],
)
async def test_an_assertion_with_a_wrong_claim_is_refused_with_the_reason(
    pool: asyncpg.Pool, settings: Settings, changes: dict[str, Any], says: str
) -> None:
    end_point, key = await enrolled(pool)
    given = {name: value() if callable(value) else value for name, value in changes.items()}
    with pytest.raises(Problem) as caught:
        await Tokens(settings).exchange_assertion(pool, signed(key, end_point.id, **given), HUB)
    assert (caught.value.code, caught.value.status) == ("CR-030", 401)
    assert says in str(caught.value)
    assert caught.value.as_json()["error"] == "invalid_client"


async def test_another_key_an_unknown_end_point_and_a_revoked_one_get_the_same_answer(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    service = Tokens(settings)
    end_point, key = await enrolled(pool)
    revoked, its_key = await enrolled(pool)
    await revoke(pool, revoked.id, "operator")
    public_half = OctKey.import_key(keys.public_jwk(key)["x"])
    attempts = [
        signed(OKPKey.generate_key("Ed25519"), end_point.id),
        signed(key, str(uuid7())),
        signed(its_key, revoked.id),
        signed(public_half, end_point.id, {"alg": "HS256"}),  # the public key used as a shared secret
    ]
    answers = set()
    for assertion in attempts:
        with pytest.raises(Problem) as caught:
            await service.exchange_assertion(pool, assertion, HUB)
        answers.add(str(caught.value))
    assert len(answers) == 1
    assert await pool.fetchval("SELECT count(*) FROM identity.used_assertion") == 0


@pytest.mark.parametrize(
    "assertion", ["", "a.b.c", "..", "é", "e30.e30.", "eyJhbGciOiJub25lIn0.e30.", "x" * 5000]
)
async def test_what_is_no_assertion_is_refused(
    pool: asyncpg.Pool, settings: Settings, assertion: str
) -> None:
    with pytest.raises(Problem, match="CR-030"):
        await Tokens(settings).exchange_assertion(pool, assertion, HUB)


@given(st.text(max_size=60))
def test_no_text_is_taken_for_a_token(service: Tokens, token: str) -> None:
    with pytest.raises(Problem, match="CR-031"):
        service.authenticate(token)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    return Tokens(Settings(data=tmp_path_factory.mktemp("data")))


def access_token(service: Tokens, typ: str = "at+jwt", key: OKPKey | None = None, **changes: Any) -> str:
    claims = {"sub": "e", "party": PARTY, "exp": int(time.time()) + 60, **changes}
    return jwt.encode({"alg": "Ed25519", "typ": typ}, claims, key or service._key, algorithms=["Ed25519"])


def test_a_token_of_the_right_key_is_taken(service: Tokens) -> None:
    assert service.authenticate(access_token(service)).party == PARTY


def test_another_key_another_type_or_another_shape_is_not(service: Tokens) -> None:
    for token in (
        access_token(service, key=OKPKey.generate_key("Ed25519")),
        access_token(service, typ="JWT"),
        access_token(service, party=None),
        access_token(service, exp="never"),
        access_token(service) + "A",
        "x" * 5000,
    ):
        with pytest.raises(Problem) as caught:
            service.authenticate(token)
        assert (caught.value.code, caught.value.status) == ("CR-031", 401)
        assert "POST /token" in caught.value.remedy


def test_a_token_ends_when_it_says_even_when_it_was_seen_before(service: Tokens) -> None:
    token = access_token(service, exp=int(time.time()) + 2)
    assert service.authenticate(token)

    def refused() -> str:
        try:
            service.authenticate(token)
        except Problem as problem:
            return problem.detail
        return ""

    assert until(refused, 5) == "The token has expired."


def test_the_memory_of_checked_tokens_is_bounded(service: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CACHED_TOKENS", 5)
    issued = [access_token(service, sub=str(number)) for number in range(20)]
    assert [service.authenticate(token).id for token in issued * 2] == [str(n) for n in range(20)] * 2
    assert len(service._seen) <= 5


def _key_of(data: Any) -> str:
    return Tokens(Settings(data=data))._key.thumbprint()


def test_processes_that_start_together_share_one_signing_key(settings: Settings) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as processes:
        thumbprints = processes.map(_key_of, [settings.data] * 8, chunksize=1)
    assert len(set(thumbprints)) == 1
    assert (settings.data / "keys" / tokens.KEY_FILE).stat().st_mode & 0o777 == 0o600
