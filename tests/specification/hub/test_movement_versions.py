"""Whatever versions a movement has: nothing is ever routed outside the one version that is active on the day."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any

import msgspec
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from commonroom.engines.database import connect
from commonroom.exchange import Envelope
from commonroom.hub.movements import from_row
from commonroom.hub.routing import make_routing, route
from commonroom.problems import Problem
from commonroom.settings import Settings

FIRST = date(2026, 1, 1)
DAYS = [FIRST + timedelta(days=number) for number in range(12)]


class Version(msgspec.Struct, frozen=True):
    """A version of the one movement; it sends to a party of its own number."""

    state: str
    first: date
    last: date | None


states = st.sampled_from(["approved", "approved", "approved", "rejected", "withdrawn"])
versions = st.builds(Version, states, st.sampled_from(DAYS), st.none() | st.sampled_from(DAYS))
lives = st.tuples(
    st.lists(versions, max_size=4), st.sampled_from(["none", "proposed", "under review"]), st.booleans()
)

_INSERT = """
INSERT INTO hub.movement (
    id, version, title, sender_kind, recipients, types, purpose, legal_basis, content, frequency, classification,
    retention_days, active_from, active_to, loaded_at, state
)
VALUES (
    'meals', $1::integer, '-', 'school', ARRAY['urn:to:' || $1::integer], '{meals}', '-', '-', '-', '{"how": "on_change"}',
    'internal', 30, $2, $3, engines.domain_now(), $4
)
"""


@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(life=lives)
def test_nothing_is_routed_outside_the_version_active_on_that_day(
    settings: Settings, life: tuple[list[Version], str, bool]
) -> None:
    decided, open_state, suspended = life
    stored = [*decided, *([] if open_state == "none" else [Version(open_state, FIRST, None)])]
    rows = asyncio.run(_routing_rows(settings, stored, suspended))
    table = make_routing(
        version=1,
        parties=[("urn:school", ["school"]), *((f"urn:to:{number}", []) for number in range(1, 6))],
        aliases=[],
        relations=[],
        movements=[from_row(row) for row in rows],
    )
    for day in DAYS:
        try:
            envelope = Envelope(id="1", source="urn:school", type="meals")
            found = [stop.recipient for stop in route(table, envelope, "urn:school", day).stops]
        except Problem as problem:
            found = [] if problem.code == "CR-042" else [problem.code]
        assert found == _expected(stored, suspended, day)


def _expected(stored: list[Version], suspended: bool, day: date) -> list[str]:
    """The newest approved version that has begun, if it has not run out and nothing is suspended."""
    begun = [
        number for number, each in enumerate(stored, 1) if each.state == "approved" and each.first <= day
    ]
    if not begun or suspended:
        return []
    newest = stored[max(begun) - 1]
    return [f"urn:to:{max(begun)}"] if newest.last is None or day <= newest.last else []


async def _routing_rows(settings: Settings, stored: list[Version], suspended: bool) -> list[Any]:
    connection = await connect(settings)
    try:
        transaction = connection.transaction()
        await transaction.start()
        for number, each in enumerate(stored, 1):
            await connection.execute(_INSERT, number, each.first, each.last, each.state)
        if suspended:
            await connection.execute(
                "INSERT INTO hub.movement_suspension VALUES ('meals', engines.domain_now())"
            )
        rows = await connection.fetch("SELECT * FROM hub.routing_movement ORDER BY id, version")
        await transaction.rollback()
        return list(rows)
    finally:
        await connection.close()
