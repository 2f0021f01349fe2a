"""Which rows of a query are usable records, and what is wrong with the others. Pure; the standard says what is right."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import compress
from typing import Any

import msgspec

from commonroom.agent.changes import Fresh
from commonroom.agent.findings import Finding
from commonroom.agent.letters import key_text
from commonroom.agent.recall import RowFinding
from commonroom.agent.translate import Fault, Plan, Record, translate
from commonroom.standard import Entity, check_records

CLASH = "two-rows"

_ROW = msgspec.msgpack.Encoder()
_RECORD = msgspec.json.Encoder(order="deterministic")
_DIGEST_BYTES = 16


def seed(*parts: bytes) -> bytes:
    """What the digests of rows depend on besides the row: another mapping or standard makes every row new."""
    return hashlib.blake2b(b"\0".join(parts), digest_size=32).digest()


def digests(rows: Sequence[tuple[Any, ...]], seed: bytes) -> list[bytes]:
    """A digest of each row as the source wrote it."""
    encode, blake2b = _ROW.encode, hashlib.blake2b
    try:
        return [blake2b(seed + encode(row), digest_size=_DIGEST_BYTES).digest() for row in rows]
    except (TypeError, UnicodeEncodeError, OverflowError):
        return [blake2b(seed + _row_bytes(row), digest_size=_DIGEST_BYTES).digest() for row in rows]


def judge(
    entity: Entity,
    plan: Plan,
    unseen: Sequence[tuple[bytes, tuple[Any, ...]]],
    since: str,
    mapping: str,
) -> tuple[list[Fresh], list[RowFinding]]:
    """Translate and check rows with their digests: the usable records, and what is wrong with the others."""
    translated = [translate(plan, values) for _, values in unseen]
    # A query may show more than its window; what lies before it was not compared with the memory.
    inside = [str(one.record.get("valid_from") or since) >= since for one in translated]
    rows = [row for row, _ in compress(unseen, inside)]
    kept = list(compress(translated, inside))
    found = [
        _of_fault(entity, mapping, row, one.record, fault, {fault.item for fault in one.faults})
        for row, one in zip(rows, kept, strict=True)
        for fault in one.faults
    ]
    readable = [(row, one.record) for row, one in zip(rows, kept, strict=True) if not one.faults]
    checked = check_records(entity.name, [record for _, record in readable])
    for finding in checked.findings:
        row, record = readable[finding.index]
        told = _finding(entity, mapping, record, finding.item, finding.rule, finding.message, finding.remedy)
        value = "" if finding.value is None else str(finding.value)
        told = msgspec.structs.replace(told, severity=finding.severity, value=value)
        found.append(RowFinding(told, row, key_text(entity, record), str(record.get("valid_from", ""))))
    good = {id(record) for record in checked.good}
    return [_fresh(entity, row, record) for row, record in readable if id(record) in good], found


def clash(entity: Entity, mapping: str, fresh: Fresh) -> RowFinding:
    """The finding for a row that contradicts another one."""
    message = (
        f"two rows say different things of this record from {fresh.valid_from}; no change of it was sent"
    )
    remedy = "Remove one in the school system, or make the query show one row for each key and valid_from."
    told = _finding(entity, mapping, fresh.record, "", CLASH, message, remedy)
    return RowFinding(told, fresh.row, fresh.key, fresh.valid_from)


def query_failed(entity: str, mapping: str, reason: str) -> RowFinding:
    """The finding for a query that the database refused."""
    message = f"the query cannot be run: {reason}"
    remedy = "Correct the query in the mapping; what was sent before stays as it is."
    return RowFinding(
        Finding(mapping=mapping, entity=entity, rule="query-failed", message=message, remedy=remedy)
    )


def _fresh(entity: Entity, row: bytes, record: Record) -> Fresh:
    content = hashlib.blake2b(_RECORD.encode(record), digest_size=_DIGEST_BYTES).digest()
    return Fresh(key_text(entity, record), str(record["valid_from"]), row, content, record)


def _of_fault(
    entity: Entity, mapping: str, row: bytes, record: Record, fault: Fault, unreadable: set[str]
) -> RowFinding:
    told = _finding(entity, mapping, record, fault.item, fault.rule, fault.message, fault.remedy)
    told = msgspec.structs.replace(told, value=fault.value)
    key = "" if unreadable.intersection(entity.key) else key_text(entity, record)
    return RowFinding(told, row, key, str(record.get("valid_from", "")))


def _finding(
    entity: Entity, mapping: str, record: Record, item: str, rule: str, message: str, remedy: str
) -> Finding:
    key = {name: str(record[name]) for name in entity.key if name in record}
    return Finding(
        mapping=mapping, entity=entity.name, key=key, item=item, rule=rule, message=message, remedy=remedy
    )


def _row_bytes(row: tuple[Any, ...]) -> bytes:
    try:
        return _ROW.encode(row)
    except (TypeError, UnicodeEncodeError, OverflowError):
        # Bytes that are not UTF-8, marked by the reader, and types of other databases.
        return repr(row).encode("utf-8", errors="surrogateescape")
