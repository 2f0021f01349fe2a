"""Whole files: which are refused and in which words, and that one bad row never costs a good one."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonroom.problems import Problem
from commonroom.registers.providers.files import Opened, open_file
from commonroom.registers.providers.files import rows as rows_of
from commonroom.registers.providers.parse import Parsed, date_in_name, parse, read_file
from tests.unit.registers import extracts
from tests.unit.registers.extracts import COLUMNS, row


def parsed(content: str | bytes) -> Parsed:
    body = content.encode() if isinstance(content, str) else content
    return parse(Opened("file.csv", b"", "utf-8-sig", body, None))


def without(column: str) -> bytes:
    return extracts.text([row()], tuple(name for name in COLUMNS if name != column)).encode()


GOOD_TEXT = extracts.text([row()])

REFUSED = [
    ("empty", b"", "CR-080", "empty"),
    ("only line ends", b"\r\n\r\n", "CR-080", "empty"),
    ("truncated gzip", gzip.compress(GOOD_TEXT.encode() * 50)[:-20], "CR-080", "too early"),
    ("damaged gzip", b"\x1f\x8b" + b"\x00" * 40, "CR-080", "damaged"),
    ("zip or workbook", b"PK\x03\x04" + b"x" * 40, "CR-080", "zip archive"),
    ("UTF-16", GOOD_TEXT.encode("utf-16"), "CR-080", "UTF-16"),
    ("binary", b"\x89PNG\x00\x01\x02\n" + b"x" * 40, "CR-080", "NUL"),
    ("neither encoding", GOOD_TEXT.encode() + b'"\x81\x8d"', "CR-080", "line 3"),
    ("not a CSV", b"<html><body>404 Not found</body></html>", "CR-081", "header is none of"),
    ("semicolons", GOOD_TEXT.replace(",", ";").encode(), "CR-081", "header is none of"),
    ("another CSV", b"name,age\nA,1\n", "CR-081", "'name', 'age'"),
    ("no URN column", without("URN"), "CR-082", "lacks the column URN"),
    ("no name column", without("EstablishmentName"), "CR-082", "lacks the column EstablishmentName"),
    (
        "a column twice",
        extracts.text([row()], (*COLUMNS, "Town")).encode(),
        "CR-082",
        "column Town stands there",
    ),
    (
        "links without LinkURN",
        b"URN,LinkName,LinkType\n100000,A,Successor\n",
        "CR-082",
        "lacks the column LinkURN",
    ),
    (
        "groups without UID",
        b"Group Name,Group Type,Group Status\nA,B,Open\n",
        "CR-082",
        "lacks the column Group UID",
    ),
]


@pytest.mark.parametrize(
    ("content", "code", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_file_of_which_nothing_can_be_trusted_is_refused_by_name(
    tmp_path: Path, content: bytes, code: str, words: str
) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(Problem) as caught:
        read_file(path)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert "file.csv" in caught.value.where
    assert caught.value.remedy


def test_a_missing_file_and_a_folder_are_problems_not_crashes(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(Problem, match="CR-080"):
            open_file(path)


@pytest.mark.parametrize("packed", [True, False])
def test_a_file_over_the_limit_is_refused_before_it_fills_the_memory(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "bomb.csv.gz"
    content = b"0" * 4_000_000
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(Problem, match="more than 1,000,000 bytes"):
        open_file(path, limit=1_000_000)


def test_an_endless_line_in_the_rows_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(GOOD_TEXT.encode() + b"x" * 1_100_000)
    with pytest.raises(Problem, match="line 3: the line is longer"):
        read_file(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_a_name_with_accents_is_the_same_in_every_encoding_and_in_gzip(tmp_path: Path, encoding: str) -> None:
    content = extracts.text([row(EstablishmentName="Lycée Français – École")]).encode(encoding)
    for path, body in ((tmp_path / "a.csv", content), (tmp_path / "a.csv.gz", gzip.compress(content))):
        path.write_bytes(body)
        found = read_file(path)
        assert found.rows[0].facts["name"] == "Lycée Français – École"
        assert found.issues == ()
        assert found.encoding == ("cp1252" if encoding == "cp1252" else "utf-8-sig")


def test_a_utf8_file_with_one_broken_byte_says_on_which_line_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    good = extracts.text([row(EstablishmentName="École"), row(990002)]).encode()
    path.write_bytes(good.replace(b"Saltmere", b"Salt\xe9mere", 2).replace(b"Salt\xe9mere", b"Saltmere", 1))
    found = read_file(path)
    assert len(found.rows) == 2
    assert [(issue.line, issue.effect) for issue in found.issues] == [(3, "note")]
    assert "accents may be wrong" in found.issues[0].reason


ROW_FAULTS = [
    ("bad URN", {"URN": "99X001"}, "row refused", "URN", "is not a URN"),
    ("no URN", {"URN": ""}, "row refused", "URN", "missing"),
    ("no name", {"EstablishmentName": " "}, "row refused", "EstablishmentName", "missing"),
    ("bad authority", {"LA (code)": "9970"}, "row refused", "LA (code)", "local authority code"),
    ("bad date", {"OpenDate": "31-02-1998"}, "value left blank", "OpenDate", "is not a date"),
    ("bad count", {"NumberOfPupils": "many"}, "value left blank", "NumberOfPupils", "whole number"),
    ("NUL bytes", {"Town": "Salt\x00mere"}, "value left blank", "Town", "control characters"),
    ("bad postcode", {"Postcode": "Saltmere"}, "value left blank", "Postcode", "is not a postcode"),
    ("unknown region", {"GOR (name)": "Ruritania"}, "note", "GOR (name)", "not a region"),
    (
        "unknown type",
        {"TypeOfEstablishment (name)": "Hedge school"},
        "note",
        "TypeOfEstablishment (name)",
        "not an",
    ),
    ("ages crossed", {"StatutoryLowAge": "11"}, "note", "StatutoryLowAge", "above the highest"),
]


@pytest.mark.parametrize(
    ("changes", "effect", "item", "words"),
    [case[1:] for case in ROW_FAULTS],
    ids=[case[0] for case in ROW_FAULTS],
)
def test_a_fault_in_one_row_is_listed_and_the_rows_around_it_are_taken(
    changes: dict[str, str], effect: str, item: str, words: str
) -> None:
    found = parsed(extracts.text([row(990001), row(990002, **changes), row(990003)]))
    (issue,) = found.issues
    assert (issue.line, issue.effect, issue.item) == (3, effect, item)
    assert words in issue.reason
    assert issue.remedy
    taken = [record.facts["urn"] for record in found.rows]
    assert taken == (["990001", "990003"] if effect == "row refused" else ["990001", "990002", "990003"])
    assert found.records == 3


def test_a_bad_value_is_left_blank_in_its_row() -> None:
    found = parsed(extracts.text([row(NumberOfPupils="many")]))
    assert "pupils" not in found.rows[0].facts
    assert "pupils" in found.items
    assert found.rows[0].facts["town"] == "Saltmere"


def test_an_unknown_column_is_named_once_and_ignored() -> None:
    columns = (*COLUMNS, "Favourite colour")
    found = parsed(extracts.text([{**row(n), "Favourite colour": "blue"} for n in (990001, 990002)], columns))
    assert [(issue.line, issue.item, issue.effect) for issue in found.issues] == [
        (1, "Favourite colour", "note")
    ]
    assert len(found.rows) == 2
    assert "blue" not in str(found.rows)


def test_people_named_in_the_extract_are_never_kept() -> None:
    columns = (*COLUMNS, "HeadTitle (name)", "HeadFirstName", "HeadLastName", "TelephoneNum")
    head = {"HeadFirstName": "Ann", "HeadLastName": "Quillfeather\x00", "TelephoneNum": "01111111111"}
    found = parsed(extracts.text([{**row(), **head}], columns))
    assert "Quillfeather" not in str(found)
    assert "01111111111" not in str(found)
    assert found.issues == ()


def test_short_and_long_rows_are_refused_with_both_widths() -> None:
    lines = extracts.text([row(990001), row(990002), row(990003), row(990004)]).splitlines()
    lines[2] = lines[2].rsplit(",", 2)[0]
    lines[3] += ",surplus"
    found = parsed("\n".join(lines))
    assert [record.facts["urn"] for record in found.rows] == ["990001", "990004"]
    width = len(COLUMNS)
    assert [
        (issue.line, f"{n} fields" in issue.reason)
        for issue, n in zip(found.issues, (width - 2, width + 1), strict=True)
    ] == [
        (3, True),
        (4, True),
    ]


def test_surplus_fields_belong_to_the_linked_establishments_where_that_is_the_last_column() -> None:
    columns = (*COLUMNS, "Linked establishments")
    lines = extracts.text([row(990001), row(990002)], columns).splitlines()
    lines[1] += "Predecessor 115850 A, Predecessor 115851 B, Successor 115852 C"
    found = parsed("\n".join(lines))
    assert found.issues == ()
    assert found.rows[0].facts["linked_establishments"] == (
        "Predecessor 115850 A, Predecessor 115851 B, Successor 115852 C"
    )


def test_a_quote_that_is_never_closed_costs_its_own_row_only() -> None:
    lines = extracts.text([row(990000 + n) for n in range(1, 60)]).splitlines()
    lines[1] = lines[1].replace("Fernside Infant School", '"Fernside Infant School')
    found = parsed("\n".join(lines))
    assert [(issue.line, issue.effect) for issue in found.issues] == [(2, "row refused")]
    assert "never closed" in found.issues[0].reason
    assert len(found.rows) == 58


def test_a_quoted_address_may_run_over_lines_and_line_numbers_stay_right() -> None:
    found = parsed(extracts.text([row(Town="Salt\nmere, near\nWestmarch"), row(990002, URN="bad")]))
    assert found.rows[0].facts["town"] == "Salt mere, near Westmarch"
    assert found.issues[0].line == 5


def test_quotes_inside_a_name_are_kept() -> None:
    text = GOOD_TEXT.replace("Fernside Infant School", 'The "Fernside" Infant School')
    assert parsed(text).rows[0].facts["name"] == 'The "Fernside" Infant School'


def test_the_first_of_two_rows_with_one_urn_stands_and_the_other_is_listed() -> None:
    found = parsed(
        extracts.text([row(EstablishmentName="First"), row(990002), row(EstablishmentName="Second")])
    )
    assert [record.facts["name"] for record in found.rows] == ["First", "Fernside Infant School"]
    assert [(issue.line, issue.record, issue.effect) for issue in found.issues] == [
        (4, "990001", "row refused")
    ]
    assert "line 2" in found.issues[0].reason


def test_empty_rows_are_told_in_one_line() -> None:
    found = parsed(GOOD_TEXT + ("," * (len(COLUMNS) - 1) + "\r\n") * 5)
    assert [(issue.line, issue.effect) for issue in found.issues] == [(3, "note")]
    assert "5 empty rows" in found.issues[0].reason
    assert (found.records, len(found.rows)) == (1, 1)


def test_columns_are_known_by_name_whatever_their_order_case_and_punctuation() -> None:
    text = GOOD_TEXT.replace("LA (code)", "la__code_").replace("URN", " urn ")
    assert parsed(text).rows == parsed(GOOD_TEXT).rows


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("edubasealldata20250422.csv", date(2025, 4, 22)),
        ("links_edubasealldata20250422.csv.gz", date(2025, 4, 22)),
        ("gias_open_mainstream_20220706.csv.gz", date(2022, 7, 6)),
        ("extract_20229999.csv", None),
        ("gias_groups_2026.csv.gz", None),
        ("schools.csv", None),
    ],
)
def test_the_day_of_an_extract_is_read_from_its_name(name: str, day: date | None) -> None:
    assert date_in_name(name) == day


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 3))
def test_whatever_stands_in_the_lines_reading_goes_on_to_the_last_row(rubbish: bytes, place: int) -> None:
    lines = [line.encode() for line in extracts.text([row(990001), row(990002), row(990003)]).splitlines()]
    middle = rubbish.decode("cp1252", "ignore").encode("cp1252").replace(b"\n", b" ").replace(b"\r", b" ")
    lines.insert(1 + place, middle)
    found = parse(Opened("file.csv", b"", "cp1252", b"\n".join(lines), None))
    urns = {str(record.facts["urn"]) for record in found.rows}
    # A quote that the rubbish opens may take the row on which it is closed; every other row is there.
    assert len(urns & {"990001", "990002", "990003"}) >= (3 if b'"' not in middle else 2)


@given(
    st.lists(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12),
            min_size=2,
            max_size=5,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_every_csv_that_python_writes_is_read_back_field_for_field(table: list[list[str]]) -> None:
    import csv
    import io

    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(table)
    opened = Opened("file.csv", b"", "utf-8", out.getvalue().encode(), None)
    assert [list(record.fields) for record in rows_of(opened)] == table
