"""Replay: a recipient has letters handed out again that have ended at it, inside the retention its movements agreed.

For a store that was put back to an older state, or a loader that was wrong. The end that was reported to the sender
stays as it is and no second report is made; the letters come as further attempts with the numbers they had.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from commonroom.exchange.contract import Replayed, ReplayRequest
from commonroom.hub import ledger
from commonroom.ids import uuid7
from commonroom.problems import Problem, add_codes

add_codes({"CR-135": "The replay cannot be understood"})

REPLAYED = "replayed"
MAX_LETTERS = 20_000  # of one request

_REPLAY = f"""
WITH wanted AS (
    SELECT d.id
    FROM hub.delivery d JOIN hub.message m ON m.position = d.message
    WHERE d.recipient = $1 AND d.finished_at IS NOT NULL AND d.message > $2
        AND ($3::bigint IS NULL OR d.sequence >= $3) AND ($4::bigint IS NULL OR d.sequence <= $4)
        AND ($5::bigint IS NULL OR d.message >= $5) AND ($6::bigint IS NULL OR d.message <= $6)
        AND ($7::timestamptz IS NULL OR m.accepted_at >= $7) AND ($8::timestamptz IS NULL OR m.accepted_at <= $8)
        AND m.retain_until > (SELECT engines.domain_now())
        AND (d.expires_at IS NULL OR d.expires_at > (SELECT engines.domain_now()))
        AND d.movement IN (SELECT id FROM hub.active_movement)
    ORDER BY d.message
    LIMIT $9
    FOR UPDATE OF d
), offered AS (
    UPDATE hub.delivery d
    SET state = 'offered', reason = NULL, finished_at = NULL, lease_holder = NULL, lease_until = NULL,
        replays = d.replays + 1, ended_state = coalesce(d.ended_state, d.state),
        ended_reason = CASE WHEN d.ended_state IS NULL THEN d.reason ELSE d.ended_reason END,
        ended_at = coalesce(d.ended_at, d.finished_at)
    FROM wanted WHERE d.id = wanted.id
    RETURNING d.message
), entries AS (
    {ledger.APPEND}
    SELECT '{REPLAYED}', message, $1::text, NULL, NULL FROM offered ORDER BY message
)
INSERT INTO hub.replay (id, party, end_point, asked, letters, first_position, last_position)
SELECT $10, $1::text, $11, $12, count(*), min(message), max(message) FROM offered
RETURNING letters, first_position, last_position
"""  # noqa: S608 - constants


async def replay(connection: Any, party: str, end_point: str, request: ReplayRequest) -> Replayed:
    """Offer the letters again; a record of who asked for what is kept with them. Raises Problem CR-135."""
    sequences, positions, moments = _ranges(request)
    number = uuid7()
    row = await connection.fetchrow(
        _REPLAY,
        party,
        request.after_position,
        *sequences,
        *positions,
        *moments,
        MAX_LETTERS,
        number,
        end_point,
        msgspec.to_builtins(request),
    )
    return Replayed(replay=str(number), more=row["letters"] == MAX_LETTERS, **row)


def _ranges(request: ReplayRequest) -> tuple[tuple[Any, Any], tuple[Any, Any], tuple[Any, Any]]:
    """First and last of each way to say it; two of the three say nothing."""
    froms = (request.from_sequence, request.from_position, request.since)
    if sum(given is not None for given in froms) != 1:
        raise _unclear("Exactly one of from_sequence, from_position and since must be given.")
    if request.to is not None and isinstance(request.to, datetime) != (request.since is not None):
        raise _unclear("`to` must be of the same kind as the from: a number, or a time with `since`.")
    ranges = tuple((first, request.to if first is not None else None) for first in froms)
    return ranges[0], ranges[1], ranges[2]


def _unclear(detail: str) -> Problem:
    return Problem(
        "CR-135", detail, status=422, where="the request", remedy="docs/hub.md, Replay, has examples."
    )
