"""Many messages in one request: signed by one signature for all, and what the hub says of each."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from commonroom.exchange import contract, signatures, wire
from commonroom.exchange.cuts import Unreachable
from commonroom.exchange.envelope import Envelope, check, encode_batch
from commonroom.exchange.keys import SigningKey
from commonroom.problems import Problem


class Refusal(msgspec.Struct, frozen=True):
    """One item of a batch that the hub will not take."""

    id: str  # of the envelope
    problem: Problem


def signed(messages: Sequence[tuple[Envelope, bytes]], key: SigningKey) -> bytes:
    """The body of POST /messages:batch. Raises Problem CR-020 when one of them may not be sent."""
    digests = [(envelope, signatures.message_digest(envelope, body)) for envelope, body in messages]
    envelopes = signatures.sign_batch(digests, key)
    return encode_batch(zip(envelopes, (body for _, body in messages), strict=True))


def unsendable(envelope: Envelope) -> Refusal | None:
    """What forbids this envelope to be sent, if anything."""
    try:
        check(envelope)
    except Problem as problem:
        return Refusal(envelope.id, problem)
    return None


def fate(envelope: Envelope, result: contract.BatchResult) -> contract.Receipt | Refusal:
    """What became of one message. Raises Unreachable when the hub could not finish with it."""
    if result.receipt is not None:
        return result.receipt
    if result.status >= 500 or result.status in wire.RETRY_LATER:
        raise Unreachable(f"the hub answered {result.status} for a message of the batch")
    return Refusal(envelope.id, wire.problem_of(result.problem or {}, result.status))
