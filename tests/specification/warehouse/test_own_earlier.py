"""What was sent before a movement brought it to an authority, or while none did, its own measures do not count.

The schools, movements and marks are those of four_schools.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.exchange import Letter
from commonroom.hub import load_movements
from commonroom.hub.agreements import resume, suspend
from commonroom.identity import Principal
from commonroom.settings import Settings
from commonroom.warehouse import brought, organisations, own, own_figures
from commonroom.warehouse.brought import EARLIEST as FIRST
from commonroom.warehouse.brought import LATEST
from commonroom.warehouse.own_figures import OwnFigures
from tests.specification.warehouse.four_schools import (
    LATE,
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
from tests.specification.warehouse.test_measures import load_registers
from tests.unit.warehouse.house import REGISTERS, House, mark, organisation, upn


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


# Each line is a school day, on which pupil 1 is late twice and pupil 2 once, and which is brought. What is sent of it while
# nothing is brought, what comes after that, and the late marks that then count: for the authority what it holds, for the
# school all. A letter is a pupil's day with its version; None withdraws both marks.
Said = list[tuple[int, str | None, int]]
GAP: list[tuple[str, Said, Said, int, int]] = [
    ("nothing", [], [], 3, 3),
    ("a correction in the gap", [(1, "LU", 2)], [], 3, 2),
    ("two of them", [(1, "LU", 2), (1, "UU", 3)], [], 3, 1),
    ("a correction after it", [], [(1, "LU", 2)], 2, 2),
    ("one in it and one after it", [(1, "LU", 2)], [(1, "//", 3)], 1, 1),
    ("the one in it comes again, which tells nothing new", [(1, "LU", 2)], [(1, "LU", 2)], 3, 2),
    ("it comes again with a higher version", [(1, "LU", 2)], [(1, "LU", 3)], 2, 2),
    ("a withdrawal in the gap", [(1, None, 2)], [], 3, 1),
    ("a withdrawal after it", [], [(1, None, 2)], 1, 1),
    ("one in it, and again after it", [(1, None, 2)], [(1, None, 3)], 1, 1),
    ("a correction in it, and a withdrawal after it", [(1, "UU", 2)], [(1, None, 3)], 1, 1),
    ("withdrawn in it, and told anew after it", [(1, None, 2)], [(1, "L/", 3)], 2, 2),
    ("told in it for the first time, and taken back after it", [(3, "LL", 1)], [(3, None, 2)], 3, 3),
    ("told in it for the first time, and corrected after it", [(3, "LL", 1)], [(3, "L/", 2)], 4, 4),
]


async def test_of_each_mark_the_last_that_was_brought_counts_whatever_came_in_a_gap(house: House) -> None:
    await gap(house)
    days = [date(2026, 9, day) for day in (*range(14, 19), *range(21, 26), *range(28, 31))]
    days = [date(2026, 9, 11), *days]
    rounds: list[list[Letter]] = [[], [], []]
    for day, (_, within, after, _, _) in zip(days, GAP, strict=True):
        for number, said in enumerate(([(1, "LL", 1), (2, "L/", 1)], within, after)):
            rounds[number] += [say(house, day, *one, SENT[number]) for one in said]
    for letters in rounds:
        loaded = await house.load(*letters)
        assert (loaded.refused, loaded.findings) == ([], 0)
    held = await late_by_day(house, who(house, "authority", "997"), days)
    of_it_all = await late_by_day(house, who(house, "school", A), days)
    found = [(*line[:3], *found) for line, *found in zip(GAP, held, of_it_all, strict=True)]
    assert found == GAP


SENT = ["2026-10-01T16:00+00:00", "2026-10-06T16:00+00:00", "2026-10-09T16:00+00:00"]


async def gap(house: House) -> None:
    """From 5 October until before 8 October the movement is suspended. It is 12 October."""
    await at(house, "2026-10-05T00:00+00:00")
    await suspend(house.connection, OPERATOR, "school-record", "Under review.")
    await at(house, "2026-10-08T00:00+00:00")
    await resume(house.connection, OPERATOR, "school-record", "Reviewed.")
    await at(house, "2026-10-12T00:00+00:00")


def say(house: House, day: date, pupil: int, marks: str | None, version: int, sent: str) -> Letter:
    """A letter of A with a pupil's day; None: withdrawn."""
    text, sessions = day.isoformat(), ("AM", "PM")
    records, gone = [], []
    if marks is None:
        key = {"school": A, "upn": upn(pupil), "date": text, "valid_from": text, "version": version}
        gone = [{**key, "session": session} for session in sessions]
    else:
        records = [
            mark(A, pupil, text, session, code, version)
            for session, code in zip(sessions, marks, strict=True)
        ]
    return house.letter(A, "attendance_mark", records, gone, accepted_at=sent)


async def late_by_day(house: House, principal: Principal, days: list[date]) -> list[int]:
    """The late marks of A by day."""
    await own.define(house.connection, principal, LATE.replace("[week, term]", "[day]"))
    answer = await own_figures.figures(
        house.settings, house.duck, house.connection, principal, "late_marks",
        grain="day", first=days[0], last=days[-1],
    )  # fmt: skip
    by_day = {one.period_start: one.numerator for one in answer.figures if one.unit == A}
    return [by_day[day] for day in days]


async def test_a_upn_that_is_changed_in_a_gap_or_after_it_loses_nothing(house: House) -> None:
    """The pupils' marks came in one letter, and each counts once. What came in the gap comes with neither key."""
    await gap(house)
    week = date(2026, 9, 14)
    for sent, marks in zip(SENT, ("LL", ".. L/", ".. .. L/"), strict=True):
        lines = "\n".join(f"{pupil}: {marks}" for pupil in (1, 2, 3))
        await load_registers(house, A, lines, monday=week, accepted_at=sent)
    authority = who(house, "authority", "997")
    assert told(await asked(house, authority, day=week)) == {A: 9}
    for old, new, sent in ((1, 77, SENT[1]), (2, 78, SENT[2])):
        ends = [{"school": A, "upn": upn(number)} for number in (old, new)]
        pair = {"learner": [{"from": ends[0], "to": ends[1]}]}
        assert not (await house.load(house.letter(A, "learner", rekeyed=pair, accepted_at=sent))).refused
    assert told(await asked(house, authority, day=week)) == {A: 9}
    assert told(await asked(house, who(house, "school", A), day=week)) == {A: 12}
    await load_registers(house, A, "77: /L\n78: //", 2, monday=week, accepted_at=SENT[2])
    assert told(await asked(house, authority, day=week)) == {A: 6}


async def test_what_was_corrected_in_a_gap_and_got_another_upn_counts_once_it_comes_again(
    house: House,
) -> None:
    """Never twice: what the authority holds lies under the old UPN, and what comes then under the new one."""
    await gap(house)
    week, authority = date(2026, 9, 14), who(house, "authority", "997")
    await load_registers(house, A, "1: LL", monday=week, accepted_at=SENT[0])
    await load_registers(house, A, "1: UU", 2, monday=week, accepted_at=SENT[1])
    assert told(await asked(house, authority, day=week)) == {A: 2}
    ends = [{"school": A, "upn": upn(number)} for number in (1, 77)]
    pair = {"learner": [{"from": ends[0], "to": ends[1]}]}
    assert not (await house.load(house.letter(A, "learner", rekeyed=pair, accepted_at=SENT[2]))).refused
    answer = await asked(house, authority, day=week)
    assert (sum(told(answer).values()), not_counted(answer)) == (0, [EARLIER])
    await load_registers(house, A, "77: L/", 3, monday=week, accepted_at=SENT[2])
    assert told(await asked(house, authority, day=week)) == {A: 1}


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


async def test_a_school_that_comes_back_to_an_authority_counts_there_of_both_times(house: House) -> None:
    """A is Eastvale's from Wednesday to Thursday: what it sends in these days is brought there, the rest to Westmarch."""
    for version, (day, la) in enumerate((("2026-09-16", "998"), ("2026-09-18", "997")), start=2):
        passed = organisation(house.parties[A], A, la, valid_from=day, version=version, trust_uid="T1")
        told_at = f"{day}T08:00+00:00"
        await house.load(house.letter(REGISTERS, "organisation", [passed], accepted_at=told_at))
    week = date(2026, 9, 14)
    days = [f"2026-09-{day}T16:00+00:00" for day in range(14, 19)]
    for sent, marks in zip(days, ("L/", ".. L/", ".. .. L/", ".. .. .. L/", ".. .. .. .. L/"), strict=True):
        await load_registers(house, A, f"1: {marks}", monday=week, accepted_at=sent)
    answer = await asked(house, who(house, "authority", "997"), day=week)
    assert (told(answer), not_counted(answer)) == ({A: 3}, [EARLIER])
    assert told(await asked(house, who(house, "school", A), day=week)) == {A: 5}


Words = list[tuple[int, int, str]]
Times = list[tuple[int | None, int | None]]
STAYS: list[tuple[str, Words, int, Times]] = [
    ("passed", [(1, 1, "a"), (5, 5, "b")], 4, [(None, 5)]),
    ("passed", [(1, 1, "a"), (5, 5, "b")], 5, [(5, None)]),
    ("said late", [(1, 1, "a"), (5, 9, "b")], 6, [(9, None)]),
    ("came back", [(1, 1, "a"), (5, 5, "b"), (9, 9, "a")], 3, [(None, 5), (9, None)]),
    ("came back", [(1, 1, "a"), (5, 5, "b"), (9, 9, "a")], 6, [(5, 9)]),
    ("came back", [(1, 1, "a"), (5, 5, "b"), (9, 9, "a")], 12, [(None, 5), (9, None)]),
    ("said again", [(1, 1, "a"), (5, 5, "b"), (7, 7, "b")], 8, [(5, None)]),
    ("said when it was over", [(1, 1, "a"), (5, 12, "b"), (9, 9, "a")], 12, [(None, None)]),
    ("before the first word", [(3, 3, "a"), (5, 5, "b")], 1, [(None, 5)]),
]


@pytest.mark.parametrize(("case", "words", "on", "expected"), STAYS)
def test_when_a_school_was_with_the_authority_that_it_has_on_a_day(
    case: str, words: Words, on: int, expected: Times
) -> None:
    """Each word: the day from which it is, the day on which it was said, the authority; all in November."""
    said = [
        organisations.Word("1", la, date(2026, 11, day), datetime(2026, 11, known), position)  # noqa: DTZ001
        for position, (day, known, la) in enumerate(words)
    ]
    found = [
        (span.since.day if span.since > FIRST else None, span.until.day if span.until < LATEST else None)
        for span in organisations.spans_with(said, date(2026, 11, on))
    ]
    assert found == expected


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
