"""The portal's application with people and a machine at the counter of the register, for tests over HTTP."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
from joserfc.jwk import OKPKey
from litestar.testing import AsyncTestClient

from commonroom import identity
from commonroom.exchange import keys
from commonroom.hub import Party, publish
from commonroom.ids import org_urn, uuid7
from commonroom.portal.app import create_app
from commonroom.portal.house import SESSION_COOKIE
from commonroom.settings import Settings

HUB = "https://hub.example"
USUAL = {"X-Purpose": "enrolment"}
AMARA = {
    "given_name": "Amara",
    "family_name": "Ashdown",
    "date_of_birth": "2009-03-14",
    "gender": "2",
    "postcode": "LS1 4AP",
}
REGISTRATION = {**AMARA, "verification_type": "1", "ability_to_share": "1"}


class Visitor(msgspec.Struct, frozen=True):
    """Somebody at the counter: a person with a session, or a machine with a token."""

    client: AsyncTestClient[Any]
    headers: dict[str, str]

    async def get(self, path: str, **headers: str) -> Any:
        return await self.client.get(path, headers=self.headers | headers)

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.client.post(path, content=content, headers=self.headers | headers)

    async def form(self, path: str, fields: dict[str, str], files: Any = None) -> Any:
        """Post a form as a browser does, with the token that the page gave."""
        own = {name: value for name, value in self.headers.items() if name == "Cookie"}
        given = {"form_token": self.headers["X-Form-Token"], **fields}
        return await self.client.post(path, data=given, files=files, headers=own, follow_redirects=False)


class AtTheCounter(msgspec.Struct, frozen=True):
    """Everybody who comes."""

    school: Visitor
    other_school: Visitor
    clerk: Visitor
    second_clerk: Visitor
    operator: Visitor
    analyst: Visitor
    public: Visitor
    machine: Visitor
    awarding_body: Visitor


@asynccontextmanager
async def counter(settings: Settings, pool: Any) -> AsyncIterator[AtTheCounter]:
    """The application, running, and everybody signed in."""
    parties = {kind: org_urn(uuid7()) for kind in ("school", "other school", "awarding body")}
    async with pool.acquire() as conn:
        await publish(
            conn, [Party(urn, name, (name.removeprefix("other "),)) for name, urn in parties.items()], [], []
        )
        sessions = {
            "school": await _session(conn, "school", parties["school"]),
            "other_school": await _session(conn, "school", parties["other school"]),
            "clerk": await _session(conn, "clerk", None),
            "second_clerk": await _session(conn, "clerk", None),
            "operator": await _session(conn, "operator", None),
            "analyst": await _session(conn, "analyst", None),
        }
        tokens = {
            "machine": await token_of(conn, settings, parties["school"]),
            "awarding_body": await token_of(conn, settings, parties["awarding body"]),
        }
    async with AsyncTestClient(create_app(settings)) as client:
        people = {}
        for name, session in sessions.items():
            people[name] = await _signed_in(client, session)
        machines = {
            name: Visitor(client, {"Authorization": f"Bearer {token}", **USUAL})
            for name, token in tokens.items()
        }
        yield AtTheCounter(public=Visitor(client, USUAL), **people, **machines)


async def person_of(
    client: AsyncTestClient[Any], conn: Any, role: identity.Role, party: str | None
) -> Visitor:
    """A new person of a party who has signed in."""
    return await _signed_in(client, await _session(conn, role, party))


async def _signed_in(client: AsyncTestClient[Any], session: str) -> Visitor:
    headers = {"Cookie": f"{SESSION_COOKIE}={session}", **USUAL}
    told = await client.get("/api/learners/session", headers=headers)
    return Visitor(client, headers | {"X-Form-Token": told.json()["form_token"]})


async def _session(conn: Any, role: identity.Role, party: str | None) -> str:
    person, token = uuid7(), secrets.token_urlsafe(32)
    await conn.execute(
        "INSERT INTO identity.person (id, username, password_hash, role, party, name) VALUES ($1, $2, '', $3, $4, $2)",
        person, str(person), role, party,
    )  # fmt: skip
    await conn.execute(
        "INSERT INTO identity.session (token_hash, person, expires_at) VALUES ($1, $2, now() + interval '1 hour')",
        hashlib.sha256(token.encode()).digest(), person,
    )  # fmt: skip
    return token


async def token_of(conn: Any, settings: Settings, party: str) -> str:
    """The token of a new end point of this party, as the hub gives it."""
    key = OKPKey.generate_key("Ed25519")
    code = await identity.issue_enrolment_code(conn, party, "test", timedelta(hours=1))
    end_point = await identity.enrol(conn, code, keys.public_jwk(key), "a school's system")
    given = await identity.Tokens(settings).exchange_assertion(
        conn, keys.sign_assertion(key, end_point.id, HUB), HUB
    )
    return given.access_token
