"""/api/providers and the pages over HTTP: records for everybody, own entries for the provider's own people alone."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from litestar.testing import AsyncTestClient

from commonroom.hub import directory
from commonroom.ids import alias_urn, uuid7
from commonroom.portal.app import create_app
from commonroom.portal.house import SESSION_COOKIE
from commonroom.registers import providers
from commonroom.settings import Settings
from tests.unit.registers import extracts
from tests.unit.registers.extracts import row
from tests.unit.registers.ukrlp_answers import RECORD, write_lines

OWN = {
    "contacts": [{"role": "Admissions", "telephone": "01632 960123", "email": "admissions@saltmere.example"}],
    "courses": [
        {"title": "Boat building", "level": "3", "start": "2026-09-01", "page": "https://saltmere.example/b"}
    ],
    "performance": [{"title": "Our results", "page": "https://saltmere.example/results"}],
}
FORM = {
    "contacts": "Admissions | 01632 960123 | admissions@saltmere.example\n\nExams office",
    "courses": "Boat building |  | | 3 |  | 2026-09-01 | https://saltmere.example/b",
    "performance": "Our results | https://saltmere.example/results",
}


class World(msgspec.Struct, frozen=True):
    """The portal's client, the database, and sessions: a college's person, a school's, an analyst."""

    client: AsyncTestClient[Any]
    conn: Any
    college: str
    sessions: dict[str, str]

    async def get(self, path: str, who: str = "") -> Any:
        return await self.client.get(path, headers=self.headers(who), follow_redirects=False)

    async def put(self, who: str, body: Any, **more: str) -> Any:
        token = (await self.get("/api/providers/session", who)).json()["form_token"]
        headers = {**self.headers(who), "X-Form-Token": token, **more}
        return await self.client.put("/api/providers/own", content=msgspec.json.encode(body), headers=headers)

    def headers(self, who: str) -> dict[str, str]:
        return {"Cookie": f"{SESSION_COOKIE}={self.sessions[who]}"} if who else {}


@pytest.fixture
async def world(settings: Settings, pool: asyncpg.Pool, tmp_path: Path) -> AsyncIterator[World]:
    async with pool.acquire() as conn:
        await providers.load_file(conn, extracts.write(tmp_path / "edubasealldata20260310.csv", [row()]))
        await providers.load_file(conn, write_lines(tmp_path / "ukrlp20260310.json", [RECORD]))
        await providers.publish_to_directory(conn)
        college = await directory.resolve_alias(conn, alias_urn("ukprn", "10099001"))
        school = await directory.resolve_alias(conn, alias_urn("urn", "990001"))
        assert college
        people = {"college": ("school", college), "school": ("school", school), "analyst": ("analyst", None)}
        sessions = {who: await _session(conn, who, *of) for who, of in people.items()}
        async with AsyncTestClient(create_app(settings)) as client:
            yield World(client, conn, college, sessions)


async def _session(conn: Any, who: str, role: str, party: str | None) -> str:
    person, token = uuid7(), secrets.token_urlsafe(32)
    await conn.execute(
        "INSERT INTO identity.person (id, username, password_hash, role, party, name) VALUES ($1, $2, '', $3, $4, $2)",
        person, who, role, party,
    )  # fmt: skip
    await conn.execute(
        "INSERT INTO identity.session (token_hash, person, expires_at) VALUES ($1, $2, now() + interval '1 hour')",
        hashlib.sha256(token.encode()).digest(), person,
    )  # fmt: skip
    return token


async def test_records_come_as_lines_of_json_by_number_and_by_day(world: World) -> None:
    answer = await world.get("/api/providers?ukprns=10099001,10080446,10099999")
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert [one["UKPRN"] for one in found] == ["10080446", "10099001"]
    assert found[0]["PerformanceLinks"] == [{"title": "Figures", "page": "/schools/990001"}]
    assert len((await world.get("/api/providers?updatedSince=2020-01-01")).text.splitlines()) == 2
    assert (await world.get("/api/providers?updatedSince=2999-01-01")).text == ""
    first = await world.get("/api/providers?updatedSince=2020-01-01&limit=1")
    onward = re.fullmatch(r'<(.+)>; rel="next"', first.headers["Link"])
    assert onward
    [rest] = (await world.get(onward[1])).text.splitlines()
    assert json.loads(rest)["UKPRN"] == "10099001"


async def test_changes_come_in_pages_of_which_the_next_is_named(world: World, tmp_path: Path) -> None:
    later = extracts.write(
        tmp_path / "edubasealldata20260410.csv", [row(), *(row(990_100 + one) for one in range(5))]
    )
    await providers.load_file(world.conn, later)
    await world.conn.execute(
        """
        INSERT INTO providers.link_version (load, urn, relation, what, other, name, link_type, recorded_at)
        SELECT max(id), '990003', 'link', 'added', '990001', 'Fernside', 'Successor', now() FROM providers.load
        """
    )
    [whole] = [page async for page in _pages(world, "/api/providers/changes?since=0")]
    assert [json.loads(line)["value"] for line in whole] == [
        "997", "10099001", "990001", "990003", "990100", "990101", "990102", "990103", "990104",
    ]  # fmt: skip
    pages = [page async for page in _pages(world, "/api/providers/changes?since=0&limit=4")]
    assert [len(page) for page in pages] == [4, 4, 1]
    assert [line for page in pages for line in page] == whole
    # What is loaded meanwhile is in none of the pages that began before it.
    first = await world.get("/api/providers/changes?since=0&limit=8")
    await providers.load_file(
        world.conn, extracts.write(tmp_path / "edubasealldata20260510.csv", [row("990900")])
    )
    assert len((await world.get(_next(first))).text.splitlines()) == 1
    assert (await world.get("/api/providers/changes?since=0&upto=-1")).status_code == 400
    [newest] = (await world.get("/api/providers/changes")).text.splitlines()
    assert json.loads(newest)["value"] == "990900"
    for name in ("since", "upto", "limit"):
        told = await world.get(f"/api/providers/changes?{name}=x")
        assert (told.status_code, told.json()["code"]) == (400, "CR-085")
        assert f"`{name}` is not a whole number" in told.json()["remedy"]
    for path in ("/api/providers?updatedSince=2026-01-01&", "/api/providers/search?q=a&"):
        assert (await world.get(f"{path}limit=x")).json()["code"] == "CR-085"


async def _pages(world: World, path: str) -> AsyncIterator[list[str]]:
    """Page by page, as the header Link leads."""
    while path:
        answer = await world.get(path)
        yield answer.text.splitlines()
        path = _next(answer)


def _next(answer: Any) -> str:
    onward = re.fullmatch(r'<(.+)>; rel="next"', answer.headers.get("Link", ""))
    return onward[1] if onward else ""


async def test_one_record_names_states_and_searches_are_answered(world: World) -> None:
    assert (await world.get("/api/providers/10099001")).json()["ProviderName"] == RECORD["ProviderName"]
    found = (await world.get("/api/providers/search?q=saltmeer%20colege")).json()
    assert [(one["scheme"], one["urn"]) for one in found["found"]] == [("ukprn", "10099001")]
    assert found["count"] == 1
    state = (await world.get("/api/providers/urn/990001/state?on=2026-03-05")).json()
    assert state["facts"]["name"] == "Fernside Infant School"
    names = (await world.get("/api/providers/ukprn/10099001/names")).json()["names"]
    assert [one["use"] for one in names] == ["name", "trading name", "trading name"]
    changes = (await world.get("/api/providers/changes?since=1")).text.splitlines()
    assert [json.loads(line)["what"] for line in changes] == [["added"]]
    assert [one["number"] for one in (await world.get("/api/providers/loads")).json()["loads"]] == [2, 1]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/providers", 400, "CR-085"),
        ("/api/providers?ukprns=1009", 400, "CR-085"),
        ("/api/providers?updatedSince=yesterday", 400, "CR-085"),
        ("/api/providers?ukprns=" + ",".join(str(10000000 + n) for n in range(1001)), 400, "CR-085"),
        ("/api/providers/10099999", 404, "CR-005"),
        ("/api/providers/platform/warehouse/state?on=2026-01-01", 400, "CR-085"),
        ("/api/providers/urn/990001/state?on=1900-01-01", 404, "CR-005"),
        ("/api/providers/own", 401, "CR-006"),
        ("/providers/own/x", 404, "CR-005"),
        ("/my/provider", 401, "CR-006"),
    ],
)
async def test_questions_that_have_no_answer_are_told_why(
    world: World, path: str, status: int, code: str
) -> None:
    answer = await world.client.get(path, headers={"Accept": "application/json"})
    assert answer.status_code == status, answer.text
    if answer.headers["content-type"].startswith("application/"):
        assert answer.json()["code"] == code


async def test_a_nul_in_a_question_is_told_too(world: World) -> None:
    for path, status in {
        "/api/providers?updatedSince=2026-01-01&after=%00": 400,
        "/api/providers/changes?since=0&after=urn:%00": 400,
        "/api/providers/search?q=%00&la=%00": 400,
        "/api/providers/urn/%00/state?on=2026-01-01": 404,
        "/api/providers/urn/%00/names": 404,
    }.items():
        assert (await world.get(path)).status_code == status, path


async def test_a_provider_keeps_its_own_entries_and_no_later_file_changes_them(
    world: World, tmp_path: Path
) -> None:
    done = await world.put("college", {"own": OWN, "revision": 0})
    assert done.status_code == 200, done.text
    later = {
        **RECORD,
        "PrimaryContact": {"ContactRole": "Somebody else", "ContactEmail": "x@elsewhere.example"},
    }
    await providers.load_file(world.conn, write_lines(tmp_path / "ukrlp20990510.json", [later]))
    record = (await world.get("/api/providers/10099001")).json()
    assert record["Contacts"] == OWN["contacts"]
    assert record["Courses"] == OWN["courses"]
    assert record["PerformanceLinks"] == OWN["performance"]
    assert record["PrimaryContact"]["ContactEmail"] == "admissions@saltmere.example"
    stale = await world.put("college", {"own": {}, "revision": 0})
    assert (stale.status_code, stale.json()["code"]) == (409, "CR-084")
    emptied = await world.put("college", {"own": {}, "revision": done.json()["revision"]})
    assert emptied.json()["own"] == {}
    history = (await world.get("/api/providers/own", "college")).json()["history"]
    assert [len(state["facts"]) for state in history] == [3, 0]
    audit = await world.conn.fetch("SELECT party, rows FROM access.audit WHERE dataset = 'providers.own'")
    assert [tuple(one) for one in audit] == [(world.college, 3), (world.college, 0)]
    people = await world.conn.fetch("SELECT id::text FROM identity.person WHERE username = 'college'")
    assert {state["made_by"] for state in history} == {people[0]["id"]}


async def test_a_provider_cannot_keep_entries_of_another_nor_nobody_anything(world: World) -> None:
    done = await world.put("school", {"own": OWN, "revision": 0})
    assert done.status_code == 200
    assert (await world.get("/api/providers/10099001")).json()["Contacts"] == []
    assert (await world.get("/api/providers/10080446")).json()["Contacts"] == OWN["contacts"]
    facts = (await world.get("/schools/990001.json")).json()["facts"]
    assert facts["contacts"] == "Admissions, 01632 960123, admissions@saltmere.example"
    assert facts["courses"] == "Boat building"
    assert (await world.put("analyst", {"own": OWN, "revision": 0})).status_code == 403
    assert (
        await world.put("college", {"own": OWN, "revision": 0}, **{"X-Form-Token": "x"})
    ).status_code == 403
    assert (await world.client.put("/api/providers/own", content=b"{}")).status_code == 403


@pytest.mark.parametrize(
    "own",
    [
        {"contacts": [{"telephone": "01632 960123"}]},
        {"contacts": [{"role": "x", "telephone": "ring us"}]},
        {"contacts": [{"role": "x", "email": "not an address"}]},
        {"courses": [{"title": "x", "page": "javascript:alert(1)"}]},
        {"courses": [{"title": "x", "start": "soon"}]},
        {"courses": [{"title": "x" * 201}]},
        {"courses": [{"title": "x"}] * 2_001},
        {"performance": [{"title": "\u0007", "page": "https://a.example"}]},
        {"name": "We are somebody else now"},
    ],
)
async def test_entries_that_cannot_be_right_are_refused(world: World, own: Any) -> None:
    answer = await world.put("college", {"own": own, "revision": 0})
    assert (answer.status_code, answer.json()["code"]) == (422, "CR-083"), answer.text


async def test_the_form_keeps_shows_and_refuses(world: World) -> None:
    page = await world.get("/my/provider", "college")
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', page.text)
    assert token

    async def send(revision: int, **fields: str) -> Any:
        data = {**FORM, "form_token": token[1], "revision": str(revision), **fields}
        return await world.client.post(
            "/my/provider", data=data, headers=world.headers("college"), follow_redirects=False
        )

    assert (await send(0)).headers["location"] == "/my/provider?saved=1"
    shown = await world.get("/my/provider?saved=1", "college")
    assert "Your entries are kept." in shown.text
    assert "Admissions | 01632 960123 | admissions@saltmere.example\nExams office" in shown.text
    kept = await providers.own.kept(world.conn, world.college)
    assert [course.title for course in kept.own.courses] == ["Boat building"]
    bad = await send(kept.revision, contacts="Office | not a number")
    assert bad.status_code == 422
    assert "contact 1, telephone" in bad.text
    assert "Office | not a number" in bad.text
    assert (await send(0)).status_code == 409
    assert (await send(kept.revision, form_token="x")).status_code == 403
    assert (await providers.own.kept(world.conn, world.college)).revision == kept.revision


async def test_people_find_a_college_and_read_its_page(world: World) -> None:
    found = await world.get("/find?q=harbor+acadmy")
    assert '"/providers/ukprn/10099001"' in found.text
    page = await world.get("/providers/ukprn/10099001")
    assert ("UKRLP status" in page.text, "Ukrlp" in page.text) == (True, False)
    assert page.status_code == 200
    assert "SALTMERE COLLEGE LIMITED" in page.text
    as_json = await world.get("/providers/ukprn/10099001.json")
    assert as_json.json()["facts"]["ukprn"] == "10099001"
