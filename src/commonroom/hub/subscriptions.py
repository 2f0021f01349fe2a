"""Subscriptions: where an end point wants its party's letters pushed to, and the consent of who is there.

The handshake is that of CloudEvents' webhook specification 1.0 (section 4): OPTIONS to the exact URL; consent is an answer
with `WebHook-Allowed-Origin`. A status alone never is. Consent given later, through a callback, is not offered.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import aiohttp
import msgspec
from msgspec import Meta
from yarl import URL

from commonroom.hub import codes  # noqa: F401 - registers the hub's problem codes
from commonroom.hub.schedule import Schedule
from commonroom.hub.targets import MAX_URL, Answer, Caller
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.settings import Settings

MAX_SUBSCRIPTIONS = 20  # of one end point
HANDSHAKE_SECONDS = 10.0
MAX_RATE = 1_000_000  # a minute; above it there is nothing to slow down

MovementId = Annotated[str, Meta(min_length=1, max_length=64)]
Acknowledge = Literal["on_2xx", "explicitly"]


class SubscribeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /subscriptions."""

    url: Annotated[str, Meta(min_length=8, max_length=MAX_URL)]
    # on_2xx: the target's 2xx ends the delivery; explicitly: it is leased until POST /mailbox/acknowledge.
    acknowledge: Acknowledge = "on_2xx"
    movements: Annotated[list[MovementId], Meta(min_length=1, max_length=100)] | None = None  # None: all
    sign_v1: bool = False  # sign with `v1` too, and show its secret
    window: Schedule | None = None  # push inside it alone


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as its end point sees it."""

    id: str
    url: str
    acknowledge: Acknowledge
    movements: list[str] | None
    sign_v1: bool
    window: Schedule | None
    rate_per_minute: int | None  # what the target allowed
    state: Literal["active", "stopped"]
    reason: str | None  # why it was stopped
    failures: int  # in a row, up to now
    ready_at: datetime  # no push before
    created_at: datetime
    consented_at: datetime


_COLUMNS = (
    "id::text, url, acknowledge, movements, sign_v1, delivery_window AS window, rate_per_minute, state, reason,"
    " failures, ready_at, created_at, consented_at"
)

# Consent given anew starts a stopped subscription again.
_PUT = f"""
INSERT INTO hub.subscription (
    id, end_point, party, url, acknowledge, movements, sign_v1, delivery_window, rate_per_minute, created_at,
    consented_at, ready_at
)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $10
WHERE (SELECT count(*) FROM hub.subscription WHERE end_point = $2 AND url <> $4) < {MAX_SUBSCRIPTIONS}
ON CONFLICT (end_point, url) DO UPDATE SET
    acknowledge = excluded.acknowledge, movements = excluded.movements, sign_v1 = excluded.sign_v1,
    delivery_window = excluded.delivery_window, rate_per_minute = excluded.rate_per_minute,
    consented_at = excluded.consented_at, ready_at = excluded.ready_at, state = 'active', reason = NULL, failures = 0
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants

_OF_END_POINT = f"SELECT {_COLUMNS} FROM hub.subscription WHERE end_point = $1 ORDER BY id"  # noqa: S608 - constant

_DELETE = "DELETE FROM hub.subscription WHERE id = $1 AND end_point = $2 RETURNING id"


async def subscribe(
    connection: Any,
    request: SubscribeRequest,
    party: str,
    end_point: str,
    rate: int | None,
    now: datetime,
) -> Subscription:
    """Write down a subscription that has been consented to; the same URL again replaces what was. Raises CR-153."""
    row = await connection.fetchrow(
        _PUT,
        uuid7(),
        end_point,
        party,
        request.url,
        request.acknowledge,
        request.movements,
        request.sign_v1,
        None if request.window is None else msgspec.to_builtins(request.window),
        rate,
        now,
    )
    if row is None:
        raise Problem(
            "CR-153",
            f"An end point has at most {MAX_SUBSCRIPTIONS} subscriptions.",
            status=422,
            where="url",
            remedy="Delete one you do not need.",
        )
    return _subscription(row)


async def subscriptions_of(connection: Any, end_point: str) -> list[Subscription]:
    """The end point's own subscriptions, oldest first."""
    return [_subscription(row) for row in await connection.fetch(_OF_END_POINT, end_point)]


async def unsubscribe(connection: Any, subscription: str, end_point: str) -> None:
    """Push there no more; letters wait in the mailbox again. Raises Problem CR-152 unless it is the end point's own."""
    try:
        name = UUID(subscription)
    except ValueError:
        raise no_subscription() from None
    if await connection.fetchval(_DELETE, name, end_point) is None:
        raise no_subscription()


def no_subscription() -> Problem:
    """The refusal for a subscription that is not there, or is somebody else's."""
    return Problem(
        "CR-152",
        "You have no such subscription.",
        status=404,
        where="subscription",
        remedy="GET /subscriptions lists yours.",
    )


async def ask_consent(caller: Caller, settings: Settings, url: str) -> int | None:
    """The pushes a minute that the target allows; None for any number. Raises Problem CR-150 or CR-151."""
    headers = {"WebHook-Request-Origin": origin(settings)}
    try:
        answer = await caller.call("OPTIONS", url, headers, seconds=HANDSHAKE_SECONDS)
    except (OSError, TimeoutError, aiohttp.ClientError) as error:
        raise _no_consent(f"The target could not be asked ({type(error).__name__}).") from error
    return read_consent(answer, origin(settings))


def read_consent(answer: Answer, asked: str) -> int | None:
    """The rate in an answer that is consent. Raises Problem CR-151 when it is none."""
    allowed = answer.headers.get("webhook-allowed-origin", "").strip().lower()
    if 300 <= answer.status < 400:
        raise _no_consent("The target answered with a redirect, which is never followed.")
    if answer.status >= 400:
        raise _no_consent(f"The target answered {answer.status}.")
    if not allowed:
        raise _no_consent("The answer has no WebHook-Allowed-Origin; a status alone is no consent.")
    if allowed not in ("*", asked.lower()):
        raise _no_consent(f"The target allows another origin than {asked}.")
    rate = answer.headers.get("webhook-allowed-rate", "*").strip()
    if rate == "*":
        return None
    if not (rate.isascii() and rate.isdigit() and len(rate) < 10 and int(rate) > 0):
        raise _no_consent("WebHook-Allowed-Rate is neither * nor a number above 0.")
    return min(int(rate), MAX_RATE)


def origin(settings: Settings) -> str:
    """How the hub names itself to targets: its host name."""
    return URL(settings.hub_url).host or "localhost"


def _subscription(row: Any) -> Subscription:
    return msgspec.convert(dict(row), Subscription)


def _no_consent(detail: str) -> Problem:
    remedy = (
        "Answer OPTIONS at exactly this URL with WebHook-Allowed-Origin: the WebHook-Request-Origin, or *."
    )
    return Problem("CR-151", detail, status=422, where="url", remedy=remedy)
