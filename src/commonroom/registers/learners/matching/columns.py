"""The columnar scorer: a whole batch at once. It decides as `decide` does, case by case."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

import msgspec
import numpy as np

from commonroom.registers.learners.matching import levels as level
from commonroom.registers.learners.matching.decide import NO_OVERRIDES
from commonroom.registers.learners.matching.guards_columns import GUARDS, LevelColumns, guard_columns
from commonroom.registers.learners.matching.name_columns import NameColumns
from commonroom.registers.learners.matching.name_levels import NAME, Small
from commonroom.registers.learners.matching.parameters import Frequencies, parameters, prior
from commonroom.registers.learners.matching.people import (
    Decision,
    Details,
    Known,
    Outcome,
    Overrides,
    Part,
    Weighed,
)
from commonroom.registers.learners.matching.people_columns import (
    People,
    people_of,
    table_of,
    table_of_known,
)
from commonroom.registers.learners.matching.rest_columns import Rest, rest_of
from commonroom.registers.learners.matching.vocabulary import Bools, Floats, Ints, Vocabulary

OUTCOMES: tuple[Outcome, ...] = ("new", "existing", "review", "too_many")
NEW, EXISTING, REVIEW, TOO_MANY = range(4)
# So many pairs are looked at together: as many as the processor's cache holds.
AT_ONCE = 1 << 15
# Nothing is passed over that the last digit of a sum could bring back.
_LEEWAY = 1e-6
_ORDERS = {
    "given": NAME,
    "family": NAME,
    "names": level.TOGETHER,
    "birth": level.BIRTH,
    "gender": level.EQUAL,
    "home": level.HOME,
    "upn": level.UPN,
    "middle": level.MIDDLE,
    "place": level.EQUAL,
    "school": level.EQUAL,
}


class Scored(msgspec.Struct, frozen=True):
    """Pairs that a clerk might want to see, with their weights; the others are left out."""

    query: Ints
    known: Ints
    weight: Floats
    guard: Small
    optional: Bools
    same_upn: Bools
    # By field of the waterfall: level and weight.
    fields: Mapping[str, tuple[Small, Floats]]
    prior: float


class Batch(msgspec.Struct, frozen=True):
    """The decisions on a batch: by query its outcome, the best candidate's place in `scored`, the guard that held."""

    scored: Scored
    outcome: Small
    best: Ints
    guard: Small
    # Candidates of query i, best first: scored rows order[start[i]:start[i + 1]].
    start: Ints
    order: Ints

    def person(self) -> Ints:
        """By query the position in the register of who it is, -1 when it is nobody yet."""
        known = np.full(len(self.outcome), -1, np.int64)
        found = self.outcome == EXISTING
        known[found] = self.scored.known[self.best[found]]
        return known


def decide_many(
    queries: Sequence[Details],
    register: Sequence[Known],
    pairs: tuple[Sequence[int], Sequence[int]],
    *,
    overrides: Mapping[int, Overrides] | None = None,
    one_file: bool = True,
    registered: int | None = None,
    frequencies: Frequencies | None = None,
) -> list[Decision]:
    """A decision for each query.

    `pairs` are two lists of equal length: positions in `queries` and in `register` that share a block key (the same
    pair may stand there twice). `overrides` by position of the query. With `one_file` the queries come from one
    provider's file: no two of them get one existing person; those after the first go to a clerk. `frequencies` are the
    register's own of names, as for `decide`.
    """
    vocabulary = Vocabulary(frequencies)
    batch = decide_batch(
        people_of(table_of(queries), vocabulary),
        people_of(table_of_known(register), vocabulary),
        _once(pairs),
        overrides=_by_position(overrides or {}, register),
        one_file=one_file,
        registered=registered,
    )
    return _Decisions(batch, register).all()


def _once(pairs: tuple[Sequence[int], Sequence[int]]) -> tuple[Ints, Ints]:
    together = np.unique((np.asarray(pairs[0], np.int64) << 32) | np.asarray(pairs[1], np.int64))
    return together >> 32, together & 0xFFFFFFFF


def _by_position(overrides: Mapping[int, Overrides], register: Sequence[Known]) -> dict[int, Overrides]:
    """Overrides with positions in the register in place of persons."""
    if not overrides:
        return {}
    places = {known.person: place for place, known in enumerate(register)}
    return {
        query: Overrides(
            frozenset(places[person] for person in marks.same if person in places),
            frozenset(places[person] for person in marks.different if person in places),
        )
        for query, marks in overrides.items()
    }


def decide_batch(
    queries: People,
    register: People,
    pairs: tuple[Ints, Ints],
    *,
    overrides: Mapping[int, Overrides] | None = None,
    one_file: bool = True,
    registered: int | None = None,
) -> Batch:
    """`decide_many` on people in columns, with pairs that stand there once. Both share one vocabulary."""
    marks = overrides or {}
    scored = score_pairs(queries, register, *pairs, registered=registered, forced=_forced(pairs, marks))
    return choose_batch(scored, queries.size, marks, one_file=one_file)


def _forced(pairs: tuple[Ints, Ints], overrides: Mapping[int, Overrides]) -> Bools:
    """The pairs that a clerk joined before: they are never passed over."""
    found = np.zeros(len(pairs[0]), np.bool_)
    for query, marks in overrides.items():
        if marks.same:
            found |= (pairs[0] == query) & np.isin(pairs[1], _positions(marks.same))
    return found


def _positions(persons: frozenset[Hashable]) -> Ints:
    """Positions in the register: in columns they stand in place of persons."""
    return np.array(sorted(int(str(person)) for person in persons), np.int64)


def score_pairs(
    queries: People, register: People, one: Ints, other: Ints, *, registered: int | None, forced: Bools
) -> Scored:
    """Weigh the pairs. Those whose weight cannot reach a clerk, however alike the names, are left out."""
    names = NameColumns(queries, register)
    size = prior(registered)
    kept, rests = [], []
    for first in range(0, max(1, len(one)), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        rest = rest_of(queries, register, one[some], other[some])
        least = parameters().bands.review - _LEEWAY
        within = names.reach(one[some], other[some], size + rest.most(), least)
        rows = np.flatnonzero(within | (rest.upn == level.UPN.index("same")) | forced[some])
        kept.append(first + rows)
        rests.append(rest.only(rows))
    rows = np.concatenate(kept)
    return _weighed(names, one[rows], other[rows], Rest.together(rests), size)


def _weighed(names: NameColumns, one: Ints, other: Ints, rest: Rest, size: float) -> Scored:
    """Pairs within reach, weighed whole."""
    queries, register = names.queries, names.register
    found = names.best(one, other)
    together = found.together(queries)
    middle = level.middle(queries, register, one, other)
    middle[level.member(found.given, NAME, ("other", "middle"))] = 0
    fields = {
        "given": (found.given, found.given_bits),
        "family": (found.family, found.family_bits),
        "names": ((together != 0).astype(np.int8), together),
        **rest.fields(),
        "middle": (middle, level.weights(parameters().middle, level.MIDDLE)[middle]),
    }
    fields = {name: fields[name] for name in _ORDERS}
    weight = np.full(len(one), size)
    for _, field_bits in fields.values():
        weight = weight + field_bits
    strong = ~level.member(rest.home, level.HOME, ("town", "district"))
    columns = LevelColumns(
        given=found.given,
        family=found.family,
        birth=rest.birth,
        near=rest.near,
        gender=rest.gender,
        postcode=rest.postcode,
        home=(rest.home_bits > 0) & strong,
        upn=rest.upn,
        middle=middle,
        shared=found.shared_by_brothers(queries),
    )
    optional = level.member(rest.home, level.HOME, ("house", "email", "town")) | (rest.upn != 0)
    optional |= (middle != 0) | (rest.place != 0) | (rest.school != 0)
    same_upn = rest.upn == level.UPN.index("same")
    guard = guard_columns(columns)
    return Scored(one, other, np.round(weight, 6), guard, optional, same_upn, fields, size)


def choose_batch(scored: Scored, size: int, overrides: Mapping[int, Overrides], *, one_file: bool) -> Batch:
    """The decisions on pairs that have been weighed."""
    bands = parameters().bands
    same, likely = _likely(scored, overrides)
    rows = np.flatnonzero(likely)
    # Candidates of each query, strongest first; one that a clerk chose before stands in front of all.
    order = rows[np.lexsort((scored.known[rows], -scored.weight[rows], ~same[rows], scored.query[rows]))]
    owner = scored.query[order]
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(owner, minlength=size))])
    count = np.diff(start)
    has = count > 0
    outcome = np.zeros(size, np.int8)
    guard = np.zeros(size, np.int8)
    best = np.full(size, -1, np.int64)
    best[has] = order[start[:-1][has]]
    first = best[has]
    held = scored.guard[first].copy()
    second = np.full(len(first), -np.inf)
    several = count[has] > 1
    second[several] = scored.weight[order[start[:-1][has][several] + 1]]
    margin = (held == 0) & (scored.weight[first] - second < bands.margin)
    held[margin] = GUARDS.index("margin")
    enough = np.where(scored.optional[first], bands.existing_with_optional_fields, bands.existing)
    decided = same[first] | ((held == 0) & (scored.weight[first] >= enough))
    held[same[first]] = 0
    asked = np.where(count[has] > bands.most_candidates, TOO_MANY, REVIEW)
    outcome[has] = np.where(decided, EXISTING, asked)
    guard[has] = held
    if one_file:
        _one_number_each(scored, outcome, best, guard, count)
    return Batch(scored, outcome, best, guard, start, order)


def _likely(scored: Scored, overrides: Mapping[int, Overrides]) -> tuple[Bools, Bools]:
    """Which pairs a clerk joined before, and which are candidates."""
    same, apart = np.zeros(len(scored.query), np.bool_), np.zeros(len(scored.query), np.bool_)
    for query, marks in overrides.items():
        mine = scored.query == query
        same |= mine & np.isin(scored.known, _positions(marks.same))
        apart |= mine & np.isin(scored.known, _positions(marks.different))
    strong = (scored.weight >= parameters().bands.review) | scored.same_upn
    likely = ~apart & (same | (strong & (scored.guard != GUARDS.index("different"))))
    return same & likely, likely


def _one_number_each(scored: Scored, outcome: Small, best: Ints, guard: Small, count: Ints) -> None:
    """Two learners in one provider's file never get one number: the first has it, a clerk sees the others."""
    asking = np.flatnonzero(best >= 0)
    persons = scored.known[best[asking]]
    claimed = np.unique(persons[outcome[asking] == EXISTING])
    contested = np.isin(persons, claimed)
    taken: set[int] = set()
    for query, person in zip(asking[contested].tolist(), persons[contested].tolist(), strict=True):
        if person in taken:
            most = parameters().bands.most_candidates
            outcome[query] = TOO_MANY if count[query] > most else REVIEW
            guard[query] = GUARDS.index("file")
        elif outcome[query] == EXISTING:
            taken.add(person)


class _Decisions:
    """Decisions of a batch as `decide` writes them."""

    def __init__(self, batch: Batch, register: Sequence[Known]) -> None:
        self._batch, self._register = batch, register
        self._model = parameters().version

    def all(self) -> list[Decision]:
        """One for each query."""
        batch = self._batch
        outcomes, guards = batch.outcome.tolist(), batch.guard.tolist()
        most = parameters().bands.most_candidates
        found = []
        for query, (first, last) in enumerate(pairwise(batch.start.tolist())):
            outcome, guard = outcomes[query], GUARDS[guards[query]]
            if outcome == NEW:
                found.append(Decision("new", None, (), None, self._model))
            elif outcome == EXISTING:
                one = self._weighed(int(batch.best[query]))
                found.append(Decision("existing", one.person, (one,), None, self._model))
            else:
                rows = batch.order[first : min(last, first + most)].tolist()
                shown = [self._weighed(row) for row in rows]
                if guard == "file":
                    shown[0] = msgspec.structs.replace(shown[0], guard="file")
                found.append(Decision(OUTCOMES[outcome], None, tuple(shown), guard, self._model))
        return found

    def _weighed(self, row: int) -> Weighed:
        scored = self._batch.scored
        parts = (
            Part("register", "size", scored.prior),
            *(
                Part(name, _ORDERS[name][found[row]], float(bits[row]))
                for name, (found, bits) in scored.fields.items()
            ),
        )
        person = self._register[int(scored.known[row])].person
        return Weighed(person, float(scored.weight[row]), parts, GUARDS[int(scored.guard[row])])


__all__ = ["NO_OVERRIDES", "Batch", "Scored", "decide_batch", "decide_many", "score_pairs"]
