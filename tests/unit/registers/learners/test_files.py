"""Batch files: what is read from them, what is refused and with which words, and the result file."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from commonroom.problems import Problem
from commonroom.registers.learners import files
from commonroom.registers.learners.files import items, lrs, opening

TODAY = date(2026, 9, 1)
NAME = "LRB_10037611_010920261200.CSV"
GOOD = {
    "MISIdentifier": "S1",
    "GivenName": "Amara",
    "FamilyName": "Ashdown",
    "DateOfBirth": "2009-03-14",
    "Gender": "2",
    "LastKnownPostCode": "LS1 4AP",
    "VerificationType": "1",
    "AbilityToShare": "1",
}


def csv_of(*records: dict[str, str], count: str | None = None, header: bool = True) -> bytes:
    """A batch file as the guide shows it: the file's heading and values, then the records."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    if header:
        writer.writerow(lrs.HEADER)
        writer.writerow(["2A", NAME, "10037611", count or str(len(records))])
    names = items.lrs_items().names
    writer.writerow(names)
    writer.writerows([record.get(name, "") for name in names] for record in records)
    return out.getvalue().encode()


def read(*records: dict[str, str]) -> files.BatchFile:
    return files.read_content(csv_of(*records), NAME, TODAY)


def fault_of(**changes: str) -> files.Fault:
    (entry,) = read(GOOD | changes).entries
    assert entry.fault is not None
    return entry.fault


def test_a_good_record() -> None:
    batch = read(GOOD | {"ULN": "9999999999", "Notes": "seen", "Title": "Ms"})
    (entry,) = batch.good
    assert (batch.ukprn, batch.form, batch.remarks) == ("10037611", "csv", ())
    assert (entry.position, entry.line, entry.mis_identifier) == (1, 4, "S1")
    assert entry.learner is not None
    details = entry.learner.details
    assert (details.given_name, details.family_name, details.postcode) == ("Amara", "Ashdown", "LS1 4AP")
    assert (entry.learner.uln, entry.learner.notes, entry.learner.others["Title"]) == (None, "seen", "Ms")


@pytest.mark.parametrize(
    ("changes", "code", "item"),
    [
        ({"GivenName": "", "FamilyName": ""}, "RC006", "FamilyName"),
        ({"DateOfBirth": ""}, "RC006", "DateOfBirth"),
        ({"Gender": ""}, "RC006", "Gender"),
        ({"VerificationType": ""}, "RC006", "VerificationType"),
        ({"AbilityToShare": ""}, "RC006", "AbilityToShare"),
        ({"Gender": "F"}, "RC011", "Gender"),
        ({"DateOfBirth": "14/03/2009"}, "RC011", "DateOfBirth"),
        ({"DateOfBirth": "2009-02-30"}, "RC011", "DateOfBirth"),
        ({"GivenName": "A" * 36}, "RC011", "GivenName"),
        ({"FamilyName": "1234"}, "RC011", "FamilyName"),
        ({"LastKnownPostCode": "LEEDS"}, "RC011", "LastKnownPostCode"),
        ({"EmailAddress": "nobody"}, "RC011", "EmailAddress"),
        ({"ULN": "1026893095"}, "RC011", "ULN"),
        ({"SchoolAtAge16": "S" * 255}, "RC011", "SchoolAtAge16"),
        ({"Notes": "n" * 4001}, "RC011", "Notes"),
        ({"DateOfBirth": "2013-09-02"}, "RC013", "DateOfBirth"),
        ({"DateOfBirth": "1915-08-31"}, "RC013", "DateOfBirth"),
    ],
)
def test_bad_records_say_why(changes: dict[str, str], code: str, item: str) -> None:
    fault = fault_of(**changes)
    assert (fault.code, fault.item) == (code, item)
    # A reason names the item and never repeats what was written.
    assert all(value not in fault.reason for value in changes.values() if value)


@pytest.mark.parametrize(
    "changes",
    [
        {"LastKnownPostCode": ""},
        {"LastKnownPostCode": "ZZ99 3VZ"},
        {"LastKnownPostCode": "BFPO 801"},
        {"LastKnownPostCode": "ls14ap"},
        {"DateOfBirth": "2009-03"},
        {"DateOfBirth": "2009"},
        {"DateOfBirth": "2013-09-01"},
        {"DateOfBirth": "1915-09-02"},
        {"AbilityToShare": "-1"},
        {"FamilyName": "Ó Séaghdha"},
    ],
)
def test_unusual_people_are_taken(changes: dict[str, str]) -> None:
    assert len(read(GOOD | changes).good) == 1


@pytest.mark.parametrize(
    "names", [("Ganesh", ""), ("", "Ganesh"), ("Ganesh", "Ganesh"), ("GANESH", "Ganesh")]
)
def test_one_name_is_the_family_name(names: tuple[str, str]) -> None:
    (entry,) = read(GOOD | {"GivenName": names[0], "FamilyName": names[1]}).good
    assert entry.learner is not None
    assert entry.learner.details.given_name == ""
    assert entry.learner.details.family_name.casefold() == "ganesh"


def test_a_bad_record_stops_no_good_one() -> None:
    batch = read(GOOD, GOOD | {"Gender": "X"}, GOOD | {"MISIdentifier": "S3"})
    assert [entry.position for entry in batch.good] == [1, 3]
    assert [(entry.position, entry.line) for entry in batch.bad] == [(2, 5)]


def test_a_row_with_too_many_values_is_refused_alone() -> None:
    broken = csv_of(GOOD, GOOD).decode().splitlines()
    broken[3] += ",surplus"
    batch = files.read_content("\r\n".join(broken).encode(), NAME, TODAY)
    assert [entry.position for entry in batch.good] == [2]
    assert batch.bad[0].fault is not None
    assert batch.bad[0].fault.code == "RC011"


def test_one_table_with_the_heading_of_the_file_before_the_first_record() -> None:
    names = items.lrs_items().names
    row = [GOOD.get(name, "") for name in names]
    text = "\n".join(
        (
            ",".join(("File Version", "File Name", "UKPRN", "Learner Record Count", *names)),
            ",".join(("2A", NAME, "10037611", "2", *row)),
            ",".join(("", "", "", "", *row)),
        )
    )
    batch = files.read_content(text.encode(), NAME, TODAY)
    assert (batch.ukprn, len(batch.good)) == ("10037611", 2)


def test_without_the_heading_of_the_file() -> None:
    batch = files.read_content(csv_of(GOOD, header=False), "learners.csv", TODAY)
    assert (len(batch.good), batch.ukprn, len(batch.remarks)) == (1, None, 1)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "CR-240"),
        (csv_of(GOOD, count="2"), "CR-240"),
        (csv_of(GOOD).replace(b"GivenName,", b"givenname,"), "CR-241"),
        (csv_of(GOOD).replace(b"Notes", b"ULN"), "CR-241"),
        (b"name,born\nA,B\n", "CR-241"),
        (b"<Other/>", "CR-241"),
        (b"<Batch><Learner>", "CR-240"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a><Learner/></a>", "CR-240"),
        (b"<Message><Header><Collection>CIN</Collection><Year>2026</Year></Header></Message>", "CR-241"),
        (csv_of(GOOD | {"Notes": '"' * 20_000}), "CR-240"),
    ],
)
def test_whole_files_that_cannot_be_used(content: bytes, code: str) -> None:
    with pytest.raises(Problem) as raised:
        files.read_content(content, NAME, TODAY)
    assert raised.value.code == code


def test_a_wrong_count_has_the_answer_of_the_lrs() -> None:
    with pytest.raises(Problem) as raised:
        files.read_content(csv_of(GOOD, count="7"), NAME, TODAY)
    assert raised.value.extra["answer"] == "WSRC0017"


def test_too_many_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lrs, "MAX_RECORDS", 2)
    with pytest.raises(Problem, match="CR-242"):
        read(GOOD, GOOD, GOOD)


def test_too_many_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(opening, "MAX_BYTES", 100)
    (tmp_path / NAME).write_bytes(csv_of(GOOD))
    with pytest.raises(Problem, match="CR-242"):
        files.read(tmp_path / NAME, TODAY)


def test_windows_encoding() -> None:
    content = csv_of(GOOD | {"GivenName": "Zoë"}).decode().encode("cp1252")
    (entry,) = files.read_content(content, NAME, TODAY).good
    assert entry.values["GivenName"] == "Zoë"


def xml_of(*records: dict[str, str]) -> bytes:
    root = etree.Element("LearnerRegistrationBatch", nsmap={None: "urn:example"})
    for name, value in zip(lrs.HEADER, ("2A", NAME, "10037611", str(len(records))), strict=True):
        etree.SubElement(root, name).text = value
    for record in records:
        learner = etree.SubElement(root, "Learner")
        for name, value in record.items():
            etree.SubElement(learner, name).text = value
    return etree.tostring(root, pretty_print=True)


def test_xml_is_read_like_csv() -> None:
    bad = GOOD | {"Gender": "M"}
    as_xml = files.read_content(xml_of(GOOD, bad, {**GOOD, "Colour": "red"}), NAME, TODAY)
    as_csv = read(GOOD, bad)
    assert (as_xml.form, as_xml.ukprn) == ("xml", "10037611")
    assert as_xml.entries[0].learner == as_csv.entries[0].learner
    assert as_xml.entries[1].fault == as_csv.entries[1].fault
    assert as_xml.entries[2].fault is not None
    assert as_xml.entries[2].fault.code == "RC011"


@pytest.mark.parametrize("form", ["csv", "xml"])
def test_the_result_can_be_read_with_its_own_answers(form: str) -> None:
    content = csv_of(GOOD, GOOD | {"Gender": "M"}) if form == "csv" else xml_of(GOOD, GOOD | {"Gender": "M"})
    batch = files.read_content(content, NAME, TODAY)
    answers = [
        files.Answer("WSRC0005", "1026893096"),
        files.Answer("RC011", "", "Gender is none of 0, 1, 2, 9."),
    ]
    head = files.Head(name=NAME, ukprn="10037611", counts={"NewLearnersCount": 1, "RejectedLearnersCount": 1})
    result = files.write_result(batch.form, head, zip(batch.entries, answers, strict=True))
    if form == "csv":
        table = list(csv.reader(io.StringIO(result.decode())))
        rows = [dict(zip(table[2], row, strict=True)) for row in table[3:]]
        assert table[1][:4] == ["2A", NAME, "10037611", "2"]
    else:
        rows = [
            {child.tag: child.text or "" for child in one} for one in etree.fromstring(result).iter("Learner")
        ]
    assert [(row["ReturnCode"], row.get("ULN", "")) for row in rows] == [
        ("WSRC0005", "1026893096"),
        ("RC011", ""),
    ]
    assert rows[0]["GivenName"] == "Amara"
    assert rows[1]["Reason"].startswith("Gender")


def test_a_result_runs_no_formula() -> None:
    batch = read(GOOD | {"SchoolAtAge16": '=HYPERLINK("x")'})
    head = files.Head(name=NAME, ukprn="", counts={})
    result = files.write_result("csv", head, [(batch.entries[0], files.Answer("WSRC0005"))])
    assert b"'=HYPERLINK" in result


def test_names_of_results() -> None:
    assert files.result_name(NAME, "csv") == "LRB_10037611_010920261200_RESULT.CSV"
    assert files.result_name("../a b.xml", "xml") == "ab_RESULT.XML"


@given(st.dictionaries(st.sampled_from(items.lrs_items().names), st.text(max_size=60)))
def test_no_record_ends_in_anything_but_a_learner_or_a_fault(values: dict[str, str]) -> None:
    judged = files.judge(GOOD | values, TODAY)
    assert isinstance(judged, (files.Learner, files.Fault))


def test_transfer_files_and_censuses(shared: Path) -> None:
    samples = shared / "standards" / "files" / "constructed_samples"
    long_ago = date(2032, 1, 1)
    transfer = files.read(samples / "8234321_CTF_9385200_001.xml", long_ago)
    census = files.read(samples / "school_census_spring_2026.xml", long_ago)
    (pupil,) = transfer.good
    assert pupil.learner is not None
    assert (pupil.learner.details.upn, pupil.learner.uln) == ("C823432117001", "2619730693")
    assert [entry.position for entry in census.good] == [1, 2, 3, 4]
    assert [entry.line for entry in census.entries] == [82, 141, 209, 260]
