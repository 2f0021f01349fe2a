"""The sender's signature: a detached JWS over the canonical form of an envelope and the digest of its body.

Messages that are sent together share one JWS, over the root of a Merkle tree of their canonical forms; each carries its
own way to that root, so that it can be checked alone for ever. Here live the forms, signing and checking with one key.
Whose key it is, and whether it was valid, is asked elsewhere. Source: RFC 7515 (appendix F, detached content), RFC 8037
and 9864 (Ed25519), RFC 7638 (key names), RFC 9162 (trees and inclusion proofs).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from commonroom import merkle
from commonroom.exchange.envelope import MAX_BATCH_ITEMS, SPEC_VERSION, Envelope, check, digest_text
from commonroom.exchange.keys import SigningKey, base64url
from commonroom.problems import add_codes

NOT_SIGNED = "CR-156"
SIGNATURE_REFUSED = "CR-157"

add_codes(
    {
        NOT_SIGNED: "The message is not signed",
        SIGNATURE_REFUSED: "The signature is not right",
    }
)

FIRST_LINE = "commonroom-signature-1"
BATCH_FORM: Final = (
    "commonroom-batch-1"  # first line of what a batch signature signs, and `typ` of its header
)
REMEMBERED_HEADERS = 4096
REMEMBERED_ORDERS = 1024

_PLACE = struct.Struct(">HH")  # messages in the tree, and which of them this is
_HASH_BYTES, _SIGNATURE_BYTES = 32, 64


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # Exactly these members: a `crit`, `b64` or embedded key would change what is checked.
    alg: Literal["Ed25519", "EdDSA"]
    kid: str


class _BatchHeader(_Header, frozen=True, forbid_unknown_fields=True):
    typ: Literal["commonroom-batch-1"]  # signed with the rest, so neither form passes for the other


class Statement(msgspec.Struct, frozen=True):
    """What a key must have signed for a message to be its holder's; the messages of one batch have one and the same."""

    kid: str
    header: str  # as it stands in the attribute, in base64url
    signature: str  # in base64url
    payload: bytes


class Checker:
    """Checks signatures with keys, each distinct one once. For the messages of one call: it forgets nothing."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, Statement], bool] = {}

    def is_right(self, envelope: Envelope, digest: bytes, key: Ed25519PublicKey) -> bool:
        """Whether this key signed exactly this envelope and a body with this digest."""
        stated = statement(envelope, digest)
        return stated is not None and self.has_signed(key, stated)

    def has_signed(self, key: Ed25519PublicKey, stated: Statement) -> bool:
        """Whether this key signed this."""
        name = key.public_bytes_raw(), stated
        if name not in self._known:
            self._known[name] = _has_signed(key, stated)
        return self._known[name]


def canonical(envelope: Envelope, digest: bytes) -> bytes:
    """The bytes that are signed, of a checked envelope and the SHA-256 of its body.

    UTF-8 lines ending in LF: FIRST_LINE, then `name:value` for each attribute that is there, in the order of their names,
    with `specversion` and `bodydigest` always and `signature` never. Values are as in JSON, not percent-encoded; times
    are in UTC. No value can hold a line feed, so no two messages have the same form.
    """
    values: dict[str, Any] = msgspec.to_builtins(envelope)
    values.pop("signature", None)
    values["specversion"] = SPEC_VERSION
    values["bodydigest"] = digest_text(digest)
    lines = [f"{name}:{values[name]}" for name in _in_order(tuple(values))]
    return "\n".join([FIRST_LINE, *lines, ""]).encode("utf-8")


@lru_cache(maxsize=REMEMBERED_ORDERS)  # most messages have the same attributes
def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(names))


def message_digest(envelope: Envelope, body: bytes) -> bytes:
    """The SHA-256 of the message's body, which is elsewhere when the envelope names an upload or a stored body."""
    if envelope.bodyref is None or envelope.bodydigest is None:
        return hashlib.sha256(body).digest()
    return base64.b64decode(envelope.bodydigest.removeprefix("sha-256=:").removesuffix(":"))


def sign(envelope: Envelope, digest: bytes, key: SigningKey) -> Envelope:
    """The envelope with its signature. Raises Problem CR-020 when it may not be sent."""
    checked = check(msgspec.structs.replace(envelope, signature=None))
    jws = _jws(_Header("Ed25519", key.kid), canonical(checked, digest), key)
    return msgspec.structs.replace(checked, signature=jws)


def sign_batch(messages: Sequence[tuple[Envelope, bytes]], key: SigningKey) -> list[Envelope]:
    """The envelopes, given with their bodies' digests, with one signature for all. A message alone is signed by itself.

    Raises Problem CR-020 when one may not be sent.
    """
    if len(messages) == 1:
        return [sign(*messages[0], key)]
    return [
        signed
        for first in range(0, len(messages), MAX_BATCH_ITEMS)
        for signed in _sign_tree(messages[first : first + MAX_BATCH_ITEMS], key)
    ]


def key_name(envelope: Envelope) -> str | None:
    """The kid in the envelope's signature; None when there is no signature that could be one of ours."""
    header, _, proof = _parts(envelope)
    return _kid(header, proof is not None)


def statement(envelope: Envelope, digest: bytes) -> Statement | None:
    """What must have been signed for the envelope's signature to be right; None when it cannot be right at all."""
    header, signature, proof = _parts(envelope)
    kid = _kid(header, proof is not None)
    if kid is None:
        return None
    form = canonical(envelope, digest)
    payload = form if proof is None else _batch_form_of(form, proof)
    return None if payload is None else Statement(kid, header, signature, payload)


def whole_batch(messages: Sequence[tuple[Envelope, bytes]]) -> Statement | None:
    """The one `statement` of all these messages, given with their bodies' digests, when they are the whole of a batch.

    None when they are not, or not in its order: then each must be asked for by itself, which costs twice as much.
    """
    if not 2 <= len(messages) <= MAX_BATCH_ITEMS:
        return None
    header, signature, proof = _parts(messages[0][0])
    kid = _kid(header, True)
    if kid is None or proof is None:
        return None
    root, proofs = _proofs([merkle.leaf_hash(canonical(envelope, digest)) for envelope, digest in messages])
    common = f"{header}..{signature}."
    if [common + proof for proof in proofs] != [envelope.signature for envelope, _ in messages]:
        return None
    return Statement(kid, header, signature, _batch_form(len(messages), root))


def is_right(envelope: Envelope, digest: bytes, key: Ed25519PublicKey) -> bool:
    """Whether this key signed exactly this envelope and a body with this digest, alone or in a batch."""
    return Checker().is_right(envelope, digest, key)


def _sign_tree(messages: Sequence[tuple[Envelope, bytes]], key: SigningKey) -> list[Envelope]:
    checked = [check(msgspec.structs.replace(envelope, signature=None)) for envelope, _ in messages]
    leaves = [
        merkle.leaf_hash(canonical(envelope, digest))
        for envelope, (_, digest) in zip(checked, messages, strict=True)
    ]
    root, proofs = _proofs(leaves)
    jws = _jws(_BatchHeader("Ed25519", key.kid, BATCH_FORM), _batch_form(len(leaves), root), key)
    return [
        msgspec.structs.replace(envelope, signature=f"{jws}.{proof}")
        for envelope, proof in zip(checked, proofs, strict=True)
    ]


def _proofs(leaves: Sequence[bytes]) -> tuple[bytes, list[str]]:
    """The root over these leaf hashes, and of each the proof as its message carries it."""
    root, paths = merkle.inclusion_paths(leaves)
    return root, [base64url(_PLACE.pack(len(leaves), place) + path) for place, path in enumerate(paths)]


def _batch_form(size: int, root: bytes) -> bytes:
    """The bytes that are signed for a batch. With the size, the root vouches for each message's place too."""
    return f"{BATCH_FORM}\nsize:{size}\nroot:{digest_text(root)}\n".encode("ascii")


def _batch_form_of(form: bytes, proof: str) -> bytes | None:
    """What was signed for the batch in which the message of this canonical form has this proof; None when none was."""
    raw = _decoded(proof)
    if raw is None or len(raw) < _PLACE.size or (len(raw) - _PLACE.size) % _HASH_BYTES:
        return None
    size, place = _PLACE.unpack_from(raw)
    if size > MAX_BATCH_ITEMS:
        return None
    path = [raw[first : first + _HASH_BYTES] for first in range(_PLACE.size, len(raw), _HASH_BYTES)]
    root = merkle.root_from(merkle.leaf_hash(form), place, size, path)
    return None if root is None else _batch_form(size, root)


def _jws(header: _Header, payload: bytes, key: SigningKey) -> str:
    """`header..signature`: the JWS without its payload."""
    text = base64url(msgspec.json.encode(header))
    private: Any = key.key.raw_value
    return f"{text}..{base64url(_sign(private, _signed_bytes(text, payload)))}"


def _has_signed(key: Ed25519PublicKey, stated: Statement) -> bool:
    signature = _decoded(stated.signature)
    if signature is None or len(signature) != _SIGNATURE_BYTES:
        return False
    try:
        # libsodium takes 46 us where `cryptography` takes 74, and every message that is signed alone pays it.
        VerifyKey(key.public_bytes_raw()).verify(_signed_bytes(stated.header, stated.payload), signature)
    except BadSignatureError:
        return False
    return True


def _sign(private: Ed25519PrivateKey, signed: bytes) -> bytes:
    return private.sign(signed)


def _signed_bytes(header: str, payload: bytes) -> bytes:
    return f"{header}.{base64url(payload)}".encode("ascii")


def _parts(envelope: Envelope) -> tuple[str, str, str | None]:
    """Header and signature, and the proof when it is a batch's."""
    header, _, rest = (envelope.signature or "").partition("..")
    signature, dot, proof = rest.partition(".")
    return header, signature, proof if dot else None


@lru_cache(maxsize=REMEMBERED_HEADERS)  # one key's headers are all the same text
def _kid(header: str, batch: bool) -> str | None:
    """The kid in the header of a JWS of this form; None when it is no such header."""
    raw = _decoded(header)
    try:
        return None if raw is None else msgspec.json.decode(raw, type=_BatchHeader if batch else _Header).kid
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _decoded(text: str) -> bytes | None:
    """The bytes of base64url text in its one right spelling: a second spelling would be a second signature."""
    try:
        written = text.encode("ascii")
        raw = binascii.a2b_base64(written.translate(_TO_BASE64) + b"==")
    except ValueError:  # binascii.Error and UnicodeEncodeError are ones
        return None
    spelled = binascii.b2a_base64(raw, newline=False).rstrip(b"=").translate(_TO_BASE64URL)
    return raw if spelled == written else None


_TO_BASE64, _TO_BASE64URL = bytes.maketrans(b"-_", b"+/"), bytes.maketrans(b"+/", b"-_")
