"""Letters: changes made into messages of a size that travels well. Pure, besides the id and time each letter gets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from commonroom.agent.changes import Changes
from commonroom.exchange import RECORDS_TYPE, RECORDS_ZSTD_TYPE, RecordSet, decode, encode
from commonroom.ids import alias_urn, uuid7
from commonroom.standard import Entity, Standard

MAX_RECORDS = 500
MAX_PLAIN_BYTES = 1_000_000  # before compression, so that a receiver's limit on either is met
COMPRESS_FROM_BYTES = 2_000  # smaller bodies gain nothing
TRANSFER_TYPE = "commonroom.transfer.sent"

Part = Literal["records", "withdrawn"]
Entry = tuple[Part, str, dict[str, Any]]  # part of the record set, entity, record


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that waits in the outbox."""

    id: str  # ce-id: the same however often it is posted
    type: str
    recipient: str | None = None  # alias or party, when the movement is addressed
    dataschema: str
    datacontenttype: str
    made_at: str  # ISO, UTC
    records: int
    body: bytes
    sealed: bytes | None = None  # the body as it was encrypted for its recipients, once it was


def changed_type(entity: str) -> str:
    """The message type that tells of changes of an entity: `commonroom.attendance-mark.changed`."""
    return f"commonroom.{entity.replace('_', '-')}.changed"


def of_changes(entity: Entity, changes: Changes, standard: Standard) -> list[Letter]:
    """The letters that tell of one entity's changes, at most MAX_RECORDS in each."""
    entries: list[Entry] = [
        ("records", entity.name, {**sent.fresh.record, "version": sent.version}) for sent in changes.sent
    ]
    entries += [
        (
            "withdrawn",
            entity.name,
            {**key_items(entity, gone.key), "valid_from": gone.valid_from, "version": gone.version},
        )
        for gone in changes.withdrawn
    ]
    return list(_letters(entries, changed_type(entity.name), None, standard.dataschema, standard.version))


def of_transfer(
    learner: dict[str, Any], enrolments: Sequence[dict[str, Any]], destination: str, standard: Standard
) -> Letter:
    """The letter that sends one pupil's records to the next school, named by its URN."""
    entries: list[Entry] = [("records", "learner", learner)]
    entries += [("records", "enrolment", enrolment) for enrolment in enrolments]
    recipient = alias_urn("urn", destination)
    return _letter(entries, TRANSFER_TYPE, recipient, standard.dataschema, standard.version)


def halves(letter: Letter) -> list[Letter]:
    """The same content in two letters, for a hub that takes only smaller ones; empty when there is one record only."""
    record_set = decode(letter.body, letter.datacontenttype)
    entries: list[Entry] = [
        ("records", entity, record) for entity, records in record_set.records.items() for record in records
    ]
    entries += [
        ("withdrawn", entity, record)
        for entity, records in record_set.withdrawn.items()
        for record in records
    ]
    if len(entries) < 2 or letter.type == TRANSFER_TYPE:
        return []
    middle = len(entries) // 2
    return [
        _letter(part, letter.type, letter.recipient, letter.dataschema, record_set.standard)
        for part in (entries[:middle], entries[middle:])
    ]


def key_text(entity: Entity, record: dict[str, Any]) -> str:
    """The natural key as a JSON array, in the order of the entity's key."""
    return msgspec.json.encode([record.get(item) for item in entity.key]).decode()


def key_items(entity: Entity, key: str) -> dict[str, Any]:
    """The key items by name."""
    return dict(zip(entity.key, msgspec.json.decode(key), strict=True))


def _letters(
    entries: Sequence[Entry], kind: str, recipient: str | None, dataschema: str, version: str
) -> Iterator[Letter]:
    for start in range(0, len(entries), MAX_RECORDS):
        yield from _fitting(entries[start : start + MAX_RECORDS], kind, recipient, dataschema, version)


def _fitting(
    entries: Sequence[Entry], kind: str, recipient: str | None, dataschema: str, version: str
) -> Iterator[Letter]:
    if len(entries) > 1 and len(encode(_record_set(entries, version))) > MAX_PLAIN_BYTES:
        middle = len(entries) // 2
        yield from _fitting(entries[:middle], kind, recipient, dataschema, version)
        yield from _fitting(entries[middle:], kind, recipient, dataschema, version)
        return
    yield _letter(entries, kind, recipient, dataschema, version)


def _letter(
    entries: Sequence[Entry], kind: str, recipient: str | None, dataschema: str, version: str
) -> Letter:
    record_set = _record_set(entries, version)
    plain = encode(record_set)
    compress = len(plain) >= COMPRESS_FROM_BYTES
    return Letter(
        id=str(uuid7()),
        type=kind,
        recipient=recipient,
        dataschema=dataschema,
        datacontenttype=RECORDS_ZSTD_TYPE if compress else RECORDS_TYPE,
        made_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        records=len(entries),
        body=encode(record_set, compress=True) if compress else plain,
    )


def _record_set(entries: Sequence[Entry], version: str) -> RecordSet:
    parts: dict[str, dict[str, list[dict[str, Any]]]] = {"records": {}, "withdrawn": {}}
    for part, entity, record in entries:
        parts[part].setdefault(entity, []).append(record)
    return RecordSet(standard=version, records=parts["records"], withdrawn=parts["withdrawn"])
