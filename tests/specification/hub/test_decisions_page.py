"""docs/hub.md names a check for each of the twelve decisions: every file and every test it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SECTION = (
    (ROOT / "docs" / "hub.md").read_text("utf-8").split("## What holds each decision")[1].split("\n## ")[0]
)
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SECTION.splitlines()
    if line.startswith("| ")
][1:]
NAMED = re.findall(r"`([a-z]+/[^`:]+\.py)(?:::([a-z_0-9]+))?`", SECTION)


def test_there_is_a_check_for_each_of_the_twelve_decisions() -> None:
    assert [row[0] for row in ROWS if row[0]] == [str(number) for number in range(1, 13)]
    assert all("`" in held_by for _, _, _, held_by in ROWS)


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED)))
def test_what_the_page_names_is_there(file: str, test: str) -> None:
    text = (ROOT / file).read_text("utf-8")
    if test:
        assert f"def {test}(" in text
    else:
        assert "def test_" in text or file.startswith("bench/")


def test_the_import_contract_that_the_page_names_stands() -> None:
    [name] = re.findall(r"`pyproject.toml` \(`([^`]+)`\)", SECTION)
    assert f'name = "{name}"' in (ROOT / "pyproject.toml").read_text("utf-8")


@pytest.mark.parametrize("figure", ["single accept", "batch accept"])
def test_the_figures_that_the_page_names_have_goals(figure: str) -> None:
    assert f"`{figure}`" in SECTION
    assert f'("{figure}", ' in (ROOT / "bench" / "hub_bench" / "goals.py").read_text("utf-8")
