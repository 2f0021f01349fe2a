"""A total bounds a hidden count: what somebody who reads both knows, and that they are left with two possibilities."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.settings import Settings
from commonroom.warehouse import bounds, measures, open_reader
from commonroom.warehouse.publication import Parts
from tests.unit.warehouse.house import House, mark, upn

OVERALL, PERSISTENT = measures.named("absence_overall"), measures.named("persistent_absence")
PLACE, TIME = ("school", "990001"), "term 2026-09-01"


def possible_counts(missed: int, sessions: int, pupils: int, part: int) -> set[int]:
    """Every number of pupils that may have missed a part of their own sessions, by trying all ways to spread it.

    Shares nothing with `bounds`: pupil after pupil, all sums that can be reached with so many counted.
    """
    reached = {(0, 0)}
    for _ in range(pupils):
        reached = {
            (total + own, counted + (own * part >= sessions))
            for total, counted in reached
            for own in range(sessions + 1)
            if total + own <= missed
        }
    return {counted for total, counted in reached if total == missed}


@pytest.mark.parametrize("part", [2, 10])
def test_the_bounds_are_those_of_trying_every_way(part: int) -> None:
    for sessions in (2, 3, 10, 24):
        for pupils in (1, 2, 6):
            for missed in range(min(pupils * sessions, 40) + 1):
                found = possible_counts(missed, sessions, pupils, part)
                low, high = bounds.range_of(missed, sessions * pupils, pupils, part)
                assert (low, high) == (min(found), max(found)), (missed, sessions, pupils)


def told(missed: int, possible: int, pupils: int, away: int) -> bool:
    """Whether overall absence is to be hidden beside a count of persistent absentees."""
    numbers = {(OVERALL.name, PLACE, TIME): Parts(missed, possible, pupils)}
    counts = {(PERSISTENT.name, PLACE, TIME): Parts(away, pupils, pupils)}
    (found,) = bounds.guarded(OVERALL, numbers, PERSISTENT, counts).values()
    return found.tells


# pupils, sessions of each, missed by each that was away at all; is the count told?
EXAMPLES = [
    (12, 2, [2, 1], False),  # a day: 3 sessions missed are 2 pupils or 3
    (12, 2, [2, 2], False),  # 4 sessions are 2, 3 or 4
    (10, 140, [20], True),  # a term: 14 are needed, so one pupil it is
    (10, 140, [20, 3, 3, 3], False),  # 29 sessions: one or two
    (6, 10, [10, 10], False),  # a week: two, or six who each missed some
    (30, 140, [20, *[9] * 25], False),  # enough missed to be anybody's
    (12, 2, [2, 2, 2], False),  # three are shown
]


@pytest.mark.parametrize(("pupils", "sessions", "missed", "expected"), EXAMPLES)
def test_overall_absence_is_hidden_where_it_would_tell(
    pupils: int, sessions: int, missed: list[int], expected: bool
) -> None:
    away = sum(10 * own >= sessions for own in missed)
    assert told(sum(missed), pupils * sessions, pupils, away) == expected


def test_the_attack_finds_counts_without_the_guard_and_none_with_it() -> None:
    chance = random.Random(7)
    open_before = open_after = hidden = 0
    for _ in range(600):
        pupils, sessions = chance.randint(6, 9), chance.choice([2, 24, 30])
        missed = [chance.choice([0, 0, 0, 0, 1, 2, -(-sessions // 10)]) for _ in range(pupils)]
        away = sum(10 * own >= sessions for own in missed)
        if (
            not 0 < away < PERSISTENT.suppression.numerator_below
            or sum(missed) < OVERALL.suppression.numerator_below
        ):
            continue
        hidden += 1
        # A reader knows that what is hidden is not 0.
        found = possible_counts(sum(missed), sessions, pupils, 10) - {0}
        narrowed = len(found) == 1
        open_before += narrowed
        open_after += narrowed and not told(sum(missed), sessions * pupils, pupils, away)
    print(f"{hidden} hidden counts: {open_before} narrowed by overall absence, {open_after} with the guard")
    assert hidden > 100
    assert open_before > 20
    assert open_after == 0


async def test_a_term_in_which_one_pupil_alone_was_away_often_enough_shows_no_overall_rate(
    pool: Any, settings: Settings
) -> None:
    """Twelve pupils, 20 sessions each: who misses two is persistently absent, so three missed in all are one pupil's."""
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-18T18:00+00:00"))
        house = await House(connection, settings, ["990001"]).open()
        await house.register()
        days = [date(2026, 9, 7) + timedelta(days=number) for number in (0, 1, 2, 3, 4, 7, 8, 9, 10, 11)]
        away = {(0, days[0], "AM"), (0, days[0], "PM"), (0, days[1], "AM")}
        marks = [
            mark("990001", pupil, day.isoformat(), session, "I" if (pupil, day, session) in away else "/")
            for pupil in range(12)
            for day in days
            for session in ("AM", "PM")
        ]
        await house.load(house.letter("990001", "attendance_mark", marks))
        reader = open_reader(settings)
        try:
            shown = {}
            for measure in (OVERALL, PERSISTENT):
                (figure,) = await reader.figures(
                    connection, PUBLIC, measure=measure.name, level="school", grain="term", units=["990001"],
                    first=days[0], last=days[-1],
                )  # fmt: skip
                shown[measure.name] = figure.symbol
        finally:
            reader.close()
    assert shown == {"absence_overall": "c", "persistent_absence": "c"}


async def test_a_group_in_which_one_pupil_alone_was_away_often_enough_shows_no_overall_rate(
    pool: Any, settings: Settings
) -> None:
    """Of twelve girls one missed three sessions of twenty, which tells of one; every boy missed two."""
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-18T18:00+00:00"))
        house = await House(connection, settings, ["990001"]).open()
        await house.register()
        days = [date(2026, 9, 7) + timedelta(days=number) for number in (0, 1, 2, 3, 4, 7, 8, 9, 10, 11)]
        away = {(0, days[0], "AM"), (0, days[0], "PM"), (0, days[1], "AM")}
        away |= {(boy, days[2], session) for boy in range(12, 24) for session in ("AM", "PM")}
        marks = [
            mark("990001", pupil, day.isoformat(), session, "I" if (pupil, day, session) in away else "/")
            for pupil in range(24)
            for day in days
            for session in ("AM", "PM")
        ]
        records = [
            {
                "school": "990001", "upn": upn(pupil), "family_name": "Ames", "given_name": "Ada",
                "date_of_birth": "2015-01-01",
                "sex": "F" if pupil < 12 else "M", "ethnicity": "WBRI", "valid_from": "2026-09-01", "version": 1,
            }
            for pupil in range(24)
        ]  # fmt: skip
        await house.load(
            house.letter("990001", "attendance_mark", marks), house.letter("990001", "learner", records)
        )
        reader = open_reader(settings)
        try:
            asked: Any = {
                "level": "school",
                "grain": "term",
                "units": ["990001"],
                "first": days[0],
                "last": days[-1],
            }
            shown = {
                (measure.name, figure.group): figure.symbol
                for measure in (OVERALL, PERSISTENT)
                for figure in await reader.figures(
                    connection, PUBLIC, measure=measure.name, characteristic="sex", groups=["F"], **asked
                )
            }
            (whole,) = await reader.figures(connection, PUBLIC, measure=OVERALL.name, **asked)
        finally:
            reader.close()
    # 3 of 240: of at most one girl a tenth. The whole is shown, and does not tell.
    assert bounds.range_of(3, 240, 12, 10) == (0, 1)
    assert shown == {("absence_overall", "F"): "c", ("persistent_absence", "F"): "c"}
    assert whole.symbol is None
