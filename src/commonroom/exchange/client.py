"""The client with which an end point reaches a hub: post, pull, acknowledge, refuse, track.

Every call either succeeds, raises `Unreachable` (nothing is wrong with what was sent: try again later) or raises
`Problem` (the hub understood and refuses: trying again will not help). Every send may be repeated safely.
What is in a message, and where it waits before it is sent, never enters.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

import httpx2
import msgspec

from commonroom.exchange import batches, contract, keys, large_bodies, reports, signatures, wire
from commonroom.exchange.batches import Refusal
from commonroom.exchange.cuts import Unreachable
from commonroom.exchange.envelope import Envelope
from commonroom.exchange.key_file import KeyFile
from commonroom.exchange.key_ring import KeyRing
from commonroom.exchange.keys import SigningKey
from commonroom.exchange.letters import Letter, as_letter
from commonroom.exchange.own_keys import OwnKeys
from commonroom.problems import Problem

T = TypeVar("T")

RENEW_BEFORE_SECONDS = 60.0


class SignInRefused(Unreachable):
    """The hub does not let this end point in (key, clock or registration). No message is at fault; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


Verify = Literal["required", "when_signed"]


class Client:
    """One end point's connection to its hub. Give `http` (see `wire.make_http_client`) to share a pool among many.

    `hub_url` is the address the hub knows itself by (it is the audience of our assertions). Everything sent is signed.
    With `verify` what is pulled is checked too, and what its sender has not rightly signed is refused, not returned:
    `required` (or True) everything, `when_signed` only letters that carry a signature.
    """

    def __init__(
        self,
        hub_url: str,
        key_file: Path,
        end_point: str,
        *,
        http: httpx2.AsyncClient | None = None,
        verify: Verify | bool = False,
    ) -> None:
        self.hub_url = hub_url.rstrip("/")
        self.end_point = end_point
        self._keys = OwnKeys(KeyFile(key_file), self.hub_url, end_point, self._ask_raw)
        self._ring = KeyRing(self.keys_of)
        self._verify = verify
        self._own_http = http is None
        self._http = http or wire.make_http_client()
        self._token = ""
        self._renew_at = 0.0  # on the monotonic clock
        self._signing_in = asyncio.Lock()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, unless they are shared."""
        if self._own_http:
            await self._http.aclose()

    async def post(self, envelope: Envelope, body: bytes) -> contract.Receipt:
        """Send one message; returns when the hub has it on disk. The same message again gives the same receipt."""
        key = await self._signing_key()
        signed = signatures.sign(envelope, signatures.message_digest(envelope, body), key)
        try:
            return await self._ask("POST", "/messages", contract.Receipt, body, signed.to_headers())
        except Problem as problem:
            self._signed_too_early(problem, key)
            raise

    async def post_batch(
        self, messages: Sequence[tuple[Envelope, bytes]]
    ) -> list[contract.Receipt | Refusal]:
        """Send 1 to 500 messages in one request; the fate of each, in order. One bad message never stops the others.

        Raises Unreachable when the hub could not finish: send all of them again, what it has is not taken twice.
        """
        fates: list[contract.Receipt | Refusal | None] = [
            batches.unsendable(envelope) for envelope, _ in messages
        ]
        sendable = [message for message, fate in zip(messages, fates, strict=True) if fate is None]
        results = iter(await self._post_items(sendable) if sendable else [])
        return [fate if fate is not None else next(results) for fate in fates]

    async def pull(
        self,
        limit: int = 100,
        wait: float = 20.0,
        kind: Literal["letters", "reports", "all"] = "all",
        *,
        bodies: int = 0,
    ) -> list[Letter]:
        """Up to `limit` letters from the mailbox, leased to us; waits up to `wait` seconds for the first.

        Among them are the hub's reports (`reports.is_report`), which are acknowledged like letters. Large bodies of
        `bodies` bytes together come with their letters; letters of which one would be more are left to a later pull,
        and one that is larger by itself is handed out with `stored` set and no body.
        """
        wait = min(wait, contract.MAX_WAIT_SECONDS)
        path = f"/mailbox?limit={limit}&wait={wait:g}" + ("" if kind == "all" else f"&kind={kind}")
        answer = await self._ask("GET", path, contract.MailboxResponse, patience=wait)
        letters = [as_letter(letter) for letter in answer.letters]
        return await self._usable(await large_bodies.enclose(self, letters, bodies) if bodies else letters)

    async def acknowledge(self, deliveries: Sequence[str]) -> contract.Settled:
        """Say that these are loaded and safe: they never come again."""
        return await self._settle("acknowledge", contract.AcknowledgeRequest(list(deliveries)))

    async def refuse(self, deliveries: str | Sequence[str], reason: str) -> contract.Settled:
        """Say that these cannot be used; the sender learns the reason (no personal data in it; cut at 1,000)."""
        ids = [deliveries] if isinstance(deliveries, str) else list(deliveries)
        return await self._settle("refuse", contract.RefuseRequest(ids, reason[: contract.MAX_REASON]))

    async def extend(self, deliveries: Sequence[str], seconds: int) -> contract.Settled:
        """Keep the lease of these for `seconds` from now."""
        return await self._settle("extend", contract.ExtendRequest(list(deliveries), seconds))

    async def release(self, deliveries: Sequence[str]) -> contract.Settled:
        """Give the lease of these back, so that they are offered again at once."""
        return await self._settle("release", contract.ReleaseRequest(list(deliveries)))

    async def replay(self, request: contract.ReplayRequest) -> contract.Replayed:
        """Have letters handed out again that have ended here, as after a store was put back to an older state."""
        headers = {"content-type": "application/json"}
        body = msgspec.json.encode(request)
        return await self._ask("POST", "/mailbox/replay", contract.Replayed, body, headers)

    async def post_file(self, envelope: Envelope, path: Path, *, patience: float = 60.0) -> contract.Receipt:
        """Send a file of any size as the body of one message; up to 1 MB as `post` does, above in parts.

        Goes on where it was after a cut, a restart of the hub or of ourselves; the same message again gives the same
        receipt. Raises Unreachable when nothing got through for `patience` seconds; what has arrived stays at the hub.
        """
        return await large_bodies.post_file(self, envelope, path, patience)

    async def fetch_body(self, letter: Letter, path: Path, *, patience: float = 60.0) -> None:
        """Write the body of a letter we hold to a file, keeping the lease meanwhile; the digest is proved first.

        Goes on where it was, also when called again with the same path. Raises Unreachable, or Problem CR-021.
        """
        await large_bodies.fetch_body(self, letter, path, patience)

    async def announce(self, request: contract.UploadRequest) -> contract.UploadState:
        """Begin an upload, or learn how far the same one is."""
        headers = {"content-type": "application/json"}
        return await self._ask(
            "POST", "/uploads", contract.UploadState, msgspec.json.encode(request), headers
        )

    async def put_part(
        self, upload: str, offset: int, length: int, blocks: Callable[[], AsyncIterator[bytes]]
    ) -> contract.UploadState:
        """Append `length` bytes at the hub's offset of an upload."""
        headers = {"upload-offset": str(offset), "content-length": str(length)}
        async with self._signed("PUT", f"/uploads/{upload}", headers, blocks) as response:
            return wire.answer(response.status_code, await wire.read(response), contract.UploadState)

    @asynccontextmanager
    async def body_from(self, location: str, first: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of a stored body from `first` on. Raises Problem when it is not ours (any more)."""
        async with self._signed("GET", location, {"range": f"bytes={first}-"}) as response:
            if response.status_code != 206:
                raise wire.problem(response.status_code, await wire.read(response))
            yield response.aiter_raw(large_bodies.BLOCK_BYTES)

    @asynccontextmanager
    async def _signed(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        blocks: Callable[[], AsyncIterator[bytes]] | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        """A request with a token whose bodies flow; a token the hub no longer likes is renewed for the next try."""
        token = await self._current_token()
        content = blocks() if blocks is not None else None
        signed = {**headers, "authorization": f"Bearer {token}"}
        try:
            async with self._http.stream(
                method, self.hub_url + path, headers=signed, content=content, timeout=wire.TIMEOUT
            ) as response:
                if response.status_code == 401:
                    await self._renewed_token(token)
                    raise Unreachable("the token was renewed")
                if response.status_code >= 500 or response.status_code in wire.RETRY_LATER:
                    raise Unreachable(f"the hub answered {response.status_code}", wire.retry_after(response))
                yield response
        except (httpx2.RequestError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    async def track(self, message: str) -> contract.Tracking:
        """Where a message is, by the hub's id of it (`Receipt.message`)."""
        return await self._ask("GET", f"/messages/{message}", contract.Tracking)

    async def keys_of(self, party: str) -> contract.PartyKeys:
        """Every key that the end points of a party (urn or alias) have or had."""
        return await self._ask("GET", f"/keys?{httpx2.QueryParams({'party': party})}", contract.PartyKeys)

    async def rotate_key(self, *, retire_old: bool = False) -> str:
        """Change our signing key for a new one; the new one's name. The old stays valid for the hub's overlap.

        With `retire_old` it ends at once. Repeat it after any interruption: it goes on where it stopped.
        """
        old = await self._signing_key()
        new = await self._keys.rotate()
        self._token = ""
        if retire_old:
            await self._keys.retire(old.kid)
        return new.kid

    async def retire_key(self, kid: str) -> None:
        """End one of our keys now, but never the last with which we can sign in."""
        await self._keys.retire(kid)

    async def publish_encryption_key(self) -> str:
        """Have an encryption key, so that others can seal for us and `pull` opens it; its name. Repeat it freely."""
        return await self._keys.publish_encryption_key()

    async def seal(self, envelope: Envelope, body: bytes) -> tuple[Envelope, bytes]:
        """Encrypt a message to its recipients; post the outcome, and keep it to post the same again.

        Raises Problem CR-159 when a recipient has no encryption key, and whatever the hub would refuse the message for.
        """
        return await self._keys.seal(envelope, body)

    async def _post_items(self, messages: list[tuple[Envelope, bytes]]) -> list[contract.Receipt | Refusal]:
        key = await self._signing_key()
        body = await asyncio.to_thread(batches.signed, messages, key)
        headers = {"content-type": contract.BATCH_TYPE}
        answer = await self._ask("POST", "/messages:batch", contract.BatchResponse, body, headers)
        if len(answer.results) != len(messages):
            raise Unreachable("the hub answered for another number of messages than were sent")
        fates = [
            batches.fate(envelope, result)
            for (envelope, _), result in zip(messages, answer.results, strict=True)
        ]
        for fate in fates:
            if isinstance(fate, Refusal):
                self._signed_too_early(fate.problem, key)
        return fates

    async def _signing_key(self) -> SigningKey:
        await self._current_token()  # signing in finishes a change of key that was cut off
        return self._keys.file.current()

    def _signed_too_early(self, problem: Problem, key: SigningKey) -> None:
        """Raise Unreachable when the signature was refused because our key was changed meanwhile: sign it anew."""
        if problem.code == signatures.SIGNATURE_REFUSED and self._keys.file.current().kid != key.kid:
            raise Unreachable("our key was changed while the message was on its way")

    async def _usable(self, letters: list[Letter]) -> list[Letter]:
        """Those that are rightly signed (when asked to look) and that can be opened; the others are refused."""
        faults = dict.fromkeys((letter.delivery for letter in letters), "")
        if self._verify:
            signed = [letter for letter in letters if self._must_be_signed(letter.envelope)]
            found = await self._ring.faults([(letter.envelope, letter.body) for letter in signed])
            faults |= {letter.delivery: fault for letter, fault in zip(signed, found, strict=True)}
        usable = []
        for letter in letters:
            try:
                if faults[letter.delivery]:
                    raise Problem(signatures.SIGNATURE_REFUSED, faults[letter.delivery], where="ce-signature")
                envelope, body = await self._keys.opened(letter.envelope, letter.body)
                usable.append(msgspec.structs.replace(letter, envelope=envelope, body=body))
            except Problem as problem:
                await self.refuse(letter.delivery, str(problem))
        return usable

    def _must_be_signed(self, envelope: Envelope) -> bool:
        # The hub's own reports are the hub's word, and the connection says that it is the hub.
        if reports.is_report(envelope):
            return False
        return self._verify != "when_signed" or envelope.signature is not None

    async def _settle(self, verb: str, request: msgspec.Struct) -> contract.Settled:
        headers = {"content-type": "application/json"}
        return await self._ask(
            "POST", f"/mailbox/{verb}", contract.Settled, msgspec.json.encode(request), headers
        )

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[T],
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        patience: float = 0.0,
    ) -> T:
        """The answer to one request with a token."""
        status, text = await self._answered(method, path, body, headers, patience)
        return wire.answer(status, text, answer)

    async def _ask_raw(self, method: str, path: str, body: bytes) -> bytes:
        status, text = await self._answered(method, path, body, {"content-type": "application/json"})
        if not 200 <= status < 300:
            raise wire.problem(status, text)
        return text

    async def _answered(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        patience: float = 0.0,
    ) -> tuple[int, bytes]:
        """Status and body for one request; a token the hub no longer likes is renewed once."""
        url, sent = self.hub_url + path, headers or {}
        token = await self._current_token()
        for last_try in (False, True):
            signed = {**sent, "authorization": f"Bearer {token}"}
            status, text = await wire.call(self._http, method, url, signed, body, patience)
            if status != 401:
                return status, text
            if not last_try:
                token = await self._renewed_token(token)
        self._token = ""  # next time begins with a new one
        raise SignInRefused(wire.problem(status, text))

    async def _current_token(self) -> str:
        if self._token and time.monotonic() < self._renew_at:
            return self._token
        return await self._renewed_token(self._token)

    async def _renewed_token(self, old: str) -> str:
        """A token other than `old`; when several tasks need one, one of them fetches it."""
        async with self._signing_in:
            if self._token != old and time.monotonic() < self._renew_at:
                return self._token
            answer = await self._fetch_token()
            self._token = answer.access_token
            # Short-lived tokens of a test hub are used for half their life.
            self._renew_at = time.monotonic() + max(
                answer.expires_in - RENEW_BEFORE_SECONDS, answer.expires_in / 2
            )
            return self._token

    async def _fetch_token(self) -> contract.TokenResponse:
        file = self._keys.file
        if (following := file.next()) is not None:
            # A change of key that was cut off, or goes on in another process: it is done once the hub knows the new one.
            try:
                answer = await self._sign_in(following)
            except SignInRefused:
                return await self._sign_in(file.current())
            file.promote()
            return answer
        return await self._sign_in(file.current())

    async def _sign_in(self, key: SigningKey) -> contract.TokenResponse:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": contract.ASSERTION_TYPE,
            "client_assertion": keys.sign_assertion(key.key, self.end_point, self.hub_url),
        }
        headers = {"content-type": "application/x-www-form-urlencoded"}
        body = str(httpx2.QueryParams(form)).encode("ascii")
        status, text = await wire.call(self._http, "POST", f"{self.hub_url}/token", headers, body)
        try:
            return wire.answer(status, text, contract.TokenResponse)
        except Problem as problem:
            raise SignInRefused(problem) from None
