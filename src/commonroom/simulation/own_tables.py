"""What a school's own tables say, read for the reconciliation alone.

Each maker's tables are read plainly and put together here in Python: neither the queries of the mappings nor any code of
the agent or the warehouse is used, so that a fault in one of them cannot hide itself.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

Key = tuple[str, ...]
Content = tuple[str, ...]

LEARNER_ITEMS = (
    "given_name", "family_name", "date_of_birth", "sex", "ethnicity", "language", "fsm", "sen_provision",
    "address_line1", "town", "postcode", "uln",
)  # fmt: skip
ENROLMENT_ITEMS = (
    "enrolment_status", "nc_year", "leaving_date", "leaving_reason", "destination", "part_time",
)  # fmt: skip
MARK_ITEMS = ("code",)
INTAKE_ITEMS = ("published_number",)
ITEMS: dict[str, tuple[str, ...]] = {
    "learner": LEARNER_ITEMS,
    "enrolment": ENROLMENT_ITEMS,
    "attendance_mark": MARK_ITEMS,
    "admission_number": INTAKE_ITEMS,
}
# What names one record within a school, besides the day from which it holds.
KEYS: dict[str, tuple[str, ...]] = {
    "learner": ("upn",),
    "enrolment": ("upn", "entry_date"),
    "attendance_mark": ("upn", "date", "session"),
    "admission_number": ("admission_year", "nc_year"),
}
YES, NO = "1", "0"


class OwnTable(msgspec.Struct, frozen=True):
    """The records of one entity in one school. Keys end with the day from which the record holds.

    Without history only the present record of each key is there, and older ones may be elsewhere by right.
    """

    keeps_history: bool
    rows: dict[Key, Content]


class OwnRecords(msgspec.Struct, frozen=True):
    """All that is compared of one school, by entity, and how many pupils are on its roll."""

    tables: dict[str, OwnTable]
    on_roll: int


def read_school(path: Path, system: str) -> OwnRecords:
    """One school's own records, all of one moment. Dates are ISO text, yes and no are 1 and 0, nothing is ''."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.execute("BEGIN")
        return _READERS[system](connection)


def _records(
    learner: OwnTable, enrolment: OwnTable, marks: dict[Key, Content], intakes: dict[Key, Content]
) -> OwnRecords:
    leaving = ENROLMENT_ITEMS.index("leaving_date")
    present: dict[Key, tuple[str, Content]] = {}
    for (*key, valid_from), content in enrolment.rows.items():
        held = present.get(tuple(key))
        if held is None or held[0] < valid_from:
            present[tuple(key)] = valid_from, content
    on_roll = sum(1 for _, content in present.values() if not content[leaving])
    tables = {
        "learner": learner,
        "enrolment": enrolment,
        "attendance_mark": OwnTable(True, marks),
        "admission_number": OwnTable(learner.keeps_history, intakes),
    }
    return OwnRecords(tables, on_roll)


# Tallybook: histories are put together person by person.


def _tallybook(connection: sqlite3.Connection) -> OwnRecords:
    upns: dict[int, str] = dict(connection.execute("SELECT person_id, upn FROM person"))
    years = {-2: "N1", -1: "N2", 0: "R", 99: "X"}
    stays = connection.execute(
        "SELECT person_id, admitted, registration, year_group, left_on, leaving_reason, next_school, half_days FROM stay"
    )
    enrolment: dict[Key, Content] = {
        (upns[person], admitted, admitted): (
            {1: "C", 2: "M", 3: "S", 4: "G"}[registration],
            years.get(year, str(year)),
            left_on or "",
            reason or "",
            str(next_school or ""),
            YES if half_days else NO,
        )
        for person, admitted, registration, year, left_on, reason, next_school, half_days in stays
    }
    letters: dict[int, str] = dict(connection.execute("SELECT mark_code_id, letter FROM mark_code"))
    day_zero = date(1899, 12, 30)
    marks: dict[Key, Content] = {}
    for number, half, person, code in connection.execute(
        "SELECT session_day, half, person_id, mark_code_id FROM session_mark"
    ):
        day = (day_zero + timedelta(days=number)).isoformat()
        marks[upns[person], day, ("AM", "PM")[half - 1], day] = (letters[code],)
    intakes: dict[Key, Content] = {
        (_school_year(opens), years.get(year, str(year)), announced): (str(seats),)
        for opens, year, seats, announced in connection.execute(
            "SELECT opens, year_group, seats, announced_on FROM intake"
        )
    }
    learner = OwnTable(True, _tallybook_learners(connection, upns))
    return _records(learner, OwnTable(True, enrolment), marks, intakes)


def _school_year(opens: int) -> str:
    return f"{opens}/{str(opens + 1)[-2:]}"


def _tallybook_learners(connection: sqlite3.Connection, upns: dict[int, str]) -> dict[Key, Content]:
    homes = _by_person(
        connection.execute("SELECT person_id, start_date, line_1, town, postcode FROM address_history")
    )
    meals = _by_person(connection.execute("SELECT person_id, start_date, end_date FROM free_meal_history"))
    stages = _by_person(connection.execute("SELECT person_id, start_date, stage FROM sen_history"))
    groups: dict[int, str] = dict(connection.execute("SELECT ethnic_group_id, census_code FROM ethnic_group"))
    rows: dict[Key, Content] = {}
    for person, forename, surname, born, gender, group, language, uln in connection.execute(
        "SELECT person_id, forename, surname, born, gender_id, ethnic_group_id, first_language, uln FROM person"
    ):
        ended = [_day_after(end) for _, end in meals[person] if end]
        begun = [row[0] for row in (*homes[person], *meals[person], *stages[person])]
        for day in {*begun, *ended}:
            line, town, postcode = max(home for home in homes[person] if home[0] <= day)[1:]
            stage = max(row for row in stages[person] if row[0] <= day)[1]
            entitled = any(start <= day and (not end or day <= end) for start, end in meals[person])
            rows[upns[person], day] = (
                forename,
                surname,
                born[:10],
                {1: "M", 2: "F"}[gender],
                groups[group],
                language,
                YES if entitled else NO,
                "NKE"[stage],
                line,
                town,
                postcode,
                uln or "",
            )
    return rows


def _by_person(rows: Iterable[tuple[Any, ...]]) -> dict[int, list[tuple[Any, ...]]]:
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for person, *rest in rows:
        found[person].append(tuple(rest))
    return found


def _day_after(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


# Inkwell: what stands in the wide table is all there is.


def _inkwell(connection: sqlite3.Connection) -> OwnRecords:
    connection.row_factory = sqlite3.Row
    learner: dict[Key, Content] = {}
    enrolment: dict[Key, Content] = {}
    for row in connection.execute("SELECT * FROM PUPILS"):
        learner[row["UPN"], _from_british(row["LastAmended"])] = (
            row["Forename"],
            row["Surname"],
            _from_british(row["DOB"]),
            row["Gender"][0],
            row["EthnicCode"],
            row["LanguageCode"],
            YES if row["FreeMeals"] == "Y" else NO,
            {"No SEN": "N", "SEN Support": "K", "EHC Plan": "E"}[row["SENStage"]],
            row["Address"],
            row["Town"],
            row["PostCode"],
            row["ULN"],
        )
        entered, left = _from_british(row["DateOfEntry"]), _from_british(row["DateOfLeaving"])
        enrolment[row["UPN"], entered, left or entered] = (
            "C",
            _inkwell_year(row["YearGroup"]),
            left,
            row["LeavingCode"],
            row["NextSchool"],
            YES if row["PartTime"] == "Y" else NO,
        )
    long_codes = {"c": "C1", "d": "C2", "j": "J1", **{str(number): f"Y{number}" for number in range(1, 8)}}
    marks: dict[Key, Content] = {}
    for upn, week, letters in connection.execute("SELECT UPN, WeekBeginning, Marks FROM WEEKLY_REGISTER"):
        monday = date.fromisoformat(_from_british(week))
        for place, letter in enumerate(letters):
            if letter != ".":
                day = (monday + timedelta(days=place // 2)).isoformat()
                marks[upn, day, ("AM", "PM")[place % 2], day] = (long_codes.get(letter, letter),)
    intakes: dict[Key, Content] = {}
    for years, year, places, amended in connection.execute(
        "SELECT AcademicYear, YearGroup, Places, LastAmended FROM ADMISSION_LIMITS"
    ):
        opens = int(years.split("-")[0])
        intakes[_school_year(opens), _inkwell_year(year), _from_british(amended)] = (str(places),)
    return _records(OwnTable(False, learner), OwnTable(False, enrolment), marks, intakes)


def _inkwell_year(name: str) -> str:
    year = name.removeprefix("Year ")
    return {"Nursery 1": "N1", "Nursery 2": "N2", "Reception": "R", "Ungraded": "X"}.get(year, year)


def _from_british(text: str) -> str:
    return "-".join(reversed(text.split("/"))) if text else ""


# Chalkstone: the entries are replayed in the order in which they were made.

_WORDS = {
    "late": "L", "late after close": "U", "provision elsewhere": "K", "visit": "V", "sport": "P",
    "work experience": "W", "other activity": "B", "ill": "I", "appointment": "M", "special leave": "C",
    "performance": "C1", "part-time timetable": "C2", "interview": "J1", "religious": "R", "study leave": "S",
    "travelling": "T", "suspended": "E", "holiday": "G", "unexplained": "N", "unauthorised": "O",
    "other school": "D", "not required": "X", "no access": "Q",
}  # fmt: skip


def _chalkstone(connection: sqlite3.Connection) -> OwnRecords:
    stated: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for learner, attribute, value, day in connection.execute(
        "SELECT learner, attribute, value, effective_on FROM learner_attribute ORDER BY entry"
    ):
        stated[learner][day][attribute] = value
    upns: dict[str, str] = {}
    learners: dict[Key, Content] = {}
    for learner, days in stated.items():
        known: dict[str, str] = {}
        for day in sorted(days):
            known |= days[day]
            upns[learner] = known["upn"]
            learners[known["upn"], _from_compact(day)] = _chalkstone_learner(known)
    marks = _chalkstone_marks(connection, upns)
    intakes: dict[Key, Content] = {}
    for day, detail in connection.execute(
        "SELECT effective_on, detail FROM intake_announcement ORDER BY entry"
    ):
        told = json.loads(detail)
        intakes[_school_year(told["september"]), told["year"], _from_compact(day)] = (str(told["seats"]),)
    stays = OwnTable(True, _chalkstone_stays(connection, upns))
    return _records(OwnTable(True, learners), stays, marks, intakes)


def _chalkstone_learner(known: dict[str, str]) -> Content:
    return (
        known["name.given"],
        known["name.family"],
        _from_compact(known["born"]),
        known["sex"][0].upper(),
        known["ethnic"],
        known["tongue"],
        YES if known["freeMeals"] == "true" else NO,
        {"none": "N", "support": "K", "plan": "E"}[known["support"]],
        known["home.line"],
        known["home.town"],
        known["home.postcode"],
        known.get("uln", ""),
    )


def _chalkstone_stays(connection: sqlite3.Connection, upns: dict[str, str]) -> dict[Key, Content]:
    rows: dict[Key, Content] = {}
    admitted: dict[str, tuple[str, dict[str, str]]] = {}
    for learner, stay, kind, day, detail in connection.execute(
        "SELECT learner, stay, kind, effective_on, detail FROM membership_event ORDER BY entry"
    ):
        stated = json.loads(detail)
        if kind == "admitted":
            admitted[stay] = _from_compact(day), stated
        entry, terms = admitted[stay]
        left = (
            (_from_compact(day), stated["reason"], stated.get("next", "")) if kind == "left" else ("", "", "")
        )
        part_time = NO if terms["fullTime"] == "true" else YES
        rows[upns[learner], entry, _from_compact(day)] = ("C", terms["year"], *left, part_time)
    return rows


def _chalkstone_marks(connection: sqlite3.Connection, upns: dict[str, str]) -> dict[Key, Content]:
    marks: dict[Key, Content] = {}

    def note(day: str, session: str, learner: str, word: str) -> None:
        date_ = _from_compact(day)
        code = _WORDS.get(word) or {"AM": "/", "PM": "\\"}[session]
        marks[upns[learner], date_, session, date_] = (code,)

    for session, statement in (
        ("AM", "SELECT taken_on, learner, mark FROM register_am"),
        ("PM", "SELECT taken_on, learner, mark FROM register_pm"),
    ):
        for day, learner, word in connection.execute(statement):
            note(day, session, learner, word)
    for day, half, learner, word in connection.execute(
        "SELECT taken_on, half, learner, mark FROM register_amendment ORDER BY entry"
    ):
        note(day, half.upper(), learner, word)
    return marks


def _from_compact(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}"


_READERS: dict[str, Callable[[sqlite3.Connection], OwnRecords]] = {
    "tallybook": _tallybook,
    "inkwell": _inkwell,
    "chalkstone": _chalkstone,
}
