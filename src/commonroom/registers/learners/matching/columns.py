"""The columnar scorer: a whole batch at once. It decides as `decide` does, case by case."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

import msgspec
import numpy as np

from commonroom.registers.learners.matching import levels as level
from commonroom.registers.learners.matching.blocking import spread
from commonroom.registers.learners.matching.decide import NO_OVERRIDES
from commonroom.registers.learners.matching.guards_columns import GUARDS, LevelColumns, guard_columns
from commonroom.registers.learners.matching.name_columns import NameColumns, first_best
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
    Bools,
    Floats,
    Ints,
    People,
    Vocabulary,
    people_of,
    table_of,
    table_of_known,
)

OUTCOMES: tuple[Outcome, ...] = ("new", "existing", "review", "too_many")
NEW, EXISTING, REVIEW, TOO_MANY = range(4)
# Nothing is passed over that the last digit of a sum could bring back.
_LEEWAY = 1e-6
_ORDERS = {
    "given": level.NAME,
    "family": level.NAME,
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
    guard: level.Small
    optional: Bools
    same_upn: Bools
    # By field of the waterfall: level and weight.
    fields: Mapping[str, tuple[level.Small, Floats]]
    prior: float


class Batch(msgspec.Struct, frozen=True):
    """The decisions on a batch: by query its outcome, the best candidate's place in `scored`, the guard that held."""

    scored: Scored
    outcome: level.Small
    best: Ints
    guard: level.Small
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
    scales = parameters()
    names = NameColumns(queries, register, one, other)
    birth, birth_bits, near = level.birth(queries, register, one, other)
    gender = level.equal(queries.gender[one], register.gender[other])
    home, home_bits, postcode = _home(queries, register, one, other)
    upn = _upn(queries, register, one, other)
    place = level.equal(queries.place_of_birth[one], register.place_of_birth[other])
    school = level.equal(queries.school_at_16[one], register.school_at_16[other])
    bits = {
        "gender": level.weights(scales.gender, level.EQUAL)[gender],
        "upn": level.weights(scales.upn, level.UPN)[upn],
        "place": level.weights(scales.place, level.EQUAL)[place],
        "school": level.weights(scales.school, level.EQUAL)[school],
    }
    middle_weights = level.weights(scales.middle, level.MIDDLE)
    spoken = (queries.middle[one, 0] != 0) & (register.middle[other, 0] != 0)
    size = prior(registered)
    most = size + birth_bits + home_bits + sum(bits.values()) + np.where(spoken, max(middle_weights), 0.0)
    kept = np.flatnonzero(
        (most + names.most() >= scales.bands.review - _LEEWAY) | (upn == level.UPN.index("same")) | forced
    )
    one, other = one[kept], other[kept]
    given, given_bits, family, family_bits, together, shared = NameColumns(
        queries, register, one, other
    ).best()
    middle = level.middle(queries, register, one, other)
    middle[level.member(given, level.NAME, ("other", "middle"))] = 0
    fields = {
        "given": (given, given_bits),
        "family": (family, family_bits),
        "names": ((together != 0).astype(np.int8), together),
        "birth": (birth[kept], birth_bits[kept]),
        "gender": (gender[kept], bits["gender"][kept]),
        "home": (home[kept], home_bits[kept]),
        "upn": (upn[kept], bits["upn"][kept]),
        "middle": (middle, middle_weights[middle]),
        "place": (place[kept], bits["place"][kept]),
        "school": (school[kept], bits["school"][kept]),
    }
    weight = np.full(len(kept), size)
    for _, field_bits in fields.values():
        weight = weight + field_bits
    strong = ~level.member(home[kept], level.HOME, ("town", "district"))
    columns = LevelColumns(
        given=given,
        family=family,
        birth=birth[kept],
        near=near[kept],
        gender=gender[kept],
        postcode=postcode[kept],
        home=(home_bits[kept] > 0) & strong,
        upn=upn[kept],
        middle=middle,
        shared=shared,
    )
    optional = level.member(home[kept], level.HOME, ("house", "email", "town")) | (upn[kept] != 0)
    optional |= (middle != 0) | (place[kept] != 0) | (school[kept] != 0)
    same_upn = upn[kept] == level.UPN.index("same")
    guard = guard_columns(columns)
    return Scored(one, other, np.round(weight, 6), guard, optional, same_upn, fields, size)


def _home(
    queries: People, register: People, one: Ints, other: Ints
) -> tuple[level.Small, Floats, level.Small]:
    """The home's level and weight, and the level of the best postcode."""
    weights = level.home_weights()
    postcode = np.zeros(len(one), np.int8)
    has = queries.postcodes.count(one) > 0
    count = np.where(has, register.postcodes.count(other), 0)
    rows = np.repeat(np.arange(len(one)), count)
    yours = register.postcodes.codes[spread(register.postcodes.start[other], count)]
    mine = queries.postcodes.codes[queries.postcodes.start[one[rows]]]
    levels = level.postcode(queries.vocabulary, mine, yours)
    best = first_best(rows, weights[levels])
    postcode[rows[best]] = levels[best]
    home, bits = postcode.copy(), weights[postcode]
    for name in ("house", "email", "town"):
        left, right = getattr(queries, name)[one], getattr(register, name)[other]
        better = (left != 0) & (left == right) & (weights[level.HOME.index(name)] > bits)
        home[better] = level.HOME.index(name)
        bits = np.where(better, weights[level.HOME.index(name)], bits)
    return home, bits, postcode


def _upn(queries: People, register: People, one: Ints, other: Ints) -> level.Small:
    levels = np.zeros(len(one), np.int8)
    permanent = queries.vocabulary.derived(
        "permanent",
        lambda text: float(len(text) == 13 and text[-1].isdigit()),
        np.float64,
        np.concatenate([queries.upns.codes, register.upns.codes]),
    )
    held = np.flatnonzero((queries.upns.count(one) > 0) & (register.upns.count(other) > 0))
    if not len(held):
        return levels
    left, right = one[held], other[held]
    mine, yours = queries.upns.count(left), register.upns.count(right)
    rows = np.repeat(np.arange(len(held)), mine * yours)
    step = spread(np.zeros(len(held), np.int64), mine * yours)
    my_codes = queries.upns.codes[queries.upns.start[left][rows] + step // yours[rows]]
    your_codes = register.upns.codes[register.upns.start[right][rows] + step % yours[rows]]
    both = np.bincount(rows, (permanent[my_codes] > 0) & (permanent[your_codes] > 0), len(held)) > 0
    same = np.bincount(rows, my_codes == your_codes, len(held)) > 0
    levels[held] = np.where(same, level.UPN.index("same"), np.where(both, level.UPN.index("differ"), 0))
    return levels


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


def _one_number_each(
    scored: Scored, outcome: level.Small, best: Ints, guard: level.Small, count: Ints
) -> None:
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
