"""Identifiers: UUIDs of version 7 rise, one by one and by the thousand."""

from __future__ import annotations

import time
from uuid import RFC_4122, UUID

from commonroom.ids import uuid7, uuid7_bytes


def test_ids_rise_however_they_are_made() -> None:
    made = [uuid7(), *(UUID(bytes=number) for number in uuid7_bytes(5_000)), uuid7(), uuid7()]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {(one.version, one.variant) for one in made} == {(7, RFC_4122)}
    assert uuid7_bytes(0) == []


def test_an_id_tells_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    milliseconds = uuid7().int >> 80
    # Ids made faster than one in a quarter of a microsecond run a little ahead of the clock.
    assert before <= milliseconds <= time.time_ns() // 1_000_000 + 10
