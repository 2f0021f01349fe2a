"""What travels between a hub and its end points as JSON, word for word: used by the client here and by the hub's api.

Bodies of messages never appear here except as opaque base64. Times are RFC 3339 in UTC. Lists are bounded by
MAX_BATCH_ITEMS. A refusal is RFC 9457 problem JSON: {type, title, status, detail, code, where, remedy}.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from commonroom.exchange.envelope import MAX_BATCH_ITEMS, BatchItem, Digest, Text

BATCH_TYPE = "application/cloudevents-batch+json"
PROBLEM_TYPE = "application/problem+json"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 section 2.2
MAX_WAIT_SECONDS = 60  # the longest long-poll a hub grants
MAX_REASON = 1000

Ids = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(min_length=1, max_length=MAX_BATCH_ITEMS)
]
Reason = Annotated[str, Meta(min_length=1, max_length=MAX_REASON)]


class LeftOut(msgspec.Struct, frozen=True):
    """A party that a message would have gone to, and why it does not."""

    recipient: str  # party urn
    reason: str


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """202 of POST /messages, and one success in a batch: the hub has the message on disk and will deliver it."""

    message: str  # the hub's id of the message, a UUID; GET /messages/{message} tracks it
    id: str  # the sender's ce-id
    position: int  # the hub's running number: known time, in the order of acceptance
    recipients: list[str]  # party urns it will be delivered to
    movement: str  # the agreement under which it travels
    repeated: bool = False  # True: the hub had it already; nothing was sent twice
    ledger_position: int | None = None  # in the tamper-evident ledger, when already given
    left_out: list[LeftOut] = []  # recipients that are not known to protect it well enough


class BatchResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fate of one item of POST /messages:batch, in the order of the items. Exactly one of receipt, problem is set."""

    status: int  # the HTTP status that the item would have had alone
    receipt: Receipt | None = None
    problem: dict[str, Any] | None = None  # RFC 9457


class BatchResponse(msgspec.Struct, frozen=True):
    """200 of POST /messages:batch."""

    results: list[BatchResult]


class MailItem(BatchItem, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A message as the mailbox gives it: without `data_base64` when its body is large and has to be fetched."""

    data_base64: bytes = b""


class StoredBody(msgspec.Struct, frozen=True, kw_only=True):
    """Where the body of a letter is when it is too large to be in the letter."""

    size: int  # bytes
    digest: str  # sha-256=:<base64>:
    location: str  # path at the hub: GET it, by ranges if need be, while the lease lasts


class MailboxLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One leased message of GET /mailbox."""

    delivery: str  # what acknowledge, refuse, extend and release name, a UUID
    position: int
    accepted_at: datetime  # when the hub accepted it, by the domain clock
    attempt: int  # 1 the first time; more after an expired lease, a release or a replay
    message: MailItem
    body: StoredBody | None = None  # set when the message has no data_base64
    # Its number in this mailbox and the number before it. Reports have none. A `previous` never seen is a gap.
    sequence: int | None = None
    previous: int | None = None


class HeldLetters(msgspec.Struct, frozen=True):
    """Letters that wait for a recipient's evidence of protection to be renewed; tracking names them."""

    for_you: int  # your own evidence is missing or over
    from_you: int  # a recipient's is


class MailboxResponse(msgspec.Struct, frozen=True):
    """200 of GET /mailbox?limit=&wait=; empty when nothing came within `wait` seconds."""

    letters: list[MailboxLetter]
    held: HeldLetters | None = None  # set while there are any; some seconds old


class AcknowledgeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /mailbox/acknowledge: loaded and safe; never deliver again."""

    deliveries: Ids


class RefuseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /mailbox/refuse: it cannot be used, the sender is told why. No personal data in the reason."""

    deliveries: Ids
    reason: Reason


class ExtendRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /mailbox/extend: keep the lease for so many more seconds from now."""

    deliveries: Ids
    seconds: Annotated[int, Meta(ge=1, le=3600)]


class ReleaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /mailbox/release: give the lease back at once; the messages are offered again."""

    deliveries: Ids


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /mailbox/replay: hand out again what has ended here, inside its retention. Exactly one of the three froms."""

    from_sequence: Annotated[int, Meta(ge=1)] | None = None  # the recipient's own number
    from_position: Annotated[int, Meta(ge=1)] | None = None  # the hub's order of acceptance
    since: Annotated[datetime, Meta(tz=True)] | None = None  # time of acceptance, domain clock
    to: Annotated[int, Meta(ge=1)] | Annotated[datetime, Meta(tz=True)] | None = (
        None  # the last one, of the same kind
    )
    after_position: Annotated[int, Meta(ge=0)] = 0  # to go on: the `last_position` of the answer before


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """200 of POST /mailbox/replay."""

    replay: str  # its id in the hub's records, a UUID
    letters: int  # offered again
    first_position: int | None
    last_position: int | None
    more: bool  # there are more than one request may ask for: ask again with `after_position`


class Settled(msgspec.Struct, frozen=True):
    """200 of the four mailbox verbs. Repeating one is harmless: what is already in that state counts as settled."""

    settled: list[str]
    ignored: list[str]  # unknown, not the caller's, lease lost, or already in another terminal state


class DeliveryState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the copy for one recipient is."""

    recipient: str  # party urn
    state: str  # offered, leased, acknowledged, refused, expired, undeliverable
    at: datetime  # since when; all times are the domain clock's
    attempt: int  # how often it was handed out
    reason: str | None = None  # of refused, expired, undeliverable
    offered_at: datetime | None = None
    leased_at: datetime | None = None  # the newest time it was handed out
    finished_at: datetime | None = None
    replays: int = (
        0  # how often the recipient has asked for it again since; `state` stays the end that was reported
    )
    held: str | None = None  # why it is not handed out at the moment


class Tracking(msgspec.Struct, frozen=True, kw_only=True):
    """200 of GET /messages/{id}, for its sender and its recipients (a recipient sees only its own delivery)."""

    message: str
    id: str
    source: str
    type: str
    movement: str
    position: int
    accepted_at: datetime
    size: int  # bytes of the body
    deliveries: list[DeliveryState]


class UploadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /uploads: a large body is to come. The same again gives the same upload, with its offset."""

    size: Annotated[int, Meta(ge=1, le=2**62)]  # bytes
    digest: Digest  # sha-256=:<base64>: of all of it


class UploadState(msgspec.Struct, frozen=True, kw_only=True):
    """201 of POST /uploads, 200 of PUT and GET /uploads/{id}."""

    id: str  # what `bodyref` names once it is complete
    size: int
    digest: str
    offset: int  # bytes the hub has: go on from here
    complete: bool  # all is there and the digest is proved
    expires_at: datetime  # real time; every PUT moves it on


class EnrolRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /end-points (no token needed: the one-time code is the proof)."""

    code: Annotated[str, Meta(min_length=1, max_length=128)]
    name: Text
    jwk: dict[str, Annotated[str, Meta(max_length=255)]]  # public Ed25519 key: {kty: OKP, crv: Ed25519, x}


class Enrolment(msgspec.Struct, frozen=True):
    """201 of POST /end-points: who the caller now is. The same code with the same key again gives the same answer."""

    end_point: str  # UUID; `iss` and `sub` of its assertions
    party: str  # the organisation it acts for: the `source` of its messages


class TokenRequest(msgspec.Struct, frozen=True):
    """POST /token, form-encoded (RFC 6749 section 4.4 with RFC 7523). Other form fields are ignored."""

    grant_type: str  # client_credentials
    client_assertion_type: str  # ASSERTION_TYPE
    client_assertion: Annotated[
        str, Meta(max_length=2048)
    ]  # JWT: iss = sub = end point, aud = hub address, jti, exp


class TokenResponse(msgspec.Struct, frozen=True):
    """200 of POST /token."""

    access_token: str
    token_type: str  # Bearer
    expires_in: int  # seconds


class PublicKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One public key of an end point, also one that is no longer valid. Times are the real clock's."""

    end_point: str
    use: str  # sig: Ed25519, signs messages; enc: X25519, is encrypted to
    kid: str  # RFC 7638 thumbprint
    jwk: dict[str, str]  # {kty, crv, x}
    valid_from: datetime
    valid_until: datetime | None = None


class PartyKeys(msgspec.Struct, frozen=True):
    """200 of GET /keys?party=: every key that the party's end points have or had. What an old key signed stays signed."""

    party: str
    keys: list[PublicKey]


class AddKeyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /end-points/self/keys: proofs are JWTs over the new key's name (`keys.sign_key_proof`).

    A new signing key needs two, by a key that is valid now and by itself; an encryption key needs the first alone.
    """

    use: Literal["sig", "enc"]
    jwk: dict[str, Annotated[str, Meta(max_length=255)]]
    proofs: Annotated[list[Annotated[str, Meta(max_length=2048)]], Meta(min_length=1, max_length=2)]


class RecipientKeys(msgspec.Struct, frozen=True):
    """A party to which a message would go, and its valid encryption keys; none when it has registered none."""

    party: str
    keys: list[PublicKey]


class RecipientsResponse(msgspec.Struct, frozen=True):
    """200 of GET /recipients?type=&recipient=&dataclassification=: to whom such a message of the caller would go now."""

    recipients: list[RecipientKeys]
