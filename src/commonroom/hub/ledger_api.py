"""The ledger over HTTP: signed heads and keys for everybody, proofs for those whom they concern."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromPath, QueryParameter

from commonroom.hub import openapi, proofs
from commonroom.hub.callers import Call, caller_of, office_of
from commonroom.hub.ledger_form import ConsistencyProof, InclusionProof, PublicKey, SignedHead

MAX_SIZE = 2**62


class PublishedKeys(msgspec.Struct, frozen=True):
    """200 of GET /ledger/keys: a JWK set."""

    keys: list[PublicKey]


@get("/ledger/keys")
async def get_keys(request: Call) -> PublishedKeys:
    """The public keys that sign the ledger's heads. Keep a copy: a verifier needs one that it did not get with the log."""
    async with office_of(request).pool.acquire() as connection:
        return PublishedKeys(await proofs.published_keys(connection))


@get("/ledger/head")
async def get_head(request: Call) -> SignedHead:
    """The newest signed head: how many entries the ledger has and what they hash to. Anybody may witness it."""
    async with office_of(request).pool.acquire() as connection:
        return await proofs.newest_head(connection, office_of(request).pulse.confirmed_head)


@get("/ledger/consistency", security=openapi.SIGNED_IN)
async def get_consistency(
    request: Call,
    old: Annotated[int, QueryParameter(ge=1, le=MAX_SIZE)],
    new: Annotated[int | None, QueryParameter(ge=1, le=MAX_SIZE)] = None,
) -> ConsistencyProof:
    """The proof that the ledger of one signed head begins with the ledger of an older one: nothing was rewritten."""
    caller_of(request)
    async with office_of(request).pool.acquire() as connection:
        return await proofs.prove_consistency(connection, old, new, office_of(request).pulse.confirmed_head)


@get("/messages/{message:str}/proof", security=openapi.SIGNED_IN)
async def get_proof(request: Call, message: FromPath[str]) -> InclusionProof:
    """The proof that a message's entries are in the ledger, for its sender and its recipients."""
    caller = caller_of(request)
    async with office_of(request).pool.acquire() as connection:
        return await proofs.prove(
            connection, message, caller.party or "", office_of(request).pulse.confirmed_head
        )


HANDLERS = (get_keys, get_head, get_consistency, get_proof)
