"""Files of the School Census: the constructed sample, the public sample tables, whole returns in an export's spelling."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from commonroom.collections.engine import Engine
from commonroom.collections.file_model import CsvModule
from commonroom.collections.findings import Report
from commonroom.collections.loader import load
from commonroom.collections.model import Collection
from commonroom.collections.mutators import Mutators
from commonroom.collections.session import Session
from commonroom.problems import Problem

TERMS = ("autumn", "spring", "summer")
PREFIX = {"autumn": "2024_autumn", "spring": "2025_spring", "summer": "2025_summer"}
# What is found in the constructed sample, and why.
CONSTRUCTED = {
    # In spring nobody asks which year group a leaver was in.
    "unknown-element": 1,
    # A community primary school with appeals, and a number of the 4000s.
    "5013": 1,
    "130": 1,
    # The sample has neither a URN nor the items on top-up funding, special units and resourced provision.
    "160": 1,
    "1869": 3,
    "2230": 1,
    "2250": 1,
    # Lunches of two pupils of year 4; the one infant took one too.
    "1876": 2,
    "1877": 1,
    # Thirty pupils in a class of a school of three, whose year groups are mostly empty; one is in the year below her age.
    "1000": 1,
    "2040": 1,
    "2010": 1,
}
# Rows of the sample tables whose pupil was cut off with the rest of the file, and pupils that stand twice in one school.
CUT_OFF = {"autumn": 8, "spring": 43, "summer": 12}
TWICE = {"autumn": 0, "spring": 1, "summer": 0}
EXPECTED = Path(__file__).parent / "school_census_samples.csv"


@cache
def engine(term: str) -> Engine:
    return Engine(load(f"school-census-{term}", 2026))


def check(term: str, path: Path, last: Path | None = None) -> Report:
    with Session(engine(term)) as session:
        session.load(path)
        if last is not None:
            session.load_last(last)
        return session.check()


def counts(report: Report) -> dict[str, int]:
    return dict(Counter(finding.rule for finding in report.findings))


def folder(shared: Path, *names: str) -> Path:
    path = shared.joinpath("standards", "files", *names)
    if not path.exists():
        pytest.skip("no shared data folder")
    return path


def test_the_constructed_sample_is_read_and_its_findings_are_known(shared: Path) -> None:
    report = check("spring", folder(shared, "constructed_samples", "school_census_spring_2026.xml"))
    assert report.records == 4
    assert counts(report) == CONSTRUCTED
    first = next(finding for finding in report.findings if finding.rule == "5013")
    assert [place.item for place in first.locations][:2] == ["PrimaryLodged", "PrimaryWithdrawn"]
    assert not [
        outcome
        for rule, outcome in report.outcomes.items()
        if outcome == "not_checked" and "TonT" not in rule
    ]


def test_the_constructed_sample_against_itself_has_no_change_to_ask_about(shared: Path) -> None:
    path = folder(shared, "constructed_samples", "school_census_spring_2026.xml")
    report = check("spring", path, last=path)
    assert {outcome for rule, outcome in report.outcomes.items() if rule.startswith("TonT")} == {"passed"}


def tables(shared: Path, term: str) -> dict[str, list[dict[str, str]]]:
    """File -> rows of the public sample of a term."""
    found = {}
    for path in sorted(folder(shared, "school_census", "samples").glob(f"{PREFIX[term]}_*.csv")):
        with path.open(encoding="utf-8", newline="") as lines:
            found[path.name] = list(csv.DictReader(lines))
    return found


def parent_of(row: dict[str, str]) -> str:
    return "pupilonrolltableid" if "pupilonrolltableid" in row else "pupilnolongeronrolltableid"


def schools(
    rows: dict[str, list[dict[str, str]]], lost: Counter[str]
) -> Iterator[dict[str, list[dict[str, str]]]]:
    """The tables of one school after the other, without rows that cannot be joined, which `lost` counts."""
    for school in sorted({row["NativeId"] for table in rows.values() for row in table}):
        mine = {name: [row for row in table if row["NativeId"] == school] for name, table in rows.items()}
        pupils: dict[str, set[str]] = {}
        for name in [name for name in mine if "_pupil" in name]:
            unique = {row[parent_of(row)]: row for row in reversed(mine[name])}
            lost["twice"] += len(mine[name]) - len(unique)
            mine[name] = list(reversed(unique.values()))
            for row in mine[name]:
                pupils.setdefault(parent_of(row), set()).add(row[parent_of(row)])
        for name in [name for name in mine if "_pupil" not in name]:
            joined = [row for row in mine[name] if row[parent_of(row)] in pupils.get(parent_of(row), ())]
            lost["cut off"] += len(mine[name]) - len(joined)
            mine[name] = joined
        yield {name: table for name, table in mine.items() if table}


def write(where: Path, rows: dict[str, list[dict[str, str]]]) -> Path:
    where.mkdir(parents=True)
    for name, table in rows.items():
        with (where / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    return where


@pytest.mark.parametrize("term", TERMS)
def test_the_public_sample_tables_are_read_joined_and_judged(shared: Path, tmp_path: Path, term: str) -> None:
    rows = tables(shared, term)
    lost: Counter[str] = Counter()
    found: Counter[str] = Counter()
    pupils = read = 0
    for place, school in enumerate(schools(rows, lost)):
        report = check(term, write(tmp_path / str(place), school))
        found.update(counts(report))
        pupils += report.records
        read += sum(map(len, school.values()))
        assert set(report.outcomes.values()) <= {"passed", "failed", "not_checked"}
        # Every date, number and boolean of the export is understood.
        assert report.outcomes["type"] == "passed"
    with EXPECTED.open(encoding="utf-8", newline="") as lines:
        expected = {row["rule"]: int(row["findings"]) for row in csv.DictReader(lines) if row["term"] == term}
    assert pupils == 200 - TWICE[term]
    assert read == sum(map(len, rows.values())) - CUT_OFF[term] - TWICE[term]
    assert lost == Counter({"cut off": CUT_OFF[term], "twice": TWICE[term]})
    assert dict(found) == expected


def test_a_row_whose_pupil_is_missing_is_refused_with_its_line(shared: Path, tmp_path: Path) -> None:
    rows = tables(shared, "autumn")
    school = {name: [row for row in table if row["NativeId"] == "SCH8"] for name, table in rows.items()}
    stray = "2024_autumn_termlyexclusionsoffroll.csv"
    path = write(tmp_path / "one", {name: table for name, table in school.items() if name == stray})
    with pytest.raises(Problem, match="names no row of Pupil") as refused:
        check("autumn", path)
    assert refused.value.code == "CR-194"
    assert refused.value.where == f"{stray}, line 2"


def test_an_export_of_several_schools_is_refused(shared: Path, tmp_path: Path) -> None:
    rows = tables(shared, "autumn")
    name = "2024_autumn_pupilnolongeronroll.csv"
    with pytest.raises(Problem, match="names two rows"):
        check("autumn", write(tmp_path / "all", {name: rows[name]}))


class Export:
    """Our whole return as the collecting system would export it: its tables, its ids, its spelling."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.tables: dict[str, list[dict[str, str]]] = {}

    def rows(self, content: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, str]]]:
        for module in self._collection.children(None):
            for row in content.get(module.name, []):
                self._row(module.name, row, "", "")
        return {f"2026_{name}.csv": rows for name, rows in self.tables.items()}

    def _row(self, name: str, row: dict[str, Any], parent_key: str, parent: str) -> None:
        declared = self._file(name, row, parent_key)
        if declared is None:
            return
        own = f"{declared.file}-{len(self.tables.get(declared.file, []))}"
        cells = {"NativeId": "1", "sourceid": "1", f"{declared.file}orderseqcolumn": "1", declared.key: own}
        cells |= {declared.parent_key: parent} if parent else {}
        headings = {item: heading for heading, item in declared.columns.items()}
        module = self._collection.modules[name]
        for item in module.items:
            # Appeals of primary admissions have no column in 2026.
            if item.name not in declared.set and not item.name.startswith("Primary"):
                cells[headings.get(item.name, item.name.lower())] = self._spelt(item.type, row.get(item.name))
        self.tables.setdefault(declared.file, []).append(cells)
        for below in self._collection.children(name):
            for lower in row.get(below.name, []):
                self._row(below.name, lower, declared.key, own)

    def _file(self, module: str, row: dict[str, Any], parent_key: str) -> CsvModule | None:
        """The file of a row: the one whose fixed items fit, or whose parent it hangs under."""
        assert self._collection.files.csv is not None
        if module not in self._collection.files.csv.modules:
            return None
        found = self._collection.files.csv.files_of(module)
        fitting = [
            one
            for one in found
            if all(row.get(item) == value for item, value in one.set.items())
            and (not parent_key or one.parent_key == parent_key)
        ]
        return fitting[0] if fitting else None

    @staticmethod
    def _spelt(kind: str, value: str | None) -> str:
        if value is None:
            return ""
        if kind == "date":
            return f"{date.fromisoformat(value):%Y-%b-%d} 00:00:00"
        if kind == "integer":
            return f"{value}.0"
        return {"1": "True", "0": "False"}.get(value, value) if kind == "boolean" else value


@pytest.mark.parametrize("term", TERMS)
def test_our_whole_return_is_found_whole_in_the_exports_spelling(tmp_path: Path, term: str) -> None:
    collection = engine(term).collection
    mutators = Mutators(engine(term))
    content = mutators.valid
    written = Export(collection).rows(content)
    mutators.close()
    assert len(written) >= 12
    report = check(term, write(tmp_path / term, written))
    assert counts(report) == ({"564": 1} if term == "spring" else {})
    assert report.records == len(content["Pupil"])
