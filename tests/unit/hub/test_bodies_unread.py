"""The same bytes come out: random, encrypted, empty or hostile, alone or in a batch, pulled or pushed."""

from __future__ import annotations

import base64
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import zstandard

from commonroom.exchange import Envelope, Receipt
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import SmallCounty, message
from tests.unit.hub.conftest import Town
from tests.unit.hub.push_receiver import Receiver, receiver_here
from tests.waiting import until_async

SEED = 7
MEGABYTE = 1_048_576
# What something on the way might be tempted to understand, decode, trim or normalise.
TEMPTING = {
    "nothing": b"",
    "a NUL": b"\x00",
    "line ends": b"\r\n\n\r \t",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "no UTF-8": b"\xff\xfe\x80\xc3\x28",
    "JSON with spaces and a twin key": b'{ "a":1.0, "a": 1e400 }  ',
    "XML with an entity": b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>',
    "base64": base64.b64encode(b"letter") + b"\n",
    "compressed twice": zlib.compress(zlib.compress(b"a" * 10_000)),
    "a zstd frame cut short": zstandard.compress(b"a" * 1_000)[:-3],
    "percent signs": b"%41%zz%",
    "SQL": b"'; DROP TABLE hub.message; --\\x00",
    "composed and decomposed letters": "\u00e9 e\u0301 \u2028".encode(),
}


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    return settings_with(settings, push_allow_networks="127.0.0.0/8")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiver_here() as receiver:
        yield receiver


def bodies() -> list[bytes]:
    """All of them: every size from 0 to 40, powers of two and their neighbours, up to the largest, and the tempting."""
    dice = random.Random(SEED)
    sizes = [*range(40), *(2**n + more for n in range(6, 20) for more in (-1, 0, 1)), MEGABYTE]
    return [*(dice.randbytes(size) for size in sizes), *TEMPTING.values()]


async def test_random_and_tempting_bodies_come_out_bit_for_bit_however_they_went_in(
    town: Town, receiver: Receiver
) -> None:
    await _subscribe(town, receiver)
    sent = {envelope.id: body for envelope, body in _messages(town.county, bodies())}
    for name, body in sent.items():
        envelope, _ = message(town.county, body, id=name)
        await town.school.post(envelope, body)
    in_batch = _messages(town.county, bodies())
    for first in range(0, len(in_batch), 50):
        results = await town.school.post_batch(in_batch[first : first + 50])
        assert all(isinstance(result, Receipt) for result in results)
    sent |= {envelope.id: body for envelope, body in in_batch}

    pulled = {letter.envelope.id: letter.body for letter in await _pull_all(town, len(sent))}
    assert pulled == sent

    async def all_pushed() -> bool:
        return len(receiver.pushes) >= len(sent)

    await until_async(all_pushed, 60, "every letter being pushed")
    assert {push.headers["ce-id"]: push.body for push in receiver.pushes} == sent


async def test_encrypted_bodies_come_out_bit_for_bit_and_open_to_what_was_sealed(
    town: Town, receiver: Receiver
) -> None:
    await _subscribe(town, receiver)
    for recipient in (town.authority, town.warehouse):
        await recipient.publish_encryption_key()
    plain = _messages(town.county, bodies()[::5])
    sealed = [await town.school.seal(envelope, body) for envelope, body in plain]
    for envelope, body in sealed:
        await town.school.post(envelope, body)
    ciphertexts = {envelope.id: body for envelope, body in sealed}

    async def all_pushed() -> bool:
        return len(receiver.pushes) >= len(sealed)

    await until_async(all_pushed, 60, "every letter being pushed")
    assert {push.headers["ce-id"]: push.body for push in receiver.pushes} == ciphertexts
    opened = {letter.envelope.id: letter.body for letter in await _pull_all(town, len(sealed))}
    assert opened == {envelope.id: body for envelope, body in plain}


def _messages(county: SmallCounty, found: list[bytes]) -> list[tuple[Envelope, bytes]]:
    return [message(county, body) for body in found]


async def _pull_all(town: Town, number: int) -> list[Any]:
    letters: list[Any] = []
    while len(letters) < number and (found := await town.authority.pull(500, 5)):
        letters += found
        await town.authority.acknowledge([letter.delivery for letter in found])
    return letters


async def _subscribe(town: Town, receiver: Receiver) -> None:
    token = await town.warehouse._current_token()
    async with httpx2.AsyncClient(base_url=town.url) as http:
        made = await http.post(
            "/subscriptions", json={"url": receiver.url}, headers={"Authorization": f"Bearer {token}"}
        )
    assert made.status_code == 201, made.text
