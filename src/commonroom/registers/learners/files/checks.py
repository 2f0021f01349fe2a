"""A record's values against the declared items: a learner, or the first fault in the words of the LRS return codes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from commonroom.registers.learners import forms
from commonroom.registers.learners.files.items import (
    AGE,
    BAD_FORMAT,
    INSUFFICIENT,
    TEMPORARY_ULN,
    Fault,
    Item,
    Learner,
    lrs_items,
)
from commonroom.registers.learners.matching.people import Details


def judge(values: Mapping[str, str], today: date) -> Learner | Fault:
    """The learner of a record, or why it cannot be used. `today` is the day on which ages count."""
    fault = _missing(values) or _malformed(values) or _of_another_age(values["DateOfBirth"], today)
    return fault or _learner(values)


def _missing(values: Mapping[str, str]) -> Fault | None:
    if not values.get("FamilyName") and not values.get("GivenName"):
        return Fault(INSUFFICIENT, "FamilyName", "There is no name.")
    for item in lrs_items().items:
        if item.required and not values.get(item.name):
            return Fault(INSUFFICIENT, item.name, f"{item.name} is missing.")
    return None


def _malformed(values: Mapping[str, str]) -> Fault | None:
    for item in lrs_items().items:
        value = values.get(item.name, "")
        reason = _wrong(item, value) if value else ""
        if reason:
            return Fault(BAD_FORMAT, item.name, f"{item.name} {reason}.")
    return None


def _wrong(item: Item, value: str) -> str:
    """What is wrong with a value that is there; '' when nothing is."""
    if len(value) > item.length:
        return f"is longer than {item.length} characters"
    if item.form == "code":
        return "" if value in item.codes else f"is none of {', '.join(item.codes)}"
    return forms.wrong(item.form, value)


def _of_another_age(birth: str, today: date) -> Fault | None:
    if forms.of_another_age(birth, today):
        return Fault(AGE, "DateOfBirth", f"The learner is not {forms.YOUNGEST} to {forms.OLDEST} years old.")
    return None


def _learner(values: Mapping[str, str]) -> Learner:
    filled: dict[str, Any] = {
        item.fills: values[item.name] for item in lrs_items().items if item.fills and values.get(item.name)
    }
    given, family = filled.pop("given_name", ""), filled.pop("family_name", "")
    if not family or given.casefold() == family.casefold():
        # Somebody with one name; the LRS has it in both places.
        given, family = "", family or given
    kept = {"ULN", "VerificationType", "AbilityToShare", "Notes"}
    uln = values.get("ULN") or None
    return Learner(
        details=Details(given_name=given, family_name=family, **filled),
        verification_type=values["VerificationType"],
        ability_to_share=values["AbilityToShare"],
        uln=None if uln == TEMPORARY_ULN else uln,
        notes=values.get("Notes") or None,
        others={
            item.name: values[item.name]
            for item in lrs_items().items
            if not item.fills and item.name not in kept and values.get(item.name)
        },
    )
