"""docs/movements.md: its declarations can be used as they stand, and its tables say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from commonroom.declarations import load
from commonroom.hub.agreements import Proposal
from commonroom.hub.frequency import Frequency
from commonroom.hub.governance_api import HANDLERS
from commonroom.hub.group import Policy
from commonroom.hub.lifecycle import STEPS

PAGE = Path(__file__).parents[3] / "docs" / "movements.md"


@pytest.mark.parametrize(("number", "kind"), [(0, Policy), (1, Proposal)])
def test_the_declarations_of_the_page_can_be_loaded(tmp_path: Path, number: int, kind: type) -> None:
    text = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.S)[number]
    file = tmp_path / "page.yaml"
    file.write_text(text, "utf-8")
    assert isinstance(load(file, kind), kind)


def test_the_frequencies_of_the_page_can_be_used(tmp_path: Path) -> None:
    found = re.findall(r"^\| `(\{how: .*?\})` \|", PAGE.read_text("utf-8"), re.M)
    file = tmp_path / "frequency.yaml"
    for text in found:
        file.write_text(text, "utf-8")
        load(file, Frequency)
    assert len(found) == 3


def test_the_table_of_steps_says_what_the_program_allows() -> None:
    table = PAGE.read_text("utf-8").partition("| it stands as |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([a-z ]+) \| [^|]+ \| ?([a-z, ]*)\|$", table, re.M)
    said = {standing: {step.strip() for step in steps.split(",") if step.strip()} for standing, steps in rows}
    standings = {standing for standings in STEPS.values() for standing in standings} | {"replaced"}
    assert said == {
        standing: {step for step, allowed in STEPS.items() if standing in allowed} for standing in standings
    }


def test_the_page_names_every_request() -> None:
    text = PAGE.read_text("utf-8")
    for handler in HANDLERS:
        for path in handler.paths:
            words = path.replace("{movement:str}", "{id}")
            assert words in text or f"/{words.rsplit('/', 1)[1]}`" in text, path
