"""Which identifiers are right: a table, and for every check character exactly what it catches."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonroom.standard import identifiers

OWN = Path(__file__).parent / "identifiers.csv"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


digits = st.sampled_from("0123456789")
upns = st.builds(
    identifiers.make_upn,
    la=st.integers(0, 999),
    establishment=st.integers(0, 9999),
    year=st.integers(2000, 2099),
    serial=st.integers(0, 999),
)
temporary_upns = st.builds(
    identifiers.make_upn,
    la=st.integers(0, 999),
    establishment=st.integers(0, 9999),
    year=st.integers(2000, 2099),
    serial=st.integers(0, 99),
    temporary=st.sampled_from(identifiers.UPN_LETTERS),
)
ulns = (
    st.integers(100_000_000, 999_999_999)
    .map(str)
    .filter(identifiers.uln_check_digit)
    .map(lambda stem: f"{stem}{identifiers.uln_check_digit(stem)}")
)
ucis = (
    st.tuples(st.integers(0, 99_999), st.sampled_from("0ABCDEFGHIJKLMNOPQRSTUVWXYZ"), st.integers(0, 999_999))
    .map(lambda parts: f"{parts[0]:05}{parts[1]}{parts[2]:06}")
    .map(lambda body: body + identifiers.uci_check_letter(body))
)


def with_character(text: str, place: int, character: str) -> str:
    return text[:place] + character + text[place + 1 :]


def swapped(text: str, one: int, other: int) -> str:
    return with_character(with_character(text, one, text[other]), other, text[one])


@pytest.mark.parametrize("row", rows_of(OWN), ids=lambda row: f"{row['identifier']}-{row['value']}")
def test_each_identifier_of_the_table_has_its_verdict(row: dict[str, str]) -> None:
    assert identifiers.check(row["identifier"], row["value"]).verdict == row["verdict"]


def test_every_published_example_has_its_verdict(shared: Path) -> None:
    rows = rows_of(shared / "standards" / "files" / "identifiers" / "examples.csv")
    wrong = [
        row for row in rows if identifiers.check(row["identifier"], row["value"]).verdict != row["verdict"]
    ]
    assert len(rows) == 108
    assert wrong == []


@pytest.mark.parametrize(
    ("value", "strict", "ilr", "teaching_record"),
    [
        ("AB123456C", True, True, True),
        ("AB123456", False, True, False),
        ("QQ123456C", False, False, True),
        ("AB123456M", False, False, True),
        ("ab 12 34 56 c", False, False, True),
        ("12A34567", False, False, True),
        ("GB123456A", False, True, False),
        ("AB12345C", False, False, False),
    ],
)
def test_the_three_readings_of_a_national_insurance_number_differ_as_documented(
    value: str, strict: bool, ilr: bool, teaching_record: bool
) -> None:
    readings = ("strict", "ilr", "teaching-record")
    found = [identifiers.nino_fits(value, reading) for reading in readings]
    assert found == [strict, ilr, teaching_record]


@given(upns, st.integers(1, 12), digits)
def test_a_upn_with_one_wrong_digit_is_caught(upn: str, place: int, digit: str) -> None:
    mistyped = with_character(upn, place, digit)
    expected = "permanent" if mistyped == upn else "bad-check-letter"
    assert identifiers.check("UPN", mistyped).verdict == expected


@given(upns, st.integers(1, 12), st.integers(1, 12))
def test_a_upn_with_any_two_unequal_digits_swapped_is_caught(upn: str, one: int, other: int) -> None:
    mistyped = swapped(upn, one, other)
    expected = "permanent" if mistyped == upn else "bad-check-letter"
    assert identifiers.check("UPN", mistyped).verdict == expected


@given(st.one_of(upns, temporary_upns), st.sampled_from(identifiers.UPN_LETTERS))
def test_a_upn_has_exactly_one_check_letter(upn: str, letter: str) -> None:
    assert identifiers.is_valid("UPN", letter + upn[1:]) == (letter == upn[0])


@given(temporary_upns, st.integers(1, 11), digits)
def test_a_temporary_upn_with_one_wrong_digit_is_caught(upn: str, place: int, digit: str) -> None:
    mistyped = with_character(upn, place, digit)
    expected = "temporary" if mistyped == upn else "bad-check-letter"
    assert identifiers.check("UPN", mistyped).verdict == expected


@given(temporary_upns, st.sampled_from(identifiers.UPN_LETTERS + "0123456789"))
def test_a_wrong_last_character_of_a_temporary_upn_is_missed_only_for_the_digit_of_equal_value(
    upn: str, last: str
) -> None:
    letters = identifiers.UPN_LETTERS
    same_value = last == upn[-1] or (last.isdigit() and letters[int(last)] == upn[-1])
    assert identifiers.is_valid("UPN", upn[:-1] + last) == same_value


@given(ulns, st.integers(0, 9), digits)
def test_a_uln_with_one_wrong_digit_is_caught_unless_it_is_the_placeholder(
    uln: str, place: int, digit: str
) -> None:
    mistyped = with_character(uln, place, digit)
    expected = mistyped in (uln, identifiers.ULN_PLACEHOLDER)
    assert identifiers.is_valid("ULN", mistyped) == expected


@given(ulns, st.integers(0, 9), st.integers(0, 9))
def test_a_uln_with_any_two_unequal_digits_swapped_is_caught(uln: str, one: int, other: int) -> None:
    mistyped = swapped(uln, one, other)
    assert identifiers.is_valid("ULN", mistyped) == (mistyped == uln)


@given(ucis, st.sampled_from([0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]), digits)
def test_a_uci_with_one_wrong_digit_is_caught(uci: str, place: int, digit: str) -> None:
    mistyped = with_character(uci, place, digit)
    assert identifiers.is_valid("UCI", mistyped) == (mistyped == uci)


@pytest.mark.parametrize(("one", "other"), [("J", "Q"), ("Q", "X"), ("K", "R"), ("P", "W"), ("L", "Z")])
def test_uci_board_letters_of_equal_value_stand_in_for_each_other_unnoticed(one: str, other: str) -> None:
    bodies = [f"12345{letter}150042" for letter in (one, other)]
    assert identifiers.uci_check_letter(bodies[0]) == identifiers.uci_check_letter(bodies[1])


@given(st.sampled_from(identifiers.KINDS), st.text(max_size=20))
def test_any_text_gets_a_verdict_and_the_reason_never_repeats_it(kind: str, text: str) -> None:
    verdict = identifiers.check(kind, text)
    assert verdict.value == text
    assert len(text) < 8 or text not in verdict.reason


@pytest.mark.parametrize(
    "parts",
    [
        {"la": 823, "establishment": 4321, "year": 2024, "serial": 1000},
        {"la": 823, "establishment": 4321, "year": 2024, "serial": 100, "temporary": "A"},
        {"la": 823, "establishment": 4321, "year": 2024, "serial": 1, "temporary": "O"},
        {"la": 8234, "establishment": 4321, "year": 2024, "serial": 1},
        {"la": 823, "establishment": 43210, "year": 2024, "serial": 1},
    ],
)
def test_a_upn_is_not_made_from_parts_that_do_not_fit(parts: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        identifiers.make_upn(**parts)


def test_identifiers_are_stored_in_one_form() -> None:
    assert identifiers.canonical("LAESTAB", "823/4321") == "8234321"
    assert identifiers.canonical("TRN", "RP12/34567") == "1234567"
    assert identifiers.canonical("UPN", "C823432117001") == "C823432117001"
