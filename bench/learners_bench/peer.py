"""Splink beside the matcher, in its own Python: `peer.py REGISTER.parquet INCOMING.parquet` prints JSON.

Trained as its documentation does: u from random pairs, m by expectation maximisation on two blocks. The blocks are the
matcher's passes that SQL can say. A record's match is its heaviest pair.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any


def main(register: str, incoming: str) -> dict[str, Any]:
    """Train, predict, and count at several thresholds."""
    import duckdb
    import pandas as pd
    import splink.comparison_library as cl
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    frames = [pd.read_parquet(register), pd.read_parquet(incoming)]
    rules = [
        block_on("date_of_birth", "soundex_family"),
        block_on("date_of_birth", "soundex_given"),
        block_on("postcode", "birth_year"),
        block_on("date_of_birth", "district"),
        block_on("family_name", "soundex_given", "birth_year"),
        block_on("postcode", "soundex_given"),
    ]
    settings = SettingsCreator(
        link_type="link_only",
        unique_id_column_name="id",
        probability_two_random_records_match=0.5 / len(frames[0]),
        comparisons=[
            cl.JaroWinklerAtThresholds("given_name", [0.92, 0.85]).configure(term_frequency_adjustments=True),
            cl.JaroWinklerAtThresholds("family_name", [0.92, 0.85]).configure(
                term_frequency_adjustments=True
            ),
            cl.DamerauLevenshteinAtThresholds("date_of_birth", [1, 2]),
            cl.ExactMatch("gender"),
            cl.LevenshteinAtThresholds("postcode", [1]),
        ],
        blocking_rules_to_generate_predictions=rules,
    )
    connection = duckdb.connect()
    connection.execute("SET threads TO 1")
    linker = Linker(frames, settings, DuckDBAPI(connection=connection))
    began = time.process_time()
    linker.training.estimate_u_using_random_sampling(max_pairs=2e6, seed=1)
    linker.training.estimate_parameters_using_expectation_maximisation(
        block_on("date_of_birth", "family_name"), estimate_without_term_frequencies=True
    )
    linker.training.estimate_parameters_using_expectation_maximisation(
        block_on("postcode", "given_name"), estimate_without_term_frequencies=True
    )
    trained = time.process_time()
    wall = time.perf_counter()
    pairs = linker.inference.predict(threshold_match_weight=-3)
    predicted = time.process_time()
    seconds = time.perf_counter() - wall
    found = pairs.as_pandas_dataframe()[["source_dataset_l", "id_l", "id_r", "match_weight"]]
    return {
        "version": __import__("splink").__version__,
        "train_cpu": trained - began,
        "predict_cpu": predicted - trained,
        "predict_seconds": seconds,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "thresholds": thresholds(frames[1], found),
    }


def thresholds(incoming: Any, found: Any) -> dict[str, dict[str, float]]:
    """Wrong merges, review and false new numbers at weights of 0 and 14, with a clerk between -3 and the second."""
    found = found.copy()
    # Whichever side is the incoming: its ids start with q.
    swapped = found["id_l"].str.startswith("q")
    query = found["id_l"].where(swapped, found["id_r"])
    known = found["id_r"].where(swapped, found["id_l"])
    best = found.assign(query=query, known=known).sort_values("match_weight").groupby("query").tail(1)
    joined = incoming[["id", "truth"]].merge(best, left_on="id", right_on="query", how="left")
    answers = {}
    for name, weight, review in (("p >= 0.5", 0.0, False), ("weight >= 14", 14.0, True)):
        automatic = joined["match_weight"] >= weight
        asked = ~automatic & joined["match_weight"].notna() & review
        is_known = joined["truth"].notna()
        answers[name] = {
            "wrong_merges_per_100k": 1e5 * float((automatic & (joined["known"] != joined["truth"])).mean()),
            "review_pct": 100 * float(asked.mean()),
            "false_new_pct": 100 * float((is_known & ~automatic & ~asked).sum() / max(1, is_known.sum())),
        }
    return answers


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2])))
