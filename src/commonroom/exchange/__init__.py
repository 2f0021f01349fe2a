"""The outside of a letter, the form of record sets, and the client with which end points reach a hub.

Used by the agent alone on a small install, so nothing here may need a database or a web framework.
"""

from commonroom.exchange import contract, envelope, record_sets
from commonroom.exchange.client import (
    Client,
    Letter,
    Refusal,
    SignInRefused,
    enrol,
    make_http_client,
)
from commonroom.exchange.contract import (
    AcknowledgeRequest,
    BatchResponse,
    BatchResult,
    DeliveryState,
    Enrolment,
    EnrolRequest,
    ExtendRequest,
    MailboxLetter,
    MailboxResponse,
    Receipt,
    RefuseRequest,
    ReleaseRequest,
    Settled,
    StoredBody,
    TokenResponse,
    Tracking,
    UploadRequest,
    UploadState,
)
from commonroom.exchange.cuts import Unreachable
from commonroom.exchange.envelope import (
    BatchItem,
    Envelope,
    body_digest,
    check_digest,
    decode_batch,
    encode_batch,
)
from commonroom.exchange.large_bodies import digest_text
from commonroom.exchange.record_sets import RECORDS_TYPE, RECORDS_ZSTD_TYPE, RecordSet, decode, encode

__all__ = [
    "RECORDS_TYPE",
    "RECORDS_ZSTD_TYPE",
    "AcknowledgeRequest",
    "BatchItem",
    "BatchResponse",
    "BatchResult",
    "Client",
    "DeliveryState",
    "EnrolRequest",
    "Enrolment",
    "Envelope",
    "ExtendRequest",
    "Letter",
    "MailboxLetter",
    "MailboxResponse",
    "Receipt",
    "RecordSet",
    "Refusal",
    "RefuseRequest",
    "ReleaseRequest",
    "Settled",
    "SignInRefused",
    "StoredBody",
    "TokenResponse",
    "Tracking",
    "Unreachable",
    "UploadRequest",
    "UploadState",
    "body_digest",
    "check_digest",
    "contract",
    "decode",
    "decode_batch",
    "digest_text",
    "encode",
    "encode_batch",
    "enrol",
    "envelope",
    "make_http_client",
    "record_sets",
]
