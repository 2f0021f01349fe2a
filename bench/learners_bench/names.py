"""Write matching/names.csv, how often names are borne, anew from the public lists.

    python bench/learners_bench/names.py --names FOLDER

FOLDER holds `ew_baby_names_1996_2020.parquet` (Office for National Statistics, baby names of England and Wales, Open
Government Licence v3.0) and `sdg_lastname_uk.csv` (United Kingdom surnames with their share, from the R package sdglinkage,
MIT licence).
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

import pyarrow.parquet as parquet

from commonroom.registers.learners.matching.normalise import fold

OUT = Path(__file__).parents[2] / "src" / "commonroom" / "registers" / "learners" / "matching" / "names.csv"
FEWEST_USES = 30


def given_names(folder: Path) -> dict[str, float]:
    """The share of each first given name among births of 1996 to 2020."""
    uses: Counter[str] = Counter()
    for row in parquet.read_table(folder / "ew_baby_names_1996_2020.parquet").to_pylist():
        uses[fold(row["name"]).split(" ")[0]] += int(row["n"])
    total = sum(uses.values())
    return {name: count / total for name, count in uses.items() if count >= FEWEST_USES}


def family_names(folder: Path) -> dict[str, float]:
    """The share of each surname."""
    found: Counter[str] = Counter()
    with (folder / "sdg_lastname_uk.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found[fold(row["surname"])] += float(row["freq"])
    return dict(found)


def main() -> None:
    """Both lists into one table, commonest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=Path, required=True)
    folder = parser.parse_args().names
    with OUT.open("w", encoding="utf-8", newline="") as file:
        file.write(
            "# Given names: Office for National Statistics, baby names of England and Wales 1996-2020, "
            "Open Government Licence v3.0.\n"
            "# Family names: surnames of the United Kingdom from the R package sdglinkage, MIT licence.\n"
            "# Folded as matching.normalise does; bearers in a million.\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("kind", "name", "per_million"))
        for kind, names in (("given", given_names(folder)), ("family", family_names(folder))):
            for name, share in sorted(names.items(), key=lambda item: (-item[1], item[0])):
                if name:
                    writer.writerow((kind, name, f"{share * 1e6:.4g}"))


if __name__ == "__main__":
    main()
