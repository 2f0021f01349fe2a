"""The return as a school would make it itself: from its own database, by SQL of its own for each maker's tables.

Nothing of the mappings, the agent, the warehouse or the collection's declarations is used here. A return is what
`read_back` gives of a made one: nested rows of text, without blanks.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

Row = dict[str, Any]

SYSTEMS = ("tallybook", "inkwell", "chalkstone")
ABSENT = ("C", "C1", "C2", "E", "H", "I", "J1", "M", "R", "S", "T", "G", "N", "O", "U")
NOT_POSSIBLE = ("D", "X", "Q", "Y", "Y1", "Y2", "Y3", "Y4", "Y5", "Y6", "Y7", "Z", "#")


class Days(msgspec.Struct, frozen=True):
    """The dates of a return, ISO text."""

    reference: str
    first: str
    last: str
    age_date: str
    # Eligibility that ended before it is of no interest.
    meals_since: str


class Stay(msgspec.Struct, frozen=True):
    """A pupil at the school as its database shows it on the reference date."""

    upn: str
    entry: str
    left: str
    items: Row
    meals: Sequence[tuple[str, str]]
    home: Row
    marks: Sequence[str]


def assemble(stays: Iterable[Stay], days: Days, *, nursery: bool) -> list[Row]:
    """The pupils on roll, then those who left since the period began."""
    on_roll, gone = [], []
    for stay in sorted(stays, key=lambda stay: (stay.upn, stay.entry)):
        if stay.entry <= days.reference and (not stay.left or stay.left >= days.reference):
            on_roll.append(_pupil(stay, days, nursery, {"OnRoll": "1"}))
        elif stay.entry <= days.last and days.first <= stay.left < days.reference and not nursery:
            gone.append(_pupil(stay, days, nursery, {"OnRoll": "0", "LeavingDate": stay.left}))
    return on_roll + gone


def _pupil(stay: Stay, days: Days, nursery: bool, said: Row) -> Row:
    row = {**said, **stay.items, "UPN": stay.upn, "EntryDate": stay.entry}
    age = int(days.age_date[:4]) - int(row["DOB"][:4]) - (days.age_date[5:] < row["DOB"][5:])
    if 4 <= age <= 15 and not nursery and stay.entry <= days.last:
        row["TermlySessionsPossible"] = str(sum(code not in NOT_POSSIBLE for code in stay.marks))
        missed = sorted({code for code in stay.marks if code in ABSENT})
        if missed:
            row["TermlySessionDetail"] = [
                {"AttendanceReason": code, "AbsenceSessions": str(stay.marks.count(code))} for code in missed
            ]
    meals = [(start, end) for start, end in stay.meals if not end or end >= days.meals_since]
    if meals:
        row["FSMperiod"] = [
            {"FSMstartDate": start, **({"FSMendDate": end} if end else {}), "UKcountry": "ENG"}
            for start, end in meals
        ]
    row["Address"] = [stay.home]
    return row


def _home(line: str, town: str, postcode: str) -> Row:
    return {"PostCode": postcode, "AddressLine1": line, "AddressLine2": town}


def read(path: Path, statement: str, **given: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(statement, given).fetchall()


# Tallybook keeps its histories: whatever the day of the database, it tells the state of the reference date.

_TALLYBOOK = """
SELECT
    p.upn, s.admitted, coalesce(s.left_on, ''), p.forename, p.surname, substr(p.born, 1, 10),
    CASE p.gender_id WHEN 1 THEN 'M' ELSE 'F' END,
    (SELECT census_code FROM ethnic_group g WHERE g.ethnic_group_id = p.ethnic_group_id),
    p.first_language, coalesce(p.uln, ''),
    CASE s.registration WHEN 1 THEN 'C' WHEN 2 THEN 'M' WHEN 3 THEN 'S' ELSE 'G' END,
    CASE s.year_group WHEN -2 THEN 'N1' WHEN -1 THEN 'N2' WHEN 0 THEN 'R' WHEN 99 THEN 'X' ELSE '' || s.year_group END,
    CASE s.half_days WHEN 1 THEN 'true' ELSE 'false' END,
    (SELECT substr('NKE', stage + 1, 1) FROM sen_history h
     WHERE h.person_id = p.person_id AND start_date <= :day ORDER BY start_date DESC LIMIT 1),
    (SELECT json_array(line_1, town, postcode) FROM address_history h
     WHERE h.person_id = p.person_id AND start_date <= :day ORDER BY start_date DESC LIMIT 1),
    (SELECT json_group_array(json_array(start_date, coalesce(end_date, ''))) FROM free_meal_history h
     WHERE h.person_id = p.person_id AND start_date <= :day),
    (SELECT json_group_array(c.letter) FROM session_mark m JOIN mark_code c USING (mark_code_id)
     WHERE m.person_id = p.person_id AND date('1899-12-30', '+' || m.session_day || ' days') BETWEEN :first AND :last)
FROM stay s JOIN person p USING (person_id)
"""


def tallybook(newest: Path, days: Days) -> list[Stay]:
    stays = []
    for upn, entry, left, *words, home, meals, marks in read(
        newest, _TALLYBOOK, day=days.reference, first=days.first, last=days.last
    ):
        if home:
            stays.append(
                Stay(
                    upn,
                    entry,
                    left,
                    _items(words),
                    json.loads(meals),
                    _home(*json.loads(home)),
                    json.loads(marks),
                )
            )
    return stays


# In the order of `_items`, for all three.
_ITEMS = (
    "Forename", "Surname", "DOB", "Sex", "Ethnicity", "Language", "UniqueLearnerNumber", "EnrolStatus", "NCyearActual",
    "PartTime", "SENprovision",
)  # fmt: skip


def _items(words: Sequence[str]) -> Row:
    return {name: word for name, word in zip(_ITEMS, words, strict=True) if word}


# Inkwell writes over: pupils are those of the back-up of the reference date, and that somebody had free meals from a day
# on is seen by comparing the back-ups. Registers are those of the newest back-up.

_INKWELL = """
SELECT
    UPN, substr(DateOfEntry, 7) || '-' || substr(DateOfEntry, 4, 2) || '-' || substr(DateOfEntry, 1, 2),
    CASE DateOfLeaving WHEN '' THEN ''
    ELSE substr(DateOfLeaving, 7) || '-' || substr(DateOfLeaving, 4, 2) || '-' || substr(DateOfLeaving, 1, 2) END,
    Forename, Surname, substr(DOB, 7) || '-' || substr(DOB, 4, 2) || '-' || substr(DOB, 1, 2),
    substr(Gender, 1, 1), EthnicCode, LanguageCode, ULN, 'C',
    CASE YearGroup WHEN 'Nursery 1' THEN 'N1' WHEN 'Nursery 2' THEN 'N2' WHEN 'Reception' THEN 'R' WHEN 'Ungraded' THEN 'X'
    ELSE substr(YearGroup, 6) END,
    CASE PartTime WHEN 'Y' THEN 'true' ELSE 'false' END,
    CASE SENStage WHEN 'No SEN' THEN 'N' WHEN 'SEN Support' THEN 'K' ELSE 'E' END,
    Address, Town, PostCode, FreeMeals
FROM PUPILS
"""
_LETTERS = {"c": "C1", "d": "C2", "j": "J1", **{str(number): f"Y{number}" for number in range(1, 8)}}


def inkwell(newest: Path, days: Days, back_ups: dict[str, Path]) -> list[Stay]:
    """`back_ups` by their day; the pupils are those of the reference date's."""
    marks: dict[str, list[str]] = {}
    for upn, week, letters in read(newest, "SELECT UPN, WeekBeginning, Marks FROM WEEKLY_REGISTER"):
        monday = date(int(week[6:]), int(week[3:5]), int(week[:2]))
        for place, letter in enumerate(letters):
            day = (monday + timedelta(days=place // 2)).isoformat()
            if letter != "." and days.first <= day <= days.last:
                marks.setdefault(upn, []).append(_LETTERS.get(letter, letter))
    since = _meals_since({day: path for day, path in back_ups.items() if day <= days.reference})
    stays = []
    for upn, entry, left, *words, line, town, postcode, meals in read(back_ups[days.reference], _INKWELL):
        periods = [(since.get(upn) or entry, "")] if meals == "Y" else []
        stays.append(
            Stay(upn, entry, left, _items(words), periods, _home(line, town, postcode), marks.get(upn, []))
        )
    return stays


def _meals_since(back_ups: dict[str, Path]) -> dict[str, str]:
    """The first day with free meals of those who had none before; of the others nothing."""
    without: set[str] = set()
    since: dict[str, str] = {}
    for day in sorted(back_ups):
        for upn, meals in read(back_ups[day], "SELECT UPN, FreeMeals FROM PUPILS"):
            if meals == "N":
                without.add(upn)
            elif upn in without:
                since.setdefault(upn, day)
    return since


# Chalkstone keeps every entry: what took effect later than the reference date is left out.

_CHALKSTONE_STAYS = """
SELECT
    came.learner, came.effective_on,
    coalesce((SELECT effective_on FROM membership_event w WHERE w.stay = came.stay AND w.kind = 'left'), ''),
    json_extract(came.detail, '$.year'),
    CASE json_extract(came.detail, '$.fullTime') WHEN 'true' THEN 'false' ELSE 'true' END
FROM membership_event came
WHERE came.kind = 'admitted'
"""
_CHALKSTONE_ATTRIBUTES = """
SELECT learner, attribute, value, effective_on FROM learner_attribute WHERE effective_on <= :day ORDER BY effective_on, entry
"""
_CHALKSTONE_MARKS = """
WITH mark AS (
    SELECT taken_on, 'am' AS half, learner, mark, 0 AS entry FROM register_am
    UNION ALL SELECT taken_on, 'pm', learner, mark, 0 FROM register_pm
    UNION ALL SELECT taken_on, half, learner, mark, entry FROM register_amendment
)
SELECT learner, mark, max(entry) FROM mark WHERE taken_on BETWEEN :first AND :last GROUP BY taken_on, half, learner
"""
_SUPPORT = {"none": "N", "support": "K", "plan": "E"}
_WORDS = {
    "present": "/", "late": "L", "late after close": "U", "provision elsewhere": "K", "visit": "V", "sport": "P",
    "work experience": "W", "other activity": "B", "ill": "I", "appointment": "M", "special leave": "C",
    "performance": "C1", "part-time timetable": "C2", "interview": "J1", "religious": "R", "study leave": "S",
    "travelling": "T", "suspended": "E", "holiday": "G", "unexplained": "N", "unauthorised": "O",
    "other school": "D", "not required": "X", "no access": "Q",
}  # fmt: skip


def chalkstone(newest: Path, days: Days) -> list[Stay]:
    known: dict[str, dict[str, str]] = {}
    meals: dict[str, list[tuple[str, str]]] = {}
    for learner, attribute, value, day in read(
        newest, _CHALKSTONE_ATTRIBUTES, day=days.reference.replace("-", "")
    ):
        if attribute == "freeMeals" and value == "true" and known.get(learner, {}).get("freeMeals") != "true":
            meals.setdefault(learner, []).append((_iso(day), ""))
        known.setdefault(learner, {})[attribute] = value
    marks: dict[str, list[str]] = {}
    first, last = days.first.replace("-", ""), days.last.replace("-", "")
    for learner, word, _ in read(newest, _CHALKSTONE_MARKS, first=first, last=last):
        marks.setdefault(learner, []).append(_WORDS[word])
    stays = []
    for learner, came, left, year, part_time in read(newest, _CHALKSTONE_STAYS):
        if learner not in known:
            continue
        said = known[learner]
        words = [
            said["name.given"], said["name.family"], _iso(said["born"]), said["sex"][0].upper(), said["ethnic"],
            said["tongue"], said.get("uln", ""), "C", year, part_time, _SUPPORT[said["support"]],
        ]  # fmt: skip
        home = _home(said["home.line"], said["home.town"], said["home.postcode"])
        stays.append(
            Stay(
                said["upn"],
                _iso(came),
                left and _iso(left),
                _items(words),
                meals.get(learner, []),
                home,
                marks.get(learner, []),
            )
        )
    return stays


def _iso(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}"


# The school itself.

_ITSELF = {
    "tallybook": "SELECT replace(dfe_number, '/', ''), name FROM establishment",
    "inkwell": "SELECT DfENumber, SchoolName FROM SCHOOL",
    "chalkstone": "SELECT replace(dfe_number, '-', ''), title FROM organisation",
}


def itself(newest: Path, system: str) -> tuple[str, str]:
    """DfE number, seven digits, and name."""
    ((number, name),) = read(newest, _ITSELF[system])
    return number, name
