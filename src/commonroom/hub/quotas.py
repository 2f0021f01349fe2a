"""Quotas: how much one end point may send in a minute, so that a program that went wild is slowed and not the hub.

Counted in memory by each hub process, so with N processes an end point may send up to N times as much. What an end point
saved up while it was quiet, at most one minute's worth, it may send at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import msgspec

from commonroom.problems import Problem, add_codes
from commonroom.settings import Settings

add_codes({"CR-165": "The end point has sent more than its quota"})

MINUTE = 60.0
LONGEST_WAIT = 60  # seconds that a refused sender is asked to wait at most
_HAIR = 1e-6

_ALL = "SELECT end_point, messages_a_minute, bytes_a_minute FROM hub.quota"
_SET = """
INSERT INTO hub.quota (end_point, messages_a_minute, bytes_a_minute, set_by) VALUES ($1, $2, $3, $4)
ON CONFLICT (end_point) DO UPDATE
SET messages_a_minute = excluded.messages_a_minute, bytes_a_minute = excluded.bytes_a_minute,
    set_by = excluded.set_by, set_at = clock_timestamp()
"""
_REMOVE = "DELETE FROM hub.quota WHERE end_point = $1"
_LISTED = "SELECT end_point, messages_a_minute, bytes_a_minute, set_by FROM hub.quota ORDER BY end_point"


class Quota(msgspec.Struct, frozen=True):
    """What may be sent in a minute."""

    messages: int
    bytes: int


class SetQuota(msgspec.Struct, frozen=True):
    """The quota of one end point where it is not the setting's; None: the setting's."""

    end_point: str
    messages_a_minute: int | None
    bytes_a_minute: int | None
    set_by: str


class _Bucket(msgspec.Struct):
    """What is left of a quota; below zero after a batch above the whole of it, which is paid off before the next."""

    messages: float
    bytes: float
    at: float


class Quotas:
    """One per hub process; `load` brings the quotas of single end points and is called every few seconds."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._usual = Quota(settings.quota_messages_a_minute, settings.quota_bytes_a_minute)
        self._own: dict[str, Quota] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._clock = clock

    async def load(self, connection: Any) -> None:
        """The quotas that were set for single end points, as they are now; buckets that are full again are dropped."""
        self._own = {
            row["end_point"]: Quota(
                _or(row["messages_a_minute"], self._usual.messages),
                _or(row["bytes_a_minute"], self._usual.bytes),
            )
            for row in await connection.fetch(_ALL)
        }
        self._buckets = {name: one for name, one in self._buckets.items() if not self._is_full(name)}

    def _is_full(self, end_point: str) -> bool:
        quota = self._own.get(end_point, self._usual)
        bucket = self._filled(end_point, quota)
        return bucket.messages >= quota.messages and bucket.bytes >= quota.bytes

    def spend(self, end_point: str, messages: int, size: int) -> None:
        """Take so much from the end point's quota, or nothing and raise Problem CR-165 (429) with `retry_after`.

        A request goes through when all of it is left; one above the whole quota when nothing of that is spent, for else it
        never would.
        """
        quota = self._own.get(end_point, self._usual)
        bucket = self._filled(end_point, quota)
        wait = max(
            _seconds(bucket.messages, messages, quota.messages), _seconds(bucket.bytes, size, quota.bytes)
        )
        if wait > 0:
            raise _over(quota, min(math.ceil(wait), LONGEST_WAIT))
        bucket.messages -= messages
        bucket.bytes -= size

    def _filled(self, end_point: str, quota: Quota) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(end_point, _Bucket(float(quota.messages), float(quota.bytes), now))
        minutes, bucket.at = (now - bucket.at) / MINUTE, now
        bucket.messages = min(bucket.messages + minutes * quota.messages, quota.messages)
        bucket.bytes = min(bucket.bytes + minutes * quota.bytes, quota.bytes)
        return bucket


async def set_quota(
    connection: Any, end_point: str, messages_a_minute: int | None, bytes_a_minute: int | None, by: str
) -> None:
    """Give one end point a quota of its own; two times None gives it the setting's again."""
    if messages_a_minute is None and bytes_a_minute is None:
        await connection.execute(_REMOVE, end_point)
    else:
        await connection.execute(_SET, end_point, messages_a_minute, bytes_a_minute, by)


async def list_quotas(connection: Any) -> list[SetQuota]:
    """The end points with a quota of their own."""
    return [SetQuota(**row) for row in await connection.fetch(_LISTED)]


def _or(own: int | None, usual: int) -> int:
    return usual if own is None else own


def _seconds(left: float, wanted: int, a_minute: int) -> float:
    """How long until so much is left again, 0 when it is. Of a quota of nothing there is never anything."""
    if not a_minute:
        return float(LONGEST_WAIT)
    lacking = min(wanted, a_minute) - left
    # What comes back comes in fractions, whose sum may be a hair less than the whole.
    return MINUTE * lacking / a_minute if lacking > _HAIR else 0.0


def _over(quota: Quota, wait: int) -> Problem:
    return Problem(
        "CR-165",
        f"The quota is {quota.messages:,} messages and {quota.bytes:,} bytes a minute.",
        status=429,
        where="the end point",
        remedy=f"Keep the messages and send them again in {wait} seconds or more; the operator can set another quota.",
        extra={"retry_after": wait},
    )
