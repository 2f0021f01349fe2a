"""Where returns are handed over: each version is posted as its sender, and taken in as the Department, through the hub.

The posting end acts for the sender with an end point of the sender's own: it tells the version in the common language, in
parts of whole records. The taking end knows nothing but letters: it takes records of the standard that their sender may
speak of, refuses everything else with the finding, and has taken a version when all parts are there. Any kill between two
lines is made good by the next run: message ids are fixed, parts are written before they are acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID, uuid5

import msgspec

from commonroom import exchange, log, standard
from commonroom.collections import loader
from commonroom.collections.model import Collection
from commonroom.collections.records import read_back
from commonroom.collections.tables import Tables
from commonroom.engines import database, files
from commonroom.exchange import Client, Envelope, Letter, RecordSet, Refusal, Unreachable
from commonroom.hub import directory
from commonroom.hub.own_end_points import own_end_point
from commonroom.problems import Problem
from commonroom.returns import content, parties, reminders
from commonroom.returns.translation import Holder, Loss, Translator
from commonroom.settings import Settings

FOLDER = "returns-taken"
# Records at the top of a return, such as children, in one message.
RECORDS_A_PART = 250
LETTERS_A_PULL = 20
WAIT_SECONDS = 5.0
RETRY_SECONDS = 2.0
MOST_LOSSES_TOLD = 3
# How long content that no version names is left alone: longer than any upload takes.
KEPT_SECONDS = 86_400.0
_log = log.get("returns")

AGREED = "SELECT EXISTS (SELECT FROM hub.active_movement WHERE $1 = ANY (types))"

_WAITING = """
SELECT v.return, v.number, v.content, v.message, r.collection, r.year, r.party
FROM returns.version v
JOIN returns.return r ON r.id = v.return
WHERE v.told = 'waiting'
ORDER BY v.recorded_at
LIMIT 20
"""

_SAY = "UPDATE returns.version SET told = $2, told_reason = $3 WHERE message = $1"
_POSTED = "UPDATE returns.version SET told = 'posted' WHERE message = $1 AND told = 'waiting'"

_NUMBER = """
SELECT split_part(alias, ':', 5) FROM hub.party_alias
WHERE party = $1 AND split_part(alias, ':', 4) IN ('la', 'urn') ORDER BY alias LIMIT 1
"""

_PART = """
INSERT INTO returns.part (version_message, part, parts, sender, message, records) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (version_message, part) DO NOTHING
"""

# A version is its sender's own: parts of somebody else's message never complete it.
_WHOLE = """
UPDATE returns.version v SET told = 'taken', told_reason = ''
FROM returns.return r
WHERE v.message = $1 AND r.id = v.return AND r.party = $2 AND v.told IN ('waiting', 'posted')
    AND (SELECT count(*) FROM returns.part p WHERE p.version_message = $1 AND p.sender = $2) = $3
"""

_OF_SENDER = """
SELECT EXISTS (
    SELECT FROM returns.version v JOIN returns.return r ON r.id = v.return WHERE v.message = $1 AND r.party = $2
)
"""

_REFUSE = """
UPDATE returns.version v SET told = 'refused', told_reason = $3
FROM returns.return r WHERE v.message = $1 AND r.id = v.return AND r.party = $2
"""


class Letters(msgspec.Struct, frozen=True):
    """A version as messages, or what keeps it from being told."""

    messages: list[tuple[Envelope, bytes]]
    losses: list[Loss]


async def told_at_start(connection: Any, collection: Collection) -> str:
    """How a new version begins: waiting to be posted where a movement is agreed that carries it, else not sent."""
    kind = message_type(collection)
    return "waiting" if kind and await connection.fetchval(AGREED, kind) else "not sent"


def message_type(collection: Collection) -> str | None:
    """The message type of the standard that carries all entities of a collection; None where there is none."""
    entities = {module.entity for module in collection.modules.values() if module.entity}
    types = [
        event.type
        for event in standard.load().events.values()
        if event.type.endswith("-return.sent") and entities and entities <= set(event.entities)
    ]
    return min(types, default=None)


async def post_waiting(settings: Settings, connection: Any) -> int:
    """Post every version that waits, each as its sender; how many went. Raises Unreachable: come again later."""
    posted = 0
    for row in await connection.fetch(_WAITING):
        number = await connection.fetchval(_NUMBER, row["party"]) or ""
        letters = await asyncio.to_thread(_letters, settings, row, number)
        if letters.losses:
            await connection.execute(_SAY, row["message"], "refused", _in_words(letters.losses))
            continue
        name = f"returns-{row['party'].rpartition(':')[2]}"
        me = await own_end_point(settings, connection, name, row["party"])
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


async def take_letters(settings: Settings, connection: Any, client: Client, wait: float = 0.0) -> int:
    """Take in what waits at the Department's end point; how many letters there were."""
    letters = await client.pull(LETTERS_A_PULL, wait)
    for letter in letters:
        if exchange.is_report(letter.envelope):
            await client.acknowledge([letter.delivery])
            continue
        reason = await _taken(settings, connection, letter)
        if reason is None:
            await client.acknowledge([letter.delivery])
        else:
            await _refuse(connection, letter, reason)
            await client.refuse(letter.delivery, reason)
    return len(letters)


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Post and take until `stop` is set, or for ever; waits for the database, the hub and the directory."""
    stop = stop or asyncio.Event()
    while not stop.is_set():
        try:
            connection = await database.connect(settings)
            try:
                await _serve(settings, connection, stop)
            finally:
                connection.terminate()
        except (*database.DATABASE_AWAY, Unreachable) as error:
            _log.warning("returns desk interrupted, starts again", error=type(error).__name__)
        except Problem as problem:
            if problem.code != "CR-005":  # the directory does not know the Department yet
                _log.warning(
                    "returns desk interrupted, starts again", code=problem.code, detail=problem.detail
                )
        except Exception as error:
            log.fault(_log, "returns desk interrupted, starts again", error)
        await _pause(stop)


async def sweep(settings: Settings, connection: Any) -> None:
    """The recurring job: take away what killed uploads left, once nobody can still be at it."""
    wanted = {
        row["content"] for row in await connection.fetch("SELECT DISTINCT content FROM returns.version")
    }
    before = time.time() - KEPT_SECONDS
    swept = await asyncio.to_thread(content.sweep, settings, wanted, before)
    if swept:
        _log.info("contents of no version swept", folders=swept)


async def _serve(settings: Settings, connection: Any, stop: asyncio.Event) -> None:
    me = await own_end_point(settings, connection, "returns", parties.DEPARTMENT)
    verify = settings.require_signatures
    async with Client(settings.hub_url, me.key_file, me.end_point, verify=verify) as client:
        while not stop.is_set():
            await post_waiting(settings, connection)
            await reminders.post(settings, connection)
            await take_letters(settings, connection, client, WAIT_SECONDS)


def _letters(settings: Settings, row: Any, number: str) -> Letters:
    """A version cut into messages; the same version always gives the same bytes under the same ids."""
    collection = loader.load(row["collection"], row["year"])
    kind = message_type(collection)
    silent = Translator(collection).silent_items()
    if kind is None or silent:
        where = ", ".join(f"{module}.{item}" for module, item in silent[:MOST_LOSSES_TOLD]) or "its entities"
        return Letters([], [Loss("", where, "", "the standard has no item for it")])
    tables = Tables(collection)
    try:
        content.fill(tables, content.folder(settings, row["content"]))
        return _cut(tables, kind, row, Holder(number))
    finally:
        tables.close()


def _cut(tables: Tables, kind: str, row: Any, holder: Holder) -> Letters:
    translator = Translator(tables.collection)
    most = max((tables.highest[module.name] for module in tables.collection.children(None)), default=0)
    starts = list(range(1, most + 1, RECORDS_A_PART)) or [1]
    messages: list[tuple[Envelope, bytes]] = []
    losses: list[Loss] = []
    seen: set[tuple[Any, ...]] = set()
    for part, first in enumerate(starts, start=1):
        told = translator.tell(
            read_back(tables, first=first, last=first + RECORDS_A_PART - 1), holder, row["number"]
        )
        losses += told.losses + _twice(told.records, seen)
        messages.append(_message(kind, row, part, len(starts), told.records))
    return Letters(messages, losses)


def _twice(records: dict[str, list[dict[str, Any]]], seen: set[tuple[Any, ...]]) -> list[Loss]:
    """Records whose key stands in an earlier part already."""
    found = []
    for name, made in records.items():
        entity = standard.load().entities[name]
        for record in made:
            key = (name, *(record[item] for item in entity.key))
            if key in seen:
                found.append(Loss("", name, "", "another record has the same key"))
            seen.add(key)
    return found


def _message(kind: str, row: Any, part: int, parts: int, records: dict[str, Any]) -> tuple[Envelope, bytes]:
    version = standard.load().version
    envelope = Envelope(
        id=str(uuid5(row["message"], str(part))),
        source=row["party"],
        type=kind,
        subject=f"{row['collection']}/{row['year']}",
        dataschema=f"urn:commonroom:standard:{version}",
        datacontenttype=exchange.RECORDS_ZSTD_TYPE,
        contentmode="snapshot",
        sequence=f"{part}/{parts}",
        correlationid=str(row["message"]),
    )
    return envelope, exchange.encode(RecordSet(standard=version, records=records), compress=True)


async def _taken(settings: Settings, connection: Any, letter: Letter) -> str | None:
    """Keep one part; the reason where it cannot be taken. Without personal values."""
    place = _place(letter)
    if place is None:
        return "It does not say which part of which return it is (correlationid and sequence `1/3`)."
    message, part, parts = place
    sender = letter.envelope.source
    if not await connection.fetchval(_OF_SENDER, message, sender):
        return "No return of this sender waits for this message."
    try:
        found = await asyncio.to_thread(_read, letter)
    except Problem as problem:
        return f"{problem.detail} {problem.remedy}".strip()
    aliases = await directory.resolve_aliases(connection, sorted(found.holders))
    if any(aliases.get(alias) != sender for alias in found.holders):
        return "The sender does not speak for everybody whose records these are."
    if found.fault:
        return found.fault
    folder = settings.folder(FOLDER) / str(message)
    folder.mkdir(mode=0o700, exist_ok=True)
    await asyncio.to_thread(files.write, folder / f"{part}.json.zst", found.body)
    await connection.execute(_PART, message, part, parts, sender, letter.envelope.id, found.records)
    await connection.execute(_WHOLE, message, sender, parts)
    return None


class _Read(msgspec.Struct, frozen=True):
    body: bytes
    records: int
    holders: set[str]
    fault: str


def _read(letter: Letter) -> _Read:
    """The records of a letter, judged by the standard and nothing else."""
    found = exchange.decode(letter.body, letter.envelope.datacontenttype)
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
    fault, count = "", 0
    for name, records in found.records.items():
        holders |= {standard.holder_alias(declared.entities[name], record) or "nobody" for record in records}
        checked = standard.check_records(name, records)
        count += len(records)
        bad = next((one for one in checked.findings if one.severity == "error"), None)
        if bad is not None and not fault:
            fault = f"{name}, record {bad.index}, item `{bad.item or ''}`: {bad.rule}. {bad.remedy}"
    body = exchange.encode(RecordSet(standard=found.standard, records=found.records), compress=True)
    return _Read(body, count, holders, fault)


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


def _in_words(losses: list[Loss]) -> str:
    told = [
        " ".join(word for word in (one.path, one.module, one.item) if word) + f": {one.why}" for one in losses
    ]
    more = f"; and {len(losses) - MOST_LOSSES_TOLD:,} more" if len(losses) > MOST_LOSSES_TOLD else ""
    return f"{'; '.join(told[:MOST_LOSSES_TOLD])}{more}"


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), RETRY_SECONDS)
    except TimeoutError:
        return
