"""All the names of two people beside each other, in columns: what `score.names_of` does, for many pairs."""

from __future__ import annotations

import numpy as np

from commonroom.registers.learners.matching import levels as level
from commonroom.registers.learners.matching.blocking import spread
from commonroom.registers.learners.matching.compare import AGREEING, SAME_FAMILY, SAME_GIVEN
from commonroom.registers.learners.matching.parameters import parameters
from commonroom.registers.learners.matching.people_columns import Bools, Floats, Ints, People


def first_best(rows: Ints, bits: Floats) -> Ints:
    """Of each run of equal `rows` the place of the first with most bits."""
    if not len(rows):
        return rows
    order = np.lexsort((-bits, rows)) if (rows[1:] == rows[:-1]).any() else np.arange(len(rows))
    first: Bools = np.concatenate([np.ones(1, np.bool_), rows[order][1:] != rows[order][:-1]])
    return np.asarray(order[first], np.int64)


class NameColumns:
    """Every name of one beside every name of the other."""

    def __init__(self, queries: People, register: People, one: Ints, other: Ints) -> None:
        self.queries, self.register, self.one, self.other = queries, register, one, other
        mine, yours = queries.names.count(one), register.names.count(other)
        self.rows = np.repeat(np.arange(len(one)), mine * yours)
        step = spread(np.zeros(len(one), np.int64), mine * yours)
        # The order of the scalar scorer: the query's names outside, the register's inside.
        self.mine = queries.names.start[one][self.rows] + step // yours[self.rows]
        self.yours = register.names.start[other][self.rows] + step % yours[self.rows]
        older = level.older()
        self.older = older[queries.how[self.mine]] + older[register.how[self.yours]]
        self.given = level.NameLevels(queries.vocabulary, "given")
        self.family = level.NameLevels(queries.vocabulary, "family")

    def _swapped(self) -> tuple[Bools, Floats, Floats]:
        mine, yours = self.queries, self.register
        whole, wholes = mine.whole_given[self.one][self.rows], yours.whole_given[self.other][self.rows]
        found = (whole != 0) & (wholes != 0)
        found &= (whole == yours.family_whole[self.yours]) & (wholes == mine.family_whole[self.mine])
        given = self.given.exact_bits(yours.given[self.yours]) + parameters().swapped
        family = self.family.exact_bits(yours.family[self.yours]) + self.older
        return found, given, family

    def most(self) -> Floats:
        """The most that the names of each pair can weigh."""
        mine, yours = self.queries, self.register
        bits = self.given.most_bits(mine.given[self.mine], yours.given[self.yours])
        bits = bits + self.family.most_bits(mine.family[self.mine], yours.family[self.yours]) + self.older
        swapped, given, family = self._swapped()
        bits = np.where(swapped, np.maximum(bits, given + family), bits)
        return bits[first_best(self.rows, bits)]

    def best(self) -> tuple[level.Small, Floats, level.Small, Floats, Floats, Bools]:
        """Levels and weights of given and family name where both weigh most, what they tell less together, and
        whether brothers share the given name."""
        mine, yours = self.queries, self.register
        left, right = mine.given[self.mine], yours.given[self.yours]
        given, given_bits = self.given.of(left, right)
        unlike = ~level.member(given, level.NAME, SAME_GIVEN)
        for name, found in self._goes_by_another(left, right).items():
            given[unlike & found] = level.NAME.index(name)
            given_bits = np.where(unlike & found, self._form_bits(name, left, right), given_bits)
        family, family_bits = self.family.of(mine.family[self.mine], yours.family[self.yours])
        family_bits = family_bits + self.older
        swapped, swapped_given, swapped_family = self._swapped()
        better = swapped & (swapped_given + swapped_family > given_bits + family_bits)
        given[better] = family[better] = level.NAME.index("swapped")
        given_bits = np.where(better, swapped_given, given_bits)
        family_bits = np.where(better, swapped_family, family_bits)
        best = first_best(self.rows, given_bits + family_bits)
        shared = self._shared(np.where(better, right, left)[best], right[best])
        both = level.member(given[best], level.NAME, AGREEING) & level.member(
            family[best], level.NAME, SAME_FAMILY
        )
        lift = self.queries.vocabulary.together(right[best], yours.family[self.yours][best])
        return (
            given[best],
            given_bits[best],
            family[best],
            family_bits[best],
            np.where(both, lift, 0.0),
            shared,
        )

    def _form_bits(self, name: str, left: Ints, right: Ints) -> Floats:
        """What a form of a name weighs: by the commoner of the two."""
        rarity = self.queries.vocabulary.rarity("given", np.concatenate([left, right]))
        bits: float = getattr(parameters().given, name).bits
        return bits + np.minimum(rarity[left], rarity[right])

    def _goes_by_another(self, left: Ints, right: Ints) -> dict[str, Bools]:
        mine, yours = self.one[self.rows], self.other[self.rows]
        preferred = (left == self.register.preferred[yours]) | (right == self.queries.preferred[mine])
        my_middle, your_middle = self.queries.middle[mine].T, self.register.middle[yours].T
        first, second, shared = (np.zeros(len(left), np.bool_) for _ in range(3))
        for place in range(len(my_middle)):
            first |= left == your_middle[place]
            second |= right == my_middle[place]
            for other in your_middle:
                shared |= (my_middle[place] == other) & (other != 0)
        other = preferred | ((first | second) & ((first & second) | shared))
        return {"other": other, "middle": (first | second) & ~other}

    def _shared(self, left: Ints, right: Ints) -> Bools:
        names = parameters().guards.shared_by_brothers
        wanted = np.concatenate([left, right])
        held = self.queries.vocabulary.derived(
            "shared", lambda text: float(text in names), np.float64, wanted
        )
        return np.asarray((held[left] + held[right]) > 0)
