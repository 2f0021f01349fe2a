"""The sender's signature: a detached JWS over the canonical form of an envelope and the digest of its body.

Here lives the canonical form, signing and checking with one key. Whose key it is, and whether it was valid, is asked
elsewhere. Source: RFC 7515 (appendix F, detached content), RFC 8037 and 9864 (Ed25519), RFC 7638 (key names).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from commonroom.exchange.envelope import SPEC_VERSION, Envelope, check, digest_text
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


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # Exactly these members: a `crit`, `b64` or embedded key would change what is checked.
    alg: Literal["Ed25519", "EdDSA"]
    kid: str


def canonical(envelope: Envelope, digest: bytes) -> bytes:
    """The bytes that are signed, of a checked envelope and the SHA-256 of its body.

    UTF-8 lines ending in LF: FIRST_LINE, then `name:value` for each attribute that is there, in the order of their names,
    with `specversion` and `bodydigest` always and `signature` never. Values are as in JSON, not percent-encoded; times
    are in UTC. No value can hold a line feed, so no two messages have the same form.
    """
    values: dict[str, Any] = msgspec.to_builtins(envelope)
    values.pop("signature", None)
    values |= {"specversion": SPEC_VERSION, "bodydigest": digest_text(digest)}
    lines = [FIRST_LINE, *(f"{name}:{values[name]}" for name in sorted(values))]
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def message_digest(envelope: Envelope, body: bytes) -> bytes:
    """The SHA-256 of the message's body, which is elsewhere when the envelope names an upload or a stored body."""
    if envelope.bodyref is None or envelope.bodydigest is None:
        return hashlib.sha256(body).digest()
    return base64.b64decode(envelope.bodydigest.removeprefix("sha-256=:").removesuffix(":"))


def sign(envelope: Envelope, digest: bytes, key: SigningKey) -> Envelope:
    """The envelope with its signature. Raises Problem CR-020 when it may not be sent."""
    checked = check(msgspec.structs.replace(envelope, signature=None))
    header = base64url(msgspec.json.encode(_Header("Ed25519", key.kid)))
    private: Any = key.key.raw_value
    signature = _sign(private, _signed_bytes(header, canonical(checked, digest)))
    return msgspec.structs.replace(checked, signature=f"{header}..{base64url(signature)}")


def key_name(envelope: Envelope) -> str | None:
    """The kid in the envelope's signature; None when there is no signature that could be one of ours."""
    if envelope.signature is None:
        return None
    raw = _decoded(envelope.signature.partition("..")[0])
    try:
        return None if raw is None else msgspec.json.decode(raw, type=_Header).kid
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def is_right(envelope: Envelope, digest: bytes, key: Ed25519PublicKey) -> bool:
    """Whether this key signed exactly this envelope and a body with this digest."""
    header, _, text = (envelope.signature or "").partition("..")
    signature = _decoded(text)
    if signature is None or key_name(envelope) is None:
        return False
    try:
        key.verify(signature, _signed_bytes(header, canonical(envelope, digest)))
    except InvalidSignature:
        return False
    return True


def _sign(private: Ed25519PrivateKey, signed: bytes) -> bytes:
    return private.sign(signed)


def _signed_bytes(header: str, payload: bytes) -> bytes:
    return f"{header}.{base64url(payload)}".encode("ascii")


def _decoded(text: str) -> bytes | None:
    """The bytes of base64url text in its one right spelling: a second spelling would be a second signature."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64url(raw) == text else None
