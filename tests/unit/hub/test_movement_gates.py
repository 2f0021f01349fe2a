"""Whatever versions come, whatever is suspended and whatever day it is: a movement is asked at accept and at delivery."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonroom.engines import clock
from commonroom.hub import mailbox
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.metrics import Metrics
from commonroom.hub.post import Post, Submission
from commonroom.ids import uuid7
from commonroom.problems import Problem
from tests.hub_server import SmallCounty, message, publish_small_county

FIRST = date(2026, 9, 1)
DAYS = st.integers(0, 9).map(lambda number: FIRST + timedelta(days=number))
RECIPIENTS = ("authority", "warehouse")

_VERSION = """
INSERT INTO hub.movement (
    id, version, title, sender_kind, recipients, types, purpose, legal_basis, content, frequency, classification,
    retention_days, active_from, active_to, loaded_at
)
VALUES (
    $1, $2, '-', 'school', ARRAY['its local authority', 'the department''s warehouse'], ARRAY[$1], '-', '-', '-',
    '{"how": "on_change"}', 'confidential', 30, $3, $4, engines.domain_now()
)
"""
_SUSPEND = "INSERT INTO hub.movement_suspension VALUES ($1, engines.domain_now()) ON CONFLICT DO NOTHING"
_RESUME = "DELETE FROM hub.movement_suspension WHERE movement = $1"

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("version"), st.tuples(DAYS, st.none() | DAYS)),
        st.tuples(st.just("day"), DAYS),
        st.tuples(st.just("suspend"), st.none()),
        st.tuples(st.just("resume"), st.none()),
        st.tuples(st.just("post"), st.none()),
        st.tuples(st.just("post"), st.none()),
        st.tuples(st.just("pull"), st.sampled_from(RECIPIENTS)),
    ),
    min_size=4,
    max_size=24,
)


class Agreement(msgspec.Struct):
    """The rule, said as plainly as possible."""

    versions: list[tuple[date, date | None]] = []
    suspended: bool = False
    day: date = FIRST

    @property
    def active(self) -> bool:
        """The newest version that has begun has not run out, and nobody has suspended the movement."""
        begun = [last for first, last in self.versions if first <= self.day]
        return bool(begun) and not self.suspended and (begun[-1] is None or self.day <= begun[-1])


@pytest.fixture
async def county(pool: Any, tmp_path: Any) -> SmallCounty:
    async with pool.acquire() as connection:
        return await publish_small_county(connection, tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_nothing_is_delivered_outside_a_movement_active_at_accept_and_at_delivery(
    steps: list[tuple[str, Any]], pool: Any, county: SmallCounty, request: pytest.FixtureRequest
) -> None:
    """A model that knows only days and versions beside the real post and mailbox."""
    hub_settings: Any = request.getfixturevalue("settings")
    post = Post(hub_settings, Doorbell(hub_settings), Metrics())
    movement, agreed = f"m-{uuid7()}", Agreement()
    waiting: dict[str, set[str]] = {name: set() for name in RECIPIENTS}
    await pool.execute("DELETE FROM hub.message")
    await _set_day(pool, hub_settings, agreed.day)
    for verb, what in steps:
        if verb == "version":
            agreed.versions.append(what)
            await pool.execute(_VERSION, movement, len(agreed.versions), *what)
        elif verb == "day":
            agreed.day = what
            await _set_day(pool, hub_settings, what)
        elif verb in ("suspend", "resume"):
            agreed.suspended = verb == "suspend"
            await pool.execute(_SUSPEND if agreed.suspended else _RESUME, movement)
        elif verb == "post":
            name = await _posted(post, county, movement)
            assert (name is not None) == agreed.active
            for box in waiting.values():
                box |= {name} if name else set()
        else:
            async with pool.acquire() as connection:
                letters = await mailbox.lease(connection, getattr(county, what), "e", 100, 600)
            found = {msgspec.json.decode(letter.envelope)["id"] for letter in letters}
            assert found == (waiting[what] if agreed.active else set())
            waiting[what] -= found
    post._drop_connection()


async def _set_day(pool: Any, hub_settings: Any, day: date) -> None:
    await clock.set_to(pool, hub_settings, datetime.combine(day, time(12), UTC))


async def _posted(post: Post, county: SmallCounty, kind: str) -> str | None:
    """The id under which it was accepted; None when no movement lets it travel."""
    envelope, body = message(county, type=kind)
    digest = hashlib.sha256(body).digest()
    given = Submission(envelope=envelope, body=body, digest=digest, party=county.school, end_point="sender")
    [outcome] = await post._store([given])
    if isinstance(outcome, Problem):
        assert outcome.code == "CR-042"
        return None
    return envelope.id
