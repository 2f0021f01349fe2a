"""The description of /api/learners in OpenAPI, made from the values that the handlers read and answer."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from commonroom.registers.learners import batches, history, shapes, store
from commonroom.registers.learners.store import watch

# Method and path -> what it does, what it reads, what it answers.
OPERATIONS: dict[tuple[str, str], tuple[str, Any, Any]] = {
    ("post", "/find"): ("Find by details, full or check", shapes.FindAsked, store.Found),
    ("post", "/find-by-uln"): ("Find by number and names", shapes.FindUlnAsked, store.Found),
    ("post", "/register"): ("Register, or get the number there is", shapes.RegisterAsked, store.Registered),
    ("post", "/update"): ("Change items, on the version read", shapes.UpdateAsked, store.Updated),
    ("post", "/sharing"): ("Set the ability to share", shapes.SharingAsked, store.Updated),
    ("post", "/challenge"): ("Say that an item is wrong", shapes.ChallengeAsked, None),
    ("post", "/verify"): ("Whether numbers and persons belong together", shapes.VerifyAsked, store.Verified),
    ("post", "/ulns"): ("Retrieve merged numbers", shapes.UlnsAsked, None),
    ("post", "/history"): ("Who has looked at a learner", shapes.UlnAsked, history.LookUp),
    ("post", "/batches"): ("Hand in a batch; the body is the file", None, batches.Job),
    ("get", "/batches"): ("The caller's batches", None, batches.Job),
    ("get", "/batches/{job}"): ("How far a batch is", None, batches.Job),
    ("get", "/batches/{job}/result"): ("The result file", None, None),
    ("get", "/review"): ("Cases that wait for a clerk", None, store.Case),
    ("get", "/review/{case}"): ("One case", None, store.Case),
    ("post", "/review/{case}"): ("A clerk's verdict", shapes.DecideAsked, store.Decided),
    ("post", "/merge"): ("Make two numbers one, as a clerk", shapes.MergeAsked, store.Joined),
    ("post", "/unmerge"): ("Undo a merge, as a clerk", shapes.UnmergeAsked, store.Merged),
    ("post", "/merges"): ("The merges that a number had part in", shapes.UlnAsked, store.MergeMade),
    ("get", "/numbers"): ("The numbers of a school's own pupils", None, None),
    ("get", "/numbers.csv"): ("The same as CSV", None, None),
    ("get", "/session"): ("The form token of a person's session", None, None),
    ("get", "/openapi.json"): ("This document", None, None),
}


@cache
def document() -> bytes:
    """The document, as JSON."""
    kinds = {kind for _, read, told in OPERATIONS.values() for kind in (read, told) if kind is not None}
    named = sorted(kinds, key=lambda kind: str(kind.__name__))
    _, schemas = msgspec.json.schema_components(named, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), (summary, read, told) in OPERATIONS.items():
        paths.setdefault(f"/api/learners{path}", {})[method] = _operation(path, summary, read, told)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Register of learners",
                "version": "1",
                "description": "Answers carry the codes of the Learning Records Service. See docs/learners.md.",
            },
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer", "description": "From the hub's /token."}
                },
            },
            "security": [{"token": []}],
        }
    )


def _operation(path: str, summary: str, read: Any, told: Any) -> dict[str, Any]:
    purpose = {
        "name": "X-Purpose",
        "in": "header",
        "required": True,
        "schema": {"enum": sorted(watch.rules().purposes)},
    }
    named = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    places = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
        for name in named
    ]
    operation: dict[str, Any] = {
        "summary": summary,
        "parameters": [purpose, *places],
        "responses": {
            "200": {"description": "The answer, with its code.", **_content(told)},
            "400": {"description": "The request cannot be read."},
            "403": {"description": "The role may not do this."},
            "429": {"description": "Too many look-ups; `retry_after` says when to come again."},
        },
    }
    if read is not None:
        operation["requestBody"] = {"required": True, **_content(read)}
    return operation


def _content(kind: Any) -> dict[str, Any]:
    if kind is None:
        return {}
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}}
