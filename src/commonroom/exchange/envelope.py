"""The envelope of a message: CloudEvents 1.0 attributes with Common Room's registered extensions.

Here lives what is written on the outside of a letter and how it is carried, as HTTP headers (binary mode) or as an
item of a JSON batch. What the letter says must never enter: the body is opaque bytes everywhere in this module.

Source: CloudEvents 1.0.2, its HTTP protocol binding (sections 3.1.3.2 and 3.3) and its JSON event format (section 4).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from commonroom.exchange.header_values import percent_decode, percent_encode
from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-020": "The envelope cannot be accepted",
        "CR-021": "The body is not what the envelope says",
        "CR-022": "The batch cannot be read",
    }
)

SPEC_VERSION = "1.0"
MAX_HEADER_BYTES = 2048  # one header value as it travels, percent-encoding included
MAX_ENVELOPE_BYTES = 8192  # all ce- headers together: below the 16 KB at which common proxies give up
MAX_BATCH_ITEMS = 500

# `$` alone would let one line feed at the end pass; written so that JSON Schema readers understand it too.
_END = r"$(?![\s\S])"
# CloudEvents "String": no control characters, no noncharacters. (Lone surrogates cannot be written in UTF-8 at all.)
_TEXT = r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]+" + _END
_MEDIA_TYPE = (
    r"^[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}"
    r"( ?; ?[A-Za-z0-9!#$&^_.+-]{1,64}=([A-Za-z0-9!#$&^_.+-]{1,128}|\"[A-Za-z0-9 !#$&'()*+,./:<=>?@^_{|}~-]{0,128}\"))*"
) + _END

Text = Annotated[str, Meta(min_length=1, max_length=255, pattern=_TEXT)]
MediaType = Annotated[str, Meta(min_length=3, max_length=255, pattern=_MEDIA_TYPE)]
Digest = Annotated[str, Meta(pattern=r"^sha-256=:[A-Za-z0-9+/]{43}=:" + _END)]
UploadId = Annotated[str, Meta(max_length=36, pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}" + _END)]
# A compact JWS without its payload (RFC 7515 appendix F) by an Ed25519 key; a batch's is followed by the message's proof
# of at most 9 hashes, enough for MAX_BATCH_ITEMS.
_SIGNATURE = r"^[A-Za-z0-9_-]{1,400}\.\.[A-Za-z0-9_-]{86}(\.[A-Za-z0-9_-]{6,390})?" + _END
Signature = Annotated[str, Meta(max_length=879, pattern=_SIGNATURE)]
Moment = Annotated[datetime, Meta(tz=True)]
Classification = Literal["public", "internal", "confidential", "restricted"]


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is written on the outside of one message. Attribute names are CloudEvents names; text is 1-255 characters.

    Making one from Python checks nothing; `check`, `to_headers` and everything that reads one from outside do.
    No attribute may hold personal data: envelopes are logged, listed and shown to operators.
    """

    id: Text  # the sender's own name for this message; (source, id) is unique while the hub remembers it
    source: Text  # the sending party, urn:commonroom:org:<uuid>
    type: Text  # what kind of message, commonroom.learner.changed; with the parties it selects the movement
    time: Moment | None = None  # when the thing happened, by the sender's clock; sent in UTC
    subject: Text | None = None  # what the message is about, never a person
    dataschema: Text | None = None  # the version of the language in the body, urn:commonroom:standard:2026.1
    datacontenttype: MediaType | None = None  # media type of the body; travels as Content-Type
    recipient: Text | None = None  # party urn or alias, when the movement is addressed
    dataclassification: Classification | None = None  # at least the movement's own level when absent
    expirytime: Moment | None = None  # after this moment the hub no longer delivers it
    contentmode: Literal["changes", "snapshot"] | None = None  # what the body holds; changes when absent
    partitionkey: Text | None = None  # messages with the same key keep their order
    sequence: Text | None = None  # the sender's own running number
    correlationid: Text | None = None  # the conversation this belongs to
    causationid: Text | None = None  # the message that caused this one
    bodydigest: Digest | None = None  # `sha-256=:<base64>:` of the body as sent (RFC 9530 form)
    bodyref: UploadId | None = None  # a complete upload of the sender's that is the body; needs bodydigest
    signature: Signature | None = None  # by the sender's key, over all of this and the body: signatures.py

    def to_headers(self) -> dict[str, str]:
        """HTTP headers of binary mode, all ASCII: `ce-*` and `content-type`. Raises Problem on an unsendable envelope."""
        values: dict[str, Any] = msgspec.to_builtins(check(self))
        headers = {"ce-specversion": SPEC_VERSION}
        content_type = values.pop("datacontenttype", None)
        if content_type is not None:
            headers["content-type"] = content_type
        headers |= {f"ce-{name}": percent_encode(value) for name, value in values.items()}
        _limit_sizes(headers)
        return headers

    @classmethod
    def from_headers(cls, headers: Headers) -> Envelope:
        """The envelope in these HTTP headers (names in any case; other headers are ignored).

        Raises Problem CR-020 naming the header: unknown or repeated attribute, bad encoding, over a limit, missing.
        """
        attributes = _attributes(headers)
        if (version := attributes.pop("specversion", None)) != SPEC_VERSION:
            raise _problem(
                f"CloudEvents version {SPEC_VERSION} is needed, not {version or 'none'}.", "ce-specversion"
            )
        return _convert(attributes, prefix="ce-")

    def to_batch_item(self, body: bytes) -> BatchItem:
        """This message as an item of `application/cloudevents-batch+json`."""
        return BatchItem(**_fields(_in_utc(self)), specversion="1.0", data_base64=body)

    @classmethod
    def from_batch_item(cls, item: BatchItem) -> tuple[Envelope, bytes]:
        """The envelope and the body of an item that msgspec decoded (and so checked)."""
        # Written out, as a batch has hundreds of them; a test holds the list to the attributes there are.
        envelope = cls(
            id=item.id,
            source=item.source,
            type=item.type,
            time=item.time,
            subject=item.subject,
            dataschema=item.dataschema,
            datacontenttype=item.datacontenttype,
            recipient=item.recipient,
            dataclassification=item.dataclassification,
            expirytime=item.expirytime,
            contentmode=item.contentmode,
            partitionkey=item.partitionkey,
            sequence=item.sequence,
            correlationid=item.correlationid,
            causationid=item.causationid,
            bodydigest=item.bodydigest,
            bodyref=item.bodyref,
            signature=item.signature,
        )
        return _in_utc(envelope), item.data_base64


class BatchItem(Envelope, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One message in the CloudEvents JSON format. The body is always `data_base64`: the hub never looks into `data`."""

    specversion: Literal["1.0"]
    data_base64: bytes  # msgspec reads and writes bytes as base64 text


Headers = Mapping[str, str] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]
ATTRIBUTES: tuple[str, ...] = tuple(field.name for field in msgspec.structs.fields(Envelope))


def check(envelope: Envelope) -> Envelope:
    """The envelope itself (times in UTC) when it may be sent. Raises Problem CR-020 naming the attribute."""
    return _convert(_fields(envelope), prefix="")


def decode_batch(body: bytes) -> list[tuple[Envelope, bytes] | Problem]:
    """The messages of an `application/cloudevents-batch+json` body, in order; a bad item is a Problem in its place.

    Raises Problem CR-022 when the whole is not a JSON array of 1 to MAX_BATCH_ITEMS items.
    """
    items = _items(body)
    if not 1 <= len(items) <= MAX_BATCH_ITEMS:
        raise _batch_problem(f"The batch has {len(items)} messages; 1 to {MAX_BATCH_ITEMS} are allowed.")
    return [_decode_item(item, index) for index, item in enumerate(items)]


def encode_batch(messages: Iterable[tuple[Envelope, bytes]]) -> bytes:
    """The body of POST /messages:batch. Raises Problem CR-020 on an envelope that may not be sent."""
    return msgspec.json.encode([check(envelope).to_batch_item(body) for envelope, body in messages])


# The same without the pattern of `Text`: a regular expression for each of them took half the time of reading a batch.
_UNCHECKED = Annotated[str, Meta(min_length=1, max_length=255)]
_UNCHECKED_TYPES: dict[Any, Any] = {Text: _UNCHECKED, Text | None: _UNCHECKED | None}
_PlainItem: Any = msgspec.defstruct(
    "_PlainItem",
    [
        (field.encode_name, _UNCHECKED_TYPES.get(field.type, field.type), field.default)
        for field in msgspec.structs.fields(BatchItem)
    ],
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
)
_PLAIN_ITEMS = msgspec.json.Decoder(list[_PlainItem])
_GOOD_ITEMS = msgspec.json.Decoder(list[BatchItem])
_RAW_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_ITEM = msgspec.json.Decoder(BatchItem)


def _items(body: bytes) -> Sequence[msgspec.Raw | BatchItem]:
    try:
        # Nothing but printable ASCII as it stands (the parser refuses what is below the space): every text is right then.
        if body.isascii() and b"\\" not in body and b"\x7f" not in body:
            plain: list[BatchItem] = _PLAIN_ITEMS.decode(body)
            return plain
        return _GOOD_ITEMS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # one of them is bad: then each is looked at by itself
    try:
        return _RAW_ITEMS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _batch_problem("The body is not a JSON array.") from None


def _decode_item(item: msgspec.Raw | BatchItem, index: int) -> tuple[Envelope, bytes] | Problem:
    try:
        return Envelope.from_batch_item(_ITEM.decode(item) if isinstance(item, msgspec.Raw) else item)
    except msgspec.ValidationError as error:
        return _problem(_explain(error), f"item {index}, {_where(error, prefix='')}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _problem("The item is not well-formed JSON.", f"item {index}")


def _batch_problem(detail: str) -> Problem:
    return Problem(
        "CR-022",
        detail,
        where="the batch",
        remedy="Send application/cloudevents-batch+json: an array of CloudEvents whose bodies are data_base64.",
    )


def body_digest(body: bytes) -> str:
    """`sha-256=:<base64>:` of these bytes, as `bodydigest` carries it."""
    return digest_text(hashlib.sha256(body).digest())


def digest_text(digest: bytes) -> str:
    """A SHA-256 as `bodydigest` writes it."""
    return f"sha-256=:{base64.b64encode(digest).decode('ascii')}:"


def check_digest(envelope: Envelope, body: bytes) -> None:
    """Raise Problem CR-021 when the envelope states a digest and the body is another one."""
    if envelope.bodydigest is not None and not hmac.compare_digest(envelope.bodydigest, body_digest(body)):
        raise Problem(
            "CR-021",
            "The body is not the one whose digest the envelope states.",
            where="ce-bodydigest",
            remedy="Compute the digest over the bytes as they are sent, after any compression.",
        )


def _attributes(headers: Headers) -> dict[str, str]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found: dict[str, str] = {}
    total = 0
    for raw_name, raw_value in pairs:
        name = (raw_name.decode("latin-1") if isinstance(raw_name, bytes) else raw_name).lower()
        if not (name.startswith("ce-") or name == "content-type"):
            continue
        value = raw_value if isinstance(raw_value, bytes) else raw_value.encode("utf-8", errors="replace")
        total += len(name) + len(value)
        _limit_size(name, len(value), total)
        attribute = _attribute_name(name)
        if attribute in found:
            raise _problem(
                "The header stands there more than once.", name
            )  # two readers could pick different ones
        found[attribute] = _header_text(name, value)
    return found


def _attribute_name(header: str) -> str:
    if header == "content-type":
        return "datacontenttype"
    attribute = header.removeprefix("ce-")
    if attribute == "datacontenttype":
        raise _problem("The type of the body is said by Content-Type alone.", header)
    if attribute not in _KNOWN:
        shown = header if re.fullmatch(r"ce-[a-z0-9]{1,20}", header) else "a ce- header"
        raise _problem("This attribute is not in the registered set, so nobody could honour it.", shown)
    return attribute


_KNOWN = frozenset(ATTRIBUTES) | {"specversion"}


def _header_text(name: str, value: bytes) -> str:
    try:
        if name == "content-type":
            return value.decode("ascii").strip()
        return percent_decode(value.strip(b" \t"))
    except ValueError as error:  # UnicodeDecodeError is one
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise _problem(f"The header cannot be read: {reason}.", name) from None


def _convert(attributes: dict[str, Any], prefix: str) -> Envelope:
    try:
        envelope = msgspec.convert(attributes, Envelope)
    except msgspec.ValidationError as error:
        raise _problem(_explain(error), _where(error, prefix)) from None
    return _in_utc(envelope)


def _in_utc(envelope: Envelope) -> Envelope:
    # One spelling of each moment, so that an envelope equals itself after any journey.
    if envelope.time is None and envelope.expirytime is None:
        return envelope
    changes = {
        name: _moment_in_utc(name, moment)
        for name, moment in (("time", envelope.time), ("expirytime", envelope.expirytime))
        if moment is not None and moment.tzinfo is not UTC
    }
    return msgspec.structs.replace(envelope, **changes) if changes else envelope


def _moment_in_utc(name: str, moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise Problem(
            "CR-020",
            "The time is outside the years 1 to 9999 in UTC.",
            where=f"ce-{name}",
            remedy="Send the real time.",
        ) from error


def _fields(envelope: Envelope) -> dict[str, Any]:
    return {name: value for name in ATTRIBUTES if (value := getattr(envelope, name)) is not None}


def _where(error: msgspec.ValidationError, prefix: str) -> str:
    named = re.search(r"`\$(?:\[\.\.\.\]|\[\d+\])?\.([a-z0-9_]+)`", str(error)) or re.search(
        r"field `([a-z0-9_]+)`", str(error)
    )
    if named is None:
        return "the envelope"
    return "content-type" if prefix and named[1] == "datacontenttype" else prefix + named[1]


def _explain(error: msgspec.ValidationError) -> str:
    text = str(error)
    if "missing required field" in text:
        return "The attribute is missing."
    if "regex" in text:
        return "The attribute holds characters, or has a form, that it may not have."
    if "length" in text:
        return "The attribute is empty or longer than it may be."
    if "unknown field" in text:
        return "The attribute is not in the registered set, so nobody could honour it."
    if "enum value" in text:
        return "The attribute is none of the known values, and an unknown level must be refused."
    return "The attribute is not of its type; times are written 2026-01-31T09:00:00Z."


def _limit_sizes(headers: dict[str, str]) -> None:
    total = 0
    for name, value in headers.items():
        total += len(name) + len(value)
        _limit_size(name, len(value), total)


def _limit_size(name: str, size: int, total: int) -> None:
    if size > MAX_HEADER_BYTES:
        raise _problem(f"The header is longer than {MAX_HEADER_BYTES} bytes.", name[:40])
    if total > MAX_ENVELOPE_BYTES:
        raise _problem(f"The envelope is longer than {MAX_ENVELOPE_BYTES} bytes altogether.", name[:40])


def _problem(detail: str, where: str) -> Problem:
    return Problem(
        "CR-020",
        detail,
        where=where,
        remedy="docs/envelope.md lists the attributes, their limits and the encoding of header values.",
    )
