"""What an end point does with keys towards its hub: changes its own, seals for others, opens what is sealed for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec
from joserfc.jwk import OKPKey

from commonroom.exchange import contract, keys, sealing
from commonroom.exchange.envelope import Envelope
from commonroom.exchange.key_file import KeyFile
from commonroom.exchange.keys import SigningKey

# One request to the hub: method, path, body; the answer's bytes.
Ask = Callable[[str, str, bytes], Awaitable[bytes]]


class OwnKeys:
    """The keys of one end point: `file` signs; beside it, when there is one, lies the key that is encrypted to."""

    def __init__(self, file: KeyFile, hub_url: str, end_point: str, ask: Ask) -> None:
        self.file = file
        self._hub_url = hub_url
        self._end_point = end_point
        self._ask = ask
        self._opening: OKPKey | None = None

    @property
    def encryption_file(self) -> Path:
        """Where the private encryption key lies."""
        return self.file.path.with_name(f"{self.file.path.name}.encryption")

    async def rotate(self) -> SigningKey:
        """Let a new signing key follow the current one, or finish a change that was cut off. The new key."""
        new = self.file.make_next()
        await self._register("sig", new.key, [self.file.current().key, new.key])
        self.file.promote()
        return new

    async def retire(self, kid: str) -> None:
        """End one of our keys at the hub, now."""
        await self._ask("DELETE", f"/end-points/self/keys/{quote(kid, safe='')}", b"")

    async def publish_encryption_key(self) -> str:
        """Register our encryption key, made when there is none; its name. Repeating it changes nothing."""
        key = keys.load_or_create(self.encryption_file, "X25519")
        await self._register("enc", key, [self.file.current().key])
        return key.thumbprint()

    async def seal(self, envelope: Envelope, body: bytes) -> tuple[Envelope, bytes]:
        """The message sealed for all its recipients. Raises Problem: as the hub would refuse it, or CR-159."""
        question = {
            "type": envelope.type,
            "recipient": envelope.recipient,
            "dataclassification": envelope.dataclassification,
        }
        query = urlencode({name: value for name, value in question.items() if value is not None})
        answer = await self._ask("GET", f"/recipients?{query}", b"")
        found = msgspec.json.decode(answer, type=contract.RecipientsResponse).recipients
        return await asyncio.to_thread(sealing.seal, envelope, body, sealing.recipient_keys(found))

    async def opened(self, envelope: Envelope, body: bytes) -> tuple[Envelope, bytes]:
        """The message as its sender meant it: opened when it is sealed and we hold a key. Raises Problem CR-159."""
        if not sealing.is_sealed(envelope) or not self.encryption_file.exists():
            return envelope, body
        if self._opening is None:
            self._opening = keys.load(self.encryption_file, "X25519")
        return await asyncio.to_thread(sealing.unseal, envelope, body, self._opening)

    async def _register(self, use: str, key: OKPKey, vouching: list[OKPKey]) -> None:
        kid = key.thumbprint()
        proofs = [keys.sign_key_proof(one, self._end_point, self._hub_url, kid) for one in vouching]
        request = {"use": use, "jwk": keys.public_jwk(key), "proofs": proofs}
        await self._ask("POST", "/end-points/self/keys", msgspec.json.encode(request))
