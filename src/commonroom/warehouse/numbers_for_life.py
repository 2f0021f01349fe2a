"""Of which learner a record is that names none by a UPN: the number for life (ULN) leads from a college to the schools.

Colleges and training providers know their learners by references of their own and by the ULN; schools have the ULN that
the register of learners gave beside the UPN in their own record of the pupil. Both are facts, so the way from one to the
other is as known at a time like all else, and the same on every engine. It is for life: on whichever day it was learned,
it holds for all days. A number that a school has for two of its pupils leads to nobody, nor does the temporary one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from commonroom.warehouse import tables
from commonroom.warehouse.tables import LEARNER_ID, LEARNER_ITEM

# The facts that an expression reads besides, by the names that it has for them.
PUPIL, HELD = "numbered_pupils", "numbered_learners"
SOURCES = {PUPIL: "learner", HELD: "provider_learner"}
_ULN, _SCHOOL = "uln", "school"
_TEMPORARY = "9999999999"  # of all whose number is still being found
_HOLDER = ("provider", "learner")  # the key of a learner at a provider

Facts = Callable[[str], Any]


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


def with_learner(rows: Any, entity: str, newest: Facts) -> Any:
    """Rows of an entity with our own key of the learner, those left out that lead to nobody, in Ibis.

    `newest` gives what was said last under each key of the facts of a name.
    """
    if tables.of(entity).names_learner:
        return rows
    if _ULN not in rows.columns:
        held = newest(HELD)
        held = held.select(*_HOLDER, held[_ULN])
        rows = rows.inner_join(held, list(_HOLDER))
    return rows.inner_join(_learners(newest(PUPIL)), _ULN)


def _learners(pupils: Any) -> Any:
    """Each number with the learners who have it, by what their schools say: of two UPNs of one person, both."""
    numbered = pupils.filter(pupils[_ULN].notnull() & (pupils[_ULN] != _TEMPORARY))
    one = numbered.group_by([_SCHOOL, _ULN]).aggregate(
        first=numbered[LEARNER_ITEM].min(), last=numbered[LEARNER_ITEM].max()
    )
    alone = one.filter(one.first == one.last)
    known = numbered.semi_join(alone, [_SCHOOL, _ULN])
    return known.select(_ULN, LEARNER_ID).distinct()
