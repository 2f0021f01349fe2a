"""The load: requests made ready before the clock starts (signed, encoded), then sent by as many connections as asked."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from commonroom.exchange import Envelope
from commonroom.exchange.contract import BATCH_TYPE
from commonroom.exchange.envelope import encode_batch
from commonroom.exchange.signatures import sign, sign_batch
from commonroom.ids import uuid7
from hub_bench.client import Http, encoded
from hub_bench.installation import TO_NEXT, Station

BODY_BYTES = 1024


class Ready(msgspec.Struct, frozen=True):
    """One request as it will be sent."""

    request: bytes
    messages: int
    ids: tuple[str, ...]


class _Result(msgspec.Struct, frozen=True):
    status: int


class _Results(msgspec.Struct, frozen=True):
    results: list[_Result]


class _Envelope(msgspec.Struct, frozen=True):
    id: str


class GotLetter(msgspec.Struct, frozen=True):
    """What the load reads of a letter."""

    delivery: str
    message: _Envelope
    accepted_at: datetime


class _Letters(msgspec.Struct, frozen=True):
    letters: list[GotLetter]


_RESULTS = msgspec.json.Decoder(_Results)
_LETTERS = msgspec.json.Decoder(_Letters)


def ready_single(station: Station, kind: str) -> Ready:
    """One signed message in one request."""
    envelope, body = _message(station, kind)
    envelope = sign(envelope, hashlib.sha256(body).digest(), station.key)
    headers = {**station.headers, **envelope.to_headers()}
    return Ready(encoded("POST", "/messages", headers, body), 1, (envelope.id,))


def ready_batch(station: Station, kind: str, size: int, *, sign_each: bool = False) -> Ready:
    """So many messages in one request, with one signature for all unless each is to have its own."""
    messages = [_message(station, kind) for _ in range(size)]
    digests = [(envelope, hashlib.sha256(body).digest()) for envelope, body in messages]
    if sign_each:
        envelopes = [sign(envelope, digest, station.key) for envelope, digest in digests]
    else:
        envelopes = sign_batch(digests, station.key)
    headers = {**station.headers, "content-type": BATCH_TYPE}
    body = encode_batch(zip(envelopes, (body for _, body in messages), strict=True))
    request = encoded("POST", "/messages:batch", headers, body)
    return Ready(request, size, tuple(envelope.id for envelope in envelopes))


def _message(station: Station, kind: str) -> tuple[Envelope, bytes]:
    body = os.urandom(BODY_BYTES)
    envelope = Envelope(
        id=str(uuid7()),
        source=station.party,
        type=kind,
        datacontenttype="application/octet-stream",
        recipient=station.next_party if kind == TO_NEXT else None,
    )
    return envelope, body


async def post(http: Http, request: Ready) -> int:
    """Send it; how many messages. Raises RuntimeError when any was not accepted: a refusal is no speed."""
    status, body = await http.ask(request.request)
    if status >= 300:
        raise RuntimeError(f"{status}: {body[:300]!r}")
    if request.messages > 1:
        refused = [one.status for one in _RESULTS.decode(body).results if one.status != 202]
        if refused:
            raise RuntimeError(f"{len(refused)} messages of a batch refused: {body[:300]!r}")
    return request.messages


async def send_all(http: Http, requests: Iterable[Ready], workers: int) -> int:
    """All requests by so many workers at the same time; how many messages."""
    left = deque(requests)

    async def work() -> int:
        sent = 0
        while left:
            sent += await post(http, left.popleft())
        return sent

    return sum(await asyncio.gather(*(work() for _ in range(workers))))


async def receive(http: Http, station: Station, limit: int, wait: float = 0) -> list[GotLetter]:
    """One look into the mailbox."""
    query = f"/mailbox?kind=letters&limit={limit}&wait={wait}"
    status, body = await http.ask(encoded("GET", query, station.headers))
    if status != 200:
        raise RuntimeError(f"{status}: {body[:300]!r}")
    return _LETTERS.decode(body).letters


async def acknowledge(http: Http, station: Station, letters: Sequence[GotLetter]) -> int:
    """All these letters in one request; how many."""
    body = msgspec.json.encode({"deliveries": [letter.delivery for letter in letters]})
    headers = {**station.headers, "content-type": "application/json"}
    status, text = await http.ask(encoded("POST", "/mailbox/acknowledge", headers, body))
    if status != 200 or msgspec.json.decode(text)["ignored"]:
        raise RuntimeError(f"{status}: {text[:300]!r}")
    return len(letters)


async def drain(http: Http, stations: Sequence[Station], limit: int) -> int:
    """Receive and acknowledge until every mailbox is empty, one worker a mailbox; how many letters."""

    async def empty(station: Station) -> int:
        done = 0
        while letters := await receive(http, station, limit):
            done += await acknowledge(http, station, letters)
        return done

    return sum(await asyncio.gather(*(empty(station) for station in stations)))


class Latencies(msgspec.Struct):
    """Of letters at a steady rate, in milliseconds."""

    from_answer: list[float]  # from the sender reading its 202 to the recipient having the letter
    from_send: list[float]  # from the send to the recipient having the letter
    seconds: float  # from the first send to the last receipt
    late: int  # sends more than 50 ms behind the plan: the load generator's own fault


async def at_rate(
    http: Http, requests: Sequence[Ready], stations: Sequence[Station], rate: float
) -> Latencies:
    """Send by the clock, whatever the answers take, while the recipients wait in long polls."""
    sent: dict[str, float] = {}
    answered: dict[str, float] = {}
    received: dict[str, float] = {}
    late = 0

    async def collect(station: Station) -> None:
        while True:
            letters = await receive(http, station, 100, wait=5)
            now = time.perf_counter()
            received.update((letter.message.id, now) for letter in letters)
            if letters:
                await acknowledge(http, station, letters)

    async def send(request: Ready, due: float) -> None:
        nonlocal late
        sent[request.ids[0]] = now = time.perf_counter()
        late += now - due > 0.05
        await post(http, request)
        answered[request.ids[0]] = time.perf_counter()

    collectors = [asyncio.create_task(collect(station)) for station in stations]
    begun = time.perf_counter()
    sends = []
    for number, request in enumerate(requests):
        due = begun + number / rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        sends.append(asyncio.create_task(send(request, due)))
    await asyncio.gather(*sends)
    async with asyncio.timeout(60):
        while len(received) < len(requests):  # noqa: ASYNC110 - a plain count is watched
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # the last acknowledgements
    for collector in collectors:
        collector.cancel()
    await asyncio.gather(*collectors, return_exceptions=True)
    return Latencies(
        from_answer=[1000 * max(0.0, received[name] - answered[name]) for name in answered],
        from_send=[1000 * (received[name] - sent[name]) for name in sent],
        seconds=max(received.values()) - begun,
        late=late,
    )
