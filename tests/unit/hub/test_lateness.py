"""Lateness: a movement whose sender missed its agreed time is late or letter waits too long, and no other is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from commonroom.engines import clock
from commonroom.exchange import Envelope
from commonroom.hub import load_movements
from commonroom.hub.lateness import Late, Lateness, measure
from commonroom.hub.metrics import Metrics
from tests.hub_server import MOVEMENTS, OTHER_SCHOOL_ALIAS, SCHOOL_ALIAS, message
from tests.unit.hub.conftest import Town

MONDAY = datetime(2026, 10, 5, 5, tzinfo=UTC)  # 06:00 in England
AGREED = {
    "attendance": '{how: scheduled, cron: "0 6 * * mon-fri", lateness_after: "60"}',
    "transfers": '{how: on_change, lateness_after: "30"}',
}


@pytest.fixture
async def agreed(town: Town) -> Town:
    """Attendance by 06:00 in England with an hour's grace, transfers within 30 minutes; it is Monday, 06:00."""
    found = MOVEMENTS.replace("active_from: 2020-01-01", "active_from: 2026-10-05", 1)
    for frequency in AGREED.values():
        found = found.replace("{how: on_change}", frequency, 1)
    file = town.folder / "agreed.yaml"
    file.write_text(found, "utf-8")
    async with town.pool.acquire() as connection:
        await load_movements(connection, file)
    await _at(town, MONDAY)
    return town


async def _at(town: Town, moment: datetime) -> None:
    async with town.pool.acquire() as connection:
        await clock.set_to(connection, town.settings, moment)


async def _measured(town: Town) -> dict[str, Late]:
    async with town.pool.acquire() as connection:
        return {
            movement: Late(late.seconds // 60, late.senders)
            for movement, late in (await measure(connection)).items()
        }


async def _take_all(town: Town) -> None:
    for client in (town.other_school, town.authority, town.warehouse):
        if letters := await client.pull(100, 0, "letters"):
            await client.acknowledge([letter.delivery for letter in letters])


async def test_a_movement_is_late_while_a_sender_has_missed_its_agreed_time(agreed: Town) -> None:
    await agreed.school.post(*message(agreed.county))
    await _take_all(agreed)
    await _at(agreed, MONDAY.replace(hour=5, minute=58))
    assert await _measured(agreed) == {"attendance": Late(0, 0), "transfers": Late(0, 0)}
    await _at(agreed, MONDAY.replace(hour=6, minute=20))
    assert await _measured(agreed) == {"attendance": Late(20, 1), "transfers": Late(0, 0)}
    # What it sends of another movement does not make up for it.
    await agreed.other_school.post(*_transfer(agreed, agreed.county.other_school, SCHOOL_ALIAS))
    assert (await _measured(agreed))["attendance"] == Late(20, 1)
    await agreed.other_school.post(*message(agreed.county, source=agreed.county.other_school))
    assert (await _measured(agreed))["attendance"] == Late(0, 0)


async def test_senders_that_kept_one_day_and_missed_the_next_are_late(agreed: Town) -> None:
    for source, client in (
        (agreed.county.school, agreed.school),
        (agreed.county.other_school, agreed.other_school),
    ):
        await client.post(*message(agreed.county, source=source))
    await _take_all(agreed)
    await _at(agreed, datetime(2026, 10, 6, 5, 30, tzinfo=UTC))
    assert (await _measured(agreed))["attendance"] == Late(0, 0)
    await _at(agreed, datetime(2026, 10, 6, 7, tzinfo=UTC))
    assert (await _measured(agreed))["attendance"] == Late(60, 2)


async def test_a_movement_on_change_is_late_while_a_letter_waits_too_long(agreed: Town) -> None:
    await agreed.school.post(*_transfer(agreed, agreed.county.school, OTHER_SCHOOL_ALIAS))
    await _at(agreed, MONDAY.replace(minute=25))
    assert (await _measured(agreed))["transfers"] == Late(0, 0)
    await _at(agreed, MONDAY.replace(minute=45))
    assert (await _measured(agreed))["transfers"].seconds in (14, 15)
    await _take_all(agreed)
    assert (await _measured(agreed))["transfers"] == Late(0, 0)


async def test_the_page_names_movements_and_nobody_and_forgets_what_is_suspended(agreed: Town) -> None:
    await _at(agreed, MONDAY.replace(hour=6, minute=20))
    metrics = Metrics()
    async with agreed.pool.acquire() as connection:
        await Lateness(metrics).look(connection)
        page = metrics.page().decode()
        await connection.execute(
            "INSERT INTO hub.movement_suspension VALUES ('attendance', engines.domain_now())"
        )
        await Lateness(metrics).look(connection)
    assert 'hub_movement_late_senders{movement="attendance"} 2.0' in page
    assert 'hub_movement_late_seconds{movement="transfers"} 0.0' in page
    assert agreed.county.school not in page
    assert "First School" not in page
    assert "attendance" not in metrics.page().decode()


def _transfer(town: Town, source: str, to: str) -> tuple[Envelope, bytes]:
    return message(town.county, source=source, type="commonroom.transfer.sent", recipient=to)
