"""One measurement: a register of one seed, 50,000 incoming, with five fields or with optional ones."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from commonroom.registers.learners.matching.blocking import Index
from commonroom.registers.learners.matching.columns import EXISTING, NEW, Batch, decide_batch
from commonroom.registers.learners.matching.people_columns import (
    Table,
    frequencies_of,
    people_of,
)
from commonroom.registers.learners.matching.vocabulary import Vocabulary
from learners_bench import population


def world(registered: int, incoming: int, seed: int, folder: Path) -> population.Population:
    """A population large enough to have `incoming` persons outside the register, and twins enough."""
    return population.make(int(registered * 1.04) + 2 * incoming, seed, folder)


def measure(drawn: population.Sample, registered: int, seed: int, *, optional: bool) -> dict[str, Any]:
    """Decide the batch and compare with the truth. CPU counts from text as given to decisions."""
    register_table = Table(registered, population.columns(drawn.registered))
    table = Table(len(drawn.truth), population.columns(drawn.incoming))
    # What is coded is not needed as text in rows.
    drawn.registered.clear()
    drawn.incoming.clear()
    began = time.process_time()
    vocabulary = Vocabulary()
    register = people_of(register_table, vocabulary)
    vocabulary.frequencies = frequencies_of(register)
    del register_table
    index = Index(register)
    loaded = time.process_time()
    wall = time.perf_counter()
    queries = people_of(table, vocabulary)
    pairs = index.candidates(queries)
    blocked = time.process_time()
    batch = decide_batch(queries, register, pairs, one_file=False, registered=registered)
    decided = time.process_time()
    return {
        "seed": seed,
        "registered": registered,
        "optional": optional,
        "incoming": len(drawn.truth),
        "with_twin": drawn.with_twin,
        "pairs": len(pairs[0]),
        "load_cpu": loaded - began,
        "block_cpu": blocked - loaded,
        "score_cpu": decided - blocked,
        "batch_cpu": decided - loaded,
        "batch_seconds": time.perf_counter() - wall,
        # Of the whole process, which has made the population before; and when the batch was decided.
        "resident_mb": int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096 // 2**20,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **counts(batch, drawn),
        "groups": groups(batch, drawn),
    }


def counts(batch: Batch, drawn: population.Sample, rows: Any = slice(None)) -> dict[str, int]:
    """How the decisions compare with the truth."""
    outcome, person, truth = batch.outcome[rows], batch.person()[rows], drawn.truth[rows]
    known = truth >= 0
    return {
        "decided": len(truth),
        "known": int(known.sum()),
        "automatic": int((outcome == EXISTING).sum()),
        "review": int((outcome > EXISTING).sum()),
        "new": int((outcome == NEW).sum()),
        "wrong_merges": int(((outcome == EXISTING) & (person != truth)).sum()),
        "false_new": int(((outcome == NEW) & known).sum()),
    }


def groups(batch: Batch, drawn: population.Sample) -> dict[str, dict[str, int]]:
    """The counts by group of names."""
    return {str(group): counts(batch, drawn, drawn.group == group) for group in np.unique(drawn.group)}
