"""The register and the incoming as files for the peer, with the columns its blocks need."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from commonroom.registers.learners.matching.compare import district
from commonroom.registers.learners.matching.normalise import fold, postcode
from commonroom.registers.learners.matching.phonetics import soundex
from learners_bench.population import Sample, Words


def write(drawn: Sample, folder: Path) -> tuple[Path, Path]:
    """Two Parquet files; ids of incoming start with q, `truth` is the registered id."""
    register, incoming = folder / "register.parquet", folder / "incoming.parquet"
    known = _table(drawn.registered, "r")
    parquet.write_table(known, register)
    truth = pa.array([f"r{row}" if row >= 0 else None for row in drawn.truth.tolist()], pa.string())
    parquet.write_table(_table(drawn.incoming, "q").append_column("truth", truth), incoming)
    return register, incoming


def _table(words: dict[str, Words], mark: str) -> pa.Table:
    given = [fold(name) for name in words["given_name"]]
    family = [fold(name) for name in words["family_name"]]
    codes = [postcode(text) or None for text in words["postcode"]]
    return pa.table(
        {
            "id": [f"{mark}{row}" for row in range(len(given))],
            "given_name": given,
            "family_name": family,
            "date_of_birth": list(words["date_of_birth"]),
            "birth_year": [date[:4] for date in words["date_of_birth"]],
            "gender": list(words["gender"]),
            "postcode": codes,
            "district": [district(code) if code else None for code in codes],
            "soundex_given": [soundex(name) for name in given],
            "soundex_family": [soundex(name) for name in family],
        }
    )
