"""From a letter to what a school tells of its pupils. Pure: no database, no hub.

A letter is refused whole when it cannot be read, is of another type, or speaks of a school that is not its sender's. Of
its records those that the standard does not let through are left out: the sender has its findings from the warehouse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import MAXYEAR, date
from typing import Any

import msgspec

from commonroom import exchange, standard
from commonroom.exchange import Letter
from commonroom.problems import Problem
from commonroom.registers.learners import forms
from commonroom.registers.learners.matching.people import Details

ENTITY = "learner"
CHANGED = "commonroom.learner.changed"
NEWLY_14 = "commonroom.learner-newly-14.sent"
TYPES = (CHANGED, NEWLY_14)
AGE = 14
SCHOOL_YEAR_BEGINS = (9, 1)
GENDERS = {"M": "1", "F": "2"}
NOT_KNOWN = "0"

Key = tuple[str, str]  # URN of the school, UPN


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """What holds of one pupil from a day on, in the school's words; or that it never held."""

    school: str
    upn: str
    valid_from: date
    version: int
    details: Details | None = None  # None: withdrawn
    due_on: date | None = None

    @property
    def key(self) -> Key:
        """Whose pupil it is about."""
        return self.school, self.upn


class Rekeyed(msgspec.Struct, frozen=True):
    """A pupil of a school whose UPN has changed."""

    school: str
    old: str
    new: str


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a letter comes to; `refused` says why the whole of it cannot be used."""

    refused: str = ""
    tellings: tuple[Telling, ...] = ()
    rekeyed: tuple[Rekeyed, ...] = ()
    early: frozenset[Key] = frozenset()  # the school says: these are 14 in this school year
    left_out: int = 0

    @property
    def schools(self) -> frozenset[str]:
        """The schools it speaks of."""
        return frozenset({one.school for one in self.tellings} | {one.school for one in self.rekeyed})


def due_on(date_of_birth: date) -> date:
    """The first day of the school year in which somebody becomes 14."""
    month, day = SCHOOL_YEAR_BEGINS
    born_before = (date_of_birth.month, date_of_birth.day) < SCHOOL_YEAR_BEGINS
    return date(date_of_birth.year + AGE - (1 if born_before else 0), month, day)


def read(letter: Letter) -> Reading:
    """Judge one letter. No reason for a refusal holds a value of it."""
    if letter.envelope.type not in TYPES:
        return Reading(refused=f"The register of learners takes {' and '.join(TYPES)}.")
    try:
        found = exchange.record_set_of(letter)
        exchange.check_digest(letter.envelope, letter.body)
        standard.check_dataschema(letter.envelope.dataschema, found.standard)
        present = standard.upgrade_records(found.standard, found.records, found.withdrawn, found.rekeyed)
    except Problem as problem:
        return Reading(refused=f"{problem.detail} {problem.remedy}".strip())
    if {*present.records, *present.withdrawn, *present.rekeyed} - {ENTITY}:
        return Reading(refused=f"A message of this type carries {ENTITY} and nothing else.")
    records = standard.check_records(ENTITY, present.records.get(ENTITY, []))
    withdrawn = standard.check_withdrawn(ENTITY, present.withdrawn.get(ENTITY, []))
    tellings = tuple(
        _telling(record, gone)
        for checked, gone in ((records, False), (withdrawn, True))
        for record in checked.good
        if record.get("version") is not None and record.get("valid_from") and (gone or _can_become_14(record))
    )
    rekeyed = tuple(_rekeyed(pair) for pair in present.rekeyed.get(ENTITY, []) if _is_change(pair))
    told = sum(len(part.get(ENTITY, [])) for part in (present.records, present.withdrawn, present.rekeyed))
    if not tellings and not rekeyed:
        return Reading(refused="Nothing in it can be used: no record is right by the standard and numbered.")
    early = (
        frozenset(one.key for one in tellings if one.details)
        if letter.envelope.type == NEWLY_14
        else frozenset()
    )
    left_out = told - len(tellings) - len(rekeyed)
    return Reading(tellings=tellings, rekeyed=rekeyed, early=early, left_out=left_out)


def newest(tellings: Sequence[Telling]) -> list[Telling]:
    """Of each school, pupil and day the telling with the highest version, in the order of the keys."""
    found: dict[tuple[str, str, date], Telling] = {}
    for one in tellings:
        place = (*one.key, one.valid_from)
        held = found.get(place)
        if held is None or held.version < one.version:
            found[place] = one
    return [found[place] for place in sorted(found)]


def _can_become_14(record: Mapping[str, Any]) -> bool:
    """Whether there is such a year: the standard lets any day through, and 9990 is easily typed for 1990."""
    return date.fromisoformat(record["date_of_birth"]).year + AGE <= MAXYEAR


def _telling(record: Mapping[str, Any], gone: bool) -> Telling:
    return Telling(
        school=record["school"],
        upn=record["upn"],
        valid_from=date.fromisoformat(record["valid_from"]),
        version=record["version"],
        details=None if gone else _details(record),
        due_on=None if gone else due_on(date.fromisoformat(record["date_of_birth"])),
    )


def _details(record: Mapping[str, Any]) -> Details:
    return Details(
        given_name=record["given_name"],
        family_name=record["family_name"],
        date_of_birth=record["date_of_birth"],
        gender=GENDERS.get(record["sex"], NOT_KNOWN),
        postcode=_postcode(record.get("postcode")),
        upn=record["upn"],
        house=record.get("address_line1"),
        town=record.get("town"),
    )


def _postcode(text: str | None) -> str | None:
    """None for what has not the form of a postcode: the standard lets any words through, and a number needs none."""
    plain = " ".join((text or "").split())
    return plain if plain and not forms.wrong("postcode", plain) else None


def _is_change(pair: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a pair of keys names one school and two good UPNs."""
    old, new = pair["from"], pair["to"]
    return (
        isinstance(old.get("school"), str)
        and old.get("school") == new.get("school")
        and all(
            isinstance(key.get("upn"), str) and standard.is_valid("UPN", key["upn"]) for key in (old, new)
        )
        and old["upn"] != new["upn"]
    )


def _rekeyed(pair: Mapping[str, Mapping[str, Any]]) -> Rekeyed:
    return Rekeyed(pair["from"]["school"], pair["from"]["upn"], pair["to"]["upn"])
