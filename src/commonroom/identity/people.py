"""People: accounts, sign-in with a password, sessions, and the brake on guessing. Times are the real clock's.

What a person may see is the business of access. Nothing here is ever logged: usernames and names are personal.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from commonroom.identity import codes
from commonroom.identity.principals import ROLES_OF_PEOPLE, ROLES_WITH_PARTY, Principal, Role
from commonroom.ids import uuid7
from commonroom.problems import Problem

SESSION_LIFE = timedelta(hours=12)  # whatever happens
SESSION_REST = timedelta(hours=1)  # without being used
SEEN_EVERY = timedelta(minutes=5)  # so that reading pages seldom writes
MIN_PASSWORD = 8
MAX_PASSWORD = 256
MAX_USERNAME = 128
MAX_NAME = 255
FREE_ATTEMPTS = 5
FIRST_BLOCK = timedelta(minutes=1)  # doubles with each further failure
LONGEST_BLOCK = timedelta(minutes=15)
ATTEMPTS_FORGOTTEN_AFTER = timedelta(hours=24)

_HASHER = PasswordHasher()  # argon2id, RFC 9106's second recommended parameters
# Each hashing holds 64 MB and one core; a storm of sign-ins queues here and must not take the machine.
_HASHING = ThreadPoolExecutor(max_workers=2, thread_name_prefix="password")

_ADD = """
INSERT INTO identity.person (id, username, password_hash, role, party, name)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (username) DO NOTHING
RETURNING id
"""

_REPLACE = """
WITH changed AS (
    UPDATE identity.person
    SET password_hash = $2, role = $3, party = $4, name = $5, suspended_at = NULL
    WHERE username = $1
    RETURNING id
),
ended AS (
    DELETE FROM identity.session WHERE person IN (SELECT id FROM changed)
)
SELECT id FROM changed
"""


async def add_person(
    conn: Any,
    username: str,
    password: str,
    role: Role,
    party: str | None,
    name: str,
    *,
    replace: bool = False,
) -> str:
    """Make an account and return its id. With `replace` an account of that name is overwritten and its sessions end.

    Raises Problem CR-036: a value out of bounds, a party missing or too much for the role, a name that is taken.
    """
    _check_account(username, password, role, party, name)
    account = _fold(username)
    password_hash = await _hash_password(password)
    found: UUID | None = await conn.fetchval(_ADD, uuid7(), account, password_hash, role, party, name)
    if found is None and replace:
        found = await conn.fetchval(_REPLACE, account, password_hash, role, party, name)
    if found is None:
        raise _account_problem("The username is taken.", "Choose another.", status=409)
    return str(found)


# The attempt is counted before the password is looked at, so that a thousand simultaneous guesses count as a thousand.
_COUNT_ATTEMPT = """
INSERT INTO identity.sign_in_attempt AS known (username_hash, attempts, last_at, blocked_until)
VALUES ($1, 1, clock_timestamp(), clock_timestamp())
ON CONFLICT (username_hash) DO UPDATE SET
    attempts = CASE WHEN known.last_at < clock_timestamp() - $2::interval THEN 1 ELSE known.attempts + 1 END,
    last_at = clock_timestamp(),
    blocked_until = CASE
        WHEN known.last_at < clock_timestamp() - $2::interval THEN clock_timestamp()
        ELSE clock_timestamp() + least($5::interval, $4::interval * power(2, least(known.attempts + 1 - $3, 20)))
            * (known.attempts + 1 >= $3)::integer
    END
WHERE known.blocked_until <= clock_timestamp()
RETURNING attempts
"""

_BLOCKED_FOR = """
SELECT extract(epoch FROM blocked_until - clock_timestamp())::float
FROM identity.sign_in_attempt
WHERE username_hash = $1
"""

_CLEAR_ATTEMPTS = "DELETE FROM identity.sign_in_attempt WHERE username_hash = $1"

_PERSON = "SELECT id, password_hash FROM identity.person WHERE username = $1 AND suspended_at IS NULL"

_START_SESSION = """
INSERT INTO identity.session (token_hash, person, expires_at)
VALUES ($1, $2, clock_timestamp() + $3::interval)
"""

_TIDY_SESSIONS = """
DELETE FROM identity.session
WHERE token_hash IN (
    SELECT token_hash FROM identity.session
    WHERE expires_at < clock_timestamp()
    LIMIT 100
    FOR UPDATE SKIP LOCKED
)
"""

_TIDY_ATTEMPTS = """
DELETE FROM identity.sign_in_attempt
WHERE username_hash IN (
    SELECT username_hash FROM identity.sign_in_attempt
    WHERE last_at < clock_timestamp() - $1::interval
    LIMIT 100
    FOR UPDATE SKIP LOCKED
)
"""


async def sign_in(conn: Any, username: str, password: str) -> str:
    """A new session's token, to be kept in the person's cookie and nowhere else; only its hash is stored.

    Call it outside a transaction: a failed attempt must stay counted. Raises Problem CR-034 (401, never saying which
    of the two is wrong) or CR-035 (429; `retry_after` in seconds among its members).
    """
    account = _fold(username[: MAX_USERNAME + 1])
    attempt = hashlib.sha256(account.encode("utf-8", errors="replace")).digest()
    await _count_attempt(conn, attempt)
    person = await conn.fetchrow(_PERSON, _storable(account))
    # Nobody's password is checked against a hash as well, so that the time tells nothing about who exists.
    right = await _verify_password(
        person["password_hash"] if person is not None else await _nobody(), password
    )
    if person is None or not right:
        raise Problem(
            codes.PERSON_REFUSED,
            "The username or the password is wrong.",
            status=401,
            where="the sign-in form",
            remedy="Check both; capital letters count in the password.",
        )
    await conn.execute(_CLEAR_ATTEMPTS, attempt)
    return await _start_session(conn, person["id"])


_PERSON_OF = """
SELECT
    person.id, person.role, person.party, person.name,
    session.seen_at < clock_timestamp() - $3::interval AS stale
FROM identity.session AS session
JOIN identity.person AS person ON person.id = session.person
WHERE
    session.token_hash = $1
    AND session.expires_at > clock_timestamp()
    AND session.seen_at > clock_timestamp() - $2::interval
    AND person.suspended_at IS NULL
"""

_SEEN = "UPDATE identity.session SET seen_at = clock_timestamp() WHERE token_hash = $1"


async def person_of(conn: Any, session_token: str) -> Principal | None:
    """Whose session this is; None when it never was, has ended, rested an hour, or is twelve hours old."""
    name = _token_hash(session_token)
    row = await conn.fetchrow(_PERSON_OF, name, SESSION_REST, SEEN_EVERY)
    if row is None:
        return None
    if row["stale"]:
        await conn.execute(_SEEN, name)
    return Principal(kind="person", id=str(row["id"]), role=row["role"], party=row["party"], name=row["name"])


async def sign_out(conn: Any, session_token: str) -> None:
    """End the session; ending one that is no more is harmless."""
    await conn.execute("DELETE FROM identity.session WHERE token_hash = $1", _token_hash(session_token))


_SUSPEND = """
WITH changed AS (
    UPDATE identity.person SET suspended_at = clock_timestamp()
    WHERE id = $1 AND suspended_at IS NULL
    RETURNING id
)
DELETE FROM identity.session WHERE person IN (SELECT id FROM changed)
"""


async def username_of(conn: Any, person: str) -> str | None:
    """The name with which a person signs in, folded as it is kept; None when there is no such person."""
    found: str | None = await conn.fetchval(
        "SELECT username FROM identity.person WHERE id = $1", UUID(person)
    )
    return found


async def suspend_person(conn: Any, person: str) -> None:
    """Shut an account: its sessions end now and its password no longer opens anything."""
    await conn.execute(_SUSPEND, UUID(person))


async def _count_attempt(conn: Any, attempt: bytes) -> None:
    await conn.execute(_TIDY_ATTEMPTS, ATTEMPTS_FORGOTTEN_AFTER)
    counted = await conn.fetchval(
        _COUNT_ATTEMPT, attempt, ATTEMPTS_FORGOTTEN_AFTER, FREE_ATTEMPTS, FIRST_BLOCK, LONGEST_BLOCK
    )
    if counted is not None:
        return
    seconds = max(1, math.ceil(await conn.fetchval(_BLOCKED_FOR, attempt) or 0))
    raise Problem(
        codes.THROTTLED,
        "There were too many attempts to sign in with this username.",
        status=429,
        where="the sign-in form",
        remedy=f"Wait {seconds} seconds and try again.",
        extra={"retry_after": seconds},
    )


async def _start_session(conn: Any, person: UUID) -> str:
    token = secrets.token_urlsafe(32)
    await conn.execute(_TIDY_SESSIONS)
    await conn.execute(_START_SESSION, _token_hash(token), person, SESSION_LIFE)
    return token


def _token_hash(token: str) -> bytes:
    # 256 random bits need no slow hash; looking up by the hash leaks nothing about the token through time.
    return hashlib.sha256(token.encode("utf-8", errors="replace")).digest()


async def _hash_password(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_HASHING, _HASHER.hash, _password_bytes(password))


async def _verify_password(password_hash: str, password: str) -> bool:
    if len(password) > MAX_PASSWORD:
        password = ""  # no account has the empty one
    return await asyncio.get_running_loop().run_in_executor(
        _HASHING, _matches, password_hash, _password_bytes(password)
    )


def _matches(password_hash: str, password: bytes) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def _password_bytes(password: str) -> bytes:
    # One spelling of each letter, whichever keyboard it was typed on (RFC 8265 section 4).
    return unicodedata.normalize("NFKC", password).encode("utf-8", errors="surrogatepass")


_nobodys_hash = ""


async def _nobody() -> str:
    global _nobodys_hash
    if not _nobodys_hash:
        _nobodys_hash = await _hash_password(secrets.token_urlsafe(32))
    return _nobodys_hash


def _fold(username: str) -> str:
    return unicodedata.normalize("NFKC", username).strip().casefold()


def _storable(text: str) -> str:
    # PostgreSQL has no NUL and no lone surrogates in text; such a name is nobody's.
    return text if text.isprintable() else ""


def _check_account(username: str, password: str, role: str, party: str | None, name: str) -> None:
    account = _fold(username)
    if not 1 <= len(account) <= MAX_USERNAME or not account.isprintable():
        raise _account_problem(f"A username has 1 to {MAX_USERNAME} printable characters.", "Choose another.")
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise _account_problem(
            f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters.", "Choose another."
        )
    if role not in ROLES_OF_PEOPLE:
        raise _account_problem("There is no such role.", f"Roles: {', '.join(ROLES_OF_PEOPLE)}.")
    if (role in ROLES_WITH_PARTY) != (party is not None):
        raise _account_problem(
            "The role and the organisation do not go together.", "Only school and authority name one."
        )
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise _account_problem(f"A name has 1 to {MAX_NAME} printable characters.", "Choose another.")


def _account_problem(detail: str, remedy: str, status: int = 400) -> Problem:
    return Problem(codes.ACCOUNT_REFUSED, detail, status=status, where="the account", remedy=remedy)
