"""A letter as the client hands it out."""

from __future__ import annotations

from datetime import datetime

import msgspec

from commonroom.exchange import contract
from commonroom.exchange.envelope import Envelope


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A leased message from the mailbox."""

    envelope: Envelope
    body: bytes  # empty when the body is large
    delivery: str  # to acknowledge or refuse it by
    position: int  # the hub's order of acceptance
    accepted_at: datetime  # when the hub accepted it
    attempt: int  # 1 the first time it is delivered
    stored: contract.StoredBody | None = None  # set when the body is large: `Client.fetch_body` fetches it
    sequence: int | None = None  # its number in the mailbox, for `gaps.Seen`; None: a report
    previous: int | None = None  # the number before it


def as_letter(letter: contract.MailboxLetter) -> Letter:
    """A letter of the hub's answer."""
    envelope, body = Envelope.from_batch_item(letter.message)
    return Letter(
        envelope=envelope,
        body=body,
        delivery=letter.delivery,
        position=letter.position,
        accepted_at=letter.accepted_at,
        attempt=letter.attempt,
        sequence=letter.sequence,
        previous=letter.previous,
        stored=letter.body,
    )
