"""How well the matcher does on a set whose truth is known: one file of repeats, or a register and what comes in."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations

import msgspec

from commonroom.registers.learners.matching.decide import choose
from commonroom.registers.learners.matching.keys import block_keys, query_keys
from commonroom.registers.learners.matching.normalise import Prepared, normalise
from commonroom.registers.learners.matching.people import Decision, Weighed
from commonroom.registers.learners.matching.score import weigh
from commonroom.registers.learners.matching.tables import Row

Pair = frozenset[str]


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


def evaluate(
    register: Iterable[Row],
    incoming: Iterable[Row] | None = None,
    truth: Iterable[tuple[str, str]] | None = None,
) -> Evaluation:
    """Load `register` into an empty register, submit `incoming`, and compare with `truth`, pairs of (registered, incoming).

    Without `incoming` the register's own records are submitted one after the other to a register that is empty at
    first: what is decided or offered first joins a person, and all records of one person are pairs. Without `truth` two
    records are one person when their ids begin alike (`rec-7-org`, `rec-7-dup-2`).
    """
    known = list(register)
    if incoming is None:
        pairs = truth_of_ids(known) if truth is None else {frozenset(pair) for pair in truth}
        return _of_one_file(known, {pair for pair in pairs if len(pair) == 2})
    arriving = list(incoming)
    return _of_two_files(known, arriving, _two_file_truth(known, arriving, truth))


def truth_of_ids(rows: Sequence[Row]) -> set[Pair]:
    """Pairs of records whose ids begin alike."""
    clusters: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        clusters[stem(row.id)].append(row.id)
    return {frozenset(pair) for ids in clusters.values() for pair in combinations(ids, 2)}


def stem(record: str) -> str:
    """What the ids of one person's records have in common: `rec-7` of `rec-7-dup-2`."""
    return "-".join(record.split("-")[:2])


def _two_file_truth(
    known: Sequence[Row], arriving: Sequence[Row], truth: Iterable[tuple[str, str]] | None
) -> dict[str, set[str]]:
    """Of each incoming record the registered ones that it is."""
    found: dict[str, set[str]] = defaultdict(set)
    if truth is None:
        stems: dict[str, list[str]] = defaultdict(list)
        for row in known:
            stems[stem(row.id)].append(row.id)
        for row in arriving:
            found[row.id].update(stems.get(stem(row.id), ()))
        return found
    registered, submitted = {row.id for row in known}, {row.id for row in arriving}
    for one, other in truth:
        # Whichever way round the pair was written.
        if one in registered and other in submitted:
            found[other].add(one)
        elif other in registered and one in submitted:
            found[one].add(other)
    return found


class Blocks:
    """Who shares a block key, in memory."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], list[int]] = defaultdict(list)

    def add(self, position: int, prepared: Prepared) -> None:
        """Enter a record."""
        for key in block_keys(prepared):
            self._rows[key].append(position)

    def candidates(self, query: Prepared) -> list[int]:
        """The positions of those who share a key with the query."""
        return sorted({row for key in query_keys(query) for row in self._rows.get(key, ())})


def _of_one_file(rows: Sequence[Row], truth: set[Pair]) -> Evaluation:
    blocks, prepared = Blocks(), [normalise(row.details) for row in rows]
    person: list[int] = []
    offered: list[int] = []
    counts = {"existing": 0, "review": 0, "new": 0, "too_many": 0}
    wrong = false_new = again = 0
    clusters: dict[int, list[str]] = defaultdict(list)
    suggested: dict[int, list[str]] = defaultdict(list)
    began = time.perf_counter()
    for position, query in enumerate(prepared):
        weighed: dict[Hashable, Weighed] = {}
        for other in blocks.candidates(query):
            one = weigh(query, prepared[other], registered=len(rows))
            # A person is as near as the nearest of the records that made it.
            holder = offered[other]
            if holder not in weighed or one.weight > weighed[holder].weight:
                weighed[holder] = msgspec.structs.replace(one, person=holder)
        decision = choose(list(weighed.values()))
        counts[decision.outcome] += 1
        first = _first(decision)
        mine = rows[position].id
        joined = first if isinstance(first, int) else position
        before = any(frozenset((mine, other.id)) in truth for other in rows[:0])
        offered.append(joined)
        person.append(joined if decision.outcome == "existing" else position)
        blocks.add(position, query)
        suggested[joined].append(mine)
        clusters[person[-1]].append(mine)
        del before
    seconds = time.perf_counter() - began
    seen: set[str] = set()
    partners: dict[str, set[str]] = defaultdict(set)
    for one_id, other_id in (tuple(pair) for pair in truth):
        partners[one_id].add(other_id)
        partners[other_id].add(one_id)
    for position, row in enumerate(rows):
        known_before = not partners[row.id].isdisjoint(seen)
        again += known_before
        alone = offered[position] == position
        false_new += known_before and alone
        if person[position] != position:
            wrong += partners[row.id].isdisjoint(
                other for other in clusters[person[position]] if other in seen
            )
        seen.add(row.id)
    return _figures(
        registered=len(rows),
        incoming=len(rows),
        counts=counts,
        wrong=wrong,
        false_new=false_new,
        again=again,
        found=_pairs(suggested),
        automatic=_pairs(clusters),
        truth=truth,
        seconds=seconds,
    )


def _pairs(clusters: dict[int, list[str]]) -> set[Pair]:
    return {frozenset(pair) for ids in clusters.values() for pair in combinations(ids, 2)}


def _first(decision: Decision) -> Hashable | None:
    return decision.candidates[0].person if decision.candidates else None


def _of_two_files(known: Sequence[Row], arriving: Sequence[Row], truth: dict[str, set[str]]) -> Evaluation:
    raise NotImplementedError


def _figures(
    *,
    registered: int,
    incoming: int,
    counts: dict[str, int],
    wrong: int,
    false_new: int,
    again: int,
    found: set[Pair],
    automatic: set[Pair],
    truth: set[Pair],
    seconds: float,
) -> Evaluation:
    right, right_automatic = len(found & truth), len(automatic & truth)
    precision, recall = _share(right, len(found)), _share(right, len(truth))
    return Evaluation(
        registered=registered,
        incoming=incoming,
        automatic=counts["existing"],
        review=counts["review"] + counts["too_many"],
        new=counts["new"],
        wrong_merges_per_100k=round(1e5 * _share(wrong, incoming), 1),
        false_new_pct=round(100 * _share(false_new, again), 3),
        precision=round(precision, 5),
        recall=round(recall, 5),
        f1=round(_share(2 * precision * recall, precision + recall), 5),
        automatic_precision=round(_share(right_automatic, len(automatic)), 5),
        automatic_recall=round(_share(right_automatic, len(truth)), 5),
        seconds=round(seconds, 3),
        lookups_per_s=round(_share(incoming, seconds), 1),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
