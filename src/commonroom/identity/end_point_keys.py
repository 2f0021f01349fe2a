"""The keys of end points: a second one added before the first ends, retired, and listed for everybody.

A new signing key is vouched for by a valid one and by itself, so that neither a stolen token nor somebody else's public
key gets in. For an overlap both are valid. Nothing is removed: what an old key signed stays verifiable.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from commonroom.exchange import PublicKey, keys
from commonroom.identity import codes
from commonroom.identity.end_points import parse_id, public_key_of
from commonroom.identity.tokens import CLOCK_LEEWAY_SECONDS, MAX_ASSERTION_SECONDS, signing_jwk
from commonroom.problems import Problem

Use = Literal["sig", "enc"]
CURVES: dict[str, keys.Curve] = {"sig": "Ed25519", "enc": "X25519"}

_COLUMNS = (
    "own.end_point::text AS end_point, own.use, own.kid, own.public_key, own.valid_from, own.valid_until"
)
_VALID = "(own.valid_until IS NULL OR own.valid_until > clock_timestamp())"

_OF_PARTY = f"""
SELECT {_COLUMNS}
FROM identity.end_point AS end_point JOIN identity.end_point_key AS own ON own.end_point = end_point.id
WHERE end_point.party = $1
ORDER BY own.valid_from, own.kid
LIMIT 5000
"""  # noqa: S608 - constants

_TO_ENCRYPT_TO = f"""
SELECT end_point.party, {_COLUMNS}
FROM identity.end_point AS end_point JOIN identity.end_point_key AS own ON own.end_point = end_point.id
WHERE end_point.party = ANY($1::text[]) AND own.use = 'enc' AND {_VALID}
ORDER BY own.valid_from, own.kid
"""  # noqa: S608 - constants

_OF_END_POINT = f"""
SELECT {_COLUMNS}, {_VALID} AS valid FROM identity.end_point_key AS own
WHERE own.end_point = $1 ORDER BY own.valid_from
"""  # noqa: S608 - constants

_LOCK = "SELECT FROM identity.end_point WHERE id = $1 AND revoked_at IS NULL FOR UPDATE"

_ADD = "INSERT INTO identity.end_point_key (end_point, use, public_key) VALUES ($1, $2, $3)"

# At most two keys of a use are valid: what was on its way out already goes at once.
_END_OTHERS = """
UPDATE identity.end_point_key
SET valid_until = clock_timestamp() + CASE WHEN valid_until IS NULL THEN $3::interval ELSE '0'::interval END
WHERE end_point = $1 AND use = $2 AND (valid_until IS NULL OR valid_until > clock_timestamp())
"""

_END = "UPDATE identity.end_point_key SET valid_until = clock_timestamp() WHERE end_point = $1 AND kid = $2"


class _ProofClaims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    kid: str


async def keys_of(conn: Any, party: str) -> list[PublicKey]:
    """Every key the party's end points have or had, oldest first."""
    return [_public(row) for row in await conn.fetch(_OF_PARTY, party)]


async def keys_of_end_point(conn: Any, end_point: str) -> list[PublicKey]:
    """Every key one end point has or had, oldest first."""
    return [_public(row) for row in await conn.fetch(_OF_END_POINT, UUID(end_point))]


async def encryption_keys(conn: Any, parties: Sequence[str]) -> dict[str, list[PublicKey]]:
    """The valid encryption keys of each of these parties."""
    found: dict[str, list[PublicKey]] = {party: [] for party in parties}
    for row in await conn.fetch(_TO_ENCRYPT_TO, list(parties)):
        found[row["party"]].append(_public(row))
    return found


async def add_key(
    conn: Any,
    end_point: str,
    use: Use,
    jwk: Mapping[str, Any],
    proofs: Sequence[str],
    audience: Collection[str],
    overlap: timedelta,
) -> PublicKey:
    """Add a key; the one before it ends after `overlap`, any older one at once. The same key again changes nothing.

    Raises Problem CR-033 (no such key), CR-158 (proofs that are missing, a key that has ended).
    """
    raw = public_key_of(jwk, CURVES[use])
    kid = OKPKey.import_key({"kty": "OKP", "crv": CURVES[use], "x": keys.base64url(raw)}).thumbprint()
    async with conn.transaction():
        await _lock(conn, end_point)
        rows = await conn.fetch(_OF_END_POINT, UUID(end_point))
        known = next((row for row in rows if row["kid"] == kid), None)
        # A key that has been replaced vouches for nothing new: whoever has stolen it could stay for ever.
        vouching = [
            signing_jwk(row["public_key"])
            for row in rows
            if row["use"] == "sig" and row["valid"] and (known is not None or row["valid_until"] is None)
        ]
        needed = [vouching, [signing_jwk(raw)]] if use == "sig" else [vouching]
        _check_proofs(proofs, needed, end_point, kid, audience)
        if known is None:
            await conn.execute(_END_OTHERS, UUID(end_point), use, overlap)
            await conn.execute(_ADD, UUID(end_point), use, raw)
        elif not known["valid"]:
            raise _not_added("This key has been retired.", "Make a new one.")
        rows = await conn.fetch(_OF_END_POINT, UUID(end_point))
    return next(_public(row) for row in rows if row["kid"] == kid)


async def retire_key(conn: Any, end_point: str, kid: str) -> None:
    """End a key now; tokens asked for with it end within a second. Retiring it again changes nothing.

    Raises Problem CR-158 when it is unknown or the last valid signing key.
    """
    async with conn.transaction():
        await _lock(conn, end_point)
        rows = await conn.fetch(_OF_END_POINT, UUID(end_point))
        known = next((row for row in rows if row["kid"] == kid), None)
        if known is None:
            raise _not_retired("The end point has no such key.", 404)
        if not known["valid"]:
            return
        others = [row for row in rows if row["valid"] and row["use"] == "sig" and row["kid"] != kid]
        if known["use"] == "sig" and not others:
            raise _not_retired("It is the last key with which the end point can sign in.", 409)
        await conn.execute(_END, UUID(end_point), kid)


async def _lock(conn: Any, end_point: str) -> None:
    if parse_id(end_point) is None or await conn.fetchrow(_LOCK, UUID(end_point)) is None:
        raise Problem(codes.NO_SUCH_END_POINT, "The end point is not active.", status=404)


def _check_proofs(
    proofs: Sequence[str],
    needed: Sequence[Sequence[OKPKey]],
    end_point: str,
    kid: str,
    audience: Collection[str],
) -> None:
    """Each group of keys must have signed one of the proofs."""
    for group in needed:
        if not any(_proves(proof, key, end_point, kid, audience) for proof in proofs for key in group):
            who = (
                "the new key itself"
                if group is needed[-1] and len(needed) > 1
                else "the end point's newest key"
            )
            raise _not_added(f"No proof is signed by {who}.", "Sign one for this hub, valid for two minutes.")


def _proves(proof: str, key: OKPKey, end_point: str, kid: str, audience: Collection[str]) -> bool:
    try:
        checked = jwt.decode(proof, key, algorithms=keys.ALGORITHMS)
        claims = msgspec.convert(checked.claims, _ProofClaims)
    except (JoseError, ValueError):
        return False
    now = time.time()
    named = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
    return (
        checked.header.get("typ") == keys.KEY_PROOF_TYPE
        and claims.iss == claims.sub == end_point
        and claims.kid == kid
        and bool(named & set(audience))
        and now - CLOCK_LEEWAY_SECONDS < claims.exp <= now + MAX_ASSERTION_SECONDS + CLOCK_LEEWAY_SECONDS
    )


def _public(row: Any) -> PublicKey:
    return PublicKey(
        end_point=row["end_point"],
        use=row["use"],
        kid=row["kid"],
        jwk={"kty": "OKP", "crv": CURVES[row["use"]], "x": keys.base64url(row["public_key"])},
        valid_from=row["valid_from"],
        valid_until=row["valid_until"],
    )


def _not_added(detail: str, remedy: str) -> Problem:
    return Problem(codes.KEY_NOT_CHANGED, detail, status=403, where="proofs", remedy=remedy)


def _not_retired(detail: str, status: int) -> Problem:
    return Problem(
        codes.KEY_NOT_CHANGED,
        detail,
        status=status,
        where="kid",
        remedy="GET /keys lists the keys of a party.",
    )
