"""What the OpenAPI document says beyond what the handlers' signatures say, and how it is served: as JSON, locally."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.openapi.spec.enums import OpenAPIType

from commonroom.exchange.contract import BATCH_TYPE

SIGNED_IN: list[dict[str, list[str]]] = [{"token": []}]

_REQUIRED = {
    "ce-specversion": "Always 1.0.",
    "ce-id": "Your own name of the message; the same id again is the same message.",
    "ce-source": "Your party urn, as enrolment returned it.",
    "ce-type": "The kind of message; with you and the recipients it selects the movement.",
}
_OPTIONAL = {
    "ce-time": "When the thing happened, RFC 3339.",
    "ce-subject": "What the message is about; never a person.",
    "ce-dataschema": "The version of the language in the body.",
    "ce-recipient": "Urn or alias of a party, when the movement is addressed.",
    "ce-dataclassification": "public, internal, confidential or restricted.",
    "ce-expirytime": "After this moment the message is no longer delivered.",
    "ce-partitionkey": "Messages with the same key belong together.",
    "ce-sequence": "Your own running number.",
    "ce-correlationid": "The conversation the message belongs to.",
    "ce-causationid": "The message that caused this one.",
    "ce-bodydigest": "sha-256=:<base64>: of the body; the hub checks it.",
    "ce-bodyref": "A complete upload of yours that is the body; the request then has none.",
    "ce-signature": "Detached JWS over envelope and body by your key; docs/envelope.md has the form.",
}

_TEXT = Schema(type=OpenAPIType.STRING, max_length=2048)


def _headers() -> list[Parameter]:
    required = [
        Parameter(name, "header", _TEXT, description=text, required=True) for name, text in _REQUIRED.items()
    ]
    optional = [Parameter(name, "header", _TEXT, description=text) for name, text in _OPTIONAL.items()]
    return required + optional


@dataclass
class PostOperation(Operation):
    """POST /messages: the envelope is in headers, the body is anything."""

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), *_headers()]
        body = OpenAPIMediaType(
            schema=Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream")
        )
        self.request_body = RequestBody(content={"*/*": body}, description="Opaque; never read by the hub.")


@dataclass
class BatchOperation(Operation):
    """POST /messages:batch: CloudEvents in their JSON form."""

    def __post_init__(self) -> None:
        items = Schema(
            type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.OBJECT), min_items=1, max_items=500
        )
        self.request_body = RequestBody(content={BATCH_TYPE: OpenAPIMediaType(schema=items)}, required=True)


@dataclass
class TokenOperation(Operation):
    """POST /token: a form (RFC 6749 section 4.4 with RFC 7523)."""

    def __post_init__(self) -> None:
        fields = ("grant_type", "client_assertion_type", "client_assertion")
        form = Schema(
            type=OpenAPIType.OBJECT,
            properties={name: Schema(type=OpenAPIType.STRING, max_length=2048) for name in fields},
            required=list(fields),
        )
        content = {"application/x-www-form-urlencoded": OpenAPIMediaType(schema=form)}
        self.request_body = RequestBody(content=content, required=True)


def config() -> OpenAPIConfig:
    """JSON alone: the viewers that Litestar brings load their scripts from other people's servers."""
    return OpenAPIConfig(
        title="Common Room hub",
        version="1",
        description="Post, collect and track messages. The hub reads envelopes and never letters.",
        path="/schema",
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "token": SecurityScheme(type="http", scheme="bearer", description="From POST /token.")
            }
        ),
    )
