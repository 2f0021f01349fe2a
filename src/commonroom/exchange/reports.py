"""Reports: how the story of a message ended at one recipient, as the hub tells its sender.

A report is a small letter of the hub's own. It says what stood on the envelope and what became of it, never what the
letter said. There is exactly one for each message and recipient.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from commonroom.exchange.envelope import Envelope

REPORT_TYPE = "commonroom.hub.report"
HUB_SOURCE = "urn:commonroom:hub"
JSON_TYPE = "application/json"

EndState = Literal["acknowledged", "refused", "expired", "undeliverable"]


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a report. Times are the hub's domain clock, in UTC."""

    message: str  # the hub's id of the message
    id: str  # the sender's ce-id of it
    type: str
    recipient: str  # party urn
    state: EndState
    reason: str | None = None  # of refused, expired, undeliverable; the recipient's own words when refused
    accepted_at: datetime
    at: datetime  # when it ended
    attempts: int  # how often it was handed out


_DECODER = msgspec.json.Decoder(Report)


def is_report(envelope: Envelope) -> bool:
    """Whether this letter is the hub's own: nobody else can send under its source."""
    return envelope.source == HUB_SOURCE and envelope.type == REPORT_TYPE


def read_report(body: bytes) -> Report:
    """The report in the body of a letter that `is_report`. Raises msgspec.DecodeError when it is none."""
    return _DECODER.decode(body)


def report_envelope(delivery: str, sender: str, report: Report) -> Envelope:
    """The outside of a report: correlated with the message, caused by the sender's own letter."""
    return Envelope(
        id=delivery,
        source=HUB_SOURCE,
        type=REPORT_TYPE,
        time=report.at,
        datacontenttype=JSON_TYPE,
        recipient=sender,
        correlationid=report.message,
        causationid=report.id,
    )
