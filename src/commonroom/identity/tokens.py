"""Access tokens of end points: given for an assertion signed with the end point's own key, checked on every call.

Source: RFC 7523 (assertions), RFC 9068 (the token's shape), RFC 8037 and 9864 (Ed25519). Times are the real clock's.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from commonroom.exchange import TokenResponse, keys
from commonroom.identity import codes
from commonroom.identity.end_points import parse_id
from commonroom.identity.ended_keys import EndedKeys
from commonroom.identity.principals import Principal
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.settings import Settings

TOKEN_SECONDS = 600
MAX_ASSERTION_SECONDS = 300
MAX_ASSERTION_CHARACTERS = 2048
MAX_TOKEN_CHARACTERS = 1024
CLOCK_LEEWAY_SECONDS = 60  # clocks in schools drift
CACHED_TOKENS = 10_000
KEY_FILE = "tokens.pem"
ISSUER = "urn:commonroom:tokens"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type; keeps an assertion from passing as a token


class Tokens:
    """Gives and checks access tokens with the platform's signing key, which all processes of a data folder share."""

    def __init__(self, settings: Settings, ended: EndedKeys | None = None) -> None:
        self._key = keys.load_or_create(settings.folder("keys") / KEY_FILE)
        self._ended = ended or EndedKeys()
        # Hash of a checked token -> whose, by which key, until when.
        self._seen: dict[bytes, tuple[Principal, str, int]] = {}

    async def exchange_assertion(
        self, conn: Any, assertion: str, audience: str | Collection[str]
    ) -> TokenResponse:
        """An access token for a valid assertion. `audience`: the addresses under which this hub is known.

        Raises Problem CR-030 (401; `error: invalid_client` for OAuth libraries).
        """
        end_point, party, kid = await verify_assertion(conn, assertion, audience)
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": str(end_point),
            "party": party,
            "kid": kid,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": str(uuid7()),
        }
        header = {"alg": keys.ALGORITHM, "typ": TOKEN_TYPE}
        token = jwt.encode(header, claims, self._key, algorithms=[keys.ALGORITHM])
        return TokenResponse(access_token=token, token_type="Bearer", expires_in=TOKEN_SECONDS)  # noqa: S106

    def authenticate(self, token: str) -> Principal:
        """Whose token this is. No database: checked once by signature, then remembered until it expires or its key ends.

        Raises Problem CR-031 (401).
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise _token_problem("The token is longer than any we give.")
        name = hashlib.sha256(token.encode("utf-8", errors="replace")).digest()
        known = self._seen.get(name)
        if known is None:
            known = self._verified(token)
            self._remember(name, known)
        principal, kid, expires = known
        if expires <= time.time():
            self._seen.pop(name, None)
            raise _token_problem("The token has expired.")
        if self._ended.has(principal.id, kid):
            raise _token_problem("The key with which the token was asked for is no longer valid.")
        return principal

    def _verified(self, token: str) -> tuple[Principal, str, int]:
        try:
            checked = jwt.decode(token, self._key, algorithms=[keys.ALGORITHM])
            if checked.header.get("typ") != TOKEN_TYPE:
                raise _token_problem("This is not an access token.")
            claims = msgspec.convert(checked.claims, _AccessClaims)
        except (JoseError, ValueError):  # msgspec's ValidationError is a ValueError
            raise _token_problem("The token was not given by this hub, or was changed.") from None
        principal = Principal(kind="end_point", id=claims.sub, role="end_point", party=claims.party)
        return principal, claims.kid, claims.exp

    def _remember(self, name: bytes, known: tuple[Principal, str, int]) -> None:
        while len(self._seen) >= CACHED_TOKENS:
            del self._seen[next(iter(self._seen))]  # the one remembered longest ago
        self._seen[name] = known


class _AccessClaims(msgspec.Struct, frozen=True):
    sub: str
    party: str
    exp: int
    kid: str = ""


class _AssertionClaims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str | list[str]
    jti: str
    exp: int | float
    nbf: int | float = 0


# During a rotation there are two.
_KEYS_OF = """
SELECT own.public_key, own.kid, end_point.party
FROM identity.end_point AS end_point JOIN identity.end_point_key AS own ON own.end_point = end_point.id
WHERE end_point.id = $1 AND end_point.revoked_at IS NULL AND own.use = 'sig'
    AND (own.valid_until IS NULL OR own.valid_until > clock_timestamp())
ORDER BY own.valid_from DESC
"""

# The primary key decides which of two simultaneous uses is the first.
_USE_ONCE = """
INSERT INTO identity.used_assertion (jti_hash, expires_at)
VALUES ($1, $2)
ON CONFLICT (jti_hash) DO NOTHING
RETURNING true
"""

_FORGET_EXPIRED = """
DELETE FROM identity.used_assertion
WHERE jti_hash IN (
    SELECT jti_hash FROM identity.used_assertion
    WHERE expires_at < clock_timestamp()
    LIMIT 100
    FOR UPDATE SKIP LOCKED
)
"""


async def verify_assertion(
    conn: Any, assertion: str, audience: str | Collection[str]
) -> tuple[UUID, str, str]:
    """The end point, party and key that signed this assertion for us, just now, for the first time.

    Raises Problem CR-030.
    """
    claimed = _claimed_end_point(assertion)
    rows = await conn.fetch(_KEYS_OF, claimed)
    # An unknown end point costs the same time and gets the same answer as a wrong signature.
    candidates = [(signing_jwk(row["public_key"]), row) for row in rows] or [(_NOBODY, None)]
    found = [
        (row, claims)
        for key, row in candidates
        if (claims := _signed_claims(assertion, key)) is not None and row is not None
    ]
    if not found:
        raise _assertion_problem("The assertion is not signed with the key of a registered end point.")
    row, claims = found[0]
    _check_claims(claims, str(claimed), {audience} if isinstance(audience, str) else set(audience))
    await conn.execute(_FORGET_EXPIRED)
    if not await conn.fetchval(_USE_ONCE, _jti_hash(claims), _forget_after(claims)):
        raise _assertion_problem(
            "The assertion has been used before.", "Sign a new one, with a new jti, each time."
        )
    return claimed, row["party"], row["kid"]


_NOBODY = OKPKey.generate_key("Ed25519")


def _claimed_end_point(assertion: str) -> UUID:
    if len(assertion) > MAX_ASSERTION_CHARACTERS:
        raise _assertion_problem(f"The assertion is longer than {MAX_ASSERTION_CHARACTERS} characters.")
    try:
        unverified = jws.extract_compact(assertion.encode("ascii"))
        claims = msgspec.json.decode(unverified.payload, type=_AssertionClaims)
    except (JoseError, ValueError):
        raise _assertion_problem(
            "The assertion is not a signed JWT with iss, sub, aud, jti and exp.", "See RFC 7523 section 3."
        ) from None
    end_point = parse_id(claims.sub)
    if end_point is None or claims.iss != claims.sub:
        raise _assertion_problem("iss and sub must both be the end point's id, as enrolment gave it.")
    return end_point


def signing_jwk(raw: bytes) -> OKPKey:
    """A public Ed25519 key from its 32 bytes."""
    x = keys.base64url(raw)
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})


def _signed_claims(assertion: str, key: OKPKey) -> _AssertionClaims | None:
    try:
        checked = jwt.decode(assertion, key, algorithms=keys.ALGORITHMS)
        if checked.header.get("typ") == keys.KEY_PROOF_TYPE:
            return None
        return msgspec.convert(checked.claims, _AssertionClaims)
    except (JoseError, ValueError):
        return None


def _check_claims(claims: _AssertionClaims, end_point: str, audiences: set[str]) -> None:
    now = time.time()
    if claims.sub != end_point:
        raise _assertion_problem("iss and sub must both be the end point's id.")
    if claims.exp <= now - CLOCK_LEEWAY_SECONDS:
        raise _assertion_problem("The assertion has expired.", _CLOCK)
    if claims.exp > now + MAX_ASSERTION_SECONDS + CLOCK_LEEWAY_SECONDS:
        raise _assertion_problem(
            f"The assertion is valid for more than {MAX_ASSERTION_SECONDS} seconds.", _CLOCK
        )
    if claims.nbf > now + CLOCK_LEEWAY_SECONDS:
        raise _assertion_problem("The assertion is not valid yet.", _CLOCK)
    named = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
    if not named & audiences:
        raise _assertion_problem(
            "The assertion is meant for another hub.", "Set aud to the address of this hub."
        )
    if not 1 <= len(claims.jti) <= 255:
        raise _assertion_problem("jti must be 1 to 255 characters.")


_CLOCK = "Check that this machine's clock is right, and sign each assertion anew."


def _jti_hash(claims: _AssertionClaims) -> bytes:
    return hashlib.sha256(f"{claims.sub} {claims.jti}".encode("utf-8", errors="replace")).digest()


def _forget_after(claims: _AssertionClaims) -> datetime:
    # Kept for as long as the assertion could be accepted.
    return datetime.fromtimestamp(claims.exp + CLOCK_LEEWAY_SECONDS + 1, UTC)


def _assertion_problem(detail: str, remedy: str = "Check the end point's id and its key file.") -> Problem:
    return Problem(
        codes.SIGN_IN_REFUSED,
        detail,
        status=401,
        where="client_assertion",
        remedy=remedy,
        extra={"error": "invalid_client"},
    )


def _token_problem(detail: str) -> Problem:
    return Problem(
        codes.TOKEN_REFUSED,
        detail,
        status=401,
        where="Authorization",
        remedy="Ask POST /token for a new token and send it as `Authorization: Bearer <token>`.",
    )
