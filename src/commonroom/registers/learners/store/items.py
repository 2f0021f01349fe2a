"""What must be in a query or a registration, and how long it may be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import msgspec

from commonroom.registers.learners import forms
from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.store.values import Registration, Wrong

GENDERS = ("0", "1", "2", "9")
SHARING = ("-1", "0", "1", "2")
LONGEST = {
    "given_name": 35,
    "family_name": 35,
    "middle_names": 35,
    "preferred_given_name": 35,
    "previous_family_name": 35,
    "family_name_at_16": 35,
    "date_of_birth": 10,
    "postcode": 9,
    "school_at_16": 254,
    "email": 254,
    "house": 50,
    "address_line_2": 50,
    "town": 50,
    "county": 50,
    "place_of_birth": 35,
    "notes": 4000,
    "verification_description": 255,
    "title": 35,
    "upn": 13,
    "reference": 64,
}
OTHERWISE = 50  # every item without a length of its own
# What has a form; a name has a letter. The same forms as in files (forms.py).
FORMS = {
    "given_name": "name",
    "family_name": "name",
    "middle_names": "name",
    "preferred_given_name": "name",
    "previous_family_name": "name",
    "family_name_at_16": "name",
    "date_of_birth": "birth",
    "date_of_address_capture": "date",
    "postcode": "postcode",
    "upn": "upn",
    "email": "email",
}
BAD_FORM, AGE = "RC011", "RC013"


def faults_of(details: Details) -> tuple[str, ...]:
    """The items of a query that are missing, too long or no code. A name and at least the year of birth are needed."""
    found = too_long(msgspec.structs.asdict(details))
    if not (details.given_name.strip() or details.family_name.strip()):
        found.append("family_name")
    if not details.date_of_birth:
        found.append("date_of_birth")
    if details.gender not in GENDERS:
        found.append("gender")
    return tuple(dict.fromkeys(found))


def faults_of_registration(registration: Registration) -> tuple[str, ...]:
    """The same of a registration, which also says how the person was verified and whether the record may be shared."""
    others = msgspec.structs.asdict(registration)
    details = others.pop("details")
    found = [*faults_of(details), *too_long(others)]
    if not registration.verification_type:
        found.append("verification_type")
    if registration.ability_to_share not in SHARING:
        found.append("ability_to_share")
    return tuple(dict.fromkeys(found))


def wrong_in_query(details: Details) -> tuple[Wrong, ...]:
    """What cannot be looked for: a day of birth that there is not."""
    return wrong_forms({"date_of_birth": details.date_of_birth})


def wrong_in_registration(
    registration: Registration, today: date, youngest: int = forms.YOUNGEST
) -> tuple[Wrong, ...]:
    """What is there and cannot be used. `today` is the day on which ages count."""
    values = msgspec.structs.asdict(registration)
    return wrong_values(values | msgspec.structs.asdict(values.pop("details")), today, youngest)


def wrong_values(
    values: Mapping[str, str | None], today: date, youngest: int = forms.YOUNGEST
) -> tuple[Wrong, ...]:
    """The same of items by their names."""
    found = wrong_forms(values)
    birth = values.get("date_of_birth") or ""
    if birth and not forms.wrong("birth", birth) and forms.of_another_age(birth, today, youngest):
        reason = f"is not that of somebody {youngest} to {forms.OLDEST} years old"
        found = (*found, Wrong("date_of_birth", AGE, reason))
    return found


def wrong_forms(values: Mapping[str, str | None]) -> tuple[Wrong, ...]:
    """Values that are not in the form of their items."""
    return tuple(
        Wrong(name, BAD_FORM, reason)
        for name, form in FORMS.items()
        if (value := _as_checked(form, values.get(name))) and (reason := forms.wrong(form, value))
    )


def _as_checked(form: str, value: str | None) -> str:
    # Dates are kept as they came, so nothing may stand around them.
    return (value or "") if form in ("birth", "date") else (value or "").strip()


def too_long(values: dict[str, str | None]) -> list[str]:
    """The items that are longer than they may be."""
    return [name for name, value in values.items() if value and len(value) > LONGEST.get(name, OTHERWISE)]
