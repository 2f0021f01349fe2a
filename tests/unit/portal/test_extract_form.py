"""What is typed into the form for an extract, and what becomes of it."""

from __future__ import annotations

import pytest

from commonroom.portal import extract_form
from commonroom.warehouse.extracts.model import judge

TYPED = {
    "title": "Attendance study",
    "purpose": "Research",
    "legal_basis": "Public task",
    "evidence": "Certificate 17",
    "item-enrolment-school": "on",
    **{
        f"{name}-{part}": text
        for name, day in {
            "evidence_on": "1 9 2026",
            "first": "1 9 2026",
            "last": "30 9 2026",
            "checking_from": "1 10 2026",
            "freeze_on": "15 10 2026",
            "expires_on": "31 7 2027",
        }.items()
        for part, text in zip(extract_form.PARTS, day.split(), strict=True)
    },
}


def wrong(**changed: str) -> set[str]:
    """The fields to correct."""
    choice = extract_form.chosen("pseudonymised", ["enrolment"])
    assert choice is not None
    typed = {**TYPED, **{name.replace("__", "-"): text for name, text in changed.items()}}
    return set(extract_form.read(choice, typed, "urn:x")[1])


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({}, None),
        ({"first__year": "26"}, "first-day"),
        ({"last__month": "13"}, "last-day"),
        ({"last__year": "2025"}, "last-day"),
        ({"schools": "990901, 990902"}, None),
        ({"schools": "\u0669\u0669\u0660\u0669\u0660\u0661"}, "schools"),  # digits of another script
        ({"title": " "}, "title"),
    ],
)
def test_each_field_that_cannot_be_used_is_named(changed: dict[str, str], field: str | None) -> None:
    assert wrong(**changed) == ({field} if field else set())


@pytest.mark.parametrize("title", ["New", "NEW!", "\u65e5\u672c", "Attendance study", "x" * 200])
def test_every_title_makes_a_name_that_an_extract_may_have(title: str) -> None:
    choice = extract_form.chosen("pseudonymised", ["enrolment"])
    assert choice is not None
    asked, faults = extract_form.read(choice, {**TYPED, "title": title}, "urn:x")
    assert asked is not None, faults
    judge(asked)
    assert asked.name != "new", "its page would be the form"
