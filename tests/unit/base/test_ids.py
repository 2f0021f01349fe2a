"""Our own identifiers are UUID version 7 and rise in the order they are made."""

from __future__ import annotations

import time
from uuid import UUID

from commonroom.ids import uuid7, uuid7_bytes


def test_they_are_version_7_rising_and_carry_the_time() -> None:
    made = [uuid7() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert abs((made[0].int >> 80) / 1000 - time.time()) < 5


def test_those_made_by_the_thousand_rise_among_the_others() -> None:
    made = [uuid7(), *(UUID(bytes=number) for number in uuid7_bytes(5_000)), uuid7(), uuid7()]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert uuid7_bytes(0) == []
