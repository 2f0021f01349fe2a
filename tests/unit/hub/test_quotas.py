"""Quotas: an end point that sends too much is told when to come back; others do not notice."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from commonroom.exchange import Receipt, Unreachable
from commonroom.hub.quotas import Quotas, list_quotas, set_quota
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.hub_server import message
from tests.unit.hub.conftest import Town
from tests.waiting import until_async


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    """Three messages a minute."""
    return settings_with(settings, quota_messages_a_minute=3)


class Clock:
    """A clock of the test's own, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def quotas_with(settings: Settings, messages: int, size: int) -> tuple[Quotas, Clock]:
    """Quotas of so much a minute, and their clock."""
    clock = Clock()
    given = settings_with(settings, quota_messages_a_minute=messages, quota_bytes_a_minute=size)
    return Quotas(given, clock), clock


@pytest.mark.parametrize(("messages", "size"), [(60, 10_000), (10_000, 60)])
def test_after_a_minutes_worth_at_once_it_goes_on_as_it_comes(
    settings: Settings, messages: int, size: int
) -> None:
    quotas, clock = quotas_with(settings, messages, size)
    for _ in range(60):
        quotas.spend("a", 1, 1)
    with pytest.raises(Problem) as caught:
        quotas.spend("a", 1, 1)
    assert (caught.value.code, caught.value.status, caught.value.extra) == ("CR-165", 429, {"retry_after": 1})
    quotas.spend("b", 1, 1)
    clock.now += 1
    quotas.spend("a", 1, 1)
    with pytest.raises(Problem):
        quotas.spend("a", 1, 1)


def test_a_batch_above_the_quota_goes_through_once_and_is_paid_off(settings: Settings) -> None:
    quotas, clock = quotas_with(settings, 100, 10_000)
    quotas.spend("a", 300, 0)
    clock.now += 60
    with pytest.raises(Problem):
        quotas.spend("a", 1, 0)
    clock.now += 61
    quotas.spend("a", 1, 0)


@pytest.mark.parametrize("apart", [0.0, 1e-9, 0.001, 1.0])
def test_of_several_that_come_together_no_more_go_through_than_the_quota(
    settings: Settings, apart: float
) -> None:
    """What comes back between one and the next is a fraction of a message, and a fraction is none."""
    quotas, clock = quotas_with(settings, 3, 10_000)
    through = 0
    for _ in range(10):
        try:
            quotas.spend("a", 1, 1)
            through += 1
        except Problem:
            pass
        clock.now += apart
    assert through == 3


def test_a_batch_goes_through_when_all_of_it_is_left_and_is_told_when(settings: Settings) -> None:
    quotas, clock = quotas_with(settings, 100, 1_000)
    quotas.spend("a", 60, 0)
    with pytest.raises(Problem) as caught:
        quotas.spend("a", 60, 0)
    assert caught.value.extra == {"retry_after": 12}  # 20 messages
    quotas.spend("a", 40, 0)
    clock.now += 36
    quotas.spend("a", 60, 0)
    quotas.spend("a", 0, 1_200)
    with pytest.raises(Problem) as caught:
        quotas.spend("a", 0, 1)
    assert caught.value.extra == {"retry_after": 13}  # 200 bytes above, and the one


async def test_a_bucket_is_forgotten_when_it_is_full_and_not_before(settings: Settings, pool: Any) -> None:
    quotas, clock = quotas_with(settings, 100, 10_000)
    quotas.spend("a", 400, 0)
    for _ in range(3):
        clock.now += 60
        await quotas.load(pool)
        with pytest.raises(Problem):
            quotas.spend("a", 1, 0)
    clock.now += 60
    await quotas.load(pool)
    quotas.spend("a", 100, 0)


async def test_of_messages_sent_at_once_as_many_are_taken_as_the_quota_has(town: Town) -> None:
    sent = [town.school.post(*message(town.county)) for _ in range(10)]
    answers = await asyncio.gather(*sent, return_exceptions=True)
    assert len([one for one in answers if isinstance(one, Receipt)]) == 3
    assert len([one for one in answers if isinstance(one, Unreachable) and one.retry_after]) == 7


async def test_over_http_it_is_429_with_retry_after_and_the_client_keeps_the_letter(town: Town) -> None:
    end_point = town.school.end_point
    await set_quota(town.pool, end_point, 0, None, "test")
    assert [one.end_point for one in await list_quotas(town.pool)] == [end_point]

    async def refused() -> Unreachable | None:
        try:
            await town.school.post(*message(town.county))
        except Unreachable as error:
            return error
        return None

    error = await until_async(refused, 10, "the quota being known to the hub")
    assert error is not None
    assert error.retry_after is not None
    assert error.retry_after > 0
    with pytest.raises(Unreachable):
        await town.school.post_batch([message(town.county)])
    async with httpx2.AsyncClient() as http:
        assert 'hub_problems_total{code="CR-165"}' in (await http.get(f"{town.url}/metrics")).text
    addressed, body = message(
        town.county,
        type="commonroom.transfer.sent",
        source=town.county.other_school,
        recipient=town.county.school,
    )
    assert isinstance(await town.other_school.post(addressed, body), Receipt)
    await set_quota(town.pool, end_point, None, None, "test")
    assert await list_quotas(town.pool) == []
