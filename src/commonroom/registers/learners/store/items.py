"""What must be in a query or a registration, and how long it may be."""

from __future__ import annotations

import re

import msgspec

from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.store.values import Registration

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
_BIRTH = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")


def faults_of(details: Details) -> tuple[str, ...]:
    """The items of a query that are missing or cannot be used. A name and at least the year of birth are needed."""
    found = too_long(msgspec.structs.asdict(details))
    if not (details.given_name.strip() or details.family_name.strip()):
        found.append("family_name")
    if not _BIRTH.fullmatch(details.date_of_birth):
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


def too_long(values: dict[str, str | None]) -> list[str]:
    """The items that are longer than they may be."""
    return [name for name, value in values.items() if value and len(value) > LONGEST.get(name, OTHERWISE)]
