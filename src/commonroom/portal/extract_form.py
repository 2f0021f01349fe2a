"""The form by which somebody asks for an extract: what was typed becomes a declaration, or says what is wrong with it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import get_args

import msgspec

from commonroom import standard
from commonroom.standard import Entity
from commonroom.warehouse.extracts.model import (
    LONGEST,
    MOST_SCHOOLS,
    TAKEN,
    Declaration,
    Form,
    Table,
    naming_items,
)

FORMS: dict[Form, str] = {
    "pseudonymised": "Without names: pupils have a key that no other extract shares",
    "identifiable": "With what names persons: only where nothing less would do",
}
ROWS = {
    "period": "All that began in the period",
    "day": "As it stood on the last day of the period",
}
DATES = {
    "evidence_on": "The evidence is of which day?",
    "first": "First day of the period",
    "last": "Last day of the period",
    "checking_from": "From when can it be checked?",
    "freeze_on": "When is it made?",
    "expires_on": "Until when is it kept?",
}
TEXTS = {
    "title": "Enter a title",
    "purpose": "Say what it is for",
    "legal_basis": "Say which law allows it",
    "evidence": "Say where your protection is described",
}
# The same in an error.
DATES_SHORT = {
    "evidence_on": "the day of the evidence",
    "first": "the first day of the period",
    "last": "the last day of the period",
    "checking_from": "the day from which it is checked",
    "freeze_on": "the day on which it is made",
    "expires_on": "the day until which it is kept",
}
PARTS = ("day", "month", "year")
MOST_TABLES = 12
LONGEST_NAME = 50
DIGITS_OF_A_YEAR = 4
_URN = re.compile(r"[0-9]{6}")
_PART_OF_NAME = re.compile(r"[^a-z0-9]+")


class Choice(msgspec.Struct, frozen=True):
    """What the first step chose."""

    form: Form
    entities: tuple[Entity, ...]

    def offered(self, entity: Entity) -> list[str]:
        """The items that may be asked for in this form."""
        withheld = naming_items(entity) if self.form == "pseudonymised" else set()
        return [item.name for item in entity.items if item.name not in withheld]


def chosen(form: str, names: list[str]) -> Choice | None:
    """The choice of the first step; None when it is not complete, or names what there is not."""
    known = standard.load().entities
    names = list(dict.fromkeys(names))
    if form not in get_args(Form) or not 0 < len(names) <= MOST_TABLES or not set(names) <= set(known):
        return None
    return Choice(next(one for one in FORMS if one == form), tuple(known[name] for name in names))


def areas() -> dict[str, list[Entity]]:
    """The entities of the standard by area, for the first step."""
    found: dict[str, list[Entity]] = {}
    for entity in sorted(standard.load().entities.values(), key=lambda one: one.title):
        found.setdefault(standard.load().areas[entity.area], []).append(entity)
    return dict(sorted(found.items()))


def read(
    choice: Choice, typed: Mapping[str, str], requester: str
) -> tuple[Declaration | None, dict[str, str]]:
    """The declaration, or what to correct by the field where it stands."""
    wrong: dict[str, str] = {}
    for name, words in TEXTS.items():
        text = typed.get(name, "").strip()
        if not text:
            wrong[name] = words
        elif len(text) > LONGEST[name]:
            wrong[name] = f"Write at most {LONGEST[name]:,} characters"
    days = {name: _day(typed, name) for name in DATES}
    wrong |= {
        f"{name}-day": f"Enter {DATES_SHORT[name]}, such as 15 10 2026"
        for name, day in days.items()
        if day is None
    }
    given = {name: day for name, day in days.items() if day is not None}
    wrong |= _order(given)
    schools = _schools(typed.get("schools", ""))
    if schools is None:
        wrong["schools"] = "Write URNs of six digits with spaces between, or nothing for all schools"
    elif schools:
        without = [entity.title for entity in choice.entities if "school" not in entity.by_name]
        if without:
            wrong["schools"] = f"{', '.join(without)} is of no school: leave the schools or the record out"
    tables = [_table(choice, entity, typed, given) for entity in choice.entities]
    for entity, table in zip(choice.entities, tables, strict=True):
        if table is None or not table.items:
            wrong[f"items-{entity.name}"] = f"Choose at least one item of {entity.title.lower()}"
    if wrong:
        return None, wrong
    return (
        Declaration(
            name=name_of(typed["title"]),
            title=typed["title"].strip(),
            requester=requester,
            purpose=typed["purpose"].strip(),
            legal_basis=typed["legal_basis"].strip(),
            form=choice.form,
            tables=[table for table in tables if table is not None],
            checking_from=given["checking_from"],
            freeze_on=given["freeze_on"],
            expires_on=given["expires_on"],
            evidence=typed["evidence"].strip(),
            schools=schools or None,
            evidence_on=given["evidence_on"],
        ),
        {},
    )


def name_of(title: str, number: int = 1) -> str:
    """A name for addresses: letters and digits of the title; `number` tells those of the same title apart."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = _PART_OF_NAME.sub("-", plain).strip("-")[:LONGEST_NAME].strip("-") or "extract"
    if name == TAKEN:
        name = f"{name}-extract"
    return name if number == 1 else f"{name}-{number}"


def summary(name: str) -> str:
    """What a table of the declaration holds, in the words of the standard."""
    entity = standard.load().entities.get(name)
    return entity.title if entity else name


def _table(choice: Choice, entity: Entity, typed: Mapping[str, str], given: dict[str, date]) -> Table | None:
    items = [name for name in choice.offered(entity) if typed.get(f"item-{entity.name}-{name}")]
    if typed.get(f"rows-{entity.name}", "period") == "day":
        return Table(entity=entity.name, items=items, on=given.get("last"))
    return Table(entity=entity.name, items=items, first=given.get("first"), last=given.get("last"))


def _order(given: dict[str, date]) -> dict[str, str]:
    """What is wrong with days that do not follow each other."""
    wrong = {}
    for earlier, later, words in (
        ("first", "last", "The last day is not before the first"),
        ("checking_from", "freeze_on", "It is made when checking has begun"),
    ):
        if earlier in given and later in given and given[later] < given[earlier]:
            wrong[f"{later}-day"] = words
    if "freeze_on" in given and "expires_on" in given and given["expires_on"] <= given["freeze_on"]:
        wrong["expires_on-day"] = "It is kept longer than until the day it is made"
    return wrong


def _day(typed: Mapping[str, str], name: str) -> date | None:
    parts = [typed.get(f"{name}-{part}", "").strip() for part in PARTS]
    if not all(part.isascii() and part.isdigit() and len(part) <= 4 for part in parts):
        return None
    day, month, year = map(int, parts)
    if len(parts[-1]) != DIGITS_OF_A_YEAR:  # 26 is a year of the Romans
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _schools(text: str) -> list[str] | None:
    names = text.replace(",", " ").split()
    if len(names) > MOST_SCHOOLS or not all(_URN.fullmatch(name) for name in names):
        return None
    return list(dict.fromkeys(names))
