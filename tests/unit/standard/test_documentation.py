"""The page and the glossary say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from commonroom.standard import check, identifiers, judges
from commonroom.standard.model import Code, Codeset, Entity, Event, Item

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "standard.md").read_text("utf-8")
GLOSSARY = (ROOT / "GLOSSARY.md").read_text("utf-8")


def first_column(heading: str) -> list[str]:
    """The first cells of the table whose head begins so."""
    table = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


@pytest.mark.parametrize(
    ("heading", "struct"),
    [
        ("key of a code", Code),
        ("key of a code set", Codeset),
        ("key of an item", Item),
        ("key of an entity", Entity),
        ("key of an event", Event),
    ],
)
def test_the_page_lists_every_key_of_a_declaration_and_no_other(
    heading: str, struct: type[msgspec.Struct]
) -> None:
    listed = [name for cell in first_column(heading) for name in re.findall(r"`([a-z_]+)`", cell)]
    assert sorted(listed) == sorted(field.name for field in msgspec.structs.fields(struct))


def test_the_page_lists_every_kind_of_identifier() -> None:
    assert sorted(first_column("kind")) == sorted(identifiers.KINDS)


def test_the_page_lists_every_rule_that_a_finding_can_name() -> None:
    sources = (Path(module.__file__ or "").read_text("utf-8") for module in (check, judges))
    rules = {rule for source in sources for rule in re.findall(r"\"(standard-[a-z-]+)\"", source)}
    assert {cell.strip("`") for cell in first_column("rule")} == rules


def test_the_glossary_explains_each_word_once_and_in_order() -> None:
    parts = GLOSSARY.split("\n## ")[1:]
    assert len(parts) == 2
    for part in parts:
        words = [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("| ")][1:]
        assert words == sorted(set(words), key=str.lower)
