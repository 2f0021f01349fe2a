"""What records.yaml may say, what it may not, and the forms it names."""

from __future__ import annotations

from typing import Any

import pytest

from commonroom.collections import record_forms
from commonroom.collections.from_records import from_records
from commonroom.collections.record_forms import FORMS, SPREADS, School, given, to_value
from commonroom.collections.record_map import record_map
from commonroom.collections.to_records import to_records
from commonroom.problems import Problem
from commonroom.standard import Item
from tests.unit.collections.conftest import Clubs

SCHOOL = School("100001", "8234321", "Example School")
LEARNER = "  - {entity: learner, from: Pupil, items: {school: $school, upn: Number, date_of_birth: Born}}\n"


def item(kind: Any, codeset: str | None = None) -> Item:
    return Item(name="x", title="X", description="", type=kind, codeset=codeset)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{entity: lerner, from: Pupil}", "no entity lerner"),
        ("{entity: learner, from: Pupils}", "no module Pupils"),
        ("{entity: learner, from: Pupil, items: {upm: Number}}", "no item upm"),
        ("{entity: learner, from: Pupil, items: {upn: Nummer}}", "reaches Pupil.Nummer"),
        ("{entity: learner, from: Pupil, items: {upn: Club.Kind}}", "reaches Club.Kind"),
        ("{entity: learner, from: Pupil, items: {upn: sum(Number)}}", "no form sum"),
        ("{entity: learner, from: Pupil, items: {upn: '#Club'}}", "Club does not stand above"),
        ("{entity: learner, from: Pupil, where: {Nummer: '1'}}", "no item Nummer"),
        ("{entity: learner, from: Pupil, spread: butter}", "no form butter"),
    ],
)
def test_a_wrong_name_is_refused_with_its_place(clubs: Clubs, line: str, words: str) -> None:
    (clubs.own / "records.yaml").write_text(f"records:\n{LEARNER}  - {line}\n", "utf-8")
    with pytest.raises(Problem) as caught:
        record_map(clubs.load())
    assert caught.value.code == "CR-180"
    assert words in str(caught.value)
    assert "records.yaml, line 3" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("once: {Header: {Nummer: '1'}}", "there is no Header.Nummer"),
        ("once: {Haeder: {}}", "there is no Haeder"),
        ("not_told: [Pupil.Nummer]", "there is no Pupil.Nummer"),
    ],
)
def test_what_stands_once_and_what_is_not_told_is_of_the_collection(
    clubs: Clubs, line: str, words: str
) -> None:
    (clubs.own / "records.yaml").write_text(f"records:\n{LEARNER}{line}\n", "utf-8")
    with pytest.raises(Problem) as caught:
        record_map(clubs.load())
    assert caught.value.code == "CR-180"
    assert words in str(caught.value)


def test_a_row_that_follows_from_what_is_given_is_written_so_and_another_text_is_a_loss(clubs: Clubs) -> None:
    header = next(one for one in clubs.load().modules.values() if one.name == "Header")
    name = header.items[0].name
    (clubs.own / "records.yaml").write_text(
        f"records:\n{LEARNER}once: {{Header: {{{name}: $code}}}}\nnot_told: [Pupil.Fees]\n", "utf-8"
    )
    facts = given({"school": "100001", "code": "SC"})
    pupil = {"Number": "A1", "Fees": "3"}
    told = to_records(clubs.load(), {"Header": [{name: "SC"}], "Pupil": [pupil]}, facts)
    assert told.losses == []
    assert from_records(clubs.load(), told.records, facts).content["Header"] == [{name: "SC"}]
    (loss,) = to_records(clubs.load(), {"Header": [{name: "XX"}]}, facts).losses
    assert (loss.path, loss.item, loss.why) == (
        "Header[1]",
        name,
        "it is not what the return is, or whose",
    )


def test_two_rows_with_one_key_are_named(clubs: Clubs) -> None:
    (clubs.own / "records.yaml").write_text(f"records:\n{LEARNER}", "utf-8")
    rows = [{"Number": "A1"}, {"Number": "B1"}, {"Number": "A1"}]
    told = to_records(clubs.load(), {"Pupil": rows}, given({"school": "100001"}))
    assert [(one.module, one.path, one.other) for one in told.clashes] == [("Pupil", "Pupil[3]", "Pupil[1]")]


def test_a_record_may_need_an_item_or_lack_it(clubs: Clubs) -> None:
    kinds = LEARNER.replace("from: Pupil,", "from: Pupil, needs: [date_of_birth],")
    (clubs.own / "records.yaml").write_text(f"records:\n{kinds}", "utf-8")
    rows = [{"Number": "A1"}, {"Number": "B1", "Born": "2016-04-01"}]
    facts = given({"school": "100001"})
    told = to_records(clubs.load(), {"Pupil": rows}, facts)
    assert [one["upn"] for one in told.records["learner"]] == ["B1"]
    assert [(one.path, one.item) for one in told.losses] == [("Pupil[1]", "Number")]
    both = [*told.records["learner"], {"school": "100001", "upn": "C1"}]
    assert dict(from_records(clubs.load(), {"learner": both}, facts).left_out) == {"learner": 1}


def test_an_unknown_key_is_refused(clubs: Clubs) -> None:
    (clubs.own / "records.yaml").write_text(
        "records:\n  - {entity: learner, from: Pupil, form: x}\n", "utf-8"
    )
    with pytest.raises(Problem) as caught:
        record_map(clubs.load())
    assert caught.value.code == "CR-001"


def test_rows_below_have_the_keys_of_those_above_and_what_has_no_place_is_counted(clubs: Clubs) -> None:
    club = "  - {entity: learner_disability, from: Club, items: {disability: Kind}}\n"
    (clubs.own / "records.yaml").write_text(f"records:\n{LEARNER}{club}", "utf-8")
    facts = given({"school": "100001", "valid_from": "2026-01-15"})
    pupil = {
        "Number": "A1",
        "Fees": "3",
        "Home": [{"Town": "Ely"}],
        "Club": [{"Kind": "HEAR"}, {"Kind": "XXXX"}],
    }
    told = to_records(clubs.load(), {"Pupil": [pupil]}, facts)
    key = {"school": "100001", "upn": "A1", "valid_from": "2026-01-15"}
    assert told.records == {"learner": [key], "learner_disability": [{**key, "disability": "HEAR"}]}
    assert dict(told.left_out) == {"Pupil.Fees": 1, "Home.Town": 1, "Club.Kind": 1}
    back = from_records(clubs.load(), told.records, facts)
    assert back.content["Pupil"] == [{"Number": "A1", "Club": [{"Kind": "HEAR"}]}]
    assert dict(back.left_out) == {}


def test_records_without_a_place_are_counted(clubs: Clubs) -> None:
    club = "  - {entity: learner_disability, from: Club, items: {disability: Kind}}\n"
    (clubs.own / "records.yaml").write_text(f"records:\n{LEARNER}{club}", "utf-8")
    records = {
        "learner": [{"school": "100001", "upn": "A1", "sex": "F"}, {"school": "100002", "upn": "B1"}],
        "learner_disability": [{"school": "100001", "upn": "C1", "disability": "HEAR"}],
        "vacancy": [{"school": "100001"}],
    }
    written = from_records(clubs.load(), records, given({"school": "100001"}))
    # Of another school; of nobody who is there; of an entity that the file has not; an item it has not.
    assert dict(written.left_out) == {"learner": 1, "learner_disability": 1, "vacancy": 1, "learner.sex": 1}
    assert written.content["Pupil"] == [{"Number": "A1"}]


def test_of_several_states_of_a_record_the_newest_is_written(clubs: Clubs) -> None:
    (clubs.own / "records.yaml").write_text(f"records:\n{LEARNER}", "utf-8")
    states = [
        {
            "school": "100001",
            "upn": "A1",
            "date_of_birth": f"2016-04-0{day}",
            "valid_from": since,
            "version": version,
        }
        for day, since, version in ((1, "2025-09-01", 1), (3, "2025-10-01", 2), (2, "2025-10-01", 1))
    ]
    written = from_records(clubs.load(), {"learner": states}, given({"school": "100001"}))
    assert written.content["Pupil"] == [{"Number": "A1", "Born": "2016-04-03"}]


@pytest.mark.parametrize(
    ("kind", "codeset", "text", "value"),
    [
        ("boolean", None, "1", True), ("boolean", None, "False", False), ("boolean", None, "maybe", None),
        ("integer", None, "007", 7), ("integer", None, "7.5", None), ("integer", None, "9" * 30, None),
        ("decimal", None, "1.50", "1.50"), ("decimal", None, "1e9", None),
        ("date", None, "2026-01-15", "2026-01-15"), ("date", None, "2026-01-15T09:30:00", "2026-01-15"),
        ("date", None, "15/01/2026", None), ("date", None, "20260115", None), ("date", None, "2026-02-30", None),
        ("code", "sex", "F", "F"), ("code", "sex", "1", None), ("code", "assessment_subject", "ZZZ", "ZZZ"),
        ("string", None, "x", "x"),
    ],
)  # fmt: skip
def test_texts_become_values_or_nothing(kind: str, codeset: str | None, text: str, value: Any) -> None:
    assert to_value(item(kind, codeset), text) == value


@pytest.mark.parametrize(
    ("form", "texts", "value", "back"),
    [
        ("laestab", ["823", "4321"], "8234321", ("823", "4321")),
        ("laestab", ["XXX", "XXXX"], None, None),
        ("urn", ["823", "4321", None], "100001", ("823", "4321", "Example School")),
        ("urn", ["823", "9999", None], None, None),
        ("first_day", ["2025"], "2025-09-01", ("2025",)),
        ("last_day", ["2025"], "2026-08-31", ("2025",)),
        ("first_day", [None], None, None),
        ("day", ["2026-01-15", "2025"], "2026-01-15", ("2026-01-15", "2025")),
    ],
)
def test_forms_both_ways(form: str, texts: list[str | None], value: Any, back: Any) -> None:
    read, write = FORMS[form]
    facts = given({}, [SCHOOL])
    assert read(texts, facts) == value
    assert write("nonsense" if value is None else value, facts) == back


def test_marks_pass_over_weekends_and_may_have_two_characters() -> None:
    spread, gather = SPREADS["marks"]
    made = list(spread({"upn": "A1", "date": "2025-09-05", "code": "/\\C1-IY7"}))
    assert [(one["date"], one["session"], one["code"]) for one in made] == [
        ("2025-09-05", "AM", "/"), ("2025-09-05", "PM", "\\"), ("2025-09-08", "AM", "C1"),
        ("2025-09-09", "AM", "I"), ("2025-09-09", "PM", "Y7"),
    ]  # fmt: skip
    assert list(gather(made)) == [{**made[0], "date": "2025-09-05", "code": "/\\C1-IY7"}]


def test_marks_of_two_school_years_are_two_strings() -> None:
    _, gather = SPREADS["marks"]
    days = ("2025-07-18", "2025-09-01")
    rows = [{"date": day, "session": "AM", "code": "/"} for day in days]
    assert [(row["date"], row["code"]) for row in gather(rows)] == [
        ("2025-07-18", "/-"),
        ("2025-09-01", "/-"),
    ]
    assert record_forms.school_year("2025-08-31") == 2024
