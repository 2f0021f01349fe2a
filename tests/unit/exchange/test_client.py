"""The client against a server that answers as told: what means 'later', what means 'no', and how tokens are kept.

The server is a plain socket, so that it can also break off, hang and lie; the client against the real hub is tested
with the hub.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from joserfc import jwt

from commonroom.exchange import (
    Client,
    Envelope,
    Receipt,
    Refusal,
    Unreachable,
    decode_batch,
    enrol,
    keys,
    make_http_client,
    signatures,
    wire,
)
from commonroom.exchange.client import SignInRefused
from commonroom.problems import Problem

ENVELOPE = Envelope(id="1", source="urn:x", type="t", datacontenttype="text/plain")
RECEIPT = {
    "message": "m",
    "id": "1",
    "position": 7,
    "recipients": ["urn:y"],
    "movement": "v",
    "repeated": False,
}
PROBLEM = {
    "code": "CR-999",
    "title": "No",
    "status": 403,
    "detail": "not so",
    "where": "ce-type",
    "remedy": "stop",
}
Answer = bytes | None


def signed_by(key_file: Path, envelope: Envelope, body: bytes) -> Envelope:
    """The envelope without its signature, once that is seen to be right."""
    key: Any = keys.load(key_file).raw_value
    assert signatures.is_right(envelope, hashlib.sha256(body).digest(), key.public_key())
    return msgspec.structs.replace(envelope, signature=None)


class Request:
    """What the server read."""

    def __init__(self, head: str, body: bytes) -> None:
        first, *lines = head.split("\r\n")
        self.method, self.path, _ = first.split(" ")
        self.headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)
        }
        self.body = body


class Server:
    """Answers each path from a list, in turn; the last answer stays. None: hang up without an answer."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {"/token": [token("token-1"), token("token-2")]}
        self.requests: list[Request] = []
        self.connections = 0
        self.url = ""

    def seen(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path.split("?")[0] == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer_one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
        length = next(
            (int(line[16:]) for line in head.lower().split("\r\n") if line.startswith("content-length: ")), 0
        )
        request = Request(head, await reader.readexactly(length))
        self.requests.append(request)
        waiting = self.answers[request.path.split("?")[0]]
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if answer is None:
            return False
        writer.write(answer)
        await writer.drain()
        return b"connection: close" not in answer


def reply(status: int, body: Any, **headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status} X",
        f"content-length: {len(content)}",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join(lines).replace("_", "-").encode() + b"\r\n\r\n" + content


def token(text: str, expires_in: int = 600) -> bytes:
    return reply(200, {"access_token": text, "token_type": "Bearer", "expires_in": expires_in})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield server
    listening.close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    keys.load_or_create(tmp_path / "key.pem")
    return tmp_path / "key.pem"


@asynccontextmanager
async def connected(server: Server, key_file: Path) -> AsyncIterator[Client]:
    async with Client(server.url, key_file, "end-point") as one:
        yield one


async def test_a_message_goes_out_in_binary_mode_with_a_token(server: Server, key_file: Path) -> None:
    server.answers["/messages"] = [reply(202, RECEIPT)]
    async with connected(server, key_file) as one:
        receipt = await one.post(ENVELOPE, b"\x00\xff")
    assert receipt == Receipt(message="m", id="1", position=7, recipients=["urn:y"], movement="v")
    (sent,) = server.seen("/messages")
    assert signed_by(key_file, Envelope.from_headers(sent.headers), sent.body) == ENVELOPE
    assert (sent.body, sent.headers["authorization"]) == (b"\x00\xff", "Bearer token-1")


async def test_the_token_is_asked_for_with_the_end_points_own_signature(
    server: Server, key_file: Path
) -> None:
    server.answers["/messages"] = [reply(202, RECEIPT)]
    async with connected(server, key_file) as one:
        await one.post(ENVELOPE, b"")
    form = httpx2.QueryParams(server.seen("/token")[0].body.decode())
    claims = jwt.decode(form["client_assertion"], keys.load(key_file), algorithms=["Ed25519"]).claims
    assert form["grant_type"] == "client_credentials"
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("end-point", "end-point", server.url)


async def test_one_token_serves_many_calls_at_once(server: Server, key_file: Path) -> None:
    server.answers["/messages"] = [reply(202, RECEIPT)]
    async with connected(server, key_file) as one:
        await asyncio.gather(*(one.post(ENVELOPE, b"") for _ in range(20)))
    assert len(server.seen("/token")) == 1


async def test_a_token_is_renewed_before_it_ends(server: Server, key_file: Path) -> None:
    server.answers["/token"] = [token("spent", 0), token("short", 0), token("long")]
    server.answers["/messages"] = [reply(202, RECEIPT)]
    async with connected(server, key_file) as one:
        await one.post(ENVELOPE, b"")
        await one.post(ENVELOPE, b"")
    assert [request.headers["authorization"] for request in server.seen("/messages")] == [
        "Bearer short",
        "Bearer long",
    ]


async def test_a_token_the_hub_no_longer_knows_is_renewed_once(server: Server, key_file: Path) -> None:
    server.answers["/messages"] = [reply(401, {**PROBLEM, "code": "CR-031"}), reply(202, RECEIPT)]
    async with connected(server, key_file) as one:
        await one.post(ENVELOPE, b"")
    assert [request.headers["authorization"] for request in server.seen("/messages")] == [
        "Bearer token-1",
        "Bearer token-2",
    ]


async def test_being_shut_out_is_no_fault_of_the_message(server: Server, key_file: Path) -> None:
    server.answers["/messages"] = [reply(401, PROBLEM)]
    async with connected(server, key_file) as one:
        with pytest.raises(SignInRefused) as caught:
            await one.post(ENVELOPE, b"")
        assert caught.value.problem.code == "CR-999"
        server.answers["/token"] = [reply(401, PROBLEM)]
        with pytest.raises(SignInRefused):
            await one.post(ENVELOPE, b"")
    assert len(server.seen("/messages")) == 2


@pytest.mark.parametrize(
    "answer",
    [
        reply(500, PROBLEM),
        reply(503, PROBLEM),
        reply(429, PROBLEM),
        reply(408, PROBLEM),
        reply(403, b"<html>blocked by the school's filter</html>"),
        reply(404, {"detail": "no such page"}),
        reply(407, b""),
        reply(302, PROBLEM, location="http://127.0.0.1:9/"),
        reply(400, {**PROBLEM, "code": "<script>"}),
        reply(400, b'{"code":'),
        reply(400, ["CR-001"]),
        reply(202, b"<html>please sign in to the wireless network</html>"),
        reply(202, {"message": 1}),
        reply(202, b"\xff"),
        b"HTTP/1.1 202 X\r\nconnection: close\r\ncontent-length: 500\r\n\r\n{",
        b"no http at all\r\nconnection: close\r\n\r\n",
        None,
    ],
)
async def test_whatever_is_not_the_hubs_own_no_means_later(
    server: Server, key_file: Path, answer: Answer
) -> None:
    server.answers["/messages"] = [answer]
    async with connected(server, key_file) as one:
        with pytest.raises(Unreachable):
            await one.post(ENVELOPE, b"")


async def test_the_wait_that_the_hub_asks_for_is_passed_on(server: Server, key_file: Path) -> None:
    server.answers["/messages"] = [reply(429, PROBLEM, retry_after="17")]
    async with connected(server, key_file) as one:
        with pytest.raises(Unreachable) as caught:
            await one.post(ENVELOPE, b"")
    assert caught.value.retry_after == 17


async def test_a_hub_that_is_down_means_later(server: Server, key_file: Path) -> None:
    async with Client("http://127.0.0.1:1", key_file, "end-point") as one:
        with pytest.raises(Unreachable):
            await one.pull(wait=0)


async def test_the_hubs_own_no_is_a_problem_with_its_words(server: Server, key_file: Path) -> None:
    server.answers["/messages"] = [reply(403, PROBLEM)]
    async with connected(server, key_file) as one:
        with pytest.raises(Problem) as caught:
            await one.post(ENVELOPE, b"")
    assert caught.value.as_json() == {"type": "urn:commonroom:problem:CR-999", **PROBLEM}


async def test_an_answer_without_end_is_cut_off(
    server: Server, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_ANSWER_BYTES", 1000)
    server.answers["/messages"] = [reply(202, b" " * 2000)]
    async with connected(server, key_file) as one:
        with pytest.raises(Unreachable, match="1000"):
            await one.post(ENVELOPE, b"")


async def test_each_message_of_a_batch_has_its_own_fate(server: Server, key_file: Path) -> None:
    server.answers["/messages:batch"] = [
        reply(200, {"results": [{"status": 202, "receipt": RECEIPT}, {"status": 403, "problem": PROBLEM}]})
    ]
    unsendable = Envelope(id="2", source="", type="t")
    refused = Envelope(id="3", source="s", type="t")
    async with connected(server, key_file) as one:
        fates = await one.post_batch([(ENVELOPE, b"a"), (unsendable, b"b"), (refused, b"c")])
    assert isinstance(fates[0], Receipt)
    assert [(fate.id, fate.problem.code) for fate in fates[1:] if isinstance(fate, Refusal)] == [
        ("2", "CR-020"),
        ("3", "CR-999"),
    ]
    (sent,) = server.seen("/messages:batch")
    items = [item for item in decode_batch(sent.body) if not isinstance(item, Problem)]
    assert [(signed_by(key_file, *item), item[1]) for item in items] == [(ENVELOPE, b"a"), (refused, b"c")]
    assert sent.headers["content-type"] == "application/cloudevents-batch+json"


@pytest.mark.parametrize(
    "result", [{"status": 403}, {"status": 500, "problem": PROBLEM}, {"status": 429, "problem": PROBLEM}]
)
async def test_a_batch_that_the_hub_could_not_finish_means_later(
    server: Server, key_file: Path, result: dict[str, Any]
) -> None:
    server.answers["/messages:batch"] = [reply(200, {"results": [result]})]
    async with connected(server, key_file) as one:
        with pytest.raises(Unreachable):
            await one.post_batch([(ENVELOPE, b"")])


async def test_an_empty_batch_asks_nothing_of_the_hub(server: Server, key_file: Path) -> None:
    async with connected(server, key_file) as one:
        assert await one.post_batch([]) == []
    assert server.requests == []


async def test_letters_come_out_of_the_mailbox_as_they_were_sent(server: Server, key_file: Path) -> None:
    item = {"specversion": "1.0", "id": "1", "source": "urn:x", "type": "t", "data_base64": "AP8="}
    letter = {
        "delivery": "d",
        "position": 9,
        "accepted_at": "2026-01-31T09:00:00Z",
        "attempt": 2,
        "message": item,
    }
    server.answers["/mailbox"] = [reply(200, {"letters": [letter]})]
    async with connected(server, key_file) as one:
        (received,) = await one.pull(limit=5, wait=1.5)
    assert (received.envelope, received.body) == (Envelope(id="1", source="urn:x", type="t"), b"\x00\xff")
    assert (received.delivery, received.position, received.attempt) == ("d", 9, 2)
    assert received.accepted_at == datetime(2026, 1, 31, 9, tzinfo=UTC)
    assert server.seen("/mailbox")[0].path == "/mailbox?limit=5&wait=1.5"


async def test_the_four_verbs_name_their_deliveries(server: Server, key_file: Path) -> None:
    for verb in ("acknowledge", "refuse", "extend", "release"):
        server.answers[f"/mailbox/{verb}"] = [reply(200, {"settled": ["d"], "ignored": []})]
    async with connected(server, key_file) as one:
        await one.acknowledge(["d"])
        await one.refuse("d", "x" * 5000)
        await one.extend(["d"], 30)
        assert (await one.release(["d"])).settled == ["d"]
    bodies = [json.loads(request.body) for request in server.requests if request.path.startswith("/mailbox")]
    assert bodies == [
        {"deliveries": ["d"]},
        {"deliveries": ["d"], "reason": "x" * 1000},
        {"deliveries": ["d"], "seconds": 30},
        {"deliveries": ["d"]},
    ]


async def test_enrolment_sends_the_public_key_only_and_keeps_one_key(server: Server, tmp_path: Path) -> None:
    server.answers["/end-points"] = [None, reply(201, {"end_point": "e", "party": "p"})]
    key_file = tmp_path / "new" / "key.pem"
    with pytest.raises(Unreachable):
        await enrol(server.url, "code", key_file, "agent")
    enrolment = await enrol(server.url + "/", "code", key_file, "agent")
    assert (enrolment.end_point, enrolment.party) == ("e", "p")
    sent = [json.loads(request.body) for request in server.seen("/end-points")]
    assert (
        sent[0] == sent[1] == {"code": "code", "name": "agent", "jwk": keys.public_jwk(keys.load(key_file))}
    )
    assert "d" not in sent[0]["jwk"]


async def test_many_clients_share_one_pool(server: Server, tmp_path: Path) -> None:
    server.answers["/token"] = [token("t")]
    server.answers["/mailbox"] = [reply(200, {"letters": []})]
    http = make_http_client(4)
    clients = []
    for number in range(30):
        keys.load_or_create(tmp_path / f"{number}.pem")
        clients.append(Client(server.url, tmp_path / f"{number}.pem", f"e{number}", http=http))
    assert await asyncio.gather(*(one.pull(wait=0) for one in clients)) == [[]] * 30
    for one in clients:
        await one.aclose()
    assert not http.is_closed
    assert server.connections <= 4
    await http.aclose()
