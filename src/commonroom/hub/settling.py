"""Settling: what whoever holds a lease does with the letter, for many callers in one statement.

Each statement takes arrays of one row for each delivery and changes the rows that are the caller's, in the order of
their ids, so that two hub processes settling the same letters cannot deadlock. What it did not change is looked at by a
second statement, which is seldom needed: already in that state, or a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

import msgspec
from asyncpg.pgproto.pgproto import UUID as DatabaseUUID  # noqa: N811 - a UUID that costs a tenth to make

from commonroom.exchange import Settled
from commonroom.hub import ledger, reports
from commonroom.hub.columns import numbers, of_numbers, of_texts, texts
from commonroom.hub.rounds import COMMAND_SECONDS, Asked, Rounds

MAX_ROUND = 2_000  # deliveries

Kind = Literal["finish", "extend", "release"]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller wants done with its letters. Made by `wish`."""

    kind: Kind
    named: dict[str, UUID | None]  # by the caller's own words, each once; None: that is no id
    party: str
    end_point: str
    state: str = ""  # of `finish`: acknowledged or refused; one statement takes wishes of one state
    reason: str | None = None  # of `finish`: printable
    seconds: float = 0.0  # of `extend`: from now

    @property
    def deliveries(self) -> set[UUID]:
        """Those that can be deliveries."""
        return {delivery for delivery in self.named.values() if delivery is not None}


def wish(
    kind: Kind,
    deliveries: Sequence[str],
    party: str,
    end_point: str,
    *,
    state: str = "",
    reason: str | None = None,
    seconds: float = 0.0,
) -> Wish:
    """What an end point of a party wants done with these deliveries."""
    named = {text: _uuid(text) for text in deliveries}
    said = None if reason is None else printable(reason)
    return Wish(
        kind=kind, named=named, party=party, end_point=end_point, state=state, reason=said, seconds=seconds
    )


def printable(reason: str) -> str:
    """A reason without the characters that no log or page can show."""
    return "".join(character if character.isprintable() else " " for character in reason)


# $1 deliveries, $2 parties, $3 end points.
_GIVEN = f"{of_numbers('$1', 'uuid')}, {of_texts('$2')}, {of_texts('$3')}"
_HELD = "d.id = given.id AND d.recipient = given.party AND d.state = 'leased' AND d.lease_holder = given.end_point"

# $4 the state they end in, $5 reasons or nothing, $6 and $7 the parties, each once, and which of them each one is. Report
# and ledger entry need the same row of the message, so it is looked up once.
_FINISH = f"""
WITH {ledger.OPENED}, done AS (
    UPDATE hub.delivery d
    SET state = $4, reason = given.reason, finished_at = (SELECT engines.domain_now()), lease_until = NULL,
        ledger_groups = d.ledger_groups || {ledger.OPEN_GROUP}
    FROM unnest({_GIVEN}, $5::text[], {of_numbers("$7", "integer")})
        AS given(id, party, end_point, reason, party_of), hub.message m
    WHERE {_HELD} AND m.position = d.message
    RETURNING d.id, d.finished_at, d.replays, d.reason, given.party_of, m.id AS message_id, m.source, m.end_point
), reports AS (
    INSERT INTO hub.report (party, delivery, end_point, made_at)
    SELECT source, id, end_point, finished_at FROM done WHERE replays = 0
), entries AS (
    {ledger.APPEND_GROUP}
    SELECT {ledger.OPEN_GROUP}, $4, array_agg({ledger.NEXT_ENTRY}), array_agg(message_id), $6, array_agg(party_of),
        CASE WHEN count(reason) > 0 THEN array_agg(reason) END
    FROM done HAVING count(*) > 0
)
SELECT id FROM done
"""  # noqa: S608 - constants

_FINISHED_BEFORE = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest({_GIVEN}) AS given(id, party, end_point)
), {reports.TAKEN}
SELECT d.id FROM given JOIN hub.delivery d ON d.id = given.id
WHERE d.recipient = given.party AND d.state = $4
UNION ALL SELECT id FROM taken UNION ALL SELECT id FROM taken_before
"""  # noqa: S608 - constants

_EXTEND = f"""
UPDATE hub.delivery d SET lease_until = clock_timestamp() + make_interval(secs => given.seconds)
FROM unnest({_GIVEN}, $4::float8[]) AS given(id, party, end_point, seconds)
WHERE {_HELD}
RETURNING d.id
"""  # noqa: S608 - constants

# The holder stays written, so that releasing twice is seen to be the same release.
_RELEASE = f"""
WITH done AS (
    UPDATE hub.delivery d SET state = 'offered', lease_until = NULL
    FROM unnest({_GIVEN}) AS given(id, party, end_point)
    WHERE {_HELD}
    RETURNING d.id, d.message, d.recipient
), entries AS (
    {ledger.APPEND}
    SELECT '{ledger.RELEASED}', message, recipient, NULL, NULL FROM done ORDER BY message
)
SELECT id FROM done
"""  # noqa: S608 - constants

_RELEASED_BEFORE = f"""
SELECT d.id
FROM unnest({_GIVEN}) AS given(id, party, end_point)
JOIN hub.delivery d ON d.id = given.id
WHERE d.recipient = given.party AND d.state = 'offered' AND d.lease_holder = given.end_point
"""  # noqa: S608 - constants


async def settle(connection: Any, wishes: Sequence[Wish]) -> list[Settled]:
    """Do what all these wishes of one kind and state say; no delivery may be in two of them."""
    rows = [(delivery, one) for one in wishes for delivery in one.deliveries]
    rows.sort(key=lambda row: row[0].int)
    kind = wishes[0].kind
    done = await _run(connection, kind, rows, before=False)
    if kind != "extend":
        left = [row for row in rows if row[0] not in done]
        done |= await _run(connection, kind, left, before=True)
    return [_settled(one, done) for one in wishes]


async def _run(connection: Any, kind: Kind, rows: Sequence[tuple[UUID, Wish]], *, before: bool) -> set[UUID]:
    if not rows:
        return set()
    wishes = [one for _, one in rows]
    parties = [one.party for one in wishes]
    arguments: list[Any] = [
        numbers([delivery for delivery, _ in rows]),
        texts(parties),
        texts([one.end_point for one in wishes]),
    ]
    if kind == "finish":
        arguments.append(wishes[0].state)
        if not before:
            reasons = [one.reason for one in wishes]
            places = {party: place for place, party in enumerate(dict.fromkeys(parties), 1)}
            arguments += [
                reasons if any(reasons) else [],
                list(places),
                numbers([places[one] for one in parties]),
            ]
    elif kind == "extend":
        arguments.append([one.seconds for one in wishes])
    found = await connection.fetch(_STATEMENTS[kind][before], *arguments, timeout=COMMAND_SECONDS)
    return {row[0] for row in found}


_STATEMENTS: dict[Kind, tuple[str, str]] = {
    "finish": (_FINISH, _FINISHED_BEFORE),
    "extend": (_EXTEND, ""),
    "release": (_RELEASE, _RELEASED_BEFORE),
}


def _settled(asked: Wish, done: set[UUID]) -> Settled:
    settled = [text for text, delivery in asked.named.items() if delivery in done]
    if len(settled) == len(asked.named):
        return Settled(settled=settled, ignored=[])
    return Settled(
        settled=settled, ignored=[text for text, delivery in asked.named.items() if delivery not in done]
    )


class Settler(Rounds[Wish, Settled]):
    """One per hub process: settles for all callers."""

    def _together(self) -> list[Asked[Wish, Settled]]:
        """Wishes of the kind and state that wait longest, without those that name a delivery that is named before them."""
        group: list[Asked[Wish, Settled]] = []
        later: list[Asked[Wish, Settled]] = []
        named: set[UUID] = set()
        while self._waiting and len(named) < MAX_ROUND:
            asked = self._waiting.popleft()
            deliveries = asked.wish.deliveries
            if named.isdisjoint(deliveries) and (not group or _together(asked.wish, group[0].wish)):
                group.append(asked)
            else:
                later.append(asked)
            named |= deliveries
        self._waiting.extendleft(reversed(later))
        return group

    async def _do(self, connection: Any, wishes: Sequence[Wish]) -> list[Settled]:
        return await settle(connection, wishes)


def _together(one: Wish, other: Wish) -> bool:
    return (one.kind, one.state) == (other.kind, other.state)


def _uuid(text: str) -> UUID | None:
    try:
        found: UUID = DatabaseUUID(text)
        return found
    except ValueError:
        return _spelled_otherwise(text)


def _spelled_otherwise(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
