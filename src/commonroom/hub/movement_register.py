"""The public register of movements: who sends what to whom, why, how often, on what legal basis, and how it was agreed.

Votes are counted; a member is named, with vote and reason, only if the member agreed to that. Proposals and what was
rejected are in it too. Nothing is ever taken out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec

from commonroom.hub.agreements import Criteria
from commonroom.hub.lifecycle import Standing, standing
from commonroom.hub.movements import Movement, from_row, is_id
from commonroom.hub.schedule import ENGLAND

PAGE = 100
BY_DATE = "its dates"


class CountedVotes(msgspec.Struct, frozen=True, kw_only=True):
    """Votes of a version, the newest of each member."""

    votes_for: int = 0
    votes_against: int = 0
    abstentions: int = 0
    front_line: int = 0  # of all these


class NamedVote(msgspec.Struct, frozen=True, kw_only=True):
    """The vote of one member."""

    member: str
    kind: str
    vote: str
    reason: str
    at: datetime


class RegisteredVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a movement, with how it was agreed."""

    version: int
    standing: Standing
    movement: Movement
    criteria: Criteria | None  # none for what the operator loaded at set-up
    agreed_by: str  # `operator` at set-up, or `group`
    votes: CountedVotes
    named_votes: tuple[NamedVote, ...]


class HistoryStep(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a movement."""

    at: datetime
    version: int
    step: str
    who: str
    reason: str


class RegisteredMovement(msgspec.Struct, frozen=True, kw_only=True):
    """A movement in the register. `version` is the one that runs, or else the newest."""

    id: str
    title: str
    standing: Standing
    version: int
    versions: tuple[RegisteredVersion, ...]  # oldest first
    history: tuple[HistoryStep, ...]  # oldest first


_IDS = "SELECT DISTINCT id FROM hub.movement WHERE id > $1 ORDER BY id LIMIT $2"

_VERSIONS = """
SELECT m.*, later.begins AS replaced_from, suspension.movement IS NOT NULL AS suspended,
    (engines.domain_now() AT TIME ZONE 'Europe/London')::date AS today
FROM hub.movement m
LEFT JOIN hub.movement_suspension suspension ON suspension.movement = m.id
CROSS JOIN LATERAL (
    SELECT min(n.active_from) AS begins FROM hub.movement n
    WHERE n.id = m.id AND n.version > m.version AND n.state = 'approved'
) later
WHERE m.id = ANY($1::text[])
ORDER BY m.id, m.version
"""

_STEPS = "SELECT * FROM hub.movement_step WHERE movement = ANY($1::text[]) ORDER BY entry"

_VOTES = """
SELECT DISTINCT ON (movement, version, member) * FROM hub.movement_vote
WHERE movement = ANY($1::text[])
ORDER BY movement, version, member, entry DESC
"""


async def register(
    connection: Any, *, after: str = "", limit: int = PAGE, names: bool = False
) -> list[RegisteredMovement]:
    """The register by id, from the first id after `after`. With `names`: for the operator, with everybody's name."""
    return await _read(connection, [row["id"] for row in await connection.fetch(_IDS, after, limit)], names)


async def registered(connection: Any, movement: str, *, names: bool = False) -> RegisteredMovement | None:
    """One movement of the register; None when there is none of this id."""
    found = await _read(connection, [movement], names) if is_id(movement) else []
    return found[0] if found else None


async def _read(connection: Any, ids: list[str], names: bool) -> list[RegisteredMovement]:
    # One moment for the three, so that no vote stands beside a version it does not belong to.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        versions = _by_movement(await connection.fetch(_VERSIONS, ids), "id")
        steps = _by_movement(await connection.fetch(_STEPS, ids), "movement")
        votes = _by_movement(await connection.fetch(_VOTES, ids), "movement")
    return [_registered(versions[each], steps[each], votes[each], names) for each in ids if versions[each]]


def _by_movement(rows: Iterable[Any], column: str) -> defaultdict[str, list[Any]]:
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return found


def _registered(rows: list[Any], steps: list[Any], votes: list[Any], names: bool) -> RegisteredMovement:
    versions = tuple(
        _version(row, [v for v in votes if v["version"] == row["version"]], names) for row in rows
    )
    shown = next((each for each in versions if each.standing in ("active", "suspended")), versions[-1])
    taken = [
        HistoryStep(
            at=step["at"],
            version=step["version"],
            step=step["step"],
            who=step["who"] if names else step["public_who"],
            reason=step["reason"],
        )
        for step in steps
    ]
    return RegisteredMovement(
        id=rows[0]["id"],
        title=shown.movement.title,
        standing=shown.standing,
        version=shown.version,
        versions=versions,
        history=tuple(sorted([*taken, *_by_dates(rows, taken)], key=lambda step: step.at)),
    )


def _version(row: Any, votes: list[Any], names: bool) -> RegisteredVersion:
    return RegisteredVersion(
        version=row["version"],
        standing=standing(
            row["state"],
            row["active_from"],
            row["active_to"],
            on=row["today"],
            replaced_from=row["replaced_from"],
            suspended=row["suspended"],
        ),
        movement=from_row(row),
        criteria=msgspec.convert(row["criteria"], Criteria) if row["criteria"] else None,
        agreed_by=row["origin"],
        votes=CountedVotes(
            votes_for=sum(vote["vote"] == "for" for vote in votes),
            votes_against=sum(vote["vote"] == "against" for vote in votes),
            abstentions=sum(vote["vote"] == "abstain" for vote in votes),
            front_line=sum(vote["front_line"] for vote in votes),
        ),
        named_votes=tuple(
            NamedVote(
                member=vote["member_name"],
                kind=vote["kind"],
                vote=vote["vote"],
                reason=vote["reason"],
                at=vote["at"],
            )
            for vote in votes
            if vote["named"] or names
        ),
    )


def _by_dates(rows: Sequence[Any], taken: Sequence[HistoryStep]) -> list[HistoryStep]:
    """What no one did on the day, because it was agreed before: versions that began, were replaced or ran out."""
    agreed = {step.version: step.at for step in taken if step.step in ("approved", "loaded")}
    ended = {step.version: step.at for step in taken if step.step == "withdrawn"}
    found = []
    for row in rows:
        number = row["version"]
        if number not in agreed:
            continue
        begins = max(_midnight(row["active_from"]), agreed[number])
        # A version withdrawn before it began replaces nothing.
        later = [
            (max(_midnight(other["active_from"]), agreed[other["version"]]), "replaced")
            for other in rows
            if other["version"] > number
            and other["version"] in agreed
            and ended.get(other["version"], datetime.max.replace(tzinfo=UTC))
            > _midnight(other["active_from"])
        ]
        last = [(_midnight(row["active_to"] + timedelta(days=1)), "expired")] if row["active_to"] else []
        moment, how = min([*later, *last], default=(None, ""))
        stop = min(filter(None, (moment, ended.get(number), _midnight(row["today"] + timedelta(days=1)))))
        if begins < stop:
            found.append(_step(begins, number, "active", "Its first day came."))
            if moment is not None and moment == stop and row["today"] >= moment.astimezone(ENGLAND).date():
                reason = "Its last day passed." if how == "expired" else "The next version began."
                found.append(_step(moment, number, how, reason))
    return found


def _step(at: datetime, version: int, step: str, reason: str) -> HistoryStep:
    return HistoryStep(at=at, version=version, step=step, who=BY_DATE, reason=reason)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), ENGLAND).astimezone(UTC)
