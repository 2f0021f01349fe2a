"""What changed in the register between two loads, organisation by organisation and item by item, from the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Literal

import msgspec

from commonroom.registers.providers.lookup import Change, changes
from commonroom.registers.providers.values import Value

What = Literal["added", "closed", "reopened", "renamed", "moved", "linked", "changed"]

_MOVED = frozenset({"street", "locality", "address3", "address4", "town", "county", "postcode"})
_LINKED = frozenset({"trust_uid", "trust_name", "federation_uid", "federation_name", "sponsor_name"})


class LinkChange(msgspec.Struct, frozen=True):
    """A link or membership that came, changed or ended; `other` is a URN or a group's UID."""

    relation: Literal["link", "membership"]
    what: Literal["added", "changed", "ended"]
    other: str
    name: str
    link_type: str
    since: date | None


class ProviderChange(msgspec.Struct, frozen=True):
    """What became of one organisation: in words that people count by, then item by item."""

    scheme: str
    value: str
    kind: str
    name: str
    what: tuple[What, ...]
    items: tuple[Change, ...]
    links: tuple[LinkChange, ...]


class Difference(msgspec.Struct, frozen=True):
    """All that the loads after `since` up to `upto` changed. `counts` has each word; a change may count under several."""

    since: int
    upto: int
    counts: dict[str, int]
    changes: list[ProviderChange]


class Load(msgspec.Struct, frozen=True):
    """One file that was loaded."""

    number: int
    file: str
    kind: str
    file_date: date
    recorded_at: datetime
    issues: int
    versions: int
    links: int


_LOADS = """
SELECT
    l.id AS number, l.file, l.kind, l.file_date, l.recorded_at, l.issue_count AS issues,
    (SELECT count(*) FROM providers.version AS v WHERE v.load = l.id) AS versions,
    (SELECT count(*) FROM providers.link_version AS k WHERE k.load = l.id) AS links
FROM providers.load AS l
ORDER BY l.id DESC
LIMIT $1
"""

# The state of each organisation that the loads touched, before the first of them and after the last. An older row that
# came late changes neither: the present stayed as it was. What people keep themselves in between is no load's doing,
# and is a record of its own.
_CHANGED = """
WITH touched AS (
    SELECT v.organisation, min(v.position) AS first, max(v.position) AS last
    FROM providers.version AS v
    JOIN providers.organisation AS o ON o.id = v.organisation
    WHERE v.load > $1 AND v.load <= $2
        AND (o.scheme, o.value) > ($3::text, $4::text)
        AND ($5::text IS NULL OR (o.scheme, o.value) <= ($5::text, $6::text))
    GROUP BY v.organisation
)

SELECT
    o.scheme, o.value, o.kind, before.facts AS before,
    -- Of what is new nothing is told item by item, so its facts stay where they are.
    CASE WHEN before.facts IS NULL THEN jsonb_build_object('name', after.facts ->> 'name') ELSE after.facts END AS after
FROM touched AS t
JOIN providers.organisation AS o ON o.id = t.organisation
LEFT JOIN LATERAL (
    SELECT v.facts FROM providers.version AS v
    WHERE v.organisation = t.organisation AND v.position < t.first
    ORDER BY v.valid_from DESC, v.position DESC
    LIMIT 1
) AS before ON true
CROSS JOIN LATERAL (
    SELECT v.facts FROM providers.version AS v
    WHERE v.organisation = t.organisation AND v.position <= t.last
    ORDER BY v.valid_from DESC, v.position DESC
    LIMIT 1
) AS after
ORDER BY o.scheme, o.value
"""

_LINKS = """
SELECT
    k.urn, k.relation, k.what, k.other, coalesce(other.name, k.name, '') AS name, k.link_type, k.since,
    coalesce(o.name, '') AS of_name
FROM providers.link_version AS k
LEFT JOIN providers.organisation AS o ON o.scheme = 'urn' AND o.value = k.urn
LEFT JOIN providers.organisation AS other
    ON other.scheme = CASE k.relation WHEN 'link' THEN 'urn' ELSE 'group' END AND other.value = k.other
WHERE k.load > $1 AND k.load <= $2
    AND ('urn', k.urn) > ($3::text, $4::text)
    AND ($5::text IS NULL OR ('urn', k.urn) <= ($5::text, $6::text))
ORDER BY k.urn, k.position
"""

# Of whom a page tells: the organisations behind `after`, and the last of them.
_PAGE = """
SELECT o.scheme, o.value
FROM providers.version AS v JOIN providers.organisation AS o ON o.id = v.organisation
WHERE v.load > $1 AND v.load <= $2 AND (o.scheme, o.value) > ($3::text, $4::text)
UNION
SELECT 'urn', k.urn FROM providers.link_version AS k
WHERE k.load > $1 AND k.load <= $2 AND ('urn', k.urn) > ($3::text, $4::text)
ORDER BY 1, 2
LIMIT 1 OFFSET $5 - 1
"""
START = ("", "")


async def loads(conn: Any, limit: int = 50) -> list[Load]:
    """The files that were loaded, newest first."""
    return [Load(**row) for row in await conn.fetch(_LOADS, limit)]


class Page(msgspec.Struct, frozen=True):
    """Some of the changes, and behind whom the next page begins; None where there is none."""

    changes: list[ProviderChange]
    after: tuple[str, str] | None


async def page(conn: Any, since: int, upto: int, after: tuple[str, str], limit: int) -> Page:
    """The changes of the next `limit` organisations behind (scheme, number) `after`, in their order."""
    row = await conn.fetchrow(_PAGE, since, upto, *after, limit)
    last = (row["scheme"], row["value"]) if row is not None else None
    return Page((await between(conn, since, upto, after, last)).changes, last)


async def between(
    conn: Any, since: int, upto: int, after: tuple[str, str] = START, last: tuple[str, str] | None = None
) -> Difference:
    """What the loads above `since` up to and with `upto` changed; of organisations behind `after` up to `last`."""
    asked = (since, upto, *after, *(last or (None, None)))
    links: dict[str, list[LinkChange]] = {}
    names: dict[str, str] = {}
    for row in await conn.fetch(_LINKS, *asked):
        values = dict(row)
        urn = values.pop("urn")
        names[urn] = values.pop("of_name")
        links.setdefault(urn, []).append(LinkChange(**values))
    found: list[ProviderChange] = []
    for row in await conn.fetch(_CHANGED, *asked):
        linked = links.pop(row["value"], []) if row["scheme"] == "urn" else []
        items = changes(row["before"] or {}, row["after"])
        if items or linked:
            what = _words(row["before"], row["after"], items, bool(linked))
            # Of an organisation that is new every item is new: its state tells them.
            told = items if row["before"] is not None else ()
            found.append(_change(row, row["after"].get("name") or "", what, told, linked))
    found += [
        ProviderChange("urn", urn, "school", names[urn], ("linked",), (), tuple(linked))
        for urn, linked in links.items()
    ]
    found.sort(key=lambda one: (one.scheme, one.value))
    return Difference(since, upto, _counts(found), found)


def words(before: dict[str, Value] | None, after: dict[str, Value]) -> tuple[What, ...]:
    """What became of an organisation from one state to the next."""
    return _words(before, after, changes(before or {}, after), False)


def _words(
    before: dict[str, Value] | None, after: dict[str, Value], items: Iterable[Change], linked: bool
) -> tuple[What, ...]:
    also: tuple[What, ...] = ("linked",) if linked else ()
    if before is None:
        return ("added", *also)
    names = {change.item for change in items}
    found: list[What] = []
    if _is_open(before) != _is_open(after):
        found.append("reopened" if _is_open(after) else "closed")
    if "name" in names:
        found.append("renamed")
    if names & _MOVED:
        found.append("moved")
    if linked or names & _LINKED:
        found.append("linked")
    return tuple(found) or ("changed",)


def _is_open(facts: dict[str, Value]) -> bool:
    return str(facts.get("status", "Open")).startswith("Open")


def _change(
    row: Any, name: str, what: tuple[What, ...], items: tuple[Change, ...], links: list[LinkChange]
) -> ProviderChange:
    return ProviderChange(row["scheme"], row["value"], row["kind"], name, what, items, tuple(links))


def _counts(found: list[ProviderChange]) -> dict[str, int]:
    return dict(sorted(Counter(word for one in found for word in one.what).items()))
