"""The hot requests are answered alike with and without the framework."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.hub_server import message
from tests.signing import signed
from tests.unit.hub.conftest import Town

# The framework's way to the same answer: a form that the fast path does not take.
NOT_PLAIN = {"transfer-encoding": "chunked"}


@pytest.fixture
async def token(town: Town) -> dict[str, str]:
    return {"authorization": f"Bearer {await town.warehouse._current_token()}"}


async def test_the_same_look_is_answered_alike_both_ways(town: Town, token: dict[str, str]) -> None:
    await town.school.post_batch([message(town.county) for _ in range(2)])
    async with httpx2.AsyncClient(base_url=town.url, headers=token) as http:
        plain = await http.get("/mailbox?limit=1&wait=0&kind=all")
        other = await http.get("/mailbox?limit=%31&wait=0&kind=all")  # the same, but not plainly
        assert (plain.status_code, other.status_code) == (200, 200)
        assert _names(plain) == _names(other)
        letters = [answer.json()["letters"][0] for answer in (plain, other)]
        assert letters[0].keys() == letters[1].keys()
        assert [letter["sequence"] for letter in letters] == [1, 2]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "wait=61", "wait=-1", "kind=parcels", "limit=1&limit=2x"]
)
async def test_a_look_of_the_wrong_form_is_refused(town: Town, token: dict[str, str], query: str) -> None:
    async with httpx2.AsyncClient(base_url=town.url, headers=token) as http:
        answer = await http.get(f"/mailbox?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "CR-050"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"deliveries": []}', b'{"deliveries": ["x"], "more": 1}']
)
async def test_what_is_no_acknowledgement_is_refused(town: Town, token: dict[str, str], body: bytes) -> None:
    async with httpx2.AsyncClient(base_url=town.url, headers=token) as http:
        answer = await http.post("/mailbox/acknowledge", content=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "CR-050"


async def test_a_message_and_its_acknowledgement_are_answered_alike_both_ways(town: Town) -> None:
    answers: list[list[Any]] = []
    for headers in ({}, NOT_PLAIN):
        envelope, body = message(town.county)
        sent = signed(town.school, envelope, body)
        posted = await _send(
            town, await town.school._current_token(), "/messages", sent.to_headers(), body, headers
        )
        [letter] = await town.warehouse.pull(1, 0)
        given = f'{{"deliveries": ["{letter.delivery}"]}}'.encode()
        told = await _send(
            town, await town.warehouse._current_token(), "/mailbox/acknowledge", {}, given, headers
        )
        assert told.json() == {"settled": [letter.delivery], "ignored": []}
        answers.append([(one.status_code, _names(one), one.json().keys()) for one in (posted, told)])
    assert answers[0] == answers[1]


async def _send(
    town: Town, token: str, path: str, given: dict[str, str], body: bytes, more: dict[str, str]
) -> httpx2.Response:
    headers = {**given, "authorization": f"Bearer {token}"}

    async def chunks() -> Any:
        yield body

    async with httpx2.AsyncClient(base_url=town.url) as http:
        return await http.post(path, headers=headers, content=chunks() if more else body)


def _names(answer: httpx2.Response) -> dict[str, str]:
    """The headers that do not differ from answer to answer."""
    return {name: value for name, value in answer.headers.items() if name not in ("date", "content-length")}
