"""Parts of a measure, which say what they count alone; and months of a half-year, which they count."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commonroom.problems import Problem
from commonroom.warehouse import measures

WHOLE, PART = "ks4_leavers.yaml", "parts/ks4_not_known.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The leavers of year 11 and their parts."""
    (tmp_path / "parts").mkdir()
    for name in (WHOLE, "attainment_8.yaml"):  # whose cohort it is
        shutil.copy(measures.FOLDER / name, tmp_path / name)
    for path in (measures.FOLDER / "parts").glob("ks4_*.yaml"):
        shutil.copy(path, tmp_path / "parts" / path.name)
    return tmp_path


def test_a_part_has_all_else_of_its_whole(folder: Path) -> None:
    found = measures.load(folder)
    whole, part = found["ks4_leavers"], found["ks4_not_known"]
    assert (part.part_of, part.shown_as, part.sum_of) == ("ks4_leavers", "percent", ())
    assert (part.entity, part.each, part.elsewhere, part.population, part.denominator, part.levels) == (
        whole.entity, whole.each, whole.elsewhere, whole.population, whole.denominator, whole.levels,
    )  # fmt: skip
    assert "ks4_not_known" in whole.sum_of


def test_parts_are_worked_out_by_one_statement() -> None:
    whole, part = measures.duckdb_sql("ks4_leavers"), measures.duckdb_sql("ks4_not_known")
    together = whole.partition(" FROM (")[2]
    assert together == part.partition(" FROM (")[2]
    assert ", ks4_not_known, " in whole.partition(" FROM (")[0]
    assert "ks4_not_known AS numerator" in part.partition(" FROM (")[0]


#  file, what stands there, what is there instead, what is told
FAULTS = {
    "of no cohort": (WHOLE, "cohort: attainment_8", "cohort: attainment_9", "attainment_9 is no measure over"),
    "part of nothing": (PART, "of: ks4_leavers", "of: ks4_stayers", "there is no measure ks4_stayers"),
    "another name than its file": (PART, "name: ks4_not_known", "name: ks4_unknown", "the file is called"),
    "something nobody knows": (PART, "in_college", "in_prison", "there is no `in_prison`"),
    "a part where the wholes are": (WHOLE, "entity: enrolment", "part_of: other\nentity: enrolment", "in the folder parts"),
    "months of no days": (WHOLE, "months(entry_date,", "months(school,", "of two days and a condition"),
    "months on no condition": (WHOLE, "entry_date is not None)", "entry_date)", "of two days and a condition"),
    "months of the stay itself": (
        WHOLE, "at_end: sum(", "at_end: months(entry_date, leaving_date, part_time) + sum(", "no such thing as `months",
    ),
    "of what leads to no learner": (WHOLE, "  la_placement:", "  child_population:", "or that leads to a ULN"),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_told(what: str, folder: Path) -> None:
    file, right, wrong, told = FAULTS[what]
    text = (folder / file).read_text("utf-8")
    assert right in text
    (folder / file).write_text(text.replace(right, wrong), "utf-8")
    with pytest.raises(Problem) as raised:
        measures.load(folder)
    assert raised.value.code == "CR-062"
    assert told in raised.value.detail
