"""End points: the software that speaks for an organisation, how it is registered, listed and revoked.

A person with the right gives an organisation a one-time code; whoever brings the code registers its own public key
with it. Signing in with that key is in tokens.py. Times are the real clock's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from commonroom.identity import codes
from commonroom.ids import uuid7
from commonroom.problems import Problem

CODE_BYTES = 20  # 160 bits
MAX_CODE_CHARACTERS = 128
MAX_NAME_CHARACTERS = 255
MAX_VALIDITY = timedelta(days=90)


class EndPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A registered end point."""

    id: str  # UUID
    party: str  # urn of the organisation it speaks for
    name: str
    enrolled_at: datetime
    revoked_at: datetime | None = None


_ISSUE = """
INSERT INTO identity.enrolment_code (code_hash, party, issued_by, expires_at)
SELECT code_hash, party, $3, clock_timestamp() + $4::interval
FROM unnest($1::bytea[], $2::text[]) AS given (code_hash, party)
"""


async def issue_enrolment_code(conn: Any, party: str, by: str, valid_for: timedelta) -> str:
    """A code with which one end point of this party may enrol, once. It is shown now and never again."""
    return (await issue_enrolment_codes(conn, [party], by, valid_for))[0]


async def issue_enrolment_codes(
    conn: Any, parties: Sequence[str], by: str, valid_for: timedelta
) -> list[str]:
    """One code per party, in order. `by` is who answers for it (a person's id, or the process). At most 90 days."""
    if not timedelta(0) < valid_for <= MAX_VALIDITY:
        raise _code_problem(
            f"A code may be valid for up to {MAX_VALIDITY.days} days.", "Choose a shorter time.", 400
        )
    issued = [_new_code() for _ in parties]
    await conn.execute(_ISSUE, [_hash(code) for code in issued], list(parties), by, valid_for)
    return issued


# One statement, so that of several bringers of one code exactly one finds `used_at IS NULL` (the others wait for the
# row and then see it used), and a code is never spent without its end point.
_ENROL = """
WITH spent AS (
    UPDATE identity.enrolment_code
    SET used_at = clock_timestamp(), end_point = $2
    WHERE code_hash = $1 AND used_at IS NULL AND expires_at > clock_timestamp()
    RETURNING party
)
INSERT INTO identity.end_point (id, party, name, public_key)
SELECT $2, party, $3, $4 FROM spent
RETURNING id, party, name, enrolled_at, revoked_at
"""

_ENROLLED_WITH = """
SELECT
    code.used_at,
    end_point.id, end_point.party, end_point.name, end_point.enrolled_at, end_point.revoked_at,
    EXISTS (
        SELECT FROM identity.end_point_key AS own
        WHERE own.end_point = end_point.id AND own.use = 'sig' AND own.public_key = $2
            AND (own.valid_until IS NULL OR own.valid_until > clock_timestamp())
    ) AS has_key
FROM identity.enrolment_code AS code
LEFT JOIN identity.end_point AS end_point ON end_point.id = code.end_point
WHERE code.code_hash = $1
"""


async def enrol(conn: Any, code: str, public_jwk: Mapping[str, Any], name: str) -> EndPoint:
    """Register the key under the code's party. The same code with the same key again gives the same end point, because
    the first answer may have been lost on the way.

    Raises Problem CR-032 (code unknown, used, expired), CR-033 (not a public Ed25519 JWK).
    """
    public_key = public_key_of(public_jwk)
    if not name.strip() or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise _code_problem(
            f"The name must be 1 to {MAX_NAME_CHARACTERS} printable characters.", "Choose a name.", 400
        )
    if len(code) > MAX_CODE_CHARACTERS:
        raise _unknown_code()
    row = await conn.fetchrow(_ENROL, _hash(code), uuid7(), name.strip(), public_key)
    return _end_point(row) if row is not None else await _enrolled_before(conn, code, public_key)


async def _enrolled_before(conn: Any, code: str, public_key: bytes) -> EndPoint:
    row = await conn.fetchrow(_ENROLLED_WITH, _hash(code), public_key)
    if row is None:
        raise _unknown_code()
    if row["used_at"] is None:
        raise _code_problem("The code has expired.", "Ask for a new one.")
    if not row["has_key"] or row["revoked_at"] is not None:
        raise _code_problem(
            "The code has been used.", "If it was not you, tell the operator; ask for a new one."
        )
    return _end_point(row)


_REVOKE = """
UPDATE identity.end_point SET revoked_at = clock_timestamp(), revoked_by = $2
WHERE id = $1 AND revoked_at IS NULL
RETURNING id
"""


async def revoke(conn: Any, end_point: str, by: str) -> None:
    """End the registration and all its keys. Hub processes refuse its tokens within a second.

    Raises Problem CR-037 when there is no such end point or it was revoked before.
    """
    known = parse_id(end_point)
    if known is None or await conn.fetchval(_REVOKE, known, by) is None:
        raise Problem(
            codes.NO_SUCH_END_POINT, "No active end point has this id.", status=404, where=end_point[:64]
        )


_OF_PARTY = """
SELECT id, party, name, enrolled_at, revoked_at
FROM identity.end_point
WHERE party = $1
ORDER BY enrolled_at, id
LIMIT $2
"""


async def end_points_of(conn: Any, party: str, limit: int = 500) -> list[EndPoint]:
    """The end points of a party, oldest first, revoked ones too."""
    return [_end_point(row) for row in await conn.fetch(_OF_PARTY, party, limit)]


def public_key_of(jwk: Mapping[str, Any], curve: str = "Ed25519") -> bytes:
    """The 32 bytes of a public JWK (RFC 8037) on this curve. Raises Problem CR-033."""
    if "d" in jwk:
        raise _key_problem(
            "This is the private key; it is no longer secret.", "Make a new key and send its public half."
        )
    if jwk.get("kty") != "OKP" or jwk.get("crv") != curve:
        raise _key_problem(
            f"The key is not an {curve} key.", f'Send {{"kty": "OKP", "crv": "{curve}", "x": ...}}.'
        )
    public_key = _base64url(jwk.get("x"))
    if public_key is None or len(public_key) != 32:
        raise _key_problem(
            "`x` is not 32 bytes in base64url.", "Send the public half as your library exports it."
        )
    return public_key


def parse_id(text: str) -> UUID | None:
    """The UUID in this text, in its usual spelling; None for anything else."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None


def _base64url(text: Any) -> bytes | None:
    if not isinstance(text, str) or len(text) != 43:
        return None
    try:
        return base64.b64decode(text + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None


def _new_code() -> str:
    # Lower-case base32: survives being read out, pasted, and given as a command-line argument.
    return base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode("ascii").lower()


def _hash(code: str) -> bytes:
    return hashlib.sha256(code.strip().lower().encode("utf-8", errors="replace")).digest()


def _end_point(row: Any) -> EndPoint:
    return EndPoint(
        id=str(row["id"]),
        party=row["party"],
        name=row["name"],
        enrolled_at=row["enrolled_at"],
        revoked_at=row["revoked_at"],
    )


def _unknown_code() -> Problem:
    return _code_problem("The code is not known.", "Copy it whole, as it was given; or ask for a new one.")


def _code_problem(detail: str, remedy: str, status: int = 403) -> Problem:
    return Problem(codes.CODE_REFUSED, detail, status=status, where="the enrolment", remedy=remedy)


def _key_problem(detail: str, remedy: str) -> Problem:
    return Problem(codes.KEY_REFUSED, detail, where="jwk", remedy=remedy)
