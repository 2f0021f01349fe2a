"""What a store holds after messages came, whatever their order and however often."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from commonroom.exchange import Envelope, Letter, RecordSet, body_digest, encode
from commonroom.exchange.record_sets import content_type
from commonroom.ids import org_urn, uuid7
from commonroom.problems import Problem
from tests.unit.agent.school_system import SCHOOL, upn
from tests.unit.agent.store_system import MAPPING, StoreSystem

SENDER = org_urn(uuid7())


def letter(
    body: bytes | None = None,
    kind: str = "",
    digest: str = "",
    sender: str = SENDER,
    entity: str = "learner",
    **parts: Any,
) -> Letter:
    """A delivered letter with these records, or with this body."""
    body = encode(RecordSet(standard="2026.1", **parts), compress=True) if body is None else body
    envelope = Envelope(
        id=str(uuid7()),
        source=sender,
        type=f"commonroom.{entity}.changed",
        datacontenttype=kind or content_type(True),
        bodydigest=digest or body_digest(body),
    )
    return Letter(
        envelope=envelope,
        body=body,
        delivery=str(uuid7()),
        position=1,
        accepted_at=datetime.now(UTC),
        attempt=1,
    )


def learner(version: int, serial: int = 1, **changes: Any) -> dict[str, Any]:
    """A learner's record."""
    items = {
        "given_name": "Ada",
        "family_name": f"Version{version}",
        "date_of_birth": "2014-03-04",
        "sex": "F",
    }
    place = {"school": SCHOOL, "upn": upn(serial), "valid_from": "2025-09-01", "version": version}
    return {**items, **place, **changes}


def gone(version: int) -> dict[str, Any]:
    """A withdrawal of that record."""
    return {"school": SCHOOL, "upn": upn(1), "valid_from": "2025-09-01", "version": version}


HELD = "SELECT upn, surname, record_version, withdrawn FROM child ORDER BY upn"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_highest_version_stays_in_any_order(tmp_path: Path, order: tuple[int, ...]) -> None:
    system = StoreSystem(tmp_path)
    letters = [
        letter(records={"learner": [learner(1)]}),
        letter(withdrawn={"learner": [gone(2)]}),
        letter(records={"learner": [learner(3)]}),
    ]
    store = system.store()
    for place in order:
        (fate,) = store.load([letters[place]])
        assert fate.refused == ""
    assert system.rows(HELD) == [(upn(1), "Version3", 3, 0)]


def test_a_withdrawal_that_comes_first_keeps_the_older_record_out(tmp_path: Path) -> None:
    system = StoreSystem(tmp_path)
    system.store().load([letter(withdrawn={"learner": [gone(2)]}), letter(records={"learner": [learner(1)]})])
    assert system.rows(HELD) == [(upn(1), None, 2, 1)]


OTHER = org_urn(uuid7())


@pytest.mark.parametrize(
    "forged",
    [
        {"records": {"learner": [learner(10**9), learner(1, 2)]}},
        {"records": {"learner": [learner(10**9, valid_from="2026-01-01"), learner(1, 2)]}},
        {"withdrawn": {"learner": [gone(10**9)]}, "records": {"learner": [learner(1, 2)]}},
    ],
    ids=["a higher version", "a later day", "a withdrawal"],
)
def test_nobody_can_write_over_what_another_sender_was_first_to_speak_of(
    tmp_path: Path, forged: dict[str, Any]
) -> None:
    system = StoreSystem(tmp_path)
    system.store().load([letter(records={"learner": [learner(1)]})])
    (fate,) = system.store().load([letter(sender=OTHER, **forged)])
    assert (fate.refused, fate.records) == ("", 1)
    (finding,) = fate.findings
    assert (finding.rule, finding.key) == ("another-sender", {"school": SCHOOL, "upn": upn(1)})
    assert OTHER in finding.mapping
    assert system.rows("SELECT upn, surname, record_version, withdrawn, sender FROM child") == [
        (upn(1), "Version1", 1, 0, SENDER),
        (upn(2), "Version1", 1, 0, OTHER),
    ]


def test_a_message_all_of_which_belongs_to_another_sender_is_refused_each_time_it_comes(
    tmp_path: Path,
) -> None:
    system = StoreSystem(tmp_path)
    system.store().load([letter(records={"learner": [learner(1)]})])
    forged = letter(sender=OTHER, records={"learner": [learner(10**9)]})
    for _ in range(2):
        (fate,) = system.store().load([forged])
        assert fate.refused == "All of its records belong to another sender."
    assert system.messages() == 1


def test_a_sender_speaks_of_more_pupils_than_one_statement_can_ask_about(tmp_path: Path) -> None:
    system = StoreSystem(tmp_path)
    many = [learner(1, serial) for serial in range(1, 500)]
    system.store().load([letter(records={"learner": many[:250]})])
    (fate,) = system.store().load([letter(sender=OTHER, records={"learner": many})])
    assert (fate.records, len(fate.findings)) == (249, 250)


def test_a_message_that_comes_again_changes_nothing(tmp_path: Path) -> None:
    system = StoreSystem(tmp_path)
    one = letter(records={"learner": [learner(1)]})
    assert [fate.repeated for fate in system.store().load([one, one])] == [False, True]
    assert system.store().load([one])[0].repeated
    assert system.messages() == 1


def test_a_bad_record_is_left_out_and_reported_and_the_others_are_loaded(tmp_path: Path) -> None:
    system = StoreSystem(tmp_path)
    (fate,) = system.store().load([letter(records={"learner": [learner(1), learner(1, 2, sex="Q")]})])
    assert (fate.refused, fate.records) == ("", 1)
    assert [(finding.item, finding.value) for finding in fate.findings] == [("sex", "Q")]
    assert len(system.rows(HELD)) == 1


UNUSABLE = [
    ("not a record set", letter(b"hello", "application/vnd.commonroom.records+json")),
    ("another media type", letter(b"a,b", "text/csv")),
    (
        "a body that is not the one sent",
        letter(digest=body_digest(b"other"), records={"learner": [learner(1)]}),
    ),
    ("no usable record", letter(records={"learner": [learner(1, upn="A823432117001")]})),
    ("no version", letter(records={"learner": [{k: v for k, v in learner(1).items() if k != "version"}]})),
    (
        "an entity the standard has not",
        letter(records={"timetable": [{"valid_from": "2025-09-01", "version": 1}]}),
    ),
    (
        "an entity its type has not",
        letter(
            records={"learner": [learner(1)]},
            withdrawn={"enrolment": [{**gone(1), "entry_date": "2025-09-01"}]},
        ),
    ),
    ("a type the standard has not", letter(entity="timetable", records={"learner": [learner(1)]})),
    # No bytes at all: a stand-in for whatever nobody foresaw.
    ("a body that brings the reading to a fall", msgspec.structs.replace(letter(b"[]"), body=None)),
]


@pytest.mark.parametrize(("what", "bad"), UNUSABLE, ids=[what for what, _ in UNUSABLE])
def test_an_unusable_message_is_refused_with_a_reason_that_repeats_no_value(
    tmp_path: Path, what: str, bad: Letter
) -> None:
    system = StoreSystem(tmp_path)
    good = letter(records={"learner": [learner(1, 2)]})
    refused, loaded = system.store().load([bad, good])
    assert refused.refused
    assert "A823432117001" not in refused.refused
    assert (loaded.refused, loaded.records) == ("", 1)


def test_entities_the_store_does_not_want_are_taken_without_a_word(tmp_path: Path) -> None:
    system = StoreSystem(tmp_path)
    stay = {
        "school": SCHOOL,
        "upn": upn(1),
        "entry_date": "2025-09-01",
        "enrolment_status": "C",
        "nc_year": "6",
    }
    one = letter(
        entity="enrolment", records={"enrolment": [{**stay, "valid_from": "2025-09-01", "version": 1}]}
    )
    assert system.store().load([one])[0].refused == ""
    assert system.messages() == 1


@pytest.mark.parametrize(
    ("mapping", "named"),
    [
        (MAPPING.replace("table: child", "table: kid"), "kid"),
        (MAPPING.replace("given_name: forename", "given_name: first_name"), "first_name"),
    ],
)
def test_a_store_that_does_not_fit_its_mapping_is_named_and_no_letter_is_lost(
    tmp_path: Path, mapping: str, named: str
) -> None:
    system = StoreSystem(tmp_path, mapping)
    with pytest.raises(Problem) as caught:
        system.store().load([letter(records={"learner": [learner(1)]})])
    assert caught.value.code == "CR-070"
    assert named in str(caught.value)
    assert "store.yaml" in caught.value.where


def test_a_store_that_is_away_keeps_the_letters_in_the_mailbox(tmp_path: Path) -> None:
    system = StoreSystem(tmp_path / "here")
    store = system.store()
    system.database.unlink()
    (tmp_path / "here" / "authority.db").mkdir()
    with pytest.raises(Problem) as caught:
        store.load([letter(records={"learner": [learner(1)]})])
    assert caught.value.code == "CR-073"


def test_a_message_of_an_older_version_is_loaded_as_the_present_one(tmp_path: Path) -> None:
    mapping = (
        MAPPING
        + """
  - entity: work_placement
    table: placement
    columns: {school: school, upn: upn, qualification: qualification, start_date: begins, hours: hours}
"""
    )
    system = StoreSystem(tmp_path, mapping)
    with closing(sqlite3.connect(system.database)) as connection:
        connection.execute(
            "CREATE TABLE placement (school, upn, qualification, begins, hours, valid_from, record_version, withdrawn, "
            "sender, UNIQUE (school, upn, qualification, begins, valid_from))"
        )
    record = {
        "school": SCHOOL, "upn": upn(1), "qualification": "60146084", "start_date": "2024-05-06", "hours": 40,
        "employer": "999999999", "valid_from": "2024-05-06", "version": 1,
    }  # fmt: skip
    body = encode(RecordSet(standard="2024.1", records={"work_placement": [record]}))
    sent = letter(body, kind=content_type(False), entity="work-placement")
    (fate,) = system.store().load([sent])
    assert (fate.refused, fate.records) == ("", 1)
    assert system.rows("SELECT qualification, hours FROM placement") == [("60146084", 40)]
    (told,) = fate.findings
    assert (told.rule, told.severity, told.item) == ("standard-upgraded", "query", "employer")
    assert "999999999" not in told.line()


@pytest.mark.parametrize(("version", "said"), [("2027.1", "a later program"), ("2026.1", "same version")])
def test_a_message_of_a_version_that_is_not_known_or_not_agreed_is_refused(
    tmp_path: Path, version: str, said: str
) -> None:
    sent = letter(
        encode(RecordSet(standard=version, records={"learner": [learner(1)]})), kind=content_type(False)
    )
    dataschema = (
        f"urn:commonroom:standard:{version}" if version != "2026.1" else "urn:commonroom:standard:2025.1"
    )
    envelope = msgspec.structs.replace(sent.envelope, dataschema=dataschema)
    (fate,) = StoreSystem(tmp_path).store().load([msgspec.structs.replace(sent, envelope=envelope)])
    assert said in fate.refused
