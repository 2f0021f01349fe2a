"""The sender's side: each version is posted as whoever loaded it, told in the common language, in parts of whole records.

Any kill between two lines is made good by the next run: message ids are fixed, and the same version always gives the same
bytes under the same ids.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid5

import msgspec

from commonroom import exchange, log, standard
from commonroom.collections import loader
from commonroom.collections.model import Collection
from commonroom.collections.record_map import record_map
from commonroom.collections.tables import Tables
from commonroom.exchange import Client, Envelope, RecordSet, Refusal
from commonroom.hub.own_end_points import own_end_point
from commonroom.problems import Problem
from commonroom.returns import content, mandates, telling
from commonroom.returns.parties import Actor
from commonroom.returns.steps import Fate
from commonroom.returns.store import Return
from commonroom.settings import Settings

MOST_LOSSES_TOLD = 3
_log = log.get("returns")

_AGREED = "SELECT EXISTS (SELECT FROM hub.active_movement WHERE $1 = ANY (types))"

_FIELDS = "v.return, v.number, v.content, v.message, v.sender, v.told_reason, r.collection, r.year, r.party"
_WAITING = f"""
SELECT {_FIELDS} FROM returns.version v JOIN returns.return r ON r.id = v.return
WHERE v.told = 'waiting' AND v.told_reason = ''
ORDER BY v.recorded_at
LIMIT 20
"""  # noqa: S608 - a constant of ours

# What could not be posted is tried again behind all others, one a round and any of them: none holds up another.
_FAILED = f"""
SELECT {_FIELDS} FROM returns.version v JOIN returns.return r ON r.id = v.return
WHERE v.told = 'waiting' AND v.told_reason <> ''
ORDER BY random()
LIMIT 1
"""  # noqa: S608 - a constant of ours

_SAY = "UPDATE returns.version SET told = $2, told_reason = $3 WHERE message = $1"
_POSTED = """
UPDATE returns.version SET told = 'posted', told_reason = '' WHERE message = $1 AND told = 'waiting'
"""


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
    """Post every version that waits, each as its sender; how many went. Raises Unreachable: come again later.

    One that cannot be posted keeps waiting with the reason, is tried again now and then, and keeps nobody else waiting.
    """
    rows = [*await connection.fetch(_WAITING), *await connection.fetch(_FAILED)]
    posted = 0
    for row in rows:
        try:
            posted += await _post(settings, connection, row)
        except Problem as problem:
            await _keep_waiting(connection, row, problem)
    return posted


async def _post(settings: Settings, connection: Any, row: Any) -> bool:
    """Post one version as its sender; whether it went. Raises Problem and Unreachable: it waits."""
    numbers = await telling.numbers_of(connection, row["party"])
    try:
        letters = await asyncio.to_thread(_letters, settings, row, numbers)
    except Exception as error:
        # Whatever is the matter with a content, a definition or the disk, it is this version's alone.
        await _keep_waiting(connection, row, error)
        return False
    if letters.faults:
        await connection.execute(_SAY, row["message"], "refused", _in_words(letters.faults))
        return False
    name = f"returns-{row['sender'].rpartition(':')[2]}"
    me = await own_end_point(settings, connection, name, row["sender"])
    async with Client(settings.hub_url, me.key_file, me.end_point) as client:
        for envelope, body in letters.messages:
            (fate,) = await client.post_batch([(envelope, body)])
            if isinstance(fate, Refusal):
                refused = f"{fate.problem.code} {fate.problem.detail}"
                await connection.execute(_SAY, row["message"], "refused", refused)
                return False
    await connection.execute(_POSTED, row["message"])
    return True


async def _keep_waiting(connection: Any, row: Any, error: Exception) -> None:
    """Note on the version why it cannot be posted now; it is logged when that is news."""
    what = f"{error.code} {error.detail}" if isinstance(error, Problem) else type(error).__name__
    reason = f"it cannot be posted now: {what}"
    if reason == row["told_reason"]:
        return
    await connection.execute(_SAY, row["message"], "waiting", reason)
    if isinstance(error, Problem):
        _log.error("a version of a return cannot be posted", message=str(row["message"]), code=error.code)
    else:
        log.fault(_log.bind(message=str(row["message"])), "a version of a return cannot be posted", error)


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
