"""The guards of `guards` in columns. A test compares the two case by case."""

from __future__ import annotations

import msgspec
import numpy as np

from commonroom.registers.learners.matching.compare import SAME_FAMILY, SAME_GIVEN
from commonroom.registers.learners.matching.levels import BIRTH, EQUAL, HOME, MIDDLE, UPN, member
from commonroom.registers.learners.matching.name_levels import NAME, Small
from commonroom.registers.learners.matching.vocabulary import Bools

GUARDS = (None, "twin", "different", "upn", "birth", "names", "margin", "file")


class LevelColumns(msgspec.Struct, frozen=True):
    """What the guards look at, a row for each pair."""

    given: Small
    family: Small
    birth: Small
    near: Bools
    gender: Small
    postcode: Small
    home: Bools
    upn: Small
    middle: Small
    shared: Bools


def guard_columns(levels: LevelColumns) -> Small:
    """The place in `GUARDS` of the first guard that holds for each pair."""

    def given(*names: str) -> Bools:
        return member(levels.given, NAME, names)

    def birth(*names: str) -> Bools:
        return member(levels.birth, BIRTH, names)

    same_given = member(levels.given, NAME, SAME_GIVEN)
    born_together = birth("exact", "month", "year", "swapped") | levels.near
    related = member(levels.family, NAME, SAME_FAMILY) | levels.home
    other_sex = levels.gender == EQUAL.index("disagree")
    same_upn = levels.upn == UPN.index("same")
    other_upn = levels.upn == UPN.index("differ")
    conflict = levels.middle == MIDDLE.index("conflict")

    names_differ = ~same_given | conflict
    twin_with_upn = names_differ & other_upn
    together = np.where(
        twin_with_upn, related, other_sex & related & ~given("exact", "missing", "swapped", "other")
    )
    apart = ~birth("missing") & (given("disagree", "middle") | other_upn | (other_sex & ~given("exact")))
    different = ~same_upn & np.where(born_together, together, apart)
    twin = ~same_given & born_together & related
    upn = other_upn | (same_upn & ~(same_given & ~birth("disagree")))
    slip = birth("slip") & ~given("exact")
    moved = birth("slip", "swapped") & (levels.postcode == HOME.index("disagree")) & ~levels.home
    born_otherwise = ~same_upn & (birth("disagree", "near", "missing") | slip | moved)
    family_and_sex = (levels.family == NAME.index("disagree")) & other_sex
    brothers = given("variant") & levels.shared & (levels.middle != MIDDLE.index("agree"))
    names = ~same_upn & (conflict | family_and_sex | brothers)
    return np.select([different, twin, upn, born_otherwise, names], [2, 1, 3, 4, 5], 0).astype(np.int8)
