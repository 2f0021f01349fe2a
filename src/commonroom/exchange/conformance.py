"""What a conformance run found, as a file that its sandbox has signed: a JWS (RFC 7515) by an Ed25519 key.

Read here, where both the sandbox that writes it and a hub that is shown it reach it. The file proves which sandbox says
so, and of which end point: it names the keys with which that one signed.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from commonroom.exchange import keys
from commonroom.problems import Problem, add_codes

add_codes({"CR-173": "The conformance file cannot be believed"})

KEY_FILE = "conformance.pem"  # in the sandbox's folder `keys`
MAX_BYTES = 1_000_000


class Check(msgspec.Struct, frozen=True):
    """One thing that was tried."""

    name: str
    passed: bool
    detail: str
    seconds: float


class Result(msgspec.Struct, frozen=True):
    """The whole run."""

    party: str  # in the sandbox, as is the end point
    end_point: str
    end_point_name: str
    checks: tuple[Check, ...]
    at: datetime  # real time
    keys: tuple[str, ...] = ()  # RFC 7638 names of the keys with which the end point may sign

    @property
    def passed(self) -> bool:
        """Whether every check did."""
        return all(check.passed for check in self.checks)


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


class Believed(msgspec.Struct, frozen=True):
    """A file that was checked."""

    statement: Statement
    digest: str  # SHA-256 of the file in hex, which names it


def sign(statement: Statement, key: OKPKey) -> bytes:
    """The file's bytes."""
    payload = msgspec.json.encode(statement)
    text = jws.serialize_compact({"alg": keys.ALGORITHM}, payload, key, algorithms=[keys.ALGORITHM])
    whole = File(statement, keys.public_jwk(key), text)
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def read(path: Path, trusted: Literal["any"] | dict[str, str]) -> Believed:
    """A file that is rightly signed by `trusted` (a JWK), or with `any` by the key it names itself.

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
    return Believed(statement, hashlib.sha256(raw).hexdigest())


def _wrong(path: Path, detail: str) -> Problem:
    return Problem(
        "CR-173", detail, where=str(path), remedy="Ask for the file as the conformance run wrote it."
    )
