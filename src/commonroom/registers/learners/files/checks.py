"""A record's values against the declared items: a learner, or the first fault in the words of the LRS return codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from commonroom import standard
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

YOUNGEST, OLDEST = 13, 110

# BFPO addresses are written both ways; ZZ99 forms are pseudo postcodes for no fixed abode and abroad.
_POSTCODE = re.compile(
    r"[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2}|GIR ?0AA|BFPO ?(?:C/O ?)?[0-9]{1,4}|ZZ99 ?[0-9][A-Z]{2}"
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Day, or day and month, may be unknown.
_BIRTH = re.compile(r"[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2})?)?")


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
    if not value.replace("\n", " ").replace("\r", " ").isprintable():
        return "holds control characters"
    match item.form:
        case "name":
            return "" if any(map(str.isalpha, value)) else "has no letter"
        case "code":
            return "" if value in item.codes else f"is none of {', '.join(item.codes)}"
        case "postcode":
            return "" if _POSTCODE.fullmatch(value.upper()) else "is not in the form of a postcode"
        case "email":
            return "" if _EMAIL.fullmatch(value) else "is not in the form of an e-mail address"
        case "uln":
            return "" if standard.is_valid("ULN", value) else "is not a valid ULN"
        case "date":
            return "" if _DATE.fullmatch(value) and _day(value) else "is not a date written YYYY-MM-DD"
        case "birth":
            return "" if _BIRTH.fullmatch(value) and _day(value) else "is not a date written YYYY-MM-DD"
        case _:
            return ""


def _of_another_age(birth: str, today: date) -> Fault | None:
    # Of a date that is known in part the first possible day counts.
    born = _day(birth)
    if born is None:
        return None
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    if YOUNGEST <= age <= OLDEST:
        return None
    return Fault(AGE, "DateOfBirth", f"The learner is not {YOUNGEST} to {OLDEST} years old.")


def _day(text: str) -> date | None:
    year, month, day = (int(part) for part in (*text.split("-"), "1", "1")[:3])
    try:
        return date(year, month, day)
    except ValueError:
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
