"""Two values of one field, compared: each function names the level at which they agree."""

from __future__ import annotations

from functools import lru_cache

from rapidfuzz.distance import OSA, JaroWinkler

from commonroom.registers.learners.matching.parameters import Frequencies, names, parameters
from commonroom.registers.learners.matching.phonetics import same_family_form, sound

Birth = tuple[int, int, int]

# From this Jaro-Winkler similarity on two names are alike.
SIMILAR = 0.88
# Names less alike than this are compared no further: the columnar scorer asks it of many at once.
LEAST_LIKENESS = 0.6
# Levels at which two given names may be one person's.
SAME_GIVEN = frozenset(("exact", "variant", "typo", "other", "swapped", "missing"))
# Levels at which both names being common together matters.
AGREEING = SAME_GIVEN - {"missing", "other"}
SAME_FAMILY = frozenset(("exact", "variant", "typo", "part", "swapped"))
_PAIRS = 400_000


@lru_cache(maxsize=_PAIRS)
def given_level(one: str, other: str) -> str:
    """How two first given names agree."""
    if not one or not other:
        return "missing"
    if one == other:
        return "exact"
    if len(one) == 1 or len(other) == 1:
        return "initial" if one[0] == other[0] else "disagree"
    if names().related("given", one, other):
        return "variant"
    return _spelling("given", one, other)


@lru_cache(maxsize=_PAIRS)
def family_level(one: str, other: str) -> str:
    """How two family names agree; names of several parts agree in part when they share one."""
    if not one or not other:
        return "missing"
    mine, yours = one.replace(" ", ""), other.replace(" ", "")
    if mine == yours:
        return "exact"
    if names().related("family", mine, yours):
        return "variant"
    if " " in one or " " in other:
        parts, others = one.split(), other.split()
        if sorted(parts) == sorted(others):
            return "variant"
        if any(part in others for part in parts):
            return "part"
    return _spelling("family", mine, yours)


def _spelling(kind: str, one: str, other: str) -> str:
    """One sound, a slip of the pen, or two names: when both are in use they are two, however near."""
    likeness = JaroWinkler.similarity(one, other)
    if likeness < LEAST_LIKENESS:
        return "disagree"
    if sound(one) == sound(other) or (kind == "family" and same_family_form(one, other)):
        return "variant"
    shorter = min(len(one), len(other))
    slips = 2 if shorter >= 8 else 1 if shorter >= 4 else 0
    if slips and OSA.distance(one, other, score_cutoff=slips) <= slips:
        least = parameters().guards.in_use
        if not (names().in_use(kind, one, least) and names().in_use(kind, other, least)):
            return "typo"
    return "similar" if likeness >= SIMILAR else "disagree"


def name_bits(frequencies: Frequencies, kind: str, level: str, one: str, other: str) -> float:
    """What a level of a given or family name weighs, by how common the commoner of the two is."""
    if level == "missing":
        return 0.0
    found = getattr(parameters().given if kind == "given" else parameters().family, level)
    bits: float = found.bits
    if found.u is not None:
        return bits
    if level == "part":
        shared = " ".join(part for part in one.split() if part in other.split())
        return bits + frequencies.rarity(kind, shared)
    return bits + min(frequencies.rarity(kind, one), frequencies.rarity(kind, other))


@lru_cache(maxsize=_PAIRS)
def birth_level(one: Birth, other: Birth) -> str:
    """How two dates of birth agree, each (year, month, day) with 0 for what is not known."""
    if not one[0] or not other[0]:
        return "missing"
    differing = [index for index in range(3) if one[index] and other[index] and one[index] != other[index]]
    if not differing:
        return _known_part(one, other)
    if not all(one) or not all(other):
        return "disagree"
    if one[0] == other[0] and one[1] == other[2] and one[2] == other[1]:
        return "swapped"
    if len(differing) == 1 and one_slip(one[differing[0]], other[differing[0]]):
        return "slip"
    return "near" if near_births(one, other) else "disagree"


def _known_part(one: Birth, other: Birth) -> str:
    if not (one[1] and other[1]):
        return "year"
    return "exact" if one[2] and other[2] else "month"


def one_slip(one: int, other: int) -> bool:
    """Whether two numbers of as many digits differ in one digit, or in the order of two that are neighbours."""
    mine, yours = f"{one:04d}", f"{other:04d}"
    places = [place for place in range(4) if mine[place] != yours[place]]
    if len(places) == 1:
        return True
    if len(places) != 2 or places[1] - places[0] != 1:
        return False
    first, second = places
    return mine[first] == yours[second] and mine[second] == yours[first]


def days(birth: Birth) -> int:
    """The day counted in months of 30 and years of 365 days: near enough to tell twins from siblings."""
    return birth[0] * 365 + birth[1] * 30 + birth[2]


def near_births(one: Birth, other: Birth) -> bool:
    """Whether two known dates are too near each other for brothers who are not twins."""
    return abs(days(one) - days(other)) <= parameters().guards.days_of_twins


def postcode_level(one: str, other: str) -> str:
    """How two postcodes agree: the same, one letter apart, the same district."""
    if not one or not other:
        return "missing"
    if one == other:
        return "exact"
    if len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) == 1:
        return "slip"
    return "district" if district(one) == district(other) else "disagree"


def district(postcode: str) -> str:
    """The part before the space of a United Kingdom postcode; of any other form the first half."""
    return postcode[:-3] if len(postcode) >= 5 else postcode[: (len(postcode) + 1) // 2]


def middle_level(one: tuple[str, ...], other: tuple[str, ...]) -> str:
    """How middle names agree: one shared is enough."""
    if not one or not other:
        return "missing"
    if not set(one).isdisjoint(other):
        return "agree"
    levels = {given_level(mine, yours) for mine in one for yours in other}
    if not levels.isdisjoint(("variant", "typo")):
        return "agree"
    return "initial" if "initial" in levels else "conflict"
