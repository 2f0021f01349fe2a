"""Which accounts can exist, and what opens what: two tables that a data officer can read."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import asyncpg
import pytest
from joserfc.jwk import OKPKey

from commonroom.exchange import keys
from commonroom.identity import (
    PUBLIC,
    Role,
    Tokens,
    add_person,
    enrol,
    issue_enrolment_code,
    person_of,
    revoke,
    sign_in,
    sign_out,
    suspend_person,
)
from commonroom.problems import Problem
from commonroom.settings import Settings

PARTY = "urn:commonroom:org:0190aaaa-0000-7000-8000-000000000001"
HUB = "https://hub.example"
PASSWORD = "correct horse battery"

# role        names an organisation?  account
ACCOUNTS = """
school        yes                     made
school        no                      refused
authority     yes                     made
authority     no                      refused
operator      no                      made
operator      yes                     refused
governance    no                      made
governance    yes                     refused
analyst       no                      made
analyst       yes                     refused
learner       no                      made
learner       yes                     refused
clerk         no                      made
clerk         yes                     refused
end_point     yes                     refused
end_point     no                      refused
public        no                      refused
root          no                      refused
"""


@pytest.mark.parametrize(
    ("role", "names_one", "account"), [line.split() for line in ACCOUNTS.strip().splitlines()]
)
async def test_a_role_and_an_organisation_go_together(
    pool: asyncpg.Pool, role: str, names_one: str, account: str
) -> None:
    party = PARTY if names_one == "yes" else None
    if account == "refused":
        with pytest.raises(Problem, match="CR-036"):
            await add_person(pool, "someone", PASSWORD, cast(Role, role), party, "Someone")
        return
    await add_person(pool, "someone", PASSWORD, cast(Role, role), party, "Someone")
    principal = await person_of(pool, await sign_in(pool, "someone", PASSWORD))
    assert principal is not None
    assert (principal.kind, principal.role, principal.party) == ("person", role, party)


# what has happened       its session or token  signing in again
LIVES = """
person made               none                  opens
person signed-in          opens                 opens
person signed-out         shut                  opens
person suspended          shut                  shut
end_point code-issued     none                  shut
end_point enrolled        none                  opens
end_point signed-in       opens                 opens
end_point revoked         opens                 shut
"""


@pytest.mark.parametrize(
    ("kind", "happened", "held", "again"), [line.split() for line in LIVES.strip().splitlines()]
)
async def test_what_opens_at_each_stage_of_life(
    pool: asyncpg.Pool, settings: Settings, kind: str, happened: str, held: str, again: str
) -> None:
    life = PersonLife(pool) if kind == "person" else EndPointLife(pool, Tokens(settings))
    await life.come_to(happened)
    assert await life.held() == held
    assert await life.again() == again


def test_the_public_is_nobody_in_particular() -> None:
    assert (PUBLIC.kind, PUBLIC.role, PUBLIC.party, PUBLIC.id, PUBLIC.name) == (
        "public",
        "public",
        None,
        "",
        "",
    )


class PersonLife:
    """One person's account, brought to a stage."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.session: str | None = None

    async def come_to(self, stage: str) -> None:
        person = await add_person(self.pool, "someone", PASSWORD, "operator", None, "Someone")
        if stage == "made":
            return
        self.session = await sign_in(self.pool, "someone", PASSWORD)
        if stage == "signed-out":
            await sign_out(self.pool, self.session)
        if stage == "suspended":
            await suspend_person(self.pool, person)

    async def held(self) -> str:
        if self.session is None:
            return "none"
        return "opens" if await person_of(self.pool, self.session) else "shut"

    async def again(self) -> str:
        try:
            await sign_in(self.pool, "someone", PASSWORD)
        except Problem:
            return "shut"
        return "opens"


class EndPointLife:
    """One end point, brought to a stage. A revoked one keeps its token for at most ten minutes."""

    def __init__(self, pool: asyncpg.Pool, tokens: Tokens) -> None:
        self.pool = pool
        self.tokens = tokens
        self.key = OKPKey.generate_key("Ed25519")
        self.id = "0190aaaa-0000-7000-8000-0000000000ff"
        self.token: str | None = None

    async def come_to(self, stage: str) -> None:
        code = await issue_enrolment_code(self.pool, PARTY, "operator", timedelta(days=1))
        if stage == "code-issued":
            return
        self.id = (await enrol(self.pool, code, keys.public_jwk(self.key), "agent")).id
        if stage == "enrolled":
            return
        self.token = await self._sign_in()
        if stage == "revoked":
            await revoke(self.pool, self.id, "operator")

    async def held(self) -> str:
        if self.token is None:
            return "none"
        return "opens" if self.tokens.authenticate(self.token).party == PARTY else "shut"

    async def again(self) -> str:
        try:
            await self._sign_in()
        except Problem:
            return "shut"
        return "opens"

    async def _sign_in(self) -> str:
        assertion = keys.sign_assertion(self.key, self.id, HUB)
        return (await self.tokens.exchange_assertion(self.pool, assertion, HUB)).access_token
