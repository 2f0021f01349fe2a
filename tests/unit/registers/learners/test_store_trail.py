"""The row of a look-up does not wait for the disk, and takes nothing else along."""

from __future__ import annotations

from typing import Any

import pytest

from commonroom.registers.learners import store
from commonroom.registers.learners.numbers import Numbers
from tests.unit.registers.learners.people import caller, details, registration

NUMBERS = Numbers(b"\x09" * 32)
US = caller()
ROWS = "SELECT action, outcome FROM learners.look_up ORDER BY entry"


@pytest.mark.parametrize("inside", [False, True])
async def test_a_look_up_leaves_its_row_and_what_is_registered_waits_for_the_disk(
    pool: Any, inside: bool
) -> None:
    async with pool.acquire() as conn:
        if inside:
            async with conn.transaction():
                await store.find(conn, US, details())
                assert await conn.fetchval("SHOW synchronous_commit") == "on"
                await store.register(conn, US, registration(), NUMBERS)
                assert await conn.fetchval("SHOW synchronous_commit") == "on"
        else:
            await store.find(conn, US, details())
            assert await conn.fetchval("SHOW synchronous_commit") == "on"
            await store.register(conn, US, registration(), NUMBERS)
    async with pool.acquire() as other:
        assert [tuple(row) for row in await other.fetch(ROWS)] == [
            ("find", "WSRC0001"),
            ("register", "WSRC0005"),
        ]
