"""The hub's application as it is served: the four requests that make up nearly all traffic do without the framework.

Only a request that is plainly well formed is answered here. Everything else, and everything that is wrong, goes to the
framework's handler of the same path in `api`, which does the same by the same functions (`hot`) and words the refusals.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any, cast

import msgspec
from litestar import Litestar

from commonroom.exchange import AcknowledgeRequest, Envelope
from commonroom.exchange.contract import MAX_WAIT_SECONDS
from commonroom.exchange.envelope import MAX_BATCH_ITEMS
from commonroom.hub import answers, hot
from commonroom.hub.callers import signed_in
from commonroom.hub.collector import Errand, Kind
from commonroom.hub.hot import DEFAULT_LIMIT, SMALL_BODY_BYTES
from commonroom.hub.office import Office
from commonroom.identity import Principal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Answer = tuple[int, tuple[tuple[bytes, bytes], ...], bytes]  # status, headers, body

_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")

_QUERY = re.compile(
    rb"(?:limit=(?P<limit>[0-9]{1,3})|wait=(?P<wait>[0-9]{1,2}(?:\.[0-9]{1,3})?)|kind=(?P<kind>letters|reports|all))\Z"
)
_ACKNOWLEDGED = msgspec.json.Decoder(AcknowledgeRequest)
_encode = msgspec.json.Encoder().encode


class _NotHere(Exception):
    """The framework must answer; `body` is what has been read of the request."""

    def __init__(self, body: bytes | None = None) -> None:
        self.body = body


class FastPaths:
    """An ASGI application before another one."""

    def __init__(self, app: Litestar) -> None:
        self.state = app.state
        self._app: Any = app
        self._paths = {
            ("POST", "/messages"): self._post,
            ("POST", "/messages:batch"): self._post_batch,
            ("GET", "/mailbox"): self._collect,
            ("POST", "/mailbox/acknowledge"): self._acknowledge,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request here, or let the framework do it."""
        path = self._paths.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if path is None:
            await self._app(scope, receive, send)
            return
        office: Office = self.state.office
        try:
            status, headers, body = await path(office, scope, receive)
        except _NotHere as left:
            await self._app(scope, receive if left.body is None else _again(left.body, receive), send)
            return
        except Exception as error:
            status, headers, body = answers.of_error(office, error)
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})

    async def _post(self, office: Office, scope: Scope, receive: Receive) -> Answer:
        headers = _first_of_each(scope)
        _short_enough(headers, office.settings.max_body_bytes)
        caller = signed_in(office, headers.get(b"authorization", b"").decode("latin-1"))
        envelope = Envelope.from_headers(scope["headers"])
        body = await _read(receive)
        receipt = await hot.post(office, caller, envelope, body, hashlib.sha256(body).digest())
        return 202, (_JSON, _NO_STORE), _encode(receipt)

    async def _post_batch(self, office: Office, scope: Scope, receive: Receive) -> Answer:
        headers = _first_of_each(scope)
        _short_enough(headers, office.settings.max_batch_bytes)
        caller = signed_in(office, headers.get(b"authorization", b"").decode("latin-1"))
        hot.check_batch_type(headers.get(b"content-type", b"").decode("latin-1"))
        results = await hot.post_batch(office, caller, await _read(receive))
        return 200, (_JSON, _NO_STORE), _encode(results)

    async def _collect(self, office: Office, scope: Scope, receive: Receive) -> Answer:
        limit, wait, kind = _asked_for(scope["query_string"])
        authorization = _first_of_each(scope).get(b"authorization", b"").decode("latin-1")

        def check() -> Principal:
            return signed_in(office, authorization)

        caller = check()
        errand = Errand(caller.party or "", caller.id, limit, kind)
        return 200, (_JSON, _NO_STORE), await hot.collect(office, errand, wait, check, receive)

    async def _acknowledge(self, office: Office, scope: Scope, receive: Receive) -> Answer:
        headers = _first_of_each(scope)
        _short_enough(headers, SMALL_BODY_BYTES)
        body = await _read(receive)
        try:
            deliveries = _ACKNOWLEDGED.decode(body).deliveries
        except ValueError:  # msgspec's errors are
            raise _NotHere(body) from None
        caller = signed_in(office, headers.get(b"authorization", b"").decode("latin-1"))
        return 200, (_JSON,), _encode(await hot.acknowledge(office, caller, deliveries))


def _first_of_each(scope: Scope) -> dict[bytes, bytes]:
    """The headers by name; of one that came twice the first, as in the framework."""
    return dict(reversed(scope["headers"]))


def _short_enough(headers: dict[bytes, bytes], limit: int) -> None:
    """Raises _NotHere unless the length of the body is stated and within the limit."""
    stated = headers.get(b"content-length", b"")
    if not stated.isdigit() or len(stated) > 12 or int(stated) > limit:
        raise _NotHere


async def _read(receive: Receive) -> bytes:
    """A body whose length was stated: the server delivers no more than that. Raises Problem CR-050 for less."""
    event = await receive()
    if event["type"] == "http.request" and not event.get("more_body"):
        body: bytes = event["body"]
        return body
    chunks = []
    while event["type"] == "http.request":
        chunks.append(event["body"])
        if not event.get("more_body"):
            return b"".join(chunks)
        event = await receive()
    raise hot.ended_early()


@lru_cache(maxsize=256)
def _asked_for(query: bytes) -> tuple[int, float, Kind]:
    """Limit, wait and kind. Raises _NotHere unless each stands there once at most, in its plain form."""
    named: dict[str, str] = {}
    for part in query.split(b"&") if query else ():
        found = _QUERY.match(part)
        if found is None or found.lastgroup is None or found.lastgroup in named:
            raise _NotHere
        named[found.lastgroup] = found[found.lastgroup].decode()
    limit, wait = int(named.get("limit", DEFAULT_LIMIT)), float(named.get("wait", 0))
    if not 1 <= limit <= MAX_BATCH_ITEMS or wait > MAX_WAIT_SECONDS:
        raise _NotHere
    return limit, wait, cast(Kind, named.get("kind", "all"))


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read before what comes next."""
    given = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive_again() -> Any:
        return next(given, None) or await receive()

    return receive_again
