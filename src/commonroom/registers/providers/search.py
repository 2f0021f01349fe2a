"""Finding schools by what people type: words of the name, town or postcode in any order, URN, LAESTAB, UKPRN."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from commonroom.ids import org_urn

MAX_TEXT = 200  # characters of a search that are looked at
MAX_WORDS = 12
MAX_LIMIT = 500


class SchoolSummary(msgspec.Struct, frozen=True):
    """One line of a list of schools. `laestab` has seven digits without a stroke."""

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


_POSSESSIVE = re.compile(r"['’]s\b", re.IGNORECASE)

_PLAIN = "SELECT providers.plain($1)"

_WHERE = """
FROM providers.organisation
WHERE kind = 'school'
    AND ($1::tsquery IS NULL OR search @@ $1::tsquery)
    AND ($2::text IS NULL OR la_code = $2)
    AND ($3::text IS NULL OR phase = $3)
    AND ($4::boolean IS NULL OR is_open = $4)
"""

# $5 is the search without spaces (a number or a postcode), $6 its plain words.
_FIND = f"""
SELECT
    id, value AS urn, name, facts ->> 'laestab' AS laestab, facts ->> 'type' AS type, phase,
    coalesce(facts ->> 'status', 'Open') AS status, is_open, facts ->> 'town' AS town,
    facts ->> 'postcode' AS postcode, la_code, facts ->> 'la_name' AS la_name, pupils
{_WHERE}
ORDER BY
    coalesce(
        $5 IN (value, facts ->> 'laestab', facts ->> 'ukprn', lower(replace(facts ->> 'postcode', ' ', ''))), false
    ) DESC,
    is_open DESC,
    (plain_name = $6) DESC,
    (starts_with(plain_name, $6)) DESC,
    ($1::tsquery IS NOT NULL AND array_to_tsvector(array_remove(string_to_array(plain_name, ' '), '')) @@ $1::tsquery) DESC,
    plain_name, value
LIMIT $7 OFFSET $8
"""

_COUNT = f"SELECT count(*) {_WHERE}"


async def find(
    conn: Any,
    text: str = "",
    *,
    la: str | None = None,
    phase: str | None = None,
    is_open: bool | None = None,
    limit: int = 20,
    offset: int = 0,
) -> list[SchoolSummary]:
    """Schools that have every word of `text` (the beginning of a word is enough), best first.

    A number or a postcode that fits exactly comes first, then open schools, then names that begin with the text. No
    text finds all. `la` is the three-digit code; `is_open` None means both.
    """
    words = await _words(conn, text)
    if words is None:
        return []
    query, packed, plain_text = words
    rows = await conn.fetch(
        _FIND, query, la, phase, is_open, packed, plain_text, max(0, min(limit, MAX_LIMIT)), max(0, offset)
    )
    return [_summary(row) for row in rows]


async def count(
    conn: Any, text: str = "", *, la: str | None = None, phase: str | None = None, is_open: bool | None = None
) -> int:
    """How many schools `find` would give without a limit."""
    words = await _words(conn, text)
    if words is None:
        return 0
    found: int = await conn.fetchval(_COUNT, words[0], la, phase, is_open)
    return found


async def _words(conn: Any, text: str) -> tuple[str | None, str, str] | None:
    """The text as tsquery, packed and plain; None when it has signs but no word, so that nothing can fit."""
    cut = " ".join(text.replace("\x00", " ").split())[:MAX_TEXT]
    if not cut:
        return None if text.strip() else (None, "", "")
    plain_text: str = await conn.fetchval(_PLAIN, cut)
    # "St James's" should find "St James'" too: the beginning of the word is what is asked for.
    words = (await conn.fetchval(_PLAIN, _POSSESSIVE.sub("", cut))).split()[:MAX_WORDS]
    if not words:
        return None
    # Words are letters and digits only, so they need no quoting in a tsquery.
    query = " & ".join(f"{word}:*" for word in words)
    return query, re.sub(r"[^a-z0-9]", "", cut.lower()), plain_text


def _summary(row: Any) -> SchoolSummary:
    values = dict(row)
    return SchoolSummary(party=org_urn(values.pop("id")), **values)
