"""How an end point becomes one: by a one-time code and the public half of its key."""

from __future__ import annotations

from pathlib import Path

import httpx2
import msgspec

from commonroom.exchange import contract, keys, wire


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
        status, text = await wire.call(http, "POST", url, headers, body)
    else:
        async with wire.make_http_client(1) as own:
            status, text = await wire.call(own, "POST", url, headers, body)
    return wire.answer(status, text, contract.Enrolment)
