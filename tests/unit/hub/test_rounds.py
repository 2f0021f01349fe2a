"""Many callers in one statement: each gets what is its own, nobody gets another's, and what nobody takes comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from commonroom.hub import mailbox
from commonroom.hub.collector import Collector, Errand, Found
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.mailbox import Look
from commonroom.hub.rounds import Asked, Rounds
from commonroom.hub.settling import Settler, settle, wish
from commonroom.hub.windows import Windows
from commonroom.settings import Settings
from tests.hub_server import message
from tests.unit.hub.conftest import Town
from tests.waiting import until_async


class Desk(msgspec.Struct, frozen=True):
    """A collector and a settler of our own beside the hub's, which have not begun to work."""

    town: Town
    collector: Collector
    settler: Settler
    stack: AsyncExitStack

    def begin(self) -> None:
        """Let both work from now on: what was asked before is one round."""
        for rounds in (self.collector, self.collector.prober, self.settler):
            task = asyncio.create_task(rounds.run())
            self.stack.push_async_callback(_ended, task)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
async def desk(town: Town) -> AsyncIterator[Desk]:
    doorbell = Doorbell(town.settings)
    settler = Settler(town.settings)
    collector = Collector(town.settings, Windows(doorbell), doorbell, settler)
    async with AsyncExitStack() as stack:
        yield Desk(town, collector, settler, stack)


def asked(desk: Desk, *errands: Errand) -> list[asyncio.Task[Found]]:
    """These errands, waiting."""
    return [asyncio.create_task(desk.collector.ask(errand)) for errand in errands]


def deliveries(found: Found) -> list[str]:
    return [str(letter.delivery) for letter in found.letters]


async def test_one_round_serves_many_parties_and_numbers_each_mailbox_by_itself(desk: Desk) -> None:
    county = desk.town.county
    await desk.town.school.post_batch([message(county) for _ in range(5)])
    async with desk.town.pool.acquire() as connection:
        found = await mailbox.lease_all(
            connection,
            [Look(county.warehouse, "w", 3), Look(county.trust, "t", 9), Look(county.authority, "a", 9)],
            60,
        )
        more = await mailbox.lease_all(connection, [Look(county.warehouse, "w", 9)], 60)
    assert [[letter.sequence for letter in letters] for letters in found] == [[1, 2, 3], [], [1, 2, 3, 4, 5]]
    assert [letter.sequence for letter in more[0]] == [4, 5]
    assert len({letter.delivery for letters in [*found, *more] for letter in letters}) == 10


async def test_two_callers_of_a_party_at_once_never_get_the_same_letter(desk: Desk) -> None:
    county = desk.town.county
    await desk.town.school.post_batch([message(county) for _ in range(6)])
    tasks = asked(desk, *(Errand(county.warehouse, f"e{number}", 2, "letters") for number in range(4)))
    await asyncio.sleep(0)
    desk.begin()
    found = [deliveries(await task) for task in tasks]
    assert [len(some) for some in found] == [2, 2, 2, 0]
    assert len({name for some in found for name in some}) == 6


async def test_who_asks_the_same_as_one_who_finds_nothing_is_told_at_once(desk: Desk) -> None:
    errand = Errand(desk.town.county.trust, "e", 5, "all")
    tasks = asked(desk, *(errand for _ in range(50)))
    await asyncio.sleep(0)
    rounds = 0
    together = desk.collector._together

    def counted() -> list[Asked[Errand, Found]]:
        nonlocal rounds
        group = together()
        rounds += bool(group)
        return group

    desk.collector._together = counted  # type: ignore[method-assign]
    desk.begin()
    assert not any([await task for task in tasks])
    assert rounds == 1


async def test_letters_leased_for_a_caller_that_has_gone_are_offered_again(desk: Desk) -> None:
    county = desk.town.county
    await desk.town.school.post(*message(county))
    [gone, other] = asked(
        desk, Errand(county.warehouse, "gone", 5, "letters"), Errand(county.authority, "there", 5, "letters")
    )
    await asyncio.sleep(0)
    do = desk.collector._do

    async def while_it_hangs_up(connection: Any, errands: Sequence[Errand]) -> list[Found]:
        found = await do(connection, errands)
        gone.cancel()
        await asyncio.wait([gone])
        return found

    desk.collector._do = while_it_hangs_up  # type: ignore[method-assign]
    desk.begin()
    assert len((await other).letters) == 1

    async def offered() -> bool:
        state = "SELECT state FROM hub.delivery WHERE recipient = $1"
        return bool(await desk.town.pool.fetchval(state, county.warehouse) == "offered")

    await until_async(offered, 10, "the letter being offered again")
    [again] = await desk.town.warehouse.pull(5, 0)
    assert again.attempt == 2


async def test_a_poll_whose_caller_goes_during_a_look_gives_the_letters_back(desk: Desk) -> None:
    county = desk.town.county
    await desk.town.school.post(*message(county))
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    do = desk.collector._do

    async def while_it_hangs_up(connection: Any, errands: Sequence[Errand]) -> list[Found]:
        found = await do(connection, errands)
        gone.set_result(None)
        return found

    desk.collector._do = while_it_hangs_up  # type: ignore[method-assign]
    desk.begin()
    assert not await desk.collector.wait(Errand(county.warehouse, "e", 5, "letters"), 30, lambda: None, gone)
    [again] = await desk.town.warehouse.pull(5, 0)
    assert again.attempt == 2


async def test_one_statement_settles_for_many_and_each_only_what_it_holds(desk: Desk) -> None:
    county = desk.town.county
    await desk.town.school.post_batch([message(county) for _ in range(2)])
    async with desk.town.pool.acquire() as connection:
        looks = [Look(county.warehouse, "w", 9), Look(county.authority, "a", 9)]
        at_warehouse, at_authority = await mailbox.lease_all(connection, looks, 60)
        mine, theirs = (
            [str(letter.delivery) for letter in letters] for letters in (at_warehouse, at_authority)
        )
        done, refused, nothing = await settle(
            connection,
            [
                wish("finish", [*mine, "nonsense"], county.warehouse, "w", state="acknowledged"),
                wish("finish", theirs[:1], county.authority, "a", state="refused", reason="no"),
                wish("finish", theirs[1:], county.authority, "w", state="acknowledged"),
            ],
        )
    assert (done.settled, done.ignored) == (mine, ["nonsense"])
    assert (refused.settled, nothing.ignored) == (theirs[:1], theirs[1:])
    told = await desk.town.pool.fetch(
        "SELECT state, reason FROM hub.delivery WHERE recipient = $1", county.authority
    )
    assert {(row["state"], row["reason"]) for row in told} == {("refused", "no"), ("leased", None)}


async def test_of_two_wishes_for_one_letter_the_first_counts(desk: Desk) -> None:
    county = desk.town.county
    await desk.town.school.post(*message(county))
    async with desk.town.pool.acquire() as connection:
        [letter] = await mailbox.lease(connection, county.warehouse, "w", 1, 60)
    name = str(letter.delivery)
    wishes = [
        wish("finish", [name], county.warehouse, "w", state="refused", reason="no"),
        wish("finish", [name.upper()], county.warehouse, "w", state="acknowledged"),
        wish("finish", [name], county.warehouse, "w", state="refused", reason="still no"),
    ]
    tasks = [asyncio.create_task(desk.settler.ask(one)) for one in wishes]
    await asyncio.sleep(0)
    desk.begin()
    first, second, third = [await task for task in tasks]
    assert (first.settled, second.ignored, third.settled) == ([name], [name.upper()], [name])
    assert (
        await desk.town.pool.fetchval("SELECT reason FROM hub.delivery WHERE id = $1", letter.delivery)
        == "no"
    )


class Divider(Rounds[int, float]):
    """Rounds that fail as a whole when one wish is bad."""

    def _together(self) -> list[Asked[int, float]]:
        group = list(self._waiting)
        self._waiting.clear()
        return group

    async def _do(self, connection: Any, wishes: Sequence[int]) -> list[float]:
        rows = await connection.fetch("SELECT 12 / n AS found FROM unnest($1::int[]) AS n", list(wishes))
        return [row["found"] for row in rows]


async def test_one_bad_wish_is_nobody_elses_fault(settings: Settings, pool: Any) -> None:
    divider = Divider(settings)
    tasks = [asyncio.create_task(divider.ask(number)) for number in (3, 0, 4)]
    await asyncio.sleep(0)
    work = asyncio.create_task(divider.run())
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await _ended(work)
    assert (answers[0], answers[2]) == (4, 3)
    assert "division by zero" in str(answers[1])
