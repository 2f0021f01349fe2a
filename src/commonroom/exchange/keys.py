"""Keys in files: an end point's own keys, the platform's signing key. One key per file, PEM (PKCS 8), mode 0600.

Ed25519 keys sign; X25519 keys are encrypted to. What is signed or encrypted with a key never enters.
"""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import Any, Literal

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from commonroom.ids import uuid7
from commonroom.problems import Problem, add_codes

add_codes({"CR-025": "The key file cannot be used"})

ALGORITHM = "Ed25519"  # RFC 9864's name; the older name EdDSA is accepted from others
ALGORITHMS = ("Ed25519", "EdDSA")
ASSERTION_SECONDS = 120
KEY_PROOF_TYPE = (
    "key-proof+jwt"  # keeps a proof for a new key from passing as a sign-in, and the other way round
)

Curve = Literal["Ed25519", "X25519"]


class SigningKey(msgspec.Struct, frozen=True):
    """A private key and its name."""

    key: OKPKey
    kid: str  # RFC 7638 thumbprint of the public half


def signing_key(key: OKPKey) -> SigningKey:
    """This key with its name."""
    return SigningKey(key, key.thumbprint())


def load_or_create(path: Path, curve: Curve = "Ed25519") -> OKPKey:
    """The key in this file, made when there is none. Many processes may race: all get the one key.

    Raises Problem CR-025 when the file holds something else.
    """
    if not path.exists():
        _create(path, curve)
    return load(path, curve)


def load(path: Path, curve: Curve = "Ed25519") -> OKPKey:
    """The key in this file. Raises Problem CR-025 when there is none or it is no private key of this curve."""
    try:
        key = OKPKey.import_key(path.read_bytes())
    except FileNotFoundError:
        raise _problem(path, "There is no key file.", "Enrol this end point first.") from None
    except (JoseError, ValueError, TypeError):
        raise _problem(
            path, "The file holds no private key in PEM form.", "Restore it, or enrol anew."
        ) from None
    if not key.is_private or key.curve_name != curve:
        raise _problem(
            path, f"The key is not an {curve} private key.", "Restore the right file, or enrol anew."
        )
    return key


def public_jwk(key: OKPKey) -> dict[str, str]:
    """The public half as {kty, crv, x}: what an end point enrols with."""
    public: dict[str, Any] = key.as_dict(private=False)
    return {name: str(public[name]) for name in ("kty", "crv", "x")}


def base64url(raw: bytes) -> str:
    """Bytes as a JWK writes them: URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def sign_assertion(key: OKPKey, end_point: str, audience: str) -> str:
    """A client assertion (RFC 7523 section 3) for one token request; never used twice, valid for two minutes."""
    return jwt.encode({"alg": ALGORITHM}, _claims(end_point, audience), key, algorithms=[ALGORITHM])


def sign_key_proof(key: OKPKey, end_point: str, audience: str, kid: str) -> str:
    """A proof that the holder of `key` wants the key named `kid` to be the end point's; valid for two minutes."""
    header = {"alg": ALGORITHM, "typ": KEY_PROOF_TYPE}
    return jwt.encode(header, {**_claims(end_point, audience), "kid": kid}, key, algorithms=[ALGORITHM])


def sync_folder(folder: Path) -> None:
    """Put the names of a folder on disk, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _claims(end_point: str, audience: str) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": end_point,
        "sub": end_point,
        "aud": audience,
        "jti": str(uuid7()),
        "iat": now,
        "exp": now + ASSERTION_SECONDS,
    }


def _create(path: Path, curve: Curve) -> None:
    """Put a complete new key at `path`, unless another process was faster: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid7()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(OKPKey.generate_key(curve).as_pem(private=True))
            file.flush()
            os.fsync(file.fileno())
        _link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> None:
    try:
        path.hardlink_to(draft)  # fails when the name exists, where a rename would replace the winner's key
    except FileExistsError:
        return
    sync_folder(path.parent)


def _problem(path: Path, detail: str, remedy: str) -> Problem:
    return Problem("CR-025", detail, where=str(path), remedy=remedy)
