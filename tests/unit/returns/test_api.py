"""/api/returns through the portal's own application: the whole way over HTTP, and every door that stays shut."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar.testing import AsyncTestClient

from commonroom import identity, returns
from commonroom.ids import uuid7
from commonroom.portal.app import create_app
from commonroom.portal.house import SESSION_COOKIE
from commonroom.returns import api
from commonroom.settings import Settings
from tests.returns_world import COLLECTIONS, ROLL, UPNS, YEAR, County, file, pupil, small_county

HOME = f"/api/returns/{ROLL}/{YEAR}"
FIRST = f"{HOME}/990001"
GET_PATHS = (HOME, FIRST, f"{FIRST}/findings", f"{FIRST}/history", "/api/returns/session")
POST_PATHS = (f"{FIRST}/steps", f"{FIRST}/notes", f"{FIRST}/upload")


class People(msgspec.Struct, frozen=True):
    """The application's client, and a session for each person."""

    client: AsyncTestClient[Any]
    sessions: dict[str, str]
    tokens: dict[str, str]

    async def get(self, who: str, path: str) -> Any:
        return await self.client.get(path, headers=self._headers(who))

    async def post(self, who: str, path: str, body: Any, **headers: str) -> Any:
        given = {**self._headers(who), "X-Form-Token": self.tokens.get(who, ""), **headers}
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.client.post(path, content=content, headers=given)

    def _headers(self, who: str) -> dict[str, str]:
        return {"Cookie": f"{SESSION_COOKIE}={self.sessions[who]}"} if who else {}


@pytest.fixture
async def people(settings: Settings, pool: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[People]:
    monkeypatch.setenv("COMMONROOM_COLLECTIONS", str(COLLECTIONS))
    async with pool.acquire() as connection:
        county = await small_county(connection)
        await returns.open_collection(connection, ROLL, YEAR)
        sessions = {who: await _session(connection, who, county) for who in ACCOUNTS}
    async with _portal(settings) as client:
        tokens = {}
        for who in ("school", "second", "authority", "operator", "elsewhere"):
            answer = await client.get(
                "/api/returns/session", headers={"Cookie": f"{SESSION_COOKIE}={sessions[who]}"}
            )
            tokens[who] = answer.json()["form_token"]
        yield People(client, sessions, tokens)


@asynccontextmanager
async def _portal(settings: Settings) -> AsyncIterator[AsyncTestClient[Any]]:
    async with AsyncTestClient(create_app(settings)) as client:
        yield client


ACCOUNTS: dict[str, tuple[identity.Role, str | None]] = {
    "school": ("school", "school"),
    "second": ("school", "second"),
    "authority": ("authority", "authority"),
    "elsewhere": ("authority", "other_authority"),
    "operator": ("operator", None),
    "analyst": ("analyst", None),
    "learner": ("learner", None),
    "governance": ("governance", None),
}


async def _session(connection: Any, who: str, county: County) -> str:
    """A session as signing in would begin it, without the time that hashing a password takes on purpose."""
    role, party = ACCOUNTS[who]
    person, token = uuid7(), secrets.token_urlsafe(32)
    await connection.execute(
        "INSERT INTO identity.person (id, username, password_hash, role, party, name) VALUES ($1, $2, '', $3, $4, $2)",
        person, who, role, getattr(county, party) if party else None,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO identity.session (token_hash, person, expires_at) VALUES ($1, $2, now() + interval '1 hour')",
        hashlib.sha256(token.encode()).digest(), person,
    )  # fmt: skip
    return token


async def test_the_whole_way_over_http(people: People, tmp_path: Path) -> None:
    body = file(tmp_path, pupil(UPNS[0], born="1990-01-01"), pupil(UPNS[1], status="G")).read_bytes()
    loaded = await people.post("school", f"{FIRST}/upload", body, **{"X-File-Name": "roll.xml"})
    assert loaded.status_code == 200, loaded.text
    assert loaded.json()["checks"]["open"] == 2
    assert loaded.json()["version"]["file_name"] == "roll.xml"
    found = (await people.get("school", f"{FIRST}/findings")).json()
    one, two = found["findings"]
    noted = await people.post("school", f"{FIRST}/notes", {"keys": [one["key"]], "text": "A mature pupil."})
    assert noted.json() == {"findings": 1}
    old = await people.post("school", f"{FIRST}/notes", {"keys": [two["key"]], "revision": found["revision"]})
    assert (old.status_code, old.json()["code"]) == (409, "CR-200")
    await people.post("school", f"{FIRST}/notes", {"keys": [two["key"]]})
    for who, step in (("school", "submit"), ("authority", "approve"), ("operator", "authorise")):
        done = await people.post(who, f"{FIRST}/steps", {"step": step})
        assert done.status_code == 200, done.text
    shown = (await people.get("operator", FIRST)).json()
    assert (shown["state"], shown["collect_status"], shown["steps"]) == ("Authorised", "10", [])
    history = (await people.get("authority", f"{FIRST}/history")).json()
    assert [step["step"] for step in history["steps"]] == ["load", "submit", "approve", "authorise"]


async def test_without_signing_in_every_door_is_shut(people: People) -> None:
    for path in GET_PATHS:
        answer = await people.get("", path)
        assert (answer.status_code, answer.json()["code"]) == (401, "CR-006"), path
    for path in POST_PATHS:
        answer = await people.post("", path, {})
        assert answer.status_code in (401, 403), path


@pytest.mark.parametrize("who", ["analyst", "learner", "governance"])
async def test_other_roles_have_no_part_in_returns(people: People, who: str) -> None:
    for path in GET_PATHS:
        assert (await people.get(who, path)).status_code == 403, path
    for path in POST_PATHS:
        assert (await people.post(who, path, {})).status_code == 403, path


@pytest.mark.parametrize("who", ["second", "elsewhere"])
async def test_others_returns_are_not_there(people: People, who: str, tmp_path: Path) -> None:
    body = file(tmp_path, pupil()).read_bytes()
    for path in (FIRST, f"{FIRST}/findings", f"{FIRST}/history"):
        assert (await people.get(who, path)).status_code == 404, path
    for path, sent in (
        (POST_PATHS[0], {"step": "submit"}),
        (POST_PATHS[1], {"rule": "1"}),
        (POST_PATHS[2], body),
    ):
        answer = await people.post(who, path, sent)
        assert (answer.status_code, answer.json()["code"]) == (404, "CR-196"), path
    listed = {one["name"] for one in (await people.get(who, HOME)).json()["returns"]}
    assert "School 990001" not in listed
    assert len(listed) == 1
    # A number that nobody has is answered in the same words.
    assert (await people.get(who, f"{HOME}/999999")).json() == (await people.get(who, FIRST)).json()


async def test_a_post_without_the_form_token_or_from_another_site_changes_nothing(people: People) -> None:
    for headers in ({"X-Form-Token": ""}, {"X-Form-Token": "0" * 64}, {"Sec-Fetch-Site": "cross-site"}):
        answer = await people.post("school", f"{FIRST}/steps", {"step": "submit"}, **headers)
        assert (answer.status_code, answer.json()["code"]) in ((403, "CR-100"), (403, "CR-101"))


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"step": "open"}', b'{"step": "submit", "more": 1}', b"[]", b'"\xff"']
)
async def test_a_body_that_is_something_else_is_said_so(people: People, body: bytes) -> None:
    answer = await people.post("school", f"{FIRST}/steps", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "CR-202")


async def test_a_file_that_cannot_be_read_is_refused_and_nothing_stays(
    people: People, settings: Settings
) -> None:
    answer = await people.post("school", f"{FIRST}/upload", b"<Message><Header>")
    assert (answer.status_code, answer.json()["code"]) == (400, "CR-190")
    assert (await people.get("school", FIRST)).json()["version"] is None
    assert list(settings.folder("returns-incoming").iterdir()) == []


async def test_the_roles_of_each(people: People) -> None:
    for who, roles in (("school", ["source"]), ("authority", ["approver"]), ("operator", ["collector"])):
        assert (await people.get(who, FIRST)).json()["roles"] == roles


async def test_an_upload_waits_for_a_place_before_it_is_read(people: People, tmp_path: Path) -> None:
    body = file(tmp_path, pupil()).read_bytes()
    with ExitStack() as places:
        for number in range(8):
            places.enter_context(api.ARRIVALS.place(f"somebody {number}"))
        full = await people.post("school", f"{FIRST}/upload", body)
        assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (503, "CR-008", "30")
    assert (await people.post("school", f"{FIRST}/upload", body)).status_code == 200
