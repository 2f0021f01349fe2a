"""What an extract is to hold, for whom and for how long: a declaration, judged before anybody approves it."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec

from commonroom import declarations, standard
from commonroom.problems import Problem, add_codes
from commonroom.standard import Entity

add_codes(
    {
        "CR-265": "The extract cannot be asked for so",
        "CR-266": "There is no such extract for you",
        "CR-267": "The extract is not at this step",
        "CR-268": "The extract is not what was frozen",
        "CR-269": "The requester is not known to protect the extract well enough",
    }
)

Form = Literal["pseudonymised", "identifiable"]
PUPIL = "pupil"  # the column of pseudonyms
# Characters of what is written by hand.
LONGEST = {"title": 200, "purpose": 2000, "legal_basis": 500, "evidence": 500}
MOST_SCHOOLS = 2000
LONGEST_YEARS = 10  # from the day it is asked for until it expires
TAKEN = "new"  # where one is asked for in the portal
_NAME = re.compile(r"(?=.*[a-z0-9])[a-z0-9-]{1,60}")
# Items that name a person by themselves, or the place of a home. Codes, counts and yes or no describe one among many.
_NAMING = ("identifier", "string", "date", "decimal")


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of one entity: the states on a day, or all that began in a period."""

    entity: str
    items: list[str]
    on: date | None = None
    first: date | None = None
    last: date | None = None


class Declaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request. Days are those of the domain clock, both ends included."""

    name: str
    title: str
    requester: str  # alias or urn of the party
    purpose: str
    legal_basis: str
    form: Form
    tables: list[Table]
    checking_from: date
    freeze_on: date
    expires_on: date
    evidence: str  # where the requester's protection is described; the hub's dated evidence decides
    schools: list[str] | None = None  # URNs; None: all
    evidence_on: date | None = None  # the day of that evidence


def load(path: Path) -> Declaration:
    """A request from its file. Raises Problem CR-001 naming file, line and key, or CR-265."""
    found = declarations.load(path, Declaration)
    judge(found)
    return found


def judge(asked: Declaration) -> None:
    """Raise Problem CR-265 for what may not be asked for, or could not be made."""
    if not _NAME.fullmatch(asked.name) or asked.name == TAKEN:
        raise _not_so(
            f"its name has small letters, digits and - only, at most 60, and is not {TAKEN}", "name"
        )
    for item, most in LONGEST.items():
        text = getattr(asked, item)
        if not text.strip() or len(text) > most or not text.replace("\r", "").replace("\n", "").isprintable():
            raise _not_so(f"it has 1 to {most:,} characters that can be printed", item)
    if len(asked.schools or ()) > MOST_SCHOOLS:
        raise _not_so(f"it names at most {MOST_SCHOOLS:,} schools, or none for all", "schools")
    if not asked.checking_from <= asked.freeze_on < asked.expires_on:
        raise _not_so(
            "checking, freezing and expiry follow each other", "checking_from, freeze_on, expires_on"
        )
    if not asked.tables:
        raise _not_so("it holds no table", "tables")
    if len({table.entity for table in asked.tables}) < len(asked.tables):
        raise _not_so("two of its tables are of one entity", "tables")
    for table in asked.tables:
        _judge_table(asked, table)


def judge_days(asked: Declaration, today: date) -> None:
    """Raise Problem CR-265 for days that no request of today may name."""
    if asked.expires_on > _years_after(today, LONGEST_YEARS):
        raise _not_so(f"it is kept until {LONGEST_YEARS} years from today at the longest", "expires_on")
    if asked.evidence_on is not None and asked.evidence_on > today:
        raise _not_so("the day of the evidence has come", "evidence_on")


def _judge_table(asked: Declaration, table: Table) -> None:
    entity = standard.load().entities.get(table.entity)
    if entity is None:
        raise _not_so(f"the standard has no entity {table.entity[:60]}", "tables")
    if (table.on is None) == (table.first is None or table.last is None):
        raise _not_so("each table is of a day (on) or of a period (first, last)", table.entity)
    if table.first is not None and table.last is not None and table.last < table.first:
        raise _not_so("the last day of its period is before the first", table.entity)
    if not table.items:
        raise _not_so("no item of it is asked for", table.entity)
    if unknown := sorted(set(table.items) - set(entity.by_name)):
        raise _not_so(f"the entity has no item {', '.join(unknown)}", table.entity)
    if asked.form == "pseudonymised" and (named := sorted(set(table.items) & naming_items(entity))):
        raise _not_so(
            f"{', '.join(named)} would name persons in a pseudonymised extract",
            table.entity,
            "Leave it out: pupils have the column `pupil` instead. Or ask for an identifiable extract.",
        )
    if asked.schools is not None and "school" not in entity.by_name:
        raise _not_so("the entity is of no school, and the extract is of some", table.entity)


def naming_items(entity: Entity) -> set[str]:
    """The items of an entity that name a person."""
    return {item.name for item in entity.items if item.personal and item.type in _NAMING}


def _years_after(day: date, years: int) -> date:
    """The same day so many years later; of 29 February the day before."""
    if (day.month, day.day) == (2, 29):
        day = day.replace(day=28)
    return day.replace(year=day.year + years)


def _not_so(detail: str, where: str, remedy: str = "Correct the request, and ask again.") -> Problem:
    return Problem("CR-265", detail, where=where, remedy=remedy)
