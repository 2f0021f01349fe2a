"""HTTP of keys: an end point changes its own, everybody signed in reads everybody's, a sender asks whom it would reach."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from commonroom.engines import clock
from commonroom.exchange import (
    AddKeyRequest,
    Envelope,
    PartyKeys,
    PublicKey,
    RecipientKeys,
    RecipientsResponse,
)
from commonroom.exchange.envelope import Classification
from commonroom.hub import openapi
from commonroom.hub.callers import Call, caller_of, office_of
from commonroom.hub.directory import resolve_alias
from commonroom.hub.post import ENGLAND
from commonroom.hub.routing import assure, route
from commonroom.identity import add_key, encryption_keys, keys_of, retire_key
from commonroom.problems import Problem

MAX_NAME = 255


@post("/end-points/self/keys", status_code=201, security=openapi.SIGNED_IN)
async def add_own_key(request: Call, data: JSONBody[AddKeyRequest]) -> PublicKey:
    """Add a key to the calling end point: a second signing key, or its encryption key. The same again is harmless."""
    caller, office = caller_of(request), office_of(request)
    overlap = timedelta(days=office.settings.key_overlap_days)
    async with office.pool.acquire() as connection:
        return await add_key(
            connection, caller.id, data.use, data.jwk, data.proofs, (office.settings.hub_url,), overlap
        )


@delete("/end-points/self/keys/{kid:str}", status_code=204, security=openapi.SIGNED_IN)
async def retire_own_key(request: Call, kid: FromPath[str]) -> None:
    """End one of the calling end point's keys now; never the last with which it can sign in."""
    caller, office = caller_of(request), office_of(request)
    async with office.pool.acquire() as connection:
        await retire_key(connection, caller.id, kid[:MAX_NAME])


@get("/keys", security=openapi.SIGNED_IN)
async def get_keys(request: Call, party: Annotated[str, QueryParameter(max_length=MAX_NAME)]) -> PartyKeys:
    """All keys that the end points of a party (urn or alias) have or had, with the times of their validity."""
    caller_of(request)
    async with office_of(request).pool.acquire() as connection:
        urn = await resolve_alias(connection, party)
        if urn is None:
            raise Problem("CR-041", "The party is not in the directory.", status=404, where="party")
        return PartyKeys(urn, await keys_of(connection, urn))


@get("/recipients", security=openapi.SIGNED_IN)
async def get_recipients(
    request: Call,
    message_type: Annotated[str, QueryParameter(name="type", min_length=1, max_length=MAX_NAME)],
    recipient: Annotated[str | None, QueryParameter(max_length=MAX_NAME)] = None,
    dataclassification: Annotated[Classification | None, QueryParameter()] = None,
) -> RecipientsResponse:
    """To whom a message of the caller would go now, and the keys to encrypt it to. Refused as the message would be."""
    caller, office = caller_of(request), office_of(request)
    party = caller.party or ""
    envelope = Envelope(
        id="preview",
        source=party,
        type=message_type,
        recipient=recipient,
        dataclassification=dataclassification,
    )
    async with office.pool.acquire() as connection:
        routing = await office.post.routing(connection)
        now: datetime = await clock.now(connection)
        day = now.astimezone(ENGLAND).date()
        stops = assure(routing, route(routing, envelope, party, day), party, caller.id, day).stops
        found = await encryption_keys(connection, [stop.recipient for stop in stops])
    return RecipientsResponse([RecipientKeys(urn, own) for urn, own in found.items()])


HANDLERS: tuple[Any, ...] = (add_own_key, retire_own_key, get_keys, get_recipients)
