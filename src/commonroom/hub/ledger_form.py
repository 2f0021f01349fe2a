"""The canonical form of ledger entries and signed heads: the bytes that are hashed and signed.

Canonical JSON here is JSON as RFC 8785 has it for the values we use: members sorted by name, no spaces, UTF-8. Nothing of
it is personal data: bodies, envelopes and reasons are there as SHA-256 digests alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from commonroom import merkle
from commonroom.exchange.envelope import Envelope
from commonroom.exchange.keys import base64url

HEAD_PREFIX = b"commonroom ledger head 1\n"  # so that a signature of a head can pass for nothing else

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_encode_all_sorted = msgspec.json.Encoder(order="sorted").encode


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One event as it enters the tree. The fields stand in alphabetical order: that is their canonical order."""

    at: datetime  # real time, UTC
    body: str | None  # digest noted with the event, hex: of `accepted` the SHA-256 of the body
    entry: int  # the hub's number of the entry
    envelope: str | None  # of `accepted`: digest of the canonical envelope, hex
    event: str
    facts: str | None  # of `accepted`: digest of what the hub noted about the message, hex
    message: str | None  # the hub's id of the message, a UUID
    party: str  # urn of who did it
    reason: str | None  # digest of the reason, hex
    transaction: int  # the database transaction: entries with the same number were written together


class SignedHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of the whole ledger at one size, vouched for by the hub."""

    key: str  # RFC 7638 thumbprint of the signing key
    root: str  # hex
    signature: str  # Ed25519, hex, over HEAD_PREFIX and the canonical JSON of the other members
    size: int  # entries
    time: datetime  # UTC


class PublicKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public key of the ledger as a JWK."""

    crv: Literal["Ed25519"] = "Ed25519"
    kid: str  # RFC 7638 thumbprint
    kty: Literal["OKP"] = "OKP"
    x: str


class ProvenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry with its place in the tree of a signed head, and the proof (RFC 6962 section 2.1.1) as hex hashes."""

    entry: LedgerEntry
    position: int
    proof: list[str]


class InclusionProof(msgspec.Struct, frozen=True, kw_only=True):
    """200 of GET /messages/{id}/proof: what happened to a message, provably in the ledger of this head."""

    message: str
    head: SignedHead
    entries: list[ProvenEntry]
    later: int  # entries of the message that no signed head covers yet


class ConsistencyProof(msgspec.Struct, frozen=True, kw_only=True):
    """200 of GET /ledger/consistency: the ledger of `new` begins with that of `old` (RFC 6962 section 2.1.2)."""

    old: SignedHead
    new: SignedHead
    proof: list[str]


def canonical(value: Any) -> bytes:
    """Canonical JSON of a struct whose fields stand in alphabetical order, like those above."""
    return _encode(value)


def leaf_of(entry: LedgerEntry) -> bytes:
    """The leaf hash of an entry."""
    return merkle.leaf_hash(_encode(entry))


def leaves_of_group(group: Any) -> list[bytes]:
    """The leaf hash of each entry in a row of hub.ledger_group, whose numbers and ids come with commas between them.

    What `leaf_of` makes of them one by one, in a fifth of the time: the canonical form is put together from its parts.
    """
    at, event, end = _text(group["at"]), _text(group["event"]), f'"transaction":{int(group["tx"])}}}'
    parties = {str(place): _text(party) for place, party in enumerate(group["parties"], 1)}
    entries = group["entries"].split(",")
    count = len(entries)
    return [
        hashlib.sha256(
            f'\0{{"at":{at},"body":{body},"entry":{entry},"envelope":{envelope},"event":{event},"facts":{fact},'
            f'"message":"{message}","party":{parties[party]},"reason":{reason},{end}'.encode()
        ).digest()
        for entry, message, party, body, envelope, fact, reason in zip(
            entries,
            group["messages"].split(","),
            group["party_of"].split(","),
            _hex_texts(group["digests"], 0, 32, 32, count),
            _hex_texts(group["facts"], 0, 32, 64, count),
            _hex_texts(group["facts"], 32, 64, 64, count),
            [_text(text_digest(reason)) for reason in group["reasons"] or [None] * count],
            strict=True,
        )
    ]


def _text(value: Any) -> str:
    return _encode(value).decode("utf-8")


def _hex_texts(joined: bytes | None, first: int, last: int, step: int, count: int) -> list[str]:
    """These bytes of each value, as JSON."""
    if joined is None:
        return ["null"] * count
    text = joined.hex()
    return [f'"{text[2 * (place + first) : 2 * (place + last)]}"' for place in range(0, step * count, step)]


def text_digest(text: str | None) -> str | None:
    """SHA-256 of a text, hex."""
    return None if text is None else hashlib.sha256(text.encode("utf-8")).hexdigest()


def canonical_envelope(envelope: Envelope) -> bytes:
    """Canonical JSON of an envelope's attributes, as it is stored and as its digest is made."""
    return _encode_all_sorted(envelope)


def accepted_digests(envelope: bytes, facts: Sequence[Any]) -> bytes:
    """The two digests of an `accepted` entry, joined: of the canonical envelope and of the values of FACTS."""
    return hashlib.sha256(envelope).digest() + hashlib.sha256(_encode(facts)).digest()


def envelope_digest(envelope: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of the envelope's attributes as the hub stores them, hex."""
    return hashlib.sha256(_encode_sorted(envelope)).hexdigest()


# Columns of hub.message that an `accepted` entry vouches for, beside the envelope and the body.
FACTS = ("accepted_at", "ce_id", "end_point", "id", "position", "retain_until", "size", "source", "type")


def facts_digest(message: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of these columns of a stored message, hex."""
    return hashlib.sha256(_encode([message[name] for name in FACTS])).hexdigest()


def key_id(x: str) -> str:
    """The RFC 7638 thumbprint of an Ed25519 public key given as base64url, over the text exactly as it is."""
    return base64url(hashlib.sha256(_encode({"crv": "Ed25519", "kty": "OKP", "x": x})).digest())


def signed(key: OKPKey, size: int, root: bytes, time: datetime) -> SignedHead:
    """A head signed with the ledger's private key."""
    head = SignedHead(
        key=key.thumbprint(), root=root.hex(), signature="", size=size, time=time.astimezone(UTC)
    )
    private: Any = key.private_key
    return msgspec.structs.replace(head, signature=private.sign(_signed_bytes(head)).hex())


def is_signed_by(head: SignedHead, x: str) -> bool:
    """Whether the head carries a good signature of this public key (base64url) and names it."""
    try:
        signature = bytes.fromhex(head.signature)
        # One signature has one text: hex digits of the other case are another text.
        if key_id(x) != head.key or signature.hex() != head.signature:
            return False
        public: Any = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x}).public_key
        public.verify(signature, _signed_bytes(head))
    except (InvalidSignature, JoseError, ValueError):
        return False
    return True


def verify_inclusion(proof: InclusionProof, keys: Iterable[PublicKey]) -> bool:
    """Whether every entry of the proof is in the ledger of its head, and one of these keys has signed the head."""
    root = bytes.fromhex(proof.head.root)
    return any(is_signed_by(proof.head, key.x) for key in keys) and all(
        merkle.verify_inclusion(
            leaf_of(proven.entry),
            proven.position,
            proof.head.size,
            [bytes.fromhex(step) for step in proven.proof],
            root,
        )
        for proven in proof.entries
    )


def verify_consistency(proof: ConsistencyProof, keys: Iterable[PublicKey]) -> bool:
    """Whether the newer ledger begins with the older one, and these keys have signed both heads."""
    known = list(keys)
    return all(
        any(is_signed_by(head, key.x) for key in known) for head in (proof.old, proof.new)
    ) and merkle.verify_consistency(
        proof.old.size,
        bytes.fromhex(proof.old.root),
        proof.new.size,
        bytes.fromhex(proof.new.root),
        [bytes.fromhex(step) for step in proof.proof],
    )


def _signed_bytes(head: SignedHead) -> bytes:
    return HEAD_PREFIX + _encode({"key": head.key, "root": head.root, "size": head.size, "time": head.time})
