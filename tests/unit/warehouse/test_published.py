"""Files of published figures: bad ones, plain answers, and the rules of files to publish."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from commonroom.engines.duck import Duck
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse.published import ees, model, reading, totals
from commonroom.warehouse.published.commands import app

HEADER = (
    "URN,LA,ESTAB,SCHOOLTYPE,NOR,NORG,NORB,PNORG,PNORB,TSENELSE,PSENELSE,TSENELK,PSENELK,"
    "NUMEAL,NUMENGFL,NUMUNCFL,NUMFSM,NUMFSMEVER,PNUMFSMEVER"
)
SCHOOL = "100000,201,3614,State-funded primary,285,141,144,49.5,50.5,5,1.8,50,17.5,141,143,1,32,38,16.2"
NATION = "NAT,,PRI,State-funded primary,285,141,144,49.5,50.5,5,1.8,50,17.5,141,143,1,32,38,16.2"


def _file(folder: Path, *lines: str, name: str = "census.csv") -> Path:
    path = folder / name
    path.write_text("\n".join((HEADER, *lines)) + "\n", "utf-8-sig")
    return path


def _load(folder: Path, *files: Path) -> Any:
    return CliRunner().invoke(app, ["load", *map(str, files), "--data", str(folder / "data")])


def test_a_total_that_is_not_found_again_is_a_finding(tmp_path: Path) -> None:
    answer = _load(tmp_path, _file(tmp_path, SCHOOL, NATION.replace(",285,", ",286,")))
    assert answer.exit_code == 1
    assert "not explained: headcount" in answer.output
    assert "286 published, 285 found" in answer.output


def test_one_bad_cell_is_listed_with_its_line_and_column_and_stops_nothing(tmp_path: Path) -> None:
    answer = _load(
        tmp_path,
        _file(tmp_path, SCHOOL.replace(",141,144,", ",many,144,"), SCHOOL.replace("100000", "100001")),
    )
    assert answer.exit_code == 1
    assert "2 rows" in answer.output or "2 School" in answer.output
    assert "line 2, NORG: neither a number nor a declared symbol" in answer.output
    assert "many" not in answer.output


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "CR-260"),
        (b"a,a\n1,2\n", "CR-260"),
        (b"just,columns\n1,2\n", "CR-261"),
        (b"\xff\xfe\x00", "CR-260"),
        (b"\x1f\x8b\x08rubbish", "CR-260"),
    ],
)
def test_what_is_no_such_file_is_refused_with_a_reason(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(Problem) as raised:
        reading.recognised(path)
    assert raised.value.code == code


def test_a_file_cut_short_is_no_partial_load(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join([HEADER, *[SCHOOL] * 5_000]).encode())
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Problem) as raised:
        reading.read(path, model.named("pupils-2019"))
    assert raised.value.code == "CR-260"


def test_what_unpacks_to_more_than_the_limit_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 100_000)
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress("\n".join([HEADER, *[SCHOOL] * 50_000]).encode()))
    with pytest.raises(Problem, match="more than"):
        reading.read(path, model.named("pupils-2019"))


def test_the_same_file_again_changes_nothing_and_another_keeps_the_first(tmp_path: Path) -> None:
    first, second = _file(tmp_path, SCHOOL), _file(tmp_path, SCHOOL, NATION, name="later.csv")
    for file in (first, first, second, first):
        assert _load(tmp_path, file).exit_code == 0
    listed = CliRunner().invoke(app, ["list", "--json", "--data", str(tmp_path / "data")])
    [load] = msgspec.json.decode(listed.stdout)
    assert load["file"] == "census.csv"
    assert len(load["earlier"]) == 1


def test_totals_weighed_by_another_file_wait_for_it_and_say_so(tmp_path: Path) -> None:
    absence = tmp_path / "abs.csv"
    absence.write_text("LA,ESTAB,URN,PERCTOT,PPERSABS10\n201,3614,100000,2.6,3.4\nNAT,PRI,,2.6,3.4\n")
    assert "wait for pupils-2019" in _load(tmp_path, absence).output
    assert "2 equal" in _load(tmp_path, _file(tmp_path, SCHOOL), absence).output


# Published, parts, rounded to, hidden parts: what it comes to.
VERDICTS = [
    (100, [40, 60], 0, 0, "equal"),
    (101, [40, 60], 0, 0, "not explained"),
    (110, [40, 60], 10, 0, "rounding"),
    (120, [40, 60], 10, 0, "not explained"),
    (130, [40, 60], 10, 1, "hidden"),
    (90, [40, 60], 0, 1, "not explained"),
]


@pytest.mark.parametrize(("published", "parts", "step", "hidden", "verdict"), VERDICTS)
def test_what_a_difference_comes_to(
    settings: Settings, tmp_path: Path, published: int, parts: list[int], step: int, hidden: int, verdict: str
) -> None:
    dataset = msgspec.convert(
        {
            **dict.fromkeys(("name", "title", "source", "licence"), "d"),
            "time": {"period": "2025", "identifier": "Calendar year"},
            "places": [
                {"level": "National", "when": {"who": "all"}},
                {"level": "Regional", "when": {"who": "*"}, "columns": {"region_code": "who"}},
            ],
            "indicators": [{"name": "n", "title": "n", "column": "n"}],
            "symbols": {"c": {"means": "c", "title": "hidden"}},
            "totals": [
                {
                    "of": {"level": "National"},
                    "parts": {"level": "Regional"},
                    "indicators": ["n"],
                    "rounded_to": step,
                }
            ],
        },
        model.Dataset,
    )
    path = tmp_path / "file.csv"
    cells = [("all", published), *(("r", part) for part in parts), *[("r", "c")] * hidden]
    path.write_text("who,n\n" + "".join(f"{who},{cell}\n" for who, cell in cells))
    duck = Duck(settings, [])
    [found] = totals.check(dataset, reading.read(path, dataset).rows, duck, {})
    duck.close()
    assert found.verdict == verdict


GOOD = {
    "time_period": "202425", "time_identifier": "Academic year", "geographic_level": "Regional", "country_code": "E92000001",
    "country_name": "England", "region_code": "E12000001", "region_name": "North East", "sex": "Total", "pupils": "12",
}  # fmt: skip
# What is wrong in one cell or name: column, value, and words of the finding.
BROKEN = [
    ("time_period", "202426", "two years"),
    ("time_period", "2024", "two years"),
    ("time_identifier", "School year", "no such identifier"),
    ("geographic_level", "Country", "no such level"),
    ("region_code", "E12000099", "no region"),
    ("region_name", "", "must have it"),
    ("sex", "", "empty cells"),
    ("pupils", "~", "older symbol"),
    ("pupils", "", "neither a number nor a symbol"),
    ("pupils", "1,200", "neither a number nor a symbol"),
]


def _files(*rows: dict[str, str]) -> ees.Files:
    described = [("sex", "Filter"), ("pupils", "Indicator")]
    metadata = [
        {**dict.fromkeys(ees.rules().metadata, ""), "col_name": name, "col_type": kind, "label": name}
        for name, kind in described
    ]
    return ees.Files(list(rows), list(GOOD), metadata)


def test_a_good_file_breaks_no_rule() -> None:
    assert ees.check(_files(GOOD, GOOD | {"region_code": "E12000002", "pupils": "c"})) == []


@pytest.mark.parametrize(("column", "value", "words"), BROKEN, ids=[f"{one[0]} {one[1]}" for one in BROKEN])
def test_each_broken_rule_is_found_with_its_column_and_line(column: str, value: str, words: str) -> None:
    findings = ees.check(_files(GOOD, GOOD | {column: value}))
    found = [one for one in findings if one.column == column and words in one.message]
    assert found, findings


def test_repeats_missing_columns_and_undescribed_ones_are_found() -> None:
    messages = [one.message for one in ees.check(_files(GOOD, GOOD))]
    assert "the same place, time and filters stand there before" in messages
    files = _files(GOOD)
    lacking = ees.Files([{**GOOD, "Extra": "1"}], [*GOOD, "Extra"], files.metadata[1:])
    said = {(one.column, one.message) for one in ees.check(lacking)}
    assert ("Extra", "a column's name has small letters, digits and _ only") in said
    assert ("sex", "the metadata does not describe it") in said


def test_declarations_with_unknown_names_in_totals_are_refused() -> None:
    good = model.named("pupils-2019")
    wrong = msgspec.structs.replace(
        good, totals=[msgspec.structs.replace(good.totals[0], indicators=["nobody"])]
    )
    with pytest.raises(Problem, match="nobody"):
        model._check(wrong)
