"""Of which learner a record is that names none by a UPN: the number for life (ULN) leads from a college to the schools.

Colleges and training providers know their learners by references of their own and by the ULN; schools have the ULN that
the register of learners gave beside the UPN in their own record of the pupil. Both are facts, so the way from one to the
other is as known at a time like all else, and the same on every engine. It is for life: on whichever day it was learned,
it holds for all days. A number that schools have for two people, at one school or at two, leads to nobody, nor does the
temporary one; two UPNs of one person, as the register of learners has them, are one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commonroom.warehouse import tables
from commonroom.warehouse.tables import LEARNER_ID

# The facts that an expression reads besides, by the names that it has for them.
PUPIL, HELD = "numbered_pupils", "numbered_learners"
SOURCES = {PUPIL: "learner", HELD: "provider_learner"}
_ULN = "uln"
_TEMPORARY = "9999999999"  # of all whose number is still being found
_HOLDER = ("provider", "learner")  # the key of a learner at a provider

Facts = Callable[[str], Any]
Persons = Callable[[Any], Any]


def needed(entity: str) -> dict[str, str] | None:
    """The entities by which records of one lead to learners, by name; None where nothing does."""
    table = tables.of(entity)
    if table.names_learner:
        return {}
    if _ULN in table.items:
        return {PUPIL: SOURCES[PUPIL]}
    return dict(SOURCES) if set(_HOLDER) <= set(table.items) else None


def columns_of(entity: str) -> set[str]:
    """The items of an entity that are part of the way."""
    return {_ULN, *_HOLDER} & set(tables.of(entity).items)


def with_learner(rows: Any, entity: str, newest: Facts, persons: Persons) -> Any:
    """Rows of an entity with our own key of whom each learner is now, those left out that lead to nobody, in Ibis.

    `newest` gives what was said last under each key of the facts of a name, `persons` rows with that key of theirs.
    """
    if tables.of(entity).names_learner:
        return persons(rows)
    if _ULN not in rows.columns:
        held = newest(HELD)
        held = held.select(*_HOLDER, held[_ULN])
        rows = rows.inner_join(held, list(_HOLDER))
    return rows.inner_join(_learners(persons(newest(PUPIL))), _ULN)


def _learners(pupils: Any) -> Any:
    """Each number with the one person who has it, by what their schools say: whose it is, two people cannot tell."""
    numbered = pupils.filter(pupils[_ULN].notnull() & (pupils[_ULN] != _TEMPORARY))
    whose = numbered[LEARNER_ID]
    one = numbered.group_by(_ULN).aggregate(**{LEARNER_ID: whose.min()}, other=whose.max())
    return one.filter(one[LEARNER_ID] == one.other).select(_ULN, LEARNER_ID)
