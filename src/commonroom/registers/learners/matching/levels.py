"""The comparisons of `compare` and `score` in columns: levels as small numbers, weights beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from commonroom.registers.learners.matching import compare, score
from commonroom.registers.learners.matching.name_levels import Small
from commonroom.registers.learners.matching.parameters import Level, parameters
from commonroom.registers.learners.matching.people_columns import HOWS, People
from commonroom.registers.learners.matching.spelling_columns import one_letter_apart
from commonroom.registers.learners.matching.vocabulary import Bools, Floats, Ints, Vocabulary

TOGETHER = ("missing", "together")
BIRTH = ("missing", "exact", "month", "year", "swapped", "slip", "near", "disagree")
EQUAL = ("missing", "agree", "disagree")
HOME = ("missing", "exact", "slip", "district", "disagree", "house", "email", "town")
UPN = ("missing", "same", "differ")
MIDDLE = ("missing", "agree", "initial", "conflict")


def member(levels: Small, order: Sequence[str], wanted: frozenset[str] | tuple[str, ...]) -> Bools:
    """Whether each level is one of `wanted`."""
    return np.array([name in wanted for name in order])[levels]


def birth(queries: People, register: People, one: Ints, other: Ints) -> tuple[Small, Floats, Bools]:
    """Levels and weights of dates of birth, and whether they are near enough for twins."""
    mine = queries.born[one]
    same = (mine != 0) & (mine == register.born[other])
    levels = np.where(same, BIRTH.index("exact"), 0).astype(np.int8)
    near = same.copy()
    open_ = np.flatnonzero(~same)
    levels[open_], near[open_] = _unequal_births(queries, register, one[open_], other[open_])
    bits = np.array([score.birth_bits(level, (1, 2, 3)) for level in BIRTH])[levels]
    # Only of dates known whole is it told that they are exact.
    first = (levels == BIRTH.index("exact")) & (mine % 10_000 == 101)
    bits[first] += parameters().birth.first_of_january
    return levels, bits, near


def _unequal_births(queries: People, register: People, one: Ints, other: Ints) -> tuple[Small, Bools]:
    """Levels of dates that are not known whole or not the same, and whether they are near."""
    year, month, day = queries.year[one], queries.month[one], queries.day[one]
    years, months, days = register.year[other], register.month[other], register.day[other]
    differ_year = year != years
    differ_month = (month != months) & (month != 0) & (months != 0)
    differ_day = (day != days) & (day != 0) & (days != 0)
    count = differ_year.astype(np.int8) + differ_month + differ_day
    whole = (month != 0) & (day != 0) & (months != 0) & (days != 0)
    apart = np.abs((year - years) * 365 + (month - months) * 30 + (day - days))
    near = whole & (year != 0) & (years != 0) & (apart <= parameters().guards.days_of_twins)
    swapped = whole & ~differ_year & (month == days) & (day == months)
    mine = np.where(differ_year, year, np.where(differ_month, month, day))
    yours = np.where(differ_year, years, np.where(differ_month, months, days))
    slip = whole & (count == 1)
    slip[slip] = _one_slip(mine[slip], yours[slip])
    known_month, known_day = (month != 0) & (months != 0), (day != 0) & (days != 0)
    levels = np.select(
        [
            (year == 0) | (years == 0),
            (count == 0) & ~known_month,
            (count == 0) & ~known_day,
            count == 0,
            swapped,
            slip,
            near,
        ],
        [BIRTH.index(level) for level in ("missing", "year", "month", "exact", "swapped", "slip", "near")],
        BIRTH.index("disagree"),
    ).astype(np.int8)
    return levels, near


def _one_slip(one: Ints, other: Ints) -> Bools:
    powers = np.array([1000, 100, 10, 1])
    mine, yours = one[:, None] // powers % 10, other[:, None] // powers % 10
    unequal = mine != yours
    count = unequal.sum(axis=1)
    turned = np.zeros(len(one), np.bool_)
    for place in range(3):
        turned |= (
            unequal[:, place]
            & unequal[:, place + 1]
            & (mine[:, place] == yours[:, place + 1])
            & (mine[:, place + 1] == yours[:, place])
        )
    return np.asarray((count == 1) | ((count == 2) & turned))


def postcode(vocabulary: Vocabulary, one: Ints, other: Ints) -> Small:
    """Levels of pairs of postcodes."""
    levels = np.full(len(one), HOME.index("disagree"), np.int8)
    levels[vocabulary.district(one) == vocabulary.district(other)] = HOME.index("district")
    unlike = np.flatnonzero((one != other) & (one != 0) & (other != 0))
    mine, yours = vocabulary.packed(one[unlike]), vocabulary.packed(other[unlike])
    levels[unlike[one_letter_apart(mine, yours)]] = HOME.index("slip")
    for place in unlike[(mine < 0) | (yours < 0)].tolist():
        texts = vocabulary.texts[one[place]], vocabulary.texts[other[place]]
        levels[place] = HOME.index(compare.postcode_level(*texts))
    levels[one == other] = HOME.index("exact")
    levels[(one == 0) | (other == 0)] = HOME.index("missing")
    return levels


def agreeing(queries: People, register: People, field: str, one: Ints, other: Ints) -> Small:
    """Agree, disagree or missing in a column that many batches do not have."""
    mine = getattr(queries, field)
    return equal(mine[one], getattr(register, field)[other]) if mine.any() else np.zeros(len(one), np.int8)


def equal(one: Ints, other: Ints) -> Small:
    """Agree, disagree or missing."""
    return np.where((one == 0) | (other == 0), 0, np.where(one == other, 1, 2)).astype(np.int8)


def middle(queries: People, register: People, one: Ints, other: Ints) -> Small:
    """Levels of middle names, each pair of different ones compared once."""
    levels = np.zeros(len(one), np.int8)
    held = np.flatnonzero((queries.middle[one, 0] != 0) & (register.middle[other, 0] != 0))
    if not len(held):
        return levels
    both = np.concatenate([queries.middle[one[held]], register.middle[other[held]]], axis=1)
    different, places = np.unique(both, axis=0, return_inverse=True)
    texts = queries.vocabulary.texts
    width = queries.middle.shape[1]
    found = [
        MIDDLE.index(
            compare.middle_level(
                tuple(texts[code] for code in row[:width] if code),
                tuple(texts[code] for code in row[width:] if code),
            )
        )
        for row in different.tolist()
    ]
    levels[held] = np.array(found, np.int8)[places]
    return levels


def older() -> Floats:
    """What names of the past weigh less, by `HOWS`."""
    return np.array([score.cost(how) for how in HOWS])


def weights(levels: dict[str, Level], order: Sequence[str]) -> Floats:
    """The weight of each level of an order."""
    return np.array([score.level_bits(levels, level) for level in order])


def home_weights() -> Floats:
    """The weight of each level of `HOME`."""
    scales = parameters().home
    return np.array(
        [
            0.0 if level == "missing" else getattr(scales, "postcode" if level == "exact" else level).bits
            for level in HOME
        ]
    )
