"""The client with which an end point reaches a hub: enrol, post, pull, acknowledge, refuse, track.

Every call either succeeds, raises `Unreachable` (nothing is wrong with what was sent: try again later) or raises
`Problem` (the hub understood and refuses: trying again will not help). Every send may be repeated safely.
What is in a message, and where it waits before it is sent, never enters.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx2
import msgspec
from joserfc.jwk import OKPKey

from commonroom.exchange import contract, keys, large_bodies
from commonroom.exchange.cuts import Unreachable
from commonroom.exchange.envelope import Envelope, check, encode_batch
from commonroom.problems import CODES, Problem

T = TypeVar("T")

MAX_ANSWER_BYTES = 128 * 1024 * 1024  # a mailbox answer may hold many bodies; nothing honest is larger
RENEW_BEFORE_SECONDS = 60.0
RETRY_LATER = frozenset({408, 425, 429})  # 4xx that say nothing about the message
TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class SignInRefused(Unreachable):
    """The hub does not let this end point in (key, clock or registration). No message is at fault; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A leased message from the mailbox."""

    envelope: Envelope
    body: bytes  # empty when the body is large
    delivery: str  # to acknowledge or refuse it by
    position: int  # the hub's order of acceptance
    accepted_at: datetime  # when the hub accepted it
    attempt: int  # 1 the first time it is delivered
    stored: contract.StoredBody | None = None  # set when the body is large: `Client.fetch_body` fetches it


class Refusal(msgspec.Struct, frozen=True):
    """One item of a batch that the hub will not take."""

    id: str  # of the envelope
    problem: Problem


def make_http_client(connections: int = 100) -> httpx2.AsyncClient:
    """A pool that many `Client`s may share; each waiting long-poll holds one connection. Close it with `aclose()`."""
    limits = httpx2.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=60
    )
    return httpx2.AsyncClient(
        timeout=TIMEOUT,
        limits=limits,
        follow_redirects=False,
        headers={"accept-encoding": "identity"},
        mounts={
            f"all://{host}": None for host in LOOPBACK
        },  # a proxy of the machine's is not for its own hub
    )


async def enrol(
    hub_url: str, code: str, key_file: Path, name: str, *, http: httpx2.AsyncClient | None = None
) -> contract.Enrolment:
    """Register this end point with a one-time code; its key is made at `key_file` when there is none.

    Safe to repeat with the same code and key file: the hub answers the same again. Raises Unreachable, Problem.
    """
    key = keys.load_or_create(key_file)
    request = contract.EnrolRequest(code=code, name=name, jwk=keys.public_jwk(key))
    url, body = f"{hub_url.rstrip('/')}/end-points", msgspec.json.encode(request)
    headers = {"content-type": "application/json"}
    if http is not None:
        status, text = await _call(http, "POST", url, headers, body)
    else:
        async with make_http_client(1) as own:
            status, text = await _call(own, "POST", url, headers, body)
    return _answer(status, text, contract.Enrolment)


class Client:
    """One end point's connection to its hub. Give `http` (see `make_http_client`) to share a pool among many.

    `hub_url` is the address the hub knows itself by (it is the audience of our assertions).
    """

    def __init__(
        self, hub_url: str, key_file: Path, end_point: str, *, http: httpx2.AsyncClient | None = None
    ) -> None:
        self.hub_url = hub_url.rstrip("/")
        self.end_point = end_point
        self._key_file = key_file
        self._key: OKPKey | None = None
        self._own_http = http is None
        self._http = http or make_http_client()
        self._token = ""
        self._renew_at = 0.0  # on the monotonic clock
        self._signing_in = asyncio.Lock()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, unless they are shared."""
        if self._own_http:
            await self._http.aclose()

    async def post(self, envelope: Envelope, body: bytes) -> contract.Receipt:
        """Send one message; returns when the hub has it on disk. The same message again gives the same receipt."""
        return await self._ask("POST", "/messages", contract.Receipt, body, envelope.to_headers())

    async def post_batch(
        self, messages: Sequence[tuple[Envelope, bytes]]
    ) -> list[contract.Receipt | Refusal]:
        """Send 1 to 500 messages in one request; the fate of each, in order. One bad message never stops the others.

        Raises Unreachable when the hub could not finish: send all of them again, what it has is not taken twice.
        """
        fates: list[contract.Receipt | Refusal | None] = [_unsendable(envelope) for envelope, _ in messages]
        sendable = [message for message, fate in zip(messages, fates, strict=True) if fate is None]
        results = iter(await self._post_items(sendable) if sendable else [])
        return [fate if fate is not None else next(results) for fate in fates]

    async def pull(self, limit: int = 100, wait: float = 20.0) -> list[Letter]:
        """Up to `limit` letters from the mailbox, leased to us; waits up to `wait` seconds for the first."""
        wait = min(wait, contract.MAX_WAIT_SECONDS)
        path = f"/mailbox?limit={limit}&wait={wait:g}"
        answer = await self._ask("GET", path, contract.MailboxResponse, patience=wait)
        return [_letter(letter) for letter in answer.letters]

    async def acknowledge(self, deliveries: Sequence[str]) -> contract.Settled:
        """Say that these are loaded and safe: they never come again."""
        return await self._settle("acknowledge", contract.AcknowledgeRequest(list(deliveries)))

    async def refuse(self, deliveries: str | Sequence[str], reason: str) -> contract.Settled:
        """Say that these cannot be used; the sender learns the reason (no personal data in it; cut at 1,000)."""
        ids = [deliveries] if isinstance(deliveries, str) else list(deliveries)
        return await self._settle("refuse", contract.RefuseRequest(ids, reason[: contract.MAX_REASON]))

    async def extend(self, deliveries: Sequence[str], seconds: int) -> contract.Settled:
        """Keep the lease of these for `seconds` from now."""
        return await self._settle("extend", contract.ExtendRequest(list(deliveries), seconds))

    async def release(self, deliveries: Sequence[str]) -> contract.Settled:
        """Give the lease of these back, so that they are offered again at once."""
        return await self._settle("release", contract.ReleaseRequest(list(deliveries)))

    async def post_file(self, envelope: Envelope, path: Path, *, patience: float = 60.0) -> contract.Receipt:
        """Send a file of any size as the body of one message; up to 1 MB as `post` does, above in parts.

        Goes on where it was after a cut, a restart of the hub or of ourselves; the same message again gives the same
        receipt. Raises Unreachable when nothing got through for `patience` seconds; what has arrived stays at the hub.
        """
        return await large_bodies.post_file(self, envelope, path, patience)

    async def fetch_body(self, letter: Letter, path: Path, *, patience: float = 60.0) -> None:
        """Write the body of a letter we hold to a file, keeping the lease meanwhile; the digest is proved first.

        Goes on where it was, also when called again with the same path. Raises Unreachable, or Problem CR-021.
        """
        await large_bodies.fetch_body(self, letter, path, patience)

    async def announce(self, request: contract.UploadRequest) -> contract.UploadState:
        """Begin an upload, or learn how far the same one is."""
        headers = {"content-type": "application/json"}
        return await self._ask(
            "POST", "/uploads", contract.UploadState, msgspec.json.encode(request), headers
        )

    async def put_part(
        self, upload: str, offset: int, length: int, blocks: Callable[[], AsyncIterator[bytes]]
    ) -> contract.UploadState:
        """Append `length` bytes at the hub's offset of an upload."""
        headers = {"upload-offset": str(offset), "content-length": str(length)}
        async with self._signed("PUT", f"/uploads/{upload}", headers, blocks) as response:
            return _answer(response.status_code, await _read(response), contract.UploadState)

    @asynccontextmanager
    async def body_from(self, location: str, first: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of a stored body from `first` on. Raises Problem when it is not ours (any more)."""
        async with self._signed("GET", location, {"range": f"bytes={first}-"}) as response:
            if response.status_code != 206:
                raise _problem(response.status_code, await _read(response))
            yield response.aiter_raw(large_bodies.BLOCK_BYTES)

    @asynccontextmanager
    async def _signed(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        blocks: Callable[[], AsyncIterator[bytes]] | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        """A request with a token whose bodies flow; a token the hub no longer likes is renewed for the next try."""
        token = await self._current_token()
        content = blocks() if blocks is not None else None
        signed = {**headers, "authorization": f"Bearer {token}"}
        try:
            async with self._http.stream(
                method, self.hub_url + path, headers=signed, content=content, timeout=TIMEOUT
            ) as response:
                if response.status_code == 401:
                    await self._renewed_token(token)
                    raise Unreachable("the token was renewed")
                if response.status_code >= 500 or response.status_code in RETRY_LATER:
                    raise Unreachable(f"the hub answered {response.status_code}", _retry_after(response))
                yield response
        except (httpx2.RequestError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    async def track(self, message: str) -> contract.Tracking:
        """Where a message is, by the hub's id of it (`Receipt.message`)."""
        return await self._ask("GET", f"/messages/{message}", contract.Tracking)

    async def _post_items(self, messages: list[tuple[Envelope, bytes]]) -> list[contract.Receipt | Refusal]:
        body = await asyncio.to_thread(encode_batch, messages)
        headers = {"content-type": contract.BATCH_TYPE}
        answer = await self._ask("POST", "/messages:batch", contract.BatchResponse, body, headers)
        if len(answer.results) != len(messages):
            raise Unreachable("the hub answered for another number of messages than were sent")
        return [
            _fate(envelope, result) for (envelope, _), result in zip(messages, answer.results, strict=True)
        ]

    async def _settle(self, verb: str, request: msgspec.Struct) -> contract.Settled:
        headers = {"content-type": "application/json"}
        return await self._ask(
            "POST", f"/mailbox/{verb}", contract.Settled, msgspec.json.encode(request), headers
        )

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[T],
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        patience: float = 0.0,
    ) -> T:
        """One request with a token; a token the hub no longer likes is renewed once."""
        url, sent = self.hub_url + path, headers or {}
        token = await self._current_token()
        for last_try in (False, True):
            signed = {**sent, "authorization": f"Bearer {token}"}
            status, text = await _call(self._http, method, url, signed, body, patience)
            if status != 401:
                return _answer(status, text, answer)
            if not last_try:
                token = await self._renewed_token(token)
        self._token = ""  # next time begins with a new one
        raise SignInRefused(_problem(status, text))

    async def _current_token(self) -> str:
        if self._token and time.monotonic() < self._renew_at:
            return self._token
        return await self._renewed_token(self._token)

    async def _renewed_token(self, old: str) -> str:
        """A token other than `old`; when several tasks need one, one of them fetches it."""
        async with self._signing_in:
            if self._token != old and time.monotonic() < self._renew_at:
                return self._token
            answer = await self._fetch_token()
            self._token = answer.access_token
            # Short-lived tokens of a test hub are used for half their life.
            self._renew_at = time.monotonic() + max(
                answer.expires_in - RENEW_BEFORE_SECONDS, answer.expires_in / 2
            )
            return self._token

    async def _fetch_token(self) -> contract.TokenResponse:
        if self._key is None:
            self._key = keys.load(self._key_file)
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": contract.ASSERTION_TYPE,
            "client_assertion": keys.sign_assertion(self._key, self.end_point, self.hub_url),
        }
        headers = {"content-type": "application/x-www-form-urlencoded"}
        body = str(httpx2.QueryParams(form)).encode("ascii")
        status, text = await _call(self._http, "POST", f"{self.hub_url}/token", headers, body)
        try:
            return _answer(status, text, contract.TokenResponse)
        except Problem as problem:
            raise SignInRefused(problem) from None


async def _call(
    http: httpx2.AsyncClient,
    method: str,
    url: str,
    headers: dict[str, str],
    body: bytes = b"",
    patience: float = 0.0,
) -> tuple[int, bytes]:
    """Status and body of an answer worth reading. Raises Unreachable for network faults, 5xx, and 'later' answers."""
    timeout = httpx2.Timeout(30.0 + patience, connect=10.0)
    try:
        async with http.stream(
            method, url, headers=headers, content=body or None, timeout=timeout
        ) as response:
            if response.status_code >= 500 or response.status_code in RETRY_LATER:
                raise Unreachable(f"the hub answered {response.status_code}", _retry_after(response))
            return response.status_code, await _read(response)
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise Unreachable(f"{type(error).__name__}: {error}") from error


async def _read(response: httpx2.Response) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise Unreachable(f"the hub's answer is over {MAX_ANSWER_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _retry_after(response: httpx2.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"\d{1,6}", text) else None


def _answer(status: int, body: bytes, kind: type[T]) -> T:
    if not 200 <= status < 300:
        raise _problem(status, body)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreachable(f"the answer ({status}) is not a hub's: {error}") from None


def _problem(status: int, body: bytes) -> Problem:
    """The Problem the hub sent. Raises Unreachable when it is none: a filter or proxy on the way said it, not the hub."""
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        members = {}
    if not 400 <= status < 500 or "code" not in members:
        raise Unreachable(f"the answer ({status}) is not a hub's")
    return _problem_of(members, status)


def _problem_of(members: dict[str, Any], status: int) -> Problem:
    text = {
        name: str(members.get(name) or "")[:2000] for name in ("code", "title", "detail", "where", "remedy")
    }
    if not re.fullmatch(r"CR-\d{3}", text["code"]):
        raise Unreachable(f"the answer ({status}) is not a hub's")
    CODES.setdefault(text["code"], text["title"])  # a hub may be newer than this end point
    return Problem(text["code"], text["detail"], status=status, where=text["where"], remedy=text["remedy"])


def _unsendable(envelope: Envelope) -> Refusal | None:
    try:
        check(envelope)
    except Problem as problem:
        return Refusal(envelope.id, problem)
    return None


def _fate(envelope: Envelope, result: contract.BatchResult) -> contract.Receipt | Refusal:
    if result.receipt is not None:
        return result.receipt
    if result.status >= 500 or result.status in RETRY_LATER:
        raise Unreachable(f"the hub answered {result.status} for a message of the batch")
    return Refusal(envelope.id, _problem_of(result.problem or {}, result.status))


def _letter(letter: contract.MailboxLetter) -> Letter:
    envelope, body = Envelope.from_batch_item(letter.message)
    return Letter(
        envelope=envelope,
        body=body,
        delivery=letter.delivery,
        position=letter.position,
        accepted_at=letter.accepted_at,
        attempt=letter.attempt,
        stored=letter.body,
    )
