"""Tallybook: persons, histories, stays, and session marks by number."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import date, timedelta

from commonroom.simulation.attendance import Marks
from commonroom.simulation.intakes import Intake
from commonroom.simulation.population import Pupil
from commonroom.simulation.schools import School
from commonroom.simulation.year import SchoolDay

DAY_ZERO = date(1899, 12, 30)
GENDERS = {"M": 1, "F": 2}
STAGES = {"N": 0, "K": 1, "E": 2}
YEARS = {"N1": -2, "N2": -1, "R": 0, "X": 99, **{str(year): year for year in range(1, 15)}}
SINGLE_REGISTRATION = 1

_PERSON = """
INSERT INTO person (upn, forename, surname, born, gender_id, ethnic_group_id, first_language)
VALUES (?, ?, ?, ?, ?, (SELECT ethnic_group_id FROM ethnic_group WHERE census_code = ?), ?)
"""
_ADDRESS = """
INSERT INTO address_history (person_id, start_date, line_1, town, postcode)
VALUES ((SELECT person_id FROM person WHERE upn = ?), ?, ?, ?, ?)
"""
_LEAVE_ADDRESS = """
UPDATE address_history SET end_date = ?
WHERE person_id = (SELECT person_id FROM person WHERE upn = ?) AND end_date IS NULL
"""
_FREE_MEAL = """
INSERT INTO free_meal_history (person_id, start_date) VALUES ((SELECT person_id FROM person WHERE upn = ?), ?)
"""
_SEN = """
INSERT INTO sen_history (person_id, start_date, stage) VALUES ((SELECT person_id FROM person WHERE upn = ?), ?, ?)
"""
_STAY = """
INSERT INTO stay (person_id, admitted, registration, year_group, half_days)
VALUES ((SELECT person_id FROM person WHERE upn = ?), ?, ?, ?, ?)
"""
_LEAVE = """
UPDATE stay SET left_on = ?, leaving_reason = ?, next_school = ?
WHERE person_id = (SELECT person_id FROM person WHERE upn = ?) AND left_on IS NULL
"""
_INTAKE = "INSERT INTO intake (opens, year_group, seats, announced_on) VALUES (?, ?, ?, ?)"
_MARK = "INSERT INTO session_mark (session_day, half, person_id, mark_code_id) VALUES (?, ?, ?, ?)"
_STRIKE = """
DELETE FROM session_mark
WHERE session_day = ? AND half = ? AND person_id = (SELECT person_id FROM person WHERE upn = ?)
"""
_CORRECT = "UPDATE session_mark SET mark_code_id = ? WHERE session_day = ? AND half = ? AND person_id = ?"


class Tallybook:
    """See vendors/tallybook/schema.sql."""

    def open_school(self, connection: sqlite3.Connection, school: School, pupils: Sequence[Pupil]) -> None:
        """Enter the school and everyone on its roll into empty tables."""
        connection.execute(
            "INSERT INTO establishment (dfe_number, name) VALUES (?, ?)",
            (f"{school.la_code}/{school.estab}", school.name),
        )
        _admit(connection, pupils)

    def announce(self, connection: sqlite3.Connection, intakes: Sequence[Intake]) -> None:
        """Enter how many pupils the school will admit."""
        connection.executemany(
            _INTAKE, [(one.opens, YEARS[one.nc_year], one.places, one.announced) for one in intakes]
        )

    def enter_day(self, connection: sqlite3.Connection, day: SchoolDay) -> None:
        """Enter all that happened on a day."""
        _admit(connection, day.admitted)
        _change(connection, day)
        _take_registers(connection, day)
        connection.executemany(
            _LEAVE,
            [
                (
                    leaver.leaving_date,
                    leaver.reason,
                    int(leaver.destination) if leaver.destination else None,
                    leaver.upn,
                )
                for leaver in day.left
            ],
        )


def _admit(connection: sqlite3.Connection, pupils: Sequence[Pupil]) -> None:
    connection.executemany(
        _PERSON,
        [
            (
                p.upn,
                p.given_name,
                p.family_name,
                f"{p.date_of_birth} 00:00:00",
                GENDERS[p.sex],
                p.ethnicity,
                p.language,
            )
            for p in pupils
        ],
    )
    connection.executemany(
        _ADDRESS, [(p.upn, p.entry_date, p.address_line1, p.town, p.postcode) for p in pupils]
    )
    connection.executemany(_FREE_MEAL, [(p.upn, p.entry_date) for p in pupils if p.fsm])
    connection.executemany(_SEN, [(p.upn, p.entry_date, STAGES[p.sen_provision]) for p in pupils])
    connection.executemany(
        _STAY,
        [(p.upn, p.entry_date, SINGLE_REGISTRATION, YEARS[p.nc_year], int(p.part_time)) for p in pupils],
    )


def _change(connection: sqlite3.Connection, day: SchoolDay) -> None:
    yesterday = (date.fromisoformat(day.day) - timedelta(days=1)).isoformat()
    connection.executemany(_LEAVE_ADDRESS, [(yesterday, removal.upn) for removal in day.removals])
    connection.executemany(
        _ADDRESS, [(r.upn, day.day, r.address_line1, r.town, r.postcode) for r in day.removals]
    )
    connection.executemany(_FREE_MEAL, [(upn, day.day) for upn in day.fsm_gained])
    connection.executemany(_SEN, [(upn, day.day, STAGES["K"]) for upn in day.sen_support])


def _take_registers(connection: sqlite3.Connection, day: SchoolDay) -> None:
    persons: dict[str, int] = dict(connection.execute("SELECT upn, person_id FROM person"))
    codes: dict[str, int] = dict(connection.execute("SELECT letter, mark_code_id FROM mark_code"))

    def rows(on: str, marks: Sequence[Marks]) -> list[tuple[int, int, int, int]]:
        number = _day_number(on)
        return [
            (number, half, persons[m.upn], codes[m.am if half == 1 else m.pm])
            for m in marks
            for half in (1, 2)
        ]

    # In order of the primary key, person within session: SQLite then appends instead of searching.
    connection.executemany(_MARK, sorted(rows(day.day, day.marks)))
    if day.late:
        connection.executemany(_MARK, sorted(rows(day.late_day, day.late)))
    connection.executemany(
        _CORRECT,
        [
            (codes[c.code], _day_number(c.day), 1 if c.session == "AM" else 2, persons[c.upn])
            for c in day.corrections
        ],
    )
    connection.executemany(
        _STRIKE, [(_day_number(s.day), 1 if s.session == "AM" else 2, s.upn) for s in day.struck]
    )


def _day_number(day: str) -> int:
    return (date.fromisoformat(day) - DAY_ZERO).days
