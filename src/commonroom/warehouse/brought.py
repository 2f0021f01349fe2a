"""When movements brought the records of schools to their local authorities, and which facts are of these times.

A movement brings what the hub accepts while it is in force. What was sent earlier never had the authority as its
recipient, and no replay hands it out: the hub repeats only letters that were the recipient's before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec
import pyarrow as pa

from commonroom import standard
from commonroom.warehouse.tables import FactTable

EARLIEST, LATEST = datetime.min, datetime.max  # noqa: DTZ901 - UTC without a zone, as `known_from` is


class Span(msgspec.Struct, frozen=True, order=True):
    """A time from its beginning until before its end: UTC without a zone, as `known_from` is."""

    since: datetime
    until: datetime = LATEST

    def within(self, other: Span) -> Span | None:
        """What they have in common."""
        since, until = max(self.since, other.since), min(self.until, other.until)
        return Span(since, until) if since < until else None


class Movement(msgspec.Struct, frozen=True):
    """A version of a movement to local authorities, with the times at which it was the one in force."""

    sender_kind: str | None
    sender_party: str | None
    entities: frozenset[str]
    needs: int  # the rank of protection
    is_in_force: bool  # today
    spans: tuple[Span, ...]


# Every version that was ever agreed of the movements in force today: from which moment, and until when by its last day.
_VERSIONS = """
SELECT m.id, m.version, m.sender_kind, m.sender_party, m.types, hub.rank_of(m.classification) AS needs,
    $1 = ANY (m.recipients) AS is_to_authority,
    active.version IS NOT DISTINCT FROM m.version AS is_in_force,
    greatest(agreed.at, m.active_from::timestamp AT TIME ZONE 'Europe/London') AT TIME ZONE 'UTC' AS since,
    (m.active_to + 1)::timestamp AT TIME ZONE 'Europe/London' AT TIME ZONE 'UTC' AS until,
    withdrawn.at AT TIME ZONE 'UTC' AS withdrawn
FROM hub.movement m
JOIN hub.active_movement active ON active.id = m.id
CROSS JOIN LATERAL (
    SELECT coalesce(min(s.at), CASE WHEN m.state = 'approved' THEN m.loaded_at END) AS at
    FROM hub.movement_step s
    WHERE s.movement = m.id AND s.version = m.version AND s.step IN ('loaded', 'approved')
) agreed
LEFT JOIN LATERAL (
    SELECT max(s.at) AS at FROM hub.movement_step s
    WHERE s.movement = m.id AND s.version = m.version AND s.step = 'withdrawn'
) withdrawn ON true
WHERE agreed.at IS NOT NULL AND $1 = ANY (active.recipients)
ORDER BY m.id, m.version
"""
_PAUSES = """
SELECT movement, at AT TIME ZONE 'UTC' AS at, step = 'suspended' AS is_suspended
FROM hub.movement_step
WHERE movement = ANY ($1) AND step IN ('suspended', 'resumed')
ORDER BY entry
"""


async def movements_to(connection: Any, role: str) -> tuple[Movement, ...]:
    """The movements in force today that bring records to the parties in a role, and their earlier versions."""
    versions: dict[str, list[Any]] = {}
    for row in await connection.fetch(_VERSIONS, role):
        versions.setdefault(row["id"], []).append(row)
    pauses: dict[str, list[tuple[datetime, bool]]] = {name: [] for name in versions}
    for row in await connection.fetch(_PAUSES, sorted(versions)):
        pauses[row["movement"]].append((row["at"], row["is_suspended"]))
    events = standard.load().events
    return tuple(
        Movement(
            row["sender_kind"],
            row["sender_party"],
            frozenset(name for kind in row["types"] if kind in events for name in events[kind].entities),
            row["needs"],
            row["is_in_force"],
            tuple(span for number, span in in_force(rows, pauses[name]) if number == row["version"]),
        )
        for name, rows in versions.items()
        for row in rows
        if row["is_to_authority"]
    )


def in_force(
    versions: Sequence[Mapping[str, Any]], pauses: Sequence[tuple[datetime, bool]]
) -> Iterator[tuple[int, Span]]:
    """Which version of one movement was in force, span by span. The newest that has begun is the one that holds."""
    moments = {row[name] for row in versions for name in ("since", "until", "withdrawn")} - {None}
    for since, until in pairwise([*sorted(moments | {at for at, _ in pauses}), LATEST]):
        begun = [
            row
            for row in versions
            if row["since"] <= since and (row["withdrawn"] is None or since < row["withdrawn"])
        ]
        is_paused = next((paused for at, paused in reversed(pauses) if at <= since), False)
        if not begun or is_paused or since == until:
            continue
        holds = max(begun, key=lambda row: row["version"])
        if holds["until"] is None or since < holds["until"]:
            yield holds["version"], Span(since, until)


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same times in order, as few spans as it takes."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.since <= found[-1].until:
            found[-1] = Span(found[-1].since, max(found[-1].until, span.until))
        else:
            found.append(span)
    return tuple(found)


ALWAYS = (Span(EARLIEST),)


class Brought(msgspec.Struct, frozen=True):
    """Of some senders' facts those that count: all of them, or what was accepted in the spans of that sender."""

    senders: Mapping[str, tuple[Span, ...]]

    @property
    def is_all(self) -> bool:
        """Whether all count, whenever they were accepted."""
        return set(self.senders.values()) <= {ALWAYS}

    @property
    def ways(self) -> list[tuple[Span, ...]]:
        """The different spans that senders have: they are few, however many senders."""
        return sorted(set(self.senders.values()))

    def table(self) -> Any:
        """Each sender with the number of its way, to join facts to."""
        numbers = {way: number for number, way in enumerate(self.ways)}
        names = sorted(self.senders)
        return pa.table(
            {
                "sender": pa.array(names, pa.string()),
                "way": pa.array([numbers[self.senders[name]] for name in names], pa.int64()),
            }
        )

    def condition(self) -> str:
        """SQL over `way` and `known_from`: whether a fact was brought."""
        cases = [f"WHEN {number} THEN {_in_spans(way)}" for number, way in enumerate(self.ways)]
        return f"CASE way {' '.join(cases)} END" if cases else "false"


def _in_spans(way: tuple[Span, ...]) -> str:
    if way == ALWAYS:
        return "true"
    texts = [
        f"(known_from >= TIMESTAMP '{span.since.isoformat(sep=' ')}'"
        + ("" if span.until == LATEST else f" AND known_from < TIMESTAMP '{span.until.isoformat(sep=' ')}'")
        + ")"
        for span in way
    ]
    return " OR ".join(texts) or "false"


# What `sent` needs beside the columns that the measure reads.
COLUMNS = ("sender", "message", "weight", "known_from", "known_position", "version", "valid_from", "origin")
_SENT = (
    "SELECT sent.*, {condition} AS brought FROM ({facts}) AS sent JOIN {granted} AS granted USING (sender)"
)
_HAS_MOVED = "starts_with(coalesce(origin, ''), 'moved' || chr(31))"  # as facts.MOVED has it
# Messages that were not brought. Under a key that was changed since, a fact is known from the change on, but its message
# still is the one that told it: the first row of a message says when that was.
_EARLIER = """
SELECT message FROM ({sent}) AS sent
WHERE NOT {has_moved}
GROUP BY message
HAVING NOT arg_min(brought, known_from)
"""
# What moved to another key ends under the old one, whoever was told of it: it counts under the new one.
_TOLD = """
SELECT sent.* REPLACE (earlier.message IS NULL OR {has_moved} AS brought)
FROM ({sent}) AS sent LEFT JOIN {messages} AS earlier USING (message)
"""
# In each slot the last that was brought holds, whatever came while nothing was: a version, or a withdrawal. What was brought
# before it is taken away again. Only slots with more than a first row need be looked at, and their hashes find them soonest;
# a slot that is found by chance has one row, which stays.
_COUNTED = """
SELECT {columns} FROM ({told}) AS told WHERE weight > 0 AND brought
UNION ALL
SELECT {columns} FROM (
    SELECT * REPLACE (-1 AS weight), weight AS said, row_number() OVER (
        PARTITION BY {slot}
        ORDER BY known_from DESC, known_position DESC, version DESC, {has_moved} DESC, weight DESC
    ) AS place
    FROM ({few}) AS few
    WHERE brought
)
WHERE said > 0 AND place > 1
"""


def sent(facts: str, granted: str, brought: Brought) -> str:
    """SQL of the senders' facts, with `brought`. `granted` is the name under which its table is offered."""
    return _SENT.format(condition=brought.condition(), facts=facts, granted=granted)


def earlier(sent: str) -> str:
    """SQL of the messages that were not brought."""
    return _EARLIER.format(sent=sent, has_moved=_HAS_MOVED)


def counted(table: FactTable, sent: str, messages: str, columns: Iterable[str]) -> str:
    """SQL of those that count, where some were not brought. `messages` names a table of those that `earlier` gives."""
    slot = ", ".join(dict.fromkeys((*table.key, "valid_from")))
    corrected = f"SELECT hash({slot}) FROM ({sent}) AS late WHERE weight <= 0"  # noqa: S608 - ours
    few = f"SELECT * FROM ({sent}) AS sent WHERE hash({slot}) IN ({corrected})"  # noqa: S608 - ours
    told, few_told = (
        _TOLD.format(sent=rows, messages=messages, has_moved=_HAS_MOVED) for rows in (sent, few)
    )
    return _COUNTED.format(
        columns=", ".join(columns), slot=slot, told=told, few=few_told, has_moved=_HAS_MOVED
    )
