"""What a conformance run found, as a file that its sandbox has signed: a JWS (RFC 7515) by an Ed25519 key.

The file proves which sandbox says so and that nobody has changed it since. It gives no level of protection: that is an
operator's judgement, who records it with `commonroom hub evidence add` and names this file by its digest.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from commonroom.exchange import keys
from commonroom.problems import Problem
from commonroom.sandbox.examination import Result
from commonroom.settings import Settings

KEY_FILE = "conformance.pem"
MAX_BYTES = 1_000_000


class Statement(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="commonroom-conformance-1"):
    """What is signed."""

    software: str  # version of the sandbox that examined
    passed: bool
    result: Result


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: the signed text, what is in it for people to read, and the public key that checks it."""

    statement: Statement
    key: dict[str, str]
    jws: str


def write(settings: Settings, result: Result, path: Path) -> str:
    """Sign the result and write the file; its SHA-256 in hex, which names it in evidence."""
    key = keys.load_or_create(settings.folder("keys") / KEY_FILE)
    statement = Statement(software=version("commonroom"), passed=result.passed, result=result)
    payload = msgspec.json.encode(statement)
    text = jws.serialize_compact({"alg": keys.ALGORITHM}, payload, key, algorithms=[keys.ALGORITHM])
    whole = msgspec.json.format(msgspec.json.encode(File(statement, keys.public_jwk(key), text)), indent=2)
    path.write_bytes(whole + b"\n")
    return hashlib.sha256(whole + b"\n").hexdigest()


def read(path: Path, trusted: Literal["any"] | dict[str, str]) -> Statement:
    """The statement in a file that is rightly signed by `trusted` (a JWK), or with `any` by the key it names itself.

    Raises Problem CR-173.
    """
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise _wrong(path, "It is too large.")
        file = msgspec.json.decode(raw, type=File)
        if trusted != "any" and file.key != trusted:
            raise _wrong(path, "Another key than the trusted one has signed it.")
        key = OKPKey.import_key(dict(file.key))
        checked = jws.deserialize_compact(file.jws, key, algorithms=[keys.ALGORITHM])
        statement = msgspec.json.decode(checked.payload, type=Statement)
    except (OSError, JoseError, ValueError, TypeError) as error:
        raise _wrong(path, "It is no conformance file, or was changed.") from error
    if statement != file.statement:
        raise _wrong(path, "What is shown is not what is signed.")
    return statement


def _wrong(path: Path, detail: str) -> Problem:
    return Problem(
        "CR-173", detail, where=str(path), remedy="Ask for the file as the conformance run wrote it."
    )
