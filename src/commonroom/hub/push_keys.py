"""Push keys: what pushes are signed with (Standard Webhooks, asymmetric `v1a`), and how the key is changed.

All hub processes sign with the keys in one folder. After a rotation the new and the old key both sign for a while, so
that receivers have time to fetch the new public key. The symmetric `v1`, for receivers whose library knows nothing
else, uses a secret derived from the same key for each subscription; no secret is in the database.

Source: Standard Webhooks 1.0.0: the signed text is `id.timestamp.body`; keys are written `whpk_` or `whsec_` + base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from commonroom.exchange import keys
from commonroom.problems import Problem
from commonroom.settings import Settings

OVERLAP = timedelta(days=7)  # how long the key before the newest signs too
_NAME_FORM = "%Y%m%dT%H%M%S%fZ"
_FIRST = "first"


class PublicKey(msgspec.Struct, frozen=True):
    """One public key."""

    key: str  # whpk_ + base64 of its 32 bytes
    signs_until: datetime | None  # None: until the next rotation


class PushKeys(msgspec.Struct, frozen=True):
    """The private keys that sign at this moment, newest first: one, or two after a rotation."""

    private: tuple[Ed25519PrivateKey, ...]
    old_until: datetime | None

    def public(self) -> list[PublicKey]:
        """The public halves, newest first."""
        return [
            PublicKey(
                "whpk_" + base64.b64encode(key.public_key().public_bytes_raw()).decode(),
                self.old_until if number else None,
            )
            for number, key in enumerate(self.private)
        ]

    def secrets(self, subscription: str) -> list[str]:
        """The symmetric secrets of a subscription as `whsec_...`, newest first."""
        return ["whsec_" + base64.b64encode(_secret(key, subscription)).decode() for key in self.private]

    def headers(self, message: str, body: bytes, at: datetime, v1_for: str | None = None) -> dict[str, str]:
        """`webhook-id`, `webhook-timestamp` and `webhook-signature` of one push; `message` has no full stop in it."""
        seconds = str(int(at.timestamp()))
        text = f"{message}.{seconds}.".encode() + body
        signatures = ["v1a," + base64.b64encode(key.sign(text)).decode() for key in self.private]
        if v1_for is not None:
            made = (hmac.digest(_secret(key, v1_for), text, hashlib.sha256) for key in self.private)
            signatures += ["v1," + base64.b64encode(signature).decode() for signature in made]
        return {
            "webhook-id": message,
            "webhook-timestamp": seconds,
            "webhook-signature": " ".join(signatures),
        }


def load_push_keys(settings: Settings, now: datetime) -> PushKeys:
    """The keys as they are in the folder now; the first one is made when there is none. Raises Problem CR-025."""
    folder = _folder(settings)
    made = sorted(folder.glob("2*.pem"), reverse=True)
    first = folder / f"{_FIRST}.pem"
    if not made:
        keys.load_or_create(first)
    files = [*made, *([first] if first.exists() else [])]
    until = _made_at(files[0]) + OVERLAP if made else None
    signing = files[:2] if until is not None and now < until else files[:1]
    return PushKeys(tuple(_private(file) for file in signing), until if len(signing) == 2 else None)


def rotate(settings: Settings, now: datetime) -> PushKeys:
    """Make a new key; the key before it signs on for OVERLAP. Raises Problem CR-155 while two keys sign already."""
    current = load_push_keys(settings, now)
    if len(current.private) > 1:
        raise Problem(
            "CR-155",
            f"Two keys sign until {current.old_until:%Y-%m-%d %H:%M} UTC.",
            status=409,
            remedy="Wait until then: receivers that know only the oldest key would refuse every push.",
        )
    keys.load_or_create(_folder(settings) / f"{now.astimezone(UTC).strftime(_NAME_FORM)}.pem")
    return load_push_keys(settings, now)


def _folder(settings: Settings) -> Path:
    folder = settings.folder("keys") / "push"
    folder.mkdir(exist_ok=True)
    return folder


def _made_at(file: Path) -> datetime:
    return datetime.strptime(file.stem, _NAME_FORM).replace(tzinfo=UTC)


def _private(file: Path) -> Ed25519PrivateKey:
    keys.load(file)  # with the right refusals
    key = load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def _secret(key: Ed25519PrivateKey, subscription: str) -> bytes:
    """32 bytes that follow from the key and the subscription (RFC 5869)."""
    derive = HKDF(SHA256(), 32, salt=None, info=f"commonroom push v1 {subscription}".encode())
    return derive.derive(key.private_bytes_raw())
