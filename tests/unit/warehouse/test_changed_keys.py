"""What is loaded under a key that changes: it follows, in whatever order all arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom.engines.duck import Duck
from commonroom.exchange import Letter
from commonroom.settings import Settings
from tests.unit.warehouse.house import House, enrolment, mark, upn
from tests.unit.warehouse.test_batches import A, B, refusal, stored


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        yield await House(connection, settings, [A, B]).open()


def new_upn(house: House, old: int, new: int) -> Letter:
    pair = {"from": {"school": A, "upn": upn(old)}, "to": {"school": A, "upn": upn(new)}}
    return house.letter(A, "learner", rekeyed={"learner": [pair]})


async def live(house: House, entity: str) -> dict[tuple[str, str, Any], int]:
    """What is true: pupil, code and the sum of weights."""
    sums: dict[tuple[str, str, Any], int] = {}
    for row in await stored(house, entity):
        key = row["upn"], row["session"], row["code"]
        sums[key] = sums.get(key, 0) + row["weight"]
    return {key: total for key, total in sums.items() if total}


async def test_a_changed_upn_takes_the_pupils_marks_along_those_before_it_and_those_after_it(
    house: House,
) -> None:
    await house.load(house.letter(A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "/")]))
    outcome = await house.load(new_upn(house, 1, 2))
    assert (len(outcome.loaded), outcome.rows) == (1, {"attendance_mark": 2})
    await house.load(
        house.letter(
            A,
            "attendance_mark",
            [mark(A, 1, "2026-09-07", "PM", "N"), mark(A, 1, "2026-09-07", "AM", "I", 2)],
        )
    )
    assert await live(house, "attendance_mark") == {(upn(2), "AM", "I"): 1, (upn(2), "PM", "N"): 1}
    keys = {row["upn"]: row["learner_id"] for row in await stored(house, "attendance_mark")}
    assert set(keys) == {upn(1), upn(2)}


async def test_the_order_in_which_marks_and_changed_keys_come_leaves_no_trace(
    house: House, settings: Settings, tmp_path: Path
) -> None:
    gone = {
        "school": A,
        "upn": upn(3),
        "date": "2026-09-07",
        "session": "PM",
        "valid_from": "2026-09-07",
        "version": 2,
    }
    letters = [
        house.letter(
            A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "/"), mark(A, 3, "2026-09-07", "PM", "/")]
        ),
        new_upn(house, 1, 2),
        house.letter(
            A,
            "attendance_mark",
            [mark(A, 2, "2026-09-07", "AM", "I"), mark(A, 1, "2026-09-07", "PM", "N", 2)],
        ),
        house.letter(A, "attendance_mark", withdrawn=[gone]),
        new_upn(house, 2, 3),
    ]
    states = []
    for number, order in enumerate([(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (1, 4, 0, 3, 2), (2, 0, 4, 3, 1)]):
        await house.connection.execute("TRUNCATE warehouse.head, warehouse.rekeyed, warehouse.finding")
        house.settings = msgspec.structs.replace(settings, data=tmp_path / str(number))
        house.duck = Duck(house.settings, [house.settings.folder("warehouse")])
        for place in order:
            await house.load(letters[place])
        states.append(await live(house, "attendance_mark"))
    assert states == [states[0]] * 4
    assert set(states[0].values()) == {1}
    assert {key[0] for key in states[0]} == {upn(3)}


async def test_a_key_that_comes_back_brings_all_with_it_in_whatever_order_its_sender_is_told(
    house: House, settings: Settings, tmp_path: Path
) -> None:
    """1 became 2, and later 1 again; meanwhile marks came under both."""
    letters = [
        house.letter(A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "/")]),
        new_upn(house, 1, 2),
        house.letter(
            A,
            "attendance_mark",
            [mark(A, 2, "2026-09-07", "AM", "I", 2), mark(A, 2, "2026-09-07", "PM", "N")],
        ),
        new_upn(house, 2, 1),
        house.letter(A, "attendance_mark", [mark(A, 1, "2026-09-07", "PM", "\\", 2)]),
    ]
    findings = "SELECT count(*) FROM warehouse.finding WHERE severity = 'query' AND rule = 'fact.rekeyed'"
    noted = []
    for number, order in enumerate([(0, 1, 2, 3, 4), (3, 1, 4, 2, 0), (2, 3, 0, 1, 4), (1, 2, 0, 4, 3)]):
        await house.connection.execute("TRUNCATE warehouse.head, warehouse.rekeyed, warehouse.finding")
        house.settings = msgspec.structs.replace(settings, data=tmp_path / str(number))
        house.duck = Duck(house.settings, [house.settings.folder("warehouse")])
        for place in order:
            await house.load(letters[place])
        assert await live(house, "attendance_mark") == {(upn(1), "AM", "I"): 1, (upn(1), "PM", "\\"): 1}
        noted.append(await house.connection.fetchval(findings))
    # Told second, the newer change simply holds; told first, the older one is not followed, and its sender hears it.
    assert noted == [0, 1, 1, 0]


async def test_a_changed_key_that_is_none_or_somebody_elses_is_refused(house: House) -> None:
    half = {"from": {"school": A}, "to": {"school": A, "upn": upn(2)}}
    letter = house.letter(A, "learner", rekeyed={"learner": [half]})
    assert "does not name two whole keys" in await refusal(house, letter)
    theirs = {"from": {"school": B, "upn": upn(1)}, "to": {"school": A, "upn": upn(2)}}
    letter = house.letter(A, "learner", rekeyed={"learner": [theirs]})
    assert "does not speak for" in await refusal(house, letter)


WRONG_KEYS: list[tuple[str, dict[str, str], dict[str, str]]] = [
    ("enrolment", {"entry_date": "2025-09-01"}, {"entry_date": "01/09/2025"}),
    ("learner", {}, {"upn": "not a number"}),
]


@pytest.mark.parametrize(("entity", "old", "new"), WRONG_KEYS)
async def test_a_changed_key_that_no_record_can_have_stops_nobody(
    house: House, entity: str, old: dict[str, str], new: dict[str, str]
) -> None:
    key = {"school": A, "upn": upn(1)}
    pair = {"from": {**key, **old}, "to": {**key, **new}}
    letter = house.letter(A, entity, rekeyed={entity: [pair]})
    good = house.letter(A, "enrolment", [enrolment(A, 1, "2025-09-01")])
    outcome = await house.load(letter, good)
    assert (outcome.loaded, [one for one, _ in outcome.refused]) == ([good], [letter])
    assert await house.connection.fetchval("SELECT count(*) FROM warehouse.rekeyed") == 0


async def test_a_corrected_day_of_one_record_moves_no_other_record(house: House) -> None:
    stay = enrolment(A, 1, "2026-09-07")
    await house.load(
        house.letter(A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "/")]),
        house.letter(A, "enrolment", [stay]),
    )
    key = {"school": A, "upn": upn(1)}
    pair = {"from": {**key, "entry_date": "2026-09-07"}, "to": {**key, "entry_date": "2026-09-08"}}
    outcome = await house.load(house.letter(A, "enrolment", rekeyed={"enrolment": [pair]}))
    assert outcome.rows == {"enrolment": 2}


async def test_keys_that_only_a_register_speaks_for_are_changed_by_nobody_else(house: House) -> None:
    for entity in ("organisation", "learner_number"):
        letter = house.letter(A, entity, rekeyed={entity: [{"from": {}, "to": {}}]})
        assert await refusal(house, letter)
