"""All the names of two people beside each other, in columns: what `score.names_of` does, for many pairs."""

from __future__ import annotations

import msgspec
import numpy as np

from commonroom.registers.learners.matching import levels as level
from commonroom.registers.learners.matching.blocking import spread
from commonroom.registers.learners.matching.compare import AGREEING, SAME_FAMILY, SAME_GIVEN
from commonroom.registers.learners.matching.name_levels import NAME, NameLevels, Small
from commonroom.registers.learners.matching.parameters import parameters
from commonroom.registers.learners.matching.people_columns import People
from commonroom.registers.learners.matching.vocabulary import Bools, Floats, Ints


class Beside(msgspec.Struct, frozen=True):
    """One name of each of two people, a row for each pair: the people, and the places of the names."""

    one: Ints
    other: Ints
    mine: Ints
    yours: Ints

    def only(self, rows: Ints) -> Beside:
        """Some of the rows."""
        return Beside(self.one[rows], self.other[rows], self.mine[rows], self.yours[rows])


class NamesWeighed(msgspec.Struct, frozen=True):
    """Levels and weights of given and family name, and which names of the register they are of."""

    given: Small
    given_bits: Floats
    family: Small
    family_bits: Floats
    # The two given names that were compared, and the registered family name.
    left: Ints
    right: Ints
    registered_family: Ints

    @property
    def total(self) -> Floats:
        """What both names weigh."""
        return self.given_bits + self.family_bits

    def together(self, queries: People) -> Floats:
        """What agreement on both names tells less because the two are often borne together."""
        both = level.member(self.given, NAME, AGREEING) & level.member(self.family, NAME, SAME_FAMILY)
        bits = np.zeros(len(both))
        held = np.flatnonzero(both)
        bits[held] = queries.vocabulary.together(self.right[held], self.registered_family[held])
        return bits

    def shared_by_brothers(self, queries: People) -> Bools:
        """Whether either given name is one that brothers or sisters share."""
        names = parameters().guards.shared_by_brothers
        left, right = (
            queries.vocabulary.each(
                "shared", lambda texts: [text in names for text in texts], np.float64, codes
            )
            for codes in (self.left, self.right)
        )
        shared: Bools = (left + right) > 0
        return shared


class NameColumns:
    """The names of queries beside those of the register."""

    def __init__(self, queries: People, register: People) -> None:
        self.queries, self.register = queries, register
        self.given = NameLevels(queries.vocabulary, "given")
        self.family = NameLevels(queries.vocabulary, "family")

    def reach(self, one: Ints, other: Ints, rest: Floats, least: float) -> Bools:
        """Which pairs can weigh `least`, when everything but the names weighs `rest`."""
        found = self._reach(self._current(one, other), rest, least)
        rows, older = self._older(one, other)
        within = self._reach(older, rest[rows] + self._cost(older), least)
        found[rows[within]] = True
        return found

    def best(self, one: Ints, other: Ints) -> NamesWeighed:
        """Of each pair the two names that weigh most."""
        found = self._weigh(self._current(one, other), np.zeros(len(one)))
        rows, beside = self._older(one, other)
        if not len(rows):
            return found
        older = self._weigh(beside, self._cost(beside))
        # Current names stand first: an older one must weigh more.
        heaviest = np.lexsort((np.arange(len(rows)), -older.total, rows))
        heaviest = heaviest[np.concatenate([np.ones(1, np.bool_), np.diff(rows[heaviest]) != 0])]
        heaviest = heaviest[older.total[heaviest] > found.total[rows[heaviest]]]
        for field in NamesWeighed.__struct_fields__:
            getattr(found, field)[rows[heaviest]] = getattr(older, field)[heaviest]
        return found

    def _current(self, one: Ints, other: Ints) -> Beside:
        return Beside(one, other, self.queries.names.start[one], self.register.names.start[other])

    def _older(self, one: Ints, other: Ints) -> tuple[Ints, Beside]:
        """Every other name of one beside every name of the other, and the pair that each row is of.

        In the order of the scalar scorer: the query's names outside, the register's inside.
        """
        mine, yours = self.queries.names, self.register.names
        if mine.most <= 1 and yours.most <= 1:
            nothing = np.zeros(0, np.int64)
            return nothing, Beside(nothing, nothing, nothing, nothing)
        several = np.flatnonzero((mine.count(one) > 1) | (yours.count(other) > 1))
        each = yours.count(other[several])
        count = mine.count(one[several]) * each - 1
        rows, step = np.repeat(several, count), spread(np.ones(len(several), np.int64), count)
        each = np.repeat(each, count)
        left, right = mine.start[one[rows]] + step // each, yours.start[other[rows]] + step % each
        return rows, Beside(one[rows], other[rows], left, right)

    def _cost(self, beside: Beside) -> Floats:
        """What names of the past weigh less."""
        older = level.older()
        return older[self.queries.how[beside.mine]] + older[self.register.how[beside.yours]]

    def _reach(self, beside: Beside, rest: Floats, least: float) -> Bools:
        left, right = self.queries.given[beside.mine], self.register.given[beside.yours]
        family = self.family.most_bits(self.queries.family[beside.mine], self.register.family[beside.yours])
        rest = rest + family
        found = (rest + self.given.most_bits(left, right) >= least) | self._swapped(beside)
        # Whether they go by another name is looked up of those alone whom it would bring that far.
        unsure = np.flatnonzero(~found)
        left, right = left[unsure], right[unsure]
        forms = [self.given.form_bits(form, left, right) for form in ("other", "middle")]
        unsure = unsure[rest[unsure] + np.maximum(*forms) >= least]
        other, middle = self._goes_by_another(beside.only(unsure))
        found[unsure] = other | middle
        return found

    def _weigh(self, beside: Beside, cost: Floats) -> NamesWeighed:
        mine, yours = self.queries, self.register
        left, right = mine.given[beside.mine], yours.given[beside.yours]
        given, given_bits = self.given.of(left, right)
        unlike = np.flatnonzero(~level.member(given, NAME, SAME_GIVEN))
        forms = self._goes_by_another(beside.only(unlike))
        for name, found in zip(("other", "middle"), forms, strict=True):
            rows = unlike[found]
            given[rows] = NAME.index(name)
            given_bits[rows] = self.given.form_bits(name, left[rows], right[rows])
        registered = yours.family[beside.yours]
        family, family_bits = self.family.of(mine.family[beside.mine], registered)
        family_bits = family_bits + cost
        swapped = np.flatnonzero(self._swapped(beside))
        swapped_given = self.given.exact_bits(right[swapped]) + parameters().swapped
        swapped_family = self.family.exact_bits(registered[swapped]) + cost[swapped]
        better = swapped_given + swapped_family > given_bits[swapped] + family_bits[swapped]
        rows = swapped[better]
        given[rows] = family[rows] = NAME.index("swapped")
        given_bits[rows], family_bits[rows] = swapped_given[better], swapped_family[better]
        left[rows] = right[rows]
        return NamesWeighed(given, given_bits, family, family_bits, left, right, registered)

    def _swapped(self, beside: Beside) -> Bools:
        """Whether given and family name stand in each other's place."""
        mine, yours = self.queries, self.register
        whole = mine.whole_given[beside.one]
        found: Bools = (whole != 0) & (whole == yours.family_whole[beside.yours])
        rows = np.flatnonzero(found)
        wholes = yours.whole_given[beside.other[rows]]
        found[rows] = (wholes != 0) & (wholes == mine.family_whole[beside.mine[rows]])
        return found

    def _goes_by_another(self, beside: Beside) -> tuple[Bools, Bools]:
        """As `score.goes_by_another`: which rows are of one person called otherwise, and which may be of twins."""
        left, right = self.queries.given[beside.mine], self.register.given[beside.yours]
        mine, yours = beside.one, beside.other
        preferred = (left == self.register.preferred[yours]) | (right == self.queries.preferred[mine])
        my_middle, your_middle = self.queries.middle[mine].T, self.register.middle[yours].T
        first, second, shared = (np.zeros(len(left), np.bool_) for _ in range(3))
        for place in range(len(my_middle)):
            first |= left == your_middle[place]
            second |= right == my_middle[place]
            for name in your_middle:
                shared |= (my_middle[place] == name) & (name != 0)
        other = preferred | ((first | second) & ((first & second) | shared))
        return other, (first | second) & ~other
