"""Figures as they are released: a day's in its evening, a week's and a term's on the Friday that ends it, each once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from commonroom.engines import clock, database
from commonroom.identity import PUBLIC
from commonroom.settings import Settings
from commonroom.warehouse import Figure, Reader, open_reader
from tests.conftest import settings_with
from tests.unit.warehouse.house import House, enrolment, mark, upn

A, B, C = "990001", "990002", "990003"
PUPILS = {A: range(100, 140), B: range(200, 260), C: range(300, 312)}
MONDAY, FRIDAY = date(2026, 9, 7), date(2026, 9, 11)
DAYS = [MONDAY + timedelta(days=number) for number in range(5)]


def moment(day: date, time: str = "17:05") -> datetime:
    """A time of a day, in England."""
    return datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=clock.ENGLAND)


def marks(school: str, day: date, missed: int) -> list[dict[str, Any]]:
    """A school's register of a morning: so many of its pupils were ill."""
    return [
        mark(school, pupil, day.isoformat(), "AM", "I" if place < missed else "/")
        for place, pupil in enumerate(PUPILS[school])
    ]


class Week:
    """A warehouse in which days pass."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.reader = open_reader(house.settings)

    def close(self) -> None:
        self.reader.close()

    def again(self) -> None:
        """Another process, that knows what is in the database alone."""
        self.reader.close()
        self.reader = open_reader(self.house.settings)

    async def goes_by(self, day: date, missed: dict[str, int]) -> None:
        """A school day: its registers come in the afternoon, then it is evening."""
        await clock.set_to(self.house.connection, self.house.settings, moment(day, "15:30"))
        await self.house.load(
            *(
                self.house.letter(
                    school,
                    "attendance_mark",
                    marks(school, day, many),
                    accepted_at=moment(day, "15:31").isoformat(),
                )
                for school, many in missed.items()
            )
        )
        await self.evening(day)

    async def evening(self, day: date) -> None:
        await clock.set_to(self.house.connection, self.house.settings, moment(day))

    async def asked(
        self, grain: str, last: date, measure: str = "absence_overall", **more: Any
    ) -> list[Figure]:
        return await self.reader.figures(
            self.house.connection, PUBLIC, measure=measure, grain=grain,
            **{"level": "school", "first": MONDAY, "last": last, **more},
        )  # fmt: skip

    async def missed(self, grain: str, last: date, **more: Any) -> dict[tuple[str, date], Any]:
        """The numerator, or the symbol in its place, by unit and period."""
        found = await self.asked(grain, last, **more)
        return {
            (one.unit, one.period_start): one.symbol if one.numerator is None else one.numerator
            for one in found
        }


@pytest.fixture
async def week(pool: Any, settings: Settings) -> AsyncIterator[Week]:
    released = settings_with(settings, figures="released")
    async with pool.acquire() as connection:
        await clock.set_to(connection, released, moment(MONDAY, "08:00"))
        house = await House(connection, released, list(PUPILS)).open()
        await house.register()
        for school, pupils in PUPILS.items():
            stays = [enrolment(school, pupil, "2026-09-01") for pupil in pupils]
            children = [
                {
                    "school": school, "upn": upn(pupil), "family_name": "Ames", "given_name": "Ada",
                    "date_of_birth": "2015-01-01", "sex": "F" if pupil % 2 else "M", "fsm": pupil % 6 == 0,
                    "valid_from": "2026-09-01", "version": 1,
                }
                for pupil in pupils
            ]  # fmt: skip
            sent = {"accepted_at": "2026-09-01T09:00+01:00"}
            loaded = await house.load(
                house.letter(school, "enrolment", stays, **sent),
                house.letter(school, "learner", children, **sent),
            )
            assert not loaded.findings
        found = Week(house)
        yield found
        found.close()


async def test_a_day_is_released_once_and_what_came_later_is_in_its_week(week: Week) -> None:
    await week.goes_by(MONDAY, {A: 10, B: 12})  # C is late
    assert await week.missed("day", MONDAY) == {(A, MONDAY): 10, (B, MONDAY): 12}
    monday = (await week.asked("day", MONDAY))[0]
    assert monday.as_of == moment(MONDAY, "17:00").astimezone(UTC)
    await clock.set_to(week.house.connection, week.house.settings, moment(DAYS[1], "16:30"))
    corrected = [mark(A, pupil, MONDAY.isoformat(), "AM", "/", version=2) for pupil in PUPILS[A][:4]]
    await week.house.load(
        week.house.letter(A, "attendance_mark", corrected, accepted_at=moment(DAYS[1], "15:00").isoformat()),
        week.house.letter(
            C, "attendance_mark", marks(C, MONDAY, 6), accepted_at=moment(DAYS[1], "15:00").isoformat()
        ),
    )
    await week.goes_by(DAYS[1], {A: 9, B: 8, C: 5})
    tuesday = DAYS[1]
    assert await week.missed("day", tuesday) == {
        (A, MONDAY): 10, (B, MONDAY): 12, (A, tuesday): 9, (B, tuesday): 8, (C, tuesday): 5,
    }  # fmt: skip
    for day in DAYS[2:]:
        await week.goes_by(day, {A: 7, B: 9, C: 6})
    days = await week.missed("day", FRIDAY)
    assert days[A, MONDAY] == 10
    assert (C, MONDAY) not in days, "it had sent nothing"
    assert await week.missed("week", FRIDAY) == {
        (A, MONDAY): 6 + 9 + 3 * 7, (B, MONDAY): 12 + 8 + 3 * 9, (C, MONDAY): 6 + 5 + 3 * 6,
    }  # fmt: skip


async def test_nothing_of_a_day_is_told_before_its_evening(week: Week) -> None:
    await week.goes_by(MONDAY, {A: 10, B: 12, C: 5})
    await week.goes_by(DAYS[1], {A: 9, B: 8, C: 5})
    await clock.set_to(week.house.connection, week.house.settings, moment(DAYS[1], "16:59"))
    week.again()
    assert set(await week.missed("day", DAYS[1])) == {(school, MONDAY) for school in PUPILS}
    assert (await week.missed("week", DAYS[1]))[A, MONDAY] == 10
    await week.evening(DAYS[1])
    assert (await week.missed("week", DAYS[1]))[A, MONDAY] == 19


async def test_a_week_so_far_is_the_sum_of_what_was_released_of_it(week: Week) -> None:
    for day in DAYS[:3]:
        await week.goes_by(day, {A: 10, B: 12, C: 1 if day == MONDAY else 5})
    days = await week.missed("day", DAYS[2])
    assert days[C, MONDAY] == "c"  # one child
    for grain in ("week", "term"):
        found = {unit: value for (unit, _), value in (await week.missed(grain, DAYS[2])).items()}
        for school in PUPILS:
            mine = [days[school, day] for day in DAYS[:3]]
            assert found[school] == ("c" if "c" in mine else sum(mine))
        of_authority = await week.missed(grain, DAYS[2], level="authority")
        assert list(of_authority.values()) == [3 * 22 + 11]


async def test_what_was_released_stays_in_every_process_whatever_is_known_since(week: Week) -> None:
    for day in DAYS:
        await week.goes_by(day, {A: 10, B: 12, C: 2})
    asked = [
        ("day", "absence_unauthorised"),
        ("week", "absence_overall"),
        ("term", "absence_overall"),
        ("day", "headcount"),
    ]
    before = [await week.asked(grain, FRIDAY, measure) for grain, measure in asked]
    await clock.set_to(week.house.connection, week.house.settings, moment(FRIDAY, "22:00"))
    late = [mark(A, pupil, FRIDAY.isoformat(), "AM", "/", version=2) for pupil in PUPILS[A][:6]]
    await week.house.load(
        week.house.letter(A, "attendance_mark", late, accepted_at=moment(FRIDAY, "21:00").isoformat())
    )
    week.again()
    assert [await week.asked(grain, FRIDAY, measure) for grain, measure in asked] == before


async def test_as_known_at_a_time_is_as_it_was_released_then(week: Week) -> None:
    for day in DAYS:
        await week.goes_by(day, {A: 10 + day.day % 3, B: 12, C: 5})
    then = moment(DAYS[2], "20:00")
    found = await week.missed("week", FRIDAY, known_at=then)
    assert found[A, MONDAY] == sum(10 + day.day % 3 for day in DAYS[:3])
    week.again()
    assert await week.missed("week", FRIDAY, known_at=then) == found
    just_before = await week.missed("week", FRIDAY, known_at=moment(DAYS[3], "16:59"))
    assert just_before == found


async def test_two_processes_that_ask_at_once_get_one_release(week: Week) -> None:
    for day in DAYS:
        await week.goes_by(day, {A: 10, B: 12, C: 2})
    readers = [open_reader(week.house.settings) for _ in range(3)]

    async def asks(reader: Reader) -> list[Figure]:
        connection = await database.connect(week.house.settings)
        try:
            return await reader.figures(
                connection,
                PUBLIC,
                measure="absence_overall",
                level="school",
                grain="week",
                first=MONDAY,
                last=FRIDAY,
            )
        finally:
            await connection.close()

    first, *others = await asyncio.gather(*map(asks, readers))
    assert first
    assert all(other == first for other in others)
    kept = await week.house.connection.fetch("SELECT publication, moment, part FROM warehouse.release")
    assert len(kept) == len(set(kept))
    for reader in readers:
        reader.close()


async def test_sums_over_days_by_characteristic_are_released_when_their_term_is_over(week: Week) -> None:
    for day in DAYS:
        await week.goes_by(day, {A: 10, B: 12, C: 6})
    by_sex = {"characteristic": "sex", "level": "authority"}
    assert await week.asked("term", FRIDAY, **by_sex) == []
    end = date(2026, 12, 18)
    await week.evening(end)
    assert {one.group: one.numerator for one in await week.asked("term", end, **by_sex)} == {
        "F": 70, "M": 70, "unknown": None
    }  # fmt: skip


async def test_of_what_came_after_its_release_the_next_friday_tells(week: Week) -> None:
    """The marks of a week that a school sends all at once, a week later."""
    monday = FRIDAY + timedelta(days=3)
    await week.evening(FRIDAY)
    assert await week.missed("week", FRIDAY) == {}
    sent = {"accepted_at": moment(monday, "10:00").isoformat()}
    for day in DAYS:
        for school, many in {A: 10, B: 12, C: 6}.items():
            await week.house.load(
                week.house.letter(school, "attendance_mark", marks(school, day, many), **sent)
            )
    await week.evening(monday)
    assert await week.missed("week", FRIDAY) == {}
    next_friday = FRIDAY + timedelta(days=7)
    await week.evening(next_friday)
    released = {(A, MONDAY): 50, (B, MONDAY): 60, (C, MONDAY): 30}
    assert await week.missed("week", FRIDAY) == released
    assert (await week.missed("day", FRIDAY))[A, MONDAY] == 10
    struck = [mark(A, pupil, MONDAY.isoformat(), "AM", "/", version=2) for pupil in PUPILS[A][:4]]
    later = {"accepted_at": moment(next_friday + timedelta(days=3), "10:00").isoformat()}
    await week.house.load(week.house.letter(A, "attendance_mark", struck, **later))
    week.again()
    await week.evening(next_friday + timedelta(days=7))
    assert await week.missed("week", FRIDAY) == released, "once"


async def test_a_years_sum_by_characteristic_waits_for_its_terms_too(week: Week) -> None:
    for day in DAYS:
        await week.goes_by(day, {A: 10, B: 12, C: 6})
    by_sex = {"characteristic": "sex", "level": "authority"}
    assert await week.asked("year", FRIDAY, **by_sex) == []
    end = date(2026, 12, 18)
    await week.evening(end)
    of_term = await week.missed("term", end, **by_sex)
    assert set(of_term.values()) == set((await week.missed("year", end, **by_sex)).values())


async def test_what_comes_late_and_small_is_not_told_by_its_week(week: Week) -> None:
    """C's one child of Monday comes on Tuesday: of its week nothing is told, for Monday is all that is not known of it."""
    await week.goes_by(MONDAY, {A: 10, B: 12})
    late = week.house.letter(
        C, "attendance_mark", marks(C, MONDAY, 1), accepted_at=moment(DAYS[1], "10:00").isoformat()
    )
    await week.house.load(late)
    for day in DAYS[1:]:
        await week.goes_by(day, {A: 10, B: 12, C: 5})
    assert {(await week.missed("day", FRIDAY))[C, day] for day in DAYS[1:]} == {5}
    assert (await week.missed("week", FRIDAY))[C, MONDAY] == "c"


async def test_nothing_is_released_before_what_had_come_is_loaded(week: Week) -> None:
    await week.goes_by(MONDAY, {A: 10, B: 12})
    await clock.set_to(week.house.connection, week.house.settings, moment(DAYS[1], "17:04"))
    assert {day for _, day in await week.missed("day", DAYS[1])} == {MONDAY}
    asked = await week.missed("day", DAYS[1], known_at=moment(DAYS[4]))
    assert {day for _, day in asked} == {MONDAY}, "nobody asks for a time to come"


async def test_sources_are_counted_as_of_the_release_and_not_of_what_is_still_summed_up(week: Week) -> None:
    await week.goes_by(MONDAY, {A: 10, B: 12, C: 6})
    more = [mark(A, pupil, DAYS[1].isoformat(), "AM", "I") for pupil in PUPILS[A][:2]]
    await clock.set_to(week.house.connection, week.house.settings, moment(DAYS[1], "10:00"))
    await week.house.load(
        week.house.letter(A, "attendance_mark", more, accepted_at=moment(DAYS[1], "09:40").isoformat())
    )
    found = await week.reader.lineage(
        week.house.connection,
        PUBLIC,
        measure="absence_overall",
        level="authority",
        grain="week",
        unit="997",
        on=MONDAY,
    )
    assert found.figure.numerator == 28
    assert "one after another" in found.withheld
    assert all(part.senders is None for part in found.parts if part.entity == "attendance_mark")


async def test_a_state_that_did_not_change_is_hidden_as_it_was(week: Week) -> None:
    """C's two children are hidden, and A's seven beside them. On Tuesday B's three would be cheaper to hide."""
    await week.goes_by(MONDAY, {A: 10, B: 12, C: 6})
    assert await week.missed("day", MONDAY, measure="fsm_eligible") == {
        (A, MONDAY): "c", (B, MONDAY): 10, (C, MONDAY): "c",
    }  # fmt: skip
    no_more = [
        {
            "school": B, "upn": upn(pupil), "family_name": "Ames", "given_name": "Ada", "date_of_birth": "2015-01-01",
            "sex": "M", "fsm": False, "valid_from": DAYS[1].isoformat(), "version": 2,
        }
        for pupil in PUPILS[B] if pupil % 6 == 0
    ][:7]  # fmt: skip
    await week.house.load(
        week.house.letter(B, "learner", no_more, accepted_at=moment(DAYS[1], "09:00").isoformat())
    )
    await week.goes_by(DAYS[1], {A: 10, B: 12, C: 6})
    found = await week.missed("day", DAYS[1], measure="fsm_eligible")
    tuesday = DAYS[1]
    assert found == {
        (A, MONDAY): "c", (A, tuesday): "c", (B, MONDAY): 10, (B, tuesday): 3, (C, MONDAY): "c", (C, tuesday): "c",
    }  # fmt: skip
    live = open_reader(settings_with(week.house.settings, figures="live"))
    week.reader, released = live, week.reader
    anew = await week.missed("day", tuesday, measure="fsm_eligible", first=tuesday)
    assert anew[A, tuesday] == 7, "decided anew it would be told, and Monday's with it"
    live.close()
    week.reader = released


async def test_where_a_released_figure_comes_from(week: Week) -> None:
    await week.goes_by(MONDAY, {A: 10, B: 12, C: 6})
    found = await week.reader.lineage(
        week.house.connection,
        PUBLIC,
        measure="absence_overall",
        level="authority",
        grain="day",
        unit="997",
        on=MONDAY,
    )
    assert found.figure.numerator == 28
    assert found.figure.as_of == moment(MONDAY, "17:00").astimezone(UTC)
    marks_of = next(part for part in found.parts if part.entity == "attendance_mark")
    assert [sender.messages for sender in marks_of.senders or ()] == [1, 1, 1]
