"""Inkwell: one row a pupil, written over; one row a pupil and week, ten characters."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import date, timedelta

from commonroom.simulation.intakes import Intake
from commonroom.simulation.population import Pupil
from commonroom.simulation.schools import School
from commonroom.simulation.year import SchoolDay

GENDERS = {"M": "Male", "F": "Female"}
STAGES = {"N": "No SEN", "K": "SEN Support", "E": "EHC Plan"}
YEARS = {
    "N1": "Nursery 1",
    "N2": "Nursery 2",
    "R": "Reception",
    "X": "Ungraded",
    **{str(year): f"Year {year}" for year in range(1, 15)},
}
YES_NO = {True: "Y", False: "N"}
# The maker's letters for codes of two characters: a session has one character in the week.
LETTERS = {"C1": "c", "C2": "d", "J1": "j", **{f"Y{number}": str(number) for number in range(1, 8)}}
NO_MARK = "."
EMPTY_WEEK = NO_MARK * 10

_PUPIL = """
INSERT INTO PUPILS (
    UPN, Forename, Surname, DOB, Gender, EthnicCode, LanguageCode, FreeMeals, SENStage, Address, Town, PostCode,
    YearGroup, PartTime, DateOfEntry, LastAmended
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_REMOVAL = "UPDATE PUPILS SET Address = ?, Town = ?, PostCode = ?, LastAmended = ? WHERE UPN = ?"
_FREE_MEALS = "UPDATE PUPILS SET FreeMeals = 'Y', LastAmended = ? WHERE UPN = ?"
_SEN = "UPDATE PUPILS SET SENStage = ?, LastAmended = ? WHERE UPN = ?"
_LEAVE = "UPDATE PUPILS SET DateOfLeaving = ?, LeavingCode = ?, NextSchool = ?, LastAmended = ? WHERE UPN = ?"
_LIMIT = "INSERT INTO ADMISSION_LIMITS (AcademicYear, YearGroup, Places, LastAmended) VALUES (?, ?, ?, ?)"
_MARKS = """
INSERT INTO WEEKLY_REGISTER (UPN, WeekBeginning, Marks) VALUES (:upn, :week, :fresh)
ON CONFLICT (UPN, WeekBeginning) DO UPDATE
SET Marks = substr(Marks, 1, :place) || :marks || substr(Marks, :place + length(:marks) + 1)
"""


class Inkwell:
    """See vendors/inkwell/schema.sql."""

    def open_school(self, connection: sqlite3.Connection, school: School, pupils: Sequence[Pupil]) -> None:
        """Enter the school and everyone on its roll into empty tables."""
        connection.execute(
            "INSERT INTO SCHOOL VALUES (?, ?)", (f"{school.la_code}{school.estab}", school.name)
        )
        _admit(connection, pupils)

    def announce(self, connection: sqlite3.Connection, intakes: Sequence[Intake]) -> None:
        """Enter how many pupils the school will admit."""
        connection.executemany(
            _LIMIT,
            [
                (f"{one.opens}-{one.opens + 1}", YEARS[one.nc_year], one.places, british(one.announced))
                for one in intakes
            ],
        )

    def enter_day(self, connection: sqlite3.Connection, day: SchoolDay) -> None:
        """Enter all that happened on a day."""
        today = british(day.day)
        _admit(connection, day.admitted)
        connection.executemany(
            _REMOVAL, [(r.address_line1, r.town, r.postcode, today, r.upn) for r in day.removals]
        )
        connection.executemany(_FREE_MEALS, [(today, upn) for upn in day.fsm_gained])
        connection.executemany(_SEN, [(STAGES["K"], today, upn) for upn in day.sen_support])
        _write_marks(connection, day.day, [(m.upn, 0, _letter(m.am) + _letter(m.pm)) for m in day.marks])
        if day.late:
            late = [(m.upn, 0, _letter(m.am) + _letter(m.pm)) for m in day.late]
            _write_marks(connection, day.late_day, late)
        for struck in day.struck:
            _write_marks(connection, struck.day, [(struck.upn, 0 if struck.session == "AM" else 1, NO_MARK)])
        for correction in day.corrections:
            half = 0 if correction.session == "AM" else 1
            _write_marks(connection, correction.day, [(correction.upn, half, _letter(correction.code))])
        connection.executemany(
            _LEAVE,
            [
                (british(leaver.leaving_date), leaver.reason, leaver.destination or "", today, leaver.upn)
                for leaver in day.left
            ],
        )


def british(day: str) -> str:
    """2026-09-02 as 02/09/2026."""
    year, month, number = day.split("-")
    return f"{number}/{month}/{year}"


def _admit(connection: sqlite3.Connection, pupils: Sequence[Pupil]) -> None:
    connection.executemany(
        _PUPIL,
        [
            (
                p.upn,
                p.given_name,
                p.family_name,
                british(p.date_of_birth),
                GENDERS[p.sex],
                p.ethnicity,
                p.language,
                YES_NO[p.fsm],
                STAGES[p.sen_provision],
                p.address_line1,
                p.town,
                p.postcode,
                YEARS[p.nc_year],
                YES_NO[p.part_time],
                british(p.entry_date),
                british(p.entry_date),
            )
            for p in pupils
        ],
    )


def _write_marks(connection: sqlite3.Connection, day: str, marks: Sequence[tuple[str, int, str]]) -> None:
    """Each mark: UPN, half day from which it is written, and its one or two characters."""
    when = date.fromisoformat(day)
    week = british((when - timedelta(days=when.weekday())).isoformat())
    rows = []
    for upn, half, letters in marks:
        place = 2 * when.weekday() + half
        fresh = EMPTY_WEEK[:place] + letters + EMPTY_WEEK[place + len(letters) :]
        rows.append({"upn": upn, "week": week, "fresh": fresh, "place": place, "marks": letters})
    connection.executemany(_MARKS, rows)


def _letter(code: str) -> str:
    return LETTERS.get(code, code)
