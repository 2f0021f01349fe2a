"""Everything about two people but their names, in columns."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from commonroom.registers.learners.matching import levels as level
from commonroom.registers.learners.matching.blocking import spread
from commonroom.registers.learners.matching.name_levels import Small
from commonroom.registers.learners.matching.normalise import is_permanent
from commonroom.registers.learners.matching.parameters import parameters
from commonroom.registers.learners.matching.people_columns import People
from commonroom.registers.learners.matching.vocabulary import Bools, Floats, Ints


class Rest(msgspec.Struct, frozen=True):
    """Levels and weights, a row for each pair."""

    birth: Small
    birth_bits: Floats
    # Born near enough to each other for twins.
    near: Bools
    gender: Small
    home: Small
    home_bits: Floats
    postcode: Small
    upn: Small
    place: Small
    school: Small
    # Both have a middle name, which may add to the weight.
    spoken: Bools

    def only(self, rows: Ints) -> Rest:
        """Some of the rows."""
        return Rest(*(getattr(self, name)[rows] for name in self.__struct_fields__))

    @staticmethod
    def together(parts: Sequence[Rest]) -> Rest:
        """The rows of all parts."""
        return Rest(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in Rest.__struct_fields__)
        )

    def fields(self) -> dict[str, tuple[Small, Floats]]:
        """The level and the weight of each field of the waterfall."""
        scales = parameters()
        return {
            "birth": (self.birth, self.birth_bits),
            "gender": (self.gender, level.weights(scales.gender, level.EQUAL)[self.gender]),
            "home": (self.home, self.home_bits),
            "upn": (self.upn, level.weights(scales.upn, level.UPN)[self.upn]),
            "place": (self.place, level.weights(scales.place, level.EQUAL)[self.place]),
            "school": (self.school, level.weights(scales.school, level.EQUAL)[self.school]),
        }

    def most(self) -> Floats:
        """The most that all this and the middle names can weigh."""
        middle = max(level.weights(parameters().middle, level.MIDDLE))
        bits = np.where(self.spoken, middle, 0.0)
        for _, weights in self.fields().values():
            bits += weights
        return bits


def rest_of(queries: People, register: People, one: Ints, other: Ints) -> Rest:
    """Compare all but the names of pairs."""
    birth, birth_bits, near = level.birth(queries, register, one, other)
    home, home_bits, postcode = _home(queries, register, one, other)
    gender, place, school = (
        level.agreeing(queries, register, field, one, other)
        for field in ("gender", "place_of_birth", "school_at_16")
    )
    spoken = queries.middle[one, 0] != 0
    spoken[spoken] = register.middle[other[spoken], 0] != 0
    upn = _upn(queries, register, one, other)
    return Rest(birth, birth_bits, near, gender, home, home_bits, postcode, upn, place, school, spoken)


def _home(queries: People, register: People, one: Ints, other: Ints) -> tuple[Small, Floats, Small]:
    """The home's level and weight, and the level of the best postcode."""
    weights = level.home_weights()
    mine = queries.postcodes.first[one]
    postcode = level.postcode(queries.vocabulary, mine, register.postcodes.first[other])
    if register.postcodes.most > 1:
        _better_postcodes(queries, register, other, mine, postcode)
    home, bits = postcode.copy(), weights[postcode]
    for name in ("house", "email", "town"):
        if not getattr(queries, name).any():
            continue
        left, right = getattr(queries, name)[one], getattr(register, name)[other]
        better = (left != 0) & (left == right) & (weights[level.HOME.index(name)] > bits)
        home[better] = level.HOME.index(name)
        bits[better] = weights[level.HOME.index(name)]
    return home, bits, postcode


def _better_postcodes(queries: People, register: People, other: Ints, mine: Ints, levels: Small) -> None:
    """Put the level of a former postcode in the place of that of the current one where it weighs more."""
    weights = level.home_weights()
    held = np.flatnonzero((register.postcodes.count(other) > 1) & (mine != 0))
    count = register.postcodes.count(other[held]) - 1
    rows = np.repeat(held, count)
    former = register.postcodes.codes[spread(register.postcodes.start[other[held]] + 1, count)]
    found = level.postcode(queries.vocabulary, mine[rows], former)
    # The heaviest of each pair, of equals the first.
    order = np.lexsort((np.arange(len(rows)), -weights[found], rows))
    order = order[np.concatenate([np.ones(min(1, len(rows)), np.bool_), np.diff(rows[order]) != 0])]
    order = order[weights[found[order]] > weights[levels[rows[order]]]]
    levels[rows[order]] = found[order]


def _upn(queries: People, register: People, one: Ints, other: Ints) -> Small:
    levels = np.zeros(len(one), np.int8)
    if not len(queries.upns.codes):
        return levels
    held = np.flatnonzero((queries.upns.count(one) > 0) & (register.upns.count(other) > 0))
    if not len(held):
        return levels
    left, right = one[held], other[held]
    mine, yours = queries.upns.count(left), register.upns.count(right)
    rows = np.repeat(np.arange(len(held)), mine * yours)
    step = spread(np.zeros(len(held), np.int64), mine * yours)
    my_codes = queries.upns.codes[queries.upns.start[left][rows] + step // yours[rows]]
    your_codes = register.upns.codes[register.upns.start[right][rows] + step % yours[rows]]
    mine, yours = (
        queries.vocabulary.each(
            "permanent", lambda texts: [is_permanent(text) for text in texts], np.float64, codes
        )
        for codes in (my_codes, your_codes)
    )
    both = np.bincount(rows, (mine > 0) & (yours > 0), len(held)) > 0
    same = np.bincount(rows, my_codes == your_codes, len(held)) > 0
    levels[held] = np.where(same, level.UPN.index("same"), np.where(both, level.UPN.index("differ"), 0))
    return levels
