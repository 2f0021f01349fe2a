"""Software of others at the hub's doors: the official CloudEvents SDK writes what we take and reads what we give."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from commonroom.exchange import Client, Envelope, signatures
from commonroom.exchange.contract import BATCH_TYPE
from commonroom.exchange.envelope import decode_batch
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import message
from tests.unit.hub.conftest import Town
from tests.unit.hub.push_receiver import Receiver, receiver_here
from tests.waiting import until_async

JSON = JSONFormat()
BODY = bytes(range(256)) + "no letter: \u00fc".encode()


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    return settings_with(settings, push_allow_networks="127.0.0.0/8")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiver_here() as receiver:
        yield receiver


def event_of(town: Town, body: bytes = BODY) -> CloudEvent:
    """An event as the SDK's user makes it; the signature is one more extension, which any JOSE library can make."""
    envelope, _ = message(town.county, body)
    attributes: dict[str, Any] = {
        "id": envelope.id,
        "source": town.county.school,
        "type": envelope.type,
        "time": datetime(2026, 9, 14, 8, 55, tzinfo=UTC),
        "subject": 'school day "ü" 100 %',
        "dataschema": "urn:commonroom:standard:2026.1",
        "datacontenttype": "application/octet-stream",
        "dataclassification": "confidential",
        "correlationid": "term \u2603",
    }
    signed = _signed(town.school, Envelope(**attributes), body)
    return CloudEvent({**attributes, "signature": signed.signature}, body)


async def ask(town: Town, who: str, method: str, path: str, **more: Any) -> httpx2.Response:
    """A request with the token of one of the town's clients."""
    token = await getattr(town, who)._current_token()
    headers = {"authorization": f"Bearer {token}", **more.pop("headers", {})}
    async with httpx2.AsyncClient(base_url=town.url) as http:
        return await http.request(method, path, headers=headers, **more)


async def test_an_event_of_the_sdk_goes_in_by_headers_and_comes_out_to_the_sdk_as_it_was(
    town: Town, receiver: Receiver
) -> None:
    made = await ask(town, "warehouse", "POST", "/subscriptions", json={"url": receiver.url})
    assert made.status_code == 201, made.text
    event = event_of(town)
    sent = to_binary(event, JSON)
    answer = await ask(town, "school", "POST", "/messages", headers=sent.headers, content=sent.body)
    assert answer.status_code == 202, answer.text

    async def pushed() -> bool:
        return bool(receiver.pushes)

    await until_async(pushed, 10, "the letter being pushed")
    [push] = receiver.pushes
    _assert_same(from_http(HTTPMessage(push.headers, push.body), JSON), event)
    # To the other recipient it comes as an item of JSON.
    mail = (await ask(town, "authority", "GET", "/mailbox?wait=5")).json()
    _assert_same(JSON.read(None, msgspec.json.encode(mail["letters"][0]["message"])), event)


async def test_a_batch_of_the_sdk_goes_in_and_comes_out(town: Town) -> None:
    events = [event_of(town, bytes([number]) * number) for number in range(1, 20)]
    batch = b"[" + b",".join(JSON.write(event) for event in events) + b"]"
    answer = await ask(
        town, "school", "POST", "/messages:batch", headers={"content-type": BATCH_TYPE}, content=batch
    )
    assert [result["status"] for result in answer.json()["results"]] == [202] * len(events), answer.text
    mail = (await ask(town, "warehouse", "GET", "/mailbox?wait=5")).json()
    for letter, event in zip(mail["letters"], events, strict=True):
        _assert_same(JSON.read(None, msgspec.json.encode(letter["message"])), event)


WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=80)


@given(subject=WORDS, partition=WORDS, body=st.binary(min_size=1, max_size=500))
@settings(max_examples=100, deadline=None)
def test_whatever_words_we_write_the_sdk_reads_them_and_the_other_way_round(
    subject: str, partition: str, body: bytes
) -> None:
    envelope = Envelope(id="1", source="urn:x", type="t", subject=subject, partitionkey=partition)
    headers = envelope.to_headers()
    read = from_http(HTTPMessage({**headers, "content-type": "application/octet-stream"}, body), JSON)
    assert (read.get_subject(), read.get_extension("partitionkey")) == (subject, partition)
    data = read.get_data()
    assert (data.encode() if isinstance(data, str) else data) == body  # what is UTF-8 the SDK gives as text
    assert Envelope.from_headers(to_binary(read, JSON).headers).subject == subject
    [(again, same)] = decode_batch(b"[" + JSON.write(CloudEvent(read.get_attributes(), body)) + b"]")
    assert (again.partitionkey, same) == (partition, body)


def _assert_same(found: Any, event: CloudEvent) -> None:
    assert found.get_data() == event.get_data()
    assert found.get_attributes() == event.get_attributes()


def _signed(client: Client, envelope: Envelope, body: bytes) -> Envelope:
    return signatures.sign(envelope, hashlib.sha256(body).digest(), client._keys.file.current())
