"""The public keys of other parties, as the hub's directory lists them, and whether a letter is signed with one of them.

A key is looked for again when a signature names one that is not known yet, at most once in PAUSE_SECONDS for a party.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc.jwk import OKPKey

from commonroom.exchange import contract, signatures
from commonroom.exchange.envelope import Envelope

PAUSE_SECONDS = 5.0
REMEMBERED_PARTIES = 50_000

Fetch = Callable[[str], Awaitable[contract.PartyKeys]]
Signed = tuple[Envelope, bytes]


class KeyRing:
    """Keys by party and name. `fetch` asks the hub for the keys of a party."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._keys: dict[str, dict[str, Ed25519PublicKey]] = {}
        self._fetched_at: dict[str, float] = {}

    async def faults(self, letters: Sequence[Signed]) -> list[str]:
        """What is wrong with the signature of each letter; empty when it is right. Raises what `fetch` raises."""
        names = [signatures.key_name(envelope) for envelope, _ in letters]
        wanted = zip(letters, names, strict=True)
        keys = [await self._key(letter[0].source, name) if name else None for letter, name in wanted]
        return await asyncio.to_thread(_faults, letters, names, keys)

    async def _key(self, party: str, kid: str) -> Ed25519PublicKey | None:
        known = self._keys.get(party, {})
        if kid not in known and time.monotonic() >= self._fetched_at.get(party, 0.0) + PAUSE_SECONDS:
            known = await self._renewed(party)
        return known.get(kid)

    async def _renewed(self, party: str) -> dict[str, Ed25519PublicKey]:
        listed = (await self._fetch(party)).keys
        found = {key.kid: public for key in listed if (public := _public_key(key)) is not None}
        while len(self._keys) >= REMEMBERED_PARTIES:
            oldest = next(iter(self._keys))
            del self._keys[oldest], self._fetched_at[oldest]
        self._keys[party], self._fetched_at[party] = found, time.monotonic()
        return found


def _public_key(listed: contract.PublicKey) -> Ed25519PublicKey | None:
    """The key of a directory entry; None when it is not for signing, or its name is not its own."""
    if listed.use != "sig":
        return None
    key = OKPKey.import_key(dict(listed.jwk))
    raw = key.raw_value
    return raw if isinstance(raw, Ed25519PublicKey) and key.thumbprint() == listed.kid else None


def _faults(
    letters: Sequence[Signed], names: Sequence[str | None], keys: Sequence[Ed25519PublicKey | None]
) -> list[str]:
    checker = signatures.Checker()
    return [
        _fault(checker, letter, name, key) for letter, name, key in zip(letters, names, keys, strict=True)
    ]


def _fault(
    checker: signatures.Checker, letter: Signed, name: str | None, key: Ed25519PublicKey | None
) -> str:
    envelope, body = letter
    if name is None:
        return "The message carries no signature of its sender."
    if key is None:
        return "The message is signed with a key that is none of its sender's."
    if not checker.is_right(envelope, signatures.message_digest(envelope, body), key):
        return "The signature does not fit the message: envelope or body were changed."
    return ""
