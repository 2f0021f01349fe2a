"""The outside of a letter, the form of record sets, and the client with which end points reach a hub.

Used by the agent alone on a small install, so nothing here may need a database or a web framework.
"""

from commonroom.exchange import contract, envelope, gaps, record_sets, reports, signatures
from commonroom.exchange.batches import Refusal
from commonroom.exchange.client import Client, SignInRefused
from commonroom.exchange.contract import (
    AcknowledgeRequest,
    AddKeyRequest,
    BatchResponse,
    BatchResult,
    DeliveryState,
    Enrolment,
    EnrolRequest,
    ExtendRequest,
    MailboxLetter,
    MailboxResponse,
    PartyKeys,
    PublicKey,
    Receipt,
    RecipientKeys,
    RecipientsResponse,
    RefuseRequest,
    ReleaseRequest,
    Replayed,
    ReplayRequest,
    Settled,
    StoredBody,
    TokenResponse,
    Tracking,
    UploadRequest,
    UploadState,
)
from commonroom.exchange.cuts import Unreachable
from commonroom.exchange.enrolment import enrol
from commonroom.exchange.envelope import (
    BatchItem,
    Envelope,
    body_digest,
    check_digest,
    decode_batch,
    digest_text,
    encode_batch,
)
from commonroom.exchange.gaps import Seen
from commonroom.exchange.letters import Letter
from commonroom.exchange.record_sets import RECORDS_TYPE, RECORDS_ZSTD_TYPE, RecordSet, decode, encode
from commonroom.exchange.reports import HUB_SOURCE, REPORT_TYPE, Report, is_report, read_report
from commonroom.exchange.wire import make_http_client

__all__ = [
    "HUB_SOURCE",
    "RECORDS_TYPE",
    "RECORDS_ZSTD_TYPE",
    "REPORT_TYPE",
    "AcknowledgeRequest",
    "AddKeyRequest",
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
    "PartyKeys",
    "PublicKey",
    "Receipt",
    "RecipientKeys",
    "RecipientsResponse",
    "RecordSet",
    "Refusal",
    "RefuseRequest",
    "ReleaseRequest",
    "ReplayRequest",
    "Replayed",
    "Report",
    "Seen",
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
    "gaps",
    "is_report",
    "make_http_client",
    "read_report",
    "record_sets",
    "reports",
    "signatures",
]
