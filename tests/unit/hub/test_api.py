"""The HTTP face: every refusal is problem JSON with a code and a remedy, limits hold, and nothing is shown by default."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import message
from tests.signing import signed
from tests.unit.hub.conftest import Town

LIMIT = 2_000
BATCH_LIMIT = 20_000


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    return settings_with(settings, max_body_bytes=LIMIT, max_batch_bytes=BATCH_LIMIT)


@pytest.fixture
async def http(town: Town) -> AsyncIterator[httpx2.AsyncClient]:
    """A plain HTTP client that carries the school's token."""
    token = await town.school._current_token()
    async with httpx2.AsyncClient(base_url=town.url, headers={"authorization": f"Bearer {token}"}) as client:
        yield client


def refused(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem in an answer that must be one."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:commonroom:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["remedy"]
    return problem


CLOSED = [
    ("POST", "/messages"),
    ("POST", "/messages:batch"),
    ("GET", "/mailbox"),
    ("POST", "/mailbox/acknowledge"),
    ("POST", "/mailbox/refuse"),
    ("POST", "/mailbox/extend"),
    ("POST", "/mailbox/release"),
    ("GET", "/messages/0199d5a0-0000-7000-8000-000000000000"),
    ("GET", "/movements"),
]


BODIES: dict[str, dict[str, object]] = {
    "/mailbox/acknowledge": {"deliveries": ["x"]},
    "/mailbox/refuse": {"deliveries": ["x"], "reason": "r"},
    "/mailbox/extend": {"deliveries": ["x"], "seconds": 1},
    "/mailbox/release": {"deliveries": ["x"]},
}


@pytest.mark.parametrize("authorization", [None, "Bearer", "Basic abc", "Bearer not.a.token"])
async def test_nothing_is_open_without_a_token(town: Town, authorization: str | None) -> None:
    headers = {"authorization": authorization} if authorization else {}
    async with httpx2.AsyncClient(base_url=town.url) as client:
        for method, path in CLOSED:
            response = await client.request(method, path, headers=headers, json=BODIES.get(path))
            refused(response, 401, "CR-031")
            assert response.headers["www-authenticate"] == "Bearer"


async def test_a_body_over_the_limit_is_refused_with_a_remedy(town: Town, http: httpx2.AsyncClient) -> None:
    envelope, _ = message(town.county)
    body = b"x" * LIMIT
    fits = await http.post(
        "/messages", headers=signed(town.school, envelope, body).to_headers(), content=body
    )
    assert fits.status_code == 202
    refused(
        await http.post("/messages", headers=envelope.to_headers(), content=b"x" * (LIMIT + 1)), 413, "CR-046"
    )


async def test_a_body_without_a_stated_length_is_stopped_at_the_limit(
    town: Town, http: httpx2.AsyncClient
) -> None:
    envelope, _ = message(town.county)
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1_000
            yield b"x" * 1_000

    refused(await http.post("/messages", headers=envelope.to_headers(), content=chunks()), 413, "CR-046")


async def test_a_batch_over_its_limit_is_refused_whole_and_an_item_over_the_limit_alone(
    town: Town, http: httpx2.AsyncClient
) -> None:
    headers = {"content-type": "application/cloudevents-batch+json"}
    refused(
        await http.post("/messages:batch", headers=headers, content=b" " * (BATCH_LIMIT + 1)), 413, "CR-046"
    )
    results = await town.school.post_batch([message(town.county, b"x" * (LIMIT + 1)), message(town.county)])
    assert [getattr(getattr(result, "problem", None), "code", "accepted") for result in results] == [
        "CR-046",
        "accepted",
    ]


NO_BATCHES = [
    ("application/json", b"[]", 415),
    ("application/cloudevents-batch+json", b"[]", 400),
    ("application/cloudevents-batch+json", b"{", 400),
    ("application/cloudevents-batch+json", b"[" + b"1," * 500 + b"1]", 400),
]


async def test_what_is_no_batch_is_refused(http: httpx2.AsyncClient) -> None:
    for content_type, body, status in NO_BATCHES:
        response = await http.post("/messages:batch", headers={"content-type": content_type}, content=body)
        refused(response, status, "CR-022")


async def test_a_bad_item_of_a_batch_is_named_by_its_place(town: Town, http: httpx2.AsyncClient) -> None:
    envelope, body = message(town.county)
    good = json.loads(_batch_item(signed(town.school, envelope, body), body))
    items = [good, {**good, "id": "a\u0000b"}, {**good, "data": "plain"}, 7]
    response = await http.post(
        "/messages:batch",
        headers={"content-type": "application/cloudevents-batch+json"},
        content=json.dumps(items).encode(),
    )
    results = response.json()["results"]
    assert [result["status"] for result in results] == [202, 400, 400, 400]
    assert results[1]["problem"]["where"].startswith("item 1")


def _batch_item(envelope: Any, body: bytes) -> bytes:
    import msgspec

    return msgspec.json.encode(envelope.to_batch_item(body))


async def test_a_missing_header_and_a_wrong_digest_are_named(town: Town, http: httpx2.AsyncClient) -> None:
    envelope, body = message(town.county)
    headers = envelope.to_headers()
    missing = {name: value for name, value in headers.items() if name != "ce-type"}
    assert (
        refused(await http.post("/messages", headers=missing, content=body), 400, "CR-020")["where"]
        == "ce-type"
    )
    wrong = {**headers, "ce-bodydigest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"}
    refused(await http.post("/messages", headers=wrong, content=body), 400, "CR-021")


async def test_a_mailbox_request_out_of_bounds_is_refused(http: httpx2.AsyncClient) -> None:
    for query in ("limit=0", "limit=501", "limit=x", "wait=-1", "wait=61"):
        problem = refused(await http.get(f"/mailbox?{query}"), 400, "CR-050")
        assert query.partition("=")[0] in problem["detail"]


async def test_a_malformed_settlement_is_refused(http: httpx2.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    for body in (
        b"{",
        b"{}",
        b'{"deliveries": []}',
        b'{"deliveries": ["a"], "more": 1}',
        b'{"deliveries": "a"}',
    ):
        refused(await http.post("/mailbox/acknowledge", headers=headers, content=body), 400, "CR-050")


async def test_paths_and_methods_that_do_not_exist_are_problems_too(http: httpx2.AsyncClient) -> None:
    refused(await http.get("/nothing"), 404, "CR-005")
    refused(await http.delete("/mailbox"), 405, "CR-005")


async def test_a_caller_sees_its_own_movements_and_nobody_elses(town: Town, http: httpx2.AsyncClient) -> None:
    ids = [listed["movement"]["id"] for listed in (await http.get("/movements")).json()]
    assert ids == ["attendance", "ended", "transfers"]
    token = await town.authority._current_token()
    theirs = await http.get("/movements", headers={"authorization": f"Bearer {token}"})
    assert [listed["movement"]["id"] for listed in theirs.json()] == ["attendance"]


async def test_the_token_endpoint_takes_a_signed_assertion_and_nothing_else(town: Town) -> None:
    async with httpx2.AsyncClient(base_url=town.url) as client:
        response = await client.post(
            "/token", data={"grant_type": "password", "username": "a", "password": "b"}
        )
        assert refused(response, 400, "CR-050")["error"] == "unsupported_grant_type"
        response = await client.post(
            "/token",
            data={
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": "x.y.z",
            },
        )
        assert refused(response, 401, "CR-030")["error"] == "invalid_client"


async def test_the_description_of_the_interface_is_served_without_any_outside_asset(town: Town) -> None:
    async with httpx2.AsyncClient(base_url=town.url) as client:
        for path in ("/schema", "/schema/openapi.json"):
            response = await client.get(path)
            assert response.status_code == 200
            assert "json" in response.headers["content-type"]
            assert "http://" not in response.text.replace("http://localhost", "")
            assert "https://" not in response.text
        document = response.json()
        for viewer in ("swagger", "redoc", "scalar", "elements", "rapidoc"):
            assert (await client.get(f"/schema/{viewer}")).status_code == 404
    assert {"/messages", "/messages:batch", "/mailbox", "/token", "/end-points"} <= set(document["paths"])
    headers = {parameter["name"] for parameter in document["paths"]["/messages"]["post"]["parameters"]}
    assert {"ce-id", "ce-source", "ce-type", "ce-specversion", "ce-recipient"} <= headers


async def test_metrics_count_messages_and_name_no_party(town: Town, http: httpx2.AsyncClient) -> None:
    envelope, body = message(town.county)
    for _ in range(2):
        await town.school.post(envelope, body)
    await http.get("/nothing")
    text = (await http.get("/metrics")).text
    assert "hub_accepted_total 1.0" in text
    assert "hub_repeated_total 1.0" in text
    assert 'hub_problems_total{code="CR-005"} 1.0' in text
    assert "urn:commonroom:org" not in text
    assert (await http.get("/health")).json() == {"status": "ok"}
