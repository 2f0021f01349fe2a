"""End-to-end encryption: a body sealed for its recipients alone, as a JWE (RFC 7516) in general JSON serialisation.

One content key (A256GCM) for the body, wrapped for each recipient's X25519 key by ECDH-ES+A256KW. The hub sees who and
what type, never what. Whom to encrypt to is asked elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from commonroom.exchange.envelope import Envelope, body_digest
from commonroom.exchange.keys import base64url
from commonroom.problems import Problem, add_codes

NOT_SEALED = "CR-159"

add_codes({NOT_SEALED: "The message cannot be encrypted for its recipients, or read by this one"})

SEALED_TYPE = "application/jose+json"
KEY_ALGORITHM = "ECDH-ES+A256KW"
CONTENT_ALGORITHM = "A256GCM"
MAX_RECIPIENT_KEYS = 500
_ALGORITHMS = (KEY_ALGORITHM, CONTENT_ALGORITHM)
_DEFAULT_TYPE = "application/octet-stream"


class _Recipient(msgspec.Struct, frozen=True):
    encrypted_key: str
    header: dict[str, Any]


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No `unprotected` or `aad` member: nothing of it may go unprotected."""

    protected: str
    iv: str
    ciphertext: str
    tag: str
    recipients: list[_Recipient]


def is_sealed(envelope: Envelope) -> bool:
    """Whether the body is sealed."""
    return (envelope.datacontenttype or "").partition(";")[0].strip().lower() == SEALED_TYPE


def seal(envelope: Envelope, body: bytes, recipients: Sequence[OKPKey]) -> tuple[Envelope, bytes]:
    """The message with its body sealed for these public X25519 keys. The same again gives other bytes each time.

    The envelope's id stands inside too, so that a sealed body cannot be sent under another envelope's name.
    """
    if not 1 <= len(recipients) <= MAX_RECIPIENT_KEYS:
        raise _problem(f"A message is encrypted to 1 to {MAX_RECIPIENT_KEYS} keys.", "Send it to fewer.")
    protected = {
        "enc": CONTENT_ALGORITHM,
        "cty": envelope.datacontenttype or _DEFAULT_TYPE,
        "msg": _name(envelope),
    }
    made = jwe.GeneralJSONEncryption(protected, body)
    for key in recipients:
        made.add_recipient({"alg": KEY_ALGORITHM, "kid": key.thumbprint()}, key)
    sealed = msgspec.json.encode(jwe.encrypt_json(made, None, registry=_registry()))
    return as_sealed(envelope, sealed)


def as_sealed(envelope: Envelope, sealed: bytes) -> tuple[Envelope, bytes]:
    """The message around a body that was sealed for it before: what is posted again must be the same bytes."""
    outside = msgspec.structs.replace(
        envelope, datacontenttype=SEALED_TYPE, bodydigest=body_digest(sealed), signature=None
    )
    return outside, sealed


def unseal(envelope: Envelope, body: bytes, key: OKPKey) -> tuple[Envelope, bytes]:
    """What was sealed for this private X25519 key: the envelope of the plain body (unsigned), and that body.

    Raises Problem CR-159 when it is not sealed for this key, was changed, or belongs to another envelope.
    """
    name = key.thumbprint()
    try:
        sealed = msgspec.json.decode(body, type=_Sealed)
        mine = [one for one in sealed.recipients if one.header.get("kid") == name]
        if not mine:
            raise _problem("The message is not encrypted to this end point's key.", _RECIPIENT_REMEDY)
        alone: Any = msgspec.to_builtins(msgspec.structs.replace(sealed, recipients=mine[:1]))
        opened = jwe.decrypt_json(alone, key, registry=_registry())
    except (JoseError, msgspec.DecodeError, ValueError, TypeError):
        raise _problem("The encrypted body cannot be read.", _RECIPIENT_REMEDY) from None
    plain, protected = opened.plaintext or b"", opened.protected
    if protected.get("msg") != _name(envelope):
        raise _problem("The encrypted body belongs to another message.", _RECIPIENT_REMEDY)
    content_type = str(protected.get("cty") or _DEFAULT_TYPE)
    inside = msgspec.structs.replace(
        envelope, datacontenttype=content_type, bodydigest=body_digest(plain), signature=None
    )
    return inside, plain


def recipient_keys(recipients: Sequence[Any]) -> list[OKPKey]:
    """The keys to seal for, of the hub's answer (`contract.RecipientKeys`).

    Raises Problem CR-159 when one of the parties has no key: then nothing may be sent.
    """
    if without := [one.party for one in recipients if not one.keys]:
        raise _problem(
            f"{', '.join(without[:5])} cannot receive encrypted messages: no encryption key is registered.",
            "Have the recipient register one, or agree to send in plain form.",
        )
    found = [OKPKey.import_key(dict(listed.jwk)) for one in recipients for listed in one.keys]
    if not found or any(key.curve_name != "X25519" for key in found):
        raise _problem("The directory lists no X25519 keys.", "Tell the hub's operator.")
    return found


_RECIPIENT_REMEDY = "The sender encrypts again to the keys that GET /recipients lists."


def _name(envelope: Envelope) -> str:
    return base64url(hashlib.sha256(f"{envelope.source} {envelope.id}".encode()).digest())


class _Registry(jwe.JWERegistry):
    """The library's limits, with room for our largest bodies."""

    max_ciphertext_length = 256 * 1024 * 1024


def _registry() -> jwe.JWERegistry:
    # `msg` is our own header; the library would refuse what it does not know.
    return _Registry(
        algorithms=list(_ALGORITHMS), strict_check_header=False, max_recipients=MAX_RECIPIENT_KEYS
    )


def _problem(detail: str, remedy: str) -> Problem:
    return Problem(NOT_SEALED, detail, status=422, where="the body", remedy=remedy)
