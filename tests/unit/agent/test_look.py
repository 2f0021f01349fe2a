"""What a look sends, keeps and reports."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonroom.agent import Memory, outbox, recall
from commonroom.problems import Problem
from commonroom.standard import check_records, check_withdrawn
from tests.unit.agent.school_system import MAPPING, Receiver, SchoolSystem, sets, told, upn


def test_the_first_look_sends_everything_in_the_common_language(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    school.add_marks("2025-09-02", "/", 1)
    found = sets(school.look())
    learner = found[0].records["learner"][0]
    assert learner == {
        "school": "990001",
        "upn": upn(1),
        "given_name": "Given1",
        "family_name": "Family1",
        "date_of_birth": "2014-03-04",
        "sex": "F",
        "fsm": False,
        "town": "Westmarch",
        "valid_from": "2025-09-01",
        "version": 1,
    }
    assert found[2].records["attendance_mark"][0]["code"] == "/"
    for one in found:
        for entity, records in one.records.items():
            assert check_records(entity, records).findings == []


def test_a_look_at_an_unchanged_school_sends_nothing(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1, 2)
    assert len(school.look().letters) == 2
    assert school.look().letters == []


def test_an_unchanged_file_is_not_even_read(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    looker, memory = school.looker(), school.memory()
    assert not looker.look(memory).skipped
    assert looker.look(memory).skipped
    school.add_pupils(2)
    again = looker.look(memory)
    assert (again.skipped, again.changes) == (False, 2)
    looker.close()


def test_a_correction_has_the_same_date_and_a_higher_version(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    school.look()
    school.do("UPDATE pupil SET town = 'Eastvale'")
    assert told(school.look()) == ([("learner", upn(1), "2025-09-01", 2)], [])


def test_a_change_of_circumstances_leaves_the_past_as_it_was(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    school.look()
    school.do("UPDATE pupil SET meals = 'yes', since = '2025-11-03'")
    assert told(school.look()) == ([("learner", upn(1), "2025-11-03", 2)], [])


def test_a_vanished_pupil_is_withdrawn_with_the_whole_history(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1, 2)
    school.look()
    school.do("UPDATE pupil SET meals = 'yes', since = '2025-11-03'")
    school.look()
    school.do("DELETE FROM pupil WHERE upn = ?", [(upn(1),)])
    outcome = school.look()
    assert told(outcome) == ([], [("learner", upn(1), "2025-09-01", 3), ("learner", upn(1), "2025-11-03", 4)])
    assert check_withdrawn("learner", sets(outcome)[0].withdrawn["learner"]).findings == []


def test_a_pupil_who_comes_back_is_sent_again_with_a_higher_version(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1, 2)
    school.look()
    school.do("DELETE FROM stay WHERE upn = ?", [(upn(1),)])
    school.look()
    school.do("INSERT INTO stay VALUES (?, '2025-09-01', '6', NULL, NULL)", [(upn(1),)])
    assert told(school.look()) == ([("enrolment", upn(1), "2025-09-01", 3)], [])


BAD = [
    (
        "a UPN with a wrong check letter",
        "INSERT INTO mark VALUES ('A823432117001', '2025-09-02', 'AM', '/')",
        "upn",
    ),
    (
        "an attendance code that does not exist",
        "INSERT INTO mark VALUES (:upn, '2025-09-02', 'AM', '@')",
        "code",
    ),
    (
        "bytes that are not UTF-8",
        "UPDATE pupil SET family = CAST(x'4DFC6C6C6572' AS TEXT) WHERE upn = :upn",
        "family_name",
    ),
    ("a date that is none", "UPDATE pupil SET born = '31/02/2014' WHERE upn = :upn", "date_of_birth"),
    ("a word that means neither yes nor no", "UPDATE pupil SET meals = 'perhaps' WHERE upn = :upn", "fsm"),
]


@pytest.mark.parametrize(("what", "sql", "item"), BAD, ids=[what for what, _, _ in BAD])
def test_one_bad_record_is_a_finding_and_the_others_go_on(
    tmp_path: Path, what: str, sql: str, item: str
) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1, 2)
    with closing(sqlite3.connect(school.database)) as connection, connection:
        connection.execute(sql, {"upn": upn(2)} if ":upn" in sql else {})
    school.add_marks("2025-09-02", "\\", 1, half="PM")
    outcome = school.look()
    (finding,) = outcome.findings
    assert finding.mapping == "mapping.yaml"
    assert finding.item == item
    assert finding.severity == "error"
    assert finding.key["upn"]
    assert finding.remedy
    assert finding.entity in finding.line()
    sent, _ = told(outcome)
    assert ("learner", upn(1), "2025-09-01", 1) in sent
    assert ("attendance_mark", upn(1), "2025-09-02", 1) in sent
    again = school.look()
    assert (again.findings, again.letters) == ([], []), "a known fault is not reported as new at each look"
    memory = school.memory()
    assert recall.findings(memory) == [finding]


def test_a_mended_record_is_sent_and_its_finding_goes(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_marks("2025-09-02", "@", 1)
    assert school.look().letters == []
    school.do("UPDATE mark SET code = 'I'")
    assert told(school.look())[0] == [("attendance_mark", upn(1), "2025-09-02", 1)]
    assert recall.count_findings(school.memory()) == 0


def test_what_was_sent_stays_while_its_record_is_spoilt(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_marks("2025-09-02", "/", 1, 2)
    school.look()
    school.do("UPDATE mark SET code = '@' WHERE upn = ?", [(upn(1),)])
    spoilt = school.look()
    assert (len(spoilt.findings), spoilt.letters) == (1, [])
    assert school.look().letters == []
    school.do("DELETE FROM mark WHERE upn = ?", [(upn(1),)])
    assert told(school.look()) == ([], [("attendance_mark", upn(1), "2025-09-02", 2)])


def test_an_unknown_column_is_a_finding_and_the_records_go_without_it(tmp_path: Path) -> None:
    school = SchoolSystem(
        tmp_path, MAPPING.replace("sex, meals AS fsm", "sex, sex AS shoe_size, meals AS fsm")
    )
    school.add_pupils(1)
    outcome = school.look()
    (finding,) = outcome.findings
    assert (finding.entity, finding.item, finding.rule) == ("learner", "shoe_size", "column-unknown")
    assert "shoe_size" in finding.line()
    assert len(told(outcome)[0]) == 2
    assert "shoe_size" not in sets(outcome)[0].records["learner"][0]


@pytest.mark.parametrize(
    ("broken", "rule"),
    [("FROM stay\n  - entity", "query-failed"), ("entry AS entry_date, ", "column-missing")],
    ids=["no such table", "no key column"],
)
def test_a_query_that_fails_stops_neither_the_others_nor_withdraws_anything(
    tmp_path: Path, broken: str, rule: str
) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    school.look()
    mapping = MAPPING.replace(broken, broken.replace("stay", "lodging").replace("entry AS entry_date, ", ""))
    (tmp_path / "mapping.yaml").write_text(mapping, "utf-8")
    school.do("UPDATE pupil SET town = 'Eastvale'")
    outcome = school.look()
    assert [finding.rule for finding in outcome.findings] == [rule]
    assert told(outcome) == ([("learner", upn(1), "2025-09-01", 2)], [])


def test_two_rows_for_one_record_are_a_finding_until_one_goes(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_marks("2025-09-02", "/", 1)
    school.look()
    school.add_marks("2025-09-02", "I", 1)
    for _ in range(2):
        outcome = school.look()
        assert ([finding.rule for finding in outcome.findings], outcome.letters) == (["two-rows"], [])
    school.do("DELETE FROM mark WHERE code = '/'")
    outcome = school.look()
    assert (told(outcome)[0], outcome.findings) == ([("attendance_mark", upn(1), "2025-09-02", 2)], [])
    assert recall.count_findings(school.memory()) == 0


def test_the_same_row_twice_is_one_record(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    for _ in range(2):
        school.add_marks("2025-09-02", "/", 1)
    assert told(school.look()) == ([("attendance_mark", upn(1), "2025-09-02", 1)], [])
    school.do("DELETE FROM mark WHERE rowid = 1")
    assert school.look().letters == []


def test_a_leaver_s_records_go_to_the_next_school_once(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1, 2, 3)
    school.do("UPDATE stay SET leaving = '2025-10-24', next_school = '990002' WHERE upn = ?", [(upn(1),)])
    school.do("UPDATE stay SET leaving = '2025-10-24' WHERE upn = ?", [(upn(2),)])
    outcome = school.look()
    (letter,) = [letter for letter in outcome.letters if letter.type == "commonroom.transfer.sent"]
    assert letter.recipient == "urn:commonroom:alias:urn:990002"
    (found,) = sets(outcome, "commonroom.transfer.sent")
    assert [record["upn"] for record in found.records["learner"]] == [upn(1)]
    assert [record["leaving_date"] for record in found.records["enrolment"]] == ["2025-10-24"]
    assert school.look().letters == []
    school.do("UPDATE stay SET next_school = '990003' WHERE upn = ?", [(upn(2),)])
    kinds = [(letter.type, letter.recipient) for letter in school.look().letters]
    assert kinds == [
        ("commonroom.enrolment.changed", None),
        ("commonroom.transfer.sent", "urn:commonroom:alias:urn:990003"),
    ]


def test_a_transfer_waits_until_the_pupil_s_record_is_mended(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    school.do("UPDATE pupil SET sex = 'unknown'")
    school.do("UPDATE stay SET leaving = '2025-10-24', next_school = '990002'")
    found = school.look()
    assert sorted(finding.entity for finding in found.findings) == ["learner", "transfers"]
    school.do("UPDATE pupil SET sex = 'boy'")
    assert [letter.type for letter in school.look().letters] == [
        "commonroom.learner.changed",
        "commonroom.transfer.sent",
    ]


def test_another_mapping_that_says_the_same_sends_nothing(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    school.look()
    (tmp_path / "mapping.yaml").write_text(MAPPING + "# a comment\n", "utf-8")
    outcome = school.look()
    assert (outcome.skipped, outcome.letters) == (False, [])


def test_a_window_reads_what_is_recent_and_the_daily_look_the_rest(tmp_path: Path) -> None:
    mapping = MAPPING.replace(
        "query: SELECT :school AS school, upn, day AS date, half AS session, code FROM mark",
        "window_days: 14\n    query: SELECT :school AS school, upn, day AS date, half AS session, code"
        " FROM mark WHERE day >= :window_start",
    )
    school = SchoolSystem(tmp_path, mapping)
    school.add_marks("2025-09-02", "/", 1)
    school.add_marks("2025-10-20", "/", 1)
    assert school.look().full
    school.do("UPDATE mark SET code = 'I'")
    within = school.look()
    assert (within.full, told(within)[0]) == (False, [("attendance_mark", upn(1), "2025-10-20", 2)])
    school.add_marks("2025-10-21", "/", 1)
    assert told(school.look())[0] == [("attendance_mark", upn(1), "2025-10-21", 1)]
    # The source has reached a new day: everything is read once more.
    school.do("DELETE FROM mark WHERE day = '2025-10-20'")
    late = school.look()
    assert late.full
    assert told(late) == (
        [("attendance_mark", upn(1), "2025-09-02", 2)],
        [("attendance_mark", upn(1), "2025-10-20", 3)],
    )


def test_the_school_s_database_cannot_be_changed_by_a_mapping(tmp_path: Path) -> None:
    school = SchoolSystem(
        tmp_path, MAPPING.replace("SELECT upn, leaving AS", "DELETE FROM mark RETURNING upn, day AS")
    )
    school.add_marks("2025-09-02", "/", 1)
    outcome = school.look()
    assert [finding.rule for finding in outcome.findings] == ["query-failed"]
    with closing(sqlite3.connect(school.database)) as connection:
        assert connection.execute("SELECT count(*) FROM mark").fetchone() == (1,)


def test_a_school_system_that_is_away_is_a_clear_error_and_comes_back(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    school.database.rename(tmp_path / "away.db")
    looker, memory = school.looker(), school.memory()
    with pytest.raises(Problem) as caught:
        looker.look(memory)
    assert caught.value.code == "CR-072"
    assert "mis.db" in caught.value.where
    (tmp_path / "away.db").rename(school.database)
    assert looker.look(memory).changes == 2
    looker.close()


def test_a_look_that_only_tries_leaves_the_memory_as_it_was(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    school.add_pupils(1)
    looker, copy = school.looker(), Memory.copy_of(school.config.memory_file)
    assert looker.look(copy).changes == 2
    looker.close()
    assert outbox.counts(school.memory()) == {"waiting": 0, "refused": 0}
    assert school.look().changes == 2


def test_one_correction_in_a_year_of_marks_is_one_change(tmp_path: Path) -> None:
    school = SchoolSystem(tmp_path)
    days = [f"2025-{month:02}-{day:02}" for month in range(1, 11) for day in range(1, 20)]
    for day in days:
        school.add_marks(day, "/", *range(20))
    looker, memory = school.looker(), school.memory()
    assert looker.look(memory).changes == len(days) * 20
    school.do("UPDATE mark SET code = 'I' WHERE rowid = 1000")
    assert looker.look(memory).changes == 1
    looker.close()


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["put", "spoil", "delete", "restart", "later", "earlier"]),
        st.integers(1, 3),
        st.integers(1, 4),
        st.sampled_from(["/", "I", "L"]),
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(EDITS, min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_a_receiver_ends_with_what_the_school_shows_in_any_order_of_arrival(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, int, int, str]]], seed: int
) -> None:
    school = SchoolSystem(tmp_path_factory.mktemp("school"))
    looker, memory = school.looker(), school.memory()
    # One pupil stays whatever happens: a table that is suddenly empty withdraws nothing.
    school.add_pupils(9)
    school.add_marks("2025-09-01", "/", 9)
    arrived = []
    for edits in batches:
        for edit, pupil, day, code in edits:
            _edit(school, edit, pupil, f"2025-09-0{day}", code)
        arrived += sets(looker.look(memory))
    # What is spoilt at the end is mended, so that the school's table is the whole truth.
    school.do("UPDATE mark SET code = 'N' WHERE code = '@'")
    arrived += sets(looker.look(memory))
    looker.close()
    memory.close()
    random.Random(seed).shuffle(arrived)
    receiver = Receiver()
    for one in arrived:
        receiver.receive(one)
    with closing(sqlite3.connect(school.database)) as connection:
        marks = connection.execute("SELECT upn, day, half, code FROM mark ORDER BY 1, 2").fetchall()
        present = connection.execute("SELECT upn, since, town FROM pupil ORDER BY 1").fetchall()
    assert (
        sorted((r["upn"], r["date"], r["session"], r["code"]) for r in receiver.live("attendance_mark"))
        == marks
    )
    latest = {r["upn"]: r for r in sorted(receiver.live("learner"), key=lambda r: str(r["valid_from"]))}
    assert sorted((r["upn"], r["valid_from"], r["town"]) for r in latest.values()) == present


def _edit(school: SchoolSystem, edit: str, pupil: int, day: str, code: str) -> None:
    one = upn(pupil)
    if edit in ("put", "spoil"):
        school.do("DELETE FROM mark WHERE upn = ? AND day = ?", [(one, day)])
        school.add_marks(day, "@" if edit == "spoil" else code, pupil)
    elif edit == "delete":
        school.do("DELETE FROM mark WHERE upn = ? AND day = ?", [(one, day)])
        school.do("DELETE FROM pupil WHERE upn = ?", [(one,)])
    else:
        school.do("DELETE FROM pupil WHERE upn = ?", [(one,)])
        school.do(
            "INSERT INTO pupil VALUES (?, 'A', 'B', '04/03/2014', 'girl', 'no', ?, ?)",
            [(one, f"Town {code}", day)],
        )
