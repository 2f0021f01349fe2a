"""HTTP: the recipient's own replay."""

from __future__ import annotations

from litestar import post
from litestar.params import JSONBody

from commonroom.exchange.contract import Replayed, ReplayRequest
from commonroom.hub import openapi, replay
from commonroom.hub.callers import Call, caller_of, office_of


@post("/mailbox/replay", status_code=200, security=openapi.SIGNED_IN)
async def replay_letters(request: Call, data: JSONBody[ReplayRequest]) -> Replayed:
    """Hand out again what has ended here: by your own sequence, by position, or since a time. Inside retention alone."""
    caller, office = caller_of(request), office_of(request)
    party = caller.party or ""
    async with office.pool.acquire() as connection:
        replayed = await replay.replay(connection, party, caller.id, data)
    if replayed.letters:
        office.doorbell.ring([party])
    return replayed


HANDLERS = (replay_letters,)
