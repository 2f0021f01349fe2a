"""The assurance gate: data goes only to those who hold dated evidence that they protect it well enough.

A recipient's level of protection must reach the sender's level and the message's classification. It is looked at twice:
when a message is accepted, here, over a copy of the evidence in memory; and when a letter is handed out, in the
statement that leases it (`hub.level_of`). Whoever has no evidence has the lowest level. There is no way to switch it off.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import msgspec

from commonroom.exchange.contract import LeftOut
from commonroom.hub import mailbox
from commonroom.hub.movements import LEVELS, Classification
from commonroom.ids import uuid7
from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-145": "No recipient is known to protect the message well enough",
        "CR-146": "The sender's level of protection is not known",
        "CR-147": "The evidence cannot be recorded",
    }
)

NAMES = tuple(LEVELS)  # by rank
UNKNOWN = 0  # the rank of those without evidence


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence, as it is recorded."""

    id: UUID
    party: str  # urn
    end_point: str | None  # None: it speaks of all end points of the party
    level: Classification
    kind: str  # such as `certificate`, `self-assessment`, `conformance run`
    reference: str  # where it can be read
    valid_from: date  # days in England, both included
    valid_to: date
    recorded_by: str
    ended_on: date | None = None  # from this day on it counts no more
    ended_by: str | None = None


class Span(msgspec.Struct, frozen=True):
    """The days on which an end point, or with None all of a party, has a level."""

    end_point: str | None
    rank: int
    first: date
    last: date


Levels = Mapping[str, Sequence[Span]]  # by party urn


_SPANS = """
SELECT party, end_point, hub.rank_of(level) AS rank, valid_from AS first,
    least(valid_to, coalesce(ended_on - 1, valid_to)) AS last
FROM hub.evidence
"""

_RECORD = """
INSERT INTO hub.evidence (id, party, end_point, level, kind, reference, valid_from, valid_to, recorded_by)
SELECT id, party, $3, $4, $5, $6, $7, $8, $9
FROM unnest($1::uuid[], $2::text[]) AS given(id, party)
WHERE NOT ($10 AND EXISTS (SELECT FROM hub.evidence e WHERE e.party = given.party))
RETURNING id
"""

_LIST = """
SELECT id, party, end_point, level, kind, reference, valid_from, valid_to, recorded_by, ended_on, ended_by
FROM hub.evidence WHERE $1::text IS NULL OR party = $1 ORDER BY party, valid_from, id
"""

_END = """
UPDATE hub.evidence
SET ended_on = (engines.domain_now() AT TIME ZONE 'Europe/London')::date, ended_by = $2, ended_at = clock_timestamp()
WHERE id = $1 AND ended_on IS NULL
RETURNING id
"""

_PARTIES = "SELECT urn FROM hub.party WHERE kinds && $1::text[] ORDER BY urn"

_HELD = """
SELECT d.recipient, m.source, count(*) AS letters
FROM hub.delivery d
JOIN hub.message m ON m.position = d.message
LEFT JOIN hub.assured_party a ON a.party = d.recipient
WHERE d.finished_at IS NULL AND (d.state = 'offered' OR d.lease_until <= clock_timestamp())
    AND d.needs > coalesce(a.rank, 0)
GROUP BY d.recipient, m.source
"""

_HOPELESS = """
SELECT d.id
FROM hub.delivery d
JOIN hub.message m ON m.position = d.message
LEFT JOIN hub.assured_party a ON a.party = d.recipient
WHERE d.finished_at IS NULL AND (d.state = 'offered' OR d.lease_until <= clock_timestamp())
    AND d.needs > coalesce(a.rank, 0)
    AND m.retain_until < (SELECT engines.domain_now())
ORDER BY d.id
LIMIT $1
"""

HELD_TOO_LONG = "Held until its retention was over: the recipient's evidence of protection was not renewed."
GROUP = 1_000


async def load_levels(connection: Any) -> Levels:
    """All evidence as spans of days, whether they are over, running or to come."""
    found: dict[str, list[Span]] = defaultdict(list)
    for row in await connection.fetch(_SPANS):
        found[row["party"]].append(Span(row["end_point"], row["rank"], row["first"], row["last"]))
    return dict(found)


def rank_of(levels: Levels, party: str, on: date, end_point: str | None = None) -> int | None:
    """The highest rank on this day: of one end point, or the best of the whole party; None without evidence."""
    ranks = (
        span.rank
        for span in levels.get(party, ())
        if span.first <= on <= span.last and (end_point is None or span.end_point in (None, end_point))
    )
    return max(ranks, default=None)


def needed(levels: Levels, sender: str, end_point: str | None, on: date, classification: str) -> int:
    """The rank a recipient must have. Raises Problem CR-146: unknown senders may send what is public, and only that."""
    own = rank_of(levels, sender, on, end_point)
    if own is None and LEVELS[classification] > UNKNOWN:
        raise Problem(
            "CR-146",
            f"Nothing tells on {on} how well you protect data; the message is {classification}.",
            status=403,
            where="ce-source",
            remedy="Give the operator dated evidence of your level of protection; only public data travels without.",
        )
    return max(own or UNKNOWN, LEVELS[classification])


def shortfall(rank: int | None, needs: int) -> str:
    """What a recipient lacks, in words."""
    has = "has no valid evidence of protection" if rank is None else f"is assured up to {NAMES[rank]}"
    return f"The recipient {has}; {NAMES[needs]} is needed."


def nobody(left_out: Sequence[LeftOut]) -> Problem:
    """Problem CR-145 for a message with no assured recipient."""
    lacks = " ".join(f"{one.recipient}: {one.reason}" for one in left_out[:20])
    return Problem(
        "CR-145",
        f"No recipient may have this message. {lacks}",
        status=403,
        where="the recipients",
        remedy="Send it again once a recipient's evidence is recorded, or send less sensitive data.",
        extra={"left_out": msgspec.to_builtins(list(left_out))},
    )


async def record(
    connection: Any,
    parties: Sequence[str],
    level: str,
    *,
    kind: str,
    reference: str,
    valid_from: date,
    valid_to: date,
    by: str,
    end_point: str | None = None,
    where_none: bool = False,
) -> int:
    """Record the same evidence for these parties; with `where_none` only for those that never had any. How many.

    Raises Problem CR-147 when a value cannot be.
    """
    if level not in LEVELS:
        raise _wrong(f"{level} is no level of protection; they are {', '.join(NAMES)}.", "level")
    if valid_to < valid_from:
        raise _wrong("It would end before it begins.", "valid_to")
    if not (3 <= len(kind) <= 200 and 3 <= len(reference) <= 500 and by):
        raise _wrong(
            "Kind and reference need 3 to 200 and 3 to 500 characters, and somebody records it.", "kind"
        )
    rows = await connection.fetch(
        _RECORD,
        [uuid7() for _ in parties],
        list(parties),
        end_point,
        level,
        kind,
        reference,
        valid_from,
        valid_to,
        by,
        where_none,
    )
    return len(rows)


async def record_for_kinds(connection: Any, kinds: Sequence[str], level: str, **evidence: Any) -> int:
    """`record` for every party in the directory that is of one of these kinds and never had any evidence."""
    parties = [row["urn"] for row in await connection.fetch(_PARTIES, list(kinds))]
    return await record(connection, parties, level, where_none=True, **evidence)


async def list_evidence(connection: Any, party: str | None = None) -> list[Evidence]:
    """All that was ever recorded, of one party (urn) or of everybody."""
    return [Evidence(**row) for row in await connection.fetch(_LIST, party)]


async def end(connection: Any, evidence: UUID, by: str) -> None:
    """It counts no more from today. Raises Problem CR-005 when there is no such evidence that has not ended."""
    if await connection.fetchval(_END, evidence, by) is None:
        raise Problem("CR-005", "There is no such evidence, or it has ended.", status=404, where="evidence")


class Held(msgspec.Struct, frozen=True):
    """How many letters wait for evidence at this moment, by party."""

    as_recipient: Mapping[str, int]
    as_sender: Mapping[str, int]


async def held(connection: Any) -> Held:
    """Letters that no end point of their recipient may be handed today. Reads all that is unfinished."""
    to: dict[str, int] = defaultdict(int)
    sent: dict[str, int] = defaultdict(int)
    for row in await connection.fetch(_HELD):
        to[row["recipient"]] += row["letters"]
        sent[row["source"]] += row["letters"]
    return Held(dict(to), dict(sent))


async def end_held(connection: Any) -> int:
    """Letters still held when their retention is over are undeliverable, so that their bodies may go; how many."""
    count = 0
    while rows := await connection.fetch(_HOPELESS, GROUP):
        deliveries = [row["id"] for row in rows]
        done = await mailbox.undeliverable(connection, deliveries, [HELD_TOO_LONG] * len(rows))
        if not done:  # somebody else is at them
            break
        count += done
    return count


def _wrong(detail: str, where: str) -> Problem:
    return Problem("CR-147", detail, status=422, where=where, remedy="Correct it; nothing was recorded.")
