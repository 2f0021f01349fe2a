"""What a provider says of itself: contacts, courses, its page of results. Nobody else's file touches it.

It is a record of its own beside those of GIAS and UKRLP, in the scheme `own` under the organisation's id: it has the same
history, and a load can neither overwrite nor be held up by it.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from commonroom import access
from commonroom.engines import clock
from commonroom.problems import Problem, add_codes
from commonroom.registers.providers.organisations import Incoming, lock, write

add_codes(
    {
        "CR-083": "The provider's own entries cannot be kept",
        "CR-084": "The provider's own entries were changed by somebody else",
    }
)

SCHEME, KIND = "own", "maintained"
DATASET = "providers.own"
MOST_COURSES = 2_000
_EMAIL = re.compile(r"[^@\s]{1,64}@[A-Za-z0-9.-]{3,200}")
_TELEPHONE = re.compile(r"\+?[0-9 ()-]{7,20}( ?(ext|x)\.? ?[0-9]{1,6})?")
_PAGE = re.compile(r"https?://[^\s<>\"']{4,290}")
_PARTY = re.compile(r"urn:commonroom:org:([0-9a-f-]{36})")

Words = Annotated[str, Meta(max_length=200)]
Title = Annotated[str, Meta(min_length=1, max_length=200)]


class Contact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How to reach an office of the provider: the role, never a person's name."""

    role: Title
    telephone: Words = ""
    email: Words = ""
    website: Words = ""


class Course(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A course on offer. `reference` is the provider's own or that of the learning aim."""

    title: Title
    reference: Words = ""
    qualification: Words = ""
    level: Words = ""
    mode: Words = ""
    start: date | None = None
    page: Words = ""


class Performance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page on which results of the provider stand."""

    title: Title
    page: Title


class Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that a provider keeps itself, said whole."""

    contacts: Annotated[tuple[Contact, ...], Meta(max_length=20)] = ()
    courses: Annotated[tuple[Course, ...], Meta(max_length=MOST_COURSES)] = ()
    performance: Annotated[tuple[Performance, ...], Meta(max_length=20)] = ()


class Kept(msgspec.Struct, frozen=True):
    """What is kept now. `revision` is what a change must name; 0 when nothing has been kept yet."""

    party: str
    own: Own
    revision: int
    kept_at: datetime | None


_KEPT = """
SELECT o.facts, o.version, v.recorded_at
FROM providers.organisation AS o
JOIN providers.version AS v ON v.position = o.version
WHERE o.scheme = 'own' AND o.value = $1
"""

_EXISTS = """
SELECT EXISTS (
    SELECT FROM providers.organisation
    WHERE id = $1 AND kind = ANY ('{school,provider,trust,group,local_authority}')
)
"""

_HISTORY = """
SELECT v.position, v.valid_from, v.recorded_at, v.made_by, v.facts
FROM providers.version AS v
JOIN providers.organisation AS o ON o.id = v.organisation
WHERE o.scheme = 'own' AND o.value = $1
ORDER BY v.position
"""


async def kept(conn: Any, party: str) -> Kept:
    """What a provider keeps itself; empty when it has kept nothing."""
    row = await conn.fetchrow(_KEPT, str(_id(party)))
    if row is None:
        return Kept(party, Own(), 0, None)
    return Kept(party, msgspec.convert(row["facts"], Own), row["version"], row["recorded_at"])


async def history(conn: Any, party: str) -> list[dict[str, Any]]:
    """Every state that was kept, oldest first, with when and by whom (the person's id)."""
    return [dict(row) for row in await conn.fetch(_HISTORY, str(_id(party)))]


async def keep(conn: Any, principal: Any, party: str, own: Own, revision: int) -> Kept:
    """Keep what a person of this provider says of it, in place of what was kept at `revision`.

    Raises Problem CR-006 for everybody else, CR-083 for entries that cannot be right, CR-084 when they were changed since.
    """
    if principal.kind != "person" or not principal.party or principal.party != party:
        status = 401 if principal.kind == "public" else 403
        raise Problem("CR-006", "Contacts and courses are kept by the provider itself.", status=status)
    check(own)
    organisation = _id(party)
    today = (await clock.now(conn)).date()
    async with conn.transaction():
        await lock(conn)
        if not await conn.fetchval(_EXISTS, organisation):
            raise Problem("CR-005", "The register has no such provider.", status=404)
        before = await kept(conn, party)
        if before.revision != revision:
            raise _stale()
        facts = msgspec.to_builtins(own)
        incoming = Incoming(str(organisation), KIND, today, facts)
        await write(
            conn, SCHEME, [incoming], items=Own.__struct_fields__, seen=today, load=None, made_by=principal.id
        )
        count = len(own.contacts) + len(own.courses) + len(own.performance)
        await access.audit(conn, principal, DATASET, "kept own contacts and courses", count)
        return await kept(conn, party)


def read(given: Any) -> Own:
    """Entries out of plain values. Raises Problem CR-083 saying where they are not what they should be."""
    try:
        return msgspec.convert(given, Own)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        raise Problem(
            "CR-083", f"{reason}.", where=place.strip("`$."), remedy="Correct the entry.", status=422
        ) from error


def check(own: Own) -> None:
    """Pass, or raise Problem CR-083 naming the first entry that cannot be right; never what it says."""
    for number, contact in enumerate(own.contacts, start=1):
        _fits(contact.telephone, _TELEPHONE, f"contact {number}, telephone", "Write it like 01420 555123.")
        _fits(contact.email, _EMAIL, f"contact {number}, email", "Write it like office@example.org.")
        _fits(contact.website, _PAGE, f"contact {number}, website", "Begin it with https://.")
    for number, course in enumerate(own.courses, start=1):
        _fits(course.page, _PAGE, f"course {number}, page", "Begin it with https://.")
    for number, page in enumerate(own.performance, start=1):
        _fits(page.page, _PAGE, f"page {number}", "Begin it with https://.")
    texts = [text for part in msgspec.to_builtins(own).values() for entry in part for text in entry.values()]
    if not all(text.isprintable() for text in texts):
        raise Problem("CR-083", "An entry has control characters in it.", remedy="Type it anew.", status=422)


def _fits(text: str, pattern: re.Pattern[str], where: str, remedy: str) -> None:
    if text and not pattern.fullmatch(text):
        raise Problem("CR-083", "The entry is not what it should be.", where=where, remedy=remedy, status=422)


def _id(party: str) -> UUID:
    """The organisation of a party's urn."""
    found = _PARTY.fullmatch(party)
    try:
        return UUID(found[1]) if found else UUID(int=0)
    except ValueError:
        return UUID(int=0)


def _stale() -> Problem:
    return Problem(
        "CR-084",
        "What the provider keeps was changed since you read it.",
        status=409,
        remedy="Read it again, and make your change to that.",
    )
