"""One request to a hub and its answer: what is worth reading, what is the hub's own word, and what means 'later'."""

from __future__ import annotations

import re
import ssl
from functools import cache
from typing import Any, TypeVar

import httpx2
import msgspec

from commonroom.exchange.cuts import Unreachable
from commonroom.problems import CODES, Problem

T = TypeVar("T")

TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
MAX_ANSWER_BYTES = 128 * 1024 * 1024  # a mailbox answer may hold many bodies; nothing honest is larger
RETRY_LATER = frozenset({408, 425, 429})  # 4xx that say nothing about the message


def make_http_client(connections: int = 100) -> httpx2.AsyncClient:
    """A pool that many `Client`s may share; each waiting long-poll holds one connection. Close it with `aclose()`."""
    limits = httpx2.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=60
    )
    return httpx2.AsyncClient(
        verify=_trusted(),
        timeout=TIMEOUT,
        limits=limits,
        follow_redirects=False,
        headers={"accept-encoding": "identity"},
        mounts={
            f"all://{host}": None for host in LOOPBACK
        },  # a proxy of the machine's is not for its own hub
    )


@cache
def _trusted() -> ssl.SSLContext:
    """The machine's trusted authorities: to read them takes longer than many a request, so once a process."""
    return httpx2.create_ssl_context()


async def call(
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
                raise Unreachable(f"the hub answered {response.status_code}", retry_after(response))
            return response.status_code, await read(response)
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise Unreachable(f"{type(error).__name__}: {error}") from error


async def read(response: httpx2.Response) -> bytes:
    """The body, up to MAX_ANSWER_BYTES. Raises Unreachable over it."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise Unreachable(f"the hub's answer is over {MAX_ANSWER_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def retry_after(response: httpx2.Response) -> float | None:
    """The seconds that the hub asks to wait."""
    text = response.headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"\d{1,6}", text) else None


def answer(status: int, body: bytes, kind: type[T]) -> T:
    """The answer as `kind`. Raises the Problem that the hub sent, or Unreachable when it was not the hub that answered."""
    if not 200 <= status < 300:
        raise problem(status, body)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreachable(f"the answer ({status}) is not a hub's: {error}") from None


def problem(status: int, body: bytes) -> Problem:
    """The Problem the hub sent. Raises Unreachable when it is none: a filter or proxy on the way said it, not the hub."""
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        members = {}
    if not 400 <= status < 500 or "code" not in members:
        raise Unreachable(f"the answer ({status}) is not a hub's")
    return problem_of(members, status)


def problem_of(members: dict[str, Any], status: int) -> Problem:
    """The Problem in members of problem JSON. Raises Unreachable when they are none of a hub's."""
    text = {
        name: str(members.get(name) or "")[:2000] for name in ("code", "title", "detail", "where", "remedy")
    }
    if not re.fullmatch(r"CR-\d{3}", text["code"]):
        raise Unreachable(f"the answer ({status}) is not a hub's")
    CODES.setdefault(text["code"], text["title"])  # a hub may be newer than this end point
    return Problem(text["code"], text["detail"], status=status, where=text["where"], remedy=text["remedy"])
