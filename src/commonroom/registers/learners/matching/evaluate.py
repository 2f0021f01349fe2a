"""How well the matcher does on a set whose truth is known: one file of repeats, or a register and what comes in."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations

import msgspec

from commonroom.registers.learners.matching.blocking import Index
from commonroom.registers.learners.matching.columns import EXISTING, NEW, decide_batch
from commonroom.registers.learners.matching.decide import choose
from commonroom.registers.learners.matching.keys import block_keys, query_keys
from commonroom.registers.learners.matching.normalise import Prepared, normalise
from commonroom.registers.learners.matching.people import Decision, Weighed
from commonroom.registers.learners.matching.people_columns import (
    frequencies_of,
    people_of,
    table_of,
)
from commonroom.registers.learners.matching.score import weigh
from commonroom.registers.learners.matching.tables import Row
from commonroom.registers.learners.matching.vocabulary import Vocabulary

Pair = frozenset[str]


class Ignored(msgspec.Struct, frozen=True):
    """What of the files could not count, or counted in part."""

    # Ids in the truth that no record has.
    truth_ids_unknown: int = 0
    # Records whose id one before them in the same file has.
    duplicate_ids: int = 0
    # Records with a date of birth of which not all could be read.
    unreadable_dates: int = 0


class Evaluation(msgspec.Struct, frozen=True):
    """The figures. A pair counts for precision, recall and F1 when it was decided automatically or offered first."""

    registered: int
    incoming: int
    automatic: int
    review: int
    new: int
    wrong_merges_per_100k: float
    false_new_pct: float
    precision: float
    recall: float
    f1: float
    automatic_precision: float
    automatic_recall: float
    seconds: float
    lookups_per_s: float
    ignored: Ignored = Ignored()


def evaluate(
    register: Iterable[Row],
    incoming: Iterable[Row] | None = None,
    truth: Iterable[tuple[str, str]] | None = None,
) -> Evaluation:
    """Load `register` into an empty register, submit `incoming`, and compare with `truth`, pairs of their ids.

    Without `incoming`, or when it is the register again, the records are submitted one after the other to a register
    that is empty at first, and then de-duplicated: what is decided or offered first joins a person, and all records of
    one person are pairs. Without `truth` two records are one person when their ids begin alike (`rec-7-org`,
    `rec-7-dup-2`).
    """
    known = list(register)
    arriving = None if incoming is None else list(incoming)
    pairs = None if truth is None else list(truth)
    found = _compared(known, arriving, pairs)
    return msgspec.structs.replace(found, ignored=_ignored([known, arriving or []], pairs or []))


def _ignored(files: Sequence[Sequence[Row]], truth: Sequence[tuple[str, str]]) -> Ignored:
    ids = [{row.id for row in rows} for rows in files]
    return Ignored(
        truth_ids_unknown=len({one for pair in truth for one in pair} - set().union(*ids)),
        duplicate_ids=sum(len(rows) - len(own) for rows, own in zip(files, ids, strict=True)),
        unreadable_dates=sum(row.unread_date for rows in files for row in rows),
    )


def _compared(
    known: list[Row], arriving: list[Row] | None, truth: list[tuple[str, str]] | None
) -> Evaluation:
    if arriving is None or [row.id for row in arriving] == [row.id for row in known]:
        pairs = truth_of_ids(known) if truth is None else {frozenset(pair) for pair in truth}
        return _OneFile(known, {pair for pair in pairs if len(pair) == 2}).figures()
    return _two_files(known, arriving, _partners(known, arriving, truth))


def truth_of_ids(rows: Sequence[Row]) -> set[Pair]:
    """Pairs of records whose ids begin alike."""
    persons: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        persons[stem(row.id)].append(row.id)
    return _pairs(persons.values())


def stem(record: str) -> str:
    """What the ids of one person's records have in common: `rec-7` of `rec-7-dup-2`."""
    return "-".join(record.split("-")[:2])


def _pairs(persons: Iterable[Iterable[str]]) -> set[Pair]:
    return {frozenset(pair) for ids in persons for pair in combinations(ids, 2)}


class _Blocks:
    """Who shares a block key, in memory."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], list[int]] = defaultdict(list)

    def add(self, position: int, prepared: Prepared) -> None:
        for key in block_keys(prepared):
            self._rows[key].append(position)

    def candidates(self, query: Prepared) -> list[int]:
        return sorted({row for key in query_keys(query) for row in self._rows.get(key, ())})


class _OneFile:
    """Records submitted one after the other, then de-duplicated as the register is every night."""

    def __init__(self, rows: Sequence[Row], truth: set[Pair]) -> None:
        self._rows, self._truth = rows, truth
        self._prepared = [normalise(row.details) for row in rows]
        self._blocks = _Blocks()
        # By record the first record of its person: with the clerk's answers, and by decisions alone.
        self._person: list[int] = []
        self._decided: list[int] = []
        self._outcomes: list[str] = []

    def figures(self) -> Evaluation:
        """Submit all, and compare."""
        began = time.perf_counter()
        for position in range(len(self._rows)):
            self._submit(position)
        self._deduplicate()
        seconds = time.perf_counter() - began
        wrong, false_new, again = self._mistakes()
        outcomes = Counter(self._outcomes)
        return _figures(
            sizes=(len(self._rows), len(self._rows)),
            outcomes=outcomes,
            mistakes=(wrong, false_new, again),
            found=_pairs(self._members(self._person)),
            automatic=_pairs(self._members(self._decided)),
            truth=self._truth,
            seconds=seconds,
        )

    def _submit(self, position: int) -> None:
        decision = self._look_up(position)
        first = _first(decision)
        person = first if isinstance(first, int) else position
        self._person.append(person)
        self._decided.append(person if decision.outcome == "existing" else position)
        self._outcomes.append(decision.outcome)
        self._blocks.add(position, self._prepared[position])

    def _look_up(self, position: int, apart: int = -1) -> Decision:
        """The decision on a record; `apart` is a person it is not compared with."""
        weighed: dict[Hashable, Weighed] = {}
        query = self._prepared[position]
        for other in self._blocks.candidates(query):
            person = self._person[other]
            if person == apart:
                continue
            one = weigh(query, self._prepared[other], registered=len(self._rows))
            # A person is as near as the nearest of the records that made it.
            if person not in weighed or one.weight > weighed[person].weight:
                weighed[person] = msgspec.structs.replace(one, person=person)
        return choose(list(weighed.values()))

    def _deduplicate(self) -> None:
        """Records that got a new number are looked up once more, now that all are there; a clerk joins the persons."""
        for position in range(len(self._rows)):
            person = self._person[position]
            if self._outcomes[position] != "new":
                continue
            first = _first(self._look_up(position, apart=person))
            if isinstance(first, int):
                keep, gone = min(first, person), max(first, person)
                self._person = [keep if one == gone else one for one in self._person]

    def _members(self, persons: Sequence[int]) -> list[list[str]]:
        found: dict[int, list[str]] = defaultdict(list)
        for row, person in zip(self._rows, persons, strict=True):
            found[person].append(row.id)
        return list(found.values())

    def _mistakes(self) -> tuple[int, int, int]:
        """Wrong automatic decisions, second numbers, and how many had a record before theirs."""
        partners: dict[str, set[str]] = defaultdict(set)
        for one, other in map(tuple, self._truth):
            partners[one].add(other)
            partners[other].add(one)
        before: dict[int, set[str]] = defaultdict(set)
        seen: set[str] = set()
        wrong = false_new = again = 0
        for position, row in enumerate(self._rows):
            met = not partners[row.id].isdisjoint(seen)
            again += met
            false_new += met and self._outcomes[position] == "new"
            person = self._decided[position]
            if self._outcomes[position] == "existing":
                wrong += partners[row.id].isdisjoint(before[person])
            before[person].add(row.id)
            before[self._person[position]].add(row.id)
            seen.add(row.id)
        return wrong, false_new, again


def _first(decision: Decision) -> Hashable | None:
    return decision.candidates[0].person if decision.candidates else None


def _partners(
    known: Sequence[Row], arriving: Sequence[Row], truth: Iterable[tuple[str, str]] | None
) -> dict[str, set[str]]:
    """Of each incoming record the registered ones that it is."""
    found: dict[str, set[str]] = defaultdict(set)
    if truth is None:
        stems: dict[str, set[str]] = defaultdict(set)
        for row in known:
            stems[stem(row.id)].add(row.id)
        for row in arriving:
            found[row.id] = stems.get(stem(row.id), set())
        return found
    registered, submitted = {row.id for row in known}, {row.id for row in arriving}
    for one, other in truth:
        if one in registered and other in submitted:
            found[other].add(one)
        elif other in registered and one in submitted:
            # Whichever way round the pair was written.
            found[one].add(other)
    return found


def _two_files(known: Sequence[Row], arriving: Sequence[Row], partners: Mapping[str, set[str]]) -> Evaluation:
    """One batch against a register of its own counts, as the batch path decides it."""
    vocabulary = Vocabulary()
    register = people_of(table_of([row.details for row in known]), vocabulary)
    vocabulary.frequencies = frequencies_of(register)
    index = Index(register)
    began = time.perf_counter()
    queries = people_of(table_of([row.details for row in arriving]), vocabulary)
    batch = decide_batch(queries, register, index.candidates(queries), one_file=False, registered=len(known))
    seconds = time.perf_counter() - began
    found: set[Pair] = set()
    automatic: set[Pair] = set()
    wrong = false_new = again = 0
    for row, outcome, best in zip(arriving, batch.outcome.tolist(), batch.best.tolist(), strict=True):
        mine = partners.get(row.id, set())
        again += bool(mine)
        false_new += bool(mine) and outcome == NEW
        if outcome == NEW:
            continue
        other = known[int(batch.scored.known[best])].id
        pair = frozenset((f"incoming {row.id}", f"registered {other}"))
        found.add(pair)
        if outcome == EXISTING:
            automatic.add(pair)
            wrong += other not in mine
    names = {EXISTING: "existing", NEW: "new"}
    return _figures(
        sizes=(len(known), len(arriving)),
        outcomes=Counter(names.get(outcome, "review") for outcome in batch.outcome.tolist()),
        mistakes=(wrong, false_new, again),
        found=found,
        automatic=automatic,
        truth={
            frozenset((f"incoming {row}", f"registered {other}"))
            for row, others in partners.items()
            for other in others
        },
        seconds=seconds,
    )


def _figures(
    *,
    sizes: tuple[int, int],
    outcomes: Mapping[str, int],
    mistakes: tuple[int, int, int],
    found: set[Pair],
    automatic: set[Pair],
    truth: set[Pair],
    seconds: float,
) -> Evaluation:
    registered, incoming = sizes
    wrong, false_new, again = mistakes
    right, decided_right = len(found & truth), len(automatic & truth)
    precision, recall = _share(right, len(found)), _share(right, len(truth))
    return Evaluation(
        registered=registered,
        incoming=incoming,
        automatic=outcomes.get("existing", 0),
        review=outcomes.get("review", 0) + outcomes.get("too_many", 0),
        new=outcomes.get("new", 0),
        wrong_merges_per_100k=round(1e5 * _share(wrong, incoming), 1),
        false_new_pct=round(100 * _share(false_new, again), 3),
        precision=round(precision, 5),
        recall=round(recall, 5),
        f1=round(_share(2 * precision * recall, precision + recall), 5),
        automatic_precision=round(_share(decided_right, len(automatic)), 5),
        automatic_recall=round(_share(decided_right, len(truth)), 5),
        seconds=round(seconds, 3),
        lookups_per_s=round(_share(incoming, seconds), 1),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
