"""Subscriptions over HTTP, and a letter's whole way from a school to a receiver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import message
from tests.unit.hub.conftest import Town
from tests.unit.hub.push_receiver import Receiver, receiver_here
from tests.waiting import until_async


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    return settings_with(settings, push_allow_networks="127.0.0.0/8")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiver_here() as receiver:
        yield receiver


async def ask(town: Town, who: str, method: str, path: str, **more: Any) -> httpx2.Response:
    """A request with the token of one of the town's clients."""
    token = await getattr(town, who)._current_token()
    async with httpx2.AsyncClient(base_url=town.url) as http:
        return await http.request(method, path, headers={"Authorization": f"Bearer {token}"}, **more)


async def test_a_letter_is_pushed_at_once_to_who_subscribed_and_consented(
    town: Town, receiver: Receiver
) -> None:
    made = await ask(town, "warehouse", "POST", "/subscriptions", json={"url": receiver.url})
    assert made.status_code == 201, made.text
    [asked] = receiver.got
    assert (asked.method, asked.path) == ("OPTIONS", "/in?a=%7Eb")
    assert asked.headers["webhook-request-origin"] == "127.0.0.1"
    async with httpx2.AsyncClient() as anybody:
        keys = (await anybody.get(f"{town.url}/push/keys")).json()
    assert made.json()["keys"] == keys
    assert keys[0]["key"].startswith("whpk_")
    receipt = await town.school.post(*message(town.county, b"\x00letter"))

    async def fate() -> bool:
        tracking = await town.school.track(receipt.message)
        return "acknowledged" in {each.state for each in tracking.deliveries}

    await until_async(fate, 10, "the letter being acknowledged by its receiver's 2xx")
    [push] = receiver.pushes
    assert (push.body, push.headers["commonroom-position"]) == (b"\x00letter", str(receipt.position))
    name = made.json()["id"]
    strangers = [await ask(town, "authority", verb, f"/subscriptions/{name}") for verb in ("GET", "DELETE")]
    assert [answer.status_code for answer in strangers] == [404, 404]
    assert (await ask(town, "authority", "GET", "/subscriptions")).json() == []
    assert (await ask(town, "warehouse", "GET", f"/subscriptions/{name}")).json()["url"] == receiver.url
    again = await ask(
        town, "warehouse", "POST", "/subscriptions", json={"url": receiver.url, "sign_v1": True}
    )
    assert (again.json()["id"], len(again.json()["secrets"])) == (name, 1)
    assert (await ask(town, "warehouse", "DELETE", f"/subscriptions/{name}")).status_code == 204
    assert (await ask(town, "warehouse", "GET", "/subscriptions")).json() == []


async def test_without_consent_or_with_a_forbidden_target_there_is_no_subscription(
    town: Town, receiver: Receiver
) -> None:
    receiver.consent = (200, {})
    closed = "http://127.0.0.1:9/in"
    wanted = [
        receiver.url,
        closed,
        "https://10.0.0.1/in",
        "http://8.8.8.8/in",
        "https://localhost.invalid/in",
    ]
    answers = await asyncio.gather(
        *(ask(town, "warehouse", "POST", "/subscriptions", json={"url": url}) for url in wanted)
    )
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (422, "CR-151"),
        (422, "CR-151"),
        (422, "CR-150"),
        (422, "CR-150"),
        (422, "CR-151"),
    ]
    wrong = {"url": receiver.url, "window": {"cron": "every day"}}
    assert (await ask(town, "warehouse", "POST", "/subscriptions", json=wrong)).status_code == 400
    assert (await ask(town, "warehouse", "GET", "/subscriptions")).json() == []
    assert (await ask(town, "warehouse", "DELETE", "/subscriptions/nonsense")).status_code == 404
