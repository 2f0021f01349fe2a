"""Guards: what keeps a pair from being joined without a clerk, however much it weighs. They decide safety."""

from __future__ import annotations

from typing import NamedTuple

from commonroom.registers.learners.matching.compare import SAME_FAMILY, SAME_GIVEN
from commonroom.registers.learners.matching.parameters import parameters

# In words, for the clerk.
WORDS = {
    "twin": "The given names differ and birth and family or home agree: perhaps a twin.",
    "different": "Another given name with another sex, birth or UPN: a brother, a sister or a twin, not the same person.",
    "upn": "The UPNs contradict the names or each other.",
    "birth": "The dates of birth do not agree: perhaps a brother or sister, or father and son.",
    "names": "The names tell two people apart: other middle names, or a name that brothers share.",
    "margin": "Two registered people fit about as well.",
    "file": "Another learner of the same file already has this number.",
}


class Levels(NamedTuple):
    """What the guards look at."""

    given: str
    family: str
    birth: str
    near: bool
    gender: str
    postcode: str
    home: bool
    upn: str
    middle: str
    shared: bool


def guard(levels: Levels) -> str | None:
    """The first guard that holds, None when nothing speaks against joining."""
    same_given = levels.given in SAME_GIVEN
    born_together = levels.birth in ("exact", "month", "year", "swapped") or levels.near
    related = levels.family in SAME_FAMILY or levels.home
    if levels.upn != "same" and _is_another(levels, same_given, born_together, related):
        return "different"
    if not same_given and born_together and related:
        return "twin"
    if levels.upn == "differ" or (levels.upn == "same" and not (same_given and levels.birth != "disagree")):
        return "upn"
    if levels.upn != "same" and _birth_disagrees(levels):
        return "birth"
    if levels.upn != "same" and _names_disagree(levels):
        return "names"
    return None


def _is_another(levels: Levels, same_given: bool, born_together: bool, related: bool) -> bool:
    """Twins of two sexes or with two UPNs, brothers and sisters: certainly not one person."""
    other_sex = levels.gender == "disagree"
    if born_together:
        names_differ = not same_given or levels.middle == "conflict"
        if names_differ and levels.upn == "differ":
            return related
        return other_sex and related and levels.given not in ("exact", "missing", "swapped", "other")
    if levels.birth == "missing":
        return False
    return (
        levels.given in ("disagree", "middle")
        or levels.upn == "differ"
        or (other_sex and levels.given != "exact")
    )


def _birth_disagrees(levels: Levels) -> bool:
    if levels.birth in ("disagree", "near", "missing"):
        return True
    # A slip is believed when the rest is beyond doubt: not with another form of the name, not after a move.
    if levels.birth == "slip" and levels.given != "exact":
        return True
    return levels.birth in ("slip", "swapped") and levels.postcode == "disagree" and not levels.home


def _names_disagree(levels: Levels) -> bool:
    if levels.middle == "conflict":
        return True
    if levels.family == "disagree" and levels.gender == "disagree":
        return True
    return levels.given == "variant" and levels.shared and levels.middle != "agree"


def shared_by_brothers(one: str, other: str) -> bool:
    """Whether either is a name that brothers or sisters share."""
    names = parameters().guards.shared_by_brothers
    return one in names or other in names
