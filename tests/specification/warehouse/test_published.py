"""The real files of published statistics: read as they are, their totals found again, and files to publish made of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from commonroom.warehouse.published import ees
from commonroom.warehouse.published.commands import Loaded, app

TABLES = "data/performance_tables/"
# File, dataset, rows, symbols as published, and what became of its totals.
FILES = [
    (TABLES + "2018-2019_england_census.csv.gz", "pupils-2019", 23_942, {"NA": 13_211}, {"equal": 28, "explained": 2}),
    (TABLES + "2018-2019_england_abs.csv", "absence-2019", 21_217, {"SUPP": 864}, {"explained": 6}),
    (TABLES + "2018-2019_england_ks4provisional.csv", "ks4-provisional-2019", 5_652,
     {"NA": 13_760, "NE": 2_640, "SUPP": 1_062, "LOWCOV": 21}, {"equal": 1, "explained": 1}),
    (TABLES + "2018-2019_936_ks4final.csv", "ks4-final-2019", 133, {"NP": 188, "SUPP": 84, "NE": 80, "NEW": 1}, {}),
    (TABLES + "2018-2019_936_ks2final.csv", "ks2-final-2019", 242, {"SUPP": 18, "NEW": 4}, {"equal": 1}),
    ("data/ees/absence_natcharacteristics.csv", "absence-characteristics", 1_309, {"x": 8}, {"equal": 108, "rounding": 12}),
    ("data/ees/b1_children_in_need_2013_to_2025.csv", "children-in-need", 2_132, {"c": 62, "x": 46, "u": 10},
     {"rounding": 77, "equal": 32, "hidden": 21}),
    ("data/ees/eyfsp_headline_measures_2022.csv.gz", "eyfsp-2022", 12_852, {"z": 200}, {"equal": 636}),
]  # fmt: skip
FIT_TO_PUBLISH = ["children-in-need", "eyfsp-2022", "absence-characteristics"]


class Shelf(msgspec.Struct, frozen=True):
    """All real files, loaded."""

    folder: Path
    loaded: dict[str, Loaded]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Shelf:
    folder = tmp_path_factory.mktemp("published")
    files = [str(shared / file) for file, *_ in FILES]
    answer = CliRunner().invoke(app, ["load", *files, "--json", "--data", str(folder)])
    assert answer.exit_code == 0, answer.output
    loaded = msgspec.json.decode(answer.stdout, type=list[Loaded])
    return Shelf(folder, {one.load.dataset: one for one in loaded})


@pytest.mark.parametrize(
    ("file", "dataset", "rows", "symbols", "verdicts"), FILES, ids=[one[1] for one in FILES]
)
def test_a_real_file_is_known_by_its_columns_and_read_whole(
    shelf: Shelf, file: str, dataset: str, rows: int, symbols: dict[str, int], verdicts: dict[str, int]
) -> None:
    found = shelf.loaded[dataset]
    assert found.load.file == Path(file).name
    assert found.load.rows == rows
    assert (found.left_out, found.faulty) == (0, 0)
    # The final tables print more than one kind of symbol in cells of other columns: at least these are ours.
    assert {mark: found.load.symbols.get(mark) for mark in symbols} == symbols
    assert found.load.totals == verdicts


def test_national_totals_of_the_census_are_the_sums_of_the_schools(shelf: Shelf) -> None:
    checks = shelf.loaded["pupils-2019"].checks
    rolls = {one.group["school_type"]: one.found for one in checks if one.indicator == "headcount"}
    assert rolls == {
        "State-funded primary": 4_727_089,
        "State-funded secondary": 3_327_970,
        "State-funded special school": 121_738,
    }
    assert all(one.difference == 0 or one.because for one in checks)


def test_every_difference_of_every_file_is_zero_or_has_its_reason(shelf: Shelf) -> None:
    for found in shelf.loaded.values():
        for one in found.checks:
            assert one.verdict == "equal" or one.because, one


@pytest.mark.parametrize("dataset", FIT_TO_PUBLISH)
def test_what_is_written_keeps_the_rules_and_holds_the_same_figures(
    shelf: Shelf, dataset: str, tmp_path: Path
) -> None:
    answer = CliRunner().invoke(app, ["export", dataset, "--out", str(tmp_path), "--data", str(shelf.folder)])
    assert answer.exit_code == 0, answer.output
    pair = tmp_path / f"{dataset}.csv", tmp_path / f"{dataset}.meta.csv"
    files = ees.read(*pair)
    assert len(files.data) == shelf.loaded[dataset].load.rows
    assert ees.check(files) == []
    assert CliRunner().invoke(app, ["check", *map(str, pair)]).exit_code == 0


def test_schools_without_names_are_not_fit_to_publish(shelf: Shelf, tmp_path: Path) -> None:
    answer = CliRunner().invoke(
        app, ["export", "pupils-2019", "--out", str(tmp_path), "--data", str(shelf.folder)]
    )
    assert answer.exit_code == 1
    assert "school_name" in answer.output


def test_a_symbol_is_shown_as_it_was_published(shelf: Shelf) -> None:
    answer = CliRunner().invoke(
        app,
        ["show", "absence-2019", "--level", "School", "--where", "school_urn=100000", "--format", "json",
         "--data", str(shelf.folder)],
    )  # fmt: skip
    [row] = msgspec.json.decode(answer.stdout)
    assert (row["absence_overall"], row["persistent_absence"]) == ("2.6", "3.4")
    rows = CliRunner().invoke(
        app, ["show", "absence-2019", "--level", "School", "--format", "csv", "--data", str(shelf.folder)]
    )
    assert ",SUPP" in rows.stdout
