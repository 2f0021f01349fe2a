"""The comparisons of `compare` and `score` in columns: levels as small numbers, weights beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import JaroWinkler
from rapidfuzz.process import cpdist

from commonroom.registers.learners.matching import compare, score
from commonroom.registers.learners.matching.parameters import Level, names, parameters
from commonroom.registers.learners.matching.people_columns import (
    HOWS,
    POSTCODE_LETTERS,
    Bools,
    Floats,
    Ints,
    People,
    Vocabulary,
)

NAME = (
    "missing",
    "exact",
    "variant",
    "typo",
    "other",
    "initial",
    "similar",
    "disagree",
    "part",
    "swapped",
    "middle",
)
TOGETHER = ("missing", "together")
BIRTH = ("missing", "exact", "month", "year", "swapped", "slip", "near", "disagree")
EQUAL = ("missing", "agree", "disagree")
HOME = ("missing", "exact", "slip", "district", "disagree", "house", "email", "town")
UPN = ("missing", "same", "differ")
MIDDLE = ("missing", "agree", "initial", "conflict")

Small = NDArray[np.int8]
_COMPARE: dict[str, Callable[[str, str], str]] = {
    "given": compare.given_level,
    "family": compare.family_level,
}


def member(levels: Small, order: Sequence[str], wanted: frozenset[str] | tuple[str, ...]) -> Bools:
    """Whether each level is one of `wanted`."""
    return np.array([name in wanted for name in order])[levels]


class NameLevels:
    """Levels and weights of names, each pair of different names compared once."""

    def __init__(self, vocabulary: Vocabulary, kind: str) -> None:
        self._vocabulary, self._kind = vocabulary, kind
        scales = parameters().given if kind == "given" else parameters().family
        self._exact: float = scales.exact.bits
        self._base = np.array([_base(scales, level) for level in NAME])
        self._by_rarity = np.array(
            [_base(scales, level) != 0.0 and getattr(scales, level).u is None for level in NAME]
        )

    def of(self, one: Ints, other: Ints) -> tuple[Small, Floats]:
        """Levels and weights of pairs of names, by their numbers."""
        rarity = self._vocabulary.rarity(self._kind, np.concatenate([one, other]))
        levels = np.zeros(len(one), np.int8)
        named = (one != 0) & (other != 0)
        levels[named & (one == other)] = NAME.index("exact")
        open_ = np.flatnonzero(named & (one != other))
        # A pair and its mirror image are one.
        low, high = np.minimum(one[open_], other[open_]), np.maximum(one[open_], other[open_])
        different, places = np.unique((low << 32) | high, return_inverse=True)
        found = self._compared(different >> 32, different & 0xFFFFFFFF)
        levels[open_] = found[places]
        bits = self._base[levels]
        counted = self._by_rarity[levels]
        bits[counted] += np.minimum(rarity[one[counted]], rarity[other[counted]])
        self._weigh_parts(levels, bits, one, other)
        return levels, bits

    def _compared(self, one: Ints, other: Ints) -> Small:
        texts = self._vocabulary.texts
        left, right = [texts[code] for code in one.tolist()], [texts[code] for code in other.tolist()]
        levels = np.full(len(left), NAME.index("disagree"), np.int8)
        if not left:
            return levels
        alike = cpdist(left, right, scorer=JaroWinkler.similarity, score_cutoff=compare.LEAST_LIKENESS) > 0
        groups = names().groups[self._kind]
        held = self._vocabulary.derived(
            f"special {self._kind}",
            lambda text: float(text.replace(" ", "") in groups or " " in text or len(text) == 1),
            np.float64,
            np.concatenate([one, other]),
        )
        special = (held[one] + held[other]) > 0
        judge = _COMPARE[self._kind]
        for place in np.flatnonzero(alike | special).tolist():
            levels[place] = NAME.index(judge(left[place], right[place]))
        return levels

    def _weigh_parts(self, levels: Small, bits: Floats, one: Ints, other: Ints) -> None:
        texts = self._vocabulary.texts
        for place in np.flatnonzero(levels == NAME.index("part")).tolist():
            bits[place] = compare.name_bits(
                self._vocabulary.frequencies, self._kind, "part", texts[one[place]], texts[other[place]]
            )

    def exact_bits(self, codes: Ints) -> Floats:
        """What agreement on each name weighs."""
        rarity = self._vocabulary.rarity(self._kind, codes)[codes]
        return self._exact + rarity

    def most_bits(self, one: Ints, other: Ints) -> Floats:
        """No level of these two can weigh more."""
        rarity = self._vocabulary.rarity(self._kind, np.concatenate([one, other]))
        best = max(0.0, float(self._base[[NAME.index("similar"), NAME.index("initial")]].max()))
        near = max(self._base[NAME.index(level)] for level in ("variant", "typo", "other", "middle", "part"))
        # A name that two double names share is no rarer than the rarest there is.
        part = float(np.max(rarity[other], initial=0.0)) if self._kind == "family" else 0.0
        same = self._exact + rarity[one]
        loose = np.maximum(best, near + np.maximum(np.minimum(rarity[one], rarity[other]), 0.0))
        if self._kind == "family":
            spaced = self._spaced(one) | self._spaced(other)
            loose = np.where(spaced, np.maximum(loose, near + max(part, _rarest(self._kind))), loose)
        return np.where((one == 0) | (other == 0), 0.0, np.where(one == other, same, loose))

    def _spaced(self, codes: Ints) -> Bools:
        values = self._vocabulary.derived("spaced", lambda text: float(" " in text), np.float64, codes)
        return values[codes] > 0


def _rarest(kind: str) -> float:
    scales = parameters().given if kind == "given" else parameters().family
    return float(-np.log2(scales.rarest))


def _base(scales: object, level: str) -> float:
    found = getattr(scales, level, None)
    return found.bits if isinstance(found, Level) else 0.0


def birth(queries: People, register: People, one: Ints, other: Ints) -> tuple[Small, Floats, Bools]:
    """Levels and weights of dates of birth, and whether they are near enough for twins."""
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
    bits = np.array([score.birth_bits(level, (1, 2, 3)) for level in BIRTH])[levels]
    first = (levels == BIRTH.index("exact")) & (month == 1) & (day == 1)
    return levels, np.where(first, bits + parameters().birth.first_of_january, bits), near


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
    districts = vocabulary.district(np.concatenate([one, other]))
    levels[districts[one] == districts[other]] = HOME.index("district")
    unlike = np.flatnonzero((one != other) & (one != 0) & (other != 0))
    codes, places = np.unique(np.concatenate([one[unlike], other[unlike]]), return_inverse=True)
    texts = [vocabulary.texts[code] for code in codes.tolist()]
    letters = np.array(
        texts, f"S{POSTCODE_LETTERS}" if all(map(str.isascii, texts)) else f"U{POSTCODE_LETTERS}"
    )
    width = np.uint8 if letters.dtype.kind == "S" else np.uint32
    matrix = (
        letters.view(width).reshape(len(letters), -1)
        if len(letters)
        else np.zeros((0, POSTCODE_LETTERS), width)
    )
    length = (matrix != 0).sum(axis=1)
    left, right = places[: len(unlike)], places[len(unlike) :]
    slip = (length[left] == length[right]) & ((matrix[left] != matrix[right]).sum(axis=1) == 1)
    levels[unlike[slip]] = HOME.index("slip")
    levels[one == other] = HOME.index("exact")
    levels[(one == 0) | (other == 0)] = HOME.index("missing")
    return levels


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
