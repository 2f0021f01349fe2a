"""Files of any columns, and the figures of a set whose truth is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonroom.problems import Problem
from commonroom.registers.learners.matching.evaluate import evaluate
from commonroom.registers.learners.matching.tables import iso_date, parse_mapping, read_rows, read_truth

FEBRL = (
    "given=given_name,family=surname,dob=date_of_birth,postcode=postcode,"
    "house=street_number+address_1,town=suburb"
)


def test_febrl3_is_found_again(shared: Path) -> None:
    rows = list(read_rows(shared / "data" / "linkage" / "febrl_dataset3.csv", parse_mapping(FEBRL)))

    found = evaluate(rows)

    assert found.registered == found.incoming == 5_000
    assert found.automatic + found.review + found.new == 5_000
    assert found.f1 >= 0.98
    assert found.automatic_precision >= 0.998


def test_febrl3_in_two_files(shared: Path) -> None:
    rows = list(read_rows(shared / "data" / "linkage" / "febrl_dataset3.csv", parse_mapping(FEBRL)))
    originals = [row for row in rows if row.id.endswith("org")]
    repeats = [row for row in rows if not row.id.endswith("org")]

    found = evaluate(originals, repeats)

    assert (found.registered, found.incoming) == (2_000, 3_000)
    assert found.f1 >= 0.99
    assert found.wrong_merges_per_100k <= 50


def test_columns_of_any_name_and_a_truth_of_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "no,First,Last,Born,Code,Sex\n1,Amelia,Hughes,14/05/2008,LS6 3QD,F\n2,Oscar,Tattersall,1.2.2009,BB11 3AA,M\n",
        "utf-8",
    )
    (tmp_path / "b.csv").write_text(
        "key,fn,ln,dob\nx,Emelia,Hughes,2008-05-14\ny,Nobody,Atall,20010101\nz,Oscar,Tattersall,1 Feb 2009\n",
        "utf-8",
    )
    (tmp_path / "t.csv").write_text("b,a\nx,1\nz,2\n", "utf-8")
    register = read_rows(
        tmp_path / "a.csv", parse_mapping("given=First,family=Last,dob=Born,postcode=Code,gender=Sex")
    )
    incoming = read_rows(tmp_path / "b.csv", parse_mapping("given=fn,family=ln,dob=dob,id=key"))

    found = evaluate(register, incoming, read_truth(tmp_path / "t.csv"))

    assert (found.registered, found.incoming, found.new) == (2, 3, 1)
    assert (found.precision, found.recall, found.wrong_merges_per_100k, found.false_new_pct) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2008-05-14", "2008-05-14"),
        ("20080514", "2008-05-14"),
        ("14/05/2008", "2008-05-14"),
        ("14.5.2008", "2008-05-14"),
        ("05/14/2008", "2008-05-14"),
        ("14052008", "2008-05-14"),
        ("14 May 2008", "2008-05-14"),
        ("May 14, 2008", "2008-05-14"),
        ("14-MAY-2008", "2008-05-14"),
        ("2008-05-14T00:00:00", "2008-05-14"),
        ("14/05/2008 00:00", "2008-05-14"),
        ("2008-05", "2008-05"),
        ("05/2008", "2008-05"),
        ("2008", "2008"),
        ("2008-0-0", "2008"),
        ("", ""),
        ("unknown", ""),
        ("99/99/9999", ""),
    ],
)
def test_dates_in_several_forms(text: str, date: str) -> None:
    assert iso_date(text) == date


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,First\n", "utf-8")

    with pytest.raises(Problem, match="no column Last"):
        list(read_rows(tmp_path / "a.csv", parse_mapping("given=First,family=Last")))
    with pytest.raises(Problem, match="FIELD=COLUMN"):
        parse_mapping("shoe=size")
