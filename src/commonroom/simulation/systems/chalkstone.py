"""Chalkstone: attributes, events and registers that are only ever added to."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence

from commonroom.simulation.intakes import Intake
from commonroom.simulation.population import Pupil
from commonroom.simulation.schools import School
from commonroom.simulation.year import SchoolDay

SEXES = {"M": "male", "F": "female"}
SUPPORT = {"N": "none", "K": "support", "E": "plan"}
TRUE_FALSE = {True: "true", False: "false"}
WORDS = {
    "/": "present",
    "\\": "present",
    "L": "late",
    "U": "late after close",
    "K": "provision elsewhere",
    "V": "visit",
    "P": "sport",
    "W": "work experience",
    "B": "other activity",
    "I": "ill",
    "M": "appointment",
    "C": "special leave",
    "C1": "performance",
    "C2": "part-time timetable",
    "J1": "interview",
    "R": "religious",
    "S": "study leave",
    "T": "travelling",
    "E": "suspended",
    "G": "holiday",
    "N": "unexplained",
    "O": "unauthorised",
    "D": "other school",
    "X": "not required",
    "Q": "no access",
}
NOT_REQUIRED = "X"

_ATTRIBUTE = "INSERT INTO learner_attribute (learner, attribute, value, effective_on) VALUES (?, ?, ?, ?)"
_EVENT = "INSERT INTO membership_event (learner, stay, kind, effective_on, detail) VALUES (?, ?, ?, ?, ?)"
_INTAKE = "INSERT INTO intake_announcement (effective_on, detail) VALUES (?, ?)"
_AM = "INSERT INTO register_am (taken_on, learner, mark) VALUES (?, ?, ?)"
_PM = "INSERT INTO register_pm (taken_on, learner, mark) VALUES (?, ?, ?)"
_AMENDMENT = "INSERT INTO register_amendment (taken_on, half, learner, mark) VALUES (?, ?, ?, ?)"
_STAY = (
    "SELECT stay FROM membership_event WHERE learner = ? AND kind = 'admitted' ORDER BY entry DESC LIMIT 1"
)


class Chalkstone:
    """See vendors/chalkstone/schema.sql."""

    def open_school(self, connection: sqlite3.Connection, school: School, pupils: Sequence[Pupil]) -> None:
        """Enter the school and everyone on its roll into empty tables."""
        connection.execute(
            "INSERT INTO organisation VALUES (?, ?)", (f"{school.la_code}-{school.estab}", school.name)
        )
        _admit(connection, pupils)

    def announce(self, connection: sqlite3.Connection, intakes: Sequence[Intake]) -> None:
        """Enter how many pupils the school will admit."""
        connection.executemany(
            _INTAKE,
            [
                (
                    compact(one.announced),
                    json.dumps({"september": one.opens, "year": one.nc_year, "seats": one.places}),
                )
                for one in intakes
            ],
        )

    def enter_day(self, connection: sqlite3.Connection, day: SchoolDay) -> None:
        """Enter all that happened on a day."""
        today = compact(day.day)
        _admit(connection, day.admitted)
        connection.executemany(_ATTRIBUTE, _changes(day))
        connection.executemany(_AM, [(today, reference(m.upn), WORDS[m.am]) for m in day.marks])
        connection.executemany(_PM, [(today, reference(m.upn), WORDS[m.pm]) for m in day.marks])
        if day.late:
            late = compact(day.late_day)
            connection.executemany(_AM, [(late, reference(m.upn), WORDS[m.am]) for m in day.late])
            connection.executemany(_PM, [(late, reference(m.upn), WORDS[m.pm]) for m in day.late])
        # Nothing is ever taken out of these registers: what the others strike is amended here.
        connection.executemany(
            _AMENDMENT,
            [(compact(s.day), s.session.lower(), reference(s.upn), WORDS[NOT_REQUIRED]) for s in day.struck],
        )
        connection.executemany(
            _AMENDMENT,
            [(compact(c.day), c.session.lower(), reference(c.upn), WORDS[c.code]) for c in day.corrections],
        )
        for leaver in day.left:
            learner = reference(leaver.upn)
            (stay,) = connection.execute(_STAY, (learner,)).fetchone()
            detail = {"reason": leaver.reason}
            if leaver.destination:
                detail["next"] = leaver.destination
            event = (learner, stay, "left", compact(leaver.leaving_date), json.dumps(detail))
            connection.execute(_EVENT, event)


def reference(upn: str) -> str:
    """The maker's own reference of a learner: it does not show the UPN."""
    return hashlib.sha256(upn.encode()).hexdigest()[:16]


def compact(day: str) -> str:
    """2026-09-02 as 20260902."""
    return day.replace("-", "")


def _admit(connection: sqlite3.Connection, pupils: Sequence[Pupil]) -> None:
    connection.executemany(_ATTRIBUTE, [row for pupil in pupils for row in _attributes(pupil)])
    connection.executemany(_EVENT, [_admitted(pupil) for pupil in pupils])


def _attributes(pupil: Pupil) -> Iterable[tuple[str, str, str, str]]:
    stated = {
        "upn": pupil.upn,
        "name.given": pupil.given_name,
        "name.family": pupil.family_name,
        "born": compact(pupil.date_of_birth),
        "sex": SEXES[pupil.sex],
        "ethnic": pupil.ethnicity,
        "tongue": pupil.language,
        "freeMeals": TRUE_FALSE[pupil.fsm],
        "support": SUPPORT[pupil.sen_provision],
        **_home(pupil.address_line1, pupil.town, pupil.postcode),
    }
    learner, since = reference(pupil.upn), compact(pupil.entry_date)
    return [(learner, attribute, value, since) for attribute, value in stated.items()]


def _home(line: str, town: str, postcode: str) -> dict[str, str]:
    return {"home.line": line, "home.town": town, "home.postcode": postcode}


def _admitted(pupil: Pupil) -> tuple[str, str, str, str, str]:
    learner, since = reference(pupil.upn), compact(pupil.entry_date)
    detail = {"year": pupil.nc_year, "fullTime": TRUE_FALSE[not pupil.part_time]}
    return learner, f"{learner}-{since}", "admitted", since, json.dumps(detail)


def _changes(day: SchoolDay) -> list[tuple[str, str, str, str]]:
    today = compact(day.day)
    rows = [
        (reference(removal.upn), attribute, value, today)
        for removal in day.removals
        for attribute, value in _home(removal.address_line1, removal.town, removal.postcode).items()
    ]
    rows += [(reference(upn), "freeMeals", TRUE_FALSE[True], today) for upn in day.fsm_gained]
    rows += [(reference(upn), "support", SUPPORT["K"], today) for upn in day.sen_support]
    return rows
