"""Signatures at the door: every message is signed by a key of the end point that brings it, or it does not come in.

Keys are remembered for a while; one that has ended is known to `identity.EndedKeys` for longer than that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from commonroom.exchange import signatures
from commonroom.hub.post import Submission
from commonroom.identity import EndedKeys
from commonroom.problems import Problem

REMEMBER_SECONDS = 300.0  # shorter than the time for which EndedKeys knows of an end
REMEMBERED_KEYS = 50_000
TURN_SECONDS = 0.002  # after so long, others get their turn: five hundred signatures take 40 ms

_KEY = """
SELECT public_key FROM identity.end_point_key
WHERE end_point = $1 AND kid = $2 AND use = 'sig'
    AND valid_from <= clock_timestamp() AND (valid_until IS NULL OR valid_until > clock_timestamp())
"""


class _Remembered(msgspec.Struct, frozen=True):
    key: Ed25519PublicKey
    until: float  # on the monotonic clock


class Signatures:
    """Checks the signatures of submissions. One per hub process."""

    def __init__(self, pool: Any, ended: EndedKeys, required: bool) -> None:
        self._pool = pool
        self._ended = ended
        self._required = required
        self._keys: dict[tuple[str, str], _Remembered] = {}

    async def check(self, submission: Submission) -> None:
        """Raises Problem CR-156 (not signed, though it must be) or CR-157 (the signature is not right), both 403."""
        [problem] = await self.judge([submission])
        if problem is not None:
            raise problem

    async def judge(self, submissions: Sequence[Submission]) -> list[Problem | None]:
        """What is wrong with the signature of each, if anything."""
        whole = signatures.whole_batch(
            [(submission.envelope, submission.digest) for submission in submissions]
        )
        senders = {submission.end_point for submission in submissions}
        if whole is not None and len(senders) == 1:  # one signature, one key, one verdict
            key = await self._key(senders.pop(), whole.kid)
            return [_verdict(signatures.Checker(), key, whole)] * len(submissions)
        return await self._judge_each(submissions)

    async def _judge_each(self, submissions: Sequence[Submission]) -> list[Problem | None]:
        names = [signatures.key_name(submission.envelope) for submission in submissions]
        wanted = {
            (submission.end_point, name)
            for submission, name in zip(submissions, names, strict=True)
            if name is not None
        }
        found = {one: await self._key(*one) for one in wanted}
        checker, begun = signatures.Checker(), time.perf_counter()
        judged: list[Problem | None] = []
        for submission, name in zip(submissions, names, strict=True):
            key = found.get((submission.end_point, name)) if name is not None else None
            judged.append(self._verdict(checker, submission, key))
            # Not in a thread: checking holds the interpreter's lock, and the loop would wait longer for it than for this.
            if time.perf_counter() - begun > TURN_SECONDS:
                await asyncio.sleep(0)
                begun = time.perf_counter()
        return judged

    def _verdict(
        self, checker: signatures.Checker, submission: Submission, key: Ed25519PublicKey | None
    ) -> Problem | None:
        if submission.envelope.signature is None:
            return _not_signed() if self._required else None
        return _verdict(checker, key, signatures.statement(submission.envelope, submission.digest))

    async def _key(self, end_point: str, kid: str) -> Ed25519PublicKey | None:
        """The key of this name, when it is a valid one of this end point."""
        if self._ended.has(end_point, kid):
            return None
        known = self._keys.get((end_point, kid))
        if known is not None and known.until > time.monotonic():
            return known.key
        async with self._pool.acquire() as connection:
            raw = await connection.fetchval(_KEY, UUID(end_point), kid)
        if raw is None:
            return None
        key = Ed25519PublicKey.from_public_bytes(raw)
        while len(self._keys) >= REMEMBERED_KEYS:
            del self._keys[next(iter(self._keys))]
        self._keys[end_point, kid] = _Remembered(key, time.monotonic() + REMEMBER_SECONDS)
        return key


def _verdict(
    checker: signatures.Checker, key: Ed25519PublicKey | None, stated: signatures.Statement | None
) -> Problem | None:
    if key is None:
        return _refused("No valid key of your end point has the name (kid) in the signature.")
    if stated is None or not checker.has_signed(key, stated):
        return _refused("The signature does not fit the envelope and the body as they arrived.")
    return None


def _not_signed() -> Problem:
    return Problem(
        signatures.NOT_SIGNED,
        "This hub takes only messages that their sender has signed.",
        status=403,
        where="ce-signature",
        remedy="Sign the envelope and the body's digest with your end point's key, as docs/envelope.md shows.",
    )


def _refused(detail: str) -> Problem:
    return Problem(
        signatures.SIGNATURE_REFUSED,
        detail,
        status=403,
        where="ce-signature",
        remedy="Sign the canonical form in docs/envelope.md, and send every attribute exactly as it was signed.",
    )
