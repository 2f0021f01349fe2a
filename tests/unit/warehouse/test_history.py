"""Looking back: true on a day as known at a time, the life of a pupil, what changed between two times; and who may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any
from uuid import UUID

import pytest

from commonroom.identity import PUBLIC, Principal
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import checks, heads
from commonroom.warehouse.history import History
from tests.unit.warehouse.house import House, enrolment, mark, upn

A, B = "990001", "990002"
ON = date(2026, 9, 7)


def time(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    """Pupil 1's mark is put right on the 8th; pupil 2's stay at B is taken back on the 9th."""
    async with pool.acquire() as connection:
        house = await House(connection, settings, [A, B]).open()
        stay = {
            "school": B,
            "upn": upn(2),
            "entry_date": "2026-09-01",
            "valid_from": "2026-09-01",
            "version": 2,
        }
        for letter in (
            house.letter(
                A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "N")], accepted_at="2026-09-07T09:00Z"
            ),
            house.letter(B, "enrolment", [enrolment(B, 2, "2026-09-01")], accepted_at="2026-09-07T10:00Z"),
            house.letter(
                A,
                "attendance_mark",
                [mark(A, 1, "2026-09-07", "AM", "I", 2)],
                accepted_at="2026-09-08T09:00Z",
            ),
            house.letter(B, "enrolment", withdrawn=[stay], accepted_at="2026-09-09T09:00Z"),
        ):
            assert (await house.load(letter)).loaded
        yield house


def school(house: House, urn: str) -> History:
    who = Principal(kind="person", id="p1", role="school", party=house.parties[urn])
    return History(house.settings, house.duck, house.connection, who, "a test")


async def test_what_was_true_on_a_day_as_known_at_a_time(house: House) -> None:
    at_a = school(house, A)
    codes = [
        [row["code"] for row in await at_a.state("attendance_mark", ON, known)]
        for known in (time("2026-09-07T08:59"), time("2026-09-07T09:00"), time("2026-09-08T09:00"), None)
    ]
    assert codes == [[], ["N"], ["I"], ["I"]]
    at_b = school(house, B)
    assert [row["upn"] for row in await at_b.state("enrolment", ON, time("2026-09-08T00:00"))] == [upn(2)]
    assert await at_b.state("enrolment", ON) == []


async def test_the_life_of_a_pupil_is_all_that_was_said_with_its_message_and_time(house: House) -> None:
    key = await house.connection.fetchval("SELECT learner FROM learners.identifier WHERE value = $1", upn(1))
    rows = await school(house, A).life([UUID(str(key))])
    assert [(row["entity"], row["code"], row["weight"], row["version"]) for row in rows] == [
        ("attendance_mark", "N", 1, 1),
        ("attendance_mark", "N", -1, 2),
        ("attendance_mark", "I", 1, 2),
    ]
    assert [row["known_from"].isoformat() for row in rows] == ["2026-09-07T09:00:00"] + [
        "2026-09-08T09:00:00"
    ] * 2
    assert all(row["message"] and row["sender"] == house.parties[A] for row in rows)


async def test_what_came_and_went_between_two_known_times(house: House) -> None:
    changed = await school(house, A).differences(
        "attendance_mark", time("2026-09-07T12:00"), time("2026-09-08T12:00")
    )
    assert {(row["code"], row["change"]) for row in changed} == {("N", "went"), ("I", "came")}
    assert (
        await school(house, A).differences(
            "attendance_mark", time("2026-09-08T12:00"), time("2026-10-01T00:00")
        )
        == []
    )


async def test_a_school_sees_what_it_said_an_analyst_nobody_and_others_nothing(house: House) -> None:
    assert await school(house, B).state("attendance_mark", ON) == []
    analyst = Principal(kind="person", id="p2", role="analyst", party=None)
    (row,) = await History(house.settings, house.duck, house.connection, analyst, "a test").state(
        "attendance_mark", ON
    )
    assert (row["school"], row["code"], "upn" in row) == (A, "I", False)
    assert UUID(row["learner_id"])
    for other in (PUBLIC, Principal(kind="person", id="p3", role="operator", party=None)):
        with pytest.raises(Problem, match="CR-111"):
            History(house.settings, house.duck, house.connection, other, "a test")


async def test_every_question_leaves_who_how_many_and_why(house: House) -> None:
    await school(house, A).state("attendance_mark", ON)
    row = await house.connection.fetchrow("SELECT * FROM access.audit ORDER BY id DESC LIMIT 1")
    assert (row["role"], row["party"], row["dataset"], row["purpose"], row["rows"]) == (
        "school", house.parties[A], "warehouse.facts", "a test", 1,
    )  # fmt: skip


async def test_verify_finds_nothing_in_a_good_warehouse_and_names_what_is_wrong_in_a_bad_one(
    house: House,
) -> None:
    head = await heads.newest(house.connection)
    checked = checks.verify(house.settings, house.duck, head)
    assert [(one.table, one.rows, one.faults) for one in checked] == [
        ("attendance_mark", 3, []),
        ("enrolment", 2, []),
    ]
    folder = house.settings.folder("warehouse")
    next((folder / "enrolment").glob("*.parquet")).unlink()
    (marks, stays) = checks.verify(house.settings, house.duck, head)
    assert (marks.faults, stays.faults) == ([], ["1 of 2 files are not there"])
