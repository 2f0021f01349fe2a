"""The sender's side: each version is posted as whoever loaded it, told in the common language, in parts of whole records.

Any kill between two lines is made good by the next run: message ids are fixed, and the same version always gives the same
bytes under the same ids.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid5

import msgspec

from commonroom import exchange, standard
from commonroom.collections import loader
from commonroom.collections.model import Collection
from commonroom.collections.record_map import record_map
from commonroom.collections.tables import Tables
from commonroom.exchange import Client, Envelope, RecordSet, Refusal
from commonroom.hub.own_end_points import own_end_point
from commonroom.returns import content, mandates, telling
from commonroom.returns.parties import Actor
from commonroom.returns.steps import Fate
from commonroom.returns.store import Return
from commonroom.settings import Settings

MOST_LOSSES_TOLD = 3

_AGREED = "SELECT EXISTS (SELECT FROM hub.active_movement WHERE $1 = ANY (types))"

_WAITING = """
SELECT v.return, v.number, v.content, v.message, v.sender, r.collection, r.year, r.party
FROM returns.version v
JOIN returns.return r ON r.id = v.return
WHERE v.told = 'waiting'
ORDER BY v.recorded_at
LIMIT 20
"""

_SAY = "UPDATE returns.version SET told = $2, told_reason = $3 WHERE message = $1"
_POSTED = "UPDATE returns.version SET told = 'posted' WHERE message = $1 AND told = 'waiting'"


class Letters(msgspec.Struct, frozen=True):
    """A version as messages, or what keeps it from being told."""

    messages: list[tuple[Envelope, bytes]]
    faults: list[str]


async def at_start(connection: Any, found: Return, actor: Actor, collection: Collection) -> Fate:
    """How a new version begins: waiting to be posted where a movement is agreed that carries it, else not sent.

    What the collector loads is with it already. Who loads another's return must have its mandate, or it is refused.
    """
    kind = telling.message_type(record_map(collection))
    if kind is None or actor.party is None or not await connection.fetchval(_AGREED, kind):
        return Fate()
    if not await mandates.holds(connection, found.party, actor.party, found.collection):
        return Fate("refused", "who loaded it has no mandate to speak for whose return it is")
    return Fate("waiting")


async def post_waiting(settings: Settings, connection: Any) -> int:
    """Post every version that waits, each as its sender; how many went. Raises Unreachable: come again later."""
    posted = 0
    for row in await connection.fetch(_WAITING):
        numbers = await telling.numbers_of(connection, row["party"])
        letters = await asyncio.to_thread(_letters, settings, row, numbers)
        if letters.faults:
            await connection.execute(_SAY, row["message"], "refused", _in_words(letters.faults))
            continue
        name = f"returns-{row['sender'].rpartition(':')[2]}"
        me = await own_end_point(settings, connection, name, row["sender"])
        async with Client(settings.hub_url, me.key_file, me.end_point) as client:
            refused = ""
            for envelope, body in letters.messages:
                (fate,) = await client.post_batch([(envelope, body)])
                if isinstance(fate, Refusal):
                    refused = f"{fate.problem.code} {fate.problem.detail}"
                    break
        if refused:
            await connection.execute(_SAY, row["message"], "refused", refused)
        else:
            await connection.execute(_POSTED, row["message"])
            posted += 1
    return posted


def _letters(settings: Settings, row: Any, numbers: dict[str, str]) -> Letters:
    """A version cut into messages."""
    collection = loader.load(row["collection"], row["year"])
    kind = telling.message_type(record_map(collection))
    if kind is None:
        return Letters([], ["the standard has no message that carries its entities"])
    tables = Tables(collection)
    try:
        content.fill(tables, content.folder(settings, row["content"]))
        messages: list[tuple[Envelope, bytes]] = []
        faults: list[str] = []
        # How many parts there are stands in each of them, so all must be cut before the first goes.
        told = list(telling.parts(tables, numbers, row["number"]))
        for part, one in enumerate(told, start=1):
            faults += [f"{clash.path} and {clash.other} have the same key" for clash in one.clashes]
            faults += [f"{loss.path} {loss.item}: {loss.why}" for loss in one.losses]
            messages.append(_message(kind, row, part, len(told), one.records))
        return Letters(messages, faults)
    finally:
        tables.close()


def _message(kind: str, row: Any, part: int, parts: int, records: dict[str, Any]) -> tuple[Envelope, bytes]:
    version = standard.load().version
    envelope = Envelope(
        id=str(uuid5(row["message"], str(part))),
        source=row["sender"],
        type=kind,
        subject=f"{row['collection']}/{row['year']}",
        dataschema=f"urn:commonroom:standard:{version}",
        datacontenttype=exchange.RECORDS_ZSTD_TYPE,
        contentmode="snapshot",
        sequence=f"{part}/{parts}",
        correlationid=str(row["message"]),
    )
    return envelope, exchange.encode(RecordSet(standard=version, records=records), compress=True)


def _in_words(faults: list[str]) -> str:
    more = f"; and {len(faults) - MOST_LOSSES_TOLD:,} more" if len(faults) > MOST_LOSSES_TOLD else ""
    return f"{'; '.join(faults[:MOST_LOSSES_TOLD])}{more}"
