"""The scalar scorer: Fellegi-Sunter with term frequencies. It is the reference for the columnar one."""

from __future__ import annotations

from typing import NamedTuple

from commonroom.registers.learners.matching import compare, guards
from commonroom.registers.learners.matching.normalise import (
    Name,
    Prepared,
    is_permanent,
    normalise,
    normalise_known,
)
from commonroom.registers.learners.matching.parameters import (
    Frequencies,
    Level,
    parameters,
    prior,
    table_frequencies,
)
from commonroom.registers.learners.matching.people import Details, Known, Part, Weighed


class NamesFound(NamedTuple):
    """The strongest agreement among all names that the two are known by."""

    given: str
    family: str
    given_bits: float
    family_bits: float
    # The two given names that were compared, and the registered family name.
    pair: tuple[str, str]
    registered_family: str


def weigh(
    query: Details | Prepared,
    known: Known | Prepared,
    *,
    registered: int | None = None,
    frequencies: Frequencies | None = None,
) -> Weighed:
    """How strongly `known` is who the query speaks of, field by field.

    `registered` is how many persons the register holds (None: the number the parameters declare): the more there are,
    the more it takes to be one of them. `frequencies` are the register's own of names (None: the country's).
    """
    counts = frequencies or table_frequencies()
    one = normalise(query) if isinstance(query, Details) else query
    other = normalise_known(known) if isinstance(known, Known) else known
    found = names_of(one, other, counts)
    birth = compare.birth_level(one.birth, other.birth)
    gender = gender_level(one.gender, other.gender)
    home, postcode = home_of(one, other)
    upn = upn_level(one.upns, other.upns)
    middle = (
        "missing" if found.given in ("other", "middle") else compare.middle_level(one.middle, other.middle)
    )
    place = equal_level(one.place_of_birth, other.place_of_birth)
    school = equal_level(one.school_at_16, other.school_at_16)
    scales = parameters()
    parts = (
        Part("register", "size", prior(registered)),
        Part("given", found.given, found.given_bits),
        Part("family", found.family, found.family_bits),
        together(found, counts),
        Part("birth", birth, birth_bits(birth, one.birth)),
        Part("gender", gender, level_bits(scales.gender, gender)),
        home,
        Part("upn", upn, level_bits(scales.upn, upn)),
        Part("middle", middle, level_bits(scales.middle, middle)),
        Part("place", place, level_bits(scales.place, place)),
        Part("school", school, level_bits(scales.school, school)),
    )
    levels = guards.Levels(
        given=found.given,
        family=found.family,
        birth=birth,
        near=bool(all(one.birth) and all(other.birth)) and compare.near_births(one.birth, other.birth),
        gender=gender,
        postcode=postcode,
        home=home.weight > 0 and home.level not in ("town", "district"),
        upn=upn,
        middle=middle,
        shared=guards.shared_by_brothers(*found.pair),
    )
    person = known.person if isinstance(known, Known) else None
    weight = round(sum(part.weight for part in parts), 6)
    return Weighed(person, weight, parts, guards.guard(levels))


def names_of(query: Prepared, known: Prepared, frequencies: Frequencies) -> NamesFound:
    """The strongest agreement over current, previous and former names."""
    best: NamesFound | None = None
    for mine in query.names:
        for yours in known.names:
            found = _names(query, mine, known, yours, frequencies)
            if best is None or _total(found) > _total(best):
                best = found
    assert best is not None
    return best


def _total(found: NamesFound) -> float:
    return found.given_bits + found.family_bits


def _names(query: Prepared, mine: Name, known: Prepared, yours: Name, frequencies: Frequencies) -> NamesFound:
    given = compare.given_level(mine.given, yours.given)
    if given not in compare.SAME_GIVEN:
        given = goes_by_another(query, mine.given, known, yours.given) or given
    family = compare.family_level(mine.family, yours.family)
    older = cost(mine.how) + cost(yours.how)
    straight = NamesFound(
        given,
        family,
        compare.name_bits(frequencies, "given", given, mine.given, yours.given),
        compare.name_bits(frequencies, "family", family, mine.family, yours.family) + older,
        (mine.given, yours.given),
        yours.family,
    )
    if not is_swapped(query, mine, known, yours):
        return straight
    swapped = NamesFound(
        "swapped",
        "swapped",
        compare.name_bits(frequencies, "given", "exact", yours.given, yours.given) + parameters().swapped,
        compare.name_bits(frequencies, "family", "exact", yours.family, yours.family) + older,
        (yours.given, yours.given),
        yours.family,
    )
    return swapped if _total(swapped) > _total(straight) else straight


def together(found: NamesFound, frequencies: Frequencies) -> Part:
    """What agreement on both names tells less because the two are often borne together."""
    both = found.given in compare.AGREEING and found.family in compare.SAME_FAMILY
    lift = frequencies.together(found.pair[1], found.registered_family) if both else 0.0
    return Part("names", "together" if lift else "missing", lift)


def goes_by_another(query: Prepared, mine: str, known: Prepared, yours: str) -> str | None:
    """`other` when one is called by the other's preferred name, or by a middle name and the rest agrees too.

    `middle` when no more is known than that one's given name is a middle name of the other: it may be a twin's.
    """
    if mine == known.preferred or yours == query.preferred:
        return "other"
    first, second = mine in known.middle, yours in query.middle
    if not (first or second):
        return None
    both = (first and second) or not set(query.middle).isdisjoint(known.middle)
    return "other" if both else "middle"


def is_swapped(query: Prepared, mine: Name, known: Prepared, yours: Name) -> bool:
    """Whether given and family name stand in each other's place."""
    return bool(
        query.whole_given
        and known.whole_given
        and query.whole_given == yours.family.replace(" ", "")
        and known.whole_given == mine.family.replace(" ", "")
    )


def cost(how: str) -> float:
    """What a name weighs less because it is an older one."""
    if how == "current":
        return 0.0
    return parameters().former if how == "former" else parameters().previous


def birth_bits(level: str, birth: tuple[int, int, int]) -> float:
    """What the date of birth weighs; the first of January is often one that somebody had to write."""
    if level == "missing":
        return 0.0
    bits: float = getattr(parameters().birth, level).bits
    return bits + parameters().birth.first_of_january if level == "exact" and birth[1:] == (1, 1) else bits


def gender_level(one: str, other: str) -> str:
    """Agree, disagree, or missing when either is not known."""
    return equal_level(one, other)


def equal_level(one: str, other: str) -> str:
    """Agree, disagree, or missing when either is not known."""
    if not one or not other:
        return "missing"
    return "agree" if one == other else "disagree"


def upn_level(one: tuple[str, ...], other: tuple[str, ...]) -> str:
    """The same when any number is shared; they differ only when both have a permanent one."""
    if not set(one).isdisjoint(other):
        return "same"
    both = any(map(is_permanent, one)) and any(map(is_permanent, other))
    return "differ" if both else "missing"


def home_of(query: Prepared, known: Prepared) -> tuple[Part, str]:
    """The home's one part of the waterfall, by what agrees most strongly, and the level of the postcode."""
    levels = parameters().home
    postcode = "missing"
    bits = 0.0
    for mine in query.postcodes[:1]:
        for yours in known.postcodes:
            level = compare.postcode_level(mine, yours)
            found = (levels.postcode if level == "exact" else getattr(levels, level)).bits
            if postcode == "missing" or found > bits:
                postcode, bits = level, found
    best = Part("home", postcode, bits)
    for field in ("house", "email", "town"):
        mine, yours = getattr(query, field), getattr(known, field)
        if mine and mine == yours and (found := getattr(levels, field).bits) > best.weight:
            best = Part("home", field, found)
    return best, postcode


def level_bits(levels: dict[str, Level], level: str) -> float:
    """What a level weighs; nothing when it is missing."""
    found = levels.get(level)
    return found.bits if found is not None else 0.0
