"""What a letter of a school comes to, and when a pupil is 14."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from commonroom import exchange, standard
from commonroom.exchange import Envelope, Letter, RecordSet
from commonroom.ids import org_urn, uuid7
from commonroom.registers.learners.flow import due_on, tellings
from commonroom.standard import identifiers

UPN, OTHER = (identifiers.make_upn("997", 4001, 20, serial) for serial in (1, 2))
RECORD = {
    "school": "990001", "upn": UPN, "given_name": "Ada", "family_name": "Lane", "date_of_birth": "2012-10-03",
    "sex": "F", "postcode": "WM1 1AA", "address_line1": "1 Mill Lane", "valid_from": "2026-09-01", "version": 1,
}  # fmt: skip


def letter(kind: str = tellings.CHANGED, **content: Any) -> Letter:
    """A letter that carries this."""
    body = exchange.encode(RecordSet(standard=standard.load().version, **content))
    envelope = Envelope(
        id=str(uuid7()), source=org_urn(uuid7()), type=kind, datacontenttype=exchange.RECORDS_TYPE
    )
    return Letter(
        envelope=envelope, body=body, delivery="d", position=1, accepted_at=datetime.now(UTC), attempt=1
    )


@pytest.mark.parametrize(
    ("born", "due"),
    [
        ("2012-09-01", "2026-09-01"),  # 14 on the first day of the school year
        ("2012-08-31", "2025-09-01"),  # 14 on the last day of the year before
        ("2012-12-31", "2026-09-01"),
        ("2013-01-01", "2026-09-01"),
        ("2013-08-31", "2026-09-01"),
        ("2012-02-29", "2025-09-01"),  # born on a day that the year of 14 lacks
    ],
)
def test_the_number_is_due_in_the_school_year_of_the_14th_birthday(born: str, due: str) -> None:
    assert due_on(date.fromisoformat(born)) == date.fromisoformat(due)


def test_a_letter_tells_details_as_the_register_takes_them() -> None:
    found = tellings.read(letter(records={"learner": [RECORD]}))
    (one,) = found.tellings
    assert (found.refused, found.early, found.left_out) == ("", frozenset(), 0)
    assert (one.key, one.valid_from, one.due_on) == (("990001", UPN), date(2026, 9, 1), date(2026, 9, 1))
    assert one.details is not None
    assert (one.details.gender, one.details.house, one.details.upn) == ("2", "1 Mill Lane", UPN)


def test_bad_records_are_left_out_and_the_rest_is_used() -> None:
    found = tellings.read(letter(records={"learner": [RECORD, {**RECORD, "upn": "X1"}]}))
    assert (len(found.tellings), found.left_out, found.refused) == (1, 1, "")


def test_what_is_no_postcode_costs_nobody_the_number() -> None:
    sent = [RECORD | {"upn": UPN, "postcode": "nonsense"}, RECORD | {"upn": OTHER, "postcode": "WM1  1AA"}]
    found = {one.upn: one.details for one in tellings.read(letter(records={"learner": sent})).tellings}
    assert [one and one.postcode for one in (found[UPN], found[OTHER])] == [None, "WM1 1AA"]


@pytest.mark.parametrize("born", ["9986-01-01", "9999-12-31"])
def test_who_can_never_become_14_is_left_out(born: str) -> None:
    unborn = {**RECORD, "upn": OTHER, "date_of_birth": born}
    found = tellings.read(letter(records={"learner": [RECORD, unborn]}))
    assert ([one.upn for one in found.tellings], found.left_out) == ([UPN], 1)
    assert tellings.read(letter(records={"learner": [unborn]})).refused


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("commonroom.enrolment.changed", {"records": {"learner": [RECORD]}}),
        (tellings.CHANGED, {"records": {"learner": [RECORD], "enrolment": []}}),
        (tellings.CHANGED, {"records": {"learner": [{**RECORD, "upn": "X1"}]}}),
        (tellings.CHANGED, {"records": {"learner": [{**RECORD, "version": None}]}}),
        (tellings.CHANGED, {}),
    ],
)
def test_what_cannot_be_used_is_refused_without_a_personal_value(kind: str, content: dict[str, Any]) -> None:
    reason = tellings.read(letter(kind, **content)).refused
    assert reason
    assert not any(str(value) in reason for value in (UPN, "Ada", "Lane", "X1"))


def test_newly_14_makes_it_time_whatever_the_date_of_birth() -> None:
    young = {**RECORD, "date_of_birth": "2015-01-01"}
    assert tellings.read(letter(tellings.NEWLY_14, records={"learner": [young]})).early == {("990001", UPN)}


def test_a_changed_upn_is_followed_within_a_school_only() -> None:
    pairs = [
        {"from": {"school": "990001", "upn": UPN}, "to": {"school": "990001", "upn": OTHER}},
        {"from": {"school": "990001", "upn": UPN}, "to": {"school": "990002", "upn": OTHER}},
        {"from": {"school": "990001", "upn": UPN}, "to": {"school": "990001", "upn": "X1"}},
    ]
    found = tellings.read(letter(rekeyed={"learner": pairs}))
    assert found.rekeyed == (tellings.Rekeyed("990001", UPN, OTHER),)
    assert found.left_out == 2


def test_of_one_day_the_highest_version_counts_in_any_order() -> None:
    old, new = (
        tellings.read(
            letter(records={"learner": [{**RECORD, "version": number, "given_name": name}]})
        ).tellings[0]
        for number, name in ((1, "Ada"), (2, "Adah"))
    )
    assert tellings.newest([new, old]) == tellings.newest([old, new]) == [new]
