"""A body is kept as long as its movement agreed and somebody waits for it; its envelope and fate are kept for ever."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from commonroom.engines import clock
from commonroom.hub import retention
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.hub_server import message
from tests.unit.hub.conftest import Town

_MESSAGE = """
WITH message AS (
    INSERT INTO hub.message (id, source, ce_id, type, envelope, digest, size, end_point, accepted_at, retain_until)
    VALUES ($1::uuid, 'urn:s', 'ce-1', 'any.type', '{}', '\\x00', 4, 'e', engines.domain_now(), engines.domain_now() + $2)
    RETURNING position
),
body AS (INSERT INTO hub.body (message, body, master, wrapped) SELECT position, 'body', 'none', 'none' FROM message)
INSERT INTO hub.delivery (id, message, recipient, movement, needs, state, finished_at)
SELECT gen_random_uuid(), position, 'urn:r', 'm', 0, $3, CASE WHEN $3 = 'acknowledged' THEN engines.domain_now() END
FROM message
"""


@pytest.mark.parametrize(
    ("state", "days_later", "bodies"),
    [("acknowledged", 29, 1), ("acknowledged", 31, 0), ("offered", 31, 1)],
)
async def test_bodies_go_when_their_time_is_over_and_nobody_waits(
    settings: Settings, pool: asyncpg.Pool, state: str, days_later: int, bodies: int
) -> None:
    await pool.execute(_MESSAGE, uuid4(), timedelta(days=30), state)
    await clock.set_to(pool, settings, await clock.now(pool) + timedelta(days=days_later))
    await retention.purge(settings, pool)
    assert await pool.fetchval("SELECT count(*) FROM hub.body") == bodies
    assert await pool.fetchval("SELECT count(*) FROM hub.message") == 1


async def test_a_message_is_known_again_when_its_body_is_long_gone(town: Town) -> None:
    envelope, body = message(town.county)
    first = await town.school.post(envelope, body)
    for recipient in (town.authority, town.warehouse):
        [letter] = await recipient.pull(10, 0)
        await recipient.acknowledge([letter.delivery])
    await clock.set_to(town.pool, town.settings, await clock.now(town.pool) + timedelta(days=400))
    await retention.purge(town.settings, town.pool)
    assert await town.pool.fetchval("SELECT count(*) FROM hub.body") == 0
    again = await town.school.post(envelope, body)
    assert (again.repeated, again.message, again.position) == (True, first.message, first.position)
    with pytest.raises(Problem) as caught:
        await town.school.post(envelope, b"another letter")
    assert (caught.value.code, caught.value.status) == ("CR-045", 409)
    assert await town.warehouse.pull(10, 0) == []
