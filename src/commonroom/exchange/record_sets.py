"""The record set: the outer form in which records of the common language travel, as JSON or as JSON under zstd.

Here lives the shape {standard, records, withdrawn, rekeyed} and its safe reading. Which entities and items there are,
and whether a value is right, is the standard's business and never enters.
"""

from __future__ import annotations

from typing import Any

import msgspec
import zstandard

from commonroom.exchange.letters import Letter
from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-023": "The record set cannot be read",
        "CR-024": "The record set is too large",
    }
)

RECORDS_TYPE = "application/vnd.commonroom.records+json"
RECORDS_ZSTD_TYPE = "application/vnd.commonroom.records+json+zstd"
LARGEST = 8 * 1024 * 1024  # bytes after decompression
MAX_RECORDS = 50_000  # a record of one byte costs its reader a hundred
_MAX_WINDOW = (
    8 * 1024 * 1024
)  # memory one frame may make the reader hold; RFC 8878 section 3.1.1.1.2 recommends 8 MB
_LEVEL = 3

Scalar = str | int | float | bool | None
Record = dict[str, Any]  # checked as dict[str, Scalar] on reading


class RecordSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Records of one or more entities, by entity name.

    A record is flat: items by name (JSON scalars; dates as ISO text), `version` (the sender's rising number) and
    `valid_from` (ISO date), optionally `valid_to`. A withdrawn entry has the key items, `valid_from` and `version`.
    """

    standard: str  # the version of the language: 2026.1
    records: dict[str, list[Record]] = {}
    withdrawn: dict[str, list[Record]] = {}
    rekeyed: dict[str, list[dict[str, Record]]] = {}  # {"from": key items, "to": key items}


class _Rekeyed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"old": "from", "new": "to"}):
    old: dict[str, Scalar]
    new: dict[str, Scalar]


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same as RecordSet with the inside of every record typed, so that nothing nested gets in."""

    standard: str
    records: dict[str, list[dict[str, Scalar]]] = {}
    withdrawn: dict[str, list[dict[str, Scalar]]] = {}
    rekeyed: dict[str, list[_Rekeyed]] = {}


_DECODER = msgspec.json.Decoder(_Wire)


def content_type(compressed: bool) -> str:
    """The media type to write in `datacontenttype`."""
    return RECORDS_ZSTD_TYPE if compressed else RECORDS_TYPE


def encode(record_set: RecordSet, compress: bool = False) -> bytes:
    """The body of a message: JSON in UTF-8, under zstd when `compress`. Equal sets give equal bytes."""
    body = msgspec.json.encode(record_set)
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(body) if compress else body


def decode(body: bytes, content_type: str | None, limit: int = LARGEST) -> RecordSet:
    """The record set in a body of this media type; `limit` is in bytes after decompression.

    Raises Problem CR-023 (not a record set; says where, never a value) or CR-024 (over the limit).
    """
    plain = _plain(body, content_type, limit)
    try:
        wire = _DECODER.decode(plain)
    except msgspec.ValidationError as error:
        raise _unreadable(f"{error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The decoder's own words could quote a value, and values are personal.
        raise _unreadable("The body is not well-formed JSON in UTF-8.") from None
    count = sum(
        len(records) for part in (wire.records, wire.withdrawn, wire.rekeyed) for records in part.values()
    )
    if count > MAX_RECORDS:
        raise Problem(
            "CR-024",
            f"The record set has {count:,} records; {MAX_RECORDS:,} are allowed.",
            status=413,
            where="the body",
            remedy="Send it as several messages.",
        )
    rekeyed = {
        entity: [{"from": change.old, "to": change.new} for change in changes]
        for entity, changes in wire.rekeyed.items()
    }
    return RecordSet(standard=wire.standard, records=wire.records, withdrawn=wire.withdrawn, rekeyed=rekeyed)


def _plain(body: bytes, content_type: str | None, limit: int) -> bytes:
    media_type = (content_type or "").split(";")[0].strip().lower()
    if media_type == RECORDS_ZSTD_TYPE:
        return _decompress(body, limit)
    if media_type != RECORDS_TYPE:
        raise _unreadable(f"Content type {RECORDS_TYPE} is needed.")
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _decompress(body: bytes, limit: int) -> bytes:
    # Reads at most one byte more than allowed, whatever the frame claims to hold: a bomb costs `limit` of memory.
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    try:
        with decompressor.stream_reader(body, read_across_frames=True) as reader:
            plain: bytes = reader.read(limit + 1)
    except zstandard.ZstdError:
        raise _unreadable("The body is not zstd, is damaged, or needs a window over 8 MB.") from None
    if len(plain) > limit:
        raise _too_large(limit)
    return plain


def _unreadable(detail: str) -> Problem:
    return Problem(
        "CR-023",
        detail,
        where="the body",
        remedy='Send {"standard", "records": {entity: [flat records]}, "withdrawn", "rekeyed"} as docs/envelope.md shows.',
    )


def _too_large(limit: int) -> Problem:
    return Problem(
        "CR-024",
        f"The record set is larger than {limit} bytes.",
        status=413,
        where="the body",
        remedy="Send fewer records in a message; 500 is a good number.",
    )


def record_set_of(letter: Letter) -> RecordSet:
    """The record set in a letter that was pulled with `bodies=LARGEST`. Raises Problem CR-023 or CR-024."""
    if letter.stored is not None:
        raise _too_large(LARGEST)
    return decode(letter.body, letter.envelope.datacontenttype)
