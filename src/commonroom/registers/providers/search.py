"""Finding schools and providers by what people type: words of name, town or postcode in any order, URN, LAESTAB, UKPRN.

When nothing has all the words as they were typed, each word also stands for the words of the register that are near it
(see `spelling`), so slips of the pen are forgiven and an exact search stays exact.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from commonroom.ids import org_urn
from commonroom.registers.providers import spelling

MAX_TEXT = 200  # characters of a search that are looked at
MAX_WORDS = 12
MAX_LIMIT = 500
SCHOOLS = ("school",)
EVERYBODY = ("school", "provider", "trust", "group")


class SchoolSummary(msgspec.Struct, frozen=True):
    """One line of a list of schools. `laestab` has seven digits without a stroke.

    `urn` is the number in the register of `scheme`: a URN, a UKPRN (ukprn), a group's UID (group), or the school number
    of another nation (wales, scotland, northern-ireland).
    """

    urn: str
    name: str
    laestab: str | None
    type: str | None
    phase: str | None
    status: str
    is_open: bool
    town: str | None
    postcode: str | None
    la_code: str
    la_name: str
    pupils: int | None
    party: str
    scheme: str = "urn"
    kind: str = "school"


_POSSESSIVE = re.compile(r"['’]s\b", re.IGNORECASE)

_PLAIN = "SELECT providers.plain($1)"

# A provider whose number a school or trust has is found as that school or trust.
_WHERE = """
FROM providers.organisation AS o
WHERE kind = ANY ($5::text[])
    AND ($1::tsquery IS NULL OR search @@ $1::tsquery)
    AND ($2::text IS NULL OR la_code = $2)
    AND ($3::text IS NULL OR phase = $3)
    AND ($4::boolean IS NULL OR is_open = $4)
    AND (
        kind <> 'provider'
        OR NOT EXISTS (
            SELECT FROM providers.alias AS a
            JOIN providers.organisation AS same ON same.id = a.organisation
            WHERE a.scheme = 'ukprn' AND a.value = o.value AND same.kind <> 'provider'
        )
    )
"""

# $6 is the search without spaces (a number or a postcode), $7 its plain words.
_FIND = f"""
SELECT
    id, value AS urn, name, facts ->> 'laestab' AS laestab, facts ->> 'type' AS type, phase,
    coalesce(facts ->> 'status', 'Open') AS status, is_open, facts ->> 'town' AS town,
    facts ->> 'postcode' AS postcode, coalesce(la_code, '') AS la_code, coalesce(facts ->> 'la_name', '') AS la_name,
    pupils, scheme, kind, plain_name
{_WHERE}
ORDER BY
    coalesce(
        $6 IN (value, facts ->> 'laestab', facts ->> 'ukprn', lower(replace(facts ->> 'postcode', ' ', ''))), false
    ) DESC,
    is_open DESC,
    (plain_name = $7) DESC,
    (starts_with(plain_name, $7)) DESC,
    ($1::tsquery IS NOT NULL AND array_to_tsvector(array_remove(string_to_array(plain_name, ' '), '')) @@ $1::tsquery) DESC,
    plain_name, value
LIMIT $8 OFFSET $9
"""

_COUNT = f"SELECT count(*) {_WHERE}"

_ANY = "SELECT EXISTS (SELECT FROM providers.organisation WHERE search @@ $1::tsquery)"


class _Asked(msgspec.Struct, frozen=True):
    """A search made ready: the tsquery, the text without spaces, its plain words, and whether slips were forgiven."""

    query: str | None
    packed: str
    plain: str
    forgiven: bool = False


async def find(
    conn: Any,
    text: str = "",
    *,
    la: str | None = None,
    phase: str | None = None,
    is_open: bool | None = None,
    kinds: tuple[str, ...] = SCHOOLS,
    limit: int = 20,
    offset: int = 0,
) -> list[SchoolSummary]:
    """Schools that have every word of `text` (the beginning of a word is enough), best first.

    A number or a postcode that fits exactly comes first, then open schools, then names that begin with the text. No
    text finds all. `la` is the three-digit code; `is_open` None means both. `kinds` of `EVERYBODY` finds learning
    providers, trusts and groups too.
    """
    asked = await _asked(conn, text)
    if asked is None:
        return []
    limit, offset = max(0, min(limit, MAX_LIMIT)), max(0, offset)
    page = (MAX_LIMIT, 0) if asked.forgiven else (limit, offset)
    rows = await conn.fetch(
        _FIND, asked.query, la, phase, is_open, list(kinds), asked.packed, asked.plain, *page
    )
    if asked.forgiven:
        rows = _likest(rows, asked)[offset : offset + limit]
    return [_summary(row) for row in rows]


async def count(
    conn: Any,
    text: str = "",
    *,
    la: str | None = None,
    phase: str | None = None,
    is_open: bool | None = None,
    kinds: tuple[str, ...] = SCHOOLS,
) -> int:
    """How many `find` would give without a limit."""
    asked = await _asked(conn, text)
    if asked is None:
        return 0
    found: int = await conn.fetchval(_COUNT, asked.query, la, phase, is_open, list(kinds))
    return found


async def _asked(conn: Any, text: str) -> _Asked | None:
    """The text as a search; None when it has signs but no word, so that nothing can fit."""
    cut = " ".join(text.replace("\x00", " ").split())[:MAX_TEXT]
    if not cut:
        return None if text.strip() else _Asked(None, "", "")
    plain_text: str = await conn.fetchval(_PLAIN, cut)
    # "St James's" should find "St James'" too: the beginning of the word is what is asked for.
    words = (await conn.fetchval(_PLAIN, _POSSESSIVE.sub("", cut))).split()[:MAX_WORDS]
    if not words:
        return None
    # Words are letters and digits only, so they need no quoting in a tsquery.
    query = " & ".join(f"{word}:*" for word in words)
    meant = None if await conn.fetchval(_ANY, query) else await _meant(conn, words)
    return _Asked(meant or query, re.sub(r"[^a-z0-9]", "", cut.lower()), plain_text, meant is not None)


async def _meant(conn: Any, words: list[str]) -> str | None:
    """The nearest search that finds something.

    First the likeliest words and all that may be meant by those in no name, then all that may be meant by any.
    """
    near = await spelling.near(conn, words)
    likeliest: str = await conn.fetchval(_PLAIN, " ".join(one.best for one in near))
    # The likeliest words made plain as one text: "church of englnd" is written CofE in the register.
    written = " & ".join(f"{word}:*" for word in likeliest.split())
    for every in (False, True):
        meant = " & ".join(one.query(every=every) for one in near)
        query = f"({written}) | ({meant})" if written else meant
        if await conn.fetchval(_ANY, query):
            return query
    return None


def _likest(rows: Sequence[Any], asked: _Asked) -> list[Any]:
    """The rows whose name and town are most like what was typed, first."""
    return sorted(
        rows,
        key=lambda row: -spelling.likeness(asked.plain, f"{row['plain_name']} {row['town'] or ''}".lower()),
    )


def _summary(row: Any) -> SchoolSummary:
    values = dict(row)
    values.pop("plain_name")
    return SchoolSummary(party=org_urn(values.pop("id")), **values)
