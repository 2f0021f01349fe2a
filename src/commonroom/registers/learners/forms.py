"""The forms that a learner's values have, and the ages that have numbers: one check for files and single registrations."""

from __future__ import annotations

import re
from datetime import date

from commonroom import standard

YOUNGEST, OLDEST = 13, 110

# BFPO addresses are written both ways; ZZ99 forms are pseudo postcodes for no fixed abode and abroad.
_POSTCODE = re.compile(
    r"[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2}|GIR ?0AA|BFPO ?(?:C/O ?)?[0-9]{1,4}|ZZ99 ?[0-9][A-Z]{2}"
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Day, or day and month, may be unknown.
_BIRTH = re.compile(r"[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2})?)?")


def wrong(form: str, value: str) -> str:
    """What is wrong with a value that is there, without the value; '' when nothing is."""
    if not value.replace("\n", " ").replace("\r", " ").isprintable():
        return "holds control characters"
    match form:
        case "name":
            return "" if any(map(str.isalpha, value)) else "has no letter"
        case "postcode":
            return "" if _POSTCODE.fullmatch(value.upper()) else "is not in the form of a postcode"
        case "email":
            return "" if _EMAIL.fullmatch(value) else "is not in the form of an e-mail address"
        case "uln":
            return "" if standard.is_valid("ULN", value) else "is not a valid ULN"
        case "upn":
            return "" if standard.is_valid("UPN", value) else "is not a valid UPN"
        case "date":
            return "" if _DATE.fullmatch(value) and _day(value) else "is not a date written YYYY-MM-DD"
        case "birth":
            return "" if _BIRTH.fullmatch(value) and _day(value) else "is not a date written YYYY-MM-DD"
        case _:
            return ""


def of_another_age(birth: str, today: date, youngest: int = YOUNGEST) -> bool:
    """Whether somebody born then has no age for a number. Of a date known in part the first possible day counts."""
    born = _day(birth)
    if born is None:
        return False
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    return not youngest <= age <= OLDEST


def _day(text: str) -> date | None:
    year, month, day = (int(part) for part in (*text.split("-"), "1", "1")[:3])
    try:
        return date(year, month, day)
    except ValueError:
        return None
