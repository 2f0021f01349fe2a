"""The Department's side: it takes records of the standard that their sender may speak of, and refuses everything else.

It knows nothing but letters. What is refused goes back to the sender with the finding, and a version is taken when all of
its parts are there; parts are written before they are acknowledged. What is taken once never changes by a letter.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import msgspec

from commonroom import exchange, standard
from commonroom.engines import files
from commonroom.exchange import Client, Letter, RecordSet
from commonroom.hub import directory
from commonroom.problems import Problem
from commonroom.returns import mandates
from commonroom.settings import Settings

FOLDER = "returns-taken"
LETTERS_A_PULL = 20
# Faults of one letter that are named to its sender.
MOST_FAULTS = 5
MISSING = "standard-required"

_PART = """
INSERT INTO returns.part (version_message, part, parts, sender, message, records) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (version_message, part) DO NOTHING
RETURNING part
"""

# The same letter once more: it was acknowledged, and the hub did not hear it.
_THERE = """
SELECT EXISTS (
    SELECT FROM returns.part WHERE version_message = $1 AND part = $2 AND sender = $3 AND message = $4
)
"""

# Parts of somebody else's message never complete a version.
_WHOLE = """
UPDATE returns.version SET told = 'taken', told_reason = ''
WHERE message = $1 AND sender = $2 AND told IN ('waiting', 'posted')
    AND (SELECT count(*) FROM returns.part p WHERE p.version_message = $1 AND p.sender = $2 AND p.parts = $3) = $3
"""

_OF_SENDER = """
SELECT r.party, r.collection, v.told FROM returns.version v JOIN returns.return r ON r.id = v.return
WHERE v.message = $1 AND v.sender = $2
"""

_HELD = "SELECT told FROM returns.version WHERE message = $1 AND sender = $2 FOR UPDATE"

# What is taken, and what never was to be sent, no letter can undo.
_REFUSE = """
UPDATE returns.version SET told = 'refused', told_reason = $3
WHERE message = $1 AND sender = $2 AND told IN ('waiting', 'posted', 'refused')
"""

OPEN = ("waiting", "posted")
CLOSED = "The return does not wait for records any more: this version was taken, refused or not to be sent."
PART_THERE = "Another letter has brought this part of the return already."


class _Refused(msgspec.Struct, frozen=True):
    """Why a letter is not taken, and whether that speaks against the version as well."""

    reason: str
    version_too: bool = True


async def take_letters(settings: Settings, connection: Any, client: Client, wait: float = 0.0) -> int:
    """Take in what waits at the Department's end point; how many letters there were."""
    letters = await client.pull(LETTERS_A_PULL, wait, bodies=exchange.LARGEST)
    for letter in letters:
        if exchange.is_report(letter.envelope):
            await client.acknowledge([letter.delivery])
            continue
        refused = await _taken(settings, connection, letter)
        if refused is None:
            await client.acknowledge([letter.delivery])
            continue
        if refused.version_too:
            await _refuse(connection, letter, refused.reason)
        await client.refuse(letter.delivery, refused.reason)
    return len(letters)


async def _taken(settings: Settings, connection: Any, letter: Letter) -> _Refused | None:
    """Keep one part; why where it cannot be taken. Without personal values."""
    place = _place(letter)
    if place is None:
        return _Refused(
            "It does not say which part of which return it is (correlationid and sequence `1/3`)."
        )
    message, part, _ = place
    sender = letter.envelope.source
    waiting = await connection.fetchrow(_OF_SENDER, message, sender)
    if waiting is None:
        return _Refused("No return of this sender waits for this message.")
    if await connection.fetchval(_THERE, message, part, sender, letter.envelope.id):
        return None
    if waiting["told"] in ("taken", "not sent"):
        return _Refused(CLOSED, version_too=False)
    if not await mandates.holds(connection, waiting["party"], sender, waiting["collection"]):
        return _Refused("The sender has no mandate to speak for whose return it is.")
    try:
        found = await asyncio.to_thread(_read, letter)
    except Problem as problem:
        return _Refused(f"{problem.detail} {problem.remedy}".strip())
    aliases = await directory.resolve_aliases(connection, sorted(found.holders))
    if any(aliases.get(alias) != waiting["party"] for alias in found.holders):
        return _Refused("The sender does not speak for everybody whose records these are.")
    if found.fault:
        return _Refused(found.fault)
    return await _keep(settings, connection, letter, place, found)


async def _keep(
    settings: Settings, connection: Any, letter: Letter, place: tuple[UUID, int, int], found: _Read
) -> _Refused | None:
    """Write a part while its version is held open; a part that is there is never written over.

    Its row is there to others once its file is whole. A kill between the two leaves a file of no row, which counts for
    nothing and which the same letter writes again.
    """
    message, part, parts = place
    sender = letter.envelope.source
    async with connection.transaction():
        if await connection.fetchval(_HELD, message, sender) not in OPEN:
            return _Refused(CLOSED, version_too=False)
        row = (message, part, parts, sender, letter.envelope.id, found.records)
        if await connection.fetchval(_PART, *row) is None:
            return _Refused(PART_THERE, version_too=False)
        folder = settings.folder(FOLDER) / str(message)
        folder.mkdir(mode=0o700, exist_ok=True)
        await asyncio.to_thread(files.write, folder / f"{part}.json.zst", found.body)
        await connection.execute(_WHOLE, message, sender, parts)
    return None


class _Read(msgspec.Struct, frozen=True):
    body: bytes
    records: int
    holders: set[str]
    fault: str


def _read(letter: Letter) -> _Read:
    """The records of a letter, judged by the standard and nothing else."""
    found = exchange.record_set_of(letter)
    standard.check_dataschema(letter.envelope.dataschema, found.standard)
    declared = standard.load()
    event = declared.events.get(letter.envelope.type)
    allowed = set(event.entities) if event else set()
    others = {*found.records, *found.withdrawn, *found.rekeyed} - allowed
    if others or found.withdrawn or found.rekeyed or not allowed:
        return _Read(
            b"", 0, set(), "A return carries records of the entities of its message type and nothing else."
        )
    holders: set[str] = set()
    faults: list[str] = []
    count = 0
    for name, records in found.records.items():
        holders |= {standard.holder_alias(declared.entities[name], record) or "nobody" for record in records}
        count += len(records)
        faults += _faults(declared.entities[name], records)
    more = f" And {len(faults) - MOST_FAULTS:,} more." if len(faults) > MOST_FAULTS else ""
    body = exchange.encode(RecordSet(standard=found.standard, records=found.records), compress=True)
    return _Read(body, count, holders, f"{' '.join(faults[:MOST_FAULTS])}{more}")


def _faults(entity: standard.Entity, records: list[dict[str, Any]]) -> list[str]:
    """What keeps records from being the standard's, without their values.

    A return says what its collection asks: what else is missing is for the collection's rules, but for the key.
    """
    return [
        f"{entity.name}, record {one.index}, item `{one.item or ''}`: {one.rule}. {one.remedy}"
        for one in standard.check_records(entity.name, records).findings
        if one.severity == "error" and not (one.rule == MISSING and one.item not in entity.key)
    ]


async def _refuse(connection: Any, letter: Letter, reason: str) -> None:
    place = _place(letter)
    if place is not None:
        await connection.execute(_REFUSE, place[0], letter.envelope.source, reason)


def _place(letter: Letter) -> tuple[UUID, int, int] | None:
    """The version's message, the part, and how many parts there are."""
    part, _, parts = (letter.envelope.sequence or "").partition("/")
    try:
        message = UUID(letter.envelope.correlationid or "")
        numbers = int(part), int(parts)
    except ValueError:
        return None
    return (message, *numbers) if 1 <= numbers[0] <= numbers[1] <= 1_000_000 else None
