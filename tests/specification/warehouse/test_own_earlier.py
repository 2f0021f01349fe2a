"""What was sent before a movement brought it to an authority, or while none did, its own measures do not count.

The schools, movements and marks are those of test_own_facts.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.hub import load_movements
from commonroom.hub.agreements import resume, suspend
from commonroom.settings import Settings
from commonroom.warehouse import brought
from commonroom.warehouse.own_figures import OwnFigures
from tests.specification.warehouse.test_measures import load_registers
from tests.specification.warehouse.test_own_facts import (
    MOVEMENTS,
    OPERATOR,
    A,
    B,
    C,
    D,
    asked,
    four_schools,
    movements_file,
    told,
    who,
)
from tests.unit.warehouse.house import REGISTERS, House, organisation, upn


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with four_schools(pool, settings) as house:
        yield house


async def at(house: House, moment: str) -> None:
    """Have it be that time."""
    await clock.set_to(house.connection, house.settings, datetime.fromisoformat(moment))


EARLIER = ("attendance_mark", "Some of these records of your schools are from times when no movement")


def not_counted(answer: OwnFigures) -> list[tuple[str, str]]:
    return [(one.entity, one.because[: len(EARLIER[1])]) for one in answer.left_out]


async def test_records_from_before_a_movement_began_are_not_counted_unless_they_come_again(
    house: House,
) -> None:
    """Marks travel to authorities from Thursday on. Of what A sent on Wednesday, Monday is corrected on Friday."""
    await suspend(house.connection, OPERATOR, "school-record", "Not yet.")
    await at(house, "2026-09-10T00:00+00:00")
    later = MOVEMENTS.replace("id: school-record", "id: school-marks").replace("id: exclusions", "id: other")
    await load_movements(house.connection, movements_file(house.settings, later))
    await at(house, "2026-09-30T12:00+00:00")
    authority = who(house, "authority", "997")
    answer = await asked(house, authority)  # all of that week was sent on Friday
    assert (told(answer), answer.left_out) == ({A: 1, B: 2, D: 4, "all": 7}, ())

    week = date(2026, 9, 14)  # and these were sent beforehand
    await load_registers(house, A, "1: L/ L/ //", monday=week, accepted_at="2026-09-09T16:00+00:00")
    await load_registers(house, A, "1: .. .. .. L/", monday=week, accepted_at="2026-09-10T16:00+00:00")
    answer = await asked(house, authority, day=week)
    assert (told(answer), not_counted(answer)) == ({A: 1}, [EARLIER])
    await load_registers(house, A, "1: LL", monday=week, version=2, accepted_at="2026-09-11T16:00+00:00")
    answer = await asked(house, authority, day=week)
    assert (told(answer), not_counted(answer)) == ({A: 3}, [EARLIER])
    await load_registers(house, A, "1: /L", monday=week, version=3, accepted_at="2026-09-11T17:00+00:00")
    assert told(await asked(house, authority, day=week)) == {A: 2}
    # The school and its trust count all of it, whenever it was sent.
    for role, of in (("school", A), ("school", "T1")):
        answer = await asked(house, who(house, role, of), day=week)
        assert (told(answer), answer.left_out) == ({A: 3}, ())


async def test_a_upn_that_is_changed_brings_nothing_of_before_with_it(house: House) -> None:
    """The pupil's marks stand under the new UPN from the change on; the authority was never sent those of the first day."""
    week = date(2026, 9, 14)
    await at(house, "2026-09-16T00:00+00:00")
    later = MOVEMENTS.replace("id: school-record", "id: school-marks").replace("id: exclusions", "id: other")
    await suspend(house.connection, OPERATOR, "school-record", "Not yet.")
    await load_movements(house.connection, movements_file(house.settings, later))
    for day, marks in ((14, "LL"), (16, ".. .. L/")):
        sent = f"2026-09-{day}T16:00+00:00"
        await load_registers(house, A, f"1: {marks}", monday=week, accepted_at=sent)
    ends = [{"school": A, "upn": upn(number)} for number in (1, 77)]
    changed = house.letter(
        A,
        "learner",
        rekeyed={"learner": [{"from": ends[0], "to": ends[1]}]},
        accepted_at="2026-09-17T16:00+00:00",
    )
    before = await asked(house, who(house, "authority", "997"), day=week)
    assert not (await house.load(changed)).refused
    answer = await asked(house, who(house, "authority", "997"), day=week)
    assert (told(before), told(answer), not_counted(answer)) == ({A: 1}, {A: 1}, [EARLIER])
    assert told(await asked(house, who(house, "school", A), day=week)) == {A: 3}


async def test_a_new_version_of_a_movement_goes_on_with_what_the_one_before_brought(house: House) -> None:
    await at(house, "2026-09-20T12:00+00:00")
    amended = MOVEMENTS.replace("content: Marks.", "content: Marks of attendance.")
    await load_movements(house.connection, movements_file(house.settings, amended))
    answer = await asked(house, who(house, "authority", "997"))
    assert (told(answer), answer.left_out) == ({A: 1, B: 2, D: 4, "all": 7}, ())


async def test_what_was_sent_while_a_movement_was_suspended_is_not_counted(house: House) -> None:
    week = date(2026, 9, 14)
    await at(house, "2026-09-16T00:00+00:00")
    await suspend(house.connection, OPERATOR, "school-record", "Under review.")
    await at(house, "2026-09-18T00:00+00:00")
    await resume(house.connection, OPERATOR, "school-record", "Reviewed.")
    for day, marks in enumerate(("L/", ".. L/", ".. .. L/", ".. .. .. L/", ".. .. .. .. L/"), start=14):
        await load_registers(house, A, f"1: {marks}", monday=week, accepted_at=f"2026-09-{day}T16:00+00:00")
    answer = await asked(house, who(house, "authority", "997"), day=week)
    assert (told(answer), not_counted(answer)) == ({A: 3}, [EARLIER])
    assert told(await asked(house, who(house, "school", A), day=week)) == {A: 5}


async def test_a_school_that_passes_to_another_authority_leaves_what_it_sent_before_with_the_old_one(
    house: House,
) -> None:
    """C passes to Westmarch on Wednesday. Of its term each authority counts what was sent while the school was its own."""
    passed = organisation(house.parties[C], C, "997", valid_from="2026-09-16", version=2)
    await house.load(house.letter(REGISTERS, "organisation", [passed], accepted_at="2026-09-16T08:00+00:00"))
    week = date(2026, 9, 14)
    await load_registers(house, C, "3: L/ L/", monday=week, accepted_at="2026-09-15T16:00+00:00")
    await load_registers(house, C, "3: .. .. L/", monday=week, accepted_at="2026-09-16T16:00+00:00")
    answer = await asked(house, who(house, "authority", "997"), grain="term")
    assert (told(answer)[C], not_counted(answer)) == (1, [EARLIER])
    # What was the term before is the old one's, and a correction that comes now is not brought to it.
    assert told(await asked(house, who(house, "authority", "998"), grain="term")) == {}
    assert told(await asked(house, who(house, "school", C), grain="term")) == {C: 6}


def _row(version: int, since: int, until: int | None = None, withdrawn: int | None = None) -> dict[str, Any]:
    days = {"since": since, "until": until, "withdrawn": withdrawn}
    return {"version": version, **{name: day and datetime(2026, 9, day) for name, day in days.items()}}  # noqa: DTZ001


@pytest.mark.parametrize(
    ("versions", "pauses", "expected"),
    [
        ([_row(1, 1)], [], [(1, 1, None)]),
        ([_row(1, 1, 5)], [], [(1, 1, 5)]),
        ([_row(1, 1), _row(2, 4)], [], [(1, 1, 4), (2, 4, None)]),
        ([_row(1, 1), _row(2, 4, 6)], [], [(1, 1, 4), (2, 4, 6)]),  # the first does not come back
        (
            [_row(1, 1), _row(2, 4, None, 6)],
            [],
            [(1, 1, 4), (2, 4, 6), (1, 6, None)],
        ),  # unless it is withdrawn
        ([_row(1, 1)], [(3, True), (5, False)], [(1, 1, 3), (1, 5, None)]),
        ([_row(1, 1)], [(3, True)], [(1, 1, 3)]),
    ],
)
def test_which_version_of_a_movement_was_in_force_when(
    versions: list[dict[str, Any]],
    pauses: list[tuple[int, bool]],
    expected: list[tuple[int, int, int | None]],
) -> None:
    steps = [(datetime(2026, 9, day), paused) for day, paused in pauses]  # noqa: DTZ001
    found = [
        (number, span.since.day, None if span.until == brought.LATEST else span.until.day)
        for number, span in brought.in_force(versions, steps)
    ]
    assert found == expected
