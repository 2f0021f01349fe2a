"""What a batch of letters comes to: rows, findings, refusals; and what a reader then sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import msgspec
import pytest

from commonroom.engines import delta
from commonroom.exchange import Letter
from commonroom.settings import Settings
from commonroom.warehouse import checks, heads, tables
from tests.unit.warehouse.house import REGISTERS, House, enrolment, mark, upn

A, B = "990001", "990002"


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        yield await House(connection, settings, [A, B]).open()


async def stored(house: House, entity: str) -> list[dict[str, Any]]:
    """Every row of the head, in the order in which it was said."""
    head = await heads.newest(house.connection)
    if entity not in head.tables:
        return []
    table = tables.of(entity)
    files = [file.path for file in delta.files_of(table.folder(house.settings), head.tables[entity])]
    columns = [column.name for column in table.columns]
    return house.duck.query(f"{table.relation(files, columns)} ORDER BY known_position, version, weight")


async def findings(house: House) -> list[dict[str, Any]]:
    rows = await house.connection.fetch("SELECT * FROM warehouse.finding ORDER BY position, ordinal")
    return [dict(row) for row in rows]


async def test_a_fact_knows_its_message_its_sender_our_key_of_the_pupil_and_when_it_was_known(
    house: House,
) -> None:
    letter = house.letter(
        A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "/")], accepted_at="2026-09-07T09:30+01:00"
    )
    outcome = await house.load(letter)
    (row,) = await stored(house, "attendance_mark")
    assert (row["school"], row["upn"], row["date"], row["session"], row["code"]) == (
        A,
        upn(1),
        date(2026, 9, 7),
        "AM",
        "/",
    )
    assert (row["valid_from"], row["weight"], row["version"]) == (date(2026, 9, 7), 1, 1)
    assert row["known_from"].isoformat() == "2026-09-07T08:30:00"
    assert (row["message"], row["sender"], row["known_position"]) == (letter.envelope.id, house.parties[A], 1)
    assert row["learner_id"] == str(await house.connection.fetchval("SELECT id FROM learners.learner"))
    assert (outcome.rows, outcome.loaded, outcome.refused) == ({"attendance_mark": 1}, [letter], [])


async def test_one_pupil_has_one_key_of_ours_at_every_school_and_in_every_table(house: House) -> None:
    await house.load(house.letter(A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "/")]))
    await house.load(
        house.letter(B, "enrolment", [enrolment(B, 1, "2026-09-08"), enrolment(B, 2, "2026-09-08")])
    )
    marks, stays = await stored(house, "attendance_mark"), await stored(house, "enrolment")
    assert marks[0]["learner_id"] == stays[0]["learner_id"] != stays[1]["learner_id"]


async def test_the_same_letter_again_leaves_no_trace(house: House) -> None:
    letter = house.letter(
        A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "/"), mark(A, 1, "2026-09-07", "PM", "?")]
    )
    await house.load(letter)
    before = (
        await stored(house, "attendance_mark"),
        await findings(house),
        await heads.newest(house.connection),
    )
    again = await house.load(letter, letter)
    after = (
        await stored(house, "attendance_mark"),
        await findings(house),
        await heads.newest(house.connection),
    )
    assert after == before
    assert again.loaded == [letter, letter]


async def test_a_correction_and_a_withdrawal_in_later_batches_find_what_they_change(house: House) -> None:
    await house.load(
        house.letter(
            A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "N"), mark(A, 2, "2026-09-07", "AM", "/")]
        )
    )
    await house.load(house.letter(A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "I", 2)]))
    gone = {
        "school": A,
        "upn": upn(2),
        "date": "2026-09-07",
        "session": "AM",
        "valid_from": "2026-09-07",
        "version": 2,
    }
    await house.load(house.letter(A, "attendance_mark", withdrawn=[gone]))
    rows = [(row["code"], row["weight"], row["version"]) for row in await stored(house, "attendance_mark")]
    assert sorted(rows) == [("/", -1, 2), ("/", 1, 1), ("I", 1, 2), ("N", -1, 2), ("N", 1, 1)]


async def test_good_records_are_loaded_beside_bad_ones_and_each_bad_one_is_told_of(house: House) -> None:
    bad = mark(A, 1, "2026-09-07", "PM", "%%")
    no_version = {**mark(A, 2, "2026-09-07", "PM", "/"), "version": None}
    outcome = await house.load(
        house.letter(A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "/"), bad, no_version])
    )
    assert [row["session"] for row in await stored(house, "attendance_mark")] == ["AM"]
    told = await findings(house)
    assert [(f["rule"], f["record"], f["item"], f["refused"]) for f in told] == [
        ("standard-code", 1, "code", False),
        ("fact.version", None, "version", False),
    ]
    assert outcome.findings == 2
    assert not any(upn(1) in f["message_text"] + f["remedy"] for f in told)


async def refusal(house: House, letter: Letter) -> str:
    outcome = await house.load(letter)
    assert (outcome.loaded, outcome.rows) == ([], {})
    ((refused, reason),) = outcome.refused
    assert refused == letter
    return reason


async def test_a_letter_nothing_of_which_can_be_used_is_refused_and_says_why_without_naming_a_pupil(
    house: House,
) -> None:
    reason = await refusal(house, house.letter(A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "%%")]))
    assert "not a code of the list attendance" in reason
    assert upn(1) not in reason
    assert [f["refused"] for f in await findings(house)] == [True]


async def test_a_body_that_is_no_record_set_is_refused(house: House) -> None:
    letter = msgspec.structs.replace(house.letter(A, "attendance_mark"), body=b"\x00{")
    assert "not well-formed JSON" in await refusal(house, letter)


async def test_a_school_may_not_speak_for_another_even_beside_its_own(house: House) -> None:
    records = [mark(A, 1, "2026-09-07", "AM", "/"), mark(B, 1, "2026-09-07", "AM", "/")]
    assert "does not speak for" in await refusal(house, house.letter(A, "attendance_mark", records))


async def test_a_school_that_is_not_in_the_register_is_refused(house: House) -> None:
    letter = house.letter(A, "attendance_mark", [mark("990099", 1, "2026-09-07", "AM", "/")])
    assert "not in the register" in await refusal(house, letter)


async def test_only_the_register_speaks_for_organisations(house: House) -> None:
    record = {
        "organisation": house.parties[A],
        "kind": "school",
        "name": "Ours",
        "valid_from": "2026-09-01",
        "version": 9,
    }
    assert "Only the register" in await refusal(house, house.letter(A, "organisation", [record]))
    outcome = await house.load(house.letter(REGISTERS, "organisation", [record]))
    assert outcome.rows == {"organisation": 1}


async def test_a_message_of_a_type_the_standard_has_not_or_with_other_entities_is_refused(
    house: House,
) -> None:
    letter = house.letter(A, "enrolment", [enrolment(A, 1, "2026-09-01")])
    unknown = msgspec.structs.replace(letter.envelope, type="commonroom.dinner.changed")
    other = msgspec.structs.replace(letter.envelope, type="commonroom.attendance-mark.changed")
    assert "no message type" in await refusal(house, msgspec.structs.replace(letter, envelope=unknown))
    assert "nothing else" in await refusal(house, msgspec.structs.replace(letter, envelope=other))


async def test_one_refused_letter_does_not_touch_the_others_of_its_batch(house: House) -> None:
    good = house.letter(A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "/")])
    bad = house.letter(A, "attendance_mark", [mark(B, 1, "2026-09-07", "AM", "/")])
    outcome = await house.load(bad, good)
    assert (outcome.loaded, [letter for letter, _ in outcome.refused]) == ([good], [bad])


async def test_values_no_database_can_hold_end_as_findings_and_not_as_a_crash(house: House) -> None:
    record = {**mark(A, 1, "2026-09-07", "AM", "a\x00b\x1f"), "extra\x00": "x", "version": 2**70}
    assert "Nothing in it can be used" in await refusal(house, house.letter(A, "attendance_mark", [record]))


async def test_heads_name_all_tables_or_none_and_move_only_forward(house: House) -> None:
    first = await house.load(
        house.letter(A, "attendance_mark", [mark(A, 1, "2026-09-07", "AM", "/")]),
        house.letter(A, "enrolment", [enrolment(A, 1, "2026-09-01")]),
    )
    second = await house.load(house.letter(A, "attendance_mark", [mark(A, 1, "2026-09-07", "PM", "\\")]))
    assert set(first.head.tables) == {"attendance_mark", "enrolment"}
    assert second.head.number == first.head.number + 1
    assert second.head.tables["enrolment"] == first.head.tables["enrolment"]
    assert second.head.tables["attendance_mark"] > first.head.tables["attendance_mark"]
    assert (await heads.newest(house.connection)).committed_at is not None


async def test_a_letter_of_an_older_version_is_loaded_as_the_present_one(house: House) -> None:
    aim = {
        "school": A, "upn": upn(1), "qualification": "60146084", "start_date": "2025-09-03", "traineeship": False,
        "version": 1,
    }  # fmt: skip
    outcome = await house.load(house.letter(A, "learning_aim", [aim], standard="2025.1"))
    assert outcome.rows == {"learning_aim": 1}
    (row,) = await stored(house, "learning_aim")
    assert (row["qualification"], "traineeship" in row) == ("60146084", False)
    (told,) = await findings(house)
    assert (told["rule"], told["severity"], told["item"]) == ("standard-upgraded", "query", "traineeship")
    assert "knows the versions" in await refusal(house, house.letter(A, "learner", [], standard="2099.1"))


async def test_who_holds_a_record_speaks_for_it_whatever_the_entity(house: House) -> None:
    child = {"la": "997", "child": "DF1", "valid_from": "2025-09-01", "version": 1}
    assert "authority with number 997 is not in the register" in await refusal(
        house, house.letter(A, "child", [child])
    )
    person = {"employer": B, "staff": "7", "valid_from": "2025-09-01", "version": 1}
    assert "does not speak for the school" in await refusal(house, house.letter(A, "staff_member", [person]))
    outcome = await house.load(house.letter(B, "staff_member", [person]))
    assert outcome.rows == {"staff_member": 1}
    # An open code list lets any text through as a query; it must not let a record through without its holder.
    for odd in ("Westmarch", "9" * 50, "99\u00e9", "no one\n"):
        said = await refusal(house, house.letter(A, "child", [{**child, "la": odd}]))
        assert "not in the register" in said
        assert odd not in said


async def test_a_child_without_a_upn_is_loaded_without_our_key_of_a_learner(
    pool: Any, settings: Settings
) -> None:
    placed = {"la": "997", "entry_date": "2026-01-05", "valid_from": "2026-01-05", "version": 1}
    async with pool.acquire() as connection:
        house = await House(connection, settings, [A]).open("997")
        outcome = await house.load(
            house.letter(
                "997", "la_placement", [{**placed, "child": "1"}, {**placed, "child": "2", "upn": upn(2)}]
            ),
            house.letter("997", "la_placement", withdrawn=[{**placed, "child": "3"}]),
        )
        assert (outcome.findings, outcome.rows) == (0, {"la_placement": 3})
        rows = await stored(house, "la_placement")
        keys = {row["child"]: row["learner_id"] for row in rows}
        assert keys["2"]
        assert (keys["1"], keys["3"]) == (None, None)
        (checked,) = checks.verify(settings, house.duck, await heads.newest(connection))
        assert checked.faults == []
